//! Profiles against doubles that enforce what the real servers do: the limits of pveproxy (pve-http-server,
//! AnyEvent.pm), the upgrades of Headscale (`POST /ts2021`, `GET /derp`), the impersonation of Kubernetes.
use crate::harness::client::handshake;
use crate::harness::{Answer, Call, Door, PATIENCE, Setup, World};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Heads that a double read.
type Seen = Arc<Mutex<Vec<String>>>;

async fn double<F>(serve: impl Fn(TcpStream, Seen) -> F + Send + 'static) -> (u16, Seen)
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, seen) = (listener.local_addr().unwrap().port(), Seen::default());
    let all = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, all.clone()));
        }
    });
    (port, seen)
}

/// `status.test`, open to anyone, at a double.
async fn gate(port: u16, more: &str) -> World {
    gate_with(Setup::new().await, port, more).await
}

async fn gate_with(mut setup: Setup, port: u16, more: &str) -> World {
    let here = format!("upstream: \"http://127.0.0.1:{}\", resource: status }}", setup.echo.port);
    assert!(setup.config.contains(&here));
    let there = format!("upstream: \"http://127.0.0.1:{port}\", resource: status, {more} }}");
    setup.config = setup.config.replace(&here, &there);
    // The row of the API, which the profile puts behind a resource of its own.
    if more.contains("headscale") {
        let row = "  - { resource: status-api, allow: [\"group:it-admins\"], zones: { internal: standard, external: deny } }\n";
        setup.policy = setup.policy.replace("exceptions:\n", &format!("{row}exceptions:\n"));
    }
    setup.start().await
}

async fn head(stream: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> io::Result<Option<String>> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(head))
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let is = |(key, value): (&'a str, &'a str)| key.eq_ignore_ascii_case(name).then_some(value.trim());
    head.lines().skip(1).filter_map(|line| line.split_once(':')).find_map(is)
}

