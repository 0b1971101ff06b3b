//! Nobody takes what is another's: hosts, secrets, services, rows; and nothing that is written into an object reaches
//! further than it may (attack 38: CVE-2025-1974 and its kin in other controllers).
use crate::harness::app::App;
use crate::objects::{annotated, certificate, created, ingress, secret, service, slice, with};
use crate::{Before, InCluster, apps, said};
use serde_json::json;

const EARLY: &str = "2026-11-01T00:00:00Z";
const LATE: &str = "2026-11-02T00:00:00Z";

fn of(namespace: &str, name: &str, host: &str, at: &str) -> serde_json::Value {
    let ingress = ingress(namespace, name, &[(host, "/", "Prefix", "app")]);
    created(annotated(ingress, "torhaus.dev/resource", &format!("{namespace}/open")), at)
}

#[tokio::test]
async fn a_host_belongs_to_the_namespace_that_had_it_first() {
    let ([mine], services) = apps("team-a", ["app"]);
    let ([other], others) = apps("team-b", ["app"]);
    let (mine, other) = (mine.port.to_string(), other.port.to_string());
    let cluster = InCluster::start(services.into_iter().chain(others).chain([
        of("team-a", "foo", "foo.test", EARLY),
        of("team-b", "steals", "foo.test", LATE),
        // A path that the owner does not use is the owner's, too.
        with(of("team-b", "below", "foo.test", LATE), "/spec/rules/0/http/paths/0/path", json!("/unused")),
        of("team-a", "wild", "*.foo.test", EARLY),
        of("team-b", "under", "x.foo.test", LATE),
        of("team-b", "bar", "bar.test", EARLY),
        of("team-b", "portal", "auth.test", EARLY),
        of("team-b", "file", "wiki.test", EARLY),
        of("team-b", "any", "", EARLY),
    ]))
    .await;
    for (host, target) in [("foo.test", "/"), ("foo.test", "/unused"), ("x.foo.test", "/")] {
        assert_eq!(said(&cluster.get(host, target).await), mine, "{host}{target}");
    }
    assert_eq!(said(&cluster.get("bar.test", "/").await), other);
    assert_eq!(said(&cluster.get("a.test", "/").await), "no_route", "nobody answers for every host unasked");
    assert_eq!(cluster.get("wiki.test", "/").await.outcome(), (401, "login_needed".to_owned()), "as the file says");
    for name in ["steals", "below"] {
        cluster.is_told(&format!("team-b/{name}"), "HostTaken", "`foo.test` belongs to namespace `team-a`").await;
    }
    cluster.is_told("team-b/under", "HostTaken", "`*.foo.test` belongs to namespace `team-a`").await;
    cluster.is_told("team-b/portal", "HostTaken", "`auth.test` is one of torhaus.yaml").await;
    cluster.is_told("team-b/file", "HostTaken", "`wiki.test` is one of torhaus.yaml").await;
    cluster.is_told("team-b/any", "HostNotGranted", "any_host").await;
    // A slip of the pen gives no host away.
    cluster.put([annotated(of("team-a", "foo", "foo.test", EARLY), "torhaus.dev/resource", "nothing")]);
    cluster.answers("foo.test", "/", "no_route").await;
    cluster.is_told("team-b/steals", "HostTaken", "`foo.test`").await;
    // Who has gone has no host.
    cluster.api.delete("ingresses", "team-a", "foo");
    cluster.answers("foo.test", "/", &other).await;
}

