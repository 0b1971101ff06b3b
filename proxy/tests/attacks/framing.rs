//! Requests that two servers would read in two ways: as a host of another, or as one more request than there is. What
//! the promises refuse already (`strict.rs` there) is not repeated; these are their neighbours, and HTTP/2 by hand.
use crate::h2::{self, Ended, Raw};
use crate::harness::raw::exchange;
use crate::harness::{Answer, Door, Setup, World};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

async fn send(world: &World, bytes: &[u8]) -> Vec<Answer> {
    exchange(world.address(Door::Inside), "status.test", &world.tls(None, &["http/1.1"]), bytes).await
}

#[tokio::test]
async fn a_host_has_one_spelling_and_our_port() {
    let world = World::start().await;
    let port = world.address(Door::Inside).port();
    let other = world.address(Door::Outside).port();
    // It is on another address: the system may have given it the same number.
    let other = if other == port { other ^ 1 } else { other };
    let get = |host: &str| format!("GET /host HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    for (host, status) in [
        ("status.test".to_owned(), 200),
        ("STATUS.test".to_owned(), 200),
        (format!("status.test:{port}"), 200),
        ("status.test:443".to_owned(), 200),
        // Ports that are none of ours.
        (format!("status.test:{other}"), 421),
        ("status.test:80".to_owned(), 421),
        ("status.test:1".to_owned(), 421),
        ("status.test:0".to_owned(), 421),
        ("status.test:".to_owned(), 400),
        ("status.test:65536".to_owned(), 400),
        ("status.test:443:443".to_owned(), 400),
        (format!("status.test:+{port}"), 400),
        (format!("status.test: {port}"), 400),
        // Names that are none.
        ("status.test.".to_owned(), 400),
        (".status.test".to_owned(), 400),
        ("status..test".to_owned(), 400),
        ("status.test\\.evil.test".to_owned(), 400),
        ("status.test/evil".to_owned(), 400),
        ("status.test?evil".to_owned(), 400),
        ("status.test#evil".to_owned(), 400),
        ("evil@status.test".to_owned(), 400),
        ("status.test@evil.test".to_owned(), 400),
        ("status%2etest".to_owned(), 400),
        ("status.test evil.test".to_owned(), 400),
        ("status.test\tevil.test".to_owned(), 400),
        ("st\u{e4}tus.test".to_owned(), 400),
        ("[::1]".to_owned(), 400),
        ("\"status.test\"".to_owned(), 400),
        // Names of others.
        ("127.0.0.1".to_owned(), 421),
        ("localhost".to_owned(), 421),
        ("evil.test".to_owned(), 421),
    ] {
        let before = world.echo.count();
        let answers = send(&world, get(&host).as_bytes()).await;
        let got = answers.first().map_or(0, |answer| answer.status);
        assert_eq!((got, world.echo.count() - before), (status, usize::from(status == 200)), "{host}: {answers:?}");
    }
}

#[tokio::test]
async fn an_absolute_target_agrees_with_the_host_or_is_refused() {
    let world = World::start().await;
    for (target, host, status) in [
        ("https://status.test/a", Some("status.test"), 200),
        ("http://status.test/a", Some("status.test"), 200),
        ("HTTPS://status.test/a", Some("status.test"), 200),
        ("https://status.test", Some("status.test"), 200),
        ("https://status.test/a", None, 400),
        ("https://wiki.test/a", Some("status.test"), 400),
        ("https://status.test/a", Some("wiki.test"), 400),
        ("https://status.test:443/a", Some("status.test"), 400),
        ("https://status.test:1/a", Some("status.test:1"), 421),
        ("https://evil@status.test/a", Some("status.test"), 400),
        ("https://status.test@evil.test/a", Some("status.test"), 400),
        ("https://status.test:x@evil.test/a", Some("status.test"), 400),
        ("https:///a", Some("status.test"), 400),
        ("https:status.test/a", Some("status.test"), 400),
        ("//evil.test/a", Some("status.test"), 200),
        ("ftp://status.test/a", Some("status.test"), 400),
        ("file:///etc/passwd", Some("status.test"), 400),
        ("javascript:alert(1)", Some("status.test"), 400),
        ("status.test:443", Some("status.test"), 400),
        ("*", Some("status.test"), 400),
        ("", Some("status.test"), 400),
    ] {
        let before = world.echo.count();
        let host = host.map_or(String::new(), |host| format!("Host: {host}\r\n"));
        let answers =
            send(&world, format!("GET {target} HTTP/1.1\r\n{host}Connection: close\r\n\r\n").as_bytes()).await;
        let got = answers.first().map_or(0, |answer| answer.status);
        assert_eq!(got, status, "{target} {host}: {answers:?}");
        for seen in world.echo.seen().into_iter().skip(before) {
            assert_eq!(seen.header("host"), Some("status.test"), "{target}");
            assert!(seen.target.starts_with('/') && !seen.target.starts_with("//"), "{target} -> {}", seen.target);
        }
    }
}

