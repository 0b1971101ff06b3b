//! The checklist for logout tokens: OpenID Connect Back-Channel Logout 1.0 s2.6, in its order. The signature is checked
//! before ([`super::keys`]); whose sessions end is the caller's affair ([`super::backchannel`]).
use super::claims::{OddClaim, text, texts, time};
use super::id_token::{LEEWAY, is_subject};
use super::jws::{JwsError, Verified};
use super::keys::KeyError;
use super::metadata::MetadataError;
use super::session::TicketHash;
use jsonwebtoken::Algorithm;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::time::Duration;
use torhaus_authz::{Name, Timestamp};

/// The event that makes a token a logout token (s2.4).
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// Longest token read: real ones are under 2 KiB.
pub const MAX_BYTES: usize = 16 * 1024;
/// The specification asks for two minutes at most (s4). Providers that try again later with the same token get a day;
/// so long it is remembered that a token came, and what would live longer is refused.
const MAX_LIFE: Duration = Duration::from_secs(24 * 3600);
/// How much longer a token is remembered than it is good for: the clocks may lie apart.
pub const KEPT_AFTER: Duration = LEEWAY;
/// A session at a provider has a name of this length at most: a UUID, or a hash in hex.
const MAX_SID_BYTES: usize = 255;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogoutTokenError {
    #[error("the logout token is longer than 16 KiB")]
    TooLong,
    #[error("{0}")]
    Metadata(#[from] MetadataError),
    #[error("{0}")]
    Token(#[from] JwsError),
    #[error("{0}")]
    Key(#[from] KeyError),
    #[error("{0} (logout token)")]
    Odd(#[from] OddClaim),
    #[error("the token's algorithm is not one that the provider says it signs with")]
    AlgorithmNotOffered,
    #[error("the token says that it is not a logout token (`typ`)")]
    NotALogoutToken,
    #[error("the logout token is from another issuer")]
    Issuer,
    #[error("the logout token is not for a client of ours (`aud`)")]
    Audience,
    #[error("the logout token does not say when it expires")]
    NoExpiry,
    #[error("the logout token has expired")]
    Expired,
    #[error("the logout token lives longer than a day")]
    LivesTooLong,
    #[error("the logout token does not say when it was issued")]
    NoIssueTime,
    #[error("the logout token was issued in the future; compare the clocks of the provider and of Torhaus")]
    FromTheFuture,
    #[error("the logout token names neither a subject nor a session")]
    NamesNobody,
    #[error("the logout token's subject is not at most 255 printable ASCII characters")]
    Subject,
    #[error("the logout token's session is empty, or longer than 255 bytes")]
    Session,
    #[error("the token holds no back-channel logout event (`events`)")]
    NoEvent,
    #[error("the token holds a nonce: it is an ID token, or made from one")]
    Nonce,
}

impl LogoutTokenError {
    /// Not signed by the provider, as far as anybody can tell: a stranger, and no sign of trouble.
    pub fn is_strange(&self) -> bool {
        matches!(self, Self::TooLong | Self::Token(_) | Self::Key(_)) && !self.is_unavailable()
    }

    /// The provider could not be asked for its keys: not the token's fault, and worth another try.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Metadata(_) | Self::Key(KeyError::Fetch(_)))
    }
}

/// What a token must be to count.
pub struct Expected<'a> {
    /// As configured, byte for byte.
    pub issuer: &'a str,
    /// All our clients at this provider.
    pub clients: &'a [&'a str],
    /// The algorithms of the discovery document; empty: it names none.
    pub algorithms: &'a [Algorithm],
}

/// A logout token that passed every check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutToken {
    /// At least one of the two is there.
    pub subject: Option<Name>,
    pub sid: Option<String>,
    /// Names this token among all of its issuer.
    pub id: TicketHash,
    pub expires: Timestamp,
}

/// `text` is the token itself, to name one that has no `jti`.
///
/// # Errors
/// As [`LogoutTokenError`], the first that applies.
pub fn check(
    token: Verified,
    token_text: &str,
    expected: &Expected<'_>,
    now: Timestamp,
) -> Result<LogoutToken, LogoutTokenError> {
    let Verified { header, claims } = token;
    if !expected.algorithms.is_empty() && !expected.algorithms.contains(&header.algorithm) {
        return Err(LogoutTokenError::AlgorithmNotOffered);
    }
    // s2.4 recommends `logout+jwt`; older releases of Keycloak write `JWT`, and authentik may write nothing. Keycloak
    // says it in the payload too. An access token (`at+jwt`) signed by the same key is none.
    let kind = header.kind.as_deref();
    let payload_kind = text(&claims, "typ")?;
    if kind.is_some_and(|kind| !matches!(kind, "logout+jwt" | "jwt")) || payload_kind.is_some_and(|it| it != "Logout") {
        return Err(LogoutTokenError::NotALogoutToken);
    }
    if text(&claims, "iss")? != Some(expected.issuer) {
        return Err(LogoutTokenError::Issuer);
    }
    // Unlike an ID token it may be for others as well: it carries no authority that they could misuse here.
    let audiences = texts(&claims, "aud")?.unwrap_or_default();
    if !audiences.iter().any(|audience| expected.clients.contains(audience)) {
        return Err(LogoutTokenError::Audience);
    }
    let expires = time(&claims, "exp")?.ok_or(LogoutTokenError::NoExpiry)?;
    if expires.plus(LEEWAY) <= now {
        return Err(LogoutTokenError::Expired);
    }
    if expires > now.plus(MAX_LIFE) {
        return Err(LogoutTokenError::LivesTooLong);
    }
    if time(&claims, "iat")?.ok_or(LogoutTokenError::NoIssueTime)? > now.plus(LEEWAY) {
        return Err(LogoutTokenError::FromTheFuture);
    }
    let subject = text(&claims, "sub")?;
    if subject.is_some_and(|subject| !is_subject(subject)) {
        return Err(LogoutTokenError::Subject);
    }
    let sid = text(&claims, "sid")?;
    if sid.is_some_and(|sid| !is_sid(sid)) {
        return Err(LogoutTokenError::Session);
    }
    if subject.is_none() && sid.is_none() {
        return Err(LogoutTokenError::NamesNobody);
    }
    // The value is an object, usually an empty one. Other members are other events: Keycloak adds
    // `revoke_offline_access`.
    let event = claims.get("events").and_then(|events| events.as_object()?.get(EVENT));
    if !event.is_some_and(Value::is_object) {
        return Err(LogoutTokenError::NoEvent);
    }
    // s2.4: prohibited, whatever its value, so that no ID token can be taken for a logout token.
    if claims.contains_key("nonce") {
        return Err(LogoutTokenError::Nonce);
    }
    let name = text(&claims, "jti")?.unwrap_or(token_text);
    let id = Sha256::new().chain_update(expected.issuer).chain_update([0]).chain_update(name).finalize();
    Ok(LogoutToken {
        subject: subject.map(Name::from),
        sid: sid.map(str::to_owned),
        id: TicketHash(id.into()),
        expires,
    })
}

/// A name of a session at a provider that can be compared with one that was kept.
pub fn is_sid(sid: &str) -> bool {
    (1..=MAX_SID_BYTES).contains(&sid.len())
}
