//! The envelope of every POST: a flattened JWS (RFC 8555 s6.2, RFC 7515 s7.2.2). Parses and checks form; whose key it
//! is, and whether the nonce is good, is decided in `request.rs`.
use super::jwk::{self, Jwk};
use super::problem::Problem;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::Value;

/// What was signed, apart from its meaning.
pub(super) struct Flattened {
    pub protected: Protected,
    pub payload: Vec<u8>,
    message: String,
    signature: Vec<u8>,
}

/// A member that stands twice is refused by serde.
#[derive(Deserialize)]
pub(super) struct Protected {
    pub alg: String,
    pub nonce: Option<String>,
    pub url: Option<String>,
    pub kid: Option<String>,
    pub jwk: Option<Value>,
    crit: Option<Value>,
    b64: Option<Value>,
}

/// Who says to have signed.
pub(super) enum Signer {
    /// An account's URL.
    Kid(String),
    Key(Jwk),
}

#[derive(Deserialize)]
struct Members {
    protected: String,
    payload: String,
    signature: String,
    header: Option<Value>,
    signatures: Option<Value>,
}

impl Flattened {
    /// # Errors
    /// `malformed`: not a flattened JWS, or one with an extension.
    pub fn parse(body: &[u8]) -> Result<Self, Problem> {
        let members: Members = serde_json::from_slice(body)
            .map_err(|_| Problem::malformed("the body is not a flattened JWS (RFC 8555 s6.2)"))?;
        Self::from_members(members)
    }

    /// A JWS inside a payload: an external account binding or the new key's statement.
    ///
    /// # Errors
    /// As [`Flattened::parse`].
    pub fn from_value(value: Value) -> Result<Self, Problem> {
        let members = serde_json::from_value(value).map_err(|_| Problem::malformed("the inner JWS is incomplete"))?;
        Self::from_members(members)
    }

    fn from_members(members: Members) -> Result<Self, Problem> {
        if members.header.is_some() || members.signatures.is_some() {
            return Err(Problem::malformed("unprotected headers and several signatures are not allowed"));
        }
        let protected: Protected = serde_json::from_slice(&decode(&members.protected, "protected")?).map_err(|_| {
            Problem::malformed("the protected header is not a JSON object with the members of an ACME one")
        })?;
        if protected.crit.is_some() || protected.b64.is_some() {
            return Err(Problem::malformed("`crit` and `b64` name extensions that are not supported"));
        }
        Ok(Self {
            payload: decode(&members.payload, "payload")?,
            signature: decode(&members.signature, "signature")?,
            message: format!("{}.{}", members.protected, members.payload),
            protected,
        })
    }

    /// Exactly one of `kid` and `jwk`.
    ///
    /// # Errors
    /// 1. `malformed`: both or none; 2. `badPublicKey`.
    pub fn signer(&self) -> Result<Signer, Problem> {
        match (&self.protected.kid, &self.protected.jwk) {
            (Some(kid), None) => Ok(Signer::Kid(kid.clone())),
            (None, Some(key)) => Ok(Signer::Key(Jwk::parse(key)?)),
            _ => Err(Problem::malformed("exactly one of `kid` and `jwk` must stand in the protected header")),
        }
    }

    /// # Errors
    /// As [`Jwk::verify`].
    pub fn verify(&self, key: &Jwk) -> Result<(), Problem> {
        key.verify(&self.protected.alg, self.message.as_bytes(), &self.signature)
    }

    /// # Errors
    /// `badSignatureAlgorithm`: not one of the public-key algorithms, `none` and MACs included.
    pub fn check_algorithm(&self) -> Result<(), Problem> {
        let alg = self.protected.alg.as_str();
        if jwk::ALGORITHMS.contains(&alg) { Ok(()) } else { Err(jwk::unfit(alg)) }
    }

    pub fn message(&self) -> &[u8] {
        self.message.as_bytes()
    }

    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}

/// Strict base64url: no padding, no white space, no stray bits.
pub(super) fn decode(text: &str, what: &str) -> Result<Vec<u8>, Problem> {
    BASE64_URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| Problem::malformed(format!("`{what}` is not base64url without padding")))
}
