//! What is written into the cluster: by one replica at a time, where it differs, and nothing else.
use crate::harness::{Setup, until};
use crate::objects::{annotated, created, ingress, service, with};
use crate::{Before, InCluster, NAMESPACES, apps};
use serde_json::{Value, json};

fn of(name: &str, host: &str) -> Value {
    annotated(ingress("team-a", name, &[(host, "/", "Prefix", "app")]), "torhaus.dev/resource", "team-a/open")
}

#[tokio::test]
async fn the_leader_writes_where_an_ingress_is_reached_and_takes_it_back() {
    let (_apps, services) = apps("team-a", ["app"]);
    let cluster = InCluster::start(services.into_iter().chain([of("a", "a.test")])).await;
    let api = &cluster.api;
    let shown = async |expected: &[&str]| {
        until(&format!("the status is {expected:?}"), async || api.addresses("team-a", "a") == expected).await;
    };
    shown(&["203.0.113.7"]).await;
    let written = api.asked("PATCH", "/ingresses/a/status");
    cluster.put([of("b", "b.test")]);
    until("the other one has its status", async || !api.addresses("team-a", "b").is_empty()).await;
    assert_eq!(api.asked("PATCH", "/ingresses/a/status"), written, "what is right is not written again");
    // Somebody else writes; it is set right. What is not served any more is reached nowhere.
    let mut other = api.get("ingresses", "team-a", "a").unwrap();
    other["status"] = json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.66" }] } });
    cluster.put([other]);
    shown(&["203.0.113.7"]).await;
    cluster.put([with(
        annotated(of("a", "a.test"), "torhaus.dev/resource", "nothing"),
        "/status",
        api.get("ingresses", "team-a", "a").unwrap()["status"].clone(),
    )]);
    shown(&[]).await;
    cluster.is_told("team-a/a", "ResourceNotGranted", "`nothing`").await;
    let before = api.events("team-a", "a").len();
    cluster.put([of("c", "foo.test")]);
    until("the third one has its status", async || !api.addresses("team-a", "c").is_empty()).await;
    assert_eq!(api.events("team-a", "a").len(), before, "what was said is not said again");
    // Nothing else is ever written.
    for (method, path) in [("POST", ""), ("PUT", ""), ("PATCH", ""), ("DELETE", "")] {
        let allowed = api.asked(method, "/leases") + api.asked(method, "/status") + api.asked(method, "/events");
        assert_eq!(api.asked(method, path), allowed, "{method}");
    }
}

#[tokio::test]
async fn what_was_written_is_not_written_again_while_the_watch_is_late() {
    let (_apps, services) = apps("team-a", ["app"]);
    let before = Before::new().await;
    for object in services.into_iter().chain([of("a", "a.test")]) {
        before.api.put(object);
    }
    before.api.withhold("ingresses");
    let cluster = before.start().await;
    let api = &cluster.api;
    until("the status is written", async || !api.addresses("team-a", "a").is_empty()).await;
    // With every look at the lease, the leader looks at what there is to write.
    let looks = api.asked("PUT", "/leases");
    until("the lease is renewed twice", async || api.asked("PUT", "/leases") >= looks + 2).await;
    assert_eq!(api.asked("PATCH", "/ingresses/a/status"), 1);
    api.tell("ingresses");
    // Whoever writes afterwards is seen, and set right.
    let mut other = api.get("ingresses", "team-a", "a").unwrap();
    other["status"] = json!(null);
    cluster.put([other]);
    until("it is written again", async || api.addresses("team-a", "a") == ["203.0.113.7"]).await;
    assert_eq!(api.asked("PATCH", "/ingresses/a/status"), 2);
}

