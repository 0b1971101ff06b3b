//! Certificates from secrets: shown for the hosts of their ingress, rotated without anybody noticing, and kept when what
//! replaces them is no good. And challenges of cert-manager, which need no certificate and no login.
use crate::harness::client::handshake;
use crate::harness::pki::Identity;
use crate::harness::{Call, Connection, Door, until};
use crate::objects::{annotated, certificate, created, ingress, secret, service, with};
use crate::{Before, InCluster, apps, said};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

pub fn der(identity: &Identity) -> Vec<u8> {
    CertificateDer::from_pem_slice(identity.cert_pem.as_bytes()).unwrap().to_vec()
}

/// The certificate that a new connection is shown.
pub async fn shown(cluster: &InCluster, host: &str) -> Vec<u8> {
    let tls = cluster.world.tls(None, &["http/1.1"]);
    match handshake(cluster.world.address(Door::Inside), host, &tls).await {
        Ok(stream) => stream.get_ref().1.peer_certificates().unwrap()[0].to_vec(),
        Err(_) => Vec::new(),
    }
}

fn of(name: &str, host: &str, secret: &str) -> Value {
    let ingress =
        annotated(ingress("team-a", name, &[(host, "/", "Prefix", "app")]), "torhaus.dev/resource", "team-a/open");
    with(ingress, "/spec/tls", json!([{ "hosts": [host], "secretName": secret }]))
}

#[tokio::test]
async fn a_certificate_is_rotated_while_connections_and_sessions_live_on() {
    let ([app], services) = apps("team-a", ["app"]);
    let port = app.port.to_string();
    let before = Before::new().await;
    let issue = |hosts: &[&str]| certificate(&before.setup.pki.web, hosts);
    let (first, second, foreign) = (issue(&["new.test"]), issue(&["new.test"]), issue(&["else.test"]));
    let (wild, none) = (issue(&["*.wild.test"]), issue(&["none.test"]));
    for object in services.into_iter().chain([
        of("rotated", "new.test", "tls"),
        // No hosts: those of its rules that the certificate is for.
        with(of("wild", "*.wild.test", "wild"), "/spec/tls/0/hosts", json!(null)),
        of("late", "none.test", "late"),
        secret("team-a", "tls", &first),
        secret("team-a", "wild", &wild),
    ]) {
        before.api.put(object);
    }
    let cluster = before.start().await;
    cluster.is_ready().await;
    assert_eq!(shown(&cluster, "new.test").await, der(&first));
    assert_eq!(shown(&cluster, "x.wild.test").await, der(&wild));
    assert_eq!(shown(&cluster, "none.test").await, [0; 0], "no certificate, no handshake");
    cluster.is_told("team-a/late", "SecretMissing", "no secret `late`").await;
    cluster.is_told("team-a/late", "NoCertificate", "`none.test`").await;

    let tls = cluster.world.tls(None, &["h2"]);
    let address = cluster.world.address(Door::Inside);
    let mut kept = Connection::open(address, "new.test", &tls).await.unwrap();
    assert_eq!(said(&kept.send(&Call::get("new.test", "/")).await.unwrap()), port);
    cluster.put([secret("team-a", "tls", &second)]);
    until("the new certificate is shown", async || shown(&cluster, "new.test").await == der(&second)).await;
    assert_eq!(said(&kept.send(&Call::get("new.test", "/")).await.unwrap()), port, "the connection lives on");
    let again = Connection::open(address, "new.test", &tls).await.unwrap();
    assert!(again.resumed, "what was agreed on before is resumed");

    // Whatever is wrong with the next one, the last good one serves on, and somebody hears of it.
    let broken = |data: Value| with(secret("team-a", "tls", &second), "/data", data);
    let mixed = secret("team-a", "tls", &first)["data"].clone();
    for (data, why) in [
        (json!({}), "no certificate"),
        (json!({ "tls.crt": "bm90aGluZw==", "tls.key": "bm90aGluZw==" }), "no certificate"),
        (
            json!({ "tls.crt": mixed["tls.crt"], "tls.key": secret("team-a", "x", &foreign)["data"]["tls.key"] }),
            "does not belong",
        ),
    ] {
        cluster.put([broken(data)]);
        cluster.is_told("team-a/rotated", "InvalidSecret", why).await;
        assert_eq!(shown(&cluster, "new.test").await, der(&second), "{why}");
    }
    cluster.put([secret("team-a", "tls", &first)]);
    until("it is good again", async || shown(&cluster, "new.test").await == der(&first)).await;
    until("and nobody complains", async || cluster.problems("team-a/rotated").await.is_empty()).await;
    // A certificate for somebody else's host is shown to nobody.
    cluster.put([secret("team-a", "tls", &foreign)]);
    cluster.is_told("team-a/rotated", "CertificateMismatch", "not for `new.test`").await;
    assert_eq!(shown(&cluster, "else.test").await, [0; 0]);
    // One that comes later is used when it is there.
    cluster.put([secret("team-a", "late", &none)]);
    cluster.answers("none.test", "/", &port).await;
    let keys = [first, second, foreign].map(|identity| identity.key_pem.lines().nth(1).unwrap().to_owned());
    let written = ["stderr.log", "stdout.log"].map(|name| cluster.world.read(name)).concat();
    assert!(keys.iter().all(|key| !written.contains(key)), "a key stands in a log");
}

