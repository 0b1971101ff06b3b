//! A signed token in compact form (RFC 7515). Only [`super::keys::KeySource::verify`] turns [`Unverified`] into
//! [`Verified`], so claims cannot be believed before the signature was checked.
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

/// Longest token read. An ID token with a thousand groups is about 40 KiB.
const MAX_TOKEN_BYTES: usize = 128 * 1024;
/// A key id is a name, not a document.
const MAX_KID_BYTES: usize = 512;

pub type Claims = Map<String, Value>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    #[error("the token is longer than 128 KiB")]
    TooLong,
    #[error("the token is not a signed JWT in compact form")]
    NotCompact,
    #[error("the token's header is not a JSON object with an `alg`")]
    Header,
    #[error("the token is not signed (`alg` is `none`)")]
    NotSigned,
    #[error("the token is signed with a shared secret (HS*); only public-key signatures count")]
    Symmetric,
    #[error("the token is signed with an algorithm that Torhaus does not accept")]
    Algorithm,
    #[error("the token demands an extension that Torhaus does not know (`crit`)")]
    Critical,
    #[error("the token's claims are not a JSON object")]
    Claims,
}

/// The header members that count. `jku`, `x5u`, `jwk` and `x5c` are not among them: a token does not say by which
/// key it is to be believed (RFC 8725 s3.10).
#[derive(Clone, Debug)]
pub struct Header {
    pub algorithm: Algorithm,
    pub key_id: Option<String>,
    /// Lower case, without `application/` (RFC 7515 s4.1.9).
    pub kind: Option<String>,
}

pub struct Unverified<'a> {
    header: Header,
    claims: Claims,
    signing_input: &'a str,
    signature: &'a str,
}

/// Signed by a key of the issuer that was asked. Nothing else of it has been checked yet.
pub struct Verified {
    pub header: Header,
    pub claims: Claims,
}

/// The algorithms Torhaus believes: public-key ones, nothing below SHA-256.
pub fn signature_algorithm(name: &str) -> Option<Algorithm> {
    Some(match name {
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        // RFC 9864 renames EdDSA with this curve.
        "EdDSA" | "Ed25519" => Algorithm::EdDSA,
        _ => return None,
    })
}

impl<'a> Unverified<'a> {
    /// # Errors
    /// As [`JwsError`]: whatever can be refused before a key is looked for.
    pub fn parse(token: &'a str) -> Result<Self, JwsError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(JwsError::TooLong);
        }
        let (signing_input, signature) = token.rsplit_once('.').ok_or(JwsError::NotCompact)?;
        let (header, payload) = signing_input.split_once('.').ok_or(JwsError::NotCompact)?;
        if payload.contains('.') {
            // Five parts: encrypted (RFC 7516); Torhaus registers no encryption key.
            return Err(JwsError::NotCompact);
        }
        let header = Header::parse(&object(header).ok_or(JwsError::Header)?)?;
        let claims = object(payload).ok_or(JwsError::Claims)?;
        Ok(Self { header, claims, signing_input, signature })
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Whom the token claims to be from: enough to choose keys, nothing more.
    pub fn claimed_issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
    }

    /// The claims before any check: to find out which checks apply, never to believe.
    pub(crate) fn unverified_claims(&self) -> &Claims {
        &self.claims
    }

    /// For [`super::keys`] alone.
    pub(super) fn verify_with(self, key: &jsonwebtoken::DecodingKey) -> Option<Verified> {
        let message = self.signing_input.as_bytes();
        let good = jsonwebtoken::crypto::verify(self.signature, message, key, self.header.algorithm);
        good.is_ok_and(|good| good).then_some(Verified { header: self.header, claims: self.claims })
    }
}

impl Header {
    fn parse(members: &Claims) -> Result<Self, JwsError> {
        let text = |name: &str| match members.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(JwsError::Header),
        };
        let name = text("alg")?.ok_or(JwsError::Header)?;
        // "none" in every spelling: nOnE has been a way in elsewhere.
        if name.eq_ignore_ascii_case("none") {
            return Err(JwsError::NotSigned);
        }
        if name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("HS")) {
            return Err(JwsError::Symmetric);
        }
        let algorithm = signature_algorithm(name).ok_or(JwsError::Algorithm)?;
        // RFC 7515 s4.1.11: extensions that are not understood make the token invalid; Torhaus understands none.
        if members.contains_key("crit") {
            return Err(JwsError::Critical);
        }
        let key_id = text("kid")?;
        if key_id.is_some_and(|kid| kid.len() > MAX_KID_BYTES) {
            return Err(JwsError::Header);
        }
        let kind = text("typ")?.map(|typ| {
            let typ = typ.to_ascii_lowercase();
            typ.strip_prefix("application/").map(str::to_owned).unwrap_or(typ)
        });
        Ok(Self { algorithm, key_id: key_id.map(str::to_owned), kind })
    }
}

fn object(part: &str) -> Option<Claims> {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}
