//! HTTP/2 as no library would write it: frames and header blocks by hand (RFC 9113 section 4.1, RFC 7541 section 6.2.2).
use crate::harness::client::{Tls, handshake};
use crate::harness::{Door, PATIENCE, World};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

pub const DATA: u8 = 0x0;
pub const HEADERS: u8 = 0x1;
pub const PRIORITY: u8 = 0x2;
pub const RST_STREAM: u8 = 0x3;
pub const SETTINGS: u8 = 0x4;
pub const PING: u8 = 0x6;
pub const GOAWAY: u8 = 0x7;
pub const WINDOW_UPDATE: u8 = 0x8;
pub const CONTINUATION: u8 = 0x9;

pub const END_STREAM: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;
pub const ACK: u8 = 0x1;

pub struct Frame {
    pub kind: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Fields as literals without indexing, in this order, in any alphabet.
pub fn block(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name.as_bytes(), value] {
            length(text.len(), &mut bytes);
            bytes.extend(text);
        }
    }
    bytes
}

/// An integer with a prefix of seven bits (RFC 7541 section 5.1).
fn length(mut value: usize, bytes: &mut Vec<u8>) {
    if value < 127 {
        bytes.push(u8::try_from(value).unwrap());
        return;
    }
    bytes.push(127);
    value -= 127;
    while value >= 128 {
        bytes.push(u8::try_from(value % 128).unwrap() | 128);
        value /= 128;
    }
    bytes.push(u8::try_from(value).unwrap());
}

/// What a browser would ask.
pub fn get<'a>(host: &'a str, path: &'a str) -> Vec<(&'a str, &'a [u8])> {
    vec![
        (":method", b"GET"),
        (":scheme", b"https"),
        (":authority", host.as_bytes()),
        (":path", path.as_bytes()),
        ("accept", b"application/json"),
    ]
}

pub struct Raw {
    pub stream: TlsStream<TcpStream>,
    received: Vec<u8>,
}

impl Raw {
    /// A connection with its preface and settings sent.
    pub async fn open(world: &World, door: Door, host: &str) -> Self {
        Self::with(world.address(door), host, &world.tls(None, &["h2"])).await
    }

    pub async fn with(address: std::net::SocketAddr, host: &str, tls: &Tls) -> Self {
        let stream = handshake(address, host, tls).await.unwrap();
        let mut raw = Self { stream, received: Vec::new() };
        raw.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        raw.send(&frame(SETTINGS, 0, 0, &[])).await;
        raw
    }

    /// False when the gate is gone.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        timeout(PATIENCE, sent).await.is_ok_and(|sent| sent.is_ok())
    }

    /// The next frame; none when the gate has closed.
    pub async fn next(&mut self) -> Option<Frame> {
        let mut part = [0u8; 16 * 1024];
        loop {
            if let [a, b, c, kind, _, s0, s1, s2, s3, rest @ ..] = self.received.as_slice() {
                let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
                if rest.len() >= length {
                    let stream = u32::from_be_bytes([*s0, *s1, *s2, *s3]) & 0x7fff_ffff;
                    let found = Frame { kind: *kind, stream, payload: rest[..length].to_vec() };
                    self.received.drain(..9 + length);
                    return Some(found);
                }
            }
            match timeout(PATIENCE, self.stream.read(&mut part)).await.expect("the gate neither answers nor closes") {
                Ok(0) | Err(_) => return None,
                Ok(read) => self.received.extend_from_slice(&part[..read]),
            }
        }
    }

    /// What becomes of this stream: its answer, or how it or the connection ended.
    pub async fn outcome(&mut self, stream: u32) -> Ended {
        while let Some(frame) = self.next().await {
            match frame.kind {
                HEADERS if frame.stream == stream => return Ended::Answered(status(&frame.payload)),
                RST_STREAM if frame.stream == stream => return Ended::Reset,
                GOAWAY => return Ended::Closed,
                _ => {}
            }
        }
        Ended::Closed
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Answered(u16),
    Reset,
    Closed,
}

impl Ended {
    pub fn is_refusal(self) -> bool {
        !matches!(self, Self::Answered(100..400))
    }
}

/// The status that a header block begins with: indexed, or a literal with an indexed name (RFC 7541 appendix A). Text in
/// Huffman code is digits only: five or six bits each.
fn status(block: &[u8]) -> u16 {
    let block = match block {
        // A change of the table's size may come first.
        [first, rest @ ..] if first & 0xe0 == 0x20 => rest,
        block => block,
    };
    match block {
        [0x88, ..] => 200,
        [0x89, ..] => 204,
        [0x8a, ..] => 206,
        [0x8b, ..] => 304,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        [0x8e, ..] => 500,
        [0x08 | 0x48 | 0x18, length, rest @ ..] if length & 0x80 != 0 => digits(&rest[..usize::from(length & 0x7f)]),
        [0x08 | 0x48 | 0x18, 3, a, b, c, ..] => std::str::from_utf8(&[*a, *b, *c]).unwrap().parse().unwrap(),
        other => panic!("no status at the head of {:02x?}", &other[..other.len().min(8)]),
    }
}

fn digits(coded: &[u8]) -> u16 {
    let bits: Vec<u8> = coded.iter().flat_map(|byte| (0..8).rev().map(move |n| byte >> n & 1)).collect();
    let (mut at, mut value) = (0, 0u16);
    let number = |from: usize, length: usize| bits[from..from + length].iter().fold(0u8, |sum, bit| sum << 1 | bit);
    for _ in 0..3 {
        // 0, 1, 2 are five bits (0x0..0x2), 3 to 9 are six (0x19..0x1f).
        let short = number(at, 5);
        let digit = if short <= 2 {
            at += 5;
            short
        } else {
            at += 6;
            number(at - 6, 6) - 0x19 + 3
        };
        value = value * 10 + u16::from(digit);
    }
    value
}
