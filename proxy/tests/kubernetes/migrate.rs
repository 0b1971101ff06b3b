//! Manifests for ingress-nginx, after its documentation and that of oauth2-proxy and authentik, and what becomes of them.
//!
//! `TORHAUS_WRITE_EXPECTED=1 cargo test -p torhaus --test kubernetes migrate` writes the answers anew. Then READ them.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use torhaus::kubernetes::migrate::migrate;

fn manifests() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubernetes/migrate");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.filter(|path| path.extension().is_some_and(|ending| ending == "yaml")).collect();
    found.sort();
    found
}

fn run(arguments: &[&str], file: &Path) -> (i32, String, String) {
    let mut command = Command::new(crate::harness::world::binary());
    let output = command.args(["kubernetes", "migrate"]).args(arguments).arg(file).output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn twenty_manifests_become_ours_with_the_differences_in_words() {
    let write = std::env::var_os("TORHAUS_WRITE_EXPECTED").is_some();
    let found = manifests();
    assert!(found.len() >= 20, "{} manifests", found.len());
    for file in found {
        let (_, out, err) = run(&[], &file);
        assert_eq!(err, "", "{}", file.display());
        let expected = file.with_extension("expected");
        if write {
            fs::write(&expected, &out).unwrap();
        }
        assert_eq!(out, fs::read_to_string(&expected).unwrap_or_default(), "{}", file.display());
    }
}

#[test]
fn what_is_printed_is_ours_and_can_be_applied_as_it_is() {
    for file in manifests() {
        let (code, out, _) = run(&["--class", "internal"], &file);
        let again = migrate(&out, "internal").unwrap_or_else(|why| panic!("{}: {why}\n{out}", file.display()));
        assert_eq!(code == 0, !again.ingresses.is_empty(), "{}", file.display());
        // Nothing of nginx is left, so a second time nothing is said of it.
        assert!(
            again.differences.iter().all(|one| one.what == "pathType"),
            "{}: {:?}",
            file.display(),
            again.differences
        );
        for ingress in &again.ingresses {
            assert_eq!(ingress["spec"]["ingressClassName"], "internal");
            let annotations = ingress["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
            let odd = |name: &String| {
                name.contains("nginx") || name.contains("last-applied") || name.contains("ingress.class")
            };
            assert!(!annotations.keys().any(odd), "{annotations:?}");
            torhaus::kubernetes::check_annotations(ingress).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
        }
        let (_, json, _) = run(&["--output", "json"], &file);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["ingresses"].as_array().unwrap().len(), again.ingresses.len());
    }
}

#[test]
fn every_annotation_of_a_manifest_is_in_the_answer() {
    for file in manifests() {
        let text = fs::read_to_string(&file).unwrap();
        let migration = migrate(&text, "torhaus").unwrap();
        let prefix = "nginx.ingress.kubernetes.io/";
        for name in
            text.lines().filter_map(|line| line.trim().strip_prefix(prefix)?.split_once(':')).map(|(name, _)| name)
        {
            let said = migration.differences.iter().any(|one| one.what == name);
            let done = [
                "backend-protocol",
                "proxy-ssl-name",
                "proxy-body-size",
                "proxy-connect-timeout",
                "auth-tls-verify-client",
                "rewrite-target",
                "enable-cors",
                "cors-allow-origin",
                "canary-weight",
            ];
            assert!(said || done.contains(&name), "{}: nothing is said about `{name}`", file.display());
        }
    }
}

#[test]
fn what_is_no_manifest_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broken.yaml");
    fs::write(&file, "kind: Ingress\nmetadata: [\n").unwrap();
    let (code, out, err) = run(&[], &file);
    assert_eq!((code, &*out), (1, ""));
    assert!(err.contains("broken.yaml") && err.contains("line"), "{err}");
    fs::write(&file, "kind: Service\n").unwrap();
    let (code, _, _) = run(&[], &file);
    assert_eq!(code, 1, "there was nothing to migrate");
}
