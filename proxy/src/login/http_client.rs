//! Asks a provider, or another source of facts, over HTTP: believed through its own CA file or the system's roots, never
//! redirected, never waited for long, never read beyond a bound. Knows nothing of OpenID Connect.
use http::StatusCode;
use std::error::Error as _;
use std::path::Path;
use std::time::Duration;
use url::{Host, Url};
use zeroize::Zeroizing;

/// A provider that does not take the connection in this time is down: people wait in front of a page.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long and how much.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// From the first byte sent to the last byte read.
    pub total: Duration,
    /// Largest answer read, in bytes. No compressed encoding is offered, so a small body cannot become a large one.
    pub body: usize,
}

impl Bounds {
    /// Of a provider. Discovery documents and key sets are a few KiB; a token answer with many groups is less than
    /// 200 KiB.
    const PROVIDER: Self = Self { total: Duration::from_secs(10), body: 1024 * 1024 };
}

/// Talks to the endpoints of one issuer.
pub struct HttpClient {
    client: reqwest::Client,
    bounds: Bounds,
}

/// What came back. The body may hold tokens: it is wiped, and never shown.
pub struct Answer {
    pub status: StatusCode,
    body: Zeroizing<Vec<u8>>,
}

/// The client could not be built. Found at start, not at the first login.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HttpClientError {
    #[error("`{file}`: {problem}")]
    CaFile { file: String, problem: String },
    #[error(
        "the certificate authorities of this system cannot be used ({0}); name the issuer's own in `ca_file`, or install \
         some (`SSL_CERT_FILE` says where)"
    )]
    SystemAuthorities(String),
    #[error("no TLS provider is installed in this process")]
    NoTlsProvider,
    #[error("the HTTP client could not be built: {0}")]
    Build(String),
}

/// Why there is no answer. Never holds an URL's query, a body or a credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    #[error("`{host}` did not take the connection: {problem}")]
    Connect { host: String, problem: String },
    #[error("`{host}` did not answer in time")]
    Timeout { host: String },
    #[error("`{host}` answered with a redirect; Torhaus follows none: configure the final address")]
    Redirect { host: String },
    #[error("`{host}` sent more than {mib} MiB")]
    TooLarge { host: String, mib: usize },
    #[error("`{host}` broke off: {problem}")]
    Broken { host: String, problem: String },
    #[error("`{host}` answered with status {status}")]
    Status { host: String, status: u16 },
    #[error("the answer of `{host}` is not JSON: {problem}")]
    NotJson { host: String, problem: String },
}

impl HttpClient {
    /// A client for the endpoints of `issuer`. With a CA file, only certificates of that CA are believed.
    ///
    /// # Errors
    /// 1. the CA file cannot be read or holds no certificate; 2. no rustls provider is installed; 3. the system's
    ///    roots cannot be read.
    pub fn new(issuer: &Url, ca_file: Option<&Path>) -> Result<Self, HttpClientError> {
        Self::within(issuer, ca_file, Bounds::PROVIDER)
    }

    /// The same with other bounds.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn within(issuer: &Url, ca_file: Option<&Path>, bounds: Bounds) -> Result<Self, HttpClientError> {
        Ok(Self { client: client_for(issuer, ca_file, bounds.total)?, bounds })
    }

    /// # Errors
    /// As [`FetchError`]; a status other than 2xx is an answer here.
    pub async fn get(&self, url: &Url, bearer: Option<&str>) -> Result<Answer, FetchError> {
        let mut request = self.client.get(url.clone()).header(http::header::ACCEPT, "application/json");
        if let Some(token) = bearer {
            request = request.bearer_auth(token);
        }
        self.send(request, url).await
    }

    /// The same with one header, whose value is a secret.
    ///
    /// # Errors
    /// As [`FetchError`]; a status other than 2xx is an answer here.
    pub async fn get_with(&self, url: &Url, header: Option<(&str, &str)>) -> Result<Answer, FetchError> {
        let mut request = self.client.get(url.clone()).header(http::header::ACCEPT, "application/json");
        if let Some((name, value)) = header {
            request = request.header(name, secret_value(value, url)?);
        }
        self.send(request, url).await
    }

    /// Posts a form, with HTTP basic authentication if given (user and password already encoded).
    ///
    /// # Errors
    /// As [`FetchError`]; a status other than 2xx is an answer here.
    pub async fn post_form(
        &self,
        url: &Url,
        fields: &[(&str, &str)],
        basic: Option<(&str, &str)>,
    ) -> Result<Answer, FetchError> {
        let mut request = self.client.post(url.clone()).header(http::header::ACCEPT, "application/json").form(fields);
        if let Some((user, password)) = basic {
            request = request.basic_auth(user, Some(password));
        }
        self.send(request, url).await
    }

    /// Posts a JSON document, with headers whose values are secrets.
    ///
    /// # Errors
    /// As [`FetchError`]; a status other than 2xx is an answer here.
    pub async fn post_json<'a>(
        &self,
        url: &Url,
        document: &serde_json::Value,
        headers: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Answer, FetchError> {
        let mut request = self.client.post(url.clone()).json(document);
        for (name, value) in headers {
            request = request.header(name, secret_value(value, url)?);
        }
        self.send(request, url).await
    }

    /// Gets a JSON document.
    ///
    /// # Errors
    /// As [`FetchError`]; every status but 200 is an error.
    pub async fn get_json<T: serde::de::DeserializeOwned>(&self, url: &Url) -> Result<T, FetchError> {
        let answer = self.get(url, None).await?;
        if answer.status != StatusCode::OK {
            return Err(FetchError::Status { host: host_of(url), status: answer.status.as_u16() });
        }
        answer.json(url)
    }

    async fn send(&self, request: reqwest::RequestBuilder, url: &Url) -> Result<Answer, FetchError> {
        let host = host_of(url);
        let mut response = request.send().await.map_err(|e| explain(e, &host))?;
        let status = response.status();
        if status.is_redirection() {
            return Err(FetchError::Redirect { host });
        }
        let mut body = Zeroizing::new(Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(|e| explain(e, &host))? {
            if body.len() + chunk.len() > self.bounds.body {
                return Err(FetchError::TooLarge { host, mib: self.bounds.body >> 20 });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, body })
    }
}

