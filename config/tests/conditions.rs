//! Every form of a condition, as people type it, and what the table says of it.
use std::fs;
use std::path::Path;
use tempfile::TempDir;
use torhaus_authz::Timestamp;
use torhaus_config::load;

const NOW: Timestamp = Timestamp::from_seconds(1_795_392_000);

const TYPED: &str = r#"raise:
      - { name: far, when: { continent_not_in: [EU, NA] }, to: mfa }
      - { name: near, when: { continent_in: [EU] }, to: mfa, on_unknown: ignore }
      - { name: not-the-office, when: { not: { networks: [office] } }, to: mfa }
      - { name: long-ago, when: { not: { proof: { tier: standard, newer_than: 15m } }, methods: [PUT, POST, DELETE] }, to: hardware }
      - { name: admin, when: { paths: [/admin, /api/keys/] }, to: hardware }
      - { name: night, when: { time: { from: "20:00", to: "06:00", utc_offset: "+01:00" } }, to: mfa }
      - { name: weekend, when: { time: { days: [sat, sun], utc_offset: "-05:30" } }, to: mfa }
      - { name: with-certificate, when: { client_certificate: any }, to: mfa }
      - { name: without, when: { client_certificate: none }, to: mfa }
      - { name: summer, when: { time: { days: [fri], from: "08:00", zone: Europe/Berlin } }, to: mfa }
      - { name: unlisted, when: { device: { known: false } }, to: mfa }
      - { name: not-mine, when: { not: { device: { owner: self } } }, to: mfa }
      - { name: kiosk, when: { device: { managed: true, tags: [kiosk], owner: [dana, eva] } }, to: mfa }
      - { name: open-disk, when: { posture: { disk_encrypted: false, firewall: true, max_report_age: 1h } }, to: mfa }
      - { name: old, when: { not: { posture: { os: [windows], min_os_version: "10.0.22631", patched_within: 30d, source_trust: mdm } } }, to: mfa }
      - { name: sick, when: { posture: { edr: [unhealthy, absent], secure_boot: false, compliant: false } }, to: mfa }
      - { name: new-here, when: { any: [{ new_place: country }, { new_place: network }] }, to: mfa }
"#;

#[test]
fn every_condition_is_read_and_told_back() {
    let folder = TempDir::new().unwrap();
    let material = fs::canonicalize("tests/material").unwrap();
    let read = |name: &str| fs::read_to_string(Path::new("tests/good").join(name)).unwrap();
    let policy = read("policy.yaml");
    let raise = policy.lines().find(|line| line.contains("raise: [{ name: abroad")).unwrap();
    let policy = policy.replace(raise, &format!("    {TYPED}"));
    let (policy, _) = policy.split_once("tests:").unwrap();
    fs::write(folder.path().join("policy.yaml"), policy).unwrap();
    let main = read("torhaus.yaml").replace("../material", material.to_str().unwrap());
    fs::write(folder.path().join("torhaus.yaml"), main).unwrap();

    let config = load(&folder.path().join("torhaus.yaml"), NOW).map_err(|errors| errors.to_string()).unwrap();
    let table = config.policy.table();
    let told: Vec<(&str, &str)> = table.rows[0].conditions.iter().map(|c| (&*c.name, c.when.as_str())).collect();
    assert_eq!(
        told,
        [
            ("far", "not the continent is `EU` and `NA`"),
            ("near", "the continent is `EU`"),
            ("not-the-office", "not from network `office`"),
            ("long-ago", "(method `DELETE`, `POST` and `PUT` and not `standard` proven within 15m)"),
            ("admin", "path below `/admin` and `/api/keys`"),
            ("night", "every day from 20:00 to 06:00 (+01:00)"),
            ("weekend", "sat, sun from 00:00 to 24:00 (-05:30)"),
            ("with-certificate", "a client certificate"),
            ("without", "not a client certificate"),
            ("summer", "fri from 08:00 to 24:00 (Europe/Berlin)"),
            ("unlisted", "the device is in no list"),
            ("not-mine", "not the device is the person's own"),
            ("kiosk", "(the device is managed and the device is of `dana` and `eva` and the device has tag `kiosk`)"),
            ("open-disk", "its disk is not encrypted and its firewall is on, reported within 1h"),
            (
                "old",
                "not it was patched within 30d and its system is `windows` and its system is of version 10.0.22631 or \
                 later, reported within 24h by `mdm` or better",
            ),
            (
                "sick",
                "its secure boot is off and its management does not call it compliant and its malware protection is \
                 `unhealthy` and `absent`, reported within 24h",
            ),
            ("new-here", "(the country is new for this person or the network is new for this person)"),
        ]
    );
}