/// What a chunked body may look like, and what of it counts as one more request (pingora CVE-2026-2835 and its kin).
#[tokio::test]
async fn a_chunked_body_ends_where_it_says_or_the_connection_does() {
    let world = World::start().await;
    let hidden = "GET /hidden HTTP/1.1\r\nHost: status.test\r\n\r\n";
    for (what, body) in [
        ("an honest one", "5\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("with an extension", "5;a=b\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("with leading zeros", "0005\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("a bare LF behind the size", "5\nhello\r\n0\r\n\r\n".to_owned()),
        ("a bare LF behind the chunk", "5\r\nhello\n0\r\n\r\n".to_owned()),
        ("a bare LF at the end", "5\r\nhello\r\n0\r\n\n".to_owned()),
        ("a bare CR behind the size", "5\rhello\r\n0\r\n\r\n".to_owned()),
        ("a LF in an extension", "5;\nx\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("no end of the chunk", format!("5\r\nhello0\r\n\r\n{hidden}")),
        ("too large a size", "ffffffffffffffff\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("a size that wraps", "10000000000000005\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("a signed size", "+5\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("a negative size", "-5\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("0x", "0x5\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("a space before the size", " 5\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("no size", "\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("a size of letters", "g\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("a trailer with a request", format!("5\r\nhello\r\n0\r\nX: y\r\n\r\n{hidden}")),
    ] {
        let head = "POST /chunks HTTP/1.1\r\nHost: status.test\r\nTransfer-Encoding: chunked\r\n\r\n";
        let before = world.echo.count();
        // A cut-off body is answered when its patience is over: the end of our side tells it that there is no more.
        let answers = send(
            &world,
            format!("{head}{body}GET /next HTTP/1.1\r\nHost: status.test\r\nConnection: close\r\n\r\n").as_bytes(),
        )
        .await;
        for seen in world.echo.seen().into_iter().skip(before) {
            let known = ["/chunks", "/next", "/hidden"].contains(&seen.target.as_str());
            let body = seen.body.is_empty() || seen.body == "hello" || seen.body == "hello0\r\n\r\n";
            assert!(known && body, "{what}: {seen:?}");
            // The request behind is read as ours or not at all; never as a part of the first.
            assert!(seen.target != "/hidden" || answers.len() > 1, "{what}: smuggled");
        }
        assert!(answers.len() <= 3, "{what}: {answers:?}");
    }
}

#[tokio::test]
async fn a_line_that_is_no_header_ends_the_request() {
    let world = World::start().await;
    for (what, line) in [
        ("a space before the colon", "X-A : b"),
        ("a tab before the colon", "X-A\t: b"),
        ("a space at its head", " X-A: b"),
        ("a tab at its head", "\tX-A: b"),
        ("no name", ": b"),
        ("no colon", "X-A"),
        ("a quote in the name", "X\"A: b"),
        ("a slash in the name", "X/A: b"),
        ("brackets in the name", "X(A): b"),
        ("a byte above 7f in the name", "X\u{e4}: b"),
        ("a NUL in the name", "X\0: b"),
        ("a NUL in the value", "X-A: \0"),
        ("a BEL in the value", "X-A: \u{7}"),
        ("an ESC in the value", "X-A: \u{1b}[31m"),
        ("DEL in the value", "X-A: \u{7f}"),
        ("a CR in the value", "X-A: a\rb"),
        ("a folded value", "X-A: a\r\n\tb"),
        ("a folded host", "X-A: a\r\n Host: evil.test"),
        ("a coding with a tab behind", "Transfer-Encoding: chunked\t,identity"),
        ("a coding in quotes", "Transfer-Encoding: \"chunked\""),
        ("a coding after a comma", "Transfer-Encoding: ,chunked"),
        ("a length with a space within", "Content-Length: 1 2"),
        ("an empty length", "Content-Length: "),
        ("a length in octal dress", "Content-Length: 0o1"),
        ("a length too large", "Content-Length: 99999999999999999999"),
        ("another spelling of the length", "Content-Length: 1\r\nContent_Length: 2"),
        ("another spelling of the coding", "Transfer_Encoding: chunked"),
        ("two credentials", "Authorization: Bearer a\r\nAuthorization: Bearer b"),
    ] {
        let before = world.echo.count();
        let bytes = format!("POST /line HTTP/1.1\r\nHost: status.test\r\n{line}\r\nConnection: close\r\n\r\nab");
        let answers = send(&world, bytes.as_bytes()).await;
        // What has but a misleading name may pass without it.
        for seen in world.echo.seen().into_iter().skip(before) {
            let misleading = ["content_length", "transfer_encoding"];
            let kept = seen.headers.iter().any(|(name, _)| misleading.contains(&name.to_ascii_lowercase().as_str()));
            assert!(what.starts_with("another spelling") && !kept, "{what}: {seen:?}");
        }
        if !what.starts_with("another spelling") {
            assert!(answers.iter().all(|answer| answer.status >= 400), "{what}: {answers:?}");
        }
    }
}

#[tokio::test]
async fn http_1_0_and_odd_versions_smuggle_nothing() {
    let world = World::start().await;
    for (what, bytes, arrives) in [
        ("HTTP/1.0", "GET /v HTTP/1.0\r\nHost: status.test\r\n\r\n", true),
        ("HTTP/1.0 without a host", "GET /v HTTP/1.0\r\n\r\n", false),
        (
            "HTTP/1.0 with chunks",
            "POST /v HTTP/1.0\r\nHost: status.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            false,
        ),
        ("HTTP/0.9", "GET /v\r\n\r\n", false),
        ("HTTP/1.2", "GET /v HTTP/1.2\r\nHost: status.test\r\n\r\n", false),
        ("HTTP/2.0", "GET /v HTTP/2.0\r\nHost: status.test\r\n\r\n", false),
        ("http/1.1", "GET /v http/1.1\r\nHost: status.test\r\n\r\n", false),
        ("HTTP/1.1x", "GET /v HTTP/1.1x\r\nHost: status.test\r\n\r\n", false),
        ("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false),
        ("a tab for a space", "GET\t/v\tHTTP/1.1\r\nHost: status.test\r\n\r\n", false),
        ("a method with odd bytes", "G\u{1}T /v HTTP/1.1\r\nHost: status.test\r\n\r\n", false),
        ("TLS within", "\u{16}\u{3}\u{1}\0\u{5}hello\r\n\r\n", false),
    ] {
        let before = world.echo.count();
        let answers = send(&world, bytes.as_bytes()).await;
        assert_eq!(world.echo.count() - before, usize::from(arrives), "{what}: {answers:?}");
    }
}

/// What HTTP/2 forbids because it would become two requests when it is written as HTTP/1.1 (RFC 9113 sections 8.2, 8.3).
#[tokio::test]
async fn h2_fields_that_would_be_something_else_in_h1_are_refused() {
    let world = World::start().await;
    let port = world.address(Door::Outside).port();
    let elsewhere = format!("status.test:{port}");
    let with = |more: &[(&'static str, &'static [u8])]| {
        let mut fields = h2::get("status.test", "/h2");
        fields.extend(more.iter().map(|(name, value)| (*name, *value)));
        fields
    };
    let instead = |name: &'static str, value: &'static [u8]| {
        let mut fields = h2::get("status.test", "/h2");
        fields.iter_mut().filter(|(n, _)| *n == name).for_each(|field| field.1 = value);
        fields
    };
    let without = |name: &'static str| {
        let mut fields = h2::get("status.test", "/h2");
        fields.retain(|(n, _)| *n != name);
        fields
    };
    let mut foreign = h2::get(&elsewhere, "/h2");
    foreign.truncate(5);
    let mut passed = Vec::new();
    for (what, fields) in [
        ("CR LF in a value", with(&[("x-a", b"b\r\nx-forwarded-user: evil")])),
        ("LF in a value", with(&[("x-a", b"b\nx-forwarded-user: evil")])),
        ("CR in a value", with(&[("x-a", b"b\rc")])),
        ("NUL in a value", with(&[("x-a", b"b\0c")])),
        ("CR LF in a name", with(&[("x-a\r\nx-b", b"c")])),
        ("a colon in a name", with(&[("x-a: b", b"c")])),
        ("a space in a name", with(&[("x-a ", b"c")])),
        ("an upper-case name", with(&[("X-A", b"b")])),
        ("an empty name", with(&[("", b"b")])),
        ("a connection header", with(&[("connection", b"close")])),
        ("a coding", with(&[("transfer-encoding", b"chunked")])),
        ("a keep-alive", with(&[("keep-alive", b"1")])),
        ("an upgrade", with(&[("upgrade", b"websocket")])),
        ("a proxy connection", with(&[("proxy-connection", b"close")])),
        ("a te that is not trailers", with(&[("te", b"gzip")])),
        ("a pseudo-header behind a header", with(&[(":path", b"/admin")])),
        ("an unknown pseudo-header", {
            let mut f = with(&[]);
            f.insert(0, (":evil", b"b"));
            f
        }),
        ("a pseudo-header of answers", {
            let mut f = with(&[]);
            f.insert(0, (":status", b"200"));
            f
        }),
        ("two paths", {
            let mut f = with(&[]);
            f.insert(1, (":path", b"/admin"));
            f
        }),
        ("two authorities", {
            let mut f = with(&[]);
            f.insert(1, (":authority", b"wiki.test"));
            f
        }),
        ("two methods", {
            let mut f = with(&[]);
            f.insert(1, (":method", b"POST"));
            f
        }),
        ("no method", without(":method")),
        ("no scheme", without(":scheme")),
        ("no path", without(":path")),
        ("no authority", without(":authority")),
        ("an empty path", instead(":path", b"")),
        ("a path without a slash", instead(":path", b"admin")),
        ("a path with a space", instead(":path", b"/a HTTP/1.1\r\nx: y")),
        ("a path with another host", instead(":path", b"https://wiki.test/")),
        ("a path with a NUL", instead(":path", b"/a\0b")),
        ("an empty authority", instead(":authority", b"")),
        ("userinfo", instead(":authority", b"evil@status.test")),
        ("an authority with a path", instead(":authority", b"status.test/x")),
        ("another host beside the authority", with(&[("host", b"wiki.test")])),
        ("two hosts beside the authority", with(&[("host", b"status.test"), ("host", b"status.test")])),
        ("a port that is not ours", foreign),
        ("the port of another protocol", instead(":authority", b"status.test:80")),
        ("an odd scheme", instead(":scheme", b"ftp")),
        ("a method with a space", instead(":method", b"GET /admin HTTP/1.1\r\n")),
        ("CONNECT", instead(":method", b"CONNECT")),
        ("a WebSocket by CONNECT", {
            let mut f = instead(":method", b"CONNECT");
            f.insert(1, (":protocol", b"websocket"));
            f
        }),
        ("a length without a body", with(&[("content-length", b"5")])),
        ("two lengths", with(&[("content-length", b"0"), ("content-length", b"1")])),
        ("two credentials", with(&[("authorization", b"Bearer a"), ("authorization", b"Bearer b")])),
    ] {
        let before = world.echo.count();
        let mut raw = Raw::open(&world, Door::Inside, "status.test").await;
        raw.send(&h2::frame(h2::HEADERS, h2::END_HEADERS | h2::END_STREAM, 1, &h2::block(&fields))).await;
        let ended = raw.outcome(1).await;
        if !ended.is_refusal() || world.echo.count() != before {
            passed.push(format!("{what}: {ended:?} {:?}", world.echo.seen().get(before)));
        }
    }
    assert!(passed.is_empty(), "{} passed:\n{}", passed.len(), passed.join("\n"));
    // The same writer, with nothing wrong in it.
    let mut raw = Raw::open(&world, Door::Inside, "status.test").await;
    let good = h2::block(&with(&[("te", b"trailers"), ("host", b"status.test")]));
    raw.send(&h2::frame(h2::HEADERS, h2::END_HEADERS | h2::END_STREAM, 1, &good)).await;
    assert_eq!(raw.outcome(1).await, Ended::Answered(200));
}

#[tokio::test]
async fn h2_bodies_are_as_long_as_they_say() {
    let world = World::start().await;
    for (what, declared, sent) in
        [("shorter", b"9".as_slice(), 5), ("longer", b"2", 5), ("none", b"3", 0), ("signed", b"+5", 5)]
    {
        let mut raw = Raw::open(&world, Door::Inside, "status.test").await;
        let mut fields = h2::get("status.test", "/length");
        fields[0] = (":method", b"POST");
        fields.push(("content-length", declared));
        raw.send(&h2::frame(h2::HEADERS, h2::END_HEADERS, 1, &h2::block(&fields))).await;
        raw.send(&h2::frame(h2::DATA, h2::END_STREAM, 1, &b"hello"[..sent])).await;
        let ended = raw.outcome(1).await;
        assert!(ended.is_refusal(), "{what}: {ended:?}");
        assert!(world.echo.seen_at("/length").is_empty(), "{what}");
    }
}

/// An application that answers each request when its body has ended, and keeps every byte that it was sent.
async fn recorder() -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let all: Arc<Mutex<Vec<u8>>> = Arc::default();
    let kept = all.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let kept = kept.clone();
            tokio::spawn(async move {
                let (mut buffer, mut ended) = (vec![0; 16 * 1024], 0);
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    let ends = {
                        let mut kept = kept.lock().unwrap();
                        kept.extend_from_slice(&buffer[..read]);
                        kept.windows(7).filter(|bytes| bytes == b"\r\n0\r\n\r\n").count()
                    };
                    for _ in ended..ends {
                        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
                    }
                    ended = ends;
                }
            });
        }
    });
    (port, all)
}

/// A second end would be the first bytes of somebody else's request, on a connection that many share.
#[tokio::test]
async fn the_end_of_an_h2_body_is_written_once_whatever_frames_it_comes_in() {
    let (port, received) = recorder().await;
    let mut setup = Setup::new().await;
    let echo = format!("upstream: \"http://127.0.0.1:{}\", resource: status }}", setup.echo.port);
    assert!(setup.config.contains(&echo));
    setup.config = setup.config.replace(&echo, &format!("upstream: \"http://127.0.0.1:{port}\", resource: status }}"));
    let world = setup.start().await;
    let mut raw = Raw::open(&world, Door::Inside, "status.test").await;
    let bodies: [(&str, &[&[u8]]); 5] = [
        ("at once", &[b"hello"]),
        ("an empty frame ends it", &[b"hello", b""]),
        ("empty frames within", &[b"hel", b"", b"", b"lo"]),
        ("empty frames everywhere", &[b"", b"hello", b"", b""]),
        ("nothing but an empty frame", &[b""]),
    ];
    for (n, (what, frames)) in bodies.iter().enumerate() {
        let stream = u32::try_from(2 * n + 1).unwrap();
        let mut fields = h2::get("status.test", "/record");
        fields[0] = (":method", b"POST");
        raw.send(&h2::frame(h2::HEADERS, h2::END_HEADERS, stream, &h2::block(&fields))).await;
        for (at, frame) in frames.iter().enumerate() {
            let flags = if at + 1 == frames.len() { h2::END_STREAM } else { 0 };
            raw.send(&h2::frame(h2::DATA, flags, stream, frame)).await;
        }
        assert_eq!(raw.outcome(stream).await, Ended::Answered(200), "{what}");
    }
    let text = String::from_utf8_lossy(&received.lock().unwrap()).into_owned();
    let requests: Vec<&str> = text.split("POST /record HTTP/1.1\r\n").skip(1).collect();
    assert_eq!(requests.len(), bodies.len(), "{text}");
    for ((what, frames), request) in bodies.iter().zip(requests) {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.to_ascii_lowercase().contains("transfer-encoding: chunked"), "{what}: {head}");
        let parts = frames.iter().filter(|frame| !frame.is_empty());
        let parts = parts.map(|part| format!("{:X}\r\n{}\r\n", part.len(), String::from_utf8_lossy(part)));
        assert_eq!(body, parts.collect::<String>() + "0\r\n\r\n", "{what}");
    }
}
