//! Drafts, people and facts in a few words.
use std::sync::Arc;
use std::time::Duration;
use torhaus_authz::*;

/// 2026-07-01T12:00:00Z.
pub const NOW: Timestamp = Timestamp::from_seconds(1_782_907_200);
pub const INSIDE: &str = "10.1.2.3";
pub const OUTSIDE: &str = "203.0.113.5";

pub fn hours(n: u64) -> Duration {
    Duration::from_secs(n * 3600)
}

pub fn at<T>(line: u32, value: impl Into<T>) -> Located<T> {
    Located { value: value.into(), line }
}

pub fn tier(line: u32, name: &str, max_age: Duration) -> TierDraft {
    TierDraft { name: at(line, name), max_age, factors: format!("what {name} asks for") }
}

/// Cells as the file writes them: `internal: mfa, external: deny`.
pub fn row(line: u32, resource: &str, allow: &[&str], zones: &[(&str, &str)]) -> RowDraft {
    RowDraft {
        resource: at(line, resource),
        sensitivity: None,
        description: None,
        owner: None,
        review_by: None,
        allow: allow.iter().map(|text| at(line, *text)).collect(),
        zones: zones.iter().map(|(zone, cell)| (at(line, *zone), at(line, cell_draft(cell)))).collect(),
        require: Vec::new(),
        deny: Vec::new(),
        raise: Vec::new(),
        max_age: None,
        record_every: false,
    }
}

fn cell_draft(text: &str) -> CellDraft {
    match text {
        "deny" => CellDraft::Deny,
        "anonymous" => CellDraft::Anonymous,
        tier => CellDraft::Tier(tier.to_owned()),
    }
}

pub fn guard(line: u32, name: &str, condition: Condition) -> GuardDraft {
    GuardDraft { name: at(line, name), condition }
}

pub fn raise(line: u32, name: &str, when: Condition, to: &str) -> RaiseDraft {
    RaiseDraft { name: at(line, name), when, to: at(line, to), ignore_unknown: false }
}

pub fn exception(line: u32, id: &str, resource: &str, allow: &[&str], zone: &str, tier: &str) -> ExceptionDraft {
    ExceptionDraft {
        id: at(line, id),
        resource: at(line, resource),
        allow: allow.iter().map(|text| at(line, *text)).collect(),
        zone: at(line, zone),
        tier: at(line, tier),
        owner: "alice@example.test".to_owned(),
        reason: "audit on site".to_owned(),
        expires: NOW.plus(hours(24 * 30)),
    }
}

/// The table of the README: tiered factors per resource and zone.
pub fn m6() -> PolicyDraft {
    PolicyDraft {
        file: "policy.yaml".to_owned(),
        version: "5f1e".to_owned(),
        zones: vec![ZoneDraft {
            name: at(3, "internal"),
            networks: vec![at(3, net("10.0.0.0/8")), at(3, net("192.0.2.0/24"))],
            listeners: vec![at(3, "mesh")],
        }],
        tiers: vec![tier(5, "standard", hours(12)), tier(6, "mfa", hours(8)), tier(7, "hardware", hours(1))],
        rows: vec![
            row(9, "wiki", &["group:all-employees"], &[("internal", "standard"), ("external", "standard")]),
            row(10, "samba-general", &["group:all-employees"], &[("internal", "mfa"), ("external", "mfa")]),
            row(11, "samba-hr", &["group:hr", "group:finance"], &[("internal", "mfa"), ("external", "deny")]),
            row(12, "proxmox", &["group:it-admins"], &[("internal", "hardware"), ("external", "deny")]),
            row(13, "headscale", &["group:it-admins"], &[("internal", "hardware"), ("external", "deny")]),
            row(14, "k3s-critical", &["group:developers"], &[("internal", "mfa"), ("external", "mfa")]),
            row(15, "backup-api", &["service:spiffe://example.test/backup"], &[("internal", "standard")]),
            row(16, "status", &["anyone"], &[("internal", "anonymous"), ("external", "anonymous")]),
        ],
        exceptions: vec![exception(18, "EX-14", "samba-hr", &["user:carol"], "external", "hardware")],
    }
}

pub fn net(text: &str) -> ipnet::IpNet {
    text.parse().unwrap()
}

