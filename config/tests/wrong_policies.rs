//! Wrong policies, each one slip away from a right one: every one is refused with file, line, excerpt and hint.
//!
//! The whole of what a person reads stands in `wrong_policies/expected.txt`;
//! `TORHAUS_WRITE_EXPECTED=1 cargo test -p torhaus-config --test wrong_policies` writes it anew. Then READ it.
use std::fmt::Write;
use std::fs;
use std::path::Path;
use torhaus_authz::Timestamp;
use torhaus_config::load;

/// 23 November 2026.
const NOW: Timestamp = Timestamp::from_seconds(1_795_392_000);

/// A piece of the right policy, and what somebody typed instead.
const SLIPS: &[(&str, &str)] = &[
    // The whole.
    ("version: 1", "version: 2"),
    ("version: 1\n", ""),
    ("exceptions:", "exception:"),
    ("table:", "table: {}\ntabel:"),
    ("zones:\n", "zones:\n\t"),
    // Zones and tiers.
    ("internal: { networks: [10.0.0.0/8]", "external: { networks: [10.0.0.0/8]"),
    ("10.0.0.0/8", "10.0.0.0/33"),
    ("10.0.0.0/8", "10.1.0.0/8"),
    ("[10.0.0.0/8]", "[10.0.0.0/8, 10.0.0.0/8]"),
    ("listeners: [public]", "listeners: [pubic]"),
    ("[10.0.0.0/8], listeners: [public]", "[100.64.0.0/10]"),
    ("name: mfa, max_age: 8h", "name: mfa, max_age: 8"),
    ("name: mfa, max_age: 8h", "name: mfa"),
    ("name: mfa, max_age: 8h", "name: standard, max_age: 8h"),
    ("name: mfa, max_age: 8h", "name: mfa, max_age: 0s"),
    // Rows.
    ("resource: wiki\n", "resource: payroll\n"),
    ("allow: [\"group:all-employees\"]", "allow: [all-employees]"),
    ("allow: [\"group:all-employees\"]", "allow: [\"gruop:all-employees\"]"),
    ("allow: [\"group:all-employees\"]", "allow: [everyone]"),
    ("allow: [\"group:all-employees\"]", "allow: \"group:all-employees\""),
    ("allow: [\"group:all-employees\"]", "allow: [\"service:backup\"]"),
    ("allow: [\"group:all-employees\"]", "allow: [anyone]"),
    ("\"group:hr\", \"user:erin\"", "\"group:hr\", \"group:hr\""),
    ("internal: standard, external: standard", "internal: standard, extern: standard"),
    ("internal: standard, external: standard", "internal: standard, external: standart"),
    ("internal: standard, external: standard", "internal: anonymous, external: standard"),
    ("internal: standard, external: standard", "internal: standard, internal: mfa"),
    ("    max_age: 1h", "    max_age: an hour"),
    ("    max_age: 1h", "    max_age: 0s"),
    ("review_by: 2027-01-31", "review_by: next spring"),
    ("    max_age: 1h", "    record: sometimes"),
    // Raise.
    ("when: { any:", "if: { any:"),
    ("to: mfa }", "to: mfaa }"),
    ("on_unknown: ignore", "on_unknown: allow"),
    ("name: firewall-off", "name: abroad"),
    ("{ name: abroad, when", "{ when"),
    // Conditions.
    ("country_not_in: [DE]", "country_not_in: [Germany]"),
    ("country_not_in: [DE]", "country_not_in: [de]"),
    ("country_not_in: [DE]", "country_not_in: []"),
    ("country_not_in: [DE]", "county_not_in: [DE]"),
    ("country_not_in: [DE]", "continent_not_in: [Europe]"),
    ("country_not_in: [DE]", "networks: [ofice]"),
    ("country_not_in: [DE]", "methods: [post]"),
    ("country_not_in: [DE]", "paths: [\"/admin/*\"]"),
    ("country_not_in: [DE]", "services: [backup]"),
    ("country_not_in: [DE]", "zones: [intern]"),
    ("country_not_in: [DE]", "proof: { tier: mffa, newer_than: 15m }"),
    ("any: [{ country_not_in: [DE] }, { new_place: country }]", "any: []"),
    ("new_place: country", "new_place: city"),
    ("new_place: country", "new_place: true"),
    ("{ firewall: false }", "{ firewall: off }"),
    ("{ firewall: false }", "{ firewal: false }"),
    ("{ firewall: false }", "{}"),
    ("max_report_age: 24h", "max_report_age: 24"),
    ("max_report_age: 24h", "max_report_age: 0s"),
    ("max_report_age: 24h", "source_trust: mdmm"),
    ("client_certificate: devices", "client_certificate: device"),
    ("os: [windows]", "os: [win]"),
    ("os: [windows], ", ""),
    ("\"10.0.22631\"", "22H2"),
    ("patched_within: 30d", "patched_within: lately"),
    ("edr: [healthy]", "edr: [fine]"),
    ("edr: [healthy]", "edr: healthy"),
    ("tags: [kiosk]", "tags: []"),
    ("device: { tags: [kiosk] }", "device: {}"),
    ("device: { owner: self }", "device: { owner: [] }"),
    ("device: { owner: self }", "device: { managed: yes }"),
    ("zone: Europe/Berlin", "zone: Europe/Berln"),
    ("zone: Europe/Berlin", "zone: CEST"),
    ("zone: Europe/Berlin", "zone: Europe/Berlin, utc_offset: \"+01:00\""),
    (", zone: Europe/Berlin", ""),
    ("to: \"06:00\"", "to: \"22:00\""),
    // Exceptions.
    ("expires: 2027-01-01", "expires: soon"),
    (", expires: 2027-01-01", ""),
    ("owner: alice@example.test, ", ""),
    ("reason: audit", "reason: \" \""),
    ("[\"user:carol\"]", "[]"),
    ("zone: external, tier: mfa", "zone: outside, tier: mfa"),
    ("resource: payroll, allow", "resource: payrol, allow"),
    // Tests.
    ("reason: zone_denied", "reason: not_allowed"),
    ("reason: zone_denied", "reason: zone_deny"),
    ("expect: deny", "expect: refuse"),
    ("ip: 203.0.113.5, proven: mfa", "ip: 203.0.113, proven: mfa"),
    ("new_place: none", "new_place: both"),
    ("posture: { firewall: true }", "posture: { firewall: false }"),
    ("posture: { firewall: true }", "device: laptop"),
    ("posture: { firewall: true }", "posture: { edr: fine }"),
    ("name: at home a password is enough", "name: hr from outside is refused"),
];

