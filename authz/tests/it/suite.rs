//! Policy tests: what passes, what fails, and what a person reads then.
use crate::fixture::*;
use crate::properties::windows;
use torhaus_authz::*;

fn promise(name: &str, who: &str, of_groups: &[&str], ip: &str, resource: &str, expect: VerdictKind) -> TestDraft {
    TestDraft {
        name: at(40, name),
        resource: resource.to_owned(),
        who: TestSubject::User { name: who.to_owned(), provider: "corp".to_owned(), federated: false },
        groups: Some(of_groups.iter().map(|name| (*name).to_owned()).collect()),
        address: ip.parse().ok(),
        listener: None,
        country: None,
        certificate: None,
        device: None,
        posture: None,
        seen: None,
        proven: vec![("mfa".to_owned(), hours(0))],
        method: None,
        path: None,
        now: None,
        expect,
        reason: None,
        tier: None,
    }
}

fn dana_outside() -> TestDraft {
    promise("HR from outside is refused", "dana", &["hr"], OUTSIDE, "samba-hr", VerdictKind::Deny)
}

fn dana_inside(expect: VerdictKind) -> TestDraft {
    promise("HR works inside", "dana", &["hr"], INSIDE, "samba-hr", expect)
}

fn run(test: TestDraft) -> TestResult {
    build(m6()).run_tests(&[test], NOW).tests.remove(0)
}

#[test]
fn a_test_holds_when_verdict_reason_and_tier_are_as_it_says() {
    for test in [
        dana_outside(),
        TestDraft { reason: Some(Reason::ZoneDenied), ..dana_outside() },
        dana_inside(VerdictKind::Allow),
        TestDraft { tier: Some("mfa".to_owned()), ..dana_inside(VerdictKind::Allow) },
        TestDraft { who: TestSubject::Nobody, tier: Some("mfa".to_owned()), ..dana_inside(VerdictKind::Login) },
        TestDraft {
            who: TestSubject::Service(SpiffeId::parse("spiffe://example.test/backup").unwrap()),
            groups: None,
            resource: "backup-api".to_owned(),
            ..dana_inside(VerdictKind::Allow)
        },
        TestDraft { proven: vec![("mfa".to_owned(), hours(9))], ..dana_inside(VerdictKind::StepUp) },
        // By the listener, wherever the address is.
        TestDraft { listener: Some("mesh".to_owned()), ..TestDraft { expect: VerdictKind::Allow, ..dana_outside() } },
        TestDraft { resource: "payroll".to_owned(), reason: Some(Reason::NoRule), ..dana_outside() },
    ] {
        let result = run(test);
        assert!(result.passed, "{result}");
    }
}

#[test]
fn a_right_answer_for_a_wrong_reason_fails() {
    for (test, of) in [
        (TestDraft { reason: Some(Reason::NotAllowed), ..dana_outside() }, "reason"),
        (TestDraft { tier: Some("hardware".to_owned()), ..dana_inside(VerdictKind::Allow) }, "tier"),
        (TestDraft { tier: Some("mfa".to_owned()), ..dana_outside() }, "tier"),
    ] {
        let result = run(test);
        assert!(!result.passed);
        assert_eq!(result.differences.iter().map(|d| d.of).collect::<Vec<_>>(), [of]);
    }
}

#[test]
fn what_a_test_does_not_give_is_unknown() {
    for (test, reason) in [
        (TestDraft { groups: None, ..dana_inside(VerdictKind::Deny) }, Reason::GroupsUnknown),
        // An unknown address is outside.
        (TestDraft { address: None, ..dana_inside(VerdictKind::Deny) }, Reason::ZoneDenied),
    ] {
        let result = run(TestDraft { reason: Some(reason), ..test });
        assert!(result.passed, "{result}");
    }
    let policy = m6_with("samba-hr", |row| {
        row.require = vec![guard(21, "device", Condition::ClientCertificate(at(21, "devices")))];
        row.deny = vec![guard(22, "abroad", Condition::CountryNotIn(vec![Country::parse("DE").unwrap()]))];
    });
    let given = TestDraft {
        country: Country::parse("DE"),
        certificate: Some(TestCertificate::Of("devices".to_owned())),
        ..dana_inside(VerdictKind::Allow)
    };
    let refused = TestDraft { expect: VerdictKind::Deny, ..given.clone() };
    for (test, reason) in [
        (given, Reason::Allowed),
        (TestDraft { country: None, ..refused.clone() }, Reason::ConditionDenied),
        (TestDraft { certificate: None, ..refused.clone() }, Reason::RequirementMissing),
        (TestDraft { certificate: Some(TestCertificate::Absent), ..refused }, Reason::RequirementMissing),
    ] {
        let suite = policy.run_tests(&[TestDraft { reason: Some(reason), ..test }], NOW);
        assert!(suite.passed(), "{suite}");
    }
}

