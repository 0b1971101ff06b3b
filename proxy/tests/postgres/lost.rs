//! The database goes away and comes back: who is signed in goes on, everything else says so, and nothing is restarted.
use crate::cluster::Cluster;
use crate::harness::until;
use std::time::{Duration, Instant};

const WIKI: &str = "https://wiki.test/";

/// Longer than what a replica believes without asking. `TORHAUS_OUTAGE_SECONDS=30` is the whole drill.
fn outage() -> Duration {
    Duration::from_secs(std::env::var("TORHAUS_OUTAGE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_database_who_is_signed_in_goes_on_and_logins_say_that_they_cannot() {
    let cluster = Cluster::start(2).await;
    let mut alice = cluster.browser().of("alice");
    assert_eq!(alice.open(WIKI).await.status, 200, "{:?}", alice.trail);
    let [a, b] = cluster.replicas.as_slice() else { panic!("two replicas") };
    let (mut at_a, mut at_b) = (a.browser_like(&alice), b.browser_like(&alice));
    assert_eq!((at_a.fetch(WIKI).await.status, at_b.fetch(WIKI).await.status), (200, 200));

    cluster.database.stop();
    let stopped = Instant::now();
    while stopped.elapsed() < outage() {
        let asked = Instant::now();
        assert_eq!((at_a.fetch(WIKI).await.status, at_b.fetch(WIKI).await.status), (200, 200), "{}", a.log());
        assert!(asked.elapsed() < Duration::from_secs(4), "a request waited for the database");
    }
    // Somebody else, and somebody with a made-up cookie.
    let mut dana = a.browser().of("dana");
    let refused = dana.open(WIKI).await;
    assert_eq!((refused.status, refused.reason().as_deref()), (503, Some("store_unavailable")), "{:?}", dana.trail);
    let mut thief = b.browser();
    let made_up = ("__Host-torhaus".to_owned(), "A".repeat(43));
    thief.jar.entry("wiki.test".into()).or_default().extend([made_up]);
    assert_eq!(thief.fetch(WIKI).await.outcome(), (503, "store_unavailable".into()));
    // A revocation that is not kept is not acknowledged.
    assert_ne!(a.torhaus(&["session", "revoke", "--user", "alice"]).await.0, 0);
    let (code, said, why) = a.torhaus(&["status"]).await;
    assert!(said.contains("the store does not answer"), "{code} {said}{why}");

    cluster.database.begin();
    let mut eve = cluster.browser().of("eve");
    until("logins work again", async || eve.open(WIKI).await.status == 200).await;
    assert_eq!(at_a.fetch(WIKI).await.status, 200);
    until("revocations work again", async || a.torhaus(&["session", "revoke", "--user", "alice"]).await.0 == 0).await;
    until("and arrive", async || at_b.fetch(WIKI).await.status == 401).await;
}
