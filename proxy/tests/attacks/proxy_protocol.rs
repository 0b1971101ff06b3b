//! The header of a balancer says who is calling; only a listed balancer may say so, and only of somebody it knows.
use crate::Watch as _;
use crate::harness::client::Tls;
use crate::harness::raw::parse;
use crate::harness::{PATIENCE, Setup, World};
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The office is a network here, and the balancer stands in it.
async fn world(trusted: &str) -> World {
    let mut setup = Setup::new().await;
    setup.config = setup.config.replace(
        "portal:",
        &format!(
            "  - {{ name: balanced, address: \"127.0.0.4:0\", proxy_protocol: true, tls: {{ certificates: [{{ cert_file: \
             web.pem, key_file: web.key }}] }} }}\ntrusted_proxies: [\"{trusted}\"]\nportal:"
        ),
    );
    setup.policy = setup.policy.replace(
        "internal: { listeners: [office] }",
        "internal: { listeners: [office], networks: [127.0.0.0/8, 192.0.2.0/24] }",
    );
    setup.start().await
}

/// What the gate takes this caller for; none if it hung up.
async fn whoami(world: &World, tls: &Tls, header: &[u8]) -> Option<Value> {
    let mut tcp = TcpStream::connect(world.listener("balanced").await).await.unwrap();
    tcp.write_all(header).await.unwrap();
    let asked = async {
        let name = ServerName::try_from("wiki.test").unwrap();
        let mut stream = TlsConnector::from(tls.clone()).connect(name, tcp).await.ok()?;
        let get = b"GET /.torhaus/whoami HTTP/1.1\r\nHost: wiki.test\r\nConnection: close\r\n\r\n";
        stream.write_all(get).await.ok()?;
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.ok()?;
        serde_json::from_str(&parse(&received).first()?.body).ok()
    };
    timeout(PATIENCE, asked).await.expect("the gate neither answers nor closes")
}

fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [V2, &[command, family], &length, block].concat()
}

fn v4(source: [u8; 4], more: &[u8]) -> Vec<u8> {
    [&source[..], &[10, 0, 0, 1, 0x13, 0x88, 1, 187], more].concat()
}

#[tokio::test]
async fn a_listed_balancer_speaks_for_callers_and_for_nobody_else() {
    let world = world("127.0.0.0/8").await;
    let tls = world.tls(None, &["http/1.1"]);
    let v6: Vec<u8> =
        [&[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 16], &[1, 2, 1, 187]].concat();
    let mapped: Vec<u8> =
        [&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7][..], &[0; 16], &[1, 2, 1, 187]].concat();
    for (what, header, address, zone) in [
        ("v1, TCP4", b"PROXY TCP4 203.0.113.9 10.0.0.1 5000 443\r\n".to_vec(), "203.0.113.9", "external"),
        ("v1, TCP4, from the office", b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 443\r\n".to_vec(), "192.0.2.7", "internal"),
        ("v1, TCP6", b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n".to_vec(), "2001:db8::1", "external"),
        ("v2, TCP over IPv4", v2(0x21, 0x11, &v4([203, 0, 113, 9], &[])), "203.0.113.9", "external"),
        (
            "v2 with TLVs",
            v2(0x21, 0x11, &v4([203, 0, 113, 9], &[4, 0, 1, 9, 2, 0, 3, b'a', b'b', b'c'])),
            "203.0.113.9",
            "external",
        ),
        ("v2, TCP over IPv6", v2(0x21, 0x21, &v6), "2001:db8::1", "external"),
        ("v2, IPv4 in IPv6", v2(0x21, 0x21, &mapped), "192.0.2.7", "internal"),
        // It speaks for itself, or does not know: its own address is in the office, the caller is not.
        ("v1, UNKNOWN", b"PROXY UNKNOWN\r\n".to_vec(), "0.0.0.0", "external"),
        ("v1, UNKNOWN with addresses", b"PROXY UNKNOWN 192.0.2.7 10.0.0.1 1 2\r\n".to_vec(), "0.0.0.0", "external"),
        ("v2, LOCAL", v2(0x20, 0, &[]), "0.0.0.0", "external"),
        ("v2, LOCAL with addresses", v2(0x20, 0x11, &v4([192, 0, 2, 7], &[])), "0.0.0.0", "external"),
    ] {
        let found = whoami(&world, &tls, &header).await.unwrap_or_else(|| panic!("{what}: hung up"));
        assert_eq!((&found["address"], &found["zone"]), (&address.into(), &zone.into()), "{what}");
    }
}

#[tokio::test]
async fn a_header_that_is_none_ends_the_connection() {
    let world = world("127.0.0.0/8").await;
    let tls = world.tls(None, &["http/1.1"]);
    for (what, header) in [
        ("none", b"".to_vec()),
        ("in lower case", b"proxy TCP4 192.0.2.7 10.0.0.1 5000 443\r\n".to_vec()),
        ("twice", b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 443\r\nPROXY TCP4 192.0.2.8 10.0.0.1 5000 443\r\n".to_vec()),
        (
            "v2 after v1",
            [b"PROXY TCP4 203.0.113.9 10.0.0.1 5000 443\r\n", &v2(0x21, 0x11, &v4([192, 0, 2, 7], &[]))[..]].concat(),
        ),
        ("a name", b"PROXY TCP4 office.test 10.0.0.1 5000 443\r\n".to_vec()),
        ("octal", b"PROXY TCP4 0300.0.2.7 10.0.0.1 5000 443\r\n".to_vec()),
        ("two spaces", b"PROXY  TCP4 192.0.2.7 10.0.0.1 5000 443\r\n".to_vec()),
        ("a tab", b"PROXY TCP4\t192.0.2.7 10.0.0.1 5000 443\r\n".to_vec()),
        ("a bare LF", b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 443\n".to_vec()),
        ("too long", [b"PROXY UNKNOWN ", &[b'x'; 120][..], b"\r\n"].concat()),
        ("v2 of version 3", v2(0x31, 0x11, &v4([192, 0, 2, 7], &[]))),
        ("v2, an odd command", v2(0x22, 0x11, &v4([192, 0, 2, 7], &[]))),
        ("v2, UDP", v2(0x21, 0x12, &v4([192, 0, 2, 7], &[]))),
        ("v2, a unix socket", v2(0x21, 0x31, &[0; 216])),
        ("v2, cut short", v2(0x21, 0x11, &[192, 0, 2])),
        ("v2, 64 KiB", v2(0x21, 0x11, &v4([192, 0, 2, 7], &vec![0; 65_000]))),
    ] {
        assert_eq!(whoami(&world, &tls, &header).await, None, "{what}");
    }
}

#[tokio::test]
async fn a_peer_that_is_not_listed_speaks_for_nobody() {
    let world = world("198.51.100.1").await;
    let tls = world.tls(None, &["http/1.1"]);
    for header in
        [b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 443\r\n".to_vec(), v2(0x21, 0x11, &v4([192, 0, 2, 7], &[])), Vec::new()]
    {
        assert_eq!(whoami(&world, &tls, &header).await, None, "{:?}", header.escape_ascii());
    }
    let refused = r#"torhaus_connections_refused_total{listener="balanced",cause="not a trusted proxy"}"#;
    assert_eq!(world.metric(refused).await, 3);
}
