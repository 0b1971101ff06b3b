//! A reload every second while requests come: how long each takes with a large table, and that nothing is lost.

use std::fmt::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::process::Command;

use super::measure::load;
use super::subjects::{Subjects, TORHAUS_LARGE};
use super::torhaus::LARGE_ROWS;
use super::{nginx, say};
use crate::error::{Doing, Error, Result};
use crate::stats::Summary;

const TIMES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

const PAUSE: Duration = Duration::from_secs(1);

/// docs/architecture.md, Budgets.
const BUDGET: Duration = Duration::from_secs(1);

#[derive(Debug, Serialize)]
pub struct Reloads {
    times: usize,
    seconds: Summary,
    requests: u64,
    p99_us: f64,
    pub faults: u64,
}

pub async fn under_load(subjects: &Subjects, program: &Path, core: u32) -> Result<Option<Reloads>> {
    let Some(row) = subjects.rows.iter().find(|row| row.name == TORHAUS_LARGE) else {
        return Ok(None);
    };
    let Some(config) = subjects.large_config.as_deref() else {
        return Ok(None);
    };
    let args = ["--connections", "8"].map(str::to_owned);
    let mut seconds = Vec::new();
    let outcome = tokio::select! {
        outcome = load(subjects, row, &args, (nginx::PATH, nginx::BODY_BYTES), TIMES, core) => outcome?,
        error = again_and_again(program, config, &mut seconds) => return Err(error),
    };
    let faults = outcome.fault_count();
    let Some(summary) = Summary::of(seconds.iter().copied()) else {
        return Err(Error::new("no reload ended while the load ran"));
    };
    say(&format!("reloads of {LARGE_ROWS} routes under load: {:.2} s each, {faults} faults", summary.median));
    let (requests, p99_us) = (outcome.completed, outcome.latency.p99_us);
    Ok(Some(Reloads { times: seconds.len(), seconds: summary, requests, p99_us, faults }))
}

/// Ends only by an error.
async fn again_and_again(program: &Path, config: &Path, seconds: &mut Vec<f64>) -> Error {
    loop {
        tokio::time::sleep(PAUSE).await;
        match reload(program, config).await {
            Ok(took) => seconds.push(took.as_secs_f64()),
            Err(error) => return error,
        }
    }
}

async fn reload(program: &Path, config: &Path) -> Result<Duration> {
    let begun = Instant::now();
    let mut command = Command::new(program);
    command.args(["reload", "--config"]).arg(config).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.doing("torhaus reload")?;
    if !output.status.success() {
        return Err(Error::new(format!("torhaus reload: {}", String::from_utf8_lossy(&output.stderr).trim())));
    }
    Ok(begun.elapsed())
}

pub fn write(reloads: Option<&Reloads>, out: &mut String) -> std::fmt::Result {
    let Some(Reloads { times, seconds, requests, p99_us, faults }) = reloads else {
        return Ok(());
    };
    let holds = if seconds.median < BUDGET.as_secs_f64() && *faults == 0 { "yes" } else { "NO" };
    writeln!(out, "## Reloads under load (promised: {LARGE_ROWS} routes in under 1 s, no failed request)\n")?;
    writeln!(
        out,
        "{times} reloads of {LARGE_ROWS} routes and rows, one a second: {:.2} s each ({:.2}-{:.2}), with the command's own start. Meanwhile {requests} requests on 8 connections, p99 {p99_us:.0} us, {faults} faults. Holds: {holds}.\n",
        seconds.median, seconds.lowest, seconds.highest
    )
}
