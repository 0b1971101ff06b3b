//! SQLite keeps every contract; and what only a file can get wrong.
use crate::acme_client::shelf::{Kind, Shelf as _};
use crate::login::seal::SealKey;
use crate::login::session::{Purpose, SessionStore as _, TicketHash, Which};
use crate::store::database::sql;
use crate::store::sqlite::SqliteFile;
use crate::store::{
    OpenError, Seal, SqlStore, acme_contract, contract, device_contract, ledger_contract, seen_contract, shelf_contract,
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sqlx::sqlite::SqliteSynchronous;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use torhaus_authz::Timestamp;
use torhaus_certs::MemoryLedger;
use torhaus_certs::acme::{Memory, Store as _};

fn seal(folder: &Path) -> Arc<dyn Seal> {
    Arc::new(SealKey::load_or_create(folder).unwrap())
}

async fn store(folder: &Path) -> SqlStore {
    SqlStore::sqlite(&folder.join("state/torhaus.db"), seal(folder)).await.unwrap()
}

#[tokio::test]
async fn keeps_the_contract_of_a_session_store() {
    let folder = tempfile::tempdir().unwrap();
    // Without waiting for the disk: ten thousand logins one after the other take 20 s otherwise.
    let file = folder.path().join("torhaus.db");
    let database = Box::new(SqliteFile::open_with(&file, SqliteSynchronous::Off).await.unwrap());
    contract::holds(Arc::new(SqlStore { database, seal: seal(folder.path()) })).await;
}

#[tokio::test]
async fn what_was_kept_is_there_after_a_restart_and_the_files_are_private() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state/torhaus.db");
    let seal = seal(folder.path());
    let session = contract::session("s-1", "alice");
    let first = SqlStore::sqlite(&file, seal.clone()).await.unwrap();
    first.create(&session, TicketHash([1; 32]), "wiki").await.unwrap();
    for entry in std::fs::read_dir(folder.path().join("state")).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
    }
    first.close().await;

    let second = SqlStore::sqlite(&file, seal).await.unwrap();
    let found = second.find(TicketHash([1; 32]), "wiki").await.unwrap().unwrap();
    assert_eq!(found.id, session.id);
    assert_eq!(found.tokens.refresh_token.unwrap().as_str(), "refresh-s-1");
}

#[tokio::test]
async fn tokens_and_one_time_values_are_not_readable_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    store.create(&contract::session("s-1", "alice"), TicketHash([1; 32]), "wiki").await.unwrap();
    let once = store.put_once(Purpose::LoginState, TicketHash([2; 32]), b"pkce-verifier", Timestamp::from_millis(9));
    once.await.unwrap();
    for entry in std::fs::read_dir(folder.path().join("state")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for secret in ["refresh-s-1", "id-token-s-1", "pkce-verifier"] {
            assert!(!bytes.windows(secret.len()).any(|w| w == secret.as_bytes()), "{secret} lies open");
        }
    }
}

#[tokio::test]
async fn tokens_moved_to_another_session_do_not_open() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    store.create(&contract::session("s-1", "alice"), TicketHash([1; 32]), "wiki").await.unwrap();
    store.create(&contract::session("s-2", "bob"), TicketHash([2; 32]), "wiki").await.unwrap();
    let moved = sql("UPDATE sessions SET tokens = (SELECT tokens FROM sessions WHERE id = 's-1') WHERE id = 's-2'");
    store.write(moved).await.unwrap();
    assert!(store.find(TicketHash([2; 32]), "wiki").await.unwrap().is_none());
    // And stands in nobody else's way.
    assert!(store.find(TicketHash([1; 32]), "wiki").await.unwrap().is_some());
    let asked = [1, 2].map(|n| (TicketHash([n; 32]), "wiki".into()));
    let found: Vec<_> = store.find_all(&asked).await.unwrap().into_iter().map(|(handle, _)| handle).collect();
    assert_eq!(found, [TicketHash([1; 32])]);
    let listed = store.list(&Which::All).await.unwrap();
    assert_eq!(listed.iter().map(|session| &*session.id).collect::<Vec<_>>(), ["s-1"]);
    assert_eq!(store.end(&Which::All, Timestamp::from_millis(9)).await.unwrap().len(), 2, "both can be ended");
}

