//! A scripted login: follows redirects with a cookie jar, as a browser would, until the application answers.
//!
//! Knows no page and no form of anybody; it works because the provider asks the person nothing.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, COOKIE, HOST, LOCATION, SET_COOKIE, USER_AGENT};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

use super::nginx;
use crate::error::{Doing, Error, Result};
use crate::target::{Loopback, Version};
use crate::tls::{self, KeyExchange, Tickets};

/// A login takes six or so; more is a loop.
const MOST_REDIRECTS: usize = 20;

/// How much of an unexpected page stands in the error.
const SHOWN: usize = 600;

/// A browser that keeps a connection to each server, however many people log in with it, one after the other.
pub struct Browser {
    gate: Loopback,
    tls: Arc<ClientConfig>,
    connections: HashMap<String, SendRequest<Empty<Bytes>>>,
    jar: HashMap<String, BTreeMap<String, String>>,
}

struct Answer {
    status: StatusCode,
    location: Option<String>,
    text: String,
}

impl Browser {
    pub fn new(gate: Loopback, ca: &Path) -> Result<Self> {
        let roots = tls::certificates(ca)?;
        let tls = tls::client(roots, None, Version::Http1, KeyExchange::X25519, Tickets::Refused)?;
        Ok(Self { gate, tls, connections: HashMap::new(), jar: HashMap::new() })
    }

    /// Logs somebody in for `https://{host}/` and answers with the Cookie header that the host gets from then on.
    pub async fn session(&mut self, host: &str) -> Result<String> {
        self.jar.clear();
        let start = format!("https://{host}:{}{}", self.gate.address().port(), nginx::PATH);
        let mut url = Url::parse(&start).doing("address")?;
        for _ in 0..MOST_REDIRECTS {
            let answer = self.get(&url).await?;
            match answer.location {
                Some(next) => url = url.join(&next).doing(format!("redirect to `{next}`"))?,
                None if answer.status == StatusCode::OK && url.host_str() == Some(host) => {
                    return self.cookies(host).ok_or_else(|| Error::new(format!("{host} set no cookie at the login")));
                }
                None => {
                    let page: String = answer.text.chars().take(SHOWN).collect();
                    return Err(Error::new(format!("the login ended at {url} with {}:\n{page}", answer.status)));
                }
            }
        }
        Err(Error::new(format!("the login was still redirecting after {MOST_REDIRECTS} answers, to {url}")))
    }

    /// https is the gate whatever the host's name, http is the provider.
    async fn get(&mut self, url: &Url) -> Result<Answer> {
        let host = url.host_str().ok_or_else(|| Error::new(format!("{url} has no host")))?.to_owned();
        let authority = url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
        let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        let mut request = Request::get(path)
            .header(HOST, authority)
            .header(USER_AGENT, "Mozilla/5.0 (torhaus-loadtest)")
            .header(ACCEPT, "text/html,application/xhtml+xml,*/*;q=0.8")
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document");
        if let Some(cookies) = self.cookies(&host) {
            request = request.header(COOKIE, cookies);
        }
        let request = request.body(Empty::new()).doing(format!("request for {url}"))?;
        let (status, headers, text) = exchange(self.connection(url, &host).await?, request).await?;
        self.keep_cookies(host, &headers);
        let location = headers.get(LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(Answer { status, location: location.filter(|_| status.is_redirection()), text })
    }

    async fn connection(&mut self, url: &Url, host: &str) -> Result<&mut SendRequest<Empty<Bytes>>> {
        let place = format!("{}://{host}:{:?}", url.scheme(), url.port());
        let is_open = self.connections.get(&place).is_some_and(|open| !open.is_closed());
        if !is_open {
            let open = if url.scheme() == "https" {
                let tcp = TcpStream::connect(self.gate.address()).await.doing(url)?;
                let name = ServerName::try_from(host.to_owned()).doing(url)?;
                let connector = TlsConnector::from(Arc::clone(&self.tls));
                speak(connector.connect(name, tcp).await.doing(url)?).await?
            } else {
                let address: Loopback = format!("{host}:{}", url.port().unwrap_or(80)).parse()?;
                speak(TcpStream::connect(address.address()).await.doing(url)?).await?
            };
            self.connections.insert(place.clone(), open);
        }
        self.connections.get_mut(&place).ok_or_else(|| Error::new("no connection"))
    }

    fn cookies(&self, host: &str) -> Option<String> {
        let cookies: Vec<_> = self.jar.get(host)?.iter().map(|(name, value)| format!("{name}={value}")).collect();
        (!cookies.is_empty()).then(|| cookies.join("; "))
    }

    /// By host, which is what `__Host-` means; attributes matter only where they end a cookie.
    fn keep_cookies(&mut self, host: String, headers: &HeaderMap) {
        let kept = self.jar.entry(host).or_default();
        for line in headers.get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok()) {
            let mut parts = line.split(';').map(str::trim);
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
                continue;
            };
            let ended = value.is_empty() || parts.any(|attribute| attribute.eq_ignore_ascii_case("max-age=0"));
            if ended {
                kept.remove(name);
            } else {
                kept.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

async fn speak<S>(stream: S) -> Result<SendRequest<Empty<Bytes>>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.doing("login")?;
    tokio::spawn(driver);
    Ok(sender)
}

async fn exchange(
    sender: &mut SendRequest<Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
) -> Result<(StatusCode, HeaderMap, String)> {
    sender.ready().await.doing("login")?;
    let (head, body) = sender.send_request(request).await.doing("login")?.into_parts();
    let bytes = body.collect().await.doing("login")?.to_bytes();
    Ok((head.status, head.headers, String::from_utf8_lossy(&bytes).into_owned()))
}