#[tokio::test]
async fn a_namespace_has_the_hosts_and_rows_that_the_configuration_lists_for_it() {
    let ([app], services) = apps("team-a", ["app"]);
    let (_other, others) = apps("team-b", ["app"]);
    let mut before = Before::new().await;
    before.namespaces = "{ team-a: { hosts: [\"*.foo.test\", a.test] }, team-b: {} }".to_owned();
    let bound = |namespace: &str, name: &str, host: &str, row: &str| {
        annotated(of(namespace, name, host, EARLY), "torhaus.dev/resource", row)
    };
    for object in services.into_iter().chain(others).chain([
        of("team-a", "in", "x.foo.test", EARLY),
        of("team-a", "out", "foo.test", EARLY),
        bound("team-b", "lax", "b.test", "team-a/open"),
        bound("team-b", "central", "bar.test", "shared"),
        bound("team-b", "unknown", "team.test", "team-b/nothing"),
        with(of("team-b", "nameless", "*.many.test", EARLY), "/metadata/annotations", json!({})),
        of("team-c", "unseen", "foo.test", EARLY),
    ]) {
        before.api.put(object);
    }
    let cluster = before.start().await;
    cluster.is_ready().await;
    assert_eq!(said(&cluster.get("x.foo.test", "/").await), app.port.to_string());
    for host in ["foo.test", "b.test", "bar.test", "team.test", "x.many.test"] {
        assert_eq!(said(&cluster.get(host, "/").await), "no_route", "{host}");
    }
    cluster.is_told("team-a/out", "HostNotGranted", "`foo.test` is not among those of namespace `team-a`").await;
    cluster.is_told("team-b/lax", "ResourceNotGranted", "may not bind to row `team-a/open`").await;
    cluster.is_told("team-b/central", "ResourceNotGranted", "may not bind to row `shared`").await;
    cluster.is_told("team-b/unknown", "InvalidRoute", "`team-b/nothing` has no row").await;
    cluster.is_told("team-b/nameless", "NoResource", "add a row `team-b/nameless`").await;
    // Namespaces that are not named are not even looked at: a role for these two is enough.
    assert_eq!(cluster.api.asked("GET", "/team-c/"), 0);
    assert_eq!(cluster.api.asked("GET", "/networking.k8s.io/v1/ingresses"), 0, "only namespaced questions");
}

#[tokio::test]
async fn a_service_leads_to_the_pods_that_it_selects_and_nowhere_else() {
    let victim = App::start();
    let port = victim.port;
    let name = |name: &str| format!("{name}.foo.test");
    let to = |namespace: &str, service: &str| {
        let ingress = ingress(namespace, service, &[(&name(service), "/", "Prefix", service)]);
        annotated(ingress, "torhaus.dev/resource", &format!("{namespace}/open"))
    };
    let manual = |name: &str| service("team-b", name, &[port]);
    let mut objects = Vec::new();
    // Endpoints that somebody wrote: of a service without a selector, and of one with.
    objects.extend(manual("selectorless").into_iter().map(|object| match object["kind"].as_str() {
        Some("Service") => with(object, "/spec/selector", json!(null)),
        _ => object,
    }));
    objects.extend(manual("written").into_iter().map(|object| match object["kind"].as_str() {
        Some("EndpointSlice") => {
            with(object, "/metadata/labels/endpointslice.kubernetes.io~1managed-by", json!("mallory"))
        }
        _ => object,
    }));
    objects.extend(manual("external").into_iter().map(|object| match object["kind"].as_str() {
        Some("Service") => {
            with(with(object, "/spec/type", json!("ExternalName")), "/spec/externalName", json!("localhost"))
        }
        _ => object,
    }));
    // A slice of another namespace that names the service.
    objects.push(service("team-b", "elsewhere", &[]).remove(0));
    objects.push(slice("team-a", "elsewhere", 0, port, json!({ "ready": true })));
    objects.extend(["selectorless", "written", "external", "elsewhere"].map(|service| to("team-b", service)));
    // The name of a service is no way out of the namespace.
    let sideways =
        with(to("team-b", "sideways"), "/spec/rules/0/http/paths/0/backend/service/name", json!("app.team-a"));
    objects.push(sideways);
    let cluster = InCluster::start(objects).await;
    for service in ["selectorless", "written", "external", "elsewhere"] {
        assert_eq!(cluster.get(&name(service), "/").await.status, 503, "{service}");
    }
    assert_eq!(said(&cluster.get(&name("sideways"), "/").await), "no_route");
    cluster.is_told("team-b/selectorless", "InvalidBackend", "selects no pods").await;
    cluster.is_told("team-b/external", "InvalidBackend", "ExternalName").await;
    cluster.is_told("team-b/sideways", "InvalidBackend", "small letters").await;
    assert_eq!(victim.count(), 0, "nobody was asked");
}

