//! How a request's cost and the memory grow with the number of people who are signed in. All of them signed in for real,
//! and ask in turn.

use std::fmt::Write;
use std::path::Path;

use serde::Serialize;
use tokio::task::JoinSet;

use super::login::Browser;
use super::measure::{Generator, Scenario, cost_of};
use super::pki::private_file;
use super::subjects::{Subject, Subjects, TORHAUS_SESSION};
use super::torhaus::PERSON_HOST;
use super::{Turns, say};
use crate::cpu::Group;
use crate::error::{Doing, Error, Result};
use crate::load::Turn;
use crate::stats::{Estimate, ratio};

/// Sessions that are asked with.
const SIZES: [usize; 3] = [1, 1_000, 10_000];

/// Who sign in at a time.
const BROWSERS: usize = 8;

/// docs/architecture.md, Budgets.
const PROMISED: f64 = 0.95;
const PROMISED_KIB: f64 = 1.0;

#[derive(Debug, Serialize)]
pub struct Sessions {
    sizes: Vec<Size>,
    /// Growth of what the process has resident, by sign-in, with whatever else it leaves behind.
    kib_each: f64,
    pub faults: u64,
}

#[derive(Debug, Serialize)]
struct Size {
    sessions: usize,
    /// CPU time of one request with a single session, divided by that with so many: more is better.
    by_cost: Option<Estimate>,
}

pub async fn growth(subjects: &Subjects, folder: &Path, turns: Turns, core: u32) -> Result<Option<Sessions>> {
    let Some(row) = subjects.rows.iter().find(|row| row.name == TORHAUS_SESSION) else {
        return Ok(None);
    };
    let most = SIZES.into_iter().max().unwrap_or_default();
    say(&format!("sessions: {most} people sign in"));
    let before = resident(row)?;
    let cookies = sign_in(subjects, row, most).await?;
    let kib_each = resident(row)?.saturating_sub(before) as f64 / 1024.0 / most as f64;
    let mut rows = Vec::new();
    for size in SIZES {
        let some = cookies.get(..size).unwrap_or_default().join("\n");
        let cookie_file = Some(private_file(folder, &format!("cookies-{size}"), &some)?);
        let args = Scenario::Http1.args().iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>();
        let subject = Subject { cookie_file, ..row.clone() };
        rows.push((Generator::start(subjects, &subject, &args, Scenario::Http1.answer(), core)?, Vec::new()));
    }
    let turn = Turn::For { warm_up: turns.warm_up, duration: turns.duration };
    let mut faults = 0;
    // The first turn is not counted.
    for number in 0..=turns.count {
        for (generator, costs) in &mut rows {
            let outcome = generator.turn(turn).await?;
            faults += outcome.fault_count();
            if number > 0 {
                costs.push(cost_of(&outcome));
            }
        }
    }
    let single = rows.first().map(|(_, costs)| costs.clone()).unwrap_or_default();
    let mut sizes = Vec::new();
    for ((generator, costs), sessions) in rows.into_iter().zip(SIZES) {
        generator.stop().await?;
        sizes.push(Size { sessions, by_cost: ratio(&single, &costs) });
    }
    say(&format!("sessions: {kib_each:.2} KiB each"));
    Ok(Some(Sessions { sizes, kib_each, faults }))
}

/// Bytes of the process.
fn resident(row: &Subject) -> Result<u64> {
    row.own_pids().map(|pid| Group::of(pid)?.resident()).sum()
}

/// Their cookies.
async fn sign_in(subjects: &Subjects, row: &Subject, count: usize) -> Result<Vec<String>> {
    let mut browsers = JoinSet::new();
    for number in 0..BROWSERS {
        let mut browser = Browser::new(row.address, &subjects.ca)?;
        let share = count / BROWSERS + usize::from(number < count % BROWSERS);
        browsers.spawn(async move {
            let mut cookies = Vec::with_capacity(share);
            for _ in 0..share {
                cookies.push(browser.session(PERSON_HOST).await?);
            }
            Ok::<_, Error>(cookies)
        });
    }
    let mut cookies = Vec::with_capacity(count);
    while let Some(signed_in) = browsers.join_next().await {
        cookies.extend(signed_in.doing("sign-in")??);
    }
    Ok(cookies)
}

pub fn write(sessions: Option<&Sessions>, out: &mut String) -> std::fmt::Result {
    let Some(Sessions { sizes, kib_each, faults }) = sessions else {
        return Ok(());
    };
    writeln!(out, "## Sessions (promised: no dearer than {PROMISED}, {PROMISED_KIB:.0} KiB each)\n")?;
    writeln!(out, "{TORHAUS_SESSION}, HTTP/1.1; each request shows the next of so many people's cookies.\n")?;
    writeln!(out, "| sessions | one session / so many, by CPU per operation | holds |")?;
    writeln!(out, "|---|---|---|")?;
    for Size { sessions, by_cost } in sizes {
        let Some(Estimate { value, within }) = by_cost else { continue };
        let holds = if *value >= PROMISED { "yes" } else { "NO" };
        writeln!(out, "| {sessions} | {value:.2} ± {within:.2} | {holds} |")?;
    }
    let holds = if *kib_each < PROMISED_KIB { "yes" } else { "NO" };
    writeln!(
        out,
        "\nMemory: {kib_each:.2} KiB for each sign-in, with whatever else it leaves behind. Holds: {holds}. {faults} faults.\n"
    )
}
