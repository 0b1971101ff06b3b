//! One measurement is one child process: this program's `run`, pinned to its core, its outcome read as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::child::pinned;
use super::subjects::{APPLICATION, Subject, Subjects};
use super::{Extent, Turns, nginx, say};
use crate::error::{Doing, Error, Result};
use crate::outcome::Outcome;

/// Before the first turn every subject answers for this long; what is set up wrongly shows here, not after minutes.
const SMOKE: Duration = Duration::from_millis(200);
/// A virtual machine may stand still for longer than that.
const SMOKES: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scenario {
    Http1,
    Http2,
    FullHandshakes,
    ResumedHandshakes,
    /// An answer of 1 MiB.
    Mebibyte,
    /// An answer of 1 GiB.
    Gibibyte,
    /// A request with a body of 1 GiB.
    UploadGibibyte,
}

impl Scenario {
    fn args(self) -> &'static [&'static str] {
        match self {
            Self::Http1 => &["--protocol", "h1", "--connections", "32"],
            Self::Http2 => &["--protocol", "h2", "--connections", "4", "--streams", "16"],
            Self::FullHandshakes => &["--mode", "full", "--connections", "16"],
            Self::ResumedHandshakes => &["--mode", "resumed", "--connections", "16"],
            Self::Mebibyte => &["--connections", "8"],
            Self::Gibibyte => &["--connections", "1"],
            Self::UploadGibibyte => &["--connections", "1", "--upload-bytes", "1073741824"],
        }
    }

    pub fn turns(self, extent: Extent) -> Turns {
        match self {
            Self::Gibibyte | Self::UploadGibibyte => extent.long,
            Self::Http1 | Self::Http2 | Self::FullHandshakes | Self::ResumedHandshakes | Self::Mebibyte => extent.short,
        }
    }

    /// What is asked for, and how long the answer is.
    fn answer(self) -> (&'static str, u64) {
        match self {
            Self::Mebibyte => nginx::MEBIBYTE,
            Self::Gibibyte => nginx::GIBIBYTE,
            // The sink says in 16 characters how much came.
            Self::UploadGibibyte => (nginx::SINK, 16),
            Self::Http1 | Self::Http2 | Self::FullHandshakes | Self::ResumedHandshakes => {
                (nginx::PATH, nginx::BODY_BYTES)
            }
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Http1 => "h1 keep-alive, 32 connections",
            Self::Http2 => "h2, 4 connections x 16 streams",
            Self::FullHandshakes => "full handshakes + one request",
            Self::ResumedHandshakes => "resumed handshakes + one request",
            Self::Mebibyte => "answers of 1 MiB",
            Self::Gibibyte => "answers of 1 GiB",
            Self::UploadGibibyte => "uploads of 1 GiB",
        })
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    pub scenario: Scenario,
    pub subject: &'static str,
    pub turn: u32,
    pub outcome: Outcome,
}

impl Measured {
    /// Unexpected handshakes count as faults: a "full" figure with resumed ones in it would be a lie.
    pub fn faults(&self) -> u64 {
        let wrong = match self.scenario {
            Scenario::FullHandshakes => self.outcome.resumed_handshakes,
            // The first connection of each caller has no ticket yet.
            Scenario::ResumedHandshakes => u64::from(self.outcome.resumed_handshakes < self.outcome.full_handshakes),
            _ => 0,
        };
        self.outcome.fault_count() + wrong
    }

    /// CPU microseconds for each operation of everything that belongs to the subject.
    pub fn cost(&self) -> f64 {
        own(&self.outcome.cpu_us_per_operation)
    }

    /// Share of its core that the subject was busy.
    pub fn busy(&self) -> f64 {
        own(&self.outcome.core_share)
    }

    /// Share of the other core that the generator and the application used.
    pub fn load_busy(&self) -> f64 {
        self.outcome.generator_core_share + self.outcome.core_share.get(APPLICATION).copied().unwrap_or_default()
    }
}

fn own(by_process: &BTreeMap<String, f64>) -> f64 {
    of_subject(by_process).sum()
}

/// What belongs to the subject: the application serves them all.
pub fn of_subject<T>(by_process: &BTreeMap<String, T>) -> impl Iterator<Item = &T> {
    by_process.iter().filter(|(name, _)| *name != APPLICATION).map(|(_, value)| value)
}

