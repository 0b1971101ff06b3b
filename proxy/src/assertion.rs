//! The signed assertion: a JWT (RFC 7519) by which an application can tell that a request came through the gate, and
//! who the caller is, without trusting the network between. ES256, audience = route, 60 s.
use crate::identify::Caller;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::HeaderValue;
use jsonwebtoken::{Algorithm, Header};
use sha2::{Digest, Sha256};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;
use torhaus_authz::{Name, Timestamp};
use zeroize::Zeroizing;

/// How long an assertion counts.
const LIFE: Duration = Duration::from_secs(60);

pub struct Assertions {
    /// Ready to sign: `jsonwebtoken::encode` reads and checks its key anew for each signature, which is half the work.
    key: EcdsaKeyPair,
    /// The JOSE header, encoded.
    header: String,
    jwks: serde_json::Value,
    issuer: String,
}

#[derive(serde::Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    iat: i64,
    nbf: i64,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<&'a [Name]>,
    /// The tier that the row asked for and the caller proved.
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<&'a str>,
}

#[derive(Debug, thiserror::Error)]
#[error("signing key {path}: {why}")]
pub struct AssertionKeyError {
    path: String,
    why: String,
}

impl Assertions {
    /// Loads the signing key, or makes it at first start.
    ///
    /// # Errors
    /// 1. the file cannot be read or written; 2. it holds no P-256 key.
    pub fn open(path: &Path, issuer: &str) -> Result<Self, AssertionKeyError> {
        let fail = |why: String| AssertionKeyError { path: path.display().to_string(), why };
        if std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o077 != 0) {
            return Err(fail("may be read by others than its owner; `chmod 600` it, and consider it known".into()));
        }
        let pkcs8 = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                make_key(path).map_err(|e| fail(e.to_string()))?
            }
            Err(error) => return Err(fail(error.to_string())),
        };
        Self::with(&pkcs8, issuer)
            .ok_or_else(|| fail("no P-256 key in PKCS#8 form; remove the file to have a new one made".into()))
    }

    /// A new key, in PKCS #8 form.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn new_key() -> Result<Zeroizing<Vec<u8>>, AssertionKeyError> {
        let fail = |why: String| AssertionKeyError { path: "(new)".to_owned(), why };
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|e| fail(e.to_string()))?;
        Ok(Zeroizing::new(pair.to_pkcs8v1().map_err(|e| fail(e.to_string()))?.as_ref().to_vec()))
    }

    /// With a key that all replicas share. None: it is no P-256 key in PKCS #8 form.
    pub fn with(pkcs8: &[u8], issuer: &str) -> Option<Self> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).ok()?;
        // Uncompressed point: 0x04, then 32 bytes x, 32 bytes y (SEC 1 section 2.3.3).
        let point = pair.public_key().as_ref();
        let coordinate = |from: usize| BASE64_URL_SAFE_NO_PAD.encode(point.get(from..from + 32).unwrap_or_default());
        let kid = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(point).get(..12).unwrap_or_default());
        let jwks = serde_json::json!({ "keys": [{
            "kty": "EC", "crv": "P-256", "x": coordinate(1), "y": coordinate(33),
            "use": "sig", "alg": "ES256", "kid": kid,
        }] });
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(kid);
        let header = BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header).ok()?);
        Some(Self { key: pair, header, jwks, issuer: issuer.trim_end_matches('/').to_owned() })
    }

    /// An assertion about this caller for one route.
    pub fn about(
        &self,
        caller: &Caller,
        name: &Name,
        groups: Option<&[Name]>,
        tier: Option<&Name>,
        route: &Name,
        now: Timestamp,
    ) -> Option<HeaderValue> {
        let claims = Claims {
            iss: &self.issuer,
            aud: route,
            sub: name,
            iat: now.seconds(),
            nbf: now.seconds(),
            exp: now.plus(LIFE).seconds(),
            email: caller.email.as_deref(),
            name: caller.display_name.as_deref(),
            groups,
            tier: tier.map(|tier| &**tier),
        };
        // RFC 7515 section 3.1, and RFC 7518 section 3.4 for the form of the signature.
        let claims = BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims).ok()?);
        let mut jwt = [&*self.header, ".", &*claims].concat();
        let signature = self.key.sign(&SystemRandom::new(), jwt.as_bytes()).ok()?;
        jwt.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut jwt);
        let mut value = HeaderValue::from_str(&jwt).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// The public key, as published at `/.well-known/torhaus/jwks.json` (RFC 7517).
    pub fn jwks(&self) -> &serde_json::Value {
        &self.jwks
    }
}

fn make_key(path: &Path) -> std::io::Result<Vec<u8>> {
    let pkcs8 = Assertions::new_key().map_err(std::io::Error::other)?;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&pkcs8)?;
    file.sync_all()?;
    Ok(pkcs8.to_vec())
}