/// A client for one server, as [`HttpClient::new`] makes it; an answer may take `total`.
///
/// # Errors
/// As [`HttpClient::new`].
pub fn client_for(server: &Url, ca_file: Option<&Path>, total: Duration) -> Result<reqwest::Client, HttpClientError> {
    // reqwest would panic instead (its feature `rustls-no-provider`).
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        return Err(HttpClientError::NoTlsProvider);
    }
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT.min(total))
        .timeout(total)
        .referer(false)
        .user_agent(concat!("torhaus/", env!("CARGO_PKG_VERSION")))
        // No endpoint of a server that is reached by TLS may be a plain one.
        .https_only(server.scheme() == "https");
    if is_loopback(server) {
        // `HTTPS_PROXY` counts for servers in the cloud, never for one on this machine.
        builder = builder.no_proxy();
    }
    if let Some(file) = ca_file {
        builder = builder.tls_certs_only(read_certificates(file)?);
    }
    builder.build().map_err(|e| match ca_file {
        Some(_) => HttpClientError::Build(innermost(e)),
        None => HttpClientError::SystemAuthorities(innermost(e)),
    })
}

impl Answer {
    /// Itself, if its status is one of success.
    ///
    /// # Errors
    /// It is another one.
    pub fn success(self, url: &Url) -> Result<Self, FetchError> {
        match self.status.is_success() {
            true => Ok(self),
            false => Err(FetchError::Status { host: host_of(url), status: self.status.as_u16() }),
        }
    }

    /// # Errors
    /// The body is not JSON of this shape.
    pub fn json<T: serde::de::DeserializeOwned>(&self, url: &Url) -> Result<T, FetchError> {
        serde_json::from_slice(&self.body).map_err(|e| FetchError::NotJson {
            host: host_of(url),
            // Only the kind and the place: serde's own text can quote the value.
            problem: format!("{:?} error at line {} column {}", e.classify(), e.line(), e.column()),
        })
    }
}

fn explain(error: reqwest::Error, host: &str) -> FetchError {
    let host = host.to_owned();
    if error.is_timeout() {
        return FetchError::Timeout { host };
    }
    if error.is_connect() {
        return FetchError::Connect { host, problem: innermost(error) };
    }
    FetchError::Broken { host, problem: innermost(error) }
}

/// The last cause says most ("connection refused", "invalid peer certificate: UnknownIssuer"), and names no URL.
pub fn innermost(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    text
}

fn read_certificates(file: &Path) -> Result<Vec<reqwest::Certificate>, HttpClientError> {
    let problem = |problem: String| HttpClientError::CaFile { file: file.display().to_string(), problem };
    let pem = std::fs::read(file).map_err(|e| problem(e.to_string()))?;
    let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| problem(innermost(e)))?;
    if certificates.is_empty() {
        // An empty list must not come to mean "the system's roots" (compare Caddy CVE-2026-27586).
        return Err(problem("holds no certificate".to_owned()));
    }
    Ok(certificates)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

fn secret_value(value: &str, url: &Url) -> Result<http::HeaderValue, FetchError> {
    let broken = |_| FetchError::Broken { host: host_of(url), problem: "the secret is no header value".into() };
    let mut value = http::HeaderValue::from_str(value).map_err(broken)?;
    value.set_sensitive(true);
    Ok(value)
}

fn host_of(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}
