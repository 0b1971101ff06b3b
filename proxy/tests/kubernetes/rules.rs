//! Classes, hosts, paths and backends, as the API's own words and its conformance tests have them.
use crate::harness::{Call, Door};
use crate::objects::{annotated, backend, class, created, ingress, service, with};
use crate::{Before, InCluster, apps, said};
use serde_json::json;

#[tokio::test]
async fn hosts_and_paths_lead_where_the_api_says() {
    let names = ["exact", "prefix", "aaa", "aaabbb", "special", "root", "wild", "exacthost", "any", "default"];
    let (apps, services) = apps("team-a", names);
    let port = |name: &str| apps[names.iter().position(|own| *own == name).unwrap()].port.to_string();
    let ours = |name: &str, rules: &[(&str, &str, &str, &str)]| {
        annotated(ingress("team-a", name, rules), "torhaus.dev/resource", "team-a/open")
    };
    let paths = ours(
        "paths",
        &[
            ("foo.test", "/foo", "Exact", "exact"),
            ("foo.test", "/prefix/", "Prefix", "prefix"),
            ("foo.test", "/aaa", "Prefix", "aaa"),
            ("foo.test", "/aaa/bbb", "Prefix", "aaabbb"),
            ("foo.test", "/aaa/bbb", "Exact", "exact"),
            ("foo.test", "/special/", "ImplementationSpecific", "special"),
            ("foo.test", "/slash/", "Exact", "exact"),
            ("*.foo.test", "/", "Prefix", "wild"),
            ("bar.foo.test", "/", "Prefix", "exacthost"),
        ],
    );
    // Rules of several ingresses for a host are merged.
    let more = ours("more", &[("foo.test", "/", "Prefix", "root"), ("foo.test", "/aaa/bbb/ccc", "Prefix", "prefix")]);
    // A rule without paths, and what the others leave: the default backend of that ingress.
    let by_default = ours("by-default", &[("bar.test", "/only", "Exact", "exact")]);
    let by_default = with(by_default, "/spec/defaultBackend", backend("default"));
    let anywhere = ours("anywhere", &[("", "/any", "Prefix", "any")]);
    let cluster = InCluster::start(services.into_iter().chain([paths, more, by_default, anywhere])).await;
    for (host, target, leads_to) in [
        ("foo.test", "/foo", "exact"),
        ("foo.test", "/foo/", "root"),
        ("foo.test", "/foo/x", "root"),
        ("foo.test", "/FOO", "root"),
        ("foo.test", "/prefix", "prefix"),
        ("foo.test", "/prefix/", "prefix"),
        ("foo.test", "/prefix/x/y", "prefix"),
        ("foo.test", "/prefixx", "root"),
        ("foo.test", "/aaa", "aaa"),
        ("foo.test", "/aaa/", "aaa"),
        ("foo.test", "/aaaccc", "root"),
        ("foo.test", "/aaa/ccc", "aaa"),
        ("foo.test", "/aaa/bbb", "exact"),
        ("foo.test", "/aaa/bbb/", "aaabbb"),
        ("foo.test", "/aaa/bbb/cc", "aaabbb"),
        ("foo.test", "/aaa/bbb/ccc", "prefix"),
        ("foo.test", "/aaa/bbbxyz", "aaa"),
        ("foo.test", "/special", "special"),
        ("foo.test", "/slash/", "exact"),
        ("foo.test", "/slash", "root"),
        ("foo.test", "/", "root"),
        ("foo.test", "/aaa?x=/foo", "aaa"),
        ("bar.foo.test", "/x", "exacthost"),
        ("baz.foo.test", "/x", "wild"),
        // One label only: the next rule for such a host is the one for any.
        ("baz.bar.foo.test", "/any/x", "any"),
        ("bar.test", "/only", "exact"),
        ("bar.test", "/only/", "default"),
        ("bar.test", "/", "default"),
        ("a.test", "/any", "any"),
    ] {
        let answer = cluster.get(host, target).await;
        assert_eq!(said(&answer), port(leads_to), "{host}{target} leads to {leads_to}");
    }
    for (host, target) in [("baz.bar.foo.test", "/x"), ("a.test", "/"), ("a.test", "/anything")] {
        assert_eq!(said(&cluster.get(host, target).await), "no_route", "{host}{target}");
    }
    // A port in `Host` is no part of it; another host of the same group is; one that the handshake did not name is not.
    let tls = cluster.world.tls(None, &["http/1.1"]);
    let open = crate::harness::Connection::open(cluster.world.address(Door::Inside), "foo.test", &tls);
    let mut connection = open.await.unwrap();
    let answer = connection.send(&Call::get("bar.foo.test:443", "/x")).await.unwrap();
    assert_eq!(said(&answer), port("exacthost"));
    let answer = connection.send(&Call::get("a.test", "/any").with("accept", "application/json")).await.unwrap();
    assert_eq!(answer.outcome(), (421, "wrong_host".to_owned()));
}

