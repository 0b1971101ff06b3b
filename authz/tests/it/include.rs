//! Project files beside the base: they tighten and add, and never open what the base keeps closed.
use crate::fixture::*;
use crate::properties::{allows, facts, guards, policies, raises};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use torhaus_authz::*;

fn project(rows: Vec<RowDraft>) -> ProjectDraft {
    ProjectDraft { file: "projects/hr.yaml".to_owned(), lines_before: 100, rows, exceptions: Vec::new() }
}

fn with(rows: Vec<RowDraft>) -> Result<Policy, Vec<String>> {
    with_exceptions(rows, Vec::new())
}

fn with_exceptions(rows: Vec<RowDraft>, exceptions: Vec<ExceptionDraft>) -> Result<Policy, Vec<String>> {
    let built = Policy::build_with(m6(), vec![ProjectDraft { exceptions, ..project(rows) }]);
    built.map_err(|problems| problems.into_iter().map(|p| format!("{}: {}", p.line, p.message)).collect())
}

#[test]
fn a_project_tightens_and_adds() {
    let tightened = RowDraft {
        require: vec![guard(103, "device", Condition::ClientCertificate(at(103, "devices")))],
        owner: Some("hr@example.test".to_owned()),
        ..row(102, "samba-hr", &["group:hr"], &[("internal", "hardware")])
    };
    let policy = with(vec![
        tightened,
        row(104, "samba-general", &[], &[("external", "deny")]),
        row(105, "payroll", &["group:hr"], &[("internal", "standard")]),
    ])
    .unwrap();
    let inside = |who: &str, groups: &[&str], resource: &'static str, tier: &str| Facts {
        certificate: certificate("devices"),
        ..of(request(resource, INSIDE), user(who), groups, tier)
    };
    check(&policy, &inside("dana", &["hr"], "samba-hr", "hardware"), "allow");
    check(&policy, &inside("dana", &["hr"], "samba-hr", "mfa"), "step_up hardware");
    check(&policy, &inside("fred", &["finance"], "samba-hr", "hardware"), "deny not_allowed");
    let bare = of(request("samba-hr", INSIDE), user("dana"), &["hr"], "hardware");
    check(&policy, &bare, "deny requirement_missing device");
    let outside = of(request("samba-general", OUTSIDE), user("dana"), &["all-employees"], "hardware");
    check(&policy, &outside, "deny zone_denied");
    check(&policy, &inside("dana", &["hr"], "payroll", "standard"), "allow");
    // What nobody touched is as it was.
    check(&policy, &inside("dana", &["all-employees"], "wiki", "standard"), "allow");
    assert_eq!(policy.row("samba-hr").unwrap().owner.as_deref(), Some("hr@example.test"));
}

#[test]
fn an_explanation_names_the_file_that_a_line_stands_in() {
    let tightened = RowDraft {
        require: vec![guard(103, "device", Condition::ClientCertificate(at(103, "devices")))],
        ..row(102, "wiki", &[], &[])
    };
    let policy = with(vec![tightened, row(105, "payroll", &["group:hr"], &[("internal", "mfa")])]).unwrap();
    let facts = of(request("wiki", INSIDE), user("dana"), &["all-employees"], "mfa");
    let explanation = explain(&policy, &facts, &policy.decide(&facts));
    let text = explanation.to_string();
    assert!(text.contains("row `wiki` (policy.yaml:9)"), "{text}");
    assert!(text.contains("a client certificate of `devices` (projects/hr.yaml:3)"), "{text}");
    let added = of(request("payroll", OUTSIDE), user("dana"), &["hr"], "mfa");
    let explanation = explain(&policy, &added, &policy.decide(&added));
    assert!(explanation.summary.contains("row `payroll` (projects/hr.yaml:5)"), "{}", explanation.summary);
    assert_eq!((&*explanation.file, explanation.line), ("projects/hr.yaml", Some(5)));
    let table = serde_json::to_value(policy.table()).unwrap();
    let of = |resource: &str| {
        let rows = table["rows"].as_array().unwrap();
        let row = rows.iter().find(|row| row["resource"] == resource).unwrap();
        (row["file"].clone(), row["line"].clone())
    };
    assert_eq!(of("payroll"), ("projects/hr.yaml".into(), 5.into()));
    assert_eq!(of("wiki"), (serde_json::Value::Null, 9.into()));
}

