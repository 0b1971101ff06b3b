//! JWT access tokens of API callers (RFC 9068, RFC 8725). A token of an issuer that is not configured is the
//! application's own: it passes untouched and identifies nobody here.
use super::challenge::Challenge;
use crate::login::claims::{OddClaim, text, texts, time};
use crate::login::http_client::{HttpClient, HttpClientError};
use crate::login::id_token::{LEEWAY, is_subject};
use crate::login::jws::{Claims, Header, JwsError, Unverified, Verified};
use crate::login::keys::{KeyError, KeySource, Sender};
use crate::login::metadata::{MetadataError, MetadataSource};
use crate::login::names::{NameError, Names, display_name, email};
use crate::login::proofs::{self, Evidence, WithoutAuthTime};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use moka::sync::Cache;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use subtle::ConstantTimeEq;
use torhaus_authz::{Fact, Groups, Name, Proof, Timestamp, User, Why};
use torhaus_config::BearerIssuer;

/// About 1 KiB each; a busy API has hundreds of callers.
const MAX_CACHED: u64 = 20_000;
/// A token that is used all day is looked at again this often even if its issuer's keys stay the same.
const CACHED_FOR: Duration = Duration::from_secs(300);

/// Verifies bearer tokens of the configured issuers.
pub struct BearerVerifier {
    issuers: HashMap<Arc<str>, Vec<Issuer>>,
    /// By SHA-256 of the token: the hot path is one hash and one look.
    cache: Cache<[u8; 32], Arc<Cached>>,
}

struct Issuer {
    config: BearerIssuer,
    metadata: Arc<MetadataSource>,
    keys: Arc<KeySource>,
    names: Names,
    acr_values: Arc<HashMap<Name, Vec<String>>>,
}

struct Cached {
    identity: Arc<BearerIdentity>,
    keys: Arc<KeySource>,
    /// Generation of the keys that it was verified with.
    generation: u64,
}

/// What a token says of its caller, verified.
#[derive(Debug)]
pub struct BearerIdentity {
    pub user: Arc<User>,
    pub display_name: Option<String>,
    pub email: Option<String>,
    pub groups: Fact<Arc<Groups>>,
    pub proofs: Arc<[Proof]>,
    /// The token's own end.
    pub expires: Timestamp,
    /// RFC 8705 s3: counts only on a connection with this client certificate (SHA-256 of the DER).
    bound_to: Option<[u8; 32]>,
    /// Accepted `acr` values by tier, for a challenge.
    acr_values: Arc<HashMap<Name, Vec<String>>>,
}

