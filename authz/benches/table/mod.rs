//! A table to measure on: rows with eight conditions each, 200 networks, exceptions here and there; and a person whom
//! every row allows from inside.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "only what measures uses it")]
use std::sync::Arc;
use std::time::Duration;
use torhaus_authz::*;

pub const NOW: Timestamp = Timestamp::from_seconds(1_782_907_200);

fn at<T>(value: impl Into<T>) -> Located<T> {
    Located { value: value.into(), line: 1 }
}

fn country(code: &str) -> Country {
    Country::parse(code).expect("a country")
}

fn guard(name: &str, condition: Condition) -> GuardDraft {
    GuardDraft { name: at(name), condition }
}

pub fn policy(rows: usize) -> Policy {
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

pub fn facts(resource: &str) -> Facts<'_> {
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
