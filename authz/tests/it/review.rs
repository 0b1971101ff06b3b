//! What deserves a look, and the document for auditors.
use crate::fixture::*;
use torhaus_authz::*;

const NINETY_DAYS: u64 = 90 * 24;

fn used(resource: &str, exception: Option<&str>, hours_ago: u64) -> Entry {
    Entry {
        resource: Some(resource.into()),
        exception: exception.map(Into::into),
        verdict: Some(VerdictKind::Allow),
        ..Entry::new(NOW.minus(hours(hours_ago)), Kind::Decision)
    }
}

fn policy() -> Policy {
    let mut draft = m6();
    for row in &mut draft.rows {
        row.owner = Some("it@example.test".to_owned());
    }
    draft.rows[0].owner = None;
    draft.rows[1].review_by = Some(NOW.minus(hours(48)));
    draft.rows[2].review_by = Some(NOW.plus(hours(24)));
    draft.exceptions.push(ExceptionDraft {
        expires: NOW,
        ..exception(19, "EX-OLD", "samba-hr", &["user:carol"], "external", "hardware")
    });
    build(draft)
}

fn findings(usage: &Usage) -> Vec<String> {
    let review = policy().review(usage, hours(NINETY_DAYS), NOW);
    review.findings.iter().map(|found| format!("{} {}:{} {}", found.what, found.file, found.line, found.name)).collect()
}

const DUE: [&str; 4] = [
    "no_owner policy.yaml:9 wiki",
    "review_overdue policy.yaml:10 samba-general",
    "review_due policy.yaml:11 samba-hr",
    "exception_expired policy.yaml:19 EX-OLD",
];

#[test]
fn a_young_log_says_nothing_of_what_is_unused() {
    let mut usage = Usage::default();
    assert_eq!(findings(&usage), DUE);
    usage.add(&used("wiki", None, 24));
    assert_eq!(findings(&usage), DUE);
}

#[test]
fn what_let_nobody_in_for_ninety_days_is_named() {
    let mut usage = Usage::default();
    usage.add(&Entry::new(NOW.minus(hours(NINETY_DAYS + 500)), Kind::Start));
    usage.add(&used("proxmox", None, NINETY_DAYS + 1));
    usage.add(&used("headscale", None, NINETY_DAYS - 1));
    for resource in ["wiki", "samba-general", "samba-hr", "k3s-critical", "status"] {
        usage.add(&used(resource, None, 5));
    }
    // A refusal is no use.
    usage.add(&Entry { verdict: Some(VerdictKind::Deny), ..used("backup-api", None, 1) });
    let found = findings(&usage);
    let unused: Vec<&str> = found.iter().map(String::as_str).filter(|text| text.contains("unused")).collect();
    assert_eq!(
        unused,
        [
            "row_unused policy.yaml:12 proxmox",
            "row_unused policy.yaml:15 backup-api",
            "exception_unused policy.yaml:18 EX-14",
        ]
    );
    usage.add(&used("samba-hr", Some("EX-14"), 2));
    assert!(!findings(&usage).iter().any(|text| text.contains("EX-14")));
    let text = policy().review(&usage, hours(NINETY_DAYS), NOW).to_string();
    assert!(
        text.contains("policy.yaml:12: row_unused: `proxmox` (owner it@example.test): let nobody in since"),
        "{text}"
    );
}

#[test]
fn an_auditor_reads_roles_owners_and_exceptions() {
    let text = policy().rbac(NOW);
    for line in [
        "# Access concept",
        "| hardware | what hardware asks for | 1h |",
        "### Group hr",
        "| samba-hr |  | mfa | deny |  |",
        "### Person carol",
        "| samba-hr |  | deny | hardware (EX-14) |  |",
        "### Service spiffe://example.test/backup",
        "### Anyone, without signing in",
        "| wiki |  | nobody | none |  | policy.yaml:9 |",
        "| samba-general |  | it@example.test | OVERDUE since 2026-06-29T12:00:00Z |  | policy.yaml:10 |",
        "| EX-14 | samba-hr | user:carol | external | hardware | 2026-07-31T12:00:00Z | alice@example.test | audit on site |",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(!text.contains("EX-OLD"), "what has expired is not in force");
}
