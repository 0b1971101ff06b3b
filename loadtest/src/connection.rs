//! One TLS connection and the requests on it. Never retries: what fails is counted.

use std::fmt;
use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::body::Zeros;
use crate::target::{Target, Version};

/// Why an operation does not count. The kind is the key of the report's error table.
#[derive(Debug)]
pub struct Fault {
    pub kind: FaultKind,
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    Connect,
    Tls,
    Http,
    Body,
    Status(u16),
    /// Still without an answer when the run was over.
    Unanswered,
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connect"),
            Self::Tls => f.write_str("tls"),
            Self::Http => f.write_str("http"),
            Self::Body => f.write_str("body"),
            Self::Status(code) => write!(f, "status {code}"),
            Self::Unanswered => f.write_str("unanswered"),
        }
    }
}

impl FaultKind {
    fn because(self, detail: impl fmt::Display) -> Fault {
        Fault { kind: self, detail: detail.to_string() }
    }
}

/// What rustls says about the handshake, not what we asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    Full,
    Resumed,
}

#[derive(Debug)]
pub struct Connection {
    sender: Sender,
    pub handshake: Handshake,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Zeros>),
    Http2(http2::SendRequest<Zeros>),
}

impl Connection {
    pub async fn open(target: &Target, tls: &Arc<ClientConfig>) -> Result<Self, Fault> {
        let tcp =
            TcpStream::connect(target.address.address()).await.map_err(|error| FaultKind::Connect.because(error))?;
        tcp.set_nodelay(true).map_err(|error| FaultKind::Connect.because(error))?;
        let name = ServerName::try_from(target.host.clone()).map_err(|error| FaultKind::Tls.because(error))?;
        let stream = TlsConnector::from(Arc::clone(tls))
            .connect(name, tcp)
            .await
            .map_err(|error| FaultKind::Tls.because(error))?;
        let (_, session) = stream.get_ref();
        let wanted = target.version.alpn();
        // A server without ALPN speaks HTTP/1.1 (RFC 7301 s3.1); h2 has to be agreed on.
        let agreed = session.alpn_protocol();
        if agreed != Some(wanted) && !(agreed.is_none() && target.version == Version::Http1) {
            return Err(FaultKind::Tls.because("the server did not agree on the protocol asked for"));
        }
        let handshake = match session.handshake_kind() {
            Some(HandshakeKind::Resumed) => Handshake::Resumed,
            Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest) => Handshake::Full,
            None => return Err(FaultKind::Tls.because("the handshake did not complete")),
        };
        let io = TokioIo::new(stream);
        // The tasks end when the sender is dropped; their errors reach the caller as those of a request.
        let sender = match target.version {
            Version::Http1 => {
                let (sender, driver) =
                    http1::handshake(io).await.map_err(|error| FaultKind::Http.because(describe(&error)))?;
                tokio::spawn(driver);
                Sender::Http1(sender)
            }
            Version::Http2 => {
                let (sender, driver) = http2::handshake(TokioExecutor::new(), io)
                    .await
                    .map_err(|error| FaultKind::Http.because(describe(&error)))?;
                tokio::spawn(driver);
                Sender::Http2(sender)
            }
        };
        Ok(Self { sender, handshake })
    }

    /// A second handle for another stream of the same h2 connection; h1 has none.
    pub fn another_stream(&self) -> Option<Self> {
        match &self.sender {
            Sender::Http1(_) => None,
            Sender::Http2(sender) => Some(Self { sender: Sender::Http2(sender.clone()), handshake: self.handshake }),
        }
    }

    pub fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }

    /// Sends one request and reads its answer to the end.
    pub async fn exchange(&mut self, target: &Target) -> Result<(), Fault> {
        let request = target.request();
        let answer = match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await.map_err(|error| FaultKind::Http.because(describe(&error)))?;
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                sender.ready().await.map_err(|error| FaultKind::Http.because(describe(&error)))?;
                sender.send_request(request).await
            }
        };
        let answer = answer.map_err(|error| FaultKind::Http.because(describe(&error)))?;
        let status = answer.status().as_u16();
        let bytes = drain(answer.into_body()).await?;
        if status != target.expected.status {
            return Err(FaultKind::Status(status).because(format!("expected {}, got {status}", target.expected.status)));
        }
        match target.expected.body_bytes {
            Some(expected) if expected != bytes => {
                Err(FaultKind::Body.because(format!("expected {expected} bytes, got {bytes}")))
            }
            _ => Ok(()),
        }
    }
}

async fn drain(mut body: Incoming) -> Result<u64, Fault> {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| FaultKind::Body.because(describe(&error)))?;
        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
    Ok(bytes)
}

/// hyper's errors keep the useful half in their source.
fn describe(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
