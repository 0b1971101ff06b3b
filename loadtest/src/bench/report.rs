//! The report: ratios first, then the figures they come from, then where they were taken.

use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

use super::decisions::Decision;
use super::machine::Machine;
use super::measure::{Measured, Scenario};
use super::subjects::{
    APACHE_OIDC, BARE_EDGE, CADDY_AUTH, HAPROXY, NGINX, NGINX_AUTH, TORHAUS_BEARER, TORHAUS_CERTIFICATE, TORHAUS_LARGE,
    TORHAUS_SESSION,
};
use super::{Extent, More, Turns};
use crate::error::{Doing, Result};
use crate::stats::{Estimate, Summary, ratio};

/// A subject that was busy for less of its core than this was not at its limit; then only its cost can be compared.
const SATURATED: f64 = 0.95;

/// Others on the machine that used more of a core than this disturbed the run.
const QUIET: f64 = 0.05;

/// docs/architecture.md, Budgets: those that this report can judge.
const DECISION_BUDGET_NS: f64 = 2000.0;

/// `above / below`, more is better, and what was promised. Where nothing was, the figure stands for the reader.
const RATIOS: &[(Scenario, &str, &str, Option<f64>)] = &[
    (Scenario::Http1, BARE_EDGE, NGINX, Some(0.75)),
    (Scenario::Http1, TORHAUS_CERTIFICATE, BARE_EDGE, Some(0.95)),
    (Scenario::Http1, TORHAUS_SESSION, BARE_EDGE, Some(0.95)),
    (Scenario::Http1, TORHAUS_SESSION, NGINX_AUTH, Some(1.5)),
    (Scenario::Http1, TORHAUS_SESSION, CADDY_AUTH, Some(1.5)),
    (Scenario::Http1, TORHAUS_SESSION, APACHE_OIDC, Some(1.5)),
    (Scenario::Http1, TORHAUS_LARGE, TORHAUS_SESSION, Some(0.95)),
    (Scenario::Http1, TORHAUS_BEARER, TORHAUS_SESSION, None),
    (Scenario::Http1, BARE_EDGE, HAPROXY, None),
    (Scenario::Http1, TORHAUS_CERTIFICATE, NGINX, None),
    (Scenario::Http1, TORHAUS_SESSION, NGINX, None),
    (Scenario::Http1, NGINX_AUTH, NGINX, None),
    (Scenario::Http2, BARE_EDGE, NGINX, Some(0.65)),
    (Scenario::Http2, TORHAUS_CERTIFICATE, BARE_EDGE, Some(0.95)),
    (Scenario::Http2, TORHAUS_SESSION, BARE_EDGE, Some(0.95)),
    (Scenario::Http2, TORHAUS_SESSION, NGINX_AUTH, Some(1.5)),
    (Scenario::Http2, TORHAUS_SESSION, CADDY_AUTH, Some(1.5)),
    (Scenario::Http2, TORHAUS_SESSION, APACHE_OIDC, Some(1.5)),
    (Scenario::Http2, TORHAUS_BEARER, TORHAUS_SESSION, None),
    (Scenario::Http2, BARE_EDGE, HAPROXY, None),
    (Scenario::Http2, TORHAUS_CERTIFICATE, NGINX, None),
    (Scenario::Http2, TORHAUS_SESSION, NGINX, None),
    (Scenario::Http2, NGINX_AUTH, NGINX, None),
    (Scenario::FullHandshakes, BARE_EDGE, NGINX, Some(2.0)),
    (Scenario::FullHandshakes, TORHAUS_CERTIFICATE, NGINX, Some(2.0)),
    (Scenario::FullHandshakes, TORHAUS_CERTIFICATE, BARE_EDGE, None),
    (Scenario::ResumedHandshakes, BARE_EDGE, NGINX, Some(1.5)),
    (Scenario::ResumedHandshakes, TORHAUS_CERTIFICATE, NGINX, Some(1.5)),
    (Scenario::FullHandshakes, TORHAUS_CERTIFICATE, HAPROXY, None),
    (Scenario::Mebibyte, TORHAUS_CERTIFICATE, NGINX, None),
    (Scenario::Gibibyte, TORHAUS_CERTIFICATE, NGINX, Some(0.8)),
    (Scenario::Gibibyte, BARE_EDGE, NGINX, None),
    (Scenario::UploadGibibyte, TORHAUS_CERTIFICATE, NGINX, Some(0.8)),
];