/// Whose a token is.
#[derive(Debug)]
pub enum Bearer {
    /// Not a JWT, or of an issuer that is not configured: the application's business, nobody here.
    NotOurs,
    Identified(Arc<BearerIdentity>),
    Refused(BearerError),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BearerError {
    #[error("{0}")]
    Token(#[from] JwsError),
    #[error("{0}")]
    Metadata(#[from] MetadataError),
    #[error("{0}")]
    Key(#[from] KeyError),
    #[error("{0} (access token)")]
    Odd(#[from] OddClaim),
    #[error("{0}")]
    Name(#[from] NameError),
    #[error("the token is not an access token")]
    NotAnAccessToken,
    #[error("the token is not for this service (`aud`)")]
    Audience,
    #[error("the token does not say when it expires")]
    NoExpiry,
    #[error("the token has expired")]
    Expired,
    #[error("the token was issued in the future, or is not valid yet")]
    NotYetValid,
    #[error("the token names no subject, or one that is not at most 255 ASCII characters")]
    Subject,
    #[error("the token is bound to a key in a way that Torhaus cannot check (`cnf`)")]
    UnknownBinding,
    #[error("the token is bound to a client certificate that this connection did not present (RFC 8705)")]
    WrongCertificate,
}

impl BearerError {
    /// The issuer could not be asked: 503, not 401.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Metadata(MetadataError::Fetch(_)) | Self::Key(KeyError::Fetch(_)))
    }

    /// What the caller is told: of the issuer's troubles only that there are some.
    pub fn challenge(&self) -> String {
        match self {
            Self::Metadata(_) | Self::Key(KeyError::Fetch(_)) => {
                Challenge::InvalidToken("the issuer's keys are not available").header()
            }
            other => Challenge::InvalidToken(&other.to_string()).header(),
        }
    }
}

impl BearerIdentity {
    /// RFC 9470: what a token would have to prove for `tier`.
    pub fn step_up_challenge(&self, tier: &str, max_age: Option<Duration>) -> String {
        let acr_values = self.acr_values.get(tier).map_or(&[][..], Vec::as_slice);
        Challenge::InsufficientAuthentication { acr_values, max_age }.header()
    }
}

/// The token of an `Authorization` header, if it is a bearer's (RFC 6750 s2.1; the scheme in any case, RFC 9110 s11.1).
pub fn token_of(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

impl BearerVerifier {
    /// Asks nobody. `others` are the names of all providers and bearer issuers (see [`Names`]). Of `before`, what it
    /// learned from the network is taken over.
    ///
    /// # Errors
    /// The HTTP client cannot be built, as with an unreadable CA file.
    pub fn new(
        configured: &[BearerIssuer],
        others: &Arc<[Name]>,
        before: Option<&Self>,
    ) -> Result<Self, HttpClientError> {
        let mut issuers: HashMap<Arc<str>, Vec<Issuer>> = HashMap::new();
        for config in configured {
            let of_issuer = issuers.entry(Arc::clone(&config.issuer_text)).or_default();
            // One issuer with two audiences has one document and one set of keys. A CA file may hold another CA now.
            let known = of_issuer.first().or_else(|| {
                let before = before?.issuers.get(&config.issuer_text)?.first()?;
                (before.config.ca_file.is_none() && config.ca_file.is_none()).then_some(before)
            });
            let (metadata, keys) = match known {
                Some(known) => (Arc::clone(&known.metadata), Arc::clone(&known.keys)),
                None => {
                    let http = Arc::new(HttpClient::new(&config.issuer, config.ca_file.as_deref())?);
                    let metadata = MetadataSource::new(Arc::clone(&http), Arc::clone(&config.issuer_text));
                    (metadata, KeySource::new(http))
                }
            };
            let prefix = (!config.first).then(|| Arc::clone(&config.provider));
            let names = Names::new(prefix, Arc::clone(others), &config.user_claim, &config.groups_claim);
            let acr_values = config.tiers.iter().map(|(tier, needs)| (Arc::clone(tier), needs.acr.clone()));
            let acr_values = Arc::new(acr_values.collect());
            of_issuer.push(Issuer { config: config.clone(), metadata, keys, names, acr_values });
        }
        // Never taken over: what a token means depends on names and tiers of the configuration.
        let cache = Cache::builder().max_capacity(MAX_CACHED).time_to_live(CACHED_FOR).build();
        Ok(Self { issuers, cache })
    }

    /// Whether tokens of this issuer count.
    pub fn believes(&self, issuer: &str) -> bool {
        self.issuers.contains_key(issuer)
    }

    /// Who the bearer of this token is. `certificate` is the SHA-256 of the connection's verified client
    /// certificate, lower-case hex, as in the facts.
    pub async fn verify(&self, token: &str, certificate: Option<&str>, now: Timestamp) -> Bearer {
        if self.issuers.is_empty() {
            return Bearer::NotOurs;
        }
        let key: [u8; 32] = Sha256::digest(token).into();
        let cached = self.cache.get(&key).filter(|cached| cached.generation == cached.keys.generation());
        let identity = match cached {
            Some(cached) => Arc::clone(&cached.identity),
            None => match self.verify_anew(token, key, now).await {
                Ok(Some(identity)) => identity,
                Ok(None) => return Bearer::NotOurs,
                Err(error) => return Bearer::Refused(error),
            },
        };
        // What depends on this moment and this connection is asked each time.
        if identity.expires.plus(LEEWAY) <= now {
            return Bearer::Refused(BearerError::Expired);
        }
        match identity.bound_to.is_none_or(|thumbprint| is_thumbprint(certificate, thumbprint)) {
            true => Bearer::Identified(identity),
            false => Bearer::Refused(BearerError::WrongCertificate),
        }
    }

    async fn verify_anew(
        &self,
        token: &str,
        key: [u8; 32],
        now: Timestamp,
    ) -> Result<Option<Arc<BearerIdentity>>, BearerError> {
        let Some(of_issuer) = claimed_issuer(token).and_then(|issuer| self.issuers.get(&*issuer)) else {
            return Ok(None);
        };
        let unverified = Unverified::parse(token)?;
        let audiences = owned(texts(unverified.unverified_claims(), "aud")?);
        let ours = of_issuer.iter().find(|issuer| audiences.contains(&issuer.config.audience));
        let issuer = ours.ok_or(BearerError::Audience)?;
        let metadata = issuer.metadata.get(now).await?;
        let (verified, generation) = issuer.keys.verify(&metadata.jwks_uri, unverified, Sender::Anybody, now).await?;
        let identity = Arc::new(issuer.check(verified, now)?);
        let keys = Arc::clone(&issuer.keys);
        self.cache.insert(key, Arc::new(Cached { identity: Arc::clone(&identity), keys, generation }));
        Ok(Some(identity))
    }
}

impl Issuer {
    /// Everything but the signature, which was checked. RFC 9068 s4, RFC 8725 s3.
    fn check(&self, token: Verified, now: Timestamp) -> Result<BearerIdentity, BearerError> {
        let Verified { header, claims } = token;
        if !is_access_token(&header, &claims) {
            return Err(BearerError::NotAnAccessToken);
        }
        let expires = time(&claims, "exp")?.ok_or(BearerError::NoExpiry)?;
        if expires.plus(LEEWAY) <= now {
            return Err(BearerError::Expired);
        }
        let (issued, not_before, auth_time) =
            (time(&claims, "iat")?, time(&claims, "nbf")?, time(&claims, "auth_time")?);
        if [issued, not_before, auth_time].into_iter().flatten().any(|at| at > now.plus(LEEWAY)) {
            return Err(BearerError::NotYetValid);
        }
        let subject = text(&claims, "sub")?.filter(|sub| is_subject(sub)).ok_or(BearerError::Subject)?;
        let amr = owned(texts(&claims, "amr")?);
        // RFC 9068 names the client `client_id`; Keycloak and authentik `azp`.
        let client_id = text(&claims, "client_id")?.or(text(&claims, "azp")?).unwrap_or_default();
        let evidence = Evidence {
            client_id,
            acr: text(&claims, "acr")?,
            amr: &amr,
            auth_time: auth_time.map(|at| at.min(now)),
            without_auth_time: issued.map_or(WithoutAuthTime::Nothing, |at| WithoutAuthTime::Issued(at.min(now))),
        };
        let provider = &self.config.provider;
        Ok(BearerIdentity {
            user: Arc::new(User {
                name: self.names.user(&claims)?,
                provider: Arc::clone(provider),
                issuer: Arc::clone(&self.config.issuer_text),
                subject: subject.into(),
                federated: self.config.federated,
            }),
            display_name: display_name(&claims),
            email: email(&claims),
            groups: self.names.groups(&claims)?.map_or(Fact::Unknown(Why::NotGiven), Fact::Known),
            proofs: proofs::proofs(&self.config.tiers, &evidence, provider).into(),
            expires,
            bound_to: bound_to(&claims)?,
            acr_values: Arc::clone(&self.acr_values),
        })
    }
}

/// The issuer a token claims, however broken the rest is: a token of ours with `alg: none` is refused, not passed on.
fn claimed_issuer(token: &str) -> Option<String> {
    let mut parts = token.split('.');
    let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let claims: Claims = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    claims.get("iss")?.as_str().map(str::to_owned)
}

/// RFC 9068 s2.1 types access tokens `at+jwt`; most providers do not yet. Then what only ID, refresh and logout tokens
/// carry gives them away: an ID token travels through the browser as a logout hint, so it must not open an API.
fn is_access_token(header: &Header, claims: &Claims) -> bool {
    match header.kind.as_deref() {
        Some("at+jwt") => return true,
        None | Some("jwt") => {}
        Some(_) => return false,
    }
    // Keycloak: `Bearer` in access tokens, `ID`, `Refresh`, `Offline`, `Logout` in the others.
    let payload_kind =
        claims.get("typ").is_none_or(|kind| kind.as_str().is_some_and(|k| k.eq_ignore_ascii_case("bearer")));
    // AWS Cognito.
    let token_use = claims.get("token_use").is_none_or(|kind| kind.as_str() == Some("access"));
    let of_others = ["nonce", "at_hash", "c_hash", "s_hash", "events"];
    payload_kind && token_use && !of_others.iter().any(|claim| claims.contains_key(*claim))
}

/// RFC 7800 s3.1: a confirmation that is not understood must not be taken for none.
fn bound_to(claims: &Claims) -> Result<Option<[u8; 32]>, BearerError> {
    let Some(confirmation) = claims.get("cnf") else {
        return Ok(None);
    };
    let thumbprint = confirmation.as_object().filter(|members| members.len() == 1).and_then(|m| m.get("x5t#S256"));
    let bytes = thumbprint.and_then(Value::as_str).and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text).ok());
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
    bytes.map(Some).ok_or(BearerError::UnknownBinding)
}

fn is_thumbprint(certificate: Option<&str>, thumbprint: [u8; 32]) -> bool {
    let expected: String = thumbprint.iter().map(|byte| format!("{byte:02x}")).collect();
    certificate.is_some_and(|found| bool::from(found.as_bytes().ct_eq(expected.as_bytes())))
}

fn owned(values: Option<Vec<&str>>) -> Vec<String> {
    values.unwrap_or_default().into_iter().map(str::to_owned).collect()
}
