//! What is exported, and that each thing that happens is counted where operators look.
use super::*;
use std::time::Duration;

/// What a page or a text calls a metric, without the endings that belong to a type.
fn named(text: &str) -> std::collections::BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !word(c)).filter(|name| name.starts_with("torhaus_")).map(str::to_owned).collect()
}

#[test]
fn the_page_about_metrics_lists_what_is_exported_and_nothing_else() {
    let metrics = Metrics::new(&audit::Counters::default(), &Counter::default());
    metrics.route("public", "wiki").answered(200, Duration::from_millis(3));
    metrics.login("corp", LoginResult::Done);
    metrics.logout("corp", LogoutResult::Done);
    metrics.report(ReportResult::Taken);
    metrics.decided("wiki", VerdictKind::Deny, Reason::ZoneDenied);
    let listener = metrics.listener("public");
    listener.refused("too many connections");
    listener.handshake_failed("handshake");
    metrics.reloaded(true, Timestamp::from_seconds(5));
    metrics.certificates([("apps", Timestamp::from_seconds(7))]);
    metrics.revocation_lists([("devices", Timestamp::from_seconds(9))]);
    metrics.issued("device");
    metrics.acme("new-order", "ok");
    metrics.listener_certificate(true);
    listener.cut("too slow");
    metrics.policy.name_all();
    metrics.providers([("corp", true)]);
    metrics.sources(&[crate::lookup::health::Health::new("ldap").status()]);
    let exported: std::collections::BTreeSet<String> = metrics
        .text()
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        })
        .collect();
    let rows = include_str!("../../../docs/metrics.md").lines().filter(|line| line.starts_with("| `"));
    let listed: std::collections::BTreeSet<String> =
        rows.flat_map(|row| named(row.split('|').nth(1).unwrap_or_default())).collect();
    assert_eq!(listed, exported, "docs/metrics.md and the registry differ");
}

#[test]
fn what_happened_stands_in_the_text() {
    let records = audit::Counters::default();
    let metrics = Metrics::new(&records, &Counter::default());
    let wiki = metrics.route("public", "wiki");
    wiki.answered(200, Duration::from_millis(3));
    wiki.answered(999, Duration::from_millis(3));
    metrics.decided("wiki", VerdictKind::Deny, Reason::ZoneDenied);
    metrics.decided("wiki", VerdictKind::Allow, Reason::Allowed);
    metrics.login("corp", LoginResult::NotProven);
    let listener = metrics.listener("public");
    let open = Open::new(&listener.open);
    listener.handshake_failed("unknown_authority");
    metrics.reloaded(false, Timestamp::from_seconds(5));
    metrics.certificates([("old", Timestamp::from_seconds(6))]);
    metrics.certificates([("apps", Timestamp::from_seconds(7))]);
    records.written.inc();
    let text = metrics.text().unwrap();
    for line in [
        r#"torhaus_requests_total{listener="public",route="wiki",class="2xx"} 1"#,
        r#"torhaus_requests_total{listener="public",route="wiki",class="other"} 1"#,
        r#"torhaus_request_duration_seconds_count{route="wiki"} 2"#,
        r#"torhaus_decisions_total{verdict="deny",reason="zone_denied"} 1"#,
        r#"torhaus_decisions_total{verdict="allow",reason="allowed"} 1"#,
        r#"torhaus_refusals_total{resource="wiki",verdict="deny",reason="zone_denied"} 1"#,
        r#"torhaus_decisions_total{verdict="deny",reason="no_rule"} 0"#,
        r#"torhaus_logins_total{provider="corp",result="not_proven"} 1"#,
        r#"torhaus_connections_open{listener="public"} 1"#,
        r#"torhaus_handshake_failures_total{listener="public",cause="unknown_authority"} 1"#,
        r#"torhaus_reloads_total{result="failed"} 1"#,
        r#"torhaus_certificate_not_after_seconds{name="apps"} 7"#,
        "torhaus_audit_records_written_total 1",
        "torhaus_access_log_dropped_total 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\nnot in\n{text}");
    }
    assert!(!text.contains("\"old\"") && text.ends_with("# EOF\n"));
    drop(open);
    assert_eq!(listener.open.get(), 0);
}

#[test]
fn every_reason_finds_its_own_counter() {
    let metrics = Metrics::new(&audit::Counters::default(), &Counter::default());
    for reason in Reason::ALL.iter().copied() {
        metrics.decided("wiki", usual_verdict(reason), reason);
        assert_eq!(metrics.decision(usual_verdict(reason), reason).get(), 1, "{}", reason.as_str());
    }
}
