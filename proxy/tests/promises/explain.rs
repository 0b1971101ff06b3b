//! Explain equals decide: what an administrator is told is what the gate does.
use crate::harness::files::RESOURCES;
use crate::harness::{Door, World};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use torhaus_authz::{
    Country, Fact, Facts, Groups, Identity, Policy, Proof, Service, SpiffeId, Timestamp, User, Why, explain,
};

const PEOPLE: [(&str, &str); 9] = [
    ("alice", "standard"),
    ("alice", "mfa"),
    ("alice", "hardware"),
    ("dana", "standard"),
    ("dana", "mfa"),
    ("eve", "standard"),
    ("eve", "mfa"),
    ("eve", "hardware"),
    ("mallory", "standard"),
];
const THROUGH_THE_COMMAND_LINE: usize = 10;

fn load(world: &World) -> Arc<Policy> {
    let now = Timestamp::from_seconds(time::OffsetDateTime::now_utc().unix_timestamp());
    torhaus_config::load(&world.path("torhaus.yaml"), now).unwrap_or_else(|e| panic!("{e}")).policy.clone()
}

/// The gate's facts, as an administrator would type them.
fn arguments(person: &str, tier: &str, door: Door, url: &str) -> Vec<String> {
    let groups = crate::harness::idp::person(person).groups.join(",");
    let address = world_address(door);
    let listener = door.listener();
    [
        "--url",
        url,
        "--user",
        person,
        "--groups",
        &groups,
        "--proven",
        tier,
        "--ip",
        address,
        "--listener",
        listener,
        "--certificate",
        "none",
        "--output",
        "json",
    ]
    .map(str::to_owned)
    .into()
}

fn world_address(_: Door) -> &'static str {
    "127.0.0.1"
}

#[tokio::test]
async fn explain_equals_decide_through_the_listener() {
    let world = World::start().await;
    let policy = load(&world);
    let mut jars = BTreeMap::new();
    for (person, tier) in PEOPLE {
        let mut browser = world.browser(Door::Inside).of(person);
        let answer = browser.open(&format!("https://apps.test/level-{tier}")).await;
        assert_eq!(answer.status, 200, "{person} {tier}: {:?}", browser.trail);
        jars.insert((person, tier), browser.jar);
    }
    let mut random = StdRng::seed_from_u64(7);
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    // `payroll` has a row and no route: nobody gets as far as a decision about it.
    let routed: Vec<&str> = RESOURCES.into_iter().filter(|resource| *resource != "payroll").collect();
    for round in 0..200 {
        let (person, tier) = PEOPLE[random.random_range(0..PEOPLE.len())];
        let resource = routed[random.random_range(0..routed.len())];
        let door = Door::BOTH[random.random_range(0..2)];
        let mut browser = world.browser(door);
        browser.jar = jars[&(person, tier)].clone();
        let url = format!("https://apps.test/{resource}/x{round}");
        let answer = browser.fetch(&url).await;
        let (_, reason) = answer.outcome();
        *reasons.entry(reason.clone()).or_default() += 1;

        let groups: Groups = crate::harness::idp::person(person).groups.iter().copied().collect();
        let now = Timestamp::from_seconds(time::OffsetDateTime::now_utc().unix_timestamp());
        let facts = Facts {
            listener: door.listener(),
            address: Fact::Known([127, 0, 0, 1].into()),
            identity: user(person),
            groups: Fact::Known(Arc::new(groups)),
            proofs: Arc::from([Proof { tier: tier.into(), proven_at: now, provider: "demo".into() }]),
            certificate: Fact::Known(None),
            ..Facts::unknown(now, resource)
        };
        let decision = policy.decide(&facts);
        let told = explain(&policy, &facts, &decision);
        let what = format!("{person} ({tier}) wants {resource} {door:?}");
        assert_eq!((told.reason.as_str(), told.verdict), (&*reason, decision.verdict.kind()), "{what}");
        if let Some(number) = answer.decision() {
            let line = world.recorded(&number);
            assert_eq!(
                (&line["reason"], &line["tier"]),
                (&reason.clone().into(), &serde_json::to_value(&told.tier).unwrap()),
                "{what}"
            );
        } else {
            let lines = world.recorded_with(&[("resource", resource), ("zone", door.zone()), ("reason", "allowed")]);
            assert!(lines.iter().any(|line| line["who"]["name"] == person), "{what}: no line");
        }
        if round % (200 / THROUGH_THE_COMMAND_LINE) == 0 {
            let arguments = arguments(person, tier, door, &url);
            let mut words = vec!["policy", "explain"];
            words.extend(arguments.iter().map(String::as_str));
            let (_, text, why) = world.torhaus(&words).await;
            let said: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}{why}"));
            assert_eq!(said["reason"], *reason, "{what}, by the command line");
        }
    }
    assert!(reasons.len() >= 5, "a strange mix: {reasons:?}");
}