#[tokio::test]
async fn a_damaged_file_and_a_newer_one_are_refused_with_words() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("torhaus.db");
    let seal = seal(folder.path());
    std::fs::write(&file, vec![0x55; 8192]).unwrap();
    let refused = SqlStore::sqlite(&file, seal.clone()).await.err().unwrap();
    assert!(matches!(refused, OpenError::Database(..)), "{refused}");

    std::fs::remove_file(&file).unwrap();
    let store = SqlStore::sqlite(&file, seal.clone()).await.unwrap();
    let future = sql(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (99, 'future', true, x'00', 0)",
    );
    store.write(future).await.unwrap();
    store.close().await;
    let refused = SqlStore::sqlite(&file, seal).await.err().unwrap();
    assert!(matches!(refused, OpenError::Newer(_)), "{refused}");
}

#[tokio::test]
async fn keeps_the_contract_of_a_ledger_and_only_grows() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    ledger_contract::holds(&store).await;
    ledger_contract::authorities_are_kept(&store).await;
    for change in [
        "DELETE FROM certificates",
        "UPDATE certificates SET owner = 'eve'",
        "DELETE FROM revocations",
        "UPDATE revocations SET reason = 0",
    ] {
        let refused = store.write(sql(change)).await.unwrap_err().to_string();
        assert!(refused.contains("the ledger only grows"), "{change}: {refused}");
    }
}

#[tokio::test]
async fn keeps_the_contracts_of_places_and_of_an_acme_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(store(folder.path()).await);
    seen_contract::holds(store.clone()).await;
    acme_contract::holds(store).await;
}

#[tokio::test]
async fn memory_keeps_the_contracts_too() {
    ledger_contract::holds(&MemoryLedger::default()).await;
    acme_contract::holds(Arc::new(Memory::default())).await;
}

#[tokio::test]
async fn a_shared_key_is_made_once_and_opens_under_the_key_it_was_sealed_with() {
    let folder = tempfile::tempdir().unwrap();
    let first = store(folder.path()).await;
    assert_eq!(first.shared_secret("k", b"one").await.unwrap().as_slice(), b"one");
    assert_eq!(first.shared_secret("k", b"two").await.unwrap().as_slice(), b"one", "the first who needs it makes it");
    let other = SealKey::derived("another key, of another replica's mistake").unwrap();
    let second = SqlStore::sqlite(&folder.path().join("state/torhaus.db"), Arc::new(other)).await.unwrap();
    assert!(second.shared_secret("k", b"three").await.is_err());
}

#[tokio::test]
async fn one_time_keys_do_not_lie_open_on_the_disk_and_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let first = store(folder.path()).await;
    let eab = acme_contract::eab();
    first.add_eab(eab.clone()).await.unwrap();
    let secret = BASE64_URL_SAFE_NO_PAD.decode(eab.secret_base64().as_bytes()).unwrap();
    let as_json: String = serde_json::to_string(&secret).unwrap();
    for entry in std::fs::read_dir(folder.path().join("state")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for open in [&secret[..], as_json.as_bytes(), eab.secret_base64().as_bytes()] {
            assert!(!bytes.windows(open.len()).any(|window| window == open));
        }
    }
    first.close().await;
    assert_eq!(store(folder.path()).await.eab(&eab.kid).await.unwrap(), Some(eab));
}

#[tokio::test]
async fn keeps_the_contract_of_a_store_of_devices() {
    let folder = tempfile::tempdir().unwrap();
    device_contract::holds(Arc::new(store(folder.path()).await)).await;
}

#[tokio::test]
async fn keeps_the_contract_of_a_shelf() {
    let folder = tempfile::tempdir().unwrap();
    shelf_contract::holds(Arc::new(store(folder.path()).await)).await;
}

#[tokio::test]
async fn keys_of_listeners_do_not_lie_open_on_the_disk_and_open_in_their_own_place_only() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let now = time::OffsetDateTime::UNIX_EPOCH;
    store.put(Kind::Certificate, "a", b"a-private-key-of-a-listener", None, now).await.unwrap();
    for file in ["torhaus.db", "torhaus.db-wal"] {
        let bytes = std::fs::read(folder.path().join("state").join(file)).unwrap();
        assert!(!bytes.windows(13).any(|window| window == b"a-private-key"), "{file}");
    }
    store.write(sql("UPDATE shelf SET id = 'b'")).await.unwrap();
    assert!(store.get(Kind::Certificate, "b", now).await.is_err(), "a record moved to another place");
}