#[derive(Debug, Serialize)]
pub struct Report {
    machine: Machine,
    turns: Turns,
    turns_of_one_gibibyte: u32,
    ratios: Vec<Ratio>,
    decisions: Vec<Decision>,
    more: More,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Ratio {
    scenario: Scenario,
    above: &'static str,
    below: &'static str,
    by_rate: Option<Estimate>,
    /// CPU time of `below` divided by that of `above`, so that more is better here, too.
    by_cost: Option<Estimate>,
    /// Both were at the limit of their core, so the rates can be compared.
    rates_comparable: bool,
    promised: Option<f64>,
    holds: Option<bool>,
}

#[derive(Debug, Serialize)]
struct Row {
    scenario: Scenario,
    subject: &'static str,
    per_second: Summary,
    cpu_us_per_operation: Summary,
    core_busy: f64,
    load_core_busy: f64,
    p50_us: f64,
    p99_us: f64,
    foreign_core_share: f64,
    faults: u64,
    /// Turn by turn, in the order in which they were taken.
    per_second_by_turn: Vec<f64>,
    cpu_us_by_turn: Vec<f64>,
}

impl Report {
    pub fn new(machine: Machine, extent: Extent, decisions: Vec<Decision>, measured: &[Measured], more: More) -> Self {
        Self {
            machine,
            turns: extent.short,
            turns_of_one_gibibyte: extent.bodies,
            ratios: RATIOS.iter().filter_map(|ratio| Ratio::new(*ratio, measured)).collect(),
            decisions,
            more,
            rows: rows(measured),
        }
    }

    pub fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).doing(format!("folder `{}`", folder.display()))?;
        let json = serde_json::to_string_pretty(self).doing("report")?;
        for (name, content) in [("latest.json", json + "\n"), ("latest.md", self.markdown())] {
            let file = folder.join(name);
            std::fs::write(&file, content).doing(format!("file `{}`", file.display()))?;
        }
        Ok(())
    }

    pub fn markdown(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_markdown(&mut text);
        text
    }

    fn write_markdown(&self, out: &mut String) -> std::fmt::Result {
        let Machine { taken_at, command, commit, processor, cores, kernel, versions } = &self.machine;
        writeln!(out, "# Benchmark, {taken_at}\n")?;
        writeln!(out, "Commit `{commit}`; {processor}, {cores} cores; Linux {kernel}; {}.", versions.join("; "))?;
        let Turns { count, duration, .. } = self.turns;
        writeln!(
            out,
            "Command: `{command}`. {count} turns of {} ms, A B A B. A ratio is the mean of the middle half of its turns' ratios, with two standard errors; a figure is a median, with its spread in brackets.",
            duration.as_millis()
        )?;
        if self.turns_of_one_gibibyte > 0 {
            writeln!(out, "Bodies of 1 GiB: {} turns of one each.", self.turns_of_one_gibibyte)?;
        }
        writeln!(out)?;
        self.write_ratios(out)?;
        self.write_decisions(out)?;
        self.more.write(out)?;
        self.write_rows(out)
    }

    fn write_ratios(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "## Ratios (more is better)\n")?;
        writeln!(out, "| scenario | ratio | by CPU per operation | by rate | promised | holds |")?;
        writeln!(out, "|---|---|---|---|---|---|")?;
        for ratio in &self.ratios {
            let Ratio { scenario, above, below, by_rate, by_cost, rates_comparable, promised, holds } = ratio;
            let rate = match (by_rate, rates_comparable) {
                (Some(_), false) => "not at the limit".to_owned(),
                (estimate, _) => with_error(*estimate),
            };
            let promised = promised.map_or_else(String::new, |floor| format!(">= {floor}"));
            let holds = holds.map_or("", |holds| if holds { "yes" } else { "NO" });
            let cost = with_error(*by_cost);
            writeln!(out, "| {scenario} | {above} / {below} | {cost} | {rate} | {promised} | {holds} |")?;
        }
        writeln!(out)
    }

    fn write_decisions(&self, out: &mut String) -> std::fmt::Result {
        if self.decisions.is_empty() {
            return writeln!(out, "Decisions were left out.\n");
        }
        writeln!(out, "## One decision (criterion; promised: {DECISION_BUDGET_NS:.0} ns, flat)\n")?;
        writeln!(out, "| benchmark | median ns | of the smallest table's | holds |")?;
        writeln!(out, "|---|---|---|---|")?;
        for Decision { name, median_ns } in &self.decisions {
            // Only decisions were promised; what else the benchmark measures stands for the reader.
            let holds = match (name.starts_with("decide/"), *median_ns < DECISION_BUDGET_NS) {
                (true, true) => "yes",
                (true, false) => "NO",
                (false, _) => "",
            };
            let growth = growth(&self.decisions, name).map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            writeln!(out, "| {name} | {median_ns:.0} | {growth} | {holds} |")?;
        }
        writeln!(out)
    }

    fn write_rows(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "## Figures\n")?;
        writeln!(
            out,
            "| scenario | who | per second | CPU us each | core busy | load core busy | p50 us | p99 us | strangers | faults |"
        )?;
        writeln!(out, "|---|---|---|---|---|---|---|---|---|---|")?;
        for row in &self.rows {
            writeln!(
                out,
                "| {} | {} | {} | {} | {:.0} % | {:.0} % | {:.0} | {:.0} | {:.0} %{} | {} |",
                row.scenario,
                row.subject,
                with_spread(row.per_second, 0),
                with_spread(row.cpu_us_per_operation, 1),
                row.core_busy * 100.0,
                row.load_core_busy * 100.0,
                row.p50_us,
                row.p99_us,
                row.foreign_core_share * 100.0,
                if row.foreign_core_share > QUIET { " (!)" } else { "" },
                row.faults,
            )?;
        }
        writeln!(
            out,
            "\nLatencies are those of a closed loop at capacity: queueing, mostly. \"Strangers\" is what programs outside \
             the benchmark used of a core; above {:.0} % take the figures with care.",
            QUIET * 100.0
        )
    }
}

