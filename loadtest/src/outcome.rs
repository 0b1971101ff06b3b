//! The result of one measurement, as JSON and as text.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::tally::{FaultCount, Percentiles, Tally};

/// The process under test, by this name in `processes`.
pub const PROXY: &str = "proxy";

/// CPU time used while measuring.
#[derive(Debug)]
pub struct Busy {
    pub wall: Duration,
    pub processes: Vec<(String, Duration)>,
    pub own: Duration,
    /// What everybody else on the machine used: a disturbance.
    pub foreign: Duration,
    /// In the order of `processes`.
    pub resident: Vec<Resident>,
}

/// Bytes of memory of a process and its children: before the first connection, and at the end with all of them open.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Resident {
    pub before: u64,
    pub after: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    pub seconds: f64,
    pub completed: u64,
    pub per_second: f64,
    pub latency: Percentiles,
    /// Open loop: how late the generator itself sent.
    pub lateness: Option<Percentiles>,
    pub full_handshakes: u64,
    pub resumed_handshakes: u64,
    /// By process: CPU microseconds for each completed operation.
    pub cpu_us_per_operation: BTreeMap<String, f64>,
    /// By process: share of one core, 1.0 = busy all the time.
    pub core_share: BTreeMap<String, f64>,
    pub resident: BTreeMap<String, Resident>,
    pub generator_core_share: f64,
    pub foreign_core_share: f64,
    pub faults: BTreeMap<String, FaultCount>,
}

impl Outcome {
    pub fn new(tally: &Tally, busy: Busy) -> Self {
        let seconds = busy.wall.as_secs_f64();
        let share = |used: Duration| used.as_secs_f64() / seconds.max(f64::MIN_POSITIVE);
        let per_operation = |used: Duration| used.as_secs_f64() * 1e6 / (tally.completed.max(1) as f64);
        Self {
            seconds,
            completed: tally.completed,
            per_second: tally.completed as f64 / seconds.max(f64::MIN_POSITIVE),
            latency: tally.latency(),
            lateness: tally.lateness(),
            full_handshakes: tally.full_handshakes,
            resumed_handshakes: tally.resumed_handshakes,
            cpu_us_per_operation: busy
                .processes
                .iter()
                .map(|(name, used)| (name.clone(), per_operation(*used)))
                .collect(),
            core_share: busy.processes.iter().map(|(name, used)| (name.clone(), share(*used))).collect(),
            resident: busy.processes.iter().map(|(name, _)| name.clone()).zip(busy.resident).collect(),
            generator_core_share: share(busy.own),
            foreign_core_share: share(busy.foreign),
            faults: tally.faults().clone(),
        }
    }

    pub fn fault_count(&self) -> u64 {
        self.faults.values().map(|fault| fault.count).sum()
    }

    /// The first fault in words, if there was any.
    pub fn first_fault(&self) -> Option<String> {
        self.faults.iter().next().map(|(kind, fault)| format!("{} x {kind} ({})", fault.count, fault.example))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, name: &str, value: String| writeln!(f, "{name:<22}{value}");
        line(f, "completed", format!("{} in {:.2} s", self.completed, self.seconds))?;
        line(f, "rate", format!("{:.0} per second", self.per_second))?;
        line(f, "handshakes", format!("{} full, {} resumed", self.full_handshakes, self.resumed_handshakes))?;
        line(f, "latency", self.latency.to_string())?;
        if let Some(lateness) = &self.lateness {
            line(f, "sent late by", lateness.to_string())?;
        }
        for (name, cost) in &self.cpu_us_per_operation {
            let share = self.core_share.get(name).copied().unwrap_or_default() * 100.0;
            line(f, &format!("cpu of {name}"), format!("{cost:.1} us per operation, {share:.0} % of a core"))?;
        }
        for (name, Resident { before, after }) in &self.resident {
            line(f, &format!("memory of {name}"), format!("{} KiB, then {} KiB", before / 1024, after / 1024))?;
        }
        line(f, "cpu of this generator", format!("{:.0} % of a core", self.generator_core_share * 100.0))?;
        line(f, "cpu of strangers", format!("{:.0} % of a core", self.foreign_core_share * 100.0))?;
        for (kind, fault) in &self.faults {
            line(f, "FAULT", format!("{} x {kind}, first: {}", fault.count, fault.example))?;
        }
        Ok(())
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {:.0} us, p90 {:.0} us, p99 {:.0} us, p99.9 {:.0} us, max {:.0} us",
            self.p50_us, self.p90_us, self.p99_us, self.p999_us, self.max_us
        )
    }
}
