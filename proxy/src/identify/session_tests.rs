//! What is believed of a session between two answers of the store.
use super::session::Sessions;
use crate::login::seal::SealKey;
use crate::login::session::{SessionStore, TicketHash, Which};
use crate::store::{SqlStore, contract};
use std::sync::Arc;
use std::time::Duration;
use torhaus_authz::Timestamp;

const NOW: Timestamp = contract::NOON;

#[tokio::test]
async fn after_a_doubt_a_session_is_asked_for_again_and_goes_on_where_the_store_is_not_back_yet() {
    let folder = tempfile::tempdir().unwrap();
    let seal = Arc::new(SealKey::load_or_create(folder.path()).unwrap());
    let store = Arc::new(SqlStore::sqlite(&folder.path().join("torhaus.db"), seal).await.unwrap());
    let sessions = Sessions::new(store.clone(), Duration::from_secs(300));
    let (alice, bob) = (TicketHash([1; 32]), TicketHash([2; 32]));
    for (id, user, handle) in [("s-1", "alice", alice), ("s-2", "bob", bob)] {
        sessions.create(&contract::session(id, user), handle, "wiki").await.unwrap();
    }
    let live = async |handle| sessions.find(handle, "wiki", NOW).await.map(|found| found.is_some());
    assert!(live(alice).await.unwrap() && live(bob).await.unwrap());

    // Another replica ends one, and nobody says so.
    store.end(&Which::User("alice".into()), NOW).await.unwrap();
    assert!(live(alice).await.unwrap(), "it was asked for without a reason");
    sessions.note_unsure();
    assert!(!live(alice).await.unwrap(), "it was not asked for again");
    assert!(live(bob).await.unwrap());

    sessions.note_unsure();
    store.close().await;
    assert!(live(bob).await.unwrap(), "who was signed in was put out");
    assert!(sessions.is_lost());
    // What was not known goes nowhere.
    live(TicketHash([3; 32])).await.unwrap_err();
}