impl Ratio {
    /// Nothing when either side was left out.
    fn new(
        (scenario, above, below, promised): (Scenario, &'static str, &'static str, Option<f64>),
        measured: &[Measured],
    ) -> Option<Self> {
        let of = |subject: &str| -> Vec<&Measured> {
            measured.iter().filter(|m| m.scenario == scenario && m.subject == subject).collect()
        };
        let (a, b) = (of(above), of(below));
        if a.is_empty() || b.is_empty() {
            return None;
        }
        let by_rate = ratio(&rates(&a), &rates(&b));
        let by_cost = ratio(&costs(&b), &costs(&a));
        let rates_comparable = [&a, &b].into_iter().all(|side| median(side, Measured::busy) >= SATURATED);
        let judged = if rates_comparable { by_rate } else { by_cost };
        let holds = promised.zip(judged).map(|(floor, found)| found.value >= floor);
        Some(Self { scenario, above, below, by_rate, by_cost, rates_comparable, promised, holds })
    }
}

/// How much more than with the smallest table of its series (`decide/deny/10`, `decide/deny/1000` ...) this one takes.
fn growth(decisions: &[Decision], name: &str) -> Option<f64> {
    let series = |name: &str| {
        let (series, rows) = name.rsplit_once('/')?;
        Some((series.to_owned(), rows.parse::<u64>().ok()?))
    };
    let (wanted, _) = series(name)?;
    let of_series = decisions.iter().filter_map(|decision| {
        let (found, rows) = series(&decision.name)?;
        (found == wanted).then_some((rows, decision.median_ns))
    });
    let (_, smallest) = of_series.min_by_key(|(rows, _)| *rows)?;
    Some(decisions.iter().find(|decision| decision.name == name)?.median_ns / smallest)
}

