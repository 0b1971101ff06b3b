//! What the validation of a challenge sees of the network. Only addresses of configured networks are dialled; by default
//! none: a name can point at anything, and whoever holds a one-time key chooses it (SSRF). What an answer must say is
//! checked by the ACME server.
use crate::acme::dns::{self, DnsError};
use async_trait::async_trait;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, SignatureScheme};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use torhaus_certs::acme::{DnsName, Identifier, MAX_PROBE_BODY_BYTES, Probe, Unseen};
use torhaus_config::AcmeProbe;
use url::Url;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// One look, redirects and name servers included: the client waits for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// RFC 8555 section 8.3 lets a server follow redirects; browsers stop at twenty, honest web servers need two.
const MOST_REDIRECTS: usize = 10;
/// RFC 8737 section 3.
const ALPN: &[u8] = b"acme-tls/1";

pub struct Network {
    config: AcmeProbe,
    resolver: Option<SocketAddr>,
}

impl Network {
    pub fn new(config: AcmeProbe) -> Self {
        let resolver = config.resolver.or_else(dns::of_system);
        Self { config, resolver }
    }

    /// Addresses that may be dialled, each checked: a name that also points inside is no way in.
    async fn allowed(&self, host: &Identifier) -> Result<Vec<IpAddr>, Unseen> {
        let found = match host {
            Identifier::Ip(address) => vec![*address],
            Identifier::Dns(name) => {
                let server = self.resolver.ok_or_else(|| unresolved(&DnsError::NoServer))?;
                dns::addresses(server, name.as_str()).await.map_err(|error| unresolved(&error))?
            }
        };
        let in_networks = |address: &IpAddr| {
            // ::ffff:10.0.0.1 is 10.0.0.1.
            let address = address.to_canonical();
            self.config.networks.iter().any(|network| network.contains(&address))
        };
        let allowed: Vec<_> = found.into_iter().filter(in_networks).collect();
        if allowed.is_empty() { Err(Unseen::NotAllowed) } else { Ok(allowed) }
    }

    async fn connect(&self, host: &Identifier, port: u16) -> Result<TcpStream, Unseen> {
        for address in self.allowed(host).await? {
            if let Ok(stream) = TcpStream::connect((address, port)).await {
                return Ok(stream);
            }
        }
        Err(Unseen::Connection(format!("nobody answers on port {port}")))
    }

    async fn fetch(&self, host: &Identifier, path: &str) -> Result<Vec<u8>, Unseen> {
        let start = match host {
            Identifier::Ip(IpAddr::V6(address)) => format!("http://[{address}]{path}"),
            host => format!("http://{host}{path}"),
        };
        let mut url: Url = start.parse().map_err(|_| Unseen::Connection("the name is no host".into()))?;
        for _ in 0..=MOST_REDIRECTS {
            match self.get(&url).await? {
                Got::Body(body) => return Ok(body),
                Got::Elsewhere(location) => {
                    url = url.join(&location).map_err(|_| Unseen::Connection("a redirect to nowhere".into()))?;
                }
            }
        }
        Err(Unseen::Connection(format!("more than {MOST_REDIRECTS} redirects")))
    }

    async fn get(&self, url: &Url) -> Result<Got, Unseen> {
        let broken = |_| Unseen::Connection("the answer is not HTTP".into());
        let host = host_of(url)?;
        let plain = match (url.scheme(), url.port()) {
            ("http", None | Some(80)) => true,
            ("https", None | Some(443)) => false,
            _ => return Err(Unseen::Connection("redirects lead to ports 80 and 443 only".into())),
        };
        let request = http::Request::get(url[url::Position::BeforePath..url::Position::AfterQuery].to_owned())
            .header(http::header::HOST, url.host_str().unwrap_or_default())
            .header(http::header::USER_AGENT, "torhaus-acme")
            .body(Empty::<Bytes>::new())
            .map_err(|_| Unseen::Connection("a redirect to nowhere".into()))?;
        let answer = if plain {
            let stream = self.connect(&host, self.config.http_port).await?;
            exchange(stream, request).await.map_err(broken)?
        } else {
            let stream = self.connect(&host, self.config.tls_port).await?;
            let stream = tls(stream, url.host_str().unwrap_or_default(), b"http/1.1").await?;
            exchange(stream, request).await.map_err(broken)?
        };
        Ok(answer)
    }
}

enum Got {
    Body(Vec<u8>),
    Elsewhere(String),
}

