//! The matrix says what the evaluator answers.
use crate::fixture::*;
use torhaus_authz::*;

fn cell(matrix: &Matrix, subject: &str, resource: &str, zone: usize) -> String {
    let subject = matrix.subjects.iter().find(|own| *own.subject == *subject).unwrap();
    let row = subject.rows.iter().find(|row| *row.resource == *resource);
    row.map_or_else(|| "deny".to_owned(), |row| row.cells[zone].answer.clone())
}

/// Somebody of whom nothing is known but that the policy names them so.
fn who(subject: &str) -> (Identity, Vec<&str>) {
    match subject.split_once(':') {
        Some(("group", name)) => (user("somebody"), vec![name]),
        Some(("user", name)) => (user(name), vec![]),
        Some(("service", id)) => (service(id), vec![]),
        _ => (user("somebody"), vec![]),
    }
}

#[test]
fn every_cell_is_what_decide_answers_to_one_who_proves_the_most() {
    let mut draft = m6();
    draft.rows[0].allow = vec![at(9, "authenticated")];
    draft.exceptions.push(exception(19, "EX-15", "samba-hr", &["user:carol", "group:developers"], "external", "mfa"));
    draft.exceptions.push(ExceptionDraft {
        expires: NOW,
        ..exception(20, "EX-16", "proxmox", &["group:developers"], "external", "mfa")
    });
    let policy = build(draft);
    let matrix = policy.matrix(NOW);
    assert_eq!(matrix.zones.iter().map(|zone| &**zone).collect::<Vec<_>>(), ["internal", "external"]);
    for subject in matrix.subjects.iter().map(|own| &*own.subject).filter(|subject| *subject != "anyone") {
        for row in policy.rows() {
            for (zone, address) in [INSIDE, OUTSIDE].into_iter().enumerate() {
                let (identity, of_groups) = who(subject);
                let facts = of(request(&row.resource, address), identity, &of_groups, "hardware");
                let decision = policy.decide(&facts);
                let allowed = matches!(decision.verdict, Verdict::Allow(_));
                let told = cell(&matrix, subject, &row.resource, zone);
                assert_eq!(told != "deny", allowed, "{subject} {} {address}: {told}", row.resource);
                if let Some(tier) = &decision.tier {
                    assert_eq!(told, **tier, "{subject} {} {address}", row.resource);
                }
            }
        }
    }
    assert_eq!(cell(&matrix, "anyone", "status", 1), "anonymous");
    assert_eq!(cell(&matrix, "anyone", "wiki", 0), "deny", "`authenticated` is not anyone");
}

#[test]
fn an_auditor_reads_tiers_conditions_and_exceptions() {
    let policy = m6_with("samba-hr", |row| {
        row.require = vec![guard(21, "company-device", Condition::AnyClientCertificate)];
        row.raise = vec![raise(22, "abroad", Condition::CountryNotIn(vec![Country::parse("DE").unwrap()]), "hardware")];
    });
    let text = policy.matrix(NOW).to_markdown();
    for line in [
        "| who | resource | sensitivity | from internal | from external | conditions |",
        "| group:hr | samba-hr |  | mfa | deny | require company-device; abroad to hardware |",
        "| user:carol | samba-hr |  | deny | hardware (EX-14 until 2026-07-31T12:00:00Z) | require company-device; abroad to hardware |",
        "| anyone | status |  | anonymous | anonymous |  |",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let after = policy.matrix(NOW.plus(hours(24 * 31)));
    assert_eq!(cell(&after, "user:carol", "samba-hr", 1), "deny");
    assert!(serde_json::to_string(&after).unwrap().contains(r#""answer":"mfa""#));
}