/// pveproxy: dies at the 64th line of a head (the empty one included), at 8 KiB, answers 501 to a chunked request, and
/// closes a connection that was idle for 5 s.
async fn pveproxy(stream: TcpStream, seen: Seen) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Ok(read) = timeout(Duration::from_secs(5), head(&mut stream)).await {
        let Some(head) = read? else { return Ok(()) };
        let lines: Vec<&str> = head.lines().skip(1).collect();
        if lines.len() >= 64 || lines.iter().map(|line| line.len() + 2).sum::<usize>() >= 8192 {
            return Ok(());
        }
        seen.lock().unwrap().push(head.clone());
        if field(&head, "transfer-encoding").is_some() {
            stream
                .write_all(b"HTTP/1.1 501 chunked transfer encoding not supported\r\nContent-Length: 0\r\n\r\n")
                .await?;
            return Ok(());
        }
        let mut left: usize = field(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        let mut sum = 0;
        let mut part = vec![0; 64 * 1024];
        while left > 0 {
            let most = part.len().min(left);
            let read = stream.read(&mut part[..most]).await?;
            if read == 0 {
                return Ok(());
            }
            (left, sum) = (left - read, sum + read);
        }
        let body = format!("{{\"data\":{sum}}}");
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

async fn send(world: &World, call: &Call) -> Answer {
    world.call(Door::Inside, None, call).await.unwrap()
}

fn post(target: &str, body: String) -> Call {
    Call { method: "POST", body, ..Call::get("status.test", target) }
}

#[tokio::test]
async fn proxmox_gets_no_more_header_lines_than_it_reads() {
    let (port, seen) = double(pveproxy).await;
    let world = gate(port, "profile: proxmox").await;
    let with = |count: usize| {
        let headers = (0..count).map(|n| (format!("x-line-{n}"), "v".to_owned())).collect();
        Call { headers, ..Call::get("status.test", "/api2/json/version") }
    };
    assert_eq!(send(&world, &with(10)).await.status, 200);
    let ours = seen.lock().unwrap()[0].lines().count() - 1 - 1 - 10;
    assert_eq!(send(&world, &with(62 - ours)).await.status, 200, "62 lines are read");
    let count = seen.lock().unwrap().len();
    assert_eq!(send(&world, &with(63 - ours)).await.outcome(), (431, "header_too_large".to_owned()));
    let large = Call::get("status.test", "/").with("x-large", &"v".repeat(8_000));
    assert_eq!(send(&world, &large).await.outcome(), (431, "header_too_large".to_owned()));
    assert_eq!(seen.lock().unwrap().len(), count, "nothing of them was sent");
}

#[tokio::test]
async fn proxmox_is_told_the_length_of_every_body() {
    let (port, seen) = double(pveproxy).await;
    let world = gate(port, "profile: proxmox").await;
    assert_eq!(send(&world, &post("/api2/json/upload", "u".repeat(3 << 20))).await.body, "{\"data\":3145728}");

    let tls = world.tls(None, &["http/1.1"]);
    let chunked = async |bytes: usize| {
        let mut stream = handshake(world.address(Door::Inside), "status.test", &tls).await.unwrap();
        let head =
            "POST /chunked HTTP/1.1\r\nHost: status.test\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let chunk = format!("{bytes:x}\r\n{}\r\n0\r\n\r\n", "c".repeat(bytes));
        // The gate may answer, and hang up, before it has all of it.
        let _ = stream.write_all(chunk.as_bytes()).await;
        let mut answer = String::new();
        let _ = timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap();
        answer
    };
    let short = chunked(20_000).await;
    assert!(short.starts_with("HTTP/1.1 200 ") && short.ends_with("{\"data\":20000}"), "{short}");
    let last = seen.lock().unwrap().last().unwrap().clone();
    assert_eq!((field(&last, "content-length"), field(&last, "transfer-encoding")), (Some("20000"), None));
    assert!(chunked(100_000).await.starts_with("HTTP/1.1 413 "));
    assert!(!seen.lock().unwrap().iter().any(|head| field(head, "transfer-encoding").is_some()));
}

#[tokio::test]
async fn proxmox_keeps_its_own_session_and_is_not_met_at_a_closed_door() {
    let (port, seen) = double(pveproxy).await;
    let world = gate(port, "profile: proxmox").await;
    let call = Call::get("status.test", "/")
        .with("cookie", "PVEAuthCookie=PVE%3Aroot@pam%3A6541::sig; __Host-torhaus-nonce=x")
        .with("csrfpreventiontoken", "6541:base64")
        .with("upgrade", "websocket")
        .with("connection", "upgrade")
        .with("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .with("sec-websocket-version", "13")
        .with("sec-websocket-extensions", "permessage-deflate");
    assert_eq!(send(&world, &call).await.status, 200);
    let head = seen.lock().unwrap()[0].clone();
    assert_eq!(field(&head, "cookie"), Some("PVEAuthCookie=PVE%3Aroot@pam%3A6541::sig"));
    assert_eq!(field(&head, "csrfpreventiontoken"), Some("6541:base64"));
    assert_eq!((field(&head, "upgrade"), field(&head, "sec-websocket-extensions")), (Some("websocket"), None));
    assert_eq!((field(&head, "x-forwarded-user"), field(&head, "x-torhaus-assertion")), (None, None));

    assert_eq!(send(&world, &post("/first", "1".into())).await.status, 200);
    tokio::time::sleep(Duration::from_millis(5_500)).await;
    assert_eq!(send(&world, &post("/second", "2".into())).await.status, 200, "the kept connection was closed by now");
}

/// Headscale: switches on POST with its token, on GET with `DERP`, and then gives back what it gets.
async fn headscale(stream: TcpStream, seen: Seen) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(head) = head(&mut stream).await? {
        seen.lock().unwrap().push(head.clone());
        let token = field(&head, "upgrade").unwrap_or_default().to_owned();
        let line = head.lines().next().unwrap_or_default();
        let switches = match token.as_str() {
            "tailscale-control-protocol" => line.starts_with("POST /ts2021 "),
            "DERP" => line.starts_with("GET /derp ") && field(&head, "derp-fast-start").is_none(),
            _ => false,
        };
        if !switches {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await?;
            continue;
        }
        let answer = format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: {token}\r\nConnection: upgrade\r\n\r\n");
        stream.write_all(answer.as_bytes()).await?;
        let (mut from, mut to) = tokio::io::split(stream);
        tokio::io::copy(&mut from, &mut to).await?;
        return to.shutdown().await;
    }
    Ok(())
}

async fn switch(world: &World, request: &str) -> (String, tokio_rustls::client::TlsStream<TcpStream>) {
    let tls = world.tls(None, &["http/1.1"]);
    let mut stream = handshake(world.address(Door::Inside), "status.test", &tls).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let byte = timeout(PATIENCE, stream.read_u8()).await.unwrap();
        answer.push(byte.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&answer))));
    }
    (String::from_utf8(answer).unwrap(), stream)
}

