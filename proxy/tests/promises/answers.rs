//! How an answer leaves: a short one at once, a slow one as it comes.
use crate::harness::client::handshake;
use crate::harness::raw::parse;
use crate::harness::{Door, PATIENCE, Setup, World};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const ASKS: &[u8] = b"GET /a HTTP/1.1\r\nHost: status.test\r\n\r\n";

/// A gate before an application that says just what the test says.
async fn gate() -> (World, TcpListener) {
    let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut setup = Setup::new().await;
    let (before, after) = setup.config.split_once("host: status.test, upstream: \"").unwrap();
    let (_, after) = after.split_once('"').unwrap();
    let port = application.local_addr().unwrap().port();
    setup.config = format!("{before}host: status.test, upstream: \"http://127.0.0.1:{port}\"{after}");
    (setup.start().await, application)
}

/// The application's connection, once a whole request has come on it.
async fn asked(application: &TcpListener) -> TcpStream {
    let (mut stream, _) = timeout(PATIENCE, application.accept()).await.unwrap().unwrap();
    said(&mut stream, b"\r\n\r\n").await;
    stream
}

/// Reads until what came ends so.
async fn said(stream: &mut (impl AsyncRead + Unpin), end: &[u8]) -> Vec<u8> {
    let mut received = Vec::new();
    while !received.ends_with(end) {
        let mut part = [0u8; 4096];
        let read = timeout(PATIENCE, stream.read(&mut part)).await.expect("nothing came").unwrap();
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&received));
        received.extend_from_slice(&part[..read]);
    }
    received
}

/// TLS after the content of a record: its type in one byte, the tag of 16 (RFC 8446 section 5.2).
const OF_A_RECORD: usize = 17;

#[tokio::test]
async fn the_head_and_the_body_of_a_short_answer_are_one_tls_record() {
    let (world, application) = gate().await;
    let tls = world.tls(None, &["http/1.1"]);
    let mut client = handshake(world.address(Door::Inside), "status.test", &tls).await.unwrap();
    client.write_all(ASKS).await.unwrap();
    let mut behind = asked(&application).await;
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{}end", "x".repeat(997));
    // The tickets of the handshake come before the first answer, nothing before the second.
    behind.write_all(answer.as_bytes()).await.unwrap();
    said(&mut client, b"end").await;
    client.write_all(ASKS).await.unwrap();
    said(&mut behind, b"\r\n\r\n").await;
    behind.write_all(answer.as_bytes()).await.unwrap();
    let mut header = [0u8; 5];
    let peeked = timeout(PATIENCE, client.get_ref().0.peek(&mut header)).await.unwrap().unwrap();
    let answer = said(&mut client, b"end").await;
    assert_eq!((peeked, parse(&answer)[0].body.len()), (header.len(), 1000));
    let record = usize::from(u16::from_be_bytes([header[3], header[4]]));
    assert_eq!(record, answer.len() + OF_A_RECORD, "of {} bytes", answer.len());
}

#[tokio::test]
async fn a_head_waits_for_no_body_and_a_body_for_no_end() {
    let (world, application) = gate().await;
    let tls = world.tls(None, &["http/1.1"]);
    let mut client = handshake(world.address(Door::Inside), "status.test", &tls).await.unwrap();
    client.write_all(ASKS).await.unwrap();
    let mut behind = asked(&application).await;
    behind.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n").await.unwrap();
    said(&mut client, b"\r\n\r\n").await;
    for part in [b"a", b"b", b"c", b"d"] {
        behind.write_all(part).await.unwrap();
        assert_eq!(said(&mut client, part).await, part);
    }
}
