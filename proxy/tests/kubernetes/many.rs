//! Five thousand ingresses with five thousand services. How long it takes is printed, and stands in docs/kubernetes.md;
//! a busy machine is no reason for a test to fail.
use crate::harness::app::App;
use crate::harness::until;
use crate::objects::{annotated, ingress, service};
use crate::{Before, said};
use serde_json::Value;
use std::time::{Duration, Instant};

const MANY: usize = 5000;

fn one(at: usize, path: &str) -> Value {
    let (name, host) = (format!("i{at}"), format!("h{at}.many.test"));
    let ingress = ingress("team-a", &name, &[(&host, path, "Prefix", &format!("s{at}"))]);
    annotated(ingress, "torhaus.dev/resource", "team-a/open")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_ingresses_are_served_and_one_change_touches_one() {
    let before = Before::new().await;
    let app = App::start();
    let port = app.port.to_string();
    before.api.go_down();
    for at in 0..MANY {
        for object in service("team-a", &format!("s{at}"), &[app.port]).into_iter().chain([one(at, "/")]) {
            before.api.put(object);
        }
    }
    let cluster = before.start().await;
    let empty = cluster.world.memory_kib("VmRSS:");
    cluster.api.come_back();
    cluster.is_ready().await;
    let loaded = cluster.api.first_asked().unwrap().elapsed();
    for at in [0, 1, MANY / 2, MANY - 1] {
        assert_eq!(said(&cluster.get(&format!("h{at}.many.test"), "/").await), port);
    }
    assert_eq!(cluster.world.status().await.kubernetes.unwrap().routes, MANY);
    let full = cluster.world.memory_kib("VmRSS:");
    for at in (0..MANY).step_by(97) {
        let name = format!("i{at}");
        until("it has its status", async || cluster.api.addresses("team-a", &name) == ["203.0.113.7"]).await;
    }
    // One of them changes, by itself.
    let mut changes = Vec::new();
    for round in 0..5 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let (host, path) = (format!("h{round}.many.test"), format!("/changed-{round}"));
        let begun = Instant::now();
        cluster.put([one(round, &path)]);
        cluster.answers(&host, "/", "no_route").await;
        changes.push(begun.elapsed());
        assert_eq!(said(&cluster.get(&host, &path).await), port);
    }
    changes.sort();
    eprintln!(
        "{MANY} ingresses with as many services and slices: served {:.2} s after the first question to the API; one change of them served within {:?} (median of {}); {:.1} KiB each",
        loaded.as_secs_f64(),
        changes[changes.len() / 2],
        changes.len(),
        (full - empty) as f64 / MANY as f64
    );
}
