//! The examples load, and their policies keep what they promise.
#![expect(clippy::unwrap_used, reason = "a test that cannot read its files has failed")]
use std::fs;
use std::path::Path;
use tempfile::TempDir;
use torhaus_authz::Timestamp;
use torhaus_config::{load, run_policy_tests};

const NOW: Timestamp = Timestamp::from_seconds(1_795_392_000);

/// The example in a folder of its own, with our material for the certificates and secrets that its reader makes.
fn with_material(example: &Path) -> TempDir {
    let folder = TempDir::new().unwrap();
    let material = fs::canonicalize("tests/material").unwrap();
    let mut text = fs::read_to_string(example.join("torhaus.yaml")).unwrap();
    // Our certificate is of `*.example.test`.
    for domain in [".internal.example.test", ".localhost"] {
        text = text.replace(domain, ".example.test");
    }
    let lines = text.lines().map(|line| {
        let mut line = line.to_owned();
        for (key, file) in [
            ("cert_file", "apps.pem"),
            ("key_file", "apps.key"),
            ("ca_file", "ca.pem"),
            ("crl_file", "partner.crl"),
            ("client_secret_file", "secret"),
            ("bind_password_file", "secret"),
            ("url_file", "postgres-url"),
            ("seal_file", "seal"),
            ("api_key_file", "secret"),
            ("token_file", "secret"),
            ("file", "secret"),
            ("logo_file", "logo.svg"),
        ] {
            let with_colon = format!("{key}: ");
            let starts = |at: &usize| !line[..*at].ends_with(|c: char| c == '_' || c.is_alphanumeric());
            let found = line.match_indices(&with_colon).map(|(at, _)| at).find(starts);
            if let Some(at) = found.map(|at| at + with_colon.len()) {
                let end = line[at..].find([',', ' ', '}']).map_or(line.len(), |len| at + len);
                line.replace_range(at..end, material.join(file).to_str().unwrap());
            }
        }
        line
    });
    fs::write(folder.path().join("torhaus.yaml"), lines.collect::<Vec<_>>().join("\n")).unwrap();
    fs::copy(example.join("policy.yaml"), folder.path().join("policy.yaml")).unwrap();
    folder
}

#[test]
fn every_example_loads_and_keeps_what_it_promises() {
    let examples = fs::read_dir("../examples").unwrap().map(|entry| entry.unwrap().path());
    let examples: Vec<_> = examples.filter(|path| path.join("policy.yaml").is_file()).collect();
    assert!(examples.len() >= 5);
    for example in examples.into_iter().chain(["tests/good".into()]) {
        let folder = with_material(&example);
        let file = folder.path().join("torhaus.yaml");
        let suite = run_policy_tests(&file, None, NOW).map_err(|errors| errors.to_string()).unwrap();
        assert!(suite.passed() && !suite.tests.is_empty(), "{}\n{suite}", example.display());
        assert!(suite.untouched.is_empty(), "{}\n{suite}", example.display());
        load(&file, NOW).map_err(|errors| errors.to_string()).unwrap();
    }
}
