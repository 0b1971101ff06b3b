//! Backup and restore by the database's own tools, with our checks.
use crate::cluster::Cluster;
use crate::harness::until;

const WIKI: &str = "https://wiki.test/";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_of_the_database_is_restored_and_checked_before_the_start() {
    let cluster = Cluster::start(1).await;
    let [gate] = cluster.replicas.as_slice() else { panic!("one replica") };
    let (mut alice, mut dana) = (cluster.browser().of("alice"), cluster.browser().of("dana"));
    for browser in [&mut alice, &mut dana] {
        assert_eq!(browser.open(WIKI).await.status, 200, "{:?}", browser.trail);
    }
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key").display().to_string();
    assert_eq!(gate.torhaus_alone(&["backup", "key", "--out", &key]).await.0, 0);
    let to = folder.path().display().to_string();
    let (code, said, why) = gate.torhaus(&["backup", "create", "--to", &to, "--key", &key]).await;
    assert!(code == 1 && why.contains("the state is in PostgreSQL") && why.contains("pg_dump"), "{code} {said}{why}");

    assert_eq!(gate.torhaus(&["session", "revoke", "--user", "dana"]).await.0, 0);
    let dump = cluster.database.dump();
    let (code, said, why) = gate.torhaus(&["check", "--online"]).await;
    assert!(
        code == 0 && said.contains("`seal_file` opens it; 1 sessions, 0 certificates, 0 revocations"),
        "{said}{why}"
    );

    // All is lost, and comes back into an empty database.
    gate.kill();
    cluster.database.recreate();
    let (code, said, _) = gate.torhaus(&["check", "--online"]).await;
    assert!(code == 1 && said.contains("holds no state of torhaus"), "{code} {said}");
    cluster.database.restore(&dump);
    let (code, said, why) = gate.torhaus(&["check", "--online"]).await;
    assert!(code == 0 && said.contains("1 sessions"), "{said}{why}");

    // Half of it, or the wrong key, is found before anybody starts on it.
    cluster.database.sql("ALTER TABLE revocations RENAME TO elsewhere");
    let (code, said, _) = gate.torhaus(&["check", "--online"]).await;
    assert!(code == 1 && said.contains("cannot be read"), "{code} {said}");
    cluster.database.sql("ALTER TABLE elsewhere RENAME TO revocations");
    let seal = std::fs::read_to_string(gate.path("key")).unwrap();
    crate::harness::pki::write_secret(&gate.path("key"), "another secret than the one it was made with");
    let (code, said, _) = gate.torhaus(&["check", "--online"]).await;
    assert!(code == 1 && said.contains("does not open"), "{code} {said}");
    crate::harness::pki::write_secret(&gate.path("key"), &seal);

    gate.start().await;
    until("who was in is in", async || alice.fetch(WIKI).await.status == 200).await;
    assert_eq!(dana.fetch(WIKI).await.outcome(), (401, "session_expired".into()), "who was out stays out");
}