pub fn build(draft: PolicyDraft) -> Policy {
    Policy::build(draft).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// M6 with one row changed.
pub fn m6_with(resource: &str, change: impl FnOnce(&mut RowDraft)) -> Policy {
    let mut draft = m6();
    change(draft.rows.iter_mut().find(|row| row.resource.value == resource).unwrap());
    build(draft)
}

pub fn user(name: &str) -> Identity {
    Identity::User(Arc::new(User {
        name: name.into(),
        provider: "corp".into(),
        issuer: "https://idp.example.test".into(),
        subject: format!("sub-{name}").into(),
        federated: false,
    }))
}

pub fn federated(name: &str) -> Identity {
    Identity::User(Arc::new(User {
        name: format!("partner/{name}").into(),
        provider: "partner".into(),
        issuer: "https://idp.partner.test".into(),
        subject: name.into(),
        federated: true,
    }))
}

pub fn service(id: &str) -> Identity {
    Identity::Service(Arc::new(Service { id: SpiffeId::parse(id).unwrap(), trust_domain: "devices".into() }))
}

pub fn groups(names: &[&str]) -> Fact<Arc<Groups>> {
    Fact::Known(Arc::new(names.iter().copied().collect()))
}

pub fn proofs(list: &[(&str, Duration)]) -> Arc<[Proof]> {
    list.iter()
        .map(|(tier, age)| Proof { tier: (*tier).into(), proven_at: NOW.minus(*age), provider: "corp".into() })
        .collect()
}

pub fn country(code: &str) -> Fact<Country> {
    Fact::Known(Country::parse(code).unwrap())
}

pub fn certificate(domain: &str) -> Fact<Option<Arc<Certificate>>> {
    Fact::Known(Some(Arc::new(Certificate {
        trust_domain: domain.into(),
        sha256: "ab".repeat(32).into(),
        serial: "01".into(),
        not_after: NOW.plus(hours(24)),
        user: None,
    })))
}

/// An anonymous request from an address, by the public listener, without a client certificate.
pub fn request<'a>(resource: &'a str, address: &str) -> Facts<'a> {
    Facts {
        method: "GET",
        path: "/",
        listener: "public",
        address: Fact::Known(address.parse().unwrap()),
        certificate: Fact::Known(None),
        country: country("DE"),
        ..Facts::unknown(NOW, resource)
    }
}

pub fn of<'a>(facts: Facts<'a>, who: Identity, of_groups: &[&str], tier: &str) -> Facts<'a> {
    let proven = if tier.is_empty() { proofs(&[]) } else { proofs(&[(tier, hours(0))]) };
    Facts { identity: who, groups: groups(of_groups), proofs: proven, ..facts }
}

/// Verdict and reason in one word each: `step_up mfa step_up_needed`.
pub fn outcome(decision: &Decision) -> String {
    let verdict = match &decision.verdict {
        Verdict::Allow(_) => "allow".to_owned(),
        Verdict::Login { tier } => format!("login {tier}"),
        Verdict::StepUp { tier, .. } => format!("step_up {tier}"),
        Verdict::Deny => "deny".to_owned(),
    };
    match (&decision.verdict, &decision.condition) {
        (Verdict::Deny, Some(condition)) => format!("deny {} {condition}", decision.reason),
        (Verdict::Deny, None) => format!("deny {}", decision.reason),
        _ => verdict,
    }
}

/// Decides, and checks what every decision must keep: the explanation says the same.
pub fn decide(policy: &Policy, facts: &Facts<'_>) -> Decision {
    let decision = policy.decide(facts);
    let explanation = explain(policy, facts, &decision);
    assert_eq!((explanation.verdict, explanation.reason), (decision.verdict.kind(), decision.reason));
    let said = match decision.verdict.kind() {
        VerdictKind::Allow => "allowed",
        VerdictKind::Login => "sign-in needed",
        VerdictKind::StepUp => "step-up needed",
        VerdictKind::Deny => "refused",
    };
    assert!(explanation.summary.starts_with(said), "{}", explanation.summary);
    decision
}

pub fn check(policy: &Policy, facts: &Facts<'_>, expected: &str) {
    let decision = decide(policy, facts);
    assert_eq!(outcome(&decision), expected, "\n{}", explain(policy, facts, &decision));
}
