//! The keys an issuer signs with (RFC 7517), from the `jwks_uri` of its discovery document and from nowhere else.
//! A token with an unknown `kid` causes one look for new keys. Of tokens that anybody may send, at most once a minute: a
//! stranger's cannot make Torhaus hammer the provider, nor keep it from a new key by which the provider itself signs.
use super::http_client::{FetchError, HttpClient};
use super::jws::{Unverified, Verified, signature_algorithm};
use arc_swap::ArcSwapOption;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use torhaus_authz::Timestamp;
use url::Url;

/// Unknown key ids cause one fetch, this far apart.
const UNKNOWN_KID_INTERVAL: Duration = Duration::from_secs(60);
/// The same of tokens that the issuer itself gave us.
const OWN_UNKNOWN_KID_INTERVAL: Duration = Duration::from_secs(2);
/// Older than this, the set is asked for again in the background, so that a key withdrawn there goes here too.
const REFRESH_AFTER: Duration = Duration::from_secs(900);
/// After a failure with no keys at all, the provider is left alone this long.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Real sets hold one to ten keys.
const MAX_KEYS: usize = 100;
/// 2,048 bits; less is refused (RFC 7518 s3.3).
const MIN_RSA_BYTES: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the issuer's keys could not be read: {0}")]
    Fetch(#[from] FetchError),
    #[error(
        "the issuer's key set holds no key that Torhaus could use; give the provider a signing key (RS256 or ES256)"
    )]
    NoUsableKeys,
    #[error("the issuer's key set holds more than 100 keys")]
    TooManyKeys,
    #[error("no key of the issuer has the token's key id and algorithm")]
    UnknownKey,
    #[error("more than one key of the issuer fits the token, and its key id does not tell which")]
    Ambiguous,
    #[error("the token's signature is wrong")]
    Signature,
}

/// From whom a token came to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// From the issuer's own token endpoint, as an answer to us.
    Issuer,
    Anybody,
}

impl Sender {
    fn unknown_kid_interval(self) -> Duration {
        match self {
            Self::Issuer => OWN_UNKNOWN_KID_INTERVAL,
            Self::Anybody => UNKNOWN_KID_INTERVAL,
        }
    }
}

/// The keys of one issuer.
pub struct KeySource {
    http: Arc<HttpClient>,
    current: ArcSwapOption<Loaded>,
    /// Held while asking: one asks, the others wait for its answer.
    flight: Mutex<LastAttempt>,
}

struct Loaded {
    from: Url,
    keys: Vec<Key>,
    fingerprint: [u8; 32],
    /// Counts up when the keys change.
    generation: u64,
    at: Timestamp,
}

#[derive(Default)]
struct LastAttempt {
    at: Option<Timestamp>,
    failure: Option<KeyError>,
}

