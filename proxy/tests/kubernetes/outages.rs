//! An API server that does not answer, forgets, cuts connections, refuses, or sends what nobody can read: what was known
//! serves on, and what changed meanwhile is served as soon as it can be known.
use crate::harness::{Door, until};
use crate::objects::{annotated, certificate, ingress, secret, service, with};
use crate::{Before, InCluster, apps, said};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How much longer the API is away than until it is noticed. `TORHAUS_OUTAGE_SECONDS=60` is the whole drill.
fn outage() -> Duration {
    Duration::from_secs(std::env::var("TORHAUS_OUTAGE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1))
}

fn of(name: &str, host: &str, service: &str) -> Value {
    annotated(ingress("team-a", name, &[(host, "/", "Prefix", service)]), "torhaus.dev/resource", "team-a/open")
}

#[tokio::test]
async fn while_the_api_is_away_everything_serves_on_and_then_catches_up() {
    let ([one, two], services) = apps("team-a", ["one", "two"]);
    let cluster = InCluster::start(services.into_iter().chain([of("a", "a.test", "one")])).await;
    cluster.answers("a.test", "/", &one.port.to_string()).await;
    cluster.api.go_down();
    until("the gate notices", async || {
        cluster.world.status().await.degraded.iter().any(|what| what.contains("what was known serves on"))
    })
    .await;
    // Ready all the same, and a reload of the files changes nothing about it.
    assert_eq!(cluster.world.status().await.not_ready, [""; 0]);
    cluster.world.reload().await.unwrap();
    let away = Instant::now();
    while away.elapsed() < outage() {
        assert_eq!(said(&cluster.get("a.test", "/").await), one.port.to_string());
    }
    // Meanwhile the cluster lives on.
    cluster.put([of("a", "a.test", "two"), of("b", "b.test", "one")]);
    cluster.api.come_back();
    cluster.answers("a.test", "/", &two.port.to_string()).await;
    cluster.answers("b.test", "/", &one.port.to_string()).await;
    until("the gate is well again", async || cluster.world.status().await.degraded.is_empty()).await;
}

#[tokio::test]
async fn a_gate_that_has_not_read_the_cluster_is_not_ready_and_serves_its_files() {
    let ([app], services) = apps("team-a", ["app"]);
    let before = Before::new().await;
    before.api.go_down();
    for object in services.into_iter().chain([of("a", "a.test", "app")]) {
        before.api.put(object);
    }
    let cluster = before.start().await;
    let status = cluster.world.status().await;
    assert!(status.not_ready.iter().any(|why| why.contains("not read yet")), "{status:?}");
    assert!(!status.kubernetes.unwrap().synced);
    assert_eq!(cluster.get("status.test", "/").await.status, 200, "routes of files do not wait");
    assert_eq!(said(&cluster.get("a.test", "/").await), "no_route");
    cluster.api.come_back();
    cluster.is_ready().await;
    assert_eq!(said(&cluster.get("a.test", "/").await), app.port.to_string(), "ready means that all of it is served");
}

#[tokio::test]
async fn a_part_of_the_cluster_is_never_served_as_if_it_were_all() {
    let ([app], services) = apps("team-a", ["app"]);
    let before = Before::new().await;
    before.api.forbid("list", "endpointslices");
    for object in services.into_iter().chain([of("a", "a.test", "app")]) {
        before.api.put(object);
    }
    let cluster = before.start().await;
    until("it says what it may not read", async || {
        cluster
            .world
            .status()
            .await
            .not_ready
            .iter()
            .any(|why| why.contains("endpointslices") && why.contains("forbidden"))
    })
    .await;
    assert_eq!(said(&cluster.get("a.test", "/").await), "no_route");
    cluster.api.permit("list", "endpointslices");
    cluster.answers("a.test", "/", &app.port.to_string()).await;
}

#[tokio::test]
async fn cut_connections_forgotten_versions_and_bookmarks_lose_no_change() {
    let ([one, two], services) = apps("team-a", ["one", "two"]);
    let (one, two) = (one.port.to_string(), two.port.to_string());
    let cluster = InCluster::start(services.into_iter().chain([of("a", "a.test", "one")])).await;
    cluster.answers("a.test", "/", &one).await;
    assert!(cluster.api.bookmarks() > 0, "bookmarks were asked for");
    for round in 0..6 {
        let (service, expected) = if round % 2 == 0 { ("two", &two) } else { ("one", &one) };
        match round {
            0 | 1 => cluster.api.cut(),
            2 | 3 => cluster.api.forget(),
            _ => {
                cluster.api.forget();
                cluster.api.cut();
            }
        }
        cluster.put([of("a", "a.test", service)]);
        cluster.answers("a.test", "/", expected).await;
    }
    // What was deleted while the watch was cut, and then forgotten, is gone after the listing.
    cluster.put([of("b", "b.test", "one")]);
    cluster.answers("b.test", "/", &one).await;
    cluster.api.go_down();
    cluster.api.delete("ingresses", "team-a", "b");
    cluster.api.forget();
    cluster.api.come_back();
    cluster.answers("b.test", "/", "no_route").await;
    assert_eq!(said(&cluster.get("a.test", "/").await), one);
}

#[tokio::test]
async fn one_object_that_nobody_can_read_stops_no_other() {
    let ([app], services) = apps("team-a", ["app"]);
    let port = app.port.to_string();
    let odd = |name: &str, pointer: &str, value: Value| with(of(name, "odd.foo.test", "app"), pointer, value);
    let cluster = InCluster::start(services.into_iter().chain([
        odd("bad-1", "/spec/rules", json!("all of them")),
        odd("bad-2", "/spec/rules/0/http/paths/0/backend/service/port/number", json!("eighty")),
        odd("bad-3", "/spec/tls", json!([{ "hosts": "x" }])),
        of("good", "a.test", "app"),
    ]))
    .await;
    assert_eq!(said(&cluster.get("a.test", "/").await), port);
    for name in ["bad-1", "bad-2", "bad-3"] {
        cluster.is_told(&format!("team-a/{name}"), "Unreadable", "").await;
    }
    // In a running watch: broken JSON, an event of no known type, an object of another kind, an error that is none.
    for line in [
        "{\"type\": \"ADDED\", \"object\": {",
        "{\"type\": \"SURPRISE\", \"object\": {}}",
        "{\"type\": \"ADDED\", \"object\": {\"kind\": \"Ingress\"}}",
        "[]",
    ] {
        cluster.api.inject("ingresses", line);
    }
    cluster.put([of("later", "b.test", "app"), odd("bad-1", "/spec/rules", json!(7))]);
    cluster.answers("b.test", "/", &port).await;
    assert_eq!(said(&cluster.get("a.test", "/").await), port);
    // Good again.
    cluster.put([of("bad-1", "odd.foo.test", "app")]);
    cluster.answers("odd.foo.test", "/", &port).await;
}

#[tokio::test]
async fn without_the_right_to_read_secrets_certificates_come_from_files() {
    let ([app], services) = apps("team-a", ["app"]);
    let before = Before::new().await;
    before.api.forbid("list", "secrets");
    let new = certificate(&before.setup.pki.web, &["new.test"]);
    let tls = json!([{ "hosts": ["new.test"], "secretName": "tls" }]);
    for object in services.into_iter().chain([
        of("a", "a.test", "app"),
        with(of("new", "new.test", "app"), "/spec/tls", tls),
        secret("team-a", "tls", &new),
    ]) {
        before.api.put(object);
    }
    let cluster = before.start().await;
    cluster.is_ready().await;
    assert_eq!(said(&cluster.get("a.test", "/").await), app.port.to_string());
    let status = cluster.world.status().await;
    assert!(status.degraded.iter().any(|what| what.contains("secrets") && what.contains("forbidden")), "{status:?}");
    cluster.is_told("team-a/new", "SecretMissing", "`tls`").await;
    cluster.api.permit("list", "secrets");
    cluster.answers("new.test", "/", &app.port.to_string()).await;
}

#[tokio::test]
async fn open_streams_end_with_their_route_and_outlive_everything_else() {
    let before = Before::new().await;
    let echo = before.setup.echo.port;
    for object in
        service("team-a", "app", &[echo]).into_iter().chain([of("a", "a.test", "app"), of("b", "b.test", "app")])
    {
        before.api.put(object);
    }
    let cluster = before.start().await;
    cluster.is_ready().await;
    let tls = cluster.world.tls(None, &["http/1.1"]);
    let open = async |host: &str| {
        let mut connection =
            crate::harness::Connection::open(cluster.world.address(Door::Inside), host, &tls).await.unwrap();
        let answer = connection.start(&crate::harness::Call::get(host, "/stream")).await.unwrap();
        (connection, answer.into_body())
    };
    let ((_one, mut of_a), (_two, mut of_b)) = (open("a.test").await, open("b.test").await);
    let next = async |body: &mut hyper::body::Incoming| {
        let frame = http_body_util::BodyExt::frame(body);
        matches!(tokio::time::timeout(crate::harness::PATIENCE, frame).await, Ok(Some(Ok(_))))
    };
    assert!(next(&mut of_a).await && next(&mut of_b).await);
    // Another pod comes, another ingress, and the route of `a` goes to another row.
    cluster.put(service("team-a", "app", &[echo, echo]));
    cluster.put([annotated(of("a", "a.test", "app"), "torhaus.dev/resource", "team-a/app")]);
    until("the stream of a row that it does not belong to any more ends", async || !next(&mut of_a).await).await;
    for _ in 0..3 {
        assert!(next(&mut of_b).await, "the other one lives on");
    }
}