#[tokio::test]
async fn of_two_rules_for_one_path_the_older_one_counts() {
    let (apps, services) = apps("team-a", ["old", "young"]);
    let ours = |name: &str, at: &str, service: &str| {
        let rules = [("foo.test", "/x", "Prefix", service)];
        created(annotated(ingress("team-a", name, &rules), "torhaus.dev/resource", "team-a/open"), at)
    };
    let young = ours("a-young", "2026-11-02T00:00:00Z", "young");
    let old = ours("z-old", "2026-11-01T00:00:00Z", "old");
    let cluster = InCluster::start(services.into_iter().chain([young, old])).await;
    cluster.answers("foo.test", "/x", &apps[0].port.to_string()).await;
    cluster.is_told("team-a/a-young", "PathTaken", "`foo.test/x` is a rule of an older ingress").await;
    cluster.api.delete("ingresses", "team-a", "z-old");
    cluster.answers("foo.test", "/x", &apps[1].port.to_string()).await;
}

#[tokio::test]
async fn an_ingress_is_ours_by_its_class_and_others_are_not_touched() {
    let (apps, services) = apps("team-a", ["app"]);
    let port = apps[0].port.to_string();
    let plain = |name: &str, host: &str| {
        annotated(ingress("team-a", name, &[(host, "/", "Prefix", "app")]), "torhaus.dev/resource", "team-a/open")
    };
    let of_class = |name: &str, host: &str, field: Option<&str>, old: Option<&str>| {
        let ingress = with(plain(name, host), "/spec/ingressClassName", json!(field));
        old.map_or(ingress.clone(), |old| annotated(ingress, "kubernetes.io/ingress.class", old))
    };
    let before = Before::new().await;
    let by_default = with(
        class("second", "torhaus.dev/ingress"),
        "/metadata/annotations",
        json!({
        "ingressclass.kubernetes.io/is-default-class": "true" }),
    );
    let odd = with(class("odd", "torhaus.dev/ingress"), "/spec/parameters", json!({ "kind": "X", "name": "x" }));
    for object in services.into_iter().chain([by_default, odd, class("nginx", "k8s.io/ingress-nginx")]).chain([
        of_class("field", "foo.test", Some("torhaus"), None),
        of_class("second", "bar.test", Some("second"), None),
        of_class("none", "team.test", None, None),
        of_class("old", "a.test", None, Some("torhaus")),
        of_class("old-wins", "one.foo.test", Some("nginx"), Some("torhaus")),
        of_class("old-loses", "two.foo.test", Some("torhaus"), Some("nginx")),
        of_class("other", "three.foo.test", Some("nginx"), None),
        of_class("unknown", "four.foo.test", Some("nothing"), None),
        of_class("parameters", "five.foo.test", Some("odd"), None),
    ]) {
        before.api.put(object);
    }
    let cluster = before.start().await;
    cluster.is_ready().await;
    for host in ["foo.test", "bar.test", "team.test", "a.test", "one.foo.test"] {
        assert_eq!(said(&cluster.get(host, "/").await), port, "{host}");
    }
    for host in ["two.foo.test", "three.foo.test", "four.foo.test", "five.foo.test"] {
        assert_eq!(said(&cluster.get(host, "/").await), "no_route", "{host}");
    }
    cluster.is_told("team-a/parameters", "ClassParameters", "parameters").await;
    crate::harness::until("ours say where they are reached", async || {
        ["field", "second", "none", "old", "old-wins"]
            .iter()
            .all(|name| cluster.api.addresses("team-a", name) == ["203.0.113.7"])
    })
    .await;
    for name in ["old-loses", "other", "unknown"] {
        assert!(
            cluster.api.addresses("team-a", name).is_empty() && cluster.api.events("team-a", name).is_empty(),
            "{name}"
        );
        assert_eq!(cluster.problems(&format!("team-a/{name}")).await, [""; 0]);
    }
    // A class that goes takes its ingresses along; one that changes its controller, too.
    cluster.api.delete("ingressclasses", "", "second");
    cluster.answers("bar.test", "/", "no_route").await;
    cluster.answers("team.test", "/", "no_route").await;
}

