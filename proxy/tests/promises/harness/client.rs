//! One TLS connection to the gate, over h1 or h2, and what comes back.
use crate::harness::PATIENCE;
use crate::harness::echo::Seen;
use crate::harness::pki::Identity;
use bytes::Bytes;
use http::{HeaderMap, Request, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub type Tls = Arc<ClientConfig>;

/// A request, before it is written in one protocol or the other.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: &'static str,
    pub host: String,
    /// Path and query.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

pub struct Connection {
    sender: Sender,
    pub resumed: bool,
}

enum Sender {
    H1(http1::SendRequest<Full<Bytes>>),
    H2(http2::SendRequest<Full<Bytes>>),
}

/// Trusts the test's own authority. Keeps tickets: connections made with the same one may resume.
pub fn tls(web_ca: &[u8], identity: Option<&Identity>, alpn: &[&str]) -> Tls {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(web_ca.to_vec())).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = CertificateDer::pem_slice_iter(identity.cert_pem.as_bytes()).map(Result::unwrap).collect();
            let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// # Errors
/// The gate hung up or refused the handshake.
pub async fn handshake(address: SocketAddr, host: &str, tls: &Tls) -> std::io::Result<TlsStream<TcpStream>> {
    bounded(async {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        TlsConnector::from(tls.clone()).connect(ServerName::try_from(host.to_owned()).unwrap(), tcp).await
    })
    .await
}

impl Call {
    pub fn get(host: &str, target: &str) -> Self {
        let (host, target) = (host.to_owned(), target.to_owned());
        Self { method: "GET", host, target, headers: Vec::new(), body: String::new() }
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn request(&self, version: Version) -> Request<Full<Bytes>> {
        let mut request = Request::builder().method(self.method);
        request = match version {
            Version::HTTP_2 => request.uri(format!("https://{}{}", self.host, self.target)).version(Version::HTTP_2),
            _ => request.uri(&*self.target).header("host", &self.host),
        };
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.body(Full::new(Bytes::from(self.body.clone()))).unwrap()
    }
}

impl Connection {
    /// # Errors
    /// What went wrong, in words.
    pub async fn open(address: SocketAddr, host: &str, tls: &Tls) -> Result<Self, String> {
        let stream = handshake(address, host, tls).await.map_err(|e| e.to_string())?;
        let session = stream.get_ref().1;
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        let h2 = session.alpn_protocol() == Some(b"h2");
        let io = TokioIo::new(stream);
        let sender = if h2 {
            let (sender, connection) =
                http2::handshake(TokioExecutor::new(), io).await.map_err(|e| format!("{e:?}"))?;
            tokio::spawn(connection);
            Sender::H2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await.map_err(|e| format!("{e:?}"))?;
            tokio::spawn(connection);
            Sender::H1(sender)
        };
        Ok(Self { sender, resumed })
    }

    /// Whether another request can be sent: the gate has not said that it closes.
    pub async fn is_open(&mut self) -> bool {
        match &mut self.sender {
            Sender::H1(sender) => sender.ready().await.is_ok(),
            Sender::H2(sender) => sender.ready().await.is_ok(),
        }
    }

    /// Sends, and returns when the head of the answer is there.
    ///
    /// # Errors
    /// The connection ended instead.
    pub async fn start(&mut self, call: &Call) -> Result<http::Response<Incoming>, String> {
        let answered = async {
            match &mut self.sender {
                Sender::H1(sender) => {
                    sender.ready().await?;
                    sender.send_request(call.request(Version::HTTP_11)).await
                }
                Sender::H2(sender) => {
                    sender.ready().await?;
                    sender.send_request(call.request(Version::HTTP_2)).await
                }
            }
        };
        bounded(answered).await.map_err(|e| format!("{e:?}"))
    }

    /// # Errors
    /// The connection ended before the whole answer was there.
    pub async fn send(&mut self, call: &Call) -> Result<Answer, String> {
        let (head, body) = self.start(call).await?.into_parts();
        let body = bounded(body.collect()).await.map_err(|e| format!("{e:?}"))?.to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The reason that a problem document or a page gives.
    pub fn reason(&self) -> Option<String> {
        let problem: Option<serde_json::Value> = serde_json::from_str(&self.body).ok();
        match problem {
            Some(problem) => Some(problem["type"].as_str()?.strip_prefix("urn:torhaus:reason:")?.to_owned()),
            None => Some(self.body.split_once("<dd><code>")?.1.split_once('<')?.0.to_owned()),
        }
    }

    /// The number under which a refusal is recorded.
    pub fn decision(&self) -> Option<String> {
        let problem: serde_json::Value = serde_json::from_str(&self.body).ok()?;
        Some(problem["decision"].as_str()?.to_owned())
    }

    /// Status and reason: what a row of a table says.
    pub fn outcome(&self) -> (u16, String) {
        let reason = self.reason().unwrap_or_default();
        (self.status, if self.status == 200 && reason.is_empty() { "allowed".into() } else { reason })
    }

    /// What the application got.
    pub fn seen(&self) -> Seen {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("no application answered ({e}): {self:?}"))
    }
}

async fn bounded<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("no answer in time")
}
