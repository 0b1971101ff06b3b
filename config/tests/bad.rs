//! Broken configurations: each folder of `tests/bad/` gives exactly the text of its `expected.txt`.
//!
//! `TORHAUS_WRITE_EXPECTED=1 cargo test -p torhaus-config --test bad` writes them anew. Then READ them: would a tired
//! person at 3 a.m. know what to do?
#![expect(clippy::unwrap_used, reason = "a test that cannot read its files has failed")]
use std::fs;
use std::path::{Path, PathBuf};
use torhaus_authz::Timestamp;
use torhaus_config::load;

/// 23 November 2026.
const NOW: Timestamp = Timestamp::from_seconds(1_795_392_000);
/// The issue asks for this many.
const AT_LEAST: usize = 30;

#[test]
fn every_broken_configuration_says_what_to_do() {
    let write = std::env::var_os("TORHAUS_WRITE_EXPECTED").is_some();
    let mut wrong = Vec::new();
    let folders = folders();
    assert!(folders.len() >= AT_LEAST, "only {} folders", folders.len());
    for folder in folders {
        let shown = seen_by_a_person(&folder);
        let expected = folder.join("expected.txt");
        if write {
            fs::write(&expected, &shown).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        if shown != expected {
            wrong.push(format!("{}\n--- expected\n{expected}\n--- found\n{shown}", folder.display()));
        }
    }
    assert!(wrong.is_empty(), "{}\nTORHAUS_WRITE_EXPECTED=1 writes them anew", wrong.join("\n\n"));
}

#[test]
fn five_mistakes_in_two_files_come_at_once() {
    let errors = load(Path::new("tests/bad/five-mistakes/torhaus.yaml"), NOW).unwrap_err();
    let lines: Vec<_> = errors.errors.iter().map(|e| (e.file.file_name().unwrap().to_str().unwrap(), e.line)).collect();
    assert_eq!(
        lines,
        [("torhaus.yaml", 4), ("torhaus.yaml", 19), ("torhaus.yaml", 24), ("policy.yaml", 3), ("policy.yaml", 11)]
    );
}

#[test]
fn a_program_reads_the_same_as_a_person() {
    let errors = load(Path::new("tests/bad/five-mistakes/torhaus.yaml"), NOW).unwrap_err();
    let json = serde_json::to_value(&errors).unwrap();
    let first = &json["errors"][0];
    assert_eq!(first["line"], 4);
    assert_eq!(first["path"], "listeners[0].address");
    assert!(first["hint"].is_string() && first["excerpt"]["text"].is_string());
}

#[test]
fn a_secret_in_the_wrong_place_is_in_no_error() {
    for folder in folders() {
        let errors = load(&folder.join("torhaus.yaml"), NOW).unwrap_err();
        let json = serde_json::to_string(&errors).unwrap();
        for text in [errors.to_string(), format!("{errors:?}"), json] {
            assert!(!text.contains("swordfish-marker-7731"), "{}: {text}", folder.display());
        }
    }
}

fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = fs::read_dir("tests/bad").unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

fn seen_by_a_person(folder: &Path) -> String {
    let text = match load(&folder.join("torhaus.yaml"), NOW) {
        Ok(_) => "it loads\n".to_owned(),
        Err(errors) => format!("{errors}\n"),
    };
    text.replace(&format!("{}/", folder.display()), "")
}
