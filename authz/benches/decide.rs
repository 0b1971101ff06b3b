//! One decision with 10, 1,000 and 10,000 rows: the budget is under 2 microseconds, and flat. Two ways of asking: for one
//! row again and again, which shows the work of a decision, and for all rows in an order that no cache can guess, which
//! adds what the processor waits for memory.
#![expect(clippy::unwrap_used, reason = "a benchmark is a test")]
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use std::hash::RandomState;
use std::hint::black_box;
use torhaus_authz::*;

#[path = "table/mod.rs"]
mod table;
use table::{facts, policy};

fn decide(c: &mut Criterion) {
    let mut group = c.benchmark_group("decide");
    for rows in [10, 1_000, 10_000] {
        let policy = policy(rows);
        let names: Vec<String> = (0..rows).map(|n| format!("app-{n}")).collect();
        let mut facts = facts("app-7");
        group.bench_function(BenchmarkId::new("allow, 8 conditions, one row", rows), |b| {
            b.iter(|| {
                let decision = policy.decide(black_box(&facts));
                assert_eq!(decision.reason, Reason::Allowed);
                decision
            });
        });
        // A prime stride; the facts are warm, as the gate's are.
        let mut next = 0usize;
        group.bench_function(BenchmarkId::new("allow, 8 conditions", rows), |b| {
            b.iter(|| {
                next = (next + 7919) % rows;
                facts.resource = names.get(next).unwrap();
                let decision = policy.decide(black_box(&facts));
                assert_eq!(decision.reason, Reason::Allowed);
                decision
            });
        });
        let outside =
            Facts { address: Fact::Known("203.0.113.5".parse().unwrap()), resource: "app-3", ..facts.clone() };
        group.bench_function(BenchmarkId::new("deny", rows), |b| b.iter(|| policy.decide(black_box(&outside))));
    }
    group.finish();
}

fn record(c: &mut Criterion) {
    let (policy, facts, state) = (policy(10), facts("app-3"), RandomState::new());
    let decision = policy.decide(&facts);
    c.bench_function("fingerprint", |b| b.iter(|| fingerprint(black_box(&facts), &decision, &state)));
    let entry = Entry::decided("d1", &facts, &decision);
    let mut chain = Chain::default();
    c.bench_function("chain append", |b| b.iter(|| chain.append(black_box(&entry)).unwrap()));
    c.bench_function("explain", |b| b.iter(|| explain(&policy, black_box(&facts), &decision)));
}

criterion_group!(benches, decide, record);
criterion_main!(benches);
