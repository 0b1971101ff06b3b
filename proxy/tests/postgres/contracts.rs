//! PostgreSQL keeps every contract that SQLite keeps, and what only a shared server can get wrong.
use crate::harness::until;
use crate::server::Server;
use crate::{acme_contract, contract, device_contract, ledger_contract, seen_contract, shelf_contract};
use std::sync::Arc;
use torhaus::login::session::{SessionStore as _, TicketHash};
use torhaus::store::{OpenError, PostgresError};
use torhaus_authz::Timestamp;

const KEY: &str = "a secret that all replicas were given";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_keeps_the_contracts_of_every_store() {
    let server = Server::start();
    let store = Arc::new(server.open(KEY).await.unwrap());
    seen_contract::holds(store.clone()).await;
    acme_contract::holds(store.clone()).await;
    shelf_contract::holds(store.clone()).await;
    device_contract::holds(store.clone()).await;
    ledger_contract::holds(&*store).await;
    ledger_contract::authorities_are_kept(&*store).await;
    contract::holds(store.clone()).await;
    for change in [
        "DELETE FROM certificates",
        "UPDATE certificates SET owner = 'eve'",
        "TRUNCATE certificates",
        "DELETE FROM revocations",
        "UPDATE revocations SET reason = 0",
    ] {
        let refused = server.try_sql(change).unwrap_err();
        assert!(refused.contains("the ledger only grows"), "{change}: {refused}");
    }
    store.close().await;
}

#[tokio::test]
async fn replicas_that_start_at_once_make_one_database_and_one_shared_key() {
    let server = Server::start();
    let starts = (0..4_u8).map(|n| {
        let server = &server;
        async move {
            let store = server.open(KEY).await.unwrap();
            store.shared_secret("k", &[n]).await.unwrap().to_vec()
        }
    });
    let keys = futures::future::join_all(starts).await;
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    let refused = server.open("a secret that another replica was given").await.unwrap();
    let refused = refused.shared_secret("k", &[9]).await.unwrap_err().to_string();
    assert!(refused.contains("does not open with this key"), "{refused}");
}

#[tokio::test]
async fn tokens_and_one_time_values_are_not_readable_in_the_database() {
    let server = Server::start();
    let store = server.open(KEY).await.unwrap();
    store.create(&contract::session("s-1", "alice"), TicketHash([1; 32]), "wiki").await.unwrap();
    let dump = server.sql("SELECT encode(tokens, 'escape') FROM sessions");
    assert!(!dump.is_empty() && !dump.contains("refresh-s-1") && !dump.contains("id-token-s-1"), "{dump}");
}

#[tokio::test]
async fn a_commit_waits_for_the_disk_whatever_the_server_does_by_default() {
    let server = Server::start();
    assert_eq!(server.sql("SHOW synchronous_commit"), "off", "the tests' server does not wait");
    let store = server.open(KEY).await.unwrap();
    // Written by one of our own connections, so that it can be asked.
    server.sql(
        "CREATE TABLE said (how TEXT); CREATE FUNCTION say() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         INSERT INTO said VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$; \
         CREATE TRIGGER say AFTER DELETE ON sessions FOR EACH STATEMENT EXECUTE FUNCTION say()",
    );
    store.create(&contract::session("s-1", "alice"), TicketHash([1; 32]), "wiki").await.unwrap();
    let which = torhaus::login::session::Which::User("alice".into());
    assert_eq!(store.end(&which, Timestamp::from_seconds(1_800_000_000)).await.unwrap().len(), 1);
    assert_eq!(server.sql("SELECT how FROM said"), "on");
}

#[tokio::test]
async fn a_server_that_is_not_believed_gets_no_password() {
    let (server, other) = (Server::start(), Server::start());
    let refused = server.open_believing(KEY, Some(&other.ca)).await.err().unwrap();
    let OpenError::Postgres(PostgresError::Unreachable { why, .. }) = &refused else { panic!("{refused}") };
    let why = format!("{refused} {why:?}");
    assert!(why.contains("InvalidCertificate"), "{why}");
    assert!(!why.contains("a password"), "{why}");
}

#[tokio::test]
async fn the_version_before_lives_with_newer_steps_unless_they_say_that_it_cannot() {
    let server = Server::start();
    server.open(KEY).await.unwrap().close().await;
    server.sql(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'of a later version', true, '\\x00', 0); ALTER TABLE sessions ADD COLUMN later TEXT",
    );
    let before = server.open(KEY).await.unwrap();
    before.create(&contract::session("s-1", "alice"), TicketHash([1; 32]), "wiki").await.unwrap();
    assert!(before.find(TicketHash([1; 32]), "wiki").await.unwrap().is_some());
    before.close().await;
    server.sql("INSERT INTO needs (migration) VALUES (9999)");
    let refused = server.open(KEY).await.err().unwrap();
    assert!(matches!(refused, OpenError::Postgres(PostgresError::Newer(_))), "{refused}");
}

#[tokio::test]
async fn nothing_waits_long_for_a_row_that_another_replica_holds() {
    let server = Arc::new(Server::start());
    let store = server.open(KEY).await.unwrap();
    store.create(&contract::session("s-1", "alice"), TicketHash([1; 32]), "wiki").await.unwrap();
    // Holds the row for longer than anybody waits.
    let holder = server.clone();
    let held =
        tokio::task::spawn_blocking(move || holder.try_sql("BEGIN; DELETE FROM sessions; SELECT pg_sleep(8); COMMIT"));
    until("the row is held", async || {
        server.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") != "0"
    })
    .await;
    let refused = store.update(&contract::session("s-1", "alice")).await.unwrap_err().to_string();
    assert!(refused.contains("lock timeout"), "{refused}");
    assert!(store.find(TicketHash([1; 32]), "wiki").await.unwrap().is_some(), "readers never wait");
    held.await.unwrap().unwrap();
}