#[test]
fn sixty_wrong_policies_are_refused_with_file_line_excerpt_and_hint() {
    assert!(SLIPS.len() >= 60, "{}", SLIPS.len());
    let from = Path::new("tests/wrong_policies");
    let folder = tempfile::tempdir().unwrap();
    let material = fs::canonicalize("tests/material").unwrap();
    let main =
        fs::read_to_string(from.join("torhaus.yaml")).unwrap().replace("../material", material.to_str().unwrap());
    fs::write(folder.path().join("torhaus.yaml"), main).unwrap();
    fs::copy(from.join("devices.yaml"), folder.path().join("devices.yaml")).unwrap();
    let right = fs::read_to_string(from.join("policy.yaml")).unwrap();
    let read = |policy: &str| {
        fs::write(folder.path().join("policy.yaml"), policy).unwrap();
        load(&folder.path().join("torhaus.yaml"), NOW)
    };
    let loaded = read(&right).map_err(|errors| errors.to_string()).unwrap();
    let of_policy = loaded.warnings.iter().filter(|warning| warning.file.ends_with("policy.yaml"));
    let warnings: Vec<_> = of_policy.map(|warning| &warning.problem.message).collect();
    assert!(warnings.is_empty(), "{warnings:?}");

    let (mut shown, mut no_help) = (String::new(), Vec::new());
    for (piece, slip) in SLIPS {
        assert!(right.contains(piece), "the right policy has no `{piece}`");
        let errors = match read(&right.replacen(piece, slip, 1)) {
            Ok(_) => panic!("`{slip}` instead of `{piece}` was taken"),
            Err(errors) => errors,
        };
        writeln!(shown, "### `{}` instead of `{}`\n", slip.trim(), piece.trim()).unwrap();
        writeln!(shown, "{}\n", errors.to_string().replace(&format!("{}/", folder.path().display()), "")).unwrap();
        let helps = |error: &torhaus_config::Mistake| {
            error.line > 0 && error.excerpt.is_some() && error.hint.as_ref().is_some_and(|hint| !hint.is_empty())
        };
        let of_policy = errors.errors.iter().any(|error| error.file.ends_with("policy.yaml"));
        if !of_policy || !errors.errors.iter().all(helps) {
            no_help.push(format!("`{slip}` instead of `{piece}`:\n{errors}"));
        }
    }
    assert!(no_help.is_empty(), "{}", no_help.join("\n"));
    let expected = from.join("expected.txt");
    if std::env::var_os("TORHAUS_WRITE_EXPECTED").is_some() {
        fs::write(&expected, &shown).unwrap();
    }
    assert!(
        shown == fs::read_to_string(&expected).unwrap_or_default(),
        "{shown}\nTORHAUS_WRITE_EXPECTED=1 writes it anew"
    );
}
