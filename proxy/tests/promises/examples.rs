//! Every example loads: with stand-ins for its certificates and secrets, and its own policy tests.
use crate::harness::pki::{Identity, now, write_secret};
use crate::harness::world::binary;
use std::fs;
use std::path::Path;
use std::process::Command;
use time::Duration;
use torhaus_certs::{Authority, CrlRequest, LeafRequest};

/// Files that a configuration names, by its key.
fn named(text: &str, key: &str) -> Vec<String> {
    text.split(&format!("{key}:"))
        .skip(1)
        .map(|rest| {
            rest.trim_start()
                .trim_start_matches('"')
                .split([',', '}', '\n', '#', '"'])
                .next()
                .unwrap()
                .trim()
                .to_owned()
        })
        .collect()
}

fn stand_in(folder: &Path, text: &str) {
    let authority = Authority::new("stand-in", now(), Duration::days(2)).unwrap();
    let make = |path: &str| {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    let mut hosts: Vec<String> = named(text, "host");
    let portal = text.split("portal:").nth(1).unwrap().split("https://").nth(1).unwrap();
    hosts.push(portal.split(['"', ':', ' ', '}', '\n', '/']).next().unwrap().to_owned());
    for (cert, key) in named(text, "cert_file").iter().zip(named(text, "key_file")) {
        let request = LeafRequest::server(hosts.clone()).valid_for(Duration::days(1));
        let made = Identity::from(authority.issue(&request, now()).unwrap());
        fs::write(make(cert), made.cert_pem).unwrap();
        write_secret(&make(&key), &made.key_pem);
    }
    for ca in named(text, "ca_file") {
        fs::write(make(&ca), authority.root_pem()).unwrap();
    }
    for crl in named(text, "crl_file") {
        let request =
            CrlRequest { number: 1, this_update: now(), next_update: now() + Duration::days(1), revoked: &[] };
        fs::write(make(&crl), authority.crl(&request).unwrap().pem()).unwrap();
    }
    for key in ["client_secret_file", "api_key_file", "token_file", "{ file"] {
        for secret in named(text, key) {
            write_secret(&make(&secret), "stand-in");
        }
    }
    for url in named(text, "url_file") {
        write_secret(&make(&url), "postgres://torhaus:stand-in@db.example.test/torhaus");
    }
    for seal in named(text, "seal_file") {
        write_secret(&make(&seal), "a stand-in of thirty-two characters and more");
    }
}

#[test]
fn every_example_loads() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut found = 0;
    for entry in fs::read_dir(examples).unwrap() {
        let from = entry.unwrap().path();
        let Ok(text) = fs::read_to_string(from.join("torhaus.yaml")) else { continue };
        let folder = tempfile::tempdir().unwrap();
        for file in fs::read_dir(&from).unwrap().map(|file| file.unwrap().path()).filter(|file| file.is_file()) {
            fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
        }
        stand_in(folder.path(), &text);
        let config = folder.path().join("torhaus.yaml");
        let output = Command::new(binary()).arg("check").arg("--config").arg(config).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("ok ("), "{}:\n{said}", from.display());
        assert!(from.join("README.md").exists(), "{} tells its story", from.display());
        found += 1;
    }
    assert!(found >= 5, "{found} examples");
}