#[tokio::test]
async fn a_secret_serves_the_hosts_of_its_own_namespace_only() {
    let (_apps, services) = apps("team-b", ["app"]);
    let before = Before::new().await;
    let stolen = certificate(&before.setup.pki.web, &["foo.test", "auth.test", "wiki.test"]);
    let with_tls = |ingress: serde_json::Value, hosts: serde_json::Value, name: &str| {
        with(ingress, "/spec/tls", json!([{ "hosts": hosts, "secretName": name }]))
    };
    for object in services.into_iter().chain([
        secret("team-a", "theirs", &stolen),
        secret("team-b", "own", &stolen),
        with_tls(of("team-b", "sideways", "foo.test", EARLY), json!(["foo.test"]), "team-a/theirs"),
        with_tls(of("team-b", "missing", "bar.test", EARLY), json!(["bar.test"]), "theirs"),
        // For the portal, and for a host that is another's in the file: neither is shown a certificate of a team.
        with_tls(of("team-b", "portal", "a.test", EARLY), json!(["auth.test", "wiki.test"]), "own"),
        with_tls(of("team-b", "other-name", "b.test", EARLY), json!(["b.test"]), "own"),
    ]) {
        before.api.put(object);
    }
    let cluster = before.start().await;
    cluster.is_ready().await;
    cluster.is_told("team-b/sideways", "SecretMissing", "`team-a/theirs`").await;
    cluster
        .is_told("team-b/missing", "SecretMissing", "`theirs` of type kubernetes.io/tls in namespace `team-b`")
        .await;
    cluster.is_told("team-b/portal", "HostTaken", "`auth.test` is one of torhaus.yaml").await;
    cluster.is_told("team-b/other-name", "CertificateMismatch", "not for `b.test`").await;
    let stolen = crate::secrets::der(&stolen);
    for host in ["foo.test", "bar.test", "auth.test", "wiki.test", "b.test"] {
        assert_ne!(crate::secrets::shown(&cluster, host).await, stolen, "{host}");
    }
}

/// A handshake asks by the name in its ClientHello: for names that nobody knows beforehand it would ask for nothing.
#[tokio::test]
async fn an_ingress_without_a_host_that_wants_client_certificates_is_not_served() {
    let ([app], services) = apps("team-a", ["app"]);
    let any = annotated(of("team-a", "any", "", EARLY), "torhaus.dev/client-auth", "required");
    let any = annotated(any, "torhaus.dev/trust-domains", "devices");
    let good = of("team-a", "good", "bar.test", EARLY);
    let cluster = InCluster::start(services.into_iter().chain([any, good])).await;
    cluster.is_told("team-a/any", "InvalidRoute", "a rule without a host cannot ask for a client certificate").await;
    assert_eq!(said(&cluster.get("bar.test", "/").await), app.port.to_string());
    assert_eq!(said(&cluster.get("a.test", "/").await), "no_route");
}

