//! A candidate beside the running policy: it is compared, and where it counts it only ever closes.
use crate::fixture::*;
use crate::properties::{allows, facts, openness, policies};
use proptest::prelude::*;
use std::hash::RandomState;
use std::sync::Arc;
use torhaus_authz::*;

fn candidate(policy: Policy, mode: CandidateMode) -> Candidate {
    Candidate { policy: Arc::new(policy), mode }
}

/// M6 where samba-general is only for HR.
fn stricter() -> Policy {
    let mut draft = m6();
    draft.version = "cafe".to_owned();
    draft.rows[1].allow = vec![at(10, "group:hr")];
    draft.rows[2] = row(11, "samba-hr", &["group:hr"], &[("internal", "mfa"), ("external", "mfa")]);
    build(draft)
}

fn emil() -> Facts<'static> {
    of(request("samba-general", INSIDE), user("emil"), &["all-employees"], "mfa")
}

#[test]
fn a_shadow_decides_nothing_and_is_noted_where_it_differs() {
    let (running, shadow) = (build(m6()), candidate(stricter(), CandidateMode::Shadow));
    let decision = shadow.decide(&running, &emil());
    assert_eq!((outcome(&decision).as_str(), &*decision.policy), ("allow", "5f1e"));
    let noted = decision.compared.as_deref().unwrap();
    assert_eq!((noted.by, &*noted.policy), (Role::Candidate, "cafe"));
    assert_eq!((noted.verdict, noted.reason), (VerdictKind::Deny, Reason::NotAllowed));
    let entry = serde_json::to_value(Entry::decided("d1", &emil(), &decision)).unwrap();
    assert_eq!(
        entry["compared"],
        serde_json::json!({ "by": "candidate", "policy": "cafe", "verdict": "deny", "reason": "not_allowed" })
    );
    // Where both say the same there is nothing to note.
    let same = shadow.decide(&running, &of(request("wiki", INSIDE), user("emil"), &["all-employees"], "mfa"));
    assert_eq!(same.compared, None);
    // A difference is another fact for the log: it gets a line of its own, also within the 15 minutes.
    let state = RandomState::new();
    assert_ne!(fingerprint(&emil(), &decision, &state), fingerprint(&emil(), &running.decide(&emil()), &state));
}

#[test]
fn for_the_share_the_stricter_answer_counts() {
    let (running, all) = (build(m6()), candidate(stricter(), CandidateMode::Share(100)));
    let decision = all.decide(&running, &emil());
    assert_eq!((outcome(&decision).as_str(), &*decision.policy), ("deny not_allowed", "cafe"));
    let noted = decision.compared.as_deref().unwrap();
    assert_eq!((noted.by, &*noted.policy, noted.verdict), (Role::Running, "5f1e", VerdictKind::Allow));
    // The candidate opens: it does not count, and is noted.
    let dana = of(request("samba-hr", OUTSIDE), user("dana"), &["hr"], "mfa");
    let decision = all.decide(&running, &dana);
    assert_eq!((outcome(&decision).as_str(), &*decision.policy), ("deny zone_denied", "5f1e"));
    assert_eq!(decision.compared.as_deref().unwrap().verdict, VerdictKind::Allow);
}

#[test]
fn the_higher_tier_and_the_younger_proof_are_the_stricter_ones() {
    let running = build(m6());
    let asks = |tier: &str, max_age| {
        let policy = m6_with("wiki", |row| {
            row.zones = vec![(at(9, "internal"), at(9, CellDraft::Tier(tier.to_owned())))];
            row.max_age = max_age;
        });
        let facts = of(request("wiki", INSIDE), user("dana"), &["all-employees"], "");
        match candidate(policy, CandidateMode::Share(100)).decide(&running, &facts).verdict {
            Verdict::StepUp { tier, max_age } => (tier.to_string(), max_age),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(asks("mfa", None), ("mfa".to_owned(), hours(8)));
    assert_eq!(asks("standard", Some(hours(2))), ("standard".to_owned(), hours(2)));
    assert_eq!(asks("standard", Some(hours(20))), ("standard".to_owned(), hours(12)));
}

#[test]
fn where_both_say_the_same_the_running_policy_has_said_it() {
    let (running, all) = (build(m6()), candidate(stricter(), CandidateMode::Share(100)));
    for (proven, expected) in [("mfa", "allow"), ("", "step_up standard")] {
        let facts = of(request("wiki", INSIDE), user("emil"), &["all-employees"], proven);
        let decision = all.decide(&running, &facts);
        assert_eq!((outcome(&decision).as_str(), &*decision.policy), (expected, "5f1e"));
        assert_eq!(decision.compared, None);
    }
}

#[test]
fn every_use_is_recorded_if_one_of_both_wants_it_so() {
    let every = || m6_with("wiki", |row| row.record_every = true);
    let facts = of(request("wiki", INSIDE), user("emil"), &["all-employees"], "standard");
    for (running, new, expected) in [
        (build(m6()), every(), true),
        (every(), build(m6()), true),
        (every(), every(), true),
        (build(m6()), build(m6()), false),
    ] {
        let decision = candidate(new, CandidateMode::Shadow).decide(&running, &facts);
        assert_eq!(decision.record_every, expected);
    }
}

#[test]
fn a_share_is_the_same_people_every_time_and_grows() {
    let of_share = |percent| candidate(stricter(), CandidateMode::Share(percent));
    let people: Vec<Identity> = (0..2000).map(|n| user(&format!("person-{n}"))).collect();
    let (ten, forty) = (of_share(10), of_share(40));
    let in_ten = people.iter().filter(|who| ten.includes(who)).count();
    assert!((120..=280).contains(&in_ten), "{in_ten} of 2000");
    assert!(people.iter().all(|who| !ten.includes(who) || forty.includes(who)));
    assert!(people.iter().all(|who| of_share(100).includes(who) && !of_share(0).includes(who)));
    assert!(!of_share(100).includes(&Identity::Anonymous), "nobody knows who that is the next time");
    assert!(of_share(100).includes(&service("spiffe://example.test/backup")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_candidate_never_opens(
        running in policies(),
        new in policies(),
        percent in 0u8..=100,
        requests in prop::collection::vec(facts(), 8),
    ) {
        let (running, new) = (build(running), build(new));
        let beside = candidate(new.clone(), CandidateMode::Share(percent));
        for facts in requests {
            let decision = beside.decide(&running, &facts);
            let alone = running.decide(&facts);
            prop_assert!(openness(&decision) <= openness(&alone));
            if beside.includes(&facts.identity) {
                prop_assert!(!allows(&decision) || allows(&new.decide(&facts)));
            } else {
                prop_assert_eq!(outcome(&decision), outcome(&alone));
            }
        }
    }
}
