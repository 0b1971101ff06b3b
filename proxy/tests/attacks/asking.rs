//! Forward authentication: what comes along in a question was written by a client, and a permit is for what an
//! application behind the asking proxy will read.
use crate::Watch as _;
use crate::harness::raw::parse;
use crate::harness::{Answer, Call, Door, PATIENCE, Setup, World};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Somebody at 127.0.0.1 may ask, and a balancer is there as well.
async fn world(limits: &str) -> World {
    let mut setup = Setup::new().await;
    setup.config = setup
        .config
        .replace("limits: { drain: 1s }", &format!("limits: {{ drain: 1s{limits} }}"))
        .replace("resource: status }", "resource: status, headers: { client_certificate: true } }")
        .replace(
            "portal:",
            "  - { name: balanced, address: \"127.0.0.4:0\", proxy_protocol: true, tls: { certificates: [{ cert_file: \
             web.pem, key_file: web.key }] } }\ntrusted_proxies: [127.0.0.1]\nforward_auth: { peers: [{ proxy: caddy, \
             addresses: [127.0.0.1] }] }\nportal:",
        );
    setup.start().await
}

fn question(path: &str) -> Call {
    let described =
        [("method", "GET"), ("proto", "https"), ("host", "status.test"), ("uri", path), ("for", "10.1.2.3")];
    let call = Call::get("auth.test", "/.torhaus/verify").with("accept", "application/json");
    described.iter().fold(call, |call, (what, value)| call.with(&format!("x-forwarded-{what}"), value))
}

async fn ask(world: &World, call: &Call) -> Answer {
    world.call(Door::Inside, None, call).await.unwrap()
}

#[tokio::test]
async fn a_path_that_an_application_may_read_in_another_way_is_not_permitted() {
    let world = world("").await;
    assert_eq!(ask(&world, &question("/public/users")).await.status, 200);
    assert_eq!(ask(&world, &question("/admin/users")).await.outcome(), (403, "zone_denied".to_owned()));
    // A fragment is no part of what is decided, and a proxy that lets one pass forwards it.
    let fragments = ["/public#/../admin", "/public/#", "/public?x#/../../admin"];
    let encoded = ["/admin%2fusers", "/admin%2Fusers", "/x%2F..%2Fadmin", "/%2Fadmin", "/public%2F..%2f..%2Fadmin"];
    for path in encoded.into_iter().chain(fragments) {
        assert_eq!(ask(&world, &question(path)).await.outcome(), (403, "bad_request".to_owned()), "{path}");
    }
}

/// oauth2-proxy CVE-2025-64484: the asking proxy replaces `X-Forwarded-User` and passes the other one on.
#[tokio::test]
async fn a_reserved_name_in_another_spelling_is_refused_and_each_that_may_be_told_is_answered() {
    let world = world("").await;
    for name in
        ["x_forwarded_user", "X.Forwarded.User", "x_forwarded-groups", "Client_Cert", "SCRIPT_NAME", "content_length"]
    {
        let answer = ask(&world, &question("/").with(name, "root")).await;
        assert_eq!(answer.outcome(), (403, "bad_request".to_owned()), "{name}");
    }
    let answer = ask(&world, &question("/").with("x_trace", "1")).await;
    assert_eq!(answer.status, 200, "a name that says nothing about the caller");
    for name in ["x-forwarded-user", "client-cert"] {
        assert_eq!(answer.headers.get(name).map(|value| value.as_bytes()), Some(&b""[..]), "{name}");
    }
}

#[tokio::test]
async fn whoever_comes_through_a_balancer_is_not_the_proxy_that_may_ask() {
    let world = world("").await;
    let mut tcp = TcpStream::connect(world.listener("balanced").await).await.unwrap();
    tcp.write_all(b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 443\r\n").await.unwrap();
    let name = ServerName::try_from("auth.test").unwrap();
    let mut stream = TlsConnector::from(world.tls(None, &["http/1.1"])).connect(name, tcp).await.unwrap();
    let mut head = "GET /.torhaus/verify HTTP/1.1\r\nHost: auth.test\r\nConnection: close\r\n".to_owned();
    for (name, value) in question("/").headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
    let mut received = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut received)).await.unwrap().unwrap();
    assert_eq!(parse(&received)[0].outcome(), (403, "peer_not_trusted".to_owned()));
}

#[tokio::test]
async fn hand_overs_through_a_proxy_lock_nobody_out_who_is_behind_it() {
    let world = world(", logins_per_minute: 3").await;
    let handover = Call::get("wiki.test", "/.torhaus/session?code=x").with("accept", "application/json");
    for n in 0..8 {
        assert_eq!(ask(&world, &handover).await.reason().as_deref(), Some("login_invalid"), "{n}");
    }
}
