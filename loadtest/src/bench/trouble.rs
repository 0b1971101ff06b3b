//! What others notice when something that the gate depends on is slow or not there: the latency of requests that do not
//! need it, at half of the row's capacity, with the trouble and without, turn by turn.

use std::fmt::Write;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::task::JoinSet;

use super::latency::rate;
use super::login::Browser;
use super::measure::{Measured, load};
use super::subjects::{Depends, Subject, Subjects, TORHAUS_SESSION};
use super::torhaus::{DEAD_HOST, PERSON_HOST, SILENT_HOST};
use super::{nginx, say};
use crate::connection::Connection;
use crate::error::{Doing, Error, Result};
use crate::stats::Summary;
use crate::target::{Credentials, Expected, Target, Version};
use crate::tls::{self, KeyExchange, Tickets};

const SHARE: f64 = 0.5;
const TURNS: u32 = 10;
const TIMES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(1));

/// Callers at the dead server, each with a pause, so that the trouble is not that they take the core.
const CALLERS: usize = 8;
const PAUSE: Duration = Duration::from_millis(10);
/// Who wait for an answer that does not come.
const WAITING: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    None,
    DeadServer,
    SilentServer,
    SilentProvider,
    LockedStore,
}

const ALL: [Kind; 5] = [Kind::None, Kind::DeadServer, Kind::SilentServer, Kind::SilentProvider, Kind::LockedStore];

impl Kind {
    fn words(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::DeadServer => "an application that refuses connections, asked 800 times a second",
            Self::SilentServer => "an application that never answers, 64 waiting for it",
            Self::SilentProvider => "a provider that never answers, 64 signing in",
            Self::LockedStore => "a store that nobody may write to",
        }
    }
}

#[derive(Debug, Serialize)]
pub struct Trouble {
    kind: Kind,
    p50_us: Summary,
    p99_us: Summary,
    /// Of those that have nothing to do with it.
    pub faults: u64,
}

pub async fn each(subjects: &Subjects, measured: &[Measured], core: u32) -> Result<Vec<Trouble>> {
    let row = subjects.rows.iter().find(|row| row.name == TORHAUS_SESSION);
    let (Some(row), Some(depends)) = (row, &subjects.depends) else { return Ok(Vec::new()) };
    let Some(rate) = rate(row.name, measured, SHARE) else { return Ok(Vec::new()) };
    let args = ["--mode", "open", "--connections", "32", "--rate", &rate.to_string()].map(str::to_owned);
    let mut outcomes = ALL.map(|kind| (kind, Vec::new()));
    for turn in 1..=TURNS {
        for (kind, outcomes) in &mut outcomes {
            let trouble = begin(*kind, subjects, row, depends).await?;
            let outcome = load(subjects, row, &args, (nginx::PATH, nginx::BODY_BYTES), TIMES, core).await;
            depends.provider.be_silent(false);
            drop(trouble);
            let outcome = outcome?;
            let p99 = outcome.latency.p99_us;
            say(&format!("turn {turn}/{TURNS}  trouble: {}: {rate}/s  p99 {p99:.0} us", kind.words()));
            outcomes.push(outcome);
        }
    }
    let rows = outcomes.into_iter().filter_map(|(kind, outcomes)| {
        Some(Trouble {
            kind,
            p50_us: Summary::of(outcomes.iter().map(|outcome| outcome.latency.p50_us))?,
            p99_us: Summary::of(outcomes.iter().map(|outcome| outcome.latency.p99_us))?,
            faults: outcomes.iter().map(crate::outcome::Outcome::fault_count).sum(),
        })
    });
    Ok(rows.collect())
}

/// The trouble lasts as long as what this answers with.
async fn begin(kind: Kind, subjects: &Subjects, row: &Subject, depends: &Depends) -> Result<JoinSet<()>> {
    let mut callers = JoinSet::new();
    match kind {
        Kind::None => {}
        Kind::DeadServer => {
            let target = Arc::new(target(row, DEAD_HOST, 503)?);
            for _ in 0..CALLERS {
                let mut connection = open(subjects, &target).await?;
                // The first answer shows that it is the trouble that was meant.
                connection.exchange(&target).await.map_err(|fault| wrong(&fault.detail))?;
                let target = Arc::clone(&target);
                callers.spawn(async move {
                    while connection.exchange(&target).await.is_ok() {
                        tokio::time::sleep(PAUSE).await;
                    }
                });
            }
        }
        Kind::SilentServer => {
            let target = Arc::new(target(row, SILENT_HOST, 200)?);
            for _ in 0..WAITING {
                let mut connection = open(subjects, &target).await?;
                let target = Arc::clone(&target);
                callers.spawn(async move { drop(connection.exchange(&target).await) });
            }
        }
        Kind::SilentProvider => {
            depends.provider.be_silent(true);
            for _ in 0..WAITING {
                let mut browser = Browser::new(row.address, &subjects.ca)?;
                callers.spawn(async move { drop(browser.session(PERSON_HOST).await) });
            }
        }
        Kind::LockedStore => {
            let mut command = Command::new("sqlite3");
            command.arg(&depends.store).stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
            let mut process = command.spawn().doing("sqlite3")?;
            let Some(mut input) = process.stdin.take() else { return Err(Error::new("sqlite3 has no input")) };
            input.write_all(b".timeout 5000\nBEGIN EXCLUSIVE;\n").await.doing("sqlite3")?;
            callers.spawn(async move {
                // As long as its input is open, it holds the lock.
                let _ended = process.wait().await;
                drop(input);
            });
        }
    }
    Ok(callers)
}

fn target(row: &Subject, host: &str, status: u16) -> Result<Target> {
    let expected = Expected { status, body_bytes: None };
    Target::new(row.address, host, nginx::PATH, Version::Http1, &Credentials::default(), expected)
}

async fn open(subjects: &Subjects, target: &Target) -> Result<Connection> {
    let identity = tls::identity(&subjects.client.cert, &subjects.client.key)?;
    let roots = tls::certificates(&subjects.ca)?;
    let config = tls::client(roots, Some(identity), Version::Http1, KeyExchange::X25519, Tickets::Refused)?;
    Connection::open(target, &config).await.map_err(|fault| wrong(&fault.detail))
}

fn wrong(detail: &str) -> Error {
    Error::new(format!("the trouble is not the one that was meant: {detail}"))
}

pub fn write(rows: &[Trouble], out: &mut String) -> std::fmt::Result {
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out, "## Slow and dead dependencies\n")?;
    writeln!(
        out,
        "{TORHAUS_SESSION}, open loop at {:.0} % of its capacity, HTTP/1.1, while something that these requests do not need is in trouble.\n",
        SHARE * 100.0
    )?;
    writeln!(out, "| trouble | p50 us | p99 us | faults |")?;
    writeln!(out, "|---|---|---|---|")?;
    for Trouble { kind, p50_us, p99_us, faults } in rows {
        let Summary { median, lowest, highest } = p99_us;
        let words = kind.words();
        writeln!(out, "| {words} | {:.0} | {median:.0} ({lowest:.0}-{highest:.0}) | {faults} |", p50_us.median)?;
    }
    writeln!(out)
}