#[tokio::test]
async fn what_an_annotation_says_is_a_value_of_a_closed_list_and_nothing_else() {
    let (_apps, services) = apps("team-b", ["app"]);
    let hosts: Vec<String> = (0..16).map(|at| format!("h{at}.many.test")).collect();
    let cases = [
        ("torhaus.dev/client-auht", "required", "InvalidAnnotation", "no annotation `torhaus.dev/client-auht`"),
        ("torhaus.dev/client-auth", "maybe", "InvalidRoute", "client_auth"),
        ("torhaus.dev/client-auth", "required", "InvalidRoute", "whose client certificates"),
        ("torhaus.dev/trust-domains", "services", "InvalidAnnotation", "needs `torhaus.dev/client-auth`"),
        ("torhaus.dev/profile", "../../etc/passwd", "InvalidRoute", "no profile"),
        ("torhaus.dev/max-body", "1 GB; return 200", "InvalidRoute", "size"),
        ("torhaus.dev/response-timeout", "60s\nproxy_pass http://x", "InvalidAnnotation", "several lines"),
        ("torhaus.dev/backend-protocol", "FCGI", "InvalidAnnotation", "HTTP, HTTPS, GRPC"),
        ("torhaus.dev/title", "x\u{0}y", "InvalidAnnotation", "several lines"),
        ("torhaus.dev/listed", "yes", "InvalidAnnotation", "write \"true\" or \"false\""),
        ("torhaus.dev/balance", "random", "InvalidRoute", "balance"),
        ("torhaus.dev/upstream", "http://169.254.169.254", "InvalidAnnotation", "no annotation"),
        ("torhaus.dev/resource", "team-b/../team-a/open", "InvalidRoute", "has no row"),
        ("torhaus.dev/backend-ca-secret", "../../var/run/secrets", "InvalidBackend", "no TLS secret"),
        ("nginx.ingress.kubernetes.io/auth-url", "http://x/#;load_module /evil.so;", "IgnoredAnnotations", "auth-url"),
        ("nginx.ingress.kubernetes.io/configuration-snippet", "more_clear_headers x;", "IgnoredAnnotations", "snippet"),
    ];
    let objects = cases
        .iter()
        .enumerate()
        .map(|(at, (name, value, ..))| annotated(of("team-b", &format!("i{at}"), &hosts[at], EARLY), name, value));
    // Hosts and paths that are none.
    let odd = |name: &str, host: &str, path: &str| {
        let ingress = ingress("team-b", name, &[(host, path, "Prefix", "app")]);
        annotated(ingress, "torhaus.dev/resource", "team-b/open")
    };
    let injected = [
        odd("host-1", "x.many.test;evil", "/"),
        odd("host-2", "10.0.0.1", "/"),
        odd("host-3", "*", "/"),
        odd("path-1", "p1.many.test", "/a/../b"),
        odd("path-2", "p2.many.test", "/.torhaus/session"),
        odd("path-3", "p3.many.test", "/a%2fb"),
        odd("path-4", "p4.many.test", "/x\"; location /"),
        with(odd("path-5", "p5.many.test", "/"), "/spec/rules/0/http/paths/0/pathType", json!("Regex")),
    ];
    let good = of("team-b", "good", "bar.test", EARLY);
    let cluster = InCluster::start(services.into_iter().chain(objects).chain(injected).chain([good])).await;
    for (at, (name, value, reason, note)) in cases.iter().enumerate() {
        let known = cluster.problems(&format!("team-b/i{at}")).await;
        assert!(
            known.iter().any(|problem| problem.starts_with(reason) && problem.contains(note)),
            "{name}={value}: {known:?}"
        );
        let refused = ["IgnoredAnnotations", "InvalidBackend"].contains(reason);
        let answer = cluster.get(&hosts[at], "/").await;
        assert_eq!(said(&answer) == "no_route", !refused, "{name}={value}: {answer:?}");
    }
    for (name, reason) in [
        ("host-1", "InvalidHost"),
        ("host-2", "InvalidHost"),
        ("host-3", "InvalidHost"),
        ("path-1", "InvalidRoute"),
        ("path-2", "InvalidRoute"),
        ("path-3", "InvalidRoute"),
        ("path-4", "InvalidRoute"),
        ("path-5", "InvalidRoute"),
    ] {
        let known = cluster.problems(&format!("team-b/{name}")).await;
        assert!(known.iter().any(|problem| problem.starts_with(reason)), "{name}: {known:?}");
    }
    assert_eq!(cluster.get("bar.test", "/").await.status, 200, "none of them stops another one");
}

#[tokio::test]
async fn all_ingresses_of_a_host_agree_on_client_certificates() {
    let ([app], services) = apps("team-a", ["app"]);
    let strict = annotated(of("team-a", "strict", "b.test", LATE), "torhaus.dev/client-auth", "required");
    let strict = annotated(strict, "torhaus.dev/trust-domains", "services");
    let strict = with(strict, "/spec/rules/0/http/paths/0/path", json!("/strict"));
    let cluster = InCluster::start(services.into_iter().chain([of("team-a", "lax", "b.test", EARLY), strict])).await;
    assert_eq!(said(&cluster.get("b.test", "/").await), app.port.to_string());
    cluster.is_told("team-a/strict", "ClientAuthDiffers", "by ingress `team-a/lax`").await;
}
