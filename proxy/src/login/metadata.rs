//! What a provider says of itself (OpenID Connect Discovery 1.0). Loaded when first needed, so that Torhaus starts
//! while a provider is down; refreshed behind the requests; the last good document is kept.
use super::http_client::{FetchError, HttpClient};
use super::jws::signature_algorithm;
use arc_swap::ArcSwapOption;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use torhaus_authz::Timestamp;
use url::Url;

/// Older than this, the document is asked for again in the background.
const REFRESH_AFTER: Duration = Duration::from_secs(3600);
/// After a failure the provider is left alone this long: every caller gets the same error at once.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The part of a discovery document that Torhaus acts on; every URL is absolute and as safe as the issuer's.
#[derive(Debug)]
pub struct Metadata {
    pub jwks_uri: Url,
    pub authorization_endpoint: Option<Url>,
    pub token_endpoint: Option<Url>,
    pub userinfo_endpoint: Option<Url>,
    pub end_session_endpoint: Option<Url>,
    /// Every authorization response carries `iss` (RFC 9207 s3).
    pub iss_parameter: bool,
    /// It reads the `claims` parameter, so that a level can be demanded and not only wished for.
    pub claims_parameter: bool,
    pub token_auth: TokenAuth,
    /// Asymmetric ones only; empty if the document names none.
    pub id_token_algorithms: Vec<Algorithm>,
    /// For `check --online`: a tier that asks for another one can never be proven.
    pub acr_values_supported: Option<Vec<String>>,
}

/// How the client's secret goes to the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenAuth {
    Basic,
    Post,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    #[error("the discovery document could not be read: {0}")]
    Fetch(#[from] FetchError),
    #[error(
        "the discovery document names issuer `{found}`, configured is `{expected}`; they must be equal byte for byte"
    )]
    Issuer { expected: String, found: String },
    #[error("the discovery document's `{0}` is missing, or is not a URL as safe as the issuer's")]
    Endpoint(&'static str),
    #[error("the provider signs with a shared secret only (HS256); give it a signing key (RS256 or ES256)")]
    OnlySymmetric,
}

/// The document of one issuer.
pub struct MetadataSource {
    http: Arc<HttpClient>,
    issuer: Arc<str>,
    current: ArcSwapOption<Loaded>,
    /// Held while asking: one asks, the others wait for its answer. Holds the last failure.
    flight: Mutex<Option<(Timestamp, MetadataError)>>,
}

struct Loaded {
    metadata: Arc<Metadata>,
    at: Timestamp,
}

impl MetadataSource {
    pub fn new(http: Arc<HttpClient>, issuer: Arc<str>) -> Arc<Self> {
        Arc::new(Self { http, issuer, current: ArcSwapOption::empty(), flight: Mutex::new(None) })
    }

    /// The document: from memory if there is one, otherwise asked for now.
    ///
    /// # Errors
    /// There is none yet, and asking failed now or a few seconds ago.
    pub async fn get(self: &Arc<Self>, now: Timestamp) -> Result<Arc<Metadata>, MetadataError> {
        let Some(loaded) = self.current.load_full() else {
            return self.load(now, None).await;
        };
        if now.since(loaded.at) > REFRESH_AFTER && self.flight.try_lock().is_ok() {
            let source = Arc::clone(self);
            let seen = loaded.at;
            tokio::spawn(async move {
                if let Err(error) = source.load(now, Some(seen)).await {
                    tracing::warn!(issuer = %source.issuer, %error, "kept the last good discovery document");
                }
            });
        }
        Ok(Arc::clone(&loaded.metadata))
    }

    /// The document if it is in memory; never asks.
    pub fn known(&self) -> Option<Arc<Metadata>> {
        self.current.load_full().map(|loaded| Arc::clone(&loaded.metadata))
    }

    /// Whether the issuer gave its document when it was last asked; none: it was not asked, or is being asked now.
    pub fn answers(&self) -> Option<bool> {
        let failure = self.flight.try_lock().ok()?;
        if failure.is_some() { Some(false) } else { self.current.load().as_ref().map(|_| true) }
    }