#[tokio::test]
async fn a_challenge_is_answered_on_the_plain_listener_without_a_login() {
    let before = Before::new().await;
    let path = "/.well-known/acme-challenge/token-1_x";
    let solver = |namespace: &str, name: &str, host: &str, path: &str| {
        let ingress = ingress(namespace, name, &[(host, path, "Exact", "solver")]);
        created(
            with(ingress, "/metadata/labels", json!({ "acme.cert-manager.io/http01-solver": "true" })),
            "2026-11-03T00:00:00Z",
        )
    };
    let owned = annotated(
        ingress("team-a", "owner", &[("foo.test", "/", "Prefix", "solver")]),
        "torhaus.dev/resource",
        "team-a/staff",
    );
    let echo = before.setup.echo.port;
    for object in service("team-a", "solver", &[echo]).into_iter().chain(service("team-b", "solver", &[echo])).chain([
        owned,
        solver("team-a", "mine", "foo.test", path),
        solver("team-a", "free", "new.test", path),
        solver("team-b", "steals", "foo.test", "/.well-known/acme-challenge/token-2"),
        solver("team-b", "portal", "auth.test", path),
        solver("team-a", "open-door", "foo.test", "/admin"),
        solver("team-a", "deeper", "foo.test", "/.well-known/acme-challenge/../../x"),
    ]) {
        before.api.put(object);
    }
    let cluster = before.start().await;
    cluster.is_ready().await;
    let plain = async |host: &str, path: &str| {
        let stream = tokio::net::TcpStream::connect(cluster.world.address(Door::Plain)).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::get(path)
            .header("host", host)
            .header("cookie", "app=secret")
            .header("x-forwarded-user", "root");
        let answer =
            sender.send_request(request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap()).await.unwrap();
        let (head, body) = answer.into_parts();
        let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
        (head.status.as_u16(), String::from_utf8_lossy(&body).into_owned())
    };
    for host in ["foo.test", "new.test"] {
        let (status, body) = plain(host, path).await;
        assert_eq!(status, 200, "{host}: {body}");
        let seen: crate::harness::echo::Seen = serde_json::from_str(&body).unwrap();
        assert_eq!((&*seen.target, seen.header("host")), (path, Some(host)));
        assert!(
            seen.header("cookie").is_none() && seen.header("x-forwarded-user").is_none(),
            "nothing of the request but its path: {seen:?}"
        );
    }
    for (host, path) in [
        ("foo.test", "/.well-known/acme-challenge/token-2"),
        ("foo.test", "/.well-known/acme-challenge/other"),
        ("foo.test", "/admin"),
        ("foo.test", "/"),
    ] {
        let (status, body) = plain(host, path).await;
        assert_eq!(status, 308, "{host}{path}: to https, as ever: {body}");
    }
    assert_eq!(plain("auth.test", path).await.0, 308, "nobody proves to have the portal");
    assert_eq!(
        cluster.get("foo.test", path).await.outcome(),
        (401, "login_needed".to_owned()),
        "over TLS there is a login"
    );
    assert_eq!(said(&cluster.get("foo.test", "/admin").await), "login_needed");
    cluster.is_told("team-b/steals", "HostTaken", "`foo.test` is not one of namespace `team-b`").await;
    cluster.is_told("team-b/portal", "HostTaken", "`auth.test`").await;
    cluster.is_told("team-a/open-door", "InvalidSolver", "one path below").await;
    cluster.is_told("team-a/deeper", "InvalidSolver", "one path below").await;
    // Solved: it is gone.
    cluster.api.delete("ingresses", "team-a", "mine");
    until("the challenge is gone", async || plain("foo.test", path).await.0 == 308).await;
}