const TS2021: &str = "POST /ts2021 HTTP/1.1\r\nHost: status.test\r\nUpgrade: tailscale-control-protocol\r\n\
                      Connection: upgrade\r\nX-Tailscale-Handshake: AAAA\r\nContent-Length: 0\r\n\r\n";

/// Idle for longer than every timeout of the gate's, which is set to 2 s here.
const QUIET: Duration = Duration::from_secs(7);

#[tokio::test]
async fn a_stream_of_headscale_may_be_quiet_for_longer_than_any_timeout() {
    let (port, seen) = double(headscale).await;
    let mut setup = Setup::new().await;
    setup.limit("idle_timeout: 2s");
    let world = gate_with(setup, port, "profile: headscale").await;
    let derp =
        "GET /derp HTTP/1.1\r\nHost: status.test\r\nUpgrade: DERP\r\nConnection: upgrade\r\nDerp-Fast-Start: 1\r\n\r\n";
    let (answer, mut noise) = switch(&world, TS2021).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    let (answer, mut derp) = switch(&world, derp).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    tokio::time::sleep(QUIET).await;
    for stream in [&mut noise, &mut derp] {
        stream.write_all(b"still there").await.unwrap();
        let mut back = [0; 11];
        timeout(PATIENCE, stream.read_exact(&mut back)).await.unwrap().unwrap();
        assert_eq!(&back, b"still there");
    }
    let heads = seen.lock().unwrap().clone();
    assert!(heads.iter().all(|head| field(head, "x-forwarded-user").is_none()), "{heads:?}");
    assert_eq!(field(&heads[0], "x-tailscale-handshake"), Some("AAAA"));
}

/// As many bytes as each side sends.
const MASS: usize = 100 << 20;

/// Bytes that show where they belong.
fn pattern(at: usize) -> u8 {
    u8::try_from(at % 251).unwrap()
}

async fn send_mass(mut to: impl AsyncWrite + Unpin) {
    let part: Vec<u8> = (0..251 * 256).map(pattern).collect();
    let mut sent = 0;
    while sent < MASS {
        let most = part.len().min(MASS - sent);
        to.write_all(&part[..most]).await.unwrap();
        sent += most;
    }
    to.flush().await.unwrap();
}

async fn receive_mass(mut from: impl AsyncRead + Unpin) {
    let mut got = 0;
    let mut buffer = vec![0; 64 * 1024];
    while got < MASS {
        let read = timeout(PATIENCE, from.read(&mut buffer)).await.unwrap().unwrap();
        assert!(read > 0, "ended after {got} bytes");
        assert!(buffer[..read].iter().enumerate().all(|(at, byte)| *byte == pattern(got + at)), "near {got}");
        got += read;
    }
}

#[tokio::test]
async fn a_stream_of_headscale_carries_a_hundred_megabytes_both_ways() {
    let (done, received) = std::sync::mpsc::channel();
    let serve = move |stream: TcpStream, _: Seen| {
        let done = done.clone();
        async move {
            let mut stream = BufReader::new(stream);
            head(&mut stream).await?;
            stream
                .write_all(b"HTTP/1.1 101 .\r\nUpgrade: tailscale-control-protocol\r\nConnection: upgrade\r\n\r\n")
                .await?;
            let (from, to) = tokio::io::split(stream);
            let receiving = async {
                receive_mass(from).await;
                done.send(()).unwrap();
            };
            // Open until the other side has all of it.
            tokio::join!(receiving, send_mass(to));
            std::future::pending().await
        }
    };
    let (port, _) = double(serve).await;
    let world = gate(port, "profile: headscale").await;
    let (answer, stream) = switch(&world, TS2021).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    // Open until the other side has all of it.
    let (mut from, mut to) = tokio::io::split(stream);
    tokio::join!(receive_mass(&mut from), send_mass(&mut to));
    crate::harness::until("the other side has all of it", async || received.try_recv().is_ok()).await;
    drop((from, to));
}

