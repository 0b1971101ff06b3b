//! CPU time and memory of processes, from /proc. Linux only.
//!
//! The rate says how much was done in a second; the CPU time says what one operation cost, and stays true when the
//! load generator, not the proxy, was the slower half.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use crate::error::{Doing, Error, Result};

/// Clock ticks per second in /proc/*/stat. The kernel has shown 100 to programs since 2.6, whatever it runs at.
const USER_HZ: u64 = 100;

/// A process and the children it had when measuring began (nginx: the master and its worker).
#[derive(Debug, Clone)]
pub struct Group {
    pids: Vec<u32>,
}

impl Group {
    pub fn of(pid: u32) -> Result<Self> {
        let parents = parents()?;
        let mut pids = vec![pid];
        let mut next = 0;
        while let Some(&parent) = pids.get(next) {
            pids.extend(parents.iter().filter(|(_, of)| **of == parent).map(|(child, _)| *child));
            next += 1;
        }
        Ok(Self { pids })
    }

    /// CPU time used so far by all of them.
    pub fn used(&self) -> Result<Duration> {
        self.pids.iter().map(|pid| process(*pid)).sum()
    }

    /// Bytes of memory that all of them have resident. What they share counts for each.
    pub fn resident(&self) -> Result<u64> {
        self.pids.iter().map(|pid| resident(*pid)).sum()
    }
}

/// Time that any process spent on any core so far, without interrupts: what is not ours of it disturbed the run.
pub fn machine() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat").doing("/proc/stat")?;
    let first = stat.lines().next().unwrap_or_default();
    // cpu user nice system idle ... (proc_stat(5))
    let ticks: u64 = first.split_whitespace().skip(1).take(3).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(from_ticks(ticks))
}

/// To the nanosecond where the kernel says so (schedstat of each thread), else to a tick of 10 ms. A thread that ended
/// takes its own figure with it; the ticks of the process keep it. So the sum may step back, by less than a tick.
fn process(pid: u32) -> Result<Duration> {
    let ticks = ticks(pid)?;
    Ok(threads(pid).map_or(ticks, |fine| fine.max(ticks)))
}

fn resident(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).doing(format!("process {pid}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    let kib: Option<u64> = line.and_then(|kib| kib.parse().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| Error::new(format!("/proc/{pid}/status does not say VmRSS")))
}

fn threads(pid: u32) -> Option<Duration> {
    let mut total = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        if let Ok(text) = fs::read_to_string(task.ok()?.path().join("schedstat")) {
            total += Duration::from_nanos(text.split_whitespace().next()?.parse().ok()?);
        }
    }
    Some(total)
}

fn ticks(pid: u32) -> Result<Duration> {
    let fields = stat(pid)?;
    let field = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok());
    // utime and stime are fields 14 and 15 of proc_pid_stat(5), counted from 1; ours start at field 3.
    match (field(11), field(12)) {
        (Some(user), Some(system)) => Ok(from_ticks(user + system)),
        _ => Err(Error::new(format!("/proc/{pid}/stat cannot be read as documented"))),
    }
}

/// The fields after the command's name, which may itself hold spaces and brackets.
fn stat(pid: u32) -> Result<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).doing(format!("process {pid}"))?;
    let (_, rest) = text.rsplit_once(')').ok_or_else(|| Error::new(format!("/proc/{pid}/stat has no name")))?;
    Ok(rest.split_whitespace().map(str::to_owned).collect())
}

fn parents() -> Result<BTreeMap<u32, u32>> {
    let entries = fs::read_dir("/proc").doing("/proc")?;
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    // A process may end between the listing and the reading: then it is nobody's child.
    Ok(pids.filter_map(|pid| Some((pid, stat(pid).ok()?.get(1)?.parse().ok()?))).collect())
}

fn from_ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / USER_HZ)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_as_cpu_time_of_this_process() {
        // Without children: those of other tests come and go.
        let me = Group { pids: vec![std::process::id()] };
        let (before, all_before) = (me.used().unwrap(), machine().unwrap());
        let mut sum = 0u64;
        while me.used().unwrap().saturating_sub(before) < Duration::from_millis(30) {
            (0..100_000u64).for_each(|n| sum = std::hint::black_box(sum.wrapping_add(n * n)));
        }
        assert!(machine().unwrap() > all_before, "the machine's time includes ours");
    }

    #[test]
    fn a_child_counts_with_its_parent() {
        let mut child = std::process::Command::new("sleep").arg("5").spawn().unwrap();
        let group = Group::of(std::process::id()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(group.pids.contains(&child.id()));
    }

    #[test]
    fn both_ways_of_reading_agree() {
        let pid = std::process::id();
        let (fine, coarse) = (threads(pid).unwrap(), ticks(pid).unwrap());
        assert!(fine.abs_diff(coarse) < Duration::from_secs(1), "{fine:?} {coarse:?}");
    }
}
