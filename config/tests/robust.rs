//! Odd input gives errors, never a panic; a large configuration loads.
#![expect(clippy::unwrap_used, reason = "a test that cannot read its files has failed")]
use std::fmt::Write;
use std::fs;
use std::path::Path;
use tempfile::TempDir;
use torhaus_authz::Timestamp;
use torhaus_config::{Config, Errors, load};

const NOW: Timestamp = Timestamp::from_seconds(1_795_392_000);

fn good(name: &str) -> String {
    let material = fs::canonicalize("tests/material").unwrap();
    fs::read_to_string(Path::new("tests/good").join(name)).unwrap().replace("../material", material.to_str().unwrap())
}

fn loaded(main: &str, policy: &str) -> Result<Config, Errors> {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("torhaus.yaml"), main).unwrap();
    fs::write(folder.path().join("policy.yaml"), policy).unwrap();
    load(&folder.path().join("torhaus.yaml"), NOW)
}

#[test]
fn a_file_that_is_cut_off_anywhere_never_panics() {
    let (main, policy) = (good("torhaus.yaml"), good("policy.yaml"));
    for end in (0..main.len()).step_by(61).filter(|end| main.is_char_boundary(*end)) {
        if let Err(errors) = loaded(&main[..end], &policy) {
            assert!(!errors.errors.is_empty() && !errors.to_string().is_empty());
        }
    }
    for end in (0..policy.len()).step_by(41).filter(|end| policy.is_char_boundary(*end)) {
        if let Err(errors) = loaded(&main, &policy[..end]) {
            assert!(!errors.errors.is_empty() && !errors.to_string().is_empty());
        }
    }
}

#[test]
fn any_line_may_be_missing_doubled_or_of_another_kind() {
    let (main, policy) = (good("torhaus.yaml"), good("policy.yaml"));
    let lines: Vec<&str> = main.lines().collect();
    for at in (0..lines.len()).step_by(2) {
        let (before, after) = (lines[..at].join("\n"), lines[at + 1..].join("\n"));
        let key = lines[at].split(':').next().unwrap();
        let doubled = format!("{}\n{}", lines[at], lines[at]);
        let others =
            [String::new(), doubled, format!("{key}: [[1], {{}}]"), format!("{key}: ~"), format!("{key}: \"ä\u{1}\"")];
        for line in others {
            if let Err(errors) = loaded(&format!("{before}\n{line}\n{after}"), &policy) {
                assert!(!errors.errors.is_empty() && !errors.to_string().contains("please report it"), "{errors}");
            }
        }
    }
}

#[test]
fn files_that_are_not_there_or_not_text_are_errors() {
    let errors = load(Path::new("tests/nowhere/torhaus.yaml"), NOW).unwrap_err().to_string();
    assert!(errors.contains("`tests/nowhere/torhaus.yaml` does not exist"), "{errors}");
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("torhaus.yaml"), [0xff, 0xfe, 0x00]).unwrap();
    let errors = load(&folder.path().join("torhaus.yaml"), NOW).unwrap_err().to_string();
    assert!(errors.contains("is not UTF-8 text"), "{errors}");
}

#[test]
fn an_alias_bomb_is_an_error() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let before = format!("*a{}", level - 1);
        let _ = writeln!(text, "a{level}: &a{level} [{}]", [before.as_str(); 10].join(", "));
    }
    assert!(loaded(&text, &good("policy.yaml")).unwrap_err().to_string().contains("not YAML"));
}

#[test]
fn a_thousand_routes_and_rows_load() {
    let (mut main, mut policy) = (good("torhaus.yaml"), good("policy.yaml"));
    let (mut routes, mut rows) = (String::from("routes:\n"), String::from("table:\n"));
    for n in 0..1_000 {
        let _ = writeln!(
            routes,
            "  - {{ name: r{n}, host: h{}.example.test, path: /p{n}, upstream: http://10.1.0.1:9001, resource: r{n} }}",
            n % 50
        );
        let _ = writeln!(
            rows,
            "  - {{ resource: r{n}, allow: [\"group:g{}\"], zones: {{ internal: standard, external: mfa }} }}",
            n % 100
        );
    }
    main = main.replace("routes:\n", &routes);
    policy = policy.replace("table:\n", &rows);
    let config = loaded(&main, &policy).map_err(|errors| errors.to_string()).unwrap();
    assert_eq!(config.routes.len(), 1_009);
}