#[test]
fn a_person_reads_what_differs_and_why() {
    let suite = build(m6()).run_tests(
        &[dana_outside(), TestDraft { reason: Some(Reason::NotAllowed), ..dana_inside(VerdictKind::Deny) }],
        NOW,
    );
    assert_eq!(
        suite.to_string(),
        "\
ok    HR from outside is refused
FAIL  HR works inside (policy.yaml:40)
      verdict  expected deny, found allow
      reason   expected not_allowed, found allowed
      | allowed: row `samba-hr` (policy.yaml:11) lets user `dana` (corp) in from zone `internal`; you came from 10.1.2.3
      |   0. yes      zone `internal`: 10.1.2.3 is in one of its networks
      |   1. yes      a row for `samba-hr` (policy.yaml:11)
      |   1. yes      open from zone `internal`: the cell is `mfa`
      |   1. no       a live exception for this zone: 0 of 1
      |   3. yes      identified: user `dana` (corp)
      |   4. yes      user `dana` (corp) is in `group:hr` and `group:finance`
      |   6. yes      `mfa` proven within 8h: proven 0s ago
policy.yaml: 1 of 2 failed
rows that no test asks for: `wiki`, `samba-general`, `proxmox`, `headscale`, `k3s-critical`, `backup-api` and `status`
"
    );
    let [problem] = suite.problems().try_into().unwrap();
    assert_eq!(
        problem.message,
        "test `HR works inside` fails: verdict is `allow`, not `deny`, reason is `allowed`, not `not_allowed`"
    );
    assert!(problem.line == 40 && problem.hint.unwrap().starts_with("allowed: row `samba-hr`"));
    assert_eq!(suite.warnings().len(), 7);
    assert!(build(m6()).run_tests(&[], NOW).warnings().is_empty());
    let json = serde_json::to_value(&suite).unwrap();
    assert_eq!(json["tests"][1]["differences"][0]["found"], "allow");
}

#[test]
fn a_promise_that_ends_with_an_exception_has_to_say_when_it_is() {
    let carol = TestDraft {
        proven: vec![("hardware".to_owned(), hours(0))],
        ..promise("the auditor comes in", "carol", &[], OUTSIDE, "samba-hr", VerdictKind::Allow)
    };
    let result = run(carol.clone());
    assert!(!result.passed && result.differences.is_empty(), "{result}");
    assert!(result.depends_on_time.unwrap().contains("EX-14"));
    assert!(run(TestDraft { now: Some(NOW), ..carol.clone() }).passed);
    let after = Some(NOW.plus(hours(24 * 60)));
    assert!(run(TestDraft { now: after, expect: VerdictKind::Deny, reason: Some(Reason::ZoneDenied), ..carol }).passed);
}

#[test]
fn so_has_one_of_a_row_that_asks_what_time_it_is_however_deep() {
    let hours = || Condition::Time(windows().remove(1).0);
    let not = |condition| Condition::Not(Box::new(condition));
    let reading = || Condition::Methods(vec![at(21, "GET")]);
    for (condition, depends) in [
        (hours(), true),
        (Condition::All(vec![reading(), hours()]), true),
        (Condition::Any(vec![reading(), hours()]), true),
        (not(not(hours())), true),
        (not(Condition::All(vec![reading()])), false),
    ] {
        let policy = m6_with("wiki", |row| row.deny = vec![guard(21, "closed", condition.clone())]);
        let of_time = |now| {
            let test = TestDraft {
                now,
                ..promise("at night", "emil", &["all-employees"], INSIDE, "wiki", VerdictKind::Allow)
            };
            policy.run_tests(&[test], NOW).tests.remove(0).depends_on_time.is_some()
        };
        assert_eq!((of_time(None), of_time(Some(NOW))), (depends, false), "{condition:?}");
    }
}
