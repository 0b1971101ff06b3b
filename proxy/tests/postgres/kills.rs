//! Any replica may be killed at any moment, and nobody notices.
use crate::cluster::Cluster;
use crate::harness::browser::Gates as _;
use crate::harness::{Browser, Connection, Door};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// As a browser keeps them, by host.
type Cookies = BTreeMap<String, BTreeMap<String, String>>;

const WIKI: &str = "https://wiki.test/";
const PEOPLE: [&str; 3] = ["alice", "dana", "eve"];

/// How long; `TORHAUS_KILL_SECONDS=60` for the whole drill.
fn seconds() -> u64 {
    std::env::var("TORHAUS_KILL_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_a_replica_every_two_seconds_loses_no_session_and_brings_none_back() {
    let cluster = Cluster::start(3).await;
    let over = AtomicBool::new(false);
    let (requests, logouts, kills) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    // Signed in all the time, and asking all the time.
    let steady = async |user: &'static str| {
        let mut browser = cluster.browser().of(user);
        assert_eq!(browser.open(WIKI).await.status, 200, "{:?}", browser.trail);
        while !over.load(Ordering::Acquire) {
            let answer = browser.fetch(WIKI).await;
            assert_eq!(answer.status, 200, "{user} lost a session: {answer:?}");
            requests.fetch_add(1, Ordering::Relaxed);
        }
    };
    // In and out again.
    let busy = async |user: &'static str| {
        while !over.load(Ordering::Acquire) {
            let mut browser = cluster.browser().of(user);
            // A login that a kill broke off is begun anew, as a person does.
            if browser.open(WIKI).await.status != 200 {
                continue;
            }
            let kept = browser.jar.clone();
            if !signs_out(&cluster, &browser).await {
                continue;
            }
            logouts.fetch_add(1, Ordering::Relaxed);
            out_within_two_seconds(&cluster, &kept, user).await;
        }
    };
    let killer = async {
        let end = Instant::now() + Duration::from_secs(seconds());
        for n in 0.. {
            if Instant::now() >= end {
                break;
            }
            let replica = &cluster.replicas[n % 3];
            replica.kill();
            kills.fetch_add(1, Ordering::Relaxed);
            replica.start().await;
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        over.store(true, Ordering::Release);
    };
    tokio::join!(steady(PEOPLE[0]), steady(PEOPLE[1]), busy(PEOPLE[2]), killer);
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    println!("{} requests, {} logouts, {} kills", count(&requests), count(&logouts), count(&kills));
    assert!(count(&requests) > 50 && count(&logouts) > 0 && count(&kills) > 2, "nothing was tried");
    for replica in &cluster.replicas {
        let (code, said, why) = replica.torhaus(&["audit", "verify"]).await;
        assert_eq!(code, 0, "{said}{why}");
    }
}

/// At each replica. What was asked later than promised and is answered is a session that came back.
async fn out_within_two_seconds(cluster: &Cluster, kept: &Cookies, user: &str) {
    let acknowledged = Instant::now();
    let mut refused = 0;
    while refused < 6 {
        let mut thief = cluster.browser();
        thief.jar.clone_from(kept);
        let asked = acknowledged.elapsed();
        let status = thief.fetch(WIKI).await.status;
        assert!(status == 401 || asked < Duration::from_secs(2), "{user}: {status} {asked:?} after the logout");
        refused = if status == 401 { refused + 1 } else { 0 };
    }
}

/// False: a kill came first, and nobody was told that the session is over.
async fn signs_out(cluster: &Cluster, browser: &Browser<'_>) -> bool {
    let call = browser.request("POST", "https://wiki.test/.torhaus/logout").with("origin", "https://wiki.test");
    let tls = cluster.tls(None, &["http/1.1"]);
    let Ok(mut connection) = Connection::open(cluster.address(Door::Inside), "wiki.test", &tls).await else {
        return false;
    };
    connection.send(&call).await.is_ok_and(|answer| answer.status == 303 || answer.status == 302)
}