#[tokio::test]
async fn a_backend_is_a_named_or_numbered_port_of_a_service_that_selects_pods() {
    let (apps, services) = apps("team-a", ["app"]);
    let to = |name: &str, host: &str, backend: serde_json::Value| {
        let ingress =
            annotated(ingress("team-a", name, &[(host, "/", "Prefix", "app")]), "torhaus.dev/resource", "team-a/open");
        with(ingress, "/spec/rules/0/http/paths/0/backend", backend)
    };
    let on = |port: serde_json::Value| json!({ "service": { "name": "app", "port": port } });
    let cluster = InCluster::start(services.into_iter().chain([
        to("named", "a.test", on(json!({ "name": "web" }))),
        to("number", "b.test", on(json!({ "number": 80 }))),
        to("wrong", "team.test", on(json!({ "number": 8080 }))),
        to("missing", "foo.test", json!({ "service": { "name": "nothing", "port": { "number": 80 } } })),
        to("resource", "bar.test", json!({ "resource": { "kind": "Bucket", "name": "x", "apiGroup": "x.test" } })),
    ]))
    .await;
    for host in ["a.test", "b.test"] {
        assert_eq!(said(&cluster.get(host, "/").await), apps[0].port.to_string());
    }
    for host in ["team.test", "foo.test"] {
        assert_eq!(cluster.get(host, "/").await.status, 503, "its host stays its own");
    }
    assert_eq!(said(&cluster.get("bar.test", "/").await), "no_route");
    cluster.is_told("team-a/wrong", "InvalidBackend", "has no port `8080`").await;
    cluster.is_told("team-a/missing", "InvalidBackend", "no service `nothing`").await;
    cluster.is_told("team-a/resource", "UnsupportedBackend", "`resource`").await;
    cluster.put(service("team-a", "nothing", &[apps[0].port]));
    cluster.answers("foo.test", "/", &apps[0].port.to_string()).await;
}

#[tokio::test]
async fn a_row_decides_and_the_application_learns_who_it_is() {
    let ours = |name: &str, host: &str| ingress("team-a", name, &[(host, "/", "Prefix", "app")]);
    let before = Before::new().await;
    let port = before.setup.echo.port;
    let mtls = annotated(
        annotated(ours("services", "b.test"), "torhaus.dev/client-auth", "required"),
        "torhaus.dev/trust-domains",
        "services",
    );
    // Named after it, named by a label, and by what the configuration lists.
    let labelled = with(ours("by-label", "a.test"), "/metadata/labels/torhaus.dev~1resource", json!("shared"));
    for object in service("team-a", "app", &[port]).into_iter().chain([ours("staff", "foo.test"), labelled, mtls]) {
        before.api.put(object);
    }
    let cluster = before.start().await;
    cluster.is_ready().await;
    assert_eq!(cluster.get("foo.test", "/x").await.outcome(), (401, "login_needed".to_owned()));
    let mut alice = cluster.world.browser(Door::Inside).of("alice");
    let answer = alice.open("https://foo.test/x?y=1").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let seen = answer.seen();
    assert_eq!((seen.header("x-forwarded-user"), &*seen.target), (Some("alice"), "/x?y=1"));
    assert_eq!(cluster.get("a.test", "/").await.status, 200);
    let backup = cluster.world.pki.service(crate::harness::pki::BACKUP);
    let call = Call::get("b.test", "/");
    assert_eq!(cluster.world.call(Door::Inside, Some(&backup), &call).await.unwrap().status, 200);
    assert!(cluster.world.call(Door::Inside, None, &call).await.is_err(), "no certificate, no handshake");
    // The record says what it was about.
    let lines = cluster.world.recorded_with(&[("resource", "team-a/staff"), ("verdict", "allow")]);
    assert!(!lines.is_empty());
    // The central table has the last word: a row that goes closes what was bound to it.
    cluster.world.change("policy.yaml", "  - { resource: shared,", "  - { resource: unshared,");
    cluster.world.reload().await.unwrap();
    cluster.answers("a.test", "/", "no_route").await;
    cluster.is_told("team-a/by-label", "InvalidRoute", "resource `shared` has no row").await;
}