    /// Asks, unless someone else did since `seen`.
    async fn load(&self, now: Timestamp, seen: Option<Timestamp>) -> Result<Arc<Metadata>, MetadataError> {
        let mut failure = self.flight.lock().await;
        if let Some(loaded) = self.current.load_full()
            && seen != Some(loaded.at)
        {
            return Ok(Arc::clone(&loaded.metadata));
        }
        if let Some((at, error)) = &*failure
            && now >= *at
            && now.since(*at) < RETRY_AFTER
        {
            return Err(error.clone());
        }
        match self.fetch().await {
            Ok(metadata) => {
                let metadata = Arc::new(metadata);
                self.current.store(Some(Arc::new(Loaded { metadata: Arc::clone(&metadata), at: now })));
                *failure = None;
                Ok(metadata)
            }
            Err(error) => {
                *failure = Some((now, error.clone()));
                Err(error)
            }
        }
    }

    async fn fetch(&self) -> Result<Metadata, MetadataError> {
        // OpenID Connect Discovery 1.0 s4: a terminating `/` of the issuer is removed before appending.
        let text = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let url = Url::parse(&text).map_err(|_| MetadataError::Endpoint("issuer"))?;
        let document: Document = self.http.get_json(&url).await?;
        document.check(&self.issuer)
    }
}

/// As it stands in the document.
#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    userinfo_endpoint: Option<String>,
    end_session_endpoint: Option<String>,
    jwks_uri: Option<String>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    #[serde(default)]
    claims_parameter_supported: bool,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    id_token_signing_alg_values_supported: Option<Vec<String>>,
    acr_values_supported: Option<Vec<String>>,
}

impl Document {
    fn check(self, issuer: &str) -> Result<Metadata, MetadataError> {
        // Discovery 1.0 s4.3: MUST exactly match, a trailing slash included; no normalisation of URLs.
        if self.issuer != issuer {
            return Err(MetadataError::Issuer { expected: issuer.to_owned(), found: shorten(&self.issuer) });
        }
        let https = issuer.starts_with("https:");
        // A document for API tokens only (Kubernetes) may name `urn:…` here: not an endpoint to send people to.
        let optional = |text: Option<String>, name| match text {
            Some(text) if text.starts_with("urn:") => Ok(None),
            Some(text) => endpoint(&text, https).map(Some).ok_or(MetadataError::Endpoint(name)),
            None => Ok(None),
        };
        let algorithms = self.id_token_signing_alg_values_supported.unwrap_or_default();
        let id_token_algorithms: Vec<_> = algorithms.iter().filter_map(|name| signature_algorithm(name)).collect();
        if id_token_algorithms.is_empty() && !algorithms.is_empty() {
            return Err(MetadataError::OnlySymmetric);
        }
        Ok(Metadata {
            jwks_uri: self
                .jwks_uri
                .and_then(|text| endpoint(&text, https))
                .ok_or(MetadataError::Endpoint("jwks_uri"))?,
            authorization_endpoint: optional(self.authorization_endpoint, "authorization_endpoint")?,
            token_endpoint: optional(self.token_endpoint, "token_endpoint")?,
            userinfo_endpoint: optional(self.userinfo_endpoint, "userinfo_endpoint")?,
            end_session_endpoint: optional(self.end_session_endpoint, "end_session_endpoint")?,
            iss_parameter: self.authorization_response_iss_parameter_supported,
            claims_parameter: self.claims_parameter_supported,
            // Discovery 1.0 s3: if omitted, the default is client_secret_basic.
            token_auth: match self.token_endpoint_auth_methods_supported {
                Some(methods) if !methods.iter().any(|m| m == "client_secret_basic") => TokenAuth::Post,
                _ => TokenAuth::Basic,
            },
            id_token_algorithms,
            acr_values_supported: self.acr_values_supported,
        })
    }
}

/// An endpoint is https where the issuer is, names no user and has no fragment (RFC 6749 s3.1, s3.2).
fn endpoint(text: &str, https: bool) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let scheme = url.scheme() == "https" || (!https && url.scheme() == "http");
    let plain = url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    (scheme && plain && url.host().is_some()).then_some(url)
}

/// For an error line: a hostile document cannot fill it.
fn shorten(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
