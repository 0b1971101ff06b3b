//! What is believed of a session between two answers of the store.
use super::session::Sessions;
use crate::login::seal::SealKey;
use crate::login::session::{Others, Session, SessionStore, TicketHash, Which};
use crate::store::{SqlStore, contract};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use torhaus_authz::Timestamp;

const NOW: Timestamp = contract::NOON;

async fn store(folder: &Path) -> Arc<SqlStore> {
    let seal = Arc::new(SealKey::load_or_create(folder).unwrap());
    Arc::new(SqlStore::sqlite(&folder.join("torhaus.db"), seal).await.unwrap())
}

#[tokio::test]
async fn what_changes_about_a_session_counts_at_once_under_each_of_its_handles_and_nobody_else_is_asked_about() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let sessions = Sessions::new(store.clone(), Duration::from_secs(300));
    let [first, moved, second, other] = [1, 2, 3, 4].map(|n| TicketHash([n; 32]));
    let alice = contract::session("s-1", "alice");
    sessions.create(&alice, first, "wiki").await.unwrap();
    sessions.add_handle(&alice.id, second, "files", None).await.unwrap();
    sessions.create(&contract::session("s-2", "bob"), other, "wiki").await.unwrap();
    let name = async |handle, host| {
        let found = sessions.find(handle, host, NOW).await.unwrap();
        found.map(|live| live.display_name.as_deref().unwrap_or_default().to_owned())
    };
    let before = alice.display_name.clone().unwrap_or_default();
    for (handle, host) in [(first, "wiki"), (second, "files")] {
        assert_eq!(name(handle, host).await, Some(before.clone()));
    }
    assert!(name(other, "wiki").await.is_some());
    assert!(sessions.add_handle(&alice.id, moved, "wiki", Some(first)).await.unwrap());
    assert_eq!((name(first, "wiki").await, name(moved, "wiki").await), (None, Some(before.clone())));

    let renamed = Session { display_name: Some("Alice A.".into()), ..alice.clone() };
    assert!(sessions.update(&renamed).await.unwrap());
    for (handle, host) in [(moved, "wiki"), (second, "files")] {
        assert_eq!(name(handle, host).await.as_deref(), Some("Alice A."));
    }
    // A sweep loses none that is kept. Then it is told by another replica.
    sessions.sweep(NOW, Duration::from_secs(3600)).await.unwrap();
    assert!(store.update(&alice).await.unwrap());
    assert_eq!(name(second, "files").await.as_deref(), Some("Alice A."), "nobody said so");
    sessions.note_changed("s-1").await;
    assert_eq!(name(second, "files").await, Some(before));

    store.close().await;
    assert!(name(other, "wiki").await.is_some(), "the other one's was kept");
    sessions.note_ended(std::slice::from_ref(&alice.id)).await;
    assert!(sessions.find(moved, "wiki", NOW).await.is_err(), "it was forgotten, and the store is not there to ask");
}

#[tokio::test]
async fn the_access_token_is_remembered_and_what_only_the_provider_takes_is_asked_of_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = Sessions::new(store(folder.path()).await, Duration::from_secs(300));
    let (alice, handle) = (contract::session("s-1", "alice"), TicketHash([1; 32]));
    sessions.create(&alice, handle, "wiki").await.unwrap();

    let remembered = sessions.find(handle, "wiki", NOW).await.unwrap().unwrap();
    assert!(remembered.access_token.is_some(), "applications get it with each request");

    let stored = sessions.stored(&alice.id).await.unwrap().unwrap().tokens;
    assert_eq!((stored.id_token, stored.refresh_token), (alice.tokens.id_token, alice.tokens.refresh_token));
    assert!(sessions.stored(&"s-2".into()).await.unwrap().is_none());
}

