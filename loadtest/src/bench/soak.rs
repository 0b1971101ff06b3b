//! Ten minutes of load: memory at the end of each. What grows after the first minute grows for ever.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::measure::{load, of_subject};
use super::subjects::{Subjects, TORHAUS_SESSION};
use super::{nginx, say};
use crate::error::Result;

const MINUTES: u32 = 10;

const TIMES: (Duration, Duration) = (Duration::ZERO, Duration::from_secs(60));

/// What may come and go between two looks: buffers of the allocator, a segment of the log.
const NOISE_KIB: u64 = 4096;

#[derive(Debug, Serialize)]
pub struct Soak {
    /// KiB resident at the end of each minute.
    resident_kib: Vec<u64>,
    requests: u64,
    pub faults: u64,
}

pub async fn ten_minutes(subjects: &Subjects, core: u32) -> Result<Option<Soak>> {
    let Some(row) = subjects.rows.iter().find(|row| row.name == TORHAUS_SESSION) else {
        return Ok(None);
    };
    let mut soak = Soak { resident_kib: Vec::new(), requests: 0, faults: 0 };
    for minute in 1..=MINUTES {
        // New connections each minute; both protocols in turn.
        let protocol = if minute % 2 == 0 { "h2" } else { "h1" };
        let args = ["--protocol", protocol, "--connections", "8", "--streams", "4"].map(str::to_owned);
        let outcome = load(subjects, row, &args, (nginx::PATH, nginx::BODY_BYTES), TIMES, core).await?;
        let kib = of_subject(&outcome.resident).map(|memory| memory.after / 1024).sum();
        say(&format!("soak, minute {minute}/{MINUTES}: {kib} KiB, {:.0} requests per second", outcome.per_second));
        soak.resident_kib.push(kib);
        soak.requests += outcome.completed;
        soak.faults += outcome.fault_count();
    }
    Ok(Some(soak))
}

impl Soak {
    /// KiB between the end of the first minute and the end of the last.
    fn grown(&self) -> u64 {
        let (first, last) = (self.resident_kib.first(), self.resident_kib.last());
        last.zip(first).map_or(0, |(last, first)| last.saturating_sub(*first))
    }
}

pub fn write(soak: Option<&Soak>, out: &mut String) -> std::fmt::Result {
    let Some(soak) = soak else {
        return Ok(());
    };
    let holds = if soak.grown() <= NOISE_KIB && soak.faults == 0 { "yes" } else { "NO" };
    let minutes: Vec<String> = soak.resident_kib.iter().map(|kib| format!("{:.1}", *kib as f64 / 1024.0)).collect();
    writeln!(out, "## Soak (promised: no growth after the first minute)\n")?;
    writeln!(
        out,
        "{TORHAUS_SESSION}, {MINUTES} minutes, {} requests, {} faults. MiB resident at the end of each minute: {}. Holds (within {} MiB): {holds}.\n",
        soak.requests,
        soak.faults,
        minutes.join(", "),
        NOISE_KIB / 1024
    )
}
