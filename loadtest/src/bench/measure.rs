//! Measurements are made by child processes: this program's `run`, pinned to its core, its outcomes read as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::child::pinned;
use super::subjects::{APPLICATION, Subject, Subjects};
use super::{Extent, Turns, nginx, say};
use crate::error::{Doing, Error, Result};
use crate::load::Turn;
use crate::outcome::Outcome;
use crate::stats::Summary;

/// Before the first turn every subject answers once; what is set up wrongly shows here, not after minutes.
const ONCE: Turn = Turn::Operations(1);

/// Not counted: connections, caches and branch predictors begin here.
const FIRST: Turn = Turn::For { warm_up: Duration::from_millis(250), duration: Duration::from_millis(100) };

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
    pub fn args(self) -> &'static [&'static str] {
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

    /// How often, and how long.
    fn turns(self, extent: Extent) -> (u32, Turn) {
        match self {
            Self::Gibibyte | Self::UploadGibibyte => (extent.bodies, Turn::Operations(1)),
            Self::Http1 | Self::Http2 | Self::FullHandshakes | Self::ResumedHandshakes | Self::Mebibyte => {
                let Turns { count, warm_up, duration } = extent.short;
                (count, Turn::For { warm_up, duration })
            }
        }
    }

    /// What is asked for, and how long the answer is.
    pub fn answer(self) -> (&'static str, u64) {
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

#[derive(Debug, Clone)]
pub struct Measured {
    pub scenario: Scenario,
    pub subject: &'static str,
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
        cost_of(&self.outcome)
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

/// CPU microseconds for each operation of everything that belongs to the subject.
pub fn cost_of(outcome: &Outcome) -> f64 {
    own(&outcome.cpu_us_per_operation)
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
    let ask = async |subject: &Subject| {
        let args = ["--connections", "1"].map(str::to_owned);
        Generator::start(subjects, subject, &args, Scenario::Http1.answer(), core)?.turn(ONCE).await
    };
    for subject in &subjects.rows {
        let outcome = ask(subject).await?;
        if let Some(fault) = outcome.first_fault() {
            return Err(Error::new(format!("{} does not answer as it should: {fault}", subject.name)));
        }
        if ask(&subject.without_credentials()).await?.first_fault().is_none() {
            return Err(Error::new(format!("{} answers whoever shows nothing", subject.name)));
        }
    }
    Ok(())
}

/// Every scenario with every subject, turn after turn. Each turn begins with another subject: nobody always comes after
/// the same one.
pub async fn in_turns(subjects: &Subjects, extent: Extent, core: u32) -> Result<Vec<Measured>> {
    try_each(subjects, core).await?;
    let mut measured = Vec::new();
    for &scenario in extent.scenarios {
        measured.extend(one_scenario(subjects, scenario, scenario.turns(extent), core).await?);
    }
    Ok(measured)
}

async fn one_scenario(
    subjects: &Subjects,
    scenario: Scenario,
    (count, turn): (u32, Turn),
    core: u32,
) -> Result<Vec<Measured>> {
    let args: Vec<String> = scenario.args().iter().map(|arg| (*arg).to_owned()).collect();
    let mut rows = Vec::new();
    for subject in subjects.rows.iter().filter(|subject| subject.scenarios.contains(&scenario)) {
        let mut generator = Generator::start(subjects, subject, &args, scenario.answer(), core)?;
        if matches!(turn, Turn::For { .. }) {
            generator.turn(FIRST).await?;
        }
        rows.push((subject, generator));
    }
    let mut measured = Vec::new();
    for number in 1..=count {
        let first = number as usize % rows.len().max(1);
        let (behind, before) = rows.split_at_mut(first);
        for (subject, generator) in before.iter_mut().chain(behind) {
            let outcome = generator.turn(turn).await?;
            measured.push(Measured { scenario, subject: subject.name, outcome });
        }
        say(&format!("turn {number}/{count}  {scenario}"));
    }
    for (subject, generator) in rows {
        generator.stop().await?;
        let own: Vec<_> = measured.iter().filter(|one| one.subject == subject.name).collect();
        let median = |of: &dyn Fn(&Measured) -> f64| {
            Summary::of(own.iter().map(|one| of(one))).map_or(0.0, |summary| summary.median)
        };
        say(&format!(
            "{scenario:<33} {:<28} {:>8.1}/s {:>9.1} us cpu{}",
            subject.name,
            median(&|one| one.outcome.per_second),
            median(&Measured::cost),
            if own.iter().any(|one| one.faults() > 0) { "  FAULTS" } else { "" }
        ));
    }
    Ok(measured)
}

/// A load generator that waits for its turns.
pub struct Generator {
    name: &'static str,
    process: Child,
    turns: ChildStdin,
    outcomes: Lines<BufReader<ChildStdout>>,
}

impl Generator {
    pub fn start(
        subjects: &Subjects,
        subject: &Subject,
        args: &[String],
        answer: (&str, u64),
        core: u32,
    ) -> Result<Self> {
        let mut command = command(subjects, subject, args, answer, core);
        command.arg("--turns").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().doing("load generator")?;
        let (Some(turns), Some(outcomes)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(Error::new("the load generator has no pipes"));
        };
        Ok(Self { name: subject.name, process, turns, outcomes: BufReader::new(outcomes).lines() })
    }

    pub async fn turn(&mut self, turn: Turn) -> Result<Outcome> {
        self.turns.write_all(format!("{turn}\n").as_bytes()).await.doing("load generator")?;
        match self.outcomes.next_line().await.doing("load generator")? {
            Some(line) => serde_json::from_str(&line).doing("the load generator's output"),
            None => Err(Error::new(format!("the load generator of {} ended: it says why above", self.name))),
        }
    }

    pub async fn stop(self) -> Result<()> {
        let Self { name, mut process, turns, .. } = self;
        drop(turns);
        let status = process.wait().await.doing("load generator")?;
        if !status.success() {
            return Err(Error::new(format!("the load generator of {name} ended with {status}: it says why above")));
        }
        Ok(())
    }
}

/// One run of the generator with these arguments, at this path, for an answer of so many bytes.
pub async fn load(
    subjects: &Subjects,
    subject: &Subject,
    args: &[String],
    answer: (&str, u64),
    (warm_up, duration): (Duration, Duration),
    core: u32,
) -> Result<Outcome> {
    let mut command = command(subjects, subject, args, answer, core);
    command.args(["--json", "--warm-up", &format!("{}ms", warm_up.as_millis())]);
    command.args(["--duration", &format!("{}ms", duration.as_millis())]);
    let output = command.stdin(Stdio::null()).output().await.doing("load generator")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::new(format!("{}, {}: {}", subject.name, args.join(" "), said.trim())));
    }
    serde_json::from_slice(&output.stdout).doing("the load generator's output")
}

fn command(subjects: &Subjects, subject: &Subject, args: &[String], (path, bytes): (&str, u64), core: u32) -> Command {
    let mut command = Command::from(pinned(core, &subjects.this));
    command.args(["run", "--allow-faults", "--path", path]).args(args).kill_on_drop(true);
    command.args(["--connect", &subject.address.address().to_string(), "--host", &subject.host]);
    command.arg("--ca").arg(&subjects.ca);
    command.args(["--expect-bytes", &bytes.to_string()]);
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
    command
}