/// Each subject does its job: it answers those who show what they have to, and nobody who shows nothing. Who asks for
/// nothing is fast.
async fn try_each(subjects: &Subjects, core: u32) -> Result<()> {
    for subject in &subjects.rows {
        let outcome = smoke(subjects, subject, core).await?;
        if let Some(fault) = outcome.first_fault() {
            return Err(Error::new(format!("{} does not answer as it should: {fault}", subject.name)));
        }
        if outcome.completed == 0 {
            return Err(Error::new(format!("{} answered nothing, {SMOKES} times for {SMOKE:?}", subject.name)));
        }
        let outcome = smoke(subjects, &subject.without_credentials(), core).await?;
        if outcome.completed > 0 || outcome.first_fault().is_none() {
            return Err(Error::new(format!("{} answers whoever shows nothing", subject.name)));
        }
    }
    Ok(())
}

/// Until there is an answer, of whatever kind.
async fn smoke(subjects: &Subjects, subject: &Subject, core: u32) -> Result<Outcome> {
    let mut tries = 1;
    loop {
        let outcome = one(subjects, subject, Scenario::Http1, (Duration::ZERO, SMOKE), core).await?;
        if outcome.completed > 0 || outcome.first_fault().is_some() || tries == SMOKES {
            return Ok(outcome);
        }
        tries += 1;
    }
}

/// Every scenario with every subject, turn after turn. Each turn begins with another subject: nobody always comes after
/// the same one.
pub async fn in_turns(subjects: &Subjects, extent: Extent, core: u32) -> Result<Vec<Measured>> {
    try_each(subjects, core).await?;
    let mut measured = Vec::new();
    for turn in 1..=extent.short.count.max(extent.long.count) {
        for &scenario in extent.scenarios {
            let Turns { count, warm_up, duration } = scenario.turns(extent);
            if turn > count {
                continue;
            }
            let rows: Vec<_> = subjects.rows.iter().filter(|subject| subject.scenarios.contains(&scenario)).collect();
            for subject in rows.iter().cycle().skip(turn as usize).take(rows.len()) {
                let outcome = one(subjects, subject, scenario, (warm_up, duration), core).await?;
                let result = Measured { scenario, subject: subject.name, turn, outcome };
                say(&format!(
                    "turn {turn}/{count}  {scenario:<33} {:<28} {:>7.0}/s {:>7.1} us cpu{}",
                    subject.name,
                    result.outcome.per_second,
                    result.cost(),
                    if result.faults() > 0 { "  FAULTS" } else { "" }
                ));
                measured.push(result);
            }
        }
    }
    Ok(measured)
}

async fn one(
    subjects: &Subjects,
    subject: &Subject,
    scenario: Scenario,
    times: (Duration, Duration),
    core: u32,
) -> Result<Outcome> {
    let args: Vec<String> = scenario.args().iter().map(|arg| (*arg).to_owned()).collect();
    load(subjects, subject, &args, scenario.answer(), times, core).await
}

/// One run of the generator with these arguments, at this path, for an answer of so many bytes.
pub async fn load(
    subjects: &Subjects,
    subject: &Subject,
    args: &[String],
    (path, bytes): (&str, u64),
    (warm_up, duration): (Duration, Duration),
    core: u32,
) -> Result<Outcome> {
    let mut command = Command::from(pinned(core, &subjects.this));
    command.args(["run", "--json", "--allow-faults", "--path", path]).args(args);
    command.args(["--connect", &subject.address.address().to_string(), "--host", &subject.host]);
    command.arg("--ca").arg(&subjects.ca);
    command.args(["--expect-bytes", &bytes.to_string()]);
    command.args(["--warm-up", &format!("{}ms", warm_up.as_millis())]);
    command.args(["--duration", &format!("{}ms", duration.as_millis())]);
    if subject.with_certificate {
        command.arg("--cert").arg(&subjects.client.cert).arg("--key").arg(&subjects.client.key);
    }
    if let Some(file) = &subject.cookie_file {
        command.arg("--cookie-file").arg(file);
    }
    if let Some(file) = &subject.bearer_file {
        command.arg("--bearer-file").arg(file);
    }
    for (name, pid) in &subject.pids {
        command.args(["--pid", &format!("{name}={pid}")]);
    }
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.doing("load generator")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::new(format!("{}, {}: {}", subject.name, args.join(" "), said.trim())));
    }
    serde_json::from_slice(&output.stdout).doing("the load generator's output")
}
