//! Everything at once, from everybody but one: the gate ends as it began, and the one who behaves is answered.
//!
//! A round is a fixed number of attacks. `TORHAUS_FLOOD_SECONDS=60` repeats rounds that long, and then also compares how
//! long the one beside them waits, which says nothing on a machine that does other things.
use crate::Watch as _;
use crate::bounds::neighbour;
use crate::gate_with;
use crate::h2::{self, Raw};
use crate::harness::client::handshake;
use crate::harness::{Door, PATIENCE, World, until};
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const DOORS: [Door; 3] = [Door::Inside, Door::Outside, Door::Plain];
/// What the process may have grown by: half-open work is bounded, and given back.
const MOST_GROWTH_KIB: u64 = 16 * 1024;

/// In the long run: some tens of attacks begin each second, most of which last for seconds.
const GAP: Duration = Duration::from_millis(25);

/// Sends, and waits until the gate has had enough.
async fn until_closed(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin, bytes: &[u8]) {
    let _ = timeout(PATIENCE, stream.write_all(bytes)).await.expect("the gate neither reads nor closes");
    let mut scrap = [0u8; 4096];
    let ended = async { while stream.read(&mut scrap).await.is_ok_and(|read| read > 0) {} };
    timeout(PATIENCE, ended).await.expect("the gate does not close");
}

async fn garbage(world: &World, door: Door, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let length = random.random_range(1..8_000);
    let bytes: Vec<u8> = (0..length).map(|_| random.random()).collect();
    until_closed(TcpStream::connect(world.address(door)).await.unwrap(), &bytes).await;
    if door != Door::Plain {
        let tls = world.tls(None, &["http/1.1"]);
        if let Ok(stream) = handshake(world.address(door), "status.test", &tls).await {
            until_closed(stream, &bytes).await;
        }
    }
}

async fn half_handshake(world: &World, door: Door, seed: u64) {
    let name = ServerName::try_from("status.test").unwrap();
    let mut hello = Vec::new();
    ClientConnection::new(world.tls(None, &["h2"]), name).unwrap().write_tls(&mut hello).unwrap();
    let cut = usize::try_from(seed).unwrap() * 97 % hello.len();
    until_closed(TcpStream::connect(world.address(door)).await.unwrap(), &hello[..cut.max(1)]).await;
}

async fn half_request(world: &World, door: Door, seed: u64) {
    let whole = b"POST /a HTTP/1.1\r\nHost: status.test\r\nContent-Length: 1000\r\n\r\nbegun";
    let part = &whole[..1 + usize::try_from(seed).unwrap() * 11 % (whole.len() - 1)];
    if door == Door::Plain {
        return until_closed(TcpStream::connect(world.address(door)).await.unwrap(), part).await;
    }
    until_closed(handshake(world.address(door), "status.test", &world.tls(None, &["http/1.1"])).await.unwrap(), part)
        .await;
}

/// A byte at a time.
async fn slowloris(world: &World, door: Door) {
    if door == Door::Plain {
        return;
    }
    let mut stream = handshake(world.address(door), "status.test", &world.tls(None, &["http/1.1"])).await.unwrap();
    for byte in b"GET / HTTP/1.1\r\nHost: status.test\r\n".iter().chain(b"X-A: b\r\n".iter().cycle().take(2_000)) {
        if stream.write_all(&[*byte]).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("a head of four minutes was waited for");
}

/// Asks for much and reads nothing, then leaves.
async fn slow_read(world: &World, door: Door) {
    if door == Door::Plain {
        return;
    }
    let mut stream = handshake(world.address(door), "status.test", &world.tls(None, &["http/1.1"])).await.unwrap();
    let asks = "GET /big HTTP/1.1\r\nHost: status.test\r\n\r\n".repeat(50);
    let _ = timeout(Duration::from_millis(500), stream.write_all(asks.as_bytes())).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
}

/// Frames that cost nothing to send, by name.
fn frames(kind: usize) -> Vec<u8> {
    let get = h2::block(&h2::get("status.test", "/reset"));
    let head = |stream: u32, flags: u8| h2::frame(h2::HEADERS, flags, stream, &get);
    let ids = || (0..2_500u32).map(|n| 2 * n + 1);
    match kind {
        // CVE-2023-44487
        0 => ids()
            .flat_map(|id| {
                [head(id, h2::END_HEADERS | h2::END_STREAM), h2::frame(h2::RST_STREAM, 0, id, &[0, 0, 0, 8])].concat()
            })
            .collect(),
        // CVE-2024-27316 and its kin: a header block without an end
        1 => {
            let more = h2::frame(h2::CONTINUATION, 0, 1, &h2::block(&[("x-a", b"b")]).repeat(20));
            [head(1, 0), more.repeat(5_000)].concat()
        }
        2 => h2::frame(h2::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]).repeat(5_000),
        3 => h2::frame(h2::PING, 0, 0, b"12345678").repeat(5_000),
        4 => [head(1, h2::END_HEADERS), h2::frame(h2::DATA, 0, 1, &[]).repeat(5_000)].concat(),
        5 => ids()
            .flat_map(|id| h2::frame(h2::PRIORITY, 0, id, &[0, 0, 0, 0, 16]))
            .chain(ids().flat_map(|id| h2::frame(h2::PRIORITY, 0, id, &[0, 0, 0, 0, 17])))
            .collect(),
        // A stream that is ended by an error of ours each time (CVE-2025-8671)
        6 => ids()
            .flat_map(|id| [head(id, h2::END_HEADERS), h2::frame(h2::WINDOW_UPDATE, 0, id, &[0, 0, 0, 0])].concat())
            .collect(),
        // 4 KB in the table, named a thousand times: 4 MB of headers from 5 KB (CVE-2016-6581)
        7 => {
            let mut block = get.clone();
            block.extend([0x40, 1, b'x', 127, 0xa1, 0x1e]);
            block.extend([b'v'; 4000]);
            block.extend([0xbe; 1_000]);
            ids().take(50).flat_map(|id| h2::frame(h2::HEADERS, h2::END_HEADERS | h2::END_STREAM, id, &block)).collect()
        }
        8 => h2::frame(0xfa, 0, 0, b"grease").repeat(5_000),
        _ => [
            h2::frame(h2::PING, h2::ACK, 0, b"12345678").repeat(2_500),
            h2::frame(h2::SETTINGS, h2::ACK, 0, &[]).repeat(2_500),
        ]
        .concat(),
    }
}

