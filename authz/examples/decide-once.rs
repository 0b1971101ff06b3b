//! Decides a request a thousand times and says the answers: what `tests/instructions.test.mjs` counts the processor's
//! instructions of. `decide-once ROWS allow|deny`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "only a test runs it"
)]
#[path = "../benches/table/mod.rs"]
mod table;

use std::hint::black_box;
use torhaus_authz::{Fact, Facts, Policy, Reason};

const TIMES: usize = 1000;

fn main() {
    let mut words = std::env::args().skip(1);
    let rows: usize = words.next().and_then(|word| word.parse().ok()).expect("how many rows");
    let (policy, mut facts) = (table::policy(rows), table::facts("app-0"));
    let expected = match words.next().as_deref() {
        Some("allow") => Reason::Allowed,
        Some("deny") => {
            facts.address = Fact::Known("203.0.113.5".parse().unwrap());
            Reason::ZoneDenied
        }
        other => panic!("`allow` or `deny`, not {other:?}"),
    };
    let names: Vec<String> = (0..TIMES).map(|n| format!("app-{}", n * 7919 % rows)).collect();
    for name in &names {
        facts.resource = name;
        assert_eq!(measured_decision(&policy, &facts), expected);
    }
    println!("{TIMES}");
}

/// The function whose instructions are counted, by its name.
#[inline(never)]
fn measured_decision(policy: &Policy, facts: &Facts<'_>) -> Reason {
    black_box(policy.decide(black_box(facts))).reason
}
