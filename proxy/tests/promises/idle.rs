//! Connections that say nothing between two requests: how long they may, what they cost, and that nobody waits for them.
use crate::harness::client::{Tls, handshake};
use crate::harness::raw::parse;
use crate::harness::{Door, PATIENCE, Setup, World};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

/// KiB. The goal is 40 (docs/architecture.md, Budgets).
const MOST: u64 = 30;
/// Before they are counted: what a process needs for many the first time is not theirs.
const FIRST: usize = 200;
const MANY: usize = 600;

const ASKS: &[u8] = b"GET /idle HTTP/1.1\r\nHost: status.test\r\nAccept: application/json\r\n\r\n";

async fn gate(limits: &str) -> World {
    let mut setup = Setup::new().await;
    setup.limit(limits);
    setup.start().await
}

/// A connection that has been answered.
async fn idle(world: &World, tls: &Tls) -> impl AsyncRead + AsyncWrite + Unpin + use<> {
    let mut stream = handshake(world.address(Door::Inside), "status.test", tls).await.unwrap();
    ask(&mut stream).await;
    stream
}

async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    stream.write_all(ASKS).await.unwrap();
    let mut received = Vec::new();
    while parse(&received).first().is_none_or(|answer| !answer.body.ends_with('}')) {
        let mut part = [0u8; 4096];
        let read = timeout(PATIENCE, stream.read(&mut part)).await.unwrap().unwrap();
        assert!(read > 0, "closed: {}", String::from_utf8_lossy(&received));
        received.extend_from_slice(&part[..read]);
    }
    assert_eq!(parse(&received)[0].status, 200);
}

/// How long until the gate closes it.
async fn closed(stream: &mut (impl AsyncRead + Unpin)) -> Duration {
    let begun = Instant::now();
    // With or without a last word of TLS.
    let read = timeout(PATIENCE, stream.read(&mut [0u8; 16])).await.expect("it is still open");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    begun.elapsed()
}

#[tokio::test]
async fn between_two_requests_a_client_may_be_quiet_for_so_long_and_no_longer() {
    let world = gate("idle_timeout: 3s").await;
    let mut stream = idle(&world, &world.tls(None, &["http/1.1"])).await;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        ask(&mut stream).await;
    }
    let quiet = closed(&mut stream).await;
    assert!(quiet > Duration::from_secs(2), "closed after {quiet:?}");
}

#[tokio::test]
async fn a_process_that_stops_waits_for_no_client_that_says_nothing() {
    let mut setup = Setup::new().await;
    setup.limit("idle_timeout: 1h");
    setup.config = setup.config.replace("drain: 1s", "drain: 1h");
    let world = setup.start().await;
    let mut stream = idle(&world, &world.tls(None, &["http/1.1"])).await;
    world.signal("TERM").await;
    closed(&mut stream).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_says_nothing_costs_little_memory() {
    let world = gate("idle_timeout: 1h").await;
    let tls = world.tls(None, &["http/1.1"]);
    let mut open = Vec::new();
    let mut before = 0;
    for n in 0..FIRST + MANY {
        if n == FIRST {
            before = world.memory_kib("VmRSS:");
        }
        open.push(idle(&world, &tls).await);
    }
    let each = world.memory_kib("VmRSS:").saturating_sub(before) / u64::try_from(MANY).unwrap();
    eprintln!("an idle connection takes {each} KiB");
    assert!(each < MOST, "{each} KiB");
    // They are all still there.
    for stream in open.iter_mut().step_by(97) {
        ask(stream).await;
    }
}