const KINDS: usize = 10;

/// True when the gate ended the connection.
async fn h2_flood(world: &World, door: Door, kind: usize) {
    if door == Door::Plain {
        let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frames(kind)].concat();
        return until_closed(TcpStream::connect(world.address(door)).await.unwrap(), &preface).await;
    }
    let mut raw = Raw::open(world, door, "status.test").await;
    let bytes = frames(kind);
    for part in bytes.chunks(16 * 1024) {
        if !raw.send(part).await {
            break;
        }
    }
    if kind == 7 {
        // Each is answered by a refusal, and the connection may live on.
        return;
    }
    while raw.next().await.is_some() {}
}

/// `gap`: between two attacks; a machine that is busy attacking cannot also say how long others wait.
async fn round(world: &World, number: u64, gap: Duration) {
    let mut attacks: Vec<futures::future::BoxFuture<'_, ()>> = Vec::new();
    for door in DOORS {
        for n in 0..8 {
            let seed = number * 100 + n;
            attacks.push(Box::pin(garbage(world, door, seed)));
            attacks.push(Box::pin(half_handshake(world, door, seed)));
            attacks.push(Box::pin(half_request(world, door, seed)));
        }
        attacks.push(Box::pin(slowloris(world, door)));
        attacks.push(Box::pin(slow_read(world, door)));
        for kind in 0..KINDS {
            attacks.push(Box::pin(h2_flood(world, door, kind)));
        }
    }
    let later = attacks.into_iter().zip(0u32..).map(|(attack, n)| async move {
        tokio::time::sleep(gap * n).await;
        attack.await;
    });
    join_all(later).await;
}

async fn rounds(world: &World, first: u64, least: u64, time: Duration) {
    let gap = if time.is_zero() { Duration::ZERO } else { GAP };
    let begun = Instant::now();
    let mut number = first;
    while number < first + least || begun.elapsed() < time {
        round(world, number, gap).await;
        number += 1;
    }
}

async fn open_connections(world: &World) -> u64 {
    let mut open = 0;
    for door in DOORS {
        open += world.metric(&format!("torhaus_connections_open{{listener=\"{}\"}}", door.listener())).await;
    }
    open
}

/// Asks until told to stop, and at least so often; how long each took.
async fn behave(world: &World, least: usize, stop: &AtomicBool) -> Vec<Duration> {
    let tls = world.tls(None, &["http/1.1"]);
    let mut took = Vec::new();
    while took.len() < least || !stop.load(Ordering::Acquire) {
        let begun = Instant::now();
        assert_eq!(neighbour(world, Door::Inside, &tls).await, 200, "request {}", took.len());
        took.push(begun.elapsed());
    }
    took.sort();
    took
}

fn p99(sorted: &[Duration]) -> Duration {
    sorted[(sorted.len() * 99 / 100).min(sorted.len() - 1)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_leaves_nothing_behind_and_nobody_else_waiting() {
    let seconds: u64 = std::env::var("TORHAUS_FLOOD_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let time = Duration::from_secs(seconds);
    let world = gate_with("header_timeout: 5s, handshake_timeout: 5s, idle_timeout: 5s").await;
    // What a first flood makes the process keep (tables, stacks, pools) is no growth.
    rounds(&world, 0, 2, time / 6).await;
    until("all is closed", async || open_connections(&world).await == 0).await;
    let quiet = behave(&world, 100, &AtomicBool::new(true)).await;
    let before = world.memory_kib("VmRSS:");

    let stop = AtomicBool::new(false);
    let flood = async {
        rounds(&world, 100, 2, time).await;
        stop.store(true, Ordering::Release);
    };
    let (beside, ()) = tokio::join!(behave(&world, 50, &stop), flood);

    until("all is closed", async || open_connections(&world).await == 0).await;
    let after = world.memory_kib("VmRSS:");
    println!(
        "{} requests beside the flood; p99 {:?}, quiet {:?}, {:.1} times; resident {before} -> {after} KiB",
        beside.len(),
        p99(&beside),
        p99(&quiet),
        p99(&beside).as_secs_f64() / p99(&quiet).as_secs_f64(),
    );
    assert!(after.saturating_sub(before) < MOST_GROWTH_KIB, "it grew from {before} to {after} KiB");
    let cut = world.metric(r#"torhaus_connections_cut_total{listener="office",cause="too many control frames"}"#).await;
    assert!(cut >= 4, "{cut} connections were cut for their frames");
    if seconds > 0 {
        assert!(p99(&beside) < 3 * p99(&quiet), "others wait longer");
    }
}