#[tokio::test]
async fn addresses_are_those_of_the_service_that_is_published() {
    let (_apps, services) = apps("team-a", ["app"]);
    let mut before = Before::new().await;
    before.namespaces = format!("{NAMESPACES}, publish_service: torhaus/gate");
    let gate = |addresses: Value| {
        let gate = service("torhaus", "gate", &[]).remove(0);
        with(gate, "/status", json!({ "loadBalancer": { "ingress": addresses } }))
    };
    for object in services.into_iter().chain([of("a", "a.test"), gate(json!([{ "ip": "198.51.100.4" }]))]) {
        before.api.put(object);
    }
    Before::configured(&mut before.setup, &before.api, &before.namespaces).await;
    before.setup.config = before.setup.config.replace("publish_addresses: [203.0.113.7], ", "");
    let cluster = InCluster { world: before.setup.start().await, api: before.api };
    until("it is reached there", async || cluster.api.addresses("team-a", "a") == ["198.51.100.4"]).await;
    cluster.put([gate(json!([{ "hostname": "lb.example.test" }, { "ip": "198.51.100.5" }]))]);
    until("it is reached elsewhere", async || {
        cluster.api.addresses("team-a", "a") == ["198.51.100.5", "lb.example.test"]
    })
    .await;
}

#[tokio::test]
async fn when_the_leader_goes_another_one_writes_and_both_serve() {
    let ([app], services) = apps("team-a", ["app"]);
    let first = InCluster::start(services.into_iter().chain([of("a", "a.test")])).await;
    until("the first one leads", async || first.world.status().await.kubernetes.unwrap().leader).await;
    let mut setup = Setup::new().await;
    Before::configured(&mut setup, &first.api, NAMESPACES).await;
    let second = setup.start().await;
    until("the second one has read the cluster", async || second.status().await.not_ready.is_empty()).await;
    assert!(!second.status().await.kubernetes.unwrap().leader, "one at a time");
    let served = async || {
        let call = crate::harness::Call::get("a.test", "/");
        second
            .call(crate::harness::Door::Inside, None, &call)
            .await
            .is_ok_and(|answer| answer.body == app.port.to_string())
    };
    assert!(served().await, "who does not lead serves all the same");
    first.world.signal("TERM").await;
    until("the second one leads", async || second.status().await.kubernetes.unwrap().leader).await;
    let holder = first.api.get("leases", "torhaus", "torhaus").unwrap();
    assert_eq!(holder["spec"]["leaseTransitions"], 2, "{holder}");
    first.api.put(of("b", "b.test"));
    until("it writes", async || first.api.addresses("team-a", "b") == ["203.0.113.7"]).await;
    // A lease that another holds, and renews, is left alone: who does not hold it writes nothing.
    let mut lease = first.api.get("leases", "torhaus", "torhaus").unwrap();
    lease["spec"]["holderIdentity"] = json!("another");
    lease["metadata"]["resourceVersion"] = json!(null);
    first.api.put(lease);
    until("it stops to lead", async || !second.status().await.kubernetes.unwrap().leader).await;
    first.api.put(created(of("c", "foo.test"), "2026-11-02T00:00:00Z"));
    until("the route is served", async || {
        let call = crate::harness::Call::get("foo.test", "/");
        second.call(crate::harness::Door::Inside, None, &call).await.is_ok_and(|answer| answer.status == 200)
    })
    .await;
    assert!(first.api.addresses("team-a", "c").is_empty());
}

#[tokio::test]
async fn without_the_right_to_write_everything_is_served() {
    let ([app], services) = apps("team-a", ["app"]);
    let before = Before::new().await;
    for (verb, plural) in [("patch", "ingresses"), ("create", "events"), ("create", "leases")] {
        before.api.forbid(verb, plural);
    }
    for object in services.into_iter().chain([of("a", "a.test"), of("bad", "")]) {
        before.api.put(object);
    }
    let cluster = before.start().await;
    cluster.is_ready().await;
    cluster.answers("a.test", "/", &app.port.to_string()).await;
    until("it says so", async || {
        cluster.world.status().await.degraded.iter().any(|what| what.contains("lease") && what.contains("forbidden"))
    })
    .await;
    cluster.api.permit("create", "leases");
    until("it leads, and tries", async || cluster.api.asked("PATCH", "/ingresses/a/status") > 0).await;
    assert!(cluster.api.addresses("team-a", "a").is_empty());
    cluster.api.permit("patch", "ingresses");
    until("it writes", async || cluster.api.addresses("team-a", "a") == ["203.0.113.7"]).await;
}