fn user(name: &str) -> Identity {
    let text = |text: &str| text.into();
    Identity::User(Arc::new(User {
        name: text(name),
        provider: text("demo"),
        issuer: text("http://idp"),
        subject: text(name),
        federated: false,
    }))
}

#[tokio::test]
async fn explain_equals_decide_for_ten_thousand_fact_sets() {
    let world = World::start().await;
    let policy = load(&world);
    let mut random = StdRng::seed_from_u64(11);
    let now = Timestamp::from_seconds(1_800_000_000);
    let mut verdicts: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..10_000 {
        let mut pick = |count: usize| random.random_range(0..count);
        let identity = match pick(8) {
            0 => Identity::Anonymous,
            1 => Identity::Service(Arc::new(Service {
                id: SpiffeId::parse(["spiffe://example.test/backup", "spiffe://example.test/x"][pick(2)]).unwrap(),
                trust_domain: "services".into(),
            })),
            _ => user(["alice", "dana", "eve", "mallory", "carol"][pick(5)]),
        };
        let all = ["all-employees", "hr", "finance", "it-admins", "developers"];
        let groups: Groups = all.into_iter().filter(|_| pick(2) == 0).collect();
        let proofs: Vec<Proof> = ["standard", "mfa", "hardware"]
            .into_iter()
            .filter_map(|tier| {
                let age = std::time::Duration::from_secs([0, 3599, 3601, 28_799, 28_801, 43_201][pick(6)]);
                (pick(3) > 0).then(|| Proof { tier: tier.into(), proven_at: now.minus(age), provider: "demo".into() })
            })
            .collect();
        let resource = RESOURCES[pick(RESOURCES.len())];
        let facts = Facts {
            listener: ["office", "internet", "nowhere"][pick(3)],
            address: if pick(4) == 0 { Fact::Unknown(Why::NotGiven) } else { Fact::Known([127, 0, 0, 1].into()) },
            identity,
            groups: if pick(5) == 0 { Fact::Unknown(Why::SourceDown) } else { Fact::Known(Arc::new(groups)) },
            proofs: proofs.into(),
            certificate: if pick(2) == 0 { Fact::Known(None) } else { Fact::Unknown(Why::NotGiven) },
            country: if pick(2) == 0 {
                Fact::Known(Country::parse("DE").unwrap())
            } else {
                Fact::Unknown(Why::NotConfigured)
            },
            ..Facts::unknown(now, resource)
        };
        let decision = policy.decide(&facts);
        let told = explain(&policy, &facts, &decision);
        let (one, other) = (policy.decide(&facts), (told.verdict, told.reason, &told.zone, &told.tier));
        assert_eq!((one.verdict.kind(), one.reason, &one.zone, &one.tier), other, "{facts:?}");
        let words = told.to_string();
        let begins = match told.reason.as_str() {
            "allowed" => "allowed",
            "login_needed" => "sign-in needed",
            "step_up_needed" => "step-up needed",
            _ => "refused",
        };
        assert!(words.starts_with(begins), "{:?}: {words}", told.reason);
        *verdicts.entry(told.reason.to_string()).or_default() += 1;
    }
    assert!(verdicts.len() >= 8, "{verdicts:?}");
}
