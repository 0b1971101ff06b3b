//! What a connection costs that asks nothing: memory of the proxy, with its side to the application closed or kept.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::measure::{load, of_subject};
use super::subjects::{BARE_EDGE, NGINX, Subjects, TORHAUS_CERTIFICATE};
use super::{nginx, say};
use crate::error::Result;

const CONNECTIONS: u32 = 10_000;

const TIMES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3));

/// docs/architecture.md, Budgets.
const BUDGET_KIB: f64 = 40.0;

#[derive(Debug, Serialize)]
pub struct Idle {
    subject: &'static str,
    open: u64,
    kib_each: f64,
    core_share: f64,
    pub faults: u64,
}

/// Once for each process: what an allocator keeps from the first time would hide the second.
pub async fn each(subjects: &Subjects, core: u32) -> Result<Vec<Idle>> {
    let mut found = Vec::new();
    for name in [NGINX, BARE_EDGE, TORHAUS_CERTIFICATE] {
        let Some(row) = subjects.rows.iter().find(|row| row.name == name) else {
            continue;
        };
        let args = ["--mode", "idle", "--connections", &CONNECTIONS.to_string()].map(str::to_owned);
        let outcome = load(subjects, row, &args, (nginx::PATH, nginx::BODY_BYTES), TIMES, core).await?;
        let grown: u64 = of_subject(&outcome.resident).map(|memory| memory.after.saturating_sub(memory.before)).sum();
        let open = outcome.full_handshakes + outcome.resumed_handshakes;
        let kib_each = grown as f64 / 1024.0 / (open.max(1) as f64);
        say(&format!("idle connections  {name:<28} {open} open, {kib_each:.1} KiB each"));
        let core_share = of_subject(&outcome.core_share).sum();
        found.push(Idle { subject: row.name, open, kib_each, core_share, faults: outcome.fault_count() });
    }
    Ok(found)
}

pub fn write(rows: &[Idle], out: &mut String) -> std::fmt::Result {
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out, "## Idle connections (promised: under {BUDGET_KIB:.0} KiB each)\n")?;
    writeln!(out, "Each asked once and is left alone; memory is the growth of what the proxy has resident.\n")?;
    writeln!(out, "| who | open | KiB each | core busy meanwhile | faults | holds |")?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    for row in rows {
        let ours = row.subject != NGINX;
        let holds = if !ours {
            ""
        } else if row.kib_each < BUDGET_KIB {
            "yes"
        } else {
            "NO"
        };
        let Idle { subject, open, kib_each, core_share, faults } = row;
        writeln!(out, "| {subject} | {open} | {kib_each:.1} | {:.1} % | {faults} | {holds} |", core_share * 100.0)?;
    }
    writeln!(out)
}