async fn exchange<S>(stream: S, request: http::Request<Empty<Bytes>>) -> Result<Got, hyper::Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let answer = sender.send_request(request).await;
    let got = async {
        let answer = answer?;
        let location = answer.headers().get(http::header::LOCATION).and_then(|value| value.to_str().ok());
        if let Some(location) = location.filter(|_| answer.status().is_redirection()) {
            return Ok(Got::Elsewhere(location.to_owned()));
        }
        if answer.status() != http::StatusCode::OK {
            // What an error page says is nobody's business here.
            return Ok(Got::Body(Vec::new()));
        }
        let mut body = answer.into_body();
        let mut read = Vec::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                read.extend_from_slice(&data);
            }
            if read.len() > MAX_PROBE_BODY_BYTES {
                read.truncate(MAX_PROBE_BODY_BYTES);
                break;
            }
        }
        Ok(Got::Body(read))
    };
    let got = got.await;
    driver.abort();
    got
}

fn host_of(url: &Url) -> Result<Identifier, Unseen> {
    let nowhere = || Unseen::Connection("a redirect to nowhere".into());
    match url.host().ok_or_else(nowhere)? {
        url::Host::Ipv4(address) => Ok(Identifier::Ip(address.into())),
        url::Host::Ipv6(address) => Ok(Identifier::Ip(address.into())),
        url::Host::Domain(name) => DnsName::parse(name).map(Identifier::Dns).map_err(|_| nowhere()),
    }
}

fn unresolved(error: &DnsError) -> Unseen {
    Unseen::Dns(error.to_string())
}

#[async_trait]
impl Probe for Network {
    async fn http(&self, host: &Identifier, path: &str) -> Result<Vec<u8>, Unseen> {
        timeout(PATIENCE, self.fetch(host, path)).await.unwrap_or_else(|_| Err(too_slow()))
    }

    async fn txt(&self, name: &DnsName) -> Result<Vec<Vec<u8>>, Unseen> {
        let server = self.resolver.ok_or_else(|| unresolved(&DnsError::NoServer))?;
        let asked = timeout(PATIENCE, dns::txt(server, name.as_str())).await;
        asked.unwrap_or(Err(DnsError::Silent)).map_err(|error| unresolved(&error))
    }

    async fn tls_alpn(&self, host: &Identifier, server_name: &str) -> Result<Vec<u8>, Unseen> {
        let look = async {
            let stream = tls(self.connect(host, self.config.tls_port).await?, server_name, ALPN).await?;
            let (_, session) = stream.get_ref();
            if session.alpn_protocol() != Some(ALPN) {
                return Err(Unseen::Tls("the server does not speak `acme-tls/1`".into()));
            }
            let shown = session.peer_certificates().and_then(<[_]>::first);
            shown.map(|leaf| leaf.to_vec()).ok_or_else(|| Unseen::Tls("the server shows no certificate".into()))
        };
        timeout(PATIENCE, look).await.unwrap_or_else(|_| Err(too_slow()))
    }
}

fn too_slow() -> Unseen {
    Unseen::Connection("no answer within ten seconds".into())
}

async fn tls(stream: TcpStream, name: &str, alpn: &[u8]) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Unseen> {
    let failed = || Unseen::Tls("the TLS handshake failed".into());
    let provider = Arc::new(provider::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|_| failed())?.dangerous().with_custom_certificate_verifier(Arc::new(Anybody));
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let name = ServerName::try_from(name.to_owned()).map_err(|_| failed())?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|_| failed())
}

/// A challenge's certificate is self-signed (RFC 8737 section 3), and a redirect to https proves no more than http does
/// (RFC 8555 section 8.3): who is believed is decided by what is shown. Nothing else is sent or read over it.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        signed_by(leaf, message, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        signed_by(leaf, message, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// By the key in the certificate. rustls's own helpers read all of it first, and refuse the critical extension that a
/// challenge's certificate has to have.
fn signed_by(
    leaf: &CertificateDer<'_>,
    message: &[u8],
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, TlsError> {
    let bad = || TlsError::InvalidCertificate(CertificateError::BadSignature);
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| TlsError::from(CertificateError::BadEncoding))?;
    let key = &leaf.public_key().subject_public_key.data;
    let known = provider::default_provider().signature_verification_algorithms;
    let fits = known.mapping.iter().filter(|(scheme, _)| *scheme == signature.scheme).flat_map(|(_, all)| all.iter());
    let mut fits = fits.map(|algorithm| algorithm.verify_signature(key, message, signature.signature()));
    fits.any(|verified| verified.is_ok()).then(HandshakeSignatureValid::assertion).ok_or_else(bad)
}
