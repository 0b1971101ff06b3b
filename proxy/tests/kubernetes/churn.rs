//! Pods come and go under load: nobody who may ask twice loses a request.
use crate::InCluster;
use crate::harness::app::App;
use crate::harness::{Call, Connection, Door};
use crate::objects::{annotated, ingress, service, slice};
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_under_load_loses_no_request_that_may_be_asked_twice() {
    let mut pods: Vec<App> = (0..3).map(|_| App::start()).collect();
    let ports: Vec<u16> = pods.iter().map(|pod| pod.port).collect();
    let app =
        annotated(ingress("team-a", "app", &[("a.test", "/", "Prefix", "app")]), "torhaus.dev/resource", "team-a/open");
    let cluster = InCluster::start(service("team-a", "app", &ports).into_iter().chain([app])).await;
    cluster.answers("a.test", "/", &ports[0].to_string()).await;
    let (done, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let load = async |alpn: &'static str| {
        let tls = cluster.world.tls(None, &[alpn]);
        let mut connection = Connection::open(cluster.world.address(Door::Inside), "a.test", &tls).await.unwrap();
        while !done.load(Ordering::Relaxed) {
            let answer = connection.send(&Call::get("a.test", "/")).await.unwrap_or_else(|why| panic!("lost: {why}"));
            assert_eq!(answer.status, 200, "{}", answer.body);
            sent.fetch_add(1, Ordering::Relaxed);
        }
    };
    let rollout = async {
        for round in 0..12 {
            let at = round % 3;
            // A new pod is ready; the old one is on its way out, and then it is gone: with its connections, and
            // sometimes before the cluster has said so.
            let new = App::start();
            cluster.put([slice("team-a", "app", 10 + round, new.port, json!({ "ready": true }))]);
            let name = if round < 3 { format!("app-{at}") } else { format!("app-{}", 10 + round - 3) };
            let old = pods.remove(0);
            let port = old.port;
            let leaves = || {
                let conditions = json!({ "ready": false, "serving": true, "terminating": true });
                let mut leaving = slice("team-a", "app", 0, port, conditions);
                leaving["metadata"]["name"] = json!(name);
                cluster.put([leaving]);
            };
            let before = sent.load(Ordering::Relaxed);
            if round % 2 == 0 {
                leaves();
                drop(old);
            } else {
                drop(old);
                leaves();
            }
            cluster.api.delete("endpointslices", "team-a", &name);
            pods.push(new);
            crate::harness::until("requests go on", async || sent.load(Ordering::Relaxed) > before + 20).await;
        }
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(load("http/1.1"), load("h2"), load("http/1.1"), rollout);
    assert!(sent.into_inner() > 240);
    let left: Vec<String> = pods.iter().map(|pod| pod.port.to_string()).collect();
    for _ in 0..6 {
        assert!(left.contains(&cluster.get("a.test", "/").await.body));
    }
}