#[tokio::test]
async fn the_api_of_headscale_is_for_those_whom_its_own_row_names() {
    let (port, seen) = double(headscale).await;
    let world = gate(port, "profile: headscale").await;
    let json = |target: &str| Call::get("status.test", target).with("accept", "application/json");
    assert_eq!(send(&world, &json("/key?v=88")).await.status, 200);
    for target in ["/api/v1/node", "/swagger"] {
        assert_eq!(send(&world, &json(target)).await.outcome(), (401, "login_needed".to_owned()), "{target}");
    }
    let outside = world.call(Door::Outside, None, &json("/api/v1/node")).await.unwrap();
    assert_eq!(outside.outcome(), (403, "zone_denied".to_owned()));
    assert_eq!(seen.lock().unwrap().len(), 1);
}

/// The Kubernetes API, as far as it matters who calls: it echoes the head, and switches for exec.
async fn kubernetes(stream: TcpStream, seen: Seen) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(head) = head(&mut stream).await? {
        seen.lock().unwrap().push(head.clone());
        if let Some(token @ "SPDY/3.1") = field(&head, "upgrade") {
            let answer = format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: {token}\r\nConnection: Upgrade\r\n\r\n");
            stream.write_all(answer.as_bytes()).await?;
            let (mut from, mut to) = tokio::io::split(stream);
            tokio::io::copy(&mut from, &mut to).await?;
            return Ok(());
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await?;
    }
    Ok(())
}

/// `apps.test/level-standard` at the double, with a token of the gate's own.
async fn cluster() -> (World, Seen) {
    let (port, seen) = double(kubernetes).await;
    let mut setup = Setup::new().await;
    crate::harness::pki::write_secret(&setup.folder.path().join("k8s-token"), "the gate's token\n");
    let here = format!("upstream: \"http://127.0.0.1:{}\", resource: level-standard,", setup.echo.port);
    assert!(setup.config.contains(&here));
    let there = format!(
        "upstream: \"http://127.0.0.1:{port}\", resource: level-standard, profile: kubernetes-api,\n      \
         send: {{ Authorization: {{ file: k8s-token, prefix: \"Bearer \" }} }},"
    );
    setup.config = setup.config.replace(&here, &there);
    (setup.start().await, seen)
}

#[tokio::test]
async fn kubernetes_hears_who_calls_by_impersonation_and_from_nobody_else() {
    let (world, seen) = cluster().await;
    let mut alice = world.browser(Door::Inside).of("alice");
    assert_eq!(alice.open("https://apps.test/wiki").await.status, 200);
    let answer = alice.fetch("https://apps.test/level-standard/api/v1/pods").await;
    assert_eq!(answer.status, 200);
    let head = seen.lock().unwrap().last().unwrap().clone();
    let all = |name: &str| -> Vec<String> {
        let fits = |line: &&str| line.split_once(':').is_some_and(|(key, _)| key.eq_ignore_ascii_case(name));
        head.lines().filter(fits).map(|line| line.split_once(':').unwrap().1.trim().to_owned()).collect()
    };
    assert_eq!(
        (all("impersonate-user"), all("authorization")),
        (vec!["alice".into()], vec!["Bearer the gate's token".into()])
    );
    let mut groups = all("impersonate-group");
    groups.sort();
    assert_eq!(groups, ["all-employees", "it-admins"], "a line each");
    assert!(all("x-torhaus-assertion").is_empty() && all("cookie").is_empty(), "{head}");
}

#[tokio::test]
async fn a_caller_of_kubernetes_is_never_redirected() {
    let (world, seen) = cluster().await;
    for accept in ["application/json", "text/html,application/xhtml+xml"] {
        let call =
            Call::get("apps.test", "/level-standard/api").with("accept", accept).with("sec-fetch-mode", "navigate");
        let answer = world.call(Door::Inside, None, &call).await.unwrap();
        assert_eq!((answer.status, answer.header("location")), (401, ""), "{accept}");
        assert!(answer.header("www-authenticate").starts_with("Bearer"), "{accept}");
    }
    assert!(seen.lock().unwrap().is_empty());
}
