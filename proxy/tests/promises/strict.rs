//! Requests that two servers could read in two ways are refused, and no application hears of them.
use crate::harness::raw::exchange;
use crate::harness::{Answer, Call, Connection, Door, World};

/// What is sent to `status.test`, whose pages are open to everybody: only the form of the request can be wrong.
const REFUSED: [(&str, &[u8]); 41] = [
    ("two hosts", b"GET / HTTP/1.1\r\nHost: status.test\r\nHost: status.test\r\n\r\n"),
    ("two other hosts", b"GET / HTTP/1.1\r\nHost: status.test\r\nHost: wiki.test\r\n\r\n"),
    ("no host", b"GET / HTTP/1.1\r\n\r\n"),
    ("an empty host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    ("a host with a path", b"GET / HTTP/1.1\r\nHost: status.test/admin\r\n\r\n"),
    ("userinfo", b"GET / HTTP/1.1\r\nHost: a@status.test\r\n\r\n"),
    ("an odd port", b"GET / HTTP/1.1\r\nHost: status.test:443x\r\n\r\n"),
    ("two names in one host", b"GET / HTTP/1.1\r\nHost: status.test, wiki.test\r\n\r\n"),
    ("an absolute target of another host", b"GET https://wiki.test/ HTTP/1.1\r\nHost: status.test\r\n\r\n"),
    ("length and chunks", b"POST / HTTP/1.1\r\nHost: status.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("chunks and length", b"POST / HTTP/1.1\r\nHost: status.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"),
    ("two lengths", b"POST / HTTP/1.1\r\nHost: status.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    ("one length twice", b"POST / HTTP/1.1\r\nHost: status.test\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na"),
    ("a list of lengths", b"POST / HTTP/1.1\r\nHost: status.test\r\nContent-Length: 1, 1\r\n\r\na"),
    ("a signed length", b"POST / HTTP/1.1\r\nHost: status.test\r\nContent-Length: +1\r\n\r\na"),
    ("a negative length", b"POST / HTTP/1.1\r\nHost: status.test\r\nContent-Length: -1\r\n\r\na"),
    ("a hexadecimal length", b"POST / HTTP/1.1\r\nHost: status.test\r\nContent-Length: 0x1\r\n\r\na"),
    ("chunked, identity", b"POST / HTTP/1.1\r\nHost: status.test\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    ("identity", b"POST / HTTP/1.1\r\nHost: status.test\r\nTransfer-Encoding: identity\r\n\r\n"),
    ("chunked twice", b"POST / HTTP/1.1\r\nHost: status.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("an odd coding", b"POST / HTTP/1.1\r\nHost: status.test\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("a coding with a vertical tab", b"POST / HTTP/1.1\r\nHost: status.test\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    ("HTTP/1.0 with chunks", b"POST / HTTP/1.0\r\nHost: status.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a folded line", b"GET / HTTP/1.1\r\nHost: status.test\r\nX-A: b\r\n c\r\n\r\n"),
    ("a folded coding", b"POST / HTTP/1.1\r\nHost: status.test\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    ("a space before the colon", b"GET / HTTP/1.1\r\nHost: status.test\r\nX-A : b\r\n\r\n"),
    ("a coding with a space before the colon", b"POST / HTTP/1.1\r\nHost: status.test\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    ("a line without a colon", b"GET / HTTP/1.1\r\nHost: status.test\r\nnothing\r\n\r\n"),
    ("a NUL in a value", b"GET / HTTP/1.1\r\nHost: status.test\r\nX-A: a\0b\r\n\r\n"),
    ("a NUL in a name", b"GET / HTTP/1.1\r\nHost: status.test\r\nX\0A: b\r\n\r\n"),
    ("a bare CR in a value", b"GET / HTTP/1.1\r\nHost: status.test\r\nX-A: a\rX-Forwarded-User: evil\r\n\r\n"),
    ("bare LFs", b"GET / HTTP/1.1\nHost: status.test\n\n"),
    ("one bare LF", b"GET / HTTP/1.1\r\nHost: status.test\nX-A: b\r\n\r\n"),
    ("a NUL in the path", b"GET /a\0b HTTP/1.1\r\nHost: status.test\r\n\r\n"),
    ("an encoded slash", b"GET /a%2fadmin HTTP/1.1\r\nHost: status.test\r\n\r\n"),
    ("a parameter in the path", b"GET /admin;x HTTP/1.1\r\nHost: status.test\r\n\r\n"),
    ("above the root", b"GET /../admin HTTP/1.1\r\nHost: status.test\r\n\r\n"),
    ("a fragment", b"GET /#/admin HTTP/1.1\r\nHost: status.test\r\n\r\n"),
    ("no slash", b"GET admin HTTP/1.1\r\nHost: status.test\r\n\r\n"),
    ("CONNECT", b"CONNECT status.test:443 HTTP/1.1\r\nHost: status.test:443\r\n\r\n"),
    ("TRACE", b"TRACE / HTTP/1.1\r\nHost: status.test\r\n\r\n"),
];

const CANONICAL: [(&str, &str); 7] = [
    ("//a//b", "/a/b"),
    ("/a/%2e%2e/b", "/b"),
    ("/a/./b/..", "/a/"),
    ("/%61", "/a"),
    ("https://status.test/x", "/x"),
    ("/x?q=//../%2f", "/x?q=//../%2f"),
    ("/%c3%a4", "/%C3%A4"),
];

async fn send(world: &World, bytes: &[u8]) -> Vec<Answer> {
    exchange(world.address(Door::Inside), "status.test", &world.tls(None, &["http/1.1"]), bytes).await
}

#[tokio::test]
async fn what_two_servers_could_read_in_two_ways_is_refused() {
    let world = World::start().await;
    let mut passed = Vec::new();
    for (what, bytes) in REFUSED {
        let before = world.echo.count();
        let answers = send(&world, bytes).await;
        let refused = answers.iter().all(|answer| answer.status >= 400) && answers.len() < 2;
        if !refused || world.echo.count() != before {
            passed.push(format!("{what}: {} -> {answers:?}", bytes.escape_ascii()));
        }
    }
    assert!(passed.is_empty(), "{} passed:\n{}", passed.len(), passed.join("\n"));
}

#[tokio::test]
async fn one_reading_is_forwarded_where_there_is_one() {
    let world = World::start().await;
    for (target, expected) in CANONICAL {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: status.test\r\nConnection: close\r\n\r\n");
        let answers = send(&world, bytes.as_bytes()).await;
        assert_eq!((answers.len(), answers[0].seen().target.as_str()), (1, expected), "{target}");
    }
}

#[tokio::test]
async fn a_request_behind_another_is_never_smuggled() {
    let world = World::start().await;
    let hidden = "GET /hidden HTTP/1.1\r\nHost: status.test\r\n\r\n";
    for (what, head) in [
        (
            "bytes after an upgrade",
            "GET /a HTTP/1.1\r\nHost: status.test\r\nConnection: upgrade\r\nUpgrade: odd\r\n\r\n",
        ),
        (
            "bytes after a websocket upgrade",
            "GET /a HTTP/1.1\r\nHost: status.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        ),
        (
            "a GET with both",
            "GET /a HTTP/1.1\r\nHost: status.test\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("after a refused one", "GET /%00 HTTP/1.1\r\nHost: status.test\r\n\r\n"),
        (
            "after the last chunk",
            "POST /a HTTP/1.1\r\nHost: status.test\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        ),
    ] {
        send(&world, format!("{head}{hidden}").as_bytes()).await;
        let arrived = world.echo.seen_at("/hidden");
        assert!(arrived.is_empty(), "{what}: {arrived:?}");
        let bodies = world.echo.seen();
        assert!(bodies.iter().all(|seen| !seen.body.contains("hidden")), "{what}: {bodies:?}");
    }
}

#[tokio::test]
async fn h2_is_as_strict() {
    let world = World::start().await;
    let tls = world.tls(None, &["h2"]);
    let open = async || Connection::open(world.address(Door::Inside), "status.test", &tls).await.unwrap();
    for (what, call) in [
        ("another host beside :authority", Call::get("status.test", "/").with("host", "wiki.test")),
        ("an encoded slash", Call::get("status.test", "/a%2fadmin")),
        ("a parameter", Call::get("status.test", "/admin;x")),
        ("above the root", Call::get("status.test", "/../admin")),
        ("an encoded NUL", Call::get("status.test", "/a%00")),
        ("TRACE", Call { method: "TRACE", ..Call::get("status.test", "/") }),
        ("too many headers", (0..120).fold(Call::get("status.test", "/"), |c, n| c.with(&format!("x-{n}"), "1"))),
        ("a huge header", Call::get("status.test", "/").with("x-huge", &"h".repeat(40_000))),
    ] {
        let before = world.echo.count();
        if let Ok(answer) = open().await.send(&call).await {
            assert!(answer.status >= 400, "{what}: {answer:?}");
        }
        assert_eq!(world.echo.count(), before, "{what}");
    }
    assert_eq!(open().await.send(&Call::get("status.test", "/%61/../b")).await.unwrap().seen().target, "/b");
}