#[test]
fn what_opens_more_than_the_base_is_a_mistake_with_both_lines() {
    for (own, expected) in [
        (
            row(101, "samba-hr", &[], &[("external", "hardware")]),
            "101: row `samba-hr` is `hardware` from zone `external` here, and the base is closed (line 11 of `policy.yaml`)",
        ),
        (
            row(101, "proxmox", &[], &[("internal", "mfa")]),
            "101: row `proxmox` is `mfa` from zone `internal` here, and the base asks for `hardware` (line 12 of `policy.yaml`)",
        ),
        (
            row(101, "backup-api", &[], &[("external", "hardware")]),
            "101: row `backup-api` is `hardware` from zone `external` here, and the base is closed (line 15 of `policy.yaml`)",
        ),
        (
            row(101, "samba-hr", &["group:hr", "group:interns"], &[]),
            "101: `group:interns` is not allowed by row `samba-hr` of the base (line 11 of `policy.yaml`)",
        ),
        (
            row(101, "samba-hr", &["authenticated"], &[]),
            "101: `authenticated` is not allowed by row `samba-hr` of the base (line 11 of `policy.yaml`)",
        ),
        (
            RowDraft { max_age: Some(hours(9)), ..row(101, "samba-hr", &[], &[]) },
            // The exception of the row asks for `hardware`, not older than an hour.
            "101: `max_age` of row `samba-hr` is 9h, and the base takes proofs for 1h (line 11 of `policy.yaml`)",
        ),
    ] {
        let found = with(vec![own]).unwrap_err();
        assert_eq!(found, [expected]);
    }
}

#[test]
fn a_higher_tier_that_may_be_older_does_not_open() {
    let mut base = m6();
    base.tiers[2].max_age = hours(24);
    let raised = row(101, "k3s-critical", &[], &[("internal", "hardware")]);
    let own = |row| vec![project(vec![row])];
    let found = Policy::build_with(base.clone(), own(raised.clone())).unwrap_err();
    assert_eq!(found[0].message, "a proof of `hardware` may be 24h old, and the base asks for `mfa` not older than 8h");
    assert_eq!(found[0].hint.as_deref(), Some("add `max_age: 8h` to this row"));
    let by_raise = RowDraft {
        raise: vec![raise(101, "far", Condition::Zones(vec![at(101, "external")]), "hardware")],
        ..row(101, "k3s-critical", &[], &[])
    };
    assert_eq!(Policy::build_with(base.clone(), own(by_raise)).unwrap_err().len(), 1);
    let bounded = RowDraft { max_age: Some(hours(8)), ..raised };
    let policy = Policy::build_with(base, own(bounded)).unwrap();
    let old = Facts {
        proofs: proofs(&[("hardware", hours(9))]),
        ..of(request("k3s-critical", INSIDE), user("dana"), &["developers"], "")
    };
    check(&policy, &old, "step_up hardware");
}

#[test]
fn exceptions_of_a_project_are_for_its_own_rows() {
    let payroll = || row(101, "payroll", &["group:hr"], &[("internal", "mfa")]);
    let own = exception(102, "EX-P", "payroll", &["user:carol"], "external", "hardware");
    let policy = with_exceptions(vec![payroll()], vec![own]).unwrap();
    check(&policy, &of(request("payroll", OUTSIDE), user("carol"), &[], "hardware"), "allow");
    let base = exception(102, "EX-B", "proxmox", &["user:carol"], "external", "hardware");
    assert_eq!(
        with_exceptions(vec![payroll()], vec![base]).unwrap_err(),
        ["102: exception `EX-B` opens row `proxmox` of the base (line 12 of `policy.yaml`)"]
    );
    let nothing = exception(102, "EX-N", "nothing", &["user:carol"], "external", "hardware");
    assert_eq!(with_exceptions(vec![payroll()], vec![nothing]).unwrap_err(), ["102: unknown resource `nothing`"]);
}

#[test]
fn one_resource_belongs_to_one_project_file() {
    let one = |lines_before, resource| ProjectDraft {
        lines_before,
        file: format!("p{lines_before}.yaml"),
        ..project(vec![row(lines_before + 1, resource, &["group:hr"], &[("internal", "hardware")])])
    };
    for resource in ["payroll", "samba-hr"] {
        let found = Policy::build_with(m6(), vec![one(100, resource), one(200, resource)]).unwrap_err();
        let expected = format!(
            "resource `{resource}` has a row on line 1 of `p100.yaml` already, and a project file may not add to it"
        );
        assert_eq!((found[0].line, &found[0].message), (201, &expected));
    }
}

