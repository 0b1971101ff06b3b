//! Each bound, reached: the answer, the metric, and a neighbour who notices nothing.
use crate::Watch as _;
use crate::gate_with;
use crate::h2::{self, Ended, Raw};
use crate::harness::client::{Tls, handshake};
use crate::harness::raw::{exchange, parse};
use crate::harness::{Answer, Call, Connection, Door, PATIENCE, Setup, World, until};
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

const NEIGHBOUR: &str = "127.0.0.9:0";

pub async fn connect_from(from: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(from.parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

/// A whole request of somebody at another address: its status, 0 if there was no answer.
pub async fn neighbour(world: &World, door: Door, tls: &Tls) -> u16 {
    let asked = async {
        let tcp = connect_from(NEIGHBOUR, world.address(door)).await;
        let name = ServerName::try_from("status.test").unwrap();
        let mut stream = TlsConnector::from(tls.clone()).connect(name, tcp).await.ok()?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: status.test\r\nConnection: close\r\n\r\n").await.ok()?;
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.ok()?;
        Some(parse(&received).first()?.status)
    };
    timeout(PATIENCE, asked).await.expect("a neighbour waits").unwrap_or(0)
}

async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut received = Vec::new();
    // Closed by a reset, as a client that still sends may see it: what came before counts.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut received)).await.expect("the gate does not close");
    received
}

async fn cut(world: &World, listener: &str, cause: &str) -> u64 {
    world.metric(&format!("torhaus_connections_cut_total{{listener=\"{listener}\",cause=\"{cause}\"}}")).await
}

async fn refused(world: &World, cause: &str) -> u64 {
    world.metric(&format!("torhaus_connections_refused_total{{listener=\"office\",cause=\"{cause}\"}}")).await
}

fn outcome(received: &[u8]) -> (u16, String) {
    parse(received).first().map(|answer| answer.outcome()).unwrap_or_default()
}

#[tokio::test]
async fn a_head_that_comes_too_slowly_is_408() {
    let world = gate_with("header_timeout: 3s").await;
    let tls = world.tls(None, &["http/1.1"]);
    let slow = (408, "request_too_slow".to_owned());
    for begun in ["G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: status.test\r\nX-A: ", "\r\n"] {
        let mut stream = handshake(world.address(Door::Inside), "status.test", &tls).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        assert_eq!(outcome(&rest(&mut stream).await), slow, "{begun:?}");
    }
    assert_eq!(cut(&world, "office", "head too slow").await, 4);
    // The second request of a connection, too; and between the two there is time.
    let mut stream = handshake(world.address(Door::Inside), "status.test", &tls).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: status.test\r\n\r\n").await.unwrap();
    let mut first = [0u8; 12];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: st").await.unwrap();
    let received = rest(&mut stream).await;
    assert!(String::from_utf8_lossy(&received).contains("HTTP/1.1 408"), "{:?}", received.escape_ascii());
    // Without TLS as well.
    let mut stream = TcpStream::connect(world.address(Door::Plain)).await.unwrap();
    stream.write_all(b"GET / HT").await.unwrap();
    assert_eq!(outcome(&rest(&mut stream).await), slow);
    assert_eq!(cut(&world, "plain", "head too slow").await, 1);
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_is_closed() {
    let world = gate_with("header_timeout: 1s").await;
    for (n, alpn) in ["http/1.1", "h2"].iter().enumerate() {
        let mut stream =
            handshake(world.address(Door::Inside), "status.test", &world.tls(None, &[alpn])).await.unwrap();
        let received = rest(&mut stream).await;
        assert!(parse(&received).is_empty(), "{alpn}: {received:?}");
        assert_eq!(cut(&world, "office", "no request").await, u64::try_from(n).unwrap() + 1, "{alpn}");
    }
    // Half a preface.
    let mut stream = handshake(world.address(Door::Inside), "status.test", &world.tls(None, &["h2"])).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    rest(&mut stream).await;
    assert_eq!(cut(&world, "office", "head too slow").await, 1);
}

#[tokio::test]
async fn a_head_that_never_ends_is_431_while_it_comes() {
    let world = World::start().await;
    let tls = world.tls(None, &["http/1.1"]);
    let large = (431, "header_too_large".to_owned());
    for (what, begun, more) in [
        ("one value", "GET / HTTP/1.1\r\nHost: status.test\r\nX-A: ", "a".repeat(16 * 1024)),
        ("many headers", "GET / HTTP/1.1\r\nHost: status.test\r\n", "X-A: b\r\n".repeat(2 * 1024)),
        ("a request line", "GET /", "a".repeat(16 * 1024)),
        ("empty lines", "", "\r\n".repeat(8 * 1024)),
    ] {
        let mut stream = handshake(world.address(Door::Inside), "status.test", &tls).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        let mut sent = 0;
        // A megabyte is what the engine would have taken.
        while sent < 1024 * 1024 && stream.write_all(more.as_bytes()).await.is_ok() {
            sent += more.len();
        }
        let received = rest(&mut stream).await;
        let (status, reason) = outcome(&received);
        // What the engine's parser refuses at once it refuses in its own words.
        let early = (400..500).contains(&status) && reason.is_empty();
        assert!((status, reason) == large || early || received.is_empty(), "{what}: {:?}", received.escape_ascii());
    }
    assert!(cut(&world, "office", "head too large").await >= 2);
    // In one piece that is not much too large: the client reads why.
    let call = Call::get("status.test", "/").with("x-a", &"a".repeat(33 * 1024)).with("accept", "application/json");
    assert_eq!(world.call(Door::Inside, None, &call).await.unwrap().outcome(), large);
    assert_eq!(world.echo.count(), 0);
}

#[tokio::test]
async fn addresses_and_headers_that_are_too_long_have_their_answer() {
    let world = World::start().await;
    let get = |target: &str| Call::get("status.test", target).with("accept", "application/json");
    let many = |count: usize| (0..count).fold(get("/"), |call, n| call.with(&format!("x-{n}"), "1"));
    let long = (414, "uri_too_long".to_owned());
    let large = (431, "header_too_large".to_owned());
    let allowed = (200, "allowed".to_owned());
    for (what, call, expected) in [
        ("a path of 8 KiB", get(&format!("/{}", "a".repeat(8 * 1024 - 1))), &allowed),
        ("a longer path", get(&format!("/{}", "a".repeat(8 * 1024))), &long),
        ("a path that is short when decoded", get(&format!("/{}", "%61".repeat(3_000))), &long),
        ("a query of 15 KiB", get(&format!("/?{}", "a".repeat(15 * 1024))), &allowed),
        ("a longer query", get(&format!("/?{}", "a".repeat(16 * 1024))), &long),
        ("90 headers", many(90), &allowed),
        ("more than 100 headers", many(101), &large),
        ("one header of 33 KiB", get("/").with("x-a", &"a".repeat(33 * 1024)), &large),
        ("a thousand small ones", many(250), &large),
    ] {
        for alpn in ["http/1.1", "h2"] {
            let tls = world.tls(None, &[alpn]);
            let mut connection = Connection::open(world.address(Door::Inside), "status.test", &tls).await.unwrap();
            let answer = connection.send(&call).await.unwrap();
            assert_eq!(&answer.outcome(), expected, "{what}, {alpn}");
        }
    }
}

#[tokio::test]
async fn a_body_is_as_large_as_its_route_allows() {
    let mut setup = Setup::new().await;
    setup.config = setup.config.replace("resource: status }", "resource: status, max_body: 1KiB }");
    let world = setup.start().await;
    let tls = world.tls(None, &["http/1.1"]);
    let too_large = (413, "body_too_large".to_owned());
    for (size, expected) in [(1024, 200), (1025, 413), (100_000, 413), (4_000_000, 413)] {
        for alpn in ["http/1.1", "h2"] {
            let call = Call { method: "POST", body: "b".repeat(size), ..Call::get("status.test", "/declared") };
            let call = call.with("accept", "application/json");
            let answer = answered(&world, alpn, &call).await;
            assert_eq!(answer.status, expected, "{size}, {alpn}");
            assert!(expected == 200 || answer.outcome() == too_large, "{answer:?}");
        }
        // It does not say how much there will be.
        let head = "POST /chunked HTTP/1.1\r\nHost: status.test\r\nTransfer-Encoding: chunked\r\nAccept: application/json\r\nConnection: close\r\n\r\n";
        let bytes = format!("{head}{size:x}\r\n{}\r\n0\r\n\r\n", "b".repeat(size));
        let answers = exchange(world.address(Door::Inside), "status.test", &tls, bytes.as_bytes()).await;
        assert_eq!(answers[0].status, expected, "{size}, chunked: {answers:?}");
    }
    for seen in world.echo.seen() {
        assert_eq!(seen.body.len(), 1024, "{}", seen.target);
    }
    // Another route has another bound; our own pages have their own.
    let call = Call { method: "POST", body: "b".repeat(70 * 1024), ..Call::get("auth.test", "/logout") };
    assert_eq!(answered(&world, "http/1.1", &call).await.status, 413);
}

async fn answered(world: &World, alpn: &str, call: &Call) -> Answer {
    let tls = world.tls(None, &[alpn]);
    let mut connection = Connection::open(world.address(Door::Inside), &call.host, &tls).await.unwrap();
    connection.send(call).await.unwrap()
}

#[tokio::test]
async fn a_body_that_stops_is_408() {
    let world = gate_with("idle_timeout: 1s").await;
    let tls = world.tls(None, &["http/1.1"]);
    for head in ["Content-Length: 10\r\n\r\nhi", "Transfer-Encoding: chunked\r\n\r\n5\r\nhe"] {
        let mut stream = handshake(world.address(Door::Inside), "status.test", &tls).await.unwrap();
        let bytes = format!("POST /stops HTTP/1.1\r\nHost: status.test\r\nAccept: application/json\r\n{head}");
        stream.write_all(bytes.as_bytes()).await.unwrap();
        assert_eq!(outcome(&rest(&mut stream).await), (408, "request_too_slow".to_owned()), "{head:?}");
    }
    assert!(world.echo.seen_at("/stops").is_empty());
}

/// The engine waits without end for a body on HTTP/2, and `Accept` must not buy time from the application either.
#[tokio::test]
async fn a_body_that_never_comes_on_http2_ends_its_connection() {
    let world = gate_with("idle_timeout: 1s").await;
    for (n, sent) in [&b""[..], b"hi"].iter().enumerate() {
        let mut raw = Raw::open(&world, Door::Inside, "status.test").await;
        let path = format!("/never-{n}");
        let mut fields = h2::get("status.test", &path);
        fields[0] = (":method", b"POST");
        fields[4] = ("accept", b"text/event-stream");
        raw.send(&h2::frame(h2::HEADERS, h2::END_HEADERS, 1, &h2::block(&fields))).await;
        raw.send(&h2::frame(h2::DATA, 0, 1, sent)).await;
        assert_ne!(raw.outcome(1).await, Ended::Answered(200), "{n}");
    }
}

/// A WebSocket has no bounds on what it sends; a request that only says that it wants one has.
#[tokio::test]
async fn an_upgrade_takes_no_bound_off_a_body() {
    let world = World::start().await;
    let tls = world.tls(None, &["http/1.1"]);
    let head = "Host: status.test\r\nUpgrade: websocket\r\nConnection: upgrade\r\nAccept: application/json\r\n";
    for (what, request) in [
        ("a length", format!("POST /up HTTP/1.1\r\n{head}Content-Length: 2\r\n\r\nhi")),
        ("chunks", format!("POST /up HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")),
        ("HTTP/1.0", format!("GET /up HTTP/1.0\r\n{head}\r\n")),
    ] {
        let answers = exchange(world.address(Door::Inside), "status.test", &tls, request.as_bytes()).await;
        assert_eq!(answers[0].outcome(), (400, "bad_request".to_owned()), "{what}");
    }
    assert_eq!(world.echo.count(), 0);
}

#[tokio::test]
async fn an_address_has_its_share_of_connections() {
    let world = gate_with("max_connections_per_address: 3").await;
    let tls = world.tls(None, &["http/1.1"]);
    let open = async || handshake(world.address(Door::Inside), "status.test", &tls).await;
    let mut kept = vec![open().await.unwrap(), open().await.unwrap(), open().await.unwrap()];
    assert!(open().await.is_err(), "the fourth");
    assert_eq!(refused(&world, "too many connections of an address").await, 1);
    assert_eq!(neighbour(&world, Door::Inside, &tls).await, 200, "its neighbour has its own share");
    kept.pop();
    until("a place is free again", async || open().await.is_ok()).await;
}

/// Traefik CVE-2026-26999: handshakes that stall.
#[tokio::test]
async fn an_address_has_its_share_of_handshakes_and_they_end() {
    let world = gate_with("max_handshakes: 8, handshake_timeout: 6s").await;
    let tls = world.tls(None, &["http/1.1"]);
    let open = r#"torhaus_connections_open{listener="office"}"#;
    // Who says nothing holds no place.
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(TcpStream::connect(world.address(Door::Inside)).await.unwrap());
    }
    until("they are all there", async || world.metric(open).await == 8).await;
    assert!(handshake(world.address(Door::Inside), "status.test", &tls).await.is_ok());
    drop(silent);
    until("they are gone", async || world.metric(open).await == 0).await;

    let mut stalled = TcpStream::connect(world.address(Door::Inside)).await.unwrap();
    let mut hello = Vec::new();
    let name = ServerName::try_from("status.test").unwrap();
    rustls::ClientConnection::new(tls.clone(), name).unwrap().write_tls(&mut hello).unwrap();
    stalled.write_all(&hello).await.unwrap();
    until("it has its place", async || world.metric(open).await == 1).await;
    until("the next one finds no place", async || {
        handshake(world.address(Door::Inside), "status.test", &tls).await.is_err()
    })
    .await;
    assert!(refused(&world, "too many handshakes").await >= 1);
    assert_eq!(neighbour(&world, Door::Inside, &tls).await, 200);
    until("the stalled one is given up", async || {
        handshake(world.address(Door::Inside), "status.test", &tls).await.is_ok()
    })
    .await;
    let failures = r#"torhaus_handshake_failures_total{listener="office",cause="too slow"}"#;
    assert!(world.metric(failures).await >= 1);
    drop(stalled);
}

#[tokio::test]
async fn an_address_signs_in_so_often_and_then_waits() {
    let world = gate_with("logins_per_minute: 5").await;
    let tls = world.tls(None, &["http/1.1"]);
    let get = |host: &str, path: &str| Call::get(host, path).with("accept", "application/json");
    let mut statuses = Vec::new();
    for (host, path) in [
        ("auth.test", "/login"),
        ("auth.test", "/callback/demo?state=x&code=y"),
        ("auth.test", "/callback/nobody"),
        ("wiki.test", "/.torhaus/session?code=x"),
        ("auth.test", "/login?to=x"),
        ("auth.test", "/login"),
        ("auth.test", "/callback/demo?state=x&code=y"),
        ("wiki.test", "/.torhaus/session?code=x"),
    ] {
        let answer = world.call(Door::Inside, None, &get(host, path)).await.unwrap();
        if answer.status == 429 {
            assert_eq!((answer.header("retry-after"), answer.reason().as_deref()), ("60", Some("rate_limited")));
        }
        statuses.push(answer.status);
    }
    assert!(statuses[..5].iter().all(|status| *status != 429), "{statuses:?}");
    assert_eq!(statuses[5..], [429; 3]);
    // Whoever does not sign in is not held back, nor is a neighbour.
    assert_eq!(world.call(Door::Inside, None, &get("status.test", "/")).await.unwrap().status, 200);
    assert_eq!(world.call(Door::Inside, None, &get("wiki.test", "/")).await.unwrap().status, 401);
    let tcp = connect_from(NEIGHBOUR, world.address(Door::Inside)).await;
    let name = ServerName::try_from("auth.test").unwrap();
    let mut stream = TlsConnector::from(tls).connect(name, tcp).await.unwrap();
    stream.write_all(b"GET /login HTTP/1.1\r\nHost: auth.test\r\nConnection: close\r\n\r\n").await.unwrap();
    assert_ne!(outcome(&rest(&mut stream).await).0, 429);
    assert_eq!(world.metric(r#"torhaus_logins_total{provider="-",result="rate_limited"}"#).await, 3);
}

#[tokio::test]
async fn a_connection_has_so_many_streams_at_once() {
    let world = World::start().await;
    let mut raw = Raw::open(&world, Door::Inside, "status.test").await;
    let mut fields = h2::get("status.test", "/waiting");
    fields[0] = (":method", b"POST");
    let block = h2::block(&fields);
    // Their bodies never come, so they stay open.
    let many: Vec<u8> = (0..150u32).flat_map(|n| h2::frame(h2::HEADERS, h2::END_HEADERS, 2 * n + 1, &block)).collect();
    raw.send(&many).await;
    let mut reset = 0;
    while reset < 50 {
        match raw.next().await {
            Some(frame) if frame.kind == h2::RST_STREAM => reset += 1,
            Some(frame) if frame.kind == h2::GOAWAY => break,
            Some(_) => {}
            None => break,
        }
    }
    assert!(world.echo.count() <= 100);
    let mut other = Raw::open(&world, Door::Inside, "status.test").await;
    let head = h2::block(&h2::get("status.test", "/"));
    other.send(&h2::frame(h2::HEADERS, h2::END_HEADERS | h2::END_STREAM, 1, &head)).await;
    assert_eq!(other.outcome(1).await, Ended::Answered(200));
}
