//! What nobody should forget: a rollback that lasts, exceptions that end soon, reviews that are due.
use crate::clock;
use crate::gate::Gate;
use std::sync::Arc;
use std::time::Duration;

/// How often a rollback that lasts is said again.
const EVERY: Duration = Duration::from_secs(3600);
/// Of these, how many until exceptions and reviews are said again: what was said at load is a day old then.
const DAILY: u64 = 24;

/// Runs until the process ends.
pub async fn run(gate: Arc<Gate>) {
    let mut ticks = tokio::time::interval(EVERY);
    // The first one is at once, and all was said at load.
    ticks.tick().await;
    for hour in 1u64.. {
        ticks.tick().await;
        say(&gate, hour % DAILY == 0);
    }
}

fn say(gate: &Gate, daily: bool) {
    let snapshot = gate.snapshot.load();
    if let Some(pinned) = &snapshot.pinned {
        tracing::warn!(running = pinned.to, instead_of = pinned.from, by = pinned.by, "the policy is rolled back");
    }
    if daily {
        for problem in snapshot.policy.reminders(clock::now()) {
            let place = snapshot.policy.place(problem.line);
            tracing::warn!(file = &*place.file, line = place.line, "{}", problem.message);
        }
    }
}
