//! How long a request takes when there is room to spare: at half and at four fifths of what each row can do.
//!
//! The open loop, so a stall shows with its full weight.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::measure::{Measured, Scenario, load};
use super::subjects::{APACHE_OIDC, CADDY_AUTH, NGINX_AUTH, SAME_JOB, Subjects, TORHAUS_SESSION};
use super::{nginx, say};
use crate::error::Result;
use crate::stats::Summary;

const SHARES: [f64; 2] = [0.5, 0.8];

/// Short: where a machine stands still for a moment, the others of a row's turns tell what it is like when it does not.
const TIMES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(1));

#[derive(Debug, Serialize)]
pub struct Latency {
    subject: &'static str,
    /// Of its own capacity over HTTP/1.1.
    share: f64,
    rate: u32,
    p50_us: Summary,
    p99_us: Summary,
    /// How late the generator itself sent, p99.
    late_us: f64,
    pub faults: u64,
}

/// Turn by turn. `measured` tells what each row can do.
pub async fn in_turns(subjects: &Subjects, measured: &[Measured], turns: u32, core: u32) -> Result<Vec<Latency>> {
    let mut found = Vec::new();
    for share in SHARES {
        let rows: Vec<_> = subjects
            .rows
            .iter()
            .filter(|row| SAME_JOB.contains(&row.name))
            .filter_map(|row| Some((row, rate(row.name, measured, share)?)))
            .collect();
        let mut outcomes = vec![Vec::new(); rows.len()];
        for turn in 1..=turns {
            for ((row, rate), outcomes) in rows.iter().zip(&mut outcomes) {
                let args = ["--mode", "open", "--connections", "32", "--rate", &rate.to_string()].map(str::to_owned);
                let outcome = load(subjects, row, &args, (nginx::PATH, nginx::BODY_BYTES), TIMES, core).await?;
                say(&format!(
                    "turn {turn}/{turns}  latency at {:.0} %  {:<28} {rate}/s  p99 {:.0} us",
                    share * 100.0,
                    row.name,
                    outcome.latency.p99_us
                ));
                outcomes.push(outcome);
            }
        }
        for ((row, rate), outcomes) in rows.iter().zip(outcomes) {
            let (Some(p50_us), Some(p99_us)) = (
                Summary::of(outcomes.iter().map(|outcome| outcome.latency.p50_us)),
                Summary::of(outcomes.iter().map(|outcome| outcome.latency.p99_us)),
            ) else {
                continue;
            };
            let late = outcomes.iter().filter_map(|outcome| Some(outcome.lateness.as_ref()?.p99_us));
            found.push(Latency {
                subject: row.name,
                share,
                rate: *rate,
                p50_us,
                p99_us,
                late_us: Summary::of(late).map_or(0.0, |late| late.median),
                faults: outcomes.iter().map(crate::outcome::Outcome::fault_count).sum(),
            });
        }
    }
    Ok(found)
}

/// Arrivals per second at this share of what the row did in the closed loop.
pub fn rate(subject: &str, measured: &[Measured], share: f64) -> Option<u32> {
    let own = measured.iter().filter(|one| one.scenario == Scenario::Http1 && one.subject == subject);
    let capacity = Summary::of(own.map(|one| one.outcome.per_second))?.median;
    // Rates are some ten thousand a second; the cast saturates.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and far below the limit")]
    let rate = (capacity * share) as u32;
    (rate > 0).then_some(rate)
}

pub fn write(rows: &[Latency], out: &mut String) -> std::fmt::Result {
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out, "## Latency below capacity (open loop, HTTP/1.1)\n")?;
    writeln!(out, "| of its own capacity | who | per second | p50 us | p99 us | generator late by, p99 us | faults |")?;
    writeln!(out, "|---|---|---|---|---|---|---|")?;
    for row in rows {
        writeln!(
            out,
            "| {:.0} % | {} | {} | {:.0} | {:.0} ({:.0}-{:.0}) | {:.0} | {} |",
            row.share * 100.0,
            row.subject,
            row.rate,
            row.p50_us.median,
            row.p99_us.median,
            row.p99_us.lowest,
            row.p99_us.highest,
            row.late_us,
            row.faults
        )?;
    }
    let p99 = |name: &str| rows.iter().rfind(|row| row.subject == name).map(|row| row.p99_us.median);
    let peers = [NGINX_AUTH, CADDY_AUTH, APACHE_OIDC].into_iter().filter_map(p99);
    if let (Some(own), Some(best)) = (p99(TORHAUS_SESSION), peers.reduce(f64::min)) {
        let holds = if own < best { "yes" } else { "NO" };
        writeln!(out, "\nPromised: at 80 %, a lower p99 than the best peer that does the same job. Holds: {holds}.")?;
    }
    writeln!(out)
}
