//! The checklist for ID tokens: OpenID Connect Core 1.0 s3.1.3.7, and section 2 of the contract, in its order.
//! The signature is checked before ([`super::keys`]); which tiers the token proves is judged after
//! ([`super::proofs`]).
use super::claims::{OddClaim, text, texts, time};
use super::jws::{Claims, JwsError, Verified};
use super::keys::KeyError;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use sha2::{Digest, Sha256, Sha384, Sha512};
use std::time::Duration;
use subtle::ConstantTimeEq;
use torhaus_authz::Timestamp;

/// How far the clocks of the provider and of Torhaus may lie apart; the only leeway there is.
pub const LEEWAY: Duration = Duration::from_secs(60);
/// A token that answers a login was just made.
const MAX_AGE_OF_TOKEN: Duration = Duration::from_secs(600);
/// OpenID Connect Core 1.0 s2: `sub` has at most 255 ASCII characters.
const MAX_SUBJECT_BYTES: usize = 255;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenError {
    #[error("{0}")]
    Token(#[from] JwsError),
    #[error("{0}")]
    Key(#[from] KeyError),
    #[error("{0} (ID token)")]
    Odd(#[from] OddClaim),
    #[error("the token's algorithm is not one that the provider says it signs with")]
    AlgorithmNotOffered,
    #[error("the token says that it is not an ID token (`typ`)")]
    NotAnIdToken,
    #[error("the ID token is from another issuer")]
    Issuer,
    #[error("the ID token is not for this client (`aud`)")]
    Audience,
    #[error("the ID token is also for someone else (`aud` names a second audience)")]
    ForeignAudience,
    #[error("the ID token names several audiences and no authorized party (`azp`)")]
    AuthorizedPartyMissing,
    #[error("the ID token was issued to another client (`azp`)")]
    AuthorizedParty,
    #[error("the ID token does not say when it expires")]
    NoExpiry,
    #[error("the ID token has expired")]
    Expired,
    #[error("the ID token does not say when it was issued")]
    NoIssueTime,
    #[error("the ID token was issued in the future; compare the clocks of the provider and of Torhaus")]
    FromTheFuture,
    #[error("the ID token was issued too long ago for a login that was just made")]
    TooOld,
    #[error("the ID token is not valid yet; compare the clocks of the provider and of Torhaus")]
    NotYetValid,
    #[error("the ID token does not carry the nonce of this login")]
    Nonce,
    #[error("the ID token names no subject, or one that is not at most 255 ASCII characters")]
    Subject,
    #[error("the ID token is about another person than the session")]
    OtherSubject,
    #[error("the ID token says that the person signed in in the future")]
    AuthTimeInTheFuture,
    #[error("the access token is not the one that the ID token belongs to (`at_hash`)")]
    AccessToken,
}

/// What a token must be to count.
pub struct Expected<'a> {
    /// As configured, byte for byte.
    pub issuer: &'a str,
    pub client_id: &'a str,
    pub nonce: Nonce<'a>,
    pub access_token: &'a str,
    /// The algorithms of the discovery document; empty: it names none.
    pub algorithms: &'a [Algorithm],
}

pub enum Nonce<'a> {
    /// The answer to a login.
    Exactly(&'a str),
    /// The answer to a refresh, for this subject: the token need not carry a nonce (Core 1.0 s12.2).
    Refresh { subject: &'a str },
}

/// An ID token that passed every check.
#[derive(Clone)]
pub struct IdToken {
    pub subject: String,
    pub issued_at: Timestamp,
    /// When the person signed in, if the provider says so; never later than `now`.
    pub auth_time: Option<Timestamp>,
    pub acr: Option<String>,
    pub amr: Vec<String>,
    /// The provider's session (Back-Channel Logout 1.0 s2.1).
    pub sid: Option<String>,
    pub claims: Claims,
}

/// # Errors
/// As [`IdTokenError`], the first that applies, in the order of the contract.
pub fn check(token: Verified, expected: &Expected<'_>, now: Timestamp) -> Result<IdToken, IdTokenError> {
    let Verified { header, claims } = token;
    // 2. The algorithm is one of those the provider announces.
    if !expected.algorithms.is_empty() && !expected.algorithms.contains(&header.algorithm) {
        return Err(IdTokenError::AlgorithmNotOffered);
    }
    // 12. RFC 8725 s3.11: an access token (RFC 9068) or a logout token is not an ID token. Keycloak also says it in
    //     the payload (`ID`, `Bearer`, `Refresh`, `Logout`).
    let payload_kind = text(&claims, "typ")?.is_none_or(|kind| kind == "ID");
    if header.kind.as_deref().is_some_and(|kind| kind != "jwt") || !payload_kind || claims.contains_key("events") {
        return Err(IdTokenError::NotAnIdToken);
    }
    // 4. The issuer, byte for byte.
    if text(&claims, "iss")? != Some(expected.issuer) {
        return Err(IdTokenError::Issuer);
    }
    check_audience(&claims, expected.client_id)?;
    let issued_at = check_times(&claims, now)?;
    let subject = text(&claims, "sub")?.filter(|sub| is_subject(sub)).ok_or(IdTokenError::Subject)?;
    // 7. The nonce. It is used up by whoever took the stored login.
    match expected.nonce {
        Nonce::Exactly(nonce) => {
            let found = text(&claims, "nonce")?.unwrap_or_default();
            if nonce.is_empty() || !bool::from(found.as_bytes().ct_eq(nonce.as_bytes())) {
                return Err(IdTokenError::Nonce);
            }
        }
        Nonce::Refresh { subject: of_session } if subject != of_session => return Err(IdTokenError::OtherSubject),
        Nonce::Refresh { .. } => {}
    }
    // 9. In part: whether it is recent enough is judged with the tiers. Within the leeway, now is the latest there is.
    let auth_time = time(&claims, "auth_time")?;
    if auth_time.is_some_and(|at| at > now.plus(LEEWAY)) {
        return Err(IdTokenError::AuthTimeInTheFuture);
    }
    // 11. Core 1.0 s3.1.3.8.
    if let Some(hash) = text(&claims, "at_hash")?
        && !bool::from(hash.as_bytes().ct_eq(half_hash(expected.access_token, header.algorithm).as_bytes()))
    {
        return Err(IdTokenError::AccessToken);
    }
    Ok(IdToken {
        subject: subject.to_owned(),
        issued_at,
        auth_time: auth_time.map(|at| at.min(now)),
        acr: text(&claims, "acr")?.map(str::to_owned),
        amr: texts(&claims, "amr")?.unwrap_or_default().into_iter().map(str::to_owned).collect(),
        sid: text(&claims, "sid")?.map(str::to_owned),
        claims,
    })
}

/// 5. For us, for nobody else, and issued to us.
fn check_audience(claims: &Claims, client_id: &str) -> Result<(), IdTokenError> {
    let audiences = texts(claims, "aud")?.unwrap_or_default();
    if !audiences.contains(&client_id) {
        return Err(IdTokenError::Audience);
    }
    if audiences.iter().any(|audience| *audience != client_id) {
        return Err(IdTokenError::ForeignAudience);
    }
    match text(claims, "azp")? {
        None if audiences.len() > 1 => Err(IdTokenError::AuthorizedPartyMissing),
        Some(party) if party != client_id => Err(IdTokenError::AuthorizedParty),
        _ => Ok(()),
    }
}

/// 6. Not expired, just issued, already valid.
fn check_times(claims: &Claims, now: Timestamp) -> Result<Timestamp, IdTokenError> {
    let expires = time(claims, "exp")?.ok_or(IdTokenError::NoExpiry)?;
    if expires.plus(LEEWAY) <= now {
        return Err(IdTokenError::Expired);
    }
    let issued_at = time(claims, "iat")?.ok_or(IdTokenError::NoIssueTime)?;
    if issued_at > now.plus(LEEWAY) {
        return Err(IdTokenError::FromTheFuture);
    }
    if now.since(issued_at) > MAX_AGE_OF_TOKEN {
        return Err(IdTokenError::TooOld);
    }
    if time(claims, "nbf")?.is_some_and(|from| from > now.plus(LEEWAY)) {
        return Err(IdTokenError::NotYetValid);
    }
    Ok(issued_at.min(now))
}

/// 8. Printable, so that it can stand in a log and be compared by eye.
pub fn is_subject(subject: &str) -> bool {
    (1..=MAX_SUBJECT_BYTES).contains(&subject.len()) && subject.bytes().all(|b| (0x20..0x7f).contains(&b))
}

/// The left half of the hash that the algorithm's name ends in; for EdDSA with Ed25519 that is SHA-512.
fn half_hash(token: &str, algorithm: Algorithm) -> String {
    use Algorithm::{ES256, ES384, PS256, PS384, RS256, RS384};
    let hash = match algorithm {
        RS256 | PS256 | ES256 => Sha256::digest(token).to_vec(),
        RS384 | PS384 | ES384 => Sha384::digest(token).to_vec(),
        _ => Sha512::digest(token).to_vec(),
    };
    let (left, _) = hash.split_at(hash.len() / 2);
    BASE64_URL_SAFE_NO_PAD.encode(left)
}
