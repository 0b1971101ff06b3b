//! One decision with 10, 1,000 and 10,000 rows: the budget is under 2 microseconds, and flat.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark is a test")]
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use std::hash::RandomState;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;
use torhaus_authz::*;

const NOW: Timestamp = Timestamp::from_seconds(1_782_907_200);

fn at<T>(value: impl Into<T>) -> Located<T> {
    Located { value: value.into(), line: 1 }
}

fn country(code: &str) -> Country {
    Country::parse(code).expect("a country")
}

fn guard(name: &str, condition: Condition) -> GuardDraft {
    GuardDraft { name: at(name), condition }
}

/// Rows with eight conditions each, 200 networks, exceptions here and there.
fn policy(rows: usize) -> Policy {
    let networks = (0..200u32).map(|n| at(ipnet::Ipv4Net::new((0x0a00_0000 + n * 65_536).into(), 16).unwrap()));
    let device = || Condition::ClientCertificate(at("devices"));
    let place = |code| Condition::CountryIn(vec![country(code)]);
    let row = |n: usize| RowDraft {
        resource: at(format!("app-{n}")),
        sensitivity: None,
        description: None,
        owner: None,
        review_by: None,
        allow: vec![at(format!("group:team-{n}")), at("group:staff")],
        zones: vec![(at("internal"), at(CellDraft::Tier("mfa".to_owned()))), (at("external"), at(CellDraft::Deny))],
        require: vec![
            guard("device", device()),
            guard("near", Condition::CountryIn(["AT", "CH", "DE"].map(country).into())),
        ],
        deny: vec![
            guard("kp", place("KP")),
            guard("lab", Condition::Zones(vec![at("lab")])),
            guard("bob", Condition::Users(vec![at("bob")])),
        ],
        raise: ["FR", "IT", "ES"]
            .map(|code| RaiseDraft { name: at(code), when: place(code), to: at("hardware"), ignore_unknown: false })
            .into(),
        max_age: None,
        record_every: false,
    };
    let exception = |n: usize| ExceptionDraft {
        id: at(format!("EX-{n}")),
        resource: at(format!("app-{n}")),
        allow: vec![at("user:carol")],
        zone: at("external"),
        tier: at("hardware"),
        owner: "alice".to_owned(),
        reason: "audit".to_owned(),
        expires: NOW.plus(Duration::from_secs(86_400)),
    };
    let tier = |name: &str| TierDraft { name: at(name), max_age: Duration::from_secs(28_800), factors: String::new() };
    Policy::build(PolicyDraft {
        file: "policy.yaml".to_owned(),
        version: "5f1e".to_owned(),
        zones: vec![
            ZoneDraft {
                name: at("internal"),
                networks: networks.map(|n: Located<ipnet::Ipv4Net>| at(n.value)).collect(),
                listeners: vec![at("mesh")],
            },
            ZoneDraft { name: at("lab"), networks: vec![], listeners: vec![at("lab")] },
        ],
        tiers: ["standard", "mfa", "hardware"].map(tier).into(),
        rows: (0..rows).map(row).collect(),
        exceptions: (0..rows).step_by(10).map(exception).collect(),
    })
    .expect("a policy")
}

fn facts(resource: &str) -> Facts<'_> {
    Facts {
        listener: "public",
        address: Fact::Known("10.3.2.1".parse().unwrap()),
        identity: Identity::User(Arc::new(User {
            name: "dana".into(),
            provider: "corp".into(),
            issuer: "https://idp.example.test".into(),
            subject: "4711".into(),
            federated: false,
        })),
        groups: Fact::Known(Arc::new((0..40).map(|n| format!("g{n}")).chain(["staff".to_owned()]).collect())),
        proofs: [Proof { tier: "mfa".into(), proven_at: NOW, provider: "corp".into() }].into(),
        certificate: Fact::Known(Some(Arc::new(Certificate {
            trust_domain: "devices".into(),
            sha256: "ab".repeat(32).into(),
            serial: "01".into(),
            not_after: NOW.plus(Duration::from_secs(3600)),
            user: None,
        }))),
        country: Fact::Known(country("DE")),
        ..Facts::unknown(NOW, resource)
    }
}

fn decide(c: &mut Criterion) {
    let mut group = c.benchmark_group("decide");
    for rows in [10, 1_000, 10_000] {
        let policy = policy(rows);
        let names: Vec<String> = (0..rows).map(|n| format!("app-{n}")).collect();
        // A prime stride visits the rows in an order no cache can guess; the facts are warm, as the gate's are.
        let mut facts = facts("app-0");
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
