//! What was revoked stays revoked, and what was acknowledged is there: after a restore, and after kills at any moment.
use crate::harness::World;
use crate::harness::pki::BACKUP;
use crate::own_ca::{issue, listed, order, revoke, setup, shown, tried};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use torhaus::admin::{Client, IssuedAnswer};

/// How often the process is killed; by hand `TORHAUS_KILLS=200`.
pub const KILLS: usize = 4;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy(&from, &to);
        } else if kind.is_file() {
            fs::copy(from, to).unwrap();
        }
    }
}

fn is_database(path: &Path) -> bool {
    path.file_name().unwrap().to_string_lossy().starts_with("torhaus.db")
}

/// Puts the database, or all of the state, back as it was.
fn restore(world: &World, whole: bool) {
    let (state, backup) = (world.path("state"), world.path("backup"));
    if whole {
        fs::remove_dir_all(&state).unwrap();
        copy(&backup, &state);
        return;
    }
    for file in fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path()).filter(|path| is_database(path)) {
        fs::remove_file(file).unwrap();
    }
    for file in fs::read_dir(&backup).unwrap().map(|entry| entry.unwrap().path()).filter(|path| is_database(path)) {
        fs::copy(&file, state.join(file.file_name().unwrap())).unwrap();
    }
}

#[tokio::test]
async fn a_restore_never_revives_a_revoked_certificate() {
    for (whole, ca) in [(false, ""), (true, "ca: { revocations_file: elsewhere/revocations.jsonl }\n")] {
        let mut world = setup(ca).await.start().await;
        let (bad, good) =
            (issue(&world, "service", &[BACKUP], None).await, issue(&world, "service", &[BACKUP], None).await);
        world.kill();
        copy(&world.path("state"), &world.path("backup"));
        world.restart().await;
        // Issued after the backup: the restored ledger has never heard of it.
        let later = issue(&world, "service", &[BACKUP], None).await;
        for identity in [&bad, &later] {
            revoke(&world, &identity.serial).await;
        }
        let issuer = shown(&world, &bad.serial).await["issuer"].as_str().unwrap().to_owned();
        let (number, _) = listed(&world, &issuer).await;
        world.kill();

        restore(&world, whole);
        world.restart().await;
        let revoked = Some((403, "certificate_revoked".to_owned()));
        for identity in [&bad, &later] {
            assert_eq!(tried(&world, "service.test", identity).await, revoked, "whole: {whole}");
            assert_eq!(tried(&world, "backup.test", identity).await, None, "whole: {whole}");
        }
        assert_eq!(tried(&world, "service.test", &good).await.unwrap().0, 200);
        let (next, listed) = listed(&world, &issuer).await;
        assert!(listed.contains(&bad.serial) && listed.contains(&later.serial) && next > number, "whole: {whole}");
        assert_eq!(shown(&world, &bad.serial).await["revoked"]["why"], "it was lost");
        assert!(world.read("stderr.log").contains("was it restored?"));

        // And the other way round: the second book is lost, the database writes it anew.
        let journal = world.path(if whole { "elsewhere/revocations.jsonl" } else { "state/ca/revocations.jsonl" });
        fs::remove_file(&journal).unwrap();
        world.restart().await;
        assert_eq!(tried(&world, "service.test", &bad).await, revoked);
        assert_eq!(fs::read_to_string(&journal).unwrap().lines().count(), 2);
    }
}

#[derive(Default)]
struct Acknowledged {
    issued: BTreeSet<String>,
    revoked: BTreeSet<String>,
}

/// Issues, and revokes every other one, until nobody answers.
async fn work(admin: Client, told: Arc<Mutex<Acknowledged>>) {
    let (order, _) = order("service", &[BACKUP]);
    loop {
        let Ok(issued) = admin.post::<IssuedAnswer>("/certificates/issue", &order).await else { return };
        assert!(told.lock().unwrap().issued.insert(issued.serial.clone()), "{} was issued twice", issued.serial);
        if !issued.serial.ends_with(['0', '2', '4', '6', '8', 'a', 'c', 'e']) {
            continue;
        }
        let order = json!({ "serials": [issued.serial], "reason": "superseded", "why": "a test" });
        let Ok(_) = admin.post::<Value>("/certificates/revoke", &order).await else { return };
        told.lock().unwrap().revoked.insert(issued.serial);
    }
}

#[tokio::test]
async fn kills_at_any_moment_lose_no_acknowledged_certificate_or_revocation() {
    let kills = std::env::var("TORHAUS_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let mut world = setup("").await.start().await;
    let told = Arc::new(Mutex::new(Acknowledged::default()));
    for _ in 0..kills {
        let wanted = told.lock().unwrap().issued.len() + 1;
        let workers: Vec<_> = (0..3).map(|_| tokio::spawn(work(world.admin(), told.clone()))).collect();
        crate::harness::until("something was issued", async || told.lock().unwrap().issued.len() >= wanted).await;
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..200))).await;
        world.kill();
        for worker in workers {
            worker.await.unwrap();
        }
        world.restart().await;
        let all: Vec<Value> = world.admin().get("/certificates?valid=false").await.unwrap();
        let text = |line: &Value| line["serial"].as_str().unwrap().to_owned();
        let issued: BTreeSet<String> = all.iter().map(text).collect();
        assert_eq!(issued.len(), all.len(), "no serial stands twice");
        let revoked: BTreeSet<String> = all.iter().filter(|line| line["revoked"].is_object()).map(text).collect();
        let told = told.lock().unwrap();
        assert!(told.issued.is_subset(&issued), "lost: {:?}", told.issued.difference(&issued));
        assert!(told.revoked.is_subset(&revoked), "revived: {:?}", told.revoked.difference(&revoked));
    }
    let issuer = world.admin().get::<Value>("/ca").await.unwrap()["authorities"][0]["id"].as_str().unwrap().to_owned();
    let (_, listed) = listed(&world, &issuer).await;
    let listed: BTreeSet<String> = listed.iter().map(ToString::to_string).collect();
    assert!(told.lock().unwrap().revoked.is_subset(&listed));
    let (code, said, why) = world.torhaus(&["audit", "verify"]).await;
    assert_eq!(code, 0, "{said}{why}");
}

#[tokio::test]
async fn keys_of_authorities_never_lie_open_on_the_disk() {
    const SECRET: &str = "k1-0123456789abcdef0123456789abcdef";
    let mut setup = setup("ca: { key_env: TORHAUS_TEST_CA_KEY }\n").await;
    setup.environment.push(("TORHAUS_TEST_CA_KEY", SECRET.to_owned()));
    // The command line reads the same configuration.
    let mut world = setup.start().await;
    issue(&world, "service", &[BACKUP], None).await;
    world.kill();
    // How every PKCS #8 key of P-256 begins, and its PEM.
    let pkcs8: &[u8] = &[2, 1, 0, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
    let mut looked = 0;
    for folder in ["state", "state/ca", "state/audit", "."] {
        for path in fs::read_dir(world.path(folder)).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if !path.is_file() || name == "web.key" {
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            looked += usize::from(is_database(&path));
            for open in [pkcs8, b"PRIVATE KEY", SECRET.as_bytes()] {
                assert!(!bytes.windows(open.len()).any(|found| found == open), "a key lies open in {name}");
            }
        }
    }
    assert!(looked > 0);
    world.restart().await;
    issue(&world, "service", &[BACKUP], None).await;
}
