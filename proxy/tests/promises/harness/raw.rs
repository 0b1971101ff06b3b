//! Bytes that no HTTP library would send.
use crate::harness::PATIENCE;
use crate::harness::client::{Answer, Tls, handshake};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

/// Sends these bytes over TLS and reads until the gate closes, or is silent for a moment after it answered.
pub async fn exchange(address: SocketAddr, host: &str, tls: &Tls, bytes: &[u8]) -> Vec<Answer> {
    let mut stream = handshake(address, host, tls).await.unwrap();
    // The gate may answer before it has read all of it. It takes the rest all the same (RFC 9112 section 9.6).
    stream.write_all(bytes).await.unwrap();
    let mut received = Vec::new();
    let mut part = [0u8; 16 * 1024];
    loop {
        let patience = if received.is_empty() { PATIENCE } else { Duration::from_millis(150) };
        match timeout(patience, stream.read(&mut part)).await {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(read)) => received.extend_from_slice(&part[..read]),
            Err(_) if received.is_empty() => panic!("neither an answer nor an end to {:?}", bytes.escape_ascii()),
            Err(_) => break,
        }
    }
    parse(&received)
}

/// The answers in a stream of h1 responses that all say their length.
pub fn parse(mut rest: &[u8]) -> Vec<Answer> {
    let mut found = Vec::new();
    while let Some(end) = rest.windows(4).position(|window| window == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        rest = &rest[end + 4..];
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let headers: http::HeaderMap = head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .filter_map(|(name, value)| Some((name.parse::<http::HeaderName>().ok()?, value.trim().parse().ok()?)))
            .collect();
        let length = headers.get("content-length").and_then(|v| v.to_str().ok()?.parse().ok()).unwrap_or(rest.len());
        let (body, after) = rest.split_at(length.min(rest.len()));
        found.push(Answer { status, headers, body: String::from_utf8_lossy(body).into_owned() });
        rest = after;
    }
    found
}

/// One request to the admin socket.
pub async fn ask(socket: &std::path::Path, path: &str) -> (u16, String) {
    let mut stream = tokio::net::UnixStream::connect(socket).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: local\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}
