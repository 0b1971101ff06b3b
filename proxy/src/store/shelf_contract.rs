//! What every store of listeners' certificates must do. Run on SQLite.
use crate::acme_client::shelf::{Kind, Shelf};
use crate::login::seal::SealKey;
use crate::store::SqliteStore;
use std::path::Path;
use std::sync::Arc;
use time::{Duration, OffsetDateTime};

fn at(minutes: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_795_392_000).unwrap() + Duration::minutes(minutes)
}

async fn holds(shelf: Arc<dyn Shelf>) {
    let get = async |kind, id, now| shelf.get(kind, id, now).await.unwrap().map(|value| value.to_vec());
    assert_eq!(get(Kind::Certificate, "a", at(0)).await, None);
    shelf.put(Kind::Certificate, "a", b"first", None, at(0)).await.unwrap();
    shelf.put(Kind::Certificate, "a", b"second", Some(at(60)), at(0)).await.unwrap();
    shelf.put(Kind::Certificate, "b", b"other", None, at(0)).await.unwrap();
    shelf.put(Kind::Account, "a", b"account", None, at(0)).await.unwrap();
    assert_eq!(get(Kind::Certificate, "a", at(59)).await.as_deref(), Some(&b"second"[..]));
    assert_eq!(get(Kind::Account, "a", at(0)).await.as_deref(), Some(&b"account"[..]), "kinds are apart");
    let all = async |now| {
        let all = shelf.all(Kind::Certificate, now).await.unwrap();
        all.into_iter().map(|(id, value)| (id, value.to_vec())).collect::<Vec<_>>()
    };
    assert_eq!(all(at(0)).await, [("a".to_owned(), b"second".to_vec()), ("b".to_owned(), b"other".to_vec())]);
    assert_eq!(get(Kind::Certificate, "a", at(60)).await, None, "its time is over");
    assert_eq!(all(at(60)).await.len(), 1);
    shelf.put(Kind::Challenge, "c", b"x", Some(at(70)), at(61)).await.unwrap();
    assert_eq!(get(Kind::Certificate, "a", at(0)).await, None, "what is over is forgotten");
    shelf.remove(Kind::Challenge, "c").await.unwrap();
    shelf.remove(Kind::Challenge, "c").await.unwrap();
    assert_eq!(get(Kind::Challenge, "c", at(61)).await, None);

    let claim = async |who, until, now| shelf.claim("order", who, at(until), at(now)).await.unwrap();
    assert!(claim("one", 10, 0).await);
    assert!(!claim("two", 10, 5).await, "it is one's");
    assert!(claim("one", 12, 5).await, "who has it keeps it");
    assert!(claim("two", 20, 12).await, "a claim ends");
    shelf.let_go("order", "one").await.unwrap();
    assert!(!claim("one", 30, 13).await, "nobody lets go for another");
    shelf.let_go("order", "two").await.unwrap();
    assert!(claim("one", 30, 13).await);
    let racing = (0..20).map(|n| {
        let shelf = shelf.clone();
        tokio::spawn(async move { shelf.claim("race", &n.to_string(), at(1), at(0)).await.unwrap() })
    });
    let won = futures::future::join_all(racing).await.into_iter().filter(|won| *won.as_ref().unwrap()).count();
    assert_eq!(won, 1, "of twenty at once, one");
}

async fn sqlite(folder: &Path) -> SqliteStore {
    let seal = Arc::new(SealKey::load_or_create(folder).unwrap());
    SqliteStore::open(&folder.join("state").join("torhaus.db"), seal).await.unwrap()
}

#[tokio::test]
async fn sqlite_keeps_the_contract_of_a_shelf() {
    let folder = tempfile::tempdir().unwrap();
    holds(Arc::new(sqlite(folder.path()).await)).await;
}

#[tokio::test]
async fn keys_of_listeners_do_not_lie_open_on_the_disk_and_open_in_their_own_place_only() {
    let folder = tempfile::tempdir().unwrap();
    let store = sqlite(folder.path()).await;
    store.put(Kind::Certificate, "a", b"a-private-key-of-a-listener", None, at(0)).await.unwrap();
    for entry in std::fs::read_dir(folder.path().join("state")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(13).any(|window| window == b"a-private-key"));
    }
    sqlx::query("UPDATE shelf SET id = 'b'").execute(store.writer()).await.unwrap();
    assert!(store.get(Kind::Certificate, "b", at(0)).await.is_err(), "a record moved to another place");
}