#[test]
fn what_the_base_says_about_a_row_stands() {
    let mut base = m6();
    base.rows[0].owner = Some("it@example.test".to_owned());
    base.rows[0].record_every = true;
    let own = RowDraft { owner: Some("hr@example.test".to_owned()), ..row(101, "wiki", &[], &[]) };
    let found = Policy::build_with(base.clone(), vec![project(vec![own])]).unwrap_err();
    assert_eq!(found[0].message, "`owner` of row `wiki` is another one in the base");
    let policy = Policy::build_with(base, vec![project(vec![row(101, "wiki", &[], &[])])]).unwrap();
    assert!(policy.row("wiki").unwrap().record_every);
}

/// Rows that often tighten, and often enough try to open.
fn project_row() -> impl Strategy<Value = (RowDraft, Vec<Index>)> {
    let cell = || prop_oneof![3 => Just("deny"), 3 => Just("hardware"), 2 => Just("mfa"), 1 => Just("standard")];
    let cells = prop::collection::btree_map(select(&["internal", "lab", "external"]), cell(), 0..3);
    let age = prop_oneof![2 => Just(None), 2 => Just(Some(hours(1))), 1 => (1u64..20).prop_map(|h| Some(hours(h)))];
    let allow = prop::collection::vec(any::<Index>(), 0..3);
    (cells, guards("own-deny", true), guards("own-require", true), raises(), age, allow).prop_map(
        |(cells, deny, require, mut raise, max_age, allow)| {
            for (n, raise) in raise.iter_mut().enumerate() {
                raise.name = at(101, format!("own-raise{n}"));
            }
            let cells: Vec<(&str, &str)> = cells.into_iter().collect();
            (RowDraft { deny, require, raise, max_age, ..row(101, "", &[], &cells) }, allow)
        },
    )
}

/// Who of the base may come: some of it, or with a stranger.
fn narrowed(base: &RowDraft, picks: &[Index]) -> Vec<Located<String>> {
    let mut all: Vec<&str> = base.allow.iter().map(|subject| subject.value.as_str()).collect();
    all.extend(["user:dana"]);
    let mut found: Vec<&str> = picks.iter().map(|pick| *pick.get(&all)).collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().map(|subject| at(101, subject)).collect()
}

/// Somebody inside whose proofs are of the highest tier: nearly in.
fn promising(facts: Facts<'static>) -> Facts<'static> {
    let highest = |proof: &Proof| Proof { tier: "hardware".into(), ..proof.clone() };
    Facts {
        address: Fact::Known(INSIDE.parse().unwrap()),
        identity: user("dana"),
        proofs: facts.proofs.iter().map(highest).collect(),
        ..facts
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 100_000, ..ProptestConfig::with_cases(250) })]

    #[test]
    fn a_project_file_never_opens_what_the_base_keeps_closed(
        mut base in policies(),
        ages in prop::collection::vec(select(&[1u64, 2, 8, 12, 24]), 3),
        own in prop::collection::vec(project_row(), 1..3),
        requests in prop::collection::vec(prop_oneof![facts(), facts().prop_map(promising)], 64),
    ) {
        for (tier, age) in base.tiers.iter_mut().zip(ages) {
            tier.max_age = hours(age);
        }
        // Few conditions: what everything refuses shows nothing.
        for (n, row) in base.rows.iter_mut().enumerate() {
            row.deny.truncate(n % 2);
            row.require.truncate(n % 2);
        }
        let rows = own.into_iter().zip(&base.rows).map(|((own, picks), floor)| RowDraft {
            resource: at(101, floor.resource.value.clone()),
            allow: narrowed(floor, &picks),
            deny: own.deny.into_iter().take(1).collect(),
            require: own.require.into_iter().take(1).collect(),
            ..own
        });
        let rows: Vec<RowDraft> = rows.collect();
        // What is refused opens nothing.
        let merged = Policy::build_with(base.clone(), vec![project(rows)]);
        prop_assume!(merged.is_ok());
        let (base, merged) = (build(base), merged.unwrap());
        for facts in requests {
            let (floor, tightened) = (base.decide(&facts), merged.decide(&facts));
            prop_assert!(
                !allows(&tightened) || allows(&floor),
                "{}\n{}", explain(&base, &facts, &floor), explain(&merged, &facts, &tightened)
            );
        }
    }
}
