//! The primary is lost, and its synchronous standby takes over: who was put out stays out.
use crate::cluster::{Cluster, Replica};
use crate::harness::pki::write_secret;
use crate::harness::until;

const WIKI: &str = "https://wiki.test/";

/// A gauge of a replica.
async fn gauge(replica: &Replica, name: &str) -> f64 {
    let scrape = replica.scrape().await;
    let line = scrape.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned);
    line.unwrap_or_else(|| panic!("{name} is not in\n{scrape}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_to_a_standby_loses_no_acknowledged_revocation() {
    let cluster = Cluster::start(2).await;
    let primary = cluster.database.clone();
    assert_eq!(gauge(&cluster.replicas[0], "torhaus_store_standbys").await, 0.0);
    let standby = tokio::task::spawn_blocking(move || primary.standby()).await.unwrap();
    let both = cluster.database.url_with(&[&standby]);
    for replica in &cluster.replicas {
        replica.kill();
        write_secret(&replica.path("url"), &both);
        replica.start().await;
    }
    cluster.database.wait_for_standby();
    until("the standby is waited for", async || {
        cluster.database.sql("SELECT sync_state FROM pg_stat_replication") == "sync"
    })
    .await;
    let [a, b] = cluster.replicas.as_slice() else { panic!("two replicas") };
    until("it is watched", async || {
        gauge(a, "torhaus_store_standbys").await == 1.0 && gauge(a, "torhaus_store_synchronous_standbys").await == 1.0
    })
    .await;
    assert!(gauge(a, "torhaus_store_replication_lag_seconds").await < 5.0);

    let (mut alice, mut dana) = (cluster.browser().of("alice"), cluster.browser().of("dana"));
    for browser in [&mut alice, &mut dana] {
        assert_eq!(browser.open(WIKI).await.status, 200, "{:?}", browser.trail);
    }
    // What the standby does not have is not acknowledged.
    standby.stop();
    let (code, said, why) = a.torhaus(&["session", "revoke", "--user", "nobody-yet"]).await;
    assert!(code == 1 && said.contains("no live session"), "nothing to wait for: {code} {said}{why}");
    let (code, said, why) = a.torhaus(&["session", "revoke", "--user", "dana"]).await;
    assert!(code == 1 && why.contains("nothing was revoked"), "{code} {said}{why}");
    standby.begin();
    until("revocations are acknowledged again", async || {
        let (code, said, _) = a.torhaus(&["session", "revoke", "--user", "dana"]).await;
        code == 0 || said.contains("no live session")
    })
    .await;
    assert_eq!(dana.open(WIKI).await.status, 200, "{:?}", dana.trail);

    assert_eq!(a.torhaus(&["session", "revoke", "--user", "alice"]).await.0, 0);
    cluster.database.kill();
    let (mut at_a, mut at_b) = (a.browser_like(&alice), b.browser_like(&alice));
    assert_ne!(at_a.fetch(WIKI).await.status, 200);
    standby.promote();
    let mut eve = cluster.browser().of("eve");
    until("logins work again, without a restart", async || eve.open(WIKI).await.status == 200).await;
    until("both replicas have found the new primary", async || {
        gauge(a, "torhaus_store_up").await == 1.0 && gauge(b, "torhaus_store_up").await == 1.0
    })
    .await;
    for browser in [&mut at_a, &mut at_b] {
        assert_eq!(browser.fetch(WIKI).await.outcome(), (401, "session_expired".into()));
    }
    assert_eq!(dana.fetch(WIKI).await.status, 200, "who was signed in is");
    // And after a start that finds only the new primary.
    a.kill();
    a.start().await;
    assert_eq!(at_a.fetch(WIKI).await.outcome(), (401, "session_expired".into()));
    assert_eq!(a.browser_like(&dana).fetch(WIKI).await.status, 200);
}
