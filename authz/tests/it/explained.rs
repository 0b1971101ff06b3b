//! What an administrator reads.
use crate::fixture::*;
use torhaus_authz::*;

fn summary(policy: &Policy, facts: &Facts<'_>) -> String {
    explain(policy, facts, &policy.decide(facts)).summary
}

#[test]
fn a_refusal_names_row_line_place_and_person() {
    let policy = build(m6());
    let dana = |resource, address| of(request(resource, address), user("dana"), &["hr"], "mfa");
    for (facts, expected) in [
        (
            Facts { country: country("FR"), ..dana("samba-hr", OUTSIDE) },
            "refused: row `samba-hr` (policy.yaml:11) is closed from zone `external`; you came from 203.0.113.5 (FR)",
        ),
        (
            dana("wiki", INSIDE),
            "refused: row `wiki` (policy.yaml:9) does not allow user `dana` (corp); it allows `group:all-employees`",
        ),
        (dana("payroll", INSIDE), "refused: no row names resource `payroll` (policy.yaml)"),
        (
            Facts { groups: Fact::Unknown(Why::SourceDown), ..dana("wiki", INSIDE) },
            "refused: row `wiki` (policy.yaml:9) allows `group:all-employees`, and the groups of user `dana` (corp) are unknown: its source could not be asked",
        ),
        (
            Facts { proofs: proofs(&[("standard", hours(3))]), ..dana("samba-hr", INSIDE) },
            "step-up needed: row `samba-hr` (policy.yaml:11) asks user `dana` (corp) for `mfa`, not older than 8h; proven: `standard` 3h ago",
        ),
        (
            request("wiki", OUTSIDE),
            "sign-in needed: row `wiki` (policy.yaml:9) asks for `standard` from zone `external`; you came from 203.0.113.5 (DE)",
        ),
        (
            of(request("samba-hr", OUTSIDE), user("carol"), &[], "hardware"),
            "allowed by exception `EX-14`: row `samba-hr` (policy.yaml:11) lets user `carol` (corp) in from zone `external`; you came from 203.0.113.5 (DE)",
        ),
    ] {
        assert_eq!(summary(&policy, &facts), expected);
    }
}

#[test]
fn the_steps_say_yes_no_or_unknown_in_their_order() {
    let policy = m6_with("samba-hr", |row| {
        row.require = vec![guard(21, "company-device", Condition::ClientCertificate(at(21, "devices")))];
        row.raise = vec![RaiseDraft {
            ignore_unknown: true,
            ..raise(22, "abroad", Condition::CountryNotIn(vec![Country::parse("DE").unwrap()]), "hardware")
        }];
    });
    let facts = Facts {
        country: Fact::Unknown(Why::NotConfigured),
        certificate: certificate("devices"),
        ..of(request("samba-hr", INSIDE), user("dana"), &["hr"], "standard")
    };
    let decision = policy.decide(&facts);
    let text = explain(&policy, &facts, &decision).to_string();
    assert_eq!(text, "\
step-up needed: row `samba-hr` (policy.yaml:11) asks user `dana` (corp) for `mfa`, not older than 8h; proven: `standard` 0s ago
  0. yes      zone `internal`: 10.1.2.3 is in one of its networks
  1. yes      a row for `samba-hr` (policy.yaml:11)
  1. yes      open from zone `internal`: the cell is `mfa`
  1. no       a live exception for this zone: 0 of 1
  3. yes      identified: user `dana` (corp)
  4. yes      user `dana` (corp) is in `group:hr` and `group:finance`
  5. yes      require `company-device`: a client certificate of `devices` (policy.yaml:21)
  6. unknown  raise to `hardware` `abroad`: the country is not `DE`; unknown: no source for it is configured; ignored by `on_unknown: ignore` (policy.yaml:22)
  6. no       `mfa` proven within 8h: never proven
what to do: Sign in again with the factor you are asked for.
");
    let json = serde_json::to_value(explain(&policy, &facts, &decision)).unwrap();
    assert_eq!(json["verdict"], "step_up");
    assert_eq!(json["steps"][7]["answer"], "unknown");
}

#[test]
fn a_terminal_obeys_no_name() {
    let policy = build(m6());
    let facts = of(request("wiki\u{1b}[2J", INSIDE), user("da\u{9b}31m\nna"), &[], "mfa");
    let text = explain(&policy, &facts, &policy.decide(&facts)).to_string();
    assert!(!text.contains(['\u{1b}', '\u{9b}']), "{text:?}");
    let facts = of(request("wiki", INSIDE), user("da\u{9b}31m\nna"), &[], "mfa");
    assert!(!summary(&policy, &facts).contains(['\n', '\u{9b}']));
}
