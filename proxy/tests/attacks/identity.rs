//! Attempts to be somebody by a header.
use crate::h2::{self, Raw};
use crate::harness::raw::exchange;
use crate::harness::{Call, Connection, Door, World};

/// Names that an application might believe, with `-` where a separator stands.
const BELIEVED: [&str; 22] = [
    "x-forwarded-user",
    "x-forwarded-groups",
    "x-forwarded-email",
    "x-forwarded-preferred-username",
    "x-forwarded-access-token",
    "x-forwarded-for",
    "x-forwarded-tls-client-cert",
    "x-forwarded-client-cert",
    "x-auth-request-user",
    "x-authentik-username",
    "x-webauth-user",
    "x-remote-user",
    "remote-user",
    "remote-groups",
    "client-cert",
    "x-client-cert",
    "x-ssl-client-verify",
    "ssl-client-s-dn",
    "x-torhaus-assertion",
    "x-original-url",
    "impersonate-user",
    "cf-access-jwt-assertion",
];

/// Every character of a token (RFC 9110 section 5.6.2) that CGI and its kin read as `_` as well.
const SEPARATORS: [char; 12] = ['-', '_', '.', '~', '!', '\'', '*', '+', '^', '`', '|', '$'];

/// As a lenient application compares names.
fn folded(name: &str) -> String {
    name.to_ascii_uppercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// oauth2-proxy CVE-2025-64484 stripped `-` and let `_` through; its fix let others through.
#[tokio::test]
async fn a_name_is_stripped_in_every_spelling_that_an_application_may_fold() {
    let world = World::start().await;
    for alpn in ["http/1.1", "h2"] {
        let tls = world.tls(None, &[alpn]);
        let mut connection = Connection::open(world.address(Door::Inside), "status.test", &tls).await.unwrap();
        for separator in SEPARATORS {
            let spelled = BELIEVED.map(|name| name.replace('-', &separator.to_string()));
            let call = spelled.iter().fold(Call::get("status.test", "/spelled"), |call, name| call.with(name, "evil"));
            let seen = connection.send(&call).await.unwrap().seen();
            let evil: Vec<_> = seen.headers.iter().filter(|(_, value)| value.contains("evil")).collect();
            assert!(evil.is_empty(), "{alpn} {separator}: {evil:?}");
        }
    }
    for seen in world.echo.seen() {
        let asked: Vec<String> = BELIEVED.iter().map(|name| folded(name)).collect();
        let believed: Vec<_> = seen.headers.iter().filter(|(name, _)| asked.contains(&folded(name))).collect();
        assert!(believed.iter().all(|(name, value)| name == "x-forwarded-for" && value == "127.0.0.1"), "{believed:?}");
    }
}

/// A trailer may be merged into the headers by whoever reads it (RFC 9110 section 6.5.1).
#[tokio::test]
async fn a_trailer_is_dropped_on_either_protocol() {
    let world = World::start().await;
    for (n, name) in
        ["X-Forwarded-User", "X_Forwarded_User", "x.forwarded.groups", "Client-Cert", "Host"].iter().enumerate()
    {
        let head = format!(
            "POST /h1-{n} HTTP/1.1\r\nHost: status.test\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nTrailer: \
             {name}\r\nConnection: close\r\n\r\n2\r\nhi\r\n0\r\n{name}: evil\r\n\r\n"
        );
        let tls = world.tls(None, &["http/1.1"]);
        exchange(world.address(Door::Inside), "status.test", &tls, head.as_bytes()).await;

        let mut raw = Raw::open(&world, Door::Inside, "status.test").await;
        let path = format!("/h2-{n}");
        let mut fields = h2::get("status.test", &path);
        fields[0] = (":method", b"POST");
        raw.send(&h2::frame(h2::HEADERS, h2::END_HEADERS, 1, &h2::block(&fields))).await;
        raw.send(&h2::frame(h2::DATA, 0, 1, b"hi")).await;
        let trailer = h2::block(&[(&name.to_ascii_lowercase(), b"evil")]);
        raw.send(&h2::frame(h2::HEADERS, h2::END_HEADERS | h2::END_STREAM, 1, &trailer)).await;
        raw.outcome(1).await;
    }
    let seen = world.echo.seen();
    assert!(seen.iter().any(|seen| seen.target.starts_with("/h1-")), "at least the bodies arrive: {seen:?}");
    let evil: Vec<_> = seen.iter().flat_map(|seen| &seen.headers).filter(|(_, value)| value.contains("evil")).collect();
    assert!(evil.is_empty(), "{evil:?}");
}

/// oauth2-proxy CVE-2026-40575 trusted everybody by default.
#[tokio::test]
async fn no_header_moves_a_caller_to_another_place() {
    let world = World::start().await;
    for (name, value) in [
        ("X-Forwarded-For", "10.0.0.1"),
        ("X-Forwarded-For", "10.0.0.1, 127.0.0.1"),
        ("X_Forwarded_For", "10.0.0.1"),
        ("Forwarded", "for=10.0.0.1"),
        ("Forwarded", "for=\"[2001:db8::1]\";by=10.0.0.1"),
        ("X-Real-IP", "10.0.0.1"),
        ("X_Real_IP", "10.0.0.1"),
        ("True-Client-IP", "10.0.0.1"),
        ("CF-Connecting-IP", "10.0.0.1"),
        ("X-Client-IP", "10.0.0.1"),
        ("X-Cluster-Client-IP", "10.0.0.1"),
        ("X-Envoy-External-Address", "10.0.0.1"),
        ("X-Forwarded-Listener", "office"),
        ("Via", "1.1 office"),
    ] {
        for alpn in ["http/1.1", "h2"] {
            let tls = world.tls(None, &[alpn]);
            let mut connection = Connection::open(world.address(Door::Outside), "wiki.test", &tls).await.unwrap();
            let whoami = connection.send(&Call::get("wiki.test", "/.torhaus/whoami").with(name, value)).await.unwrap();
            let whoami: serde_json::Value = serde_json::from_str(&whoami.body).unwrap();
            assert_eq!(
                (&whoami["zone"], &whoami["address"]),
                (&"external".into(), &"127.0.0.1".into()),
                "{name}: {value}"
            );
            let mut open = Connection::open(world.address(Door::Outside), "status.test", &tls).await.unwrap();
            let seen = open.send(&Call::get("status.test", "/").with(name, value)).await.unwrap().seen();
            assert_eq!(seen.all("x-forwarded-for"), ["127.0.0.1"], "{name}: {value}");
            let told: Vec<_> =
                seen.headers.iter().filter(|(name, value)| value.contains("10.0.0.1") && name != "via").collect();
            assert!(told.is_empty(), "{told:?}");
        }
    }
}