fn rows(measured: &[Measured]) -> Vec<Row> {
    let mut keys: Vec<(Scenario, &'static str)> = Vec::new();
    for key in measured.iter().map(|m| (m.scenario, m.subject)) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys.into_iter().filter_map(|key| row(key, measured)).collect()
}

fn row((scenario, subject): (Scenario, &'static str), measured: &[Measured]) -> Option<Row> {
    let of: Vec<_> = measured.iter().filter(|m| m.scenario == scenario && m.subject == subject).collect();
    Some(Row {
        scenario,
        subject,
        per_second: Summary::of(rates(&of))?,
        cpu_us_per_operation: Summary::of(costs(&of))?,
        core_busy: median(&of, Measured::busy),
        load_core_busy: median(&of, Measured::load_busy),
        p50_us: median(&of, |m| m.outcome.latency.p50_us),
        p99_us: median(&of, |m| m.outcome.latency.p99_us),
        foreign_core_share: median(&of, |m| m.outcome.foreign_core_share),
        faults: of.iter().map(|m| m.faults()).sum(),
        per_second_by_turn: rates(&of).into_iter().map(short).collect(),
        cpu_us_by_turn: costs(&of).into_iter().map(short).collect(),
    })
}

fn rates(measured: &[&Measured]) -> Vec<f64> {
    measured.iter().map(|m| m.outcome.per_second).collect()
}

fn costs(measured: &[&Measured]) -> Vec<f64> {
    measured.iter().map(|m| m.cost()).collect()
}

fn median(measured: &[&Measured], of: impl Fn(&Measured) -> f64) -> f64 {
    Summary::of(measured.iter().map(|m| of(m))).map_or(0.0, |summary| summary.median)
}

/// A thousandth is more than a turn can tell.
fn short(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn with_error(estimate: Option<Estimate>) -> String {
    estimate.map_or_else(|| "none".to_owned(), |Estimate { value, within }| format!("{value:.2} ± {within:.2}"))
}

fn with_spread(summary: Summary, digits: usize) -> String {
    format!("{:.digits$} ({:.0} %)", summary.median, summary.spread() * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Busy, Outcome, PROXY};
    use crate::tally::Tally;
    use std::time::Duration;

    fn measured(subject: &'static str, operations: u32, cpu: Duration) -> Measured {
        let mut tally = Tally::new().unwrap();
        (0..operations).for_each(|_| tally.success(Duration::from_micros(100)));
        let busy = Busy {
            wall: Duration::from_secs(1),
            processes: vec![(PROXY.to_owned(), cpu)],
            own: Duration::ZERO,
            foreign: Duration::ZERO,
            resident: Vec::new(),
        };
        Measured { scenario: Scenario::Http1, subject, outcome: Outcome::new(&tally, busy) }
    }

    fn judged(bare: (u32, u64), nginx: (u32, u64)) -> Ratio {
        let turn =
            |subject, (operations, milliseconds)| measured(subject, operations, Duration::from_millis(milliseconds));
        let all: Vec<_> = (0..4).flat_map(|_| [turn(BARE_EDGE, bare), turn(NGINX, nginx)]).collect();
        Ratio::new((Scenario::Http1, BARE_EDGE, NGINX, Some(0.75)), &all).unwrap()
    }

    #[test]
    fn at_the_limit_of_both_cores_the_rate_decides() {
        let found = judged((80, 1000), (100, 1000));
        assert!(found.rates_comparable);
        assert_eq!((found.by_rate.unwrap().value, found.holds), (0.8, Some(true)));
        assert_eq!(judged((70, 1000), (100, 1000)).holds, Some(false));
    }

    #[test]
    fn a_peer_that_was_not_at_its_limit_is_compared_by_its_cost() {
        // The same rate, because the generator gave no more, but nginx used half the CPU for it.
        let found = judged((100, 1000), (100, 500));
        assert!(!found.rates_comparable);
        assert_eq!((found.by_cost.unwrap().value, found.holds), (0.5, Some(false)));
    }

    #[test]
    fn a_peer_that_was_left_out_makes_no_ratio() {
        let only = [measured(NGINX, 10, Duration::from_secs(1))];
        assert!(Ratio::new((Scenario::Http1, BARE_EDGE, NGINX, None), &only).is_none());
    }

    #[test]
    fn growth_compares_within_a_series() {
        let of = |name: &str, median_ns| Decision { name: name.to_owned(), median_ns };
        let all = [of("decide/deny/10", 100.0), of("decide/deny/1000", 110.0), of("decide/allow/10", 400.0)];
        assert!((growth(&all, "decide/deny/1000").unwrap() - 1.1).abs() < 1e-9);
        assert_eq!(growth(&all, "explain"), None);
    }
}