#[tokio::test]
async fn what_another_replica_did_is_seen_though_nobody_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let sessions = Sessions::new(store.clone(), Duration::from_secs(300));
    let people: Vec<_> =
        (1..=4).map(|n| (contract::session(&format!("s-{n}"), "alice"), TicketHash([n; 32]))).collect();
    let names = async || {
        let mut names = Vec::new();
        for (_, handle) in &people {
            let live = sessions.find(*handle, "wiki", NOW).await.unwrap();
            names.push(live.map(|live| live.display_name.as_deref().unwrap_or_default().to_owned()));
        }
        names
    };
    for (session, handle) in &people {
        sessions.create(session, *handle, "wiki").await.unwrap();
    }
    let before = names().await;
    assert!(store.update(&Session { display_name: Some("Alice A.".into()), ..people[1].0.clone() }).await.unwrap());
    store.end(&Which::Session("s-3".into()), NOW).await.unwrap();
    assert_eq!(names().await, before, "what was asked a moment ago");
    let begun = std::time::Instant::now();
    let mut after = before.clone();
    after[1] = Some("Alice A.".into());
    after[2] = None;
    while names().await != after {
        // The bound that docs/architecture.md promises, with room for a slow machine.
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", names().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn after_a_doubt_a_session_is_asked_for_again_and_goes_on_where_the_store_is_not_back_yet() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
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

#[tokio::test]
async fn a_session_is_not_read_again_while_nobody_else_writes_to_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let sessions = Sessions::new(store.clone(), Duration::ZERO);
    let handle = TicketHash([1; 32]);
    sessions.create(&contract::session("s-1", "alice"), handle, "wiki").await.unwrap();
    assert_eq!(sessions.ask_about_others().await.unwrap(), Others::Wrote, "nobody knows what was before");
    assert!(sessions.find(handle, "wiki", NOW).await.unwrap().is_some());
    // Longer than an answer counts by itself.
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(6) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(sessions.ask_about_others().await.unwrap(), Others::Silent);
    }
    store.close().await;
    assert!(sessions.find(handle, "wiki", NOW).await.unwrap().is_some(), "it was read again without a reason");
    assert!(!sessions.is_lost());

    // Nobody can say any more that it is still so.
    sessions.ask_about_others().await.unwrap_err();
    tokio::time::sleep(Duration::from_millis(5_100)).await;
    sessions.find(handle, "wiki", NOW).await.unwrap_err();
}

#[tokio::test]
async fn what_somebody_else_wrote_into_the_file_counts_as_soon_as_that_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (store(folder.path()).await, store(folder.path()).await);
    let sessions = Sessions::new(ours, Duration::ZERO);
    let handle = TicketHash([1; 32]);
    sessions.create(&contract::session("s-1", "alice"), handle, "wiki").await.unwrap();
    sessions.ask_about_others().await.unwrap();
    assert!(sessions.find(handle, "wiki", NOW).await.unwrap().is_some());
    theirs.end(&Which::Session("s-1".into()), NOW).await.unwrap();
    assert_eq!(sessions.ask_about_others().await.unwrap(), Others::Wrote);
    assert!(sessions.find(handle, "wiki", NOW).await.unwrap().is_none());
}

#[tokio::test]
async fn who_has_not_come_for_long_is_read_from_the_store_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let sessions = Sessions::new(store.clone(), Duration::ZERO);
    let [alice, bob] = [1, 2].map(|n| TicketHash([n; 32]));
    for (id, user, handle) in [("s-1", "alice", alice), ("s-2", "bob", bob)] {
        sessions.create(&contract::session(id, user), handle, "wiki").await.unwrap();
    }
    let minutes = |n: u64| NOW.plus(Duration::from_secs(60 * n));
    assert!(sessions.find(alice, "wiki", NOW).await.unwrap().is_some());
    assert!(sessions.find(bob, "wiki", minutes(5)).await.unwrap().is_some());
    sessions.sweep(minutes(11), Duration::from_secs(3600)).await.unwrap();
    assert_eq!(store.list(&Which::User("alice".into())).await.unwrap()[0].last_seen, NOW, "that he came is not lost");
    store.close().await;
    assert!(sessions.find(bob, "wiki", minutes(11)).await.unwrap().is_some());
    sessions.find(alice, "wiki", minutes(11)).await.unwrap_err();
}

#[tokio::test]
async fn of_a_handle_that_nobody_knows_the_store_is_asked_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let sessions = Sessions::new(store.clone(), Duration::ZERO);
    let handle = TicketHash([1; 32]);
    assert!(sessions.find(handle, "wiki", NOW).await.unwrap().is_none());
    store.create(&contract::session("s-1", "alice"), handle, "wiki").await.unwrap();
    assert!(sessions.find(handle, "wiki", NOW).await.unwrap().is_none(), "it was asked a moment ago");
    tokio::time::sleep(Duration::from_millis(5_100)).await;
    assert!(sessions.find(handle, "wiki", NOW).await.unwrap().is_some(), "that is soon forgotten");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_while_it_changed_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = Sessions::new(store(folder.path()).await, Duration::ZERO);
    let (alice, handle) = (contract::session("s-1", "alice"), TicketHash([1; 32]));
    sessions.create(&alice, handle, "wiki").await.unwrap();
    for round in 0..1_000_u64 {
        // Nothing is kept, somebody asks, and meanwhile it changes.
        sessions.note_changed("s-1").await;
        let changed = Session { display_name: Some(format!("Alice {round}")), ..alice.clone() };
        let asking = sessions.clone();
        let asking = tokio::spawn(async move {
            // Sooner or later within the change, which waits for the disk.
            tokio::time::sleep(Duration::from_micros(round % 30 * 100)).await;
            asking.find(handle, "wiki", NOW).await.unwrap();
        });
        let (updated, asked) = tokio::join!(sessions.update(&changed), asking);
        assert!(updated.unwrap());
        asked.unwrap();
        let found = sessions.find(handle, "wiki", NOW).await.unwrap().unwrap();
        assert_eq!(found.display_name.as_deref(), changed.display_name.as_deref(), "round {round}");
    }
}
