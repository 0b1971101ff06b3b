//! What loads, but is named by `check` and in the log.
#![expect(clippy::unwrap_used, reason = "a test that cannot read its files has failed")]
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tempfile::TempDir;
use torhaus_authz::Timestamp;
use torhaus_config::{Config, load};

const NOW: Timestamp = Timestamp::from_seconds(1_795_392_000);
const SECRET: &str = "swordfish-marker-7731";

/// The good example in a folder of its own, each file changed by `(name, from, to)`.
fn changed(changes: &[(&str, &str, &str)], secret_mode: u32) -> (TempDir, Config) {
    let folder = TempDir::new().unwrap();
    let material = fs::canonicalize("tests/material").unwrap();
    for name in ["torhaus.yaml", "policy.yaml"] {
        let mut text = fs::read_to_string(Path::new("tests/good").join(name)).unwrap();
        text = text.replace("../material/secret", "secret").replace("../material", material.to_str().unwrap());
        for (_, from, to) in changes.iter().filter(|(file, ..)| *file == name) {
            assert!(text.contains(from), "{from}");
            text = text.replacen(from, to, 1);
        }
        fs::write(folder.path().join(name), text).unwrap();
    }
    let secret = folder.path().join("secret");
    fs::write(&secret, format!("{SECRET}\n")).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(secret_mode)).unwrap();
    let config = load(&folder.path().join("torhaus.yaml"), NOW).map_err(|errors| errors.to_string()).unwrap();
    (folder, config)
}

fn warnings(config: &Config) -> Vec<String> {
    let shown = |warning: &torhaus_config::Warning| {
        let file = warning.file.file_name().unwrap().to_str().unwrap();
        format!("{file}:{}: {}", warning.problem.line, warning.problem.message)
    };
    // The keys of `material/` are public, and git keeps no modes.
    config.warnings.iter().map(shown).filter(|text| !text.contains("apps.key")).collect()
}

#[test]
fn the_good_example_is_warned_of_nothing() {
    let (_folder, config) = changed(&[("policy.yaml", "2026-12-20T00:00:00Z", "2027-01-20T00:00:00Z")], 0o600);
    assert_eq!(warnings(&config), [""; 0]);
}

#[test]
fn a_secret_that_others_may_read_is_a_warning_that_does_not_show_it() {
    for (mode, who) in [(0o640, "its group"), (0o604, "everybody on this machine")] {
        let (_folder, config) = changed(&[], mode);
        let found = warnings(&config);
        assert!(found.iter().any(|text| text.contains("secret") && text.contains(who)), "{found:?}");
    }
    let (_folder, config) = changed(&[], 0o600);
    assert_eq!(config.providers[0].client.secret.expose(), SECRET);
    assert!(!format!("{config:?}").contains(SECRET));
}

#[test]
fn what_opens_nothing_or_too_much_is_a_warning() {
    for (file, from, to, expected) in [
        ("torhaus.yaml", "pin_sha256: \"0011", "danger_skip_verification: true } # \"", "danger_skip_verification"),
        (
            "policy.yaml",
            "  - { resource: headscale,",
            "  - { resource: unused, allow: [\"group:a\"], zones: { internal: mfa } }\n  - { resource: headscale,",
            "no route leads to resource `unused`",
        ),
        ("policy.yaml", "table:", "  - { name: presence, max_age: 1m }\ntable:", "nobody can prove tier `presence`"),
        (
            "policy.yaml",
            "external: deny } }\n  - { resource: k3s",
            "external: deny }, require: [{ name: device, client_certificate: partner }] }\n  - { resource: k3s",
            "no route of `headscale` asks for a certificate of `partner`",
        ),
        ("policy.yaml", "review_by: 2027-01-31", "review_by: 2026-01-31", "reviewed"),
        ("policy.yaml", "2026-12-20", "2026-12-02", "EX-14"),
        (
            "torhaus.yaml",
            "admin: { address: 127.0.0.1:9090 }",
            "admin: { address: 0.0.0.0:9090, danger_beyond_loopback: true }",
            "`0.0.0.0:9090` reads metrics and health (`danger_beyond_loopback`)",
        ),
        (
            "policy.yaml",
            "      proven: hardware, resource: headscale, expect: deny",
            "      proven: hardware, resource: proxmox, expect: deny",
            "no test asks for `headscale`",
        ),
    ] {
        let (_folder, config) = changed(&[(file, from, to)], 0o600);
        let found = warnings(&config);
        assert!(found.iter().any(|text| text.starts_with(file) && text.contains(expected)), "{expected}: {found:?}");
    }
}