struct Key {
    id: Option<String>,
    fits: Fits,
    /// `alg` of the JWK: the only algorithm it may be used with.
    only: Option<Algorithm>,
    key: DecodingKey,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fits {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl KeySource {
    pub fn new(http: Arc<HttpClient>) -> Arc<Self> {
        Arc::new(Self { http, current: ArcSwapOption::empty(), flight: Mutex::new(LastAttempt::default()) })
    }

    /// Checks the signature of a token with the key that its `kid` names. Also tells the generation of the keys.
    ///
    /// # Errors
    /// 1. no keys could be read; 2. none fits, also after a look for new ones; 3. the signature is wrong.
    pub async fn verify(
        self: &Arc<Self>,
        jwks_uri: &Url,
        token: Unverified<'_>,
        from: Sender,
        now: Timestamp,
    ) -> Result<(Verified, u64), KeyError> {
        let mut loaded = self.loaded(jwks_uri, now).await?;
        let header = token.header();
        let (id, algorithm) = (header.key_id.as_deref(), header.algorithm);
        let key = match loaded.select(id, algorithm) {
            Err(KeyError::UnknownKey) => {
                loaded = self.look_again(jwks_uri, &loaded, from, now).await?;
                loaded.select(id, algorithm)?
            }
            other => other?,
        };
        let verified = token.verify_with(&key.key).ok_or(KeyError::Signature)?;
        Ok((verified, loaded.generation))
    }

    /// Changes whenever the keys do: what was verified under another generation must be verified again.
    pub fn generation(&self) -> u64 {
        self.current.load().as_ref().map_or(0, |loaded| loaded.generation)
    }

    /// Whether the issuer gave keys when it was last asked; none: it was not asked, or is being asked now.
    pub fn answers(&self) -> Option<bool> {
        let last = self.flight.try_lock().ok()?;
        last.at.map(|_| last.failure.is_none())
    }

    async fn loaded(self: &Arc<Self>, jwks_uri: &Url, now: Timestamp) -> Result<Arc<Loaded>, KeyError> {
        let Some(loaded) = self.of(jwks_uri) else {
            let mut last = self.flight.lock().await;
            if let Some(loaded) = self.of(jwks_uri) {
                return Ok(loaded);
            }
            if let (Some(at), Some(failure)) = (last.at, &last.failure)
                && now >= at
                && now.since(at) < RETRY_AFTER
            {
                return Err(failure.clone());
            }
            return self.fetch(jwks_uri, &mut last, now).await;
        };
        if now.since(loaded.at) > REFRESH_AFTER {
            self.refresh_behind(jwks_uri, now);
        }
        Ok(loaded)
    }

    fn of(&self, jwks_uri: &Url) -> Option<Arc<Loaded>> {
        self.current.load_full().filter(|loaded| loaded.from == *jwks_uri)
    }

    /// Without making the caller wait; at most once a minute, also while the provider is down.
    fn refresh_behind(self: &Arc<Self>, jwks_uri: &Url, now: Timestamp) {
        let due = self.flight.try_lock().is_ok_and(|last| !last.within(UNKNOWN_KID_INTERVAL, now));
        if !due {
            return;
        }
        let (source, jwks_uri) = (Arc::clone(self), jwks_uri.clone());
        tokio::spawn(async move {
            let mut last = source.flight.lock().await;
            if last.within(UNKNOWN_KID_INTERVAL, now) {
                return;
            }
            if let Err(error) = source.fetch(&jwks_uri, &mut last, now).await {
                tracing::warn!(jwks_uri = %jwks_uri, %error, "kept the last good keys");
            }
        });
    }

    /// An unknown `kid`: the issuer may have new keys.
    async fn look_again(
        &self,
        jwks_uri: &Url,
        seen: &Loaded,
        from: Sender,
        now: Timestamp,
    ) -> Result<Arc<Loaded>, KeyError> {
        let mut last = self.flight.lock().await;
        if let Some(loaded) = self.of(jwks_uri)
            && loaded.fingerprint != seen.fingerprint
        {
            // Someone else looked while this one waited.
            return Ok(loaded);
        }
        if last.within(from.unknown_kid_interval(), now) {
            return Err(KeyError::UnknownKey);
        }
        self.fetch(jwks_uri, &mut last, now).await
    }

    async fn fetch(&self, jwks_uri: &Url, last: &mut LastAttempt, now: Timestamp) -> Result<Arc<Loaded>, KeyError> {
        last.at = Some(now);
        last.failure = None;
        let result = async { Loaded::parse(self.http.get_json(jwks_uri).await?, jwks_uri.clone(), now) }.await;
        match result {
            Ok(mut loaded) => {
                let before = self.current.load_full();
                loaded.generation =
                    before.map_or(1, |before| before.generation + u64::from(before.fingerprint != loaded.fingerprint));
                let loaded = Arc::new(loaded);
                self.current.store(Some(Arc::clone(&loaded)));
                Ok(loaded)
            }
            Err(error) => {
                last.failure = Some(error.clone());
                Err(error)
            }
        }
    }
}

impl LastAttempt {
    /// A clock that was set back does not block for longer.
    fn within(&self, interval: Duration, now: Timestamp) -> bool {
        self.at.is_some_and(|at| now >= at && now.since(at) < interval)
    }
}

#[derive(Deserialize)]
struct JwkSet {
    /// authentik without a signing key answers `{}`.
    #[serde(default)]
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Loaded {
    fn parse(set: JwkSet, from: Url, at: Timestamp) -> Result<Self, KeyError> {
        if set.keys.len() > MAX_KEYS {
            return Err(KeyError::TooManyKeys);
        }
        let mut hash = Sha256::new();
        for key in &set.keys {
            hash.update(key.to_string());
        }
        // RFC 7517 s5: keys of an unknown type, or that miss a member, are ignored.
        let keys: Vec<Key> =
            set.keys.into_iter().filter_map(|value| Key::parse(serde_json::from_value(value).ok()?)).collect();
        if keys.is_empty() {
            return Err(KeyError::NoUsableKeys);
        }
        Ok(Self { from, keys, fingerprint: hash.finalize().into(), generation: 0, at })
    }

    fn select(&self, id: Option<&str>, algorithm: Algorithm) -> Result<&Key, KeyError> {
        let mut fitting =
            self.keys.iter().filter(|key| key.serves(algorithm) && (id.is_none() || key.id.as_deref() == id));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            (None, _) => Err(KeyError::UnknownKey),
            (Some(_), Some(_)) => Err(KeyError::Ambiguous),
        }
    }
}

impl Key {
    fn parse(jwk: Jwk) -> Option<Self> {
        // Keycloak's set also holds a key for encryption.
        if jwk.usage.is_some_and(|usage| usage != "sig") {
            return None;
        }
        if jwk.key_ops.is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
            return None;
        }
        let bytes = |text: Option<String>| BASE64_URL_SAFE_NO_PAD.decode(text?).ok();
        let (fits, key) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => {
                let (n, e) = (bytes(jwk.n)?, bytes(jwk.e)?);
                let length = n.iter().skip_while(|byte| **byte == 0).count();
                (length >= MIN_RSA_BYTES).then(|| (Fits::Rsa, DecodingKey::from_rsa_raw_components(&n, &e)))?
            }
            ("EC", Some("P-256")) => (Fits::P256, ec_key(&bytes(jwk.x)?, &bytes(jwk.y)?, 32)?),
            ("EC", Some("P-384")) => (Fits::P384, ec_key(&bytes(jwk.x)?, &bytes(jwk.y)?, 48)?),
            ("OKP", Some("Ed25519")) => (Fits::Ed25519, DecodingKey::from_ed_der(&bytes(jwk.x)?)),
            // Never `oct`: a published shared secret is none.
            _ => return None,
        };
        let only = match jwk.alg {
            Some(name) => Some(signature_algorithm(&name)?),
            None => None,
        };
        Some(Self { id: jwk.kid, fits, only, key })
    }

    fn serves(&self, algorithm: Algorithm) -> bool {
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        let fits = match algorithm {
            RS256 | RS384 | RS512 | PS256 | PS384 | PS512 => Fits::Rsa,
            ES256 => Fits::P256,
            ES384 => Fits::P384,
            EdDSA => Fits::Ed25519,
            _ => return false,
        };
        self.fits == fits && self.only.is_none_or(|only| only == algorithm)
    }
}

/// An uncompressed point (SEC 1 s2.3.3). RFC 7518 s6.2.1.2: both coordinates have the full length of the field.
fn ec_key(x: &[u8], y: &[u8], length: usize) -> Option<DecodingKey> {
    (x.len() == length && y.len() == length).then(|| DecodingKey::from_ec_der(&[&[4], x, y].concat()))
}
