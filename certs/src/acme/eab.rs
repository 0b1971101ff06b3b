//! External account binding (RFC 8555 s7.3.4): one-time keys that bind an account to an enrolment. Whatever is wrong
//! with a key, the answer is one and the same, and an unknown key id costs the same MAC as a known one.
use super::jwk::Jwk;
use super::jws::Flattened;
use super::problem::{Kind, Problem};
use super::standing::Enrolment;
use aws_lc_rs::hmac;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// A one-time key. Whoever holds it becomes its enrolment's owner for this server.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EabKey {
    /// 128 random bits, base64url.
    pub kid: String,
    secret: [u8; SECRET_BYTES],
    #[serde(with = "time::serde::timestamp")]
    pub created: OffsetDateTime,
    /// Until when it may be used; the enrolment has an end of its own.
    #[serde(with = "time::serde::timestamp")]
    pub not_after: OffsetDateTime,
    pub enrolment: Enrolment,
    /// The account it made.
    pub used_by: Option<String>,
    pub revoked: bool,
}

/// 256 bits, the output of the MAC (RFC 2104 s3).
const SECRET_BYTES: usize = 32;

impl EabKey {
    /// # Errors
    /// The system gave no random bytes.
    pub fn new(enrolment: Enrolment, now: OffsetDateTime, not_after: OffsetDateTime) -> Result<Self, crate::Error> {
        let mut secret = [0; SECRET_BYTES];
        loop {
            aws_lc_rs::rand::fill(&mut secret).map_err(|_| crate::Error::Random)?;
            // A hyphen in front would be an option to every client's command line; one key in 64 has one.
            if !BASE64_URL_SAFE_NO_PAD.encode(secret).starts_with('-') {
                break;
            }
        }
        let kid = super::random_id()?;
        Ok(Self { kid, secret, created: now, not_after, enrolment, used_by: None, revoked: false })
    }

    /// As clients take it: base64url without padding (`--eab-hmac-key`, `--hmac`).
    pub fn secret_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(self.secret))
    }

    /// May it still be used?
    pub fn is_open(&self, now: OffsetDateTime) -> bool {
        self.used_by.is_none() && !self.revoked && now < self.not_after
    }
}

/// Without the secret.
impl fmt::Debug for EabKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EabKey")
            .field("kid", &self.kid)
            .field("not_after", &self.not_after)
            .field("enrolment", &self.enrolment)
            .field("used_by", &self.used_by)
            .field("revoked", &self.revoked)
            .finish_non_exhaustive()
    }
}

/// A binding whose form is right. Nobody's secret has been asked yet, so its errors tell nothing about keys.
pub(super) struct Binding {
    jws: Flattened,
    algorithm: hmac::Algorithm,
    pub kid: String,
}

impl Binding {
    /// # Errors
    /// 1. `malformed`: another URL or another account key inside, a nonce, no `kid`; 2. `badSignatureAlgorithm`.
    pub fn parse(value: Value, url: &str, account_key: &Jwk) -> Result<Self, Problem> {
        let jws = Flattened::from_value(value)?;
        let algorithm = match jws.protected.alg.as_str() {
            "HS256" => hmac::HMAC_SHA256,
            "HS384" => hmac::HMAC_SHA384,
            "HS512" => hmac::HMAC_SHA512,
            other => {
                let other = super::identifier::shown(other);
                return Err(Problem::malformed(format!(
                    "`externalAccountBinding` is signed with HS256, HS384 or HS512, not with `{other}`"
                )));
            }
        };
        if jws.protected.nonce.is_some() {
            return Err(Problem::malformed("`externalAccountBinding` must not have a nonce"));
        }
        if jws.protected.url.as_deref() != Some(url) {
            return Err(Problem::malformed("`externalAccountBinding` is made for another URL than the request"));
        }
        let kid = match (&jws.protected.kid, &jws.protected.jwk) {
            (Some(kid), None) => kid.clone(),
            _ => return Err(Problem::malformed("`externalAccountBinding` needs a `kid` and no `jwk`")),
        };
        let payload = serde_json::from_slice(&jws.payload).ok();
        let inside = payload.as_ref().and_then(|value| Jwk::parse(value).ok());
        if inside.as_ref() != Some(account_key) {
            return Err(Problem::malformed("`externalAccountBinding` is made for another account key"));
        }
        Ok(Self { jws, algorithm, kid })
    }

    /// True if `key` is there, open and made this binding. Always computes one MAC.
    pub fn is_made_with(&self, key: Option<&EabKey>, now: OffsetDateTime) -> bool {
        const NOBODYS: [u8; SECRET_BYTES] = [0; SECRET_BYTES];
        let secret = key.map_or(&NOBODYS, |key| &key.secret);
        let good = hmac::verify(&hmac::Key::new(self.algorithm, secret), self.jws.message(), self.jws.signature());
        let good = good.is_ok();
        key.is_some_and(|key| key.is_open(now)) && good
    }
}

/// The one answer to every key that does not fit.
pub(super) fn refused() -> Problem {
    Problem::new(
        Kind::Unauthorized,
        "the external account binding is not accepted: the key is unknown, wrong, used or expired; ask for a new one",
    )
}
