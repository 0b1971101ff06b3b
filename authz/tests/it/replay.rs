//! Replaying the log: a policy against its own record changes nothing, and a candidate shows who gains and who loses.
use crate::fixture::*;
use crate::properties::{facts, policies};
use proptest::prelude::*;
use std::sync::Arc;
use torhaus_authz::*;

/// As the log keeps it: written as a line and read back.
fn recorded(policy: &Policy, facts: &Facts<'_>) -> (Entry, Option<Arc<Groups>>) {
    let entry = Entry::decided("d1", facts, &policy.decide(facts));
    let line = Chain::default().append(&entry).unwrap();
    (Record::parse(&line.text).unwrap().entry, facts.groups.known().cloned())
}

fn replayed(before: &Policy, after: &Policy, all: &[Facts<'_>]) -> ReplayReport {
    let mut replay = Replay::new(before, after);
    for facts in all {
        let (entry, groups) = recorded(before, facts);
        replay.add(&entry, groups.as_ref());
    }
    replay.finish()
}

fn of_effect(report: &ReplayReport, effect: Effect) -> Vec<String> {
    let changes = &report.of(effect).unwrap().changes;
    changes.iter().map(|c| format!("{} {}: {} -> {} x{}", c.who, c.resource, c.before, c.after, c.requests)).collect()
}

#[test]
fn a_candidate_shows_who_gains_loses_or_has_to_prove_more() {
    let before = build(m6());
    let mut draft = m6();
    draft.rows[1] = row(10, "samba-general", &["group:hr"], &[("internal", "standard"), ("external", "hardware")]);
    draft.rows[2] = row(11, "samba-hr", &["group:hr", "group:finance"], &[("internal", "mfa"), ("external", "mfa")]);
    let after = build(draft);
    let dana = |resource, from, groups: &[&str], tier: &str| of(request(resource, from), user("dana"), groups, tier);
    let report = replayed(
        &before,
        &after,
        &[
            dana("samba-hr", OUTSIDE, &["hr"], "mfa"),
            dana("samba-hr", OUTSIDE, &["hr"], "mfa"),
            dana("samba-hr", OUTSIDE, &["hr"], "standard"),
            of(request("samba-general", INSIDE), user("emil"), &["all-employees"], "mfa"),
            dana("samba-general", INSIDE, &["all-employees", "hr"], "standard"),
            dana("samba-general", OUTSIDE, &["all-employees", "hr"], "mfa"),
            dana("wiki", OUTSIDE, &["all-employees"], "mfa"),
            request("wiki", OUTSIDE),
        ],
    );
    assert_eq!((report.records, report.requests, report.unchanged), (8, 8, 2));
    assert_eq!(report.decided_otherwise_then, 0);
    assert_eq!(
        of_effect(&report, Effect::Gain),
        [
            "dana samba-hr: deny (zone_denied) -> allow x2",
            "dana samba-general: step-up to mfa -> allow x1",
            "dana samba-hr: deny (zone_denied) -> step-up to mfa x1",
        ]
    );
    assert_eq!(of_effect(&report, Effect::Loss), ["emil samba-general: allow -> deny (not_allowed) x1"]);
    assert_eq!(of_effect(&report, Effect::StepUp), ["dana samba-general: allow -> step-up to hardware x1"]);
    assert_eq!(of_effect(&report, Effect::CannotTell), [""; 0]);
    assert_eq!(report.of(Effect::Gain).unwrap().people, 1);
    let text = report.to_string();
    for part in [
        "8 requests in 8 records from 2026-07-01T12:00:00Z to 2026-07-01T12:00:00Z",
        "GAIN: more is open, or less is asked for\n  requests: 4, people and services: 1",
        "dana -> samba-hr: deny (zone_denied), then allow (requests: 2)",
        "emil -> samba-general: allow, then deny (not_allowed) (requests: 1)\n      refused: row `samba-general`",
        "for example decision d1",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn what_rests_on_a_fact_that_nobody_knew_cannot_be_told() {
    let before = build(m6());
    let after = m6_with("wiki", |row| {
        row.deny = vec![guard(9, "far", Condition::CountryIn(vec![Country::parse("KP").unwrap()]))];
    });
    let known = of(request("wiki", OUTSIDE), user("dana"), &["all-employees"], "mfa");
    let unknown = Facts { country: Fact::Unknown(Why::NotConfigured), ..known.clone() };
    let report = replayed(&before, &after, &[known, unknown]);
    assert_eq!(report.unchanged, 1);
    assert_eq!(of_effect(&report, Effect::CannotTell), ["dana wiki: allow -> deny (condition_denied: far) x1"]);
    // For a check before a merge, what cannot be told may be anything.
    assert!(report.has(Effect::Loss) && report.has(Effect::Gain));
}

#[test]
fn groups_that_the_log_does_not_name_are_unknown() {
    let (before, after) = (build(m6()), m6_with("wiki", |row| row.allow = vec![at(9, "group:hr")]));
    let facts = of(request("wiki", INSIDE), user("dana"), &["all-employees"], "mfa");
    let (entry, _) = recorded(&before, &facts);
    let mut replay = Replay::new(&before, &after);
    replay.add(&entry, None);
    let report = replay.finish();
    // Both policies have to guess, and both guess no.
    assert_eq!((report.unchanged, report.decided_otherwise_then), (1, 1));
}

#[test]
fn a_line_stands_for_those_that_were_counted_under_it() {
    let (before, after) = (build(m6()), m6_with("wiki", |row| row.zones.clear()));
    let facts = of(request("wiki", INSIDE), user("dana"), &["all-employees"], "mfa");
    let (entry, groups) = recorded(&before, &facts);
    let mut replay = Replay::new(&before, &after);
    replay.add(&Entry { before: 41, ..entry.clone() }, groups.as_ref());
    let (stranger, _) = recorded(&before, &request("wiki", INSIDE));
    replay.add(&Entry { kind: Kind::Refusals, before: 7, ..stranger }, None);
    // No decision of a policy: an identity that did not check out, an event.
    replay.add(&Entry { reason: Some(Reason::WrongHost), ..entry }, None);
    replay.add(&Entry::new(NOW, Kind::Login), None);
    let report = replay.finish();
    assert_eq!((report.records, report.requests, report.only_counted), (2, 43, 7));
    assert_eq!(report.of(Effect::Loss).unwrap().requests, 43);
}

/// Only of persons is remembered where they were.
fn at_the_gate(facts: Facts<'static>) -> Facts<'static> {
    match facts.identity {
        Identity::User(_) => facts,
        Identity::Anonymous | Identity::Service(_) => Facts { seen: Seen::unknown(Why::NotFound), ..facts },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn a_policy_against_its_own_record_changes_nothing(
        draft in policies(),
        requests in prop::collection::vec(facts(), 8),
    ) {
        let policy = build(draft);
        let requests: Vec<Facts<'_>> = requests.into_iter().map(at_the_gate).collect();
        for facts in &requests {
            let decision = policy.decide(facts);
            let (entry, groups) = recorded(&policy, facts);
            let again = policy.decide(&entry.facts(groups.as_ref()).unwrap());
            prop_assert_eq!(outcome(&again), outcome(&decision));
            prop_assert_eq!(&again.zone, &decision.zone);
            prop_assert_eq!(&again.exception, &decision.exception);
        }
        let report = replayed(&policy, &policy, &requests);
        prop_assert_eq!(report.unchanged, 8);
        prop_assert_eq!(report.decided_otherwise_then, 0);
        prop_assert!(!Effect::ALL.iter().any(|effect| report.has(*effect)));
    }
}
