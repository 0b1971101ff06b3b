//! A backup is taken under load, opens only with its key, and a restore revives nobody who was out.
use crate::harness::pki::BACKUP;
use crate::harness::world::binary;
use crate::harness::{Browser, Door, World};
use crate::own_ca;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Runs `torhaus backup …` in a folder: its code, what it said, and what it complained about.
async fn torhaus(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = tokio::process::Command::new(binary());
    let output = command.arg("backup").args(arguments).current_dir(folder).output().await.unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

async fn done(folder: &Path, arguments: &[&str]) -> Value {
    let (code, said, why) = torhaus(folder, &[arguments, &["--output", "json"]].concat()).await;
    assert_eq!(code, 0, "{arguments:?}: {why}");
    serde_json::from_str(&said).unwrap()
}

async fn key_and_place(folder: &Path) {
    fs::create_dir(folder.join("backups")).unwrap();
    assert_eq!(torhaus(folder, &["key", "--out", "backup.key"]).await.0, 0);
}

async fn create(folder: &Path) -> (String, Value) {
    let made = ["create", "--to", "backups", "--key", "backup.key", "--same-disk"];
    let contents = done(folder, &made).await;
    (newest(folder), contents)
}

fn backups(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder.join("backups")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn newest(folder: &Path) -> String {
    format!("backups/{}", backups(folder).pop().unwrap())
}

/// The cookies of a browser, to be used at the gate that is started later.
async fn signed_in(world: &World, user: &'static str) -> std::collections::BTreeMap<String, String> {
    let mut browser = world.browser(Door::Inside).of(user);
    assert_eq!(browser.open("https://wiki.test/").await.status, 200, "{:?}", browser.trail);
    browser.jar["wiki.test"].clone().into_iter().collect()
}

async fn status(world: &World, cookies: &std::collections::BTreeMap<String, String>) -> u16 {
    let mut browser: Browser<'_> = world.browser(Door::Inside);
    browser.jar.entry("wiki.test".into()).or_default().extend(cookies.clone());
    browser.fetch("https://wiki.test/").await.status
}

#[tokio::test]
async fn a_restore_after_the_disk_is_gone_keeps_the_record_and_revives_nobody() {
    let world = World::start().await;
    let folder = world.folder.path().to_owned();
    key_and_place(&folder).await;
    let (alice, dana) = (signed_in(&world, "alice").await, signed_in(&world, "dana").await);
    // Under load: the log grows and the database is written while both are read.
    let load = async {
        for _ in 0..60 {
            assert_eq!(status(&world, &alice).await, 200);
        }
        signed_in(&world, "eve").await
    };
    let ((file, contents), _) = tokio::join!(create(&folder), load);
    assert!(
        contents["sessions"].as_u64().unwrap() >= 2 && contents["audit_lines"].as_u64().unwrap() >= 4,
        "{contents}"
    );
    assert_eq!(world.torhaus(&["session", "revoke", "--user", "dana"]).await.0, 0);
    let sealed = fs::read(folder.join(&file)).unwrap();
    for secret in ["alice", "wiki", "torhaus.db", "BEGIN"] {
        assert!(!sealed.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret} lies open");
    }

    let world = world
        .killed_and_started(async |folder| {
            fs::remove_dir_all(folder.join("state")).unwrap();
            let restored = done(folder, &["restore", "--from", &file, "--key", "backup.key"]).await;
            assert_eq!(restored["sessions"], 0);
            assert_eq!(restored["last_audit_hash"], contents["last_audit_hash"]);
        })
        .await;
    assert_eq!((status(&world, &alice).await, status(&world, &dana).await), (401, 401));
    let (code, said, why) = world.torhaus(&["audit", "verify"]).await;
    assert_eq!(code, 0, "{said}{why}");
    assert!(world.recorded_with(&[("kind", "login")]).len() >= 2, "the record of before is there");
    assert!(signed_in(&world, "alice").await.contains_key("__Host-torhaus"), "and people sign in again");
}

#[tokio::test]
async fn a_restore_beside_the_state_before_keeps_the_living_and_revives_nobody_who_was_out() {
    let world = World::start().await;
    let folder = world.folder.path().to_owned();
    key_and_place(&folder).await;
    let (alice, dana) = (signed_in(&world, "alice").await, signed_in(&world, "dana").await);
    let (file, _) = create(&folder).await;
    assert_eq!(world.torhaus(&["session", "revoke", "--user", "dana"]).await.0, 0);
    let late = signed_in(&world, "eve").await;
    let world = world
        .killed_and_started(async |folder| {
            let (code, _, why) = torhaus(folder, &["restore", "--from", &file, "--key", "backup.key"]).await;
            assert!(code == 1 && why.contains("is there already"), "{code} {why}");
            fs::rename(folder.join("state"), folder.join("before")).unwrap();
            let merged = ["restore", "--from", &file, "--key", "backup.key", "--merge", "before"];
            assert_eq!(done(folder, &merged).await["sessions"], 1);
        })
        .await;
    let now = (status(&world, &alice).await, status(&world, &dana).await, status(&world, &late).await);
    assert_eq!(now, (200, 401, 401), "alive, ended since, and not yet in the backup");
}

#[tokio::test]
async fn a_restore_beside_the_state_before_undoes_no_revocation_and_no_rollback_and_forgets_no_certificate() {
    let world = own_ca::setup("").await.start().await;
    let folder = world.folder.path().to_owned();
    key_and_place(&folder).await;
    let bad = own_ca::issue(&world, "service", &[BACKUP], None).await;
    let first = world.status().await.policy_version;
    let (file, _) = create(&folder).await;

    let later = own_ca::issue(&world, "service", &[BACKUP], None).await;
    let lost = own_ca::issue(&world, "service", &[BACKUP], None).await;
    for gone in [&bad, &lost] {
        own_ca::revoke(&world, &gone.serial).await;
    }
    let issuer = own_ca::shown(&world, &bad.serial).await["issuer"].as_str().unwrap().to_owned();
    let (number, _) = own_ca::listed(&world, &issuer).await;
    world.write("policy.yaml", &format!("{}# and something else\n", world.read("policy.yaml")));
    world.reload().await.unwrap();
    assert_ne!(world.status().await.policy_version, first);
    assert_eq!(world.torhaus(&["policy", "rollback"]).await.0, 0);

    let world = world
        .killed_and_started(async |folder| {
            fs::rename(folder.join("state"), folder.join("before")).unwrap();
            let (code, _, why) = torhaus(folder, &["restore", "--from", &file, "--key", "backup.key"]).await;
            assert!(code == 0 && why.contains("believed again"), "without --merge it says what it forgets: {why}");
            fs::remove_dir_all(folder.join("state")).unwrap();
            done(folder, &["restore", "--from", &file, "--key", "backup.key", "--merge", "before"]).await;
        })
        .await;
    let revoked = Some((403, "certificate_revoked".to_owned()));
    for gone in [&bad, &lost] {
        assert_eq!(own_ca::tried(&world, "service.test", gone).await, revoked);
        assert_eq!(own_ca::shown(&world, &gone.serial).await["revoked"]["why"], "it was lost");
    }
    assert_eq!(own_ca::tried(&world, "service.test", &later).await, Some((200, "allowed".to_owned())));
    assert!(own_ca::shown(&world, &later.serial).await["issuer"].is_string(), "issued since, and in the ledger");
    let (next, listed) = own_ca::listed(&world, &issuer).await;
    assert!(next > number && listed.contains(&bad.serial) && listed.contains(&lost.serial), "{next} {number}");
    let journal = world.read("state/ca/revocations.jsonl");
    assert_eq!(journal.lines().count(), 2, "{journal}");
    let status = world.status().await;
    assert_eq!((status.policy_version, status.rolled_back.is_some()), (first, true));
}

#[tokio::test]
async fn what_is_no_good_backup_is_refused_with_words_and_leaves_no_state() {
    let world = World::start().await;
    let folder = world.folder.path().to_owned();
    key_and_place(&folder).await;
    let at = |arguments: &'static [&'static str]| torhaus(&folder, arguments);
    let (code, _, why) = at(&["create", "--to", "backups", "--key", "backup.key"]).await;
    assert!(code == 1 && why.contains("belongs on another one"), "{code} {why}");
    let (code, _, why) = at(&["create", "--to", "nowhere", "--key", "backup.key"]).await;
    assert!(code == 1 && why.contains("make it first"), "{code} {why}");
    fs::copy(folder.join("backup.key"), folder.join("backups/inside.key")).unwrap();
    let (code, _, why) = at(&["create", "--to", "backups", "--key", "backups/inside.key", "--same-disk"]).await;
    assert!(code == 2 && why.contains("keep it apart"), "{code} {why}");
    fs::remove_file(folder.join("backups/inside.key")).unwrap();

    // The newest two stay, and what is none of ours.
    fs::write(folder.join("backups/notes.txt"), "kept").unwrap();
    for _ in 0..3 {
        done(&folder, &["create", "--to", "backups", "--key", "backup.key", "--same-disk", "--keep", "2"]).await;
    }
    let left = backups(&folder);
    assert_eq!((left.len(), left[0].as_str()), (3, "notes.txt"), "{left:?}");
    let file = format!("backups/{}", left[2]);
    let verified = done(&folder, &["verify", "--from", &file, "--key", "backup.key"]).await;
    assert!(verified["files"].as_u64().unwrap() >= 4, "database, two keys, a log: {verified}");

    // Through a pipe.
    let pipe =
        format!("{0} backup create --to - --key backup.key | {0} backup verify --from - --key backup.key", binary());
    let piped = tokio::process::Command::new("sh").args(["-c", &pipe]).current_dir(&folder).output().await.unwrap();
    assert!(piped.status.success() && piped.stdout.starts_with(b"- is whole"), "{piped:?}");

    assert_eq!(at(&["key", "--out", "other.key"]).await.0, 0);
    let good = fs::read(folder.join(&file)).unwrap();
    fs::write(folder.join("cut"), &good[..good.len() - 40]).unwrap();
    let mut altered = good.clone();
    altered[good.len() / 2] ^= 1;
    fs::write(folder.join("altered"), altered).unwrap();
    fs::write(folder.join("elsewhere.yaml"), world.read("torhaus.yaml").replace("state_dir: state", "state_dir: new"))
        .unwrap();
    for (from, key, words) in [
        ("cut", "backup.key", "cut off"),
        ("altered", "backup.key", "altered"),
        (file.as_str(), "other.key", "another key"),
        ("backup.key", "backup.key", "no backup of torhaus"),
        (file.as_str(), "missing.key", "missing.key"),
    ] {
        for verb in [&["verify"][..], &["restore", "--config", "elsewhere.yaml"]] {
            let (code, _, why) = torhaus(&folder, &[verb, &["--from", from, "--key", key]].concat()).await;
            assert!(code == 1 && why.contains(words), "{verb:?} {from} {key}: {code} {why}");
            assert!(!folder.join("new").exists() && !folder.join("new.restoring").exists(), "{from}: half a state");
        }
    }
}
