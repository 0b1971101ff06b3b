//! Which tiers a token proves, and since when. A proof is what the token says; what was asked for proves nothing.
use super::id_token::LEEWAY;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use torhaus_authz::{Name, Proof, Timestamp};
use torhaus_config::TierProof;

/// What a verified token says of how its person was authenticated.
pub struct Evidence<'a> {
    /// The client it was issued to.
    pub client_id: &'a str,
    pub acr: Option<&'a str>,
    pub amr: &'a [String],
    pub auth_time: Option<Timestamp>,
    /// When the authentication is assumed to have happened if `auth_time` is missing.
    pub without_auth_time: WithoutAuthTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutAuthTime {
    /// `auth_time` was demanded (`max_age`, or as an essential claim), so the provider MUST have sent it
    /// (OpenID Connect Core 1.0 s2): nothing is proven.
    Nothing,
    /// A login that was just made, at this time: proves `{}` and tiers with a client of their own, where the round
    /// trip is itself the proof (authentik's authorization flow). An `acr` may be hours old, so it proves nothing.
    Login(Timestamp),
    /// An access token, issued at this time: API callers cannot step up, the issuer answers for them.
    Issued(Timestamp),
}

/// Why a tier is not proven by a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotProven {
    #[error("the provider cannot prove this tier")]
    NotOffered,
    #[error("the provider signed the person in with another level (`acr`) than this tier needs")]
    Acr,
    #[error("the provider signed the person in without a method (`amr`) that this tier needs")]
    Amr,
    #[error("the token was issued to another client than this tier needs")]
    Client,
    #[error("the provider does not say when the person signed in (`auth_time`)")]
    NoAuthTime,
    #[error("the person signed in longer ago than was asked for; the provider did not ask again")]
    TooLongAgo,
}

/// All tiers that the evidence proves.
pub fn proofs(tiers: &BTreeMap<Arc<str>, TierProof>, evidence: &Evidence<'_>, provider: &Name) -> Vec<Proof> {
    tiers
        .iter()
        .filter_map(|(tier, needs)| {
            let proven_at = proven_at(needs, evidence).ok()?;
            Some(Proof { tier: Arc::clone(tier), proven_at, provider: Arc::clone(provider) })
        })
        .collect()
}

/// Since when one tier is proven.
///
/// # Errors
/// As [`NotProven`], the first that applies.
pub fn proven_at(needs: &TierProof, evidence: &Evidence<'_>) -> Result<Timestamp, NotProven> {
    if !needs.acr.is_empty() && !evidence.acr.is_some_and(|acr| needs.acr.iter().any(|accepted| accepted == acr)) {
        return Err(NotProven::Acr);
    }
    let used = |method: &String| evidence.amr.contains(method);
    if !needs.amr_all.iter().all(used) || (!needs.amr_any.is_empty() && !needs.amr_any.iter().any(used)) {
        return Err(NotProven::Amr);
    }
    if needs.client.as_ref().is_some_and(|client| client.id != evidence.client_id) {
        return Err(NotProven::Client);
    }
    if let Some(auth_time) = evidence.auth_time {
        return Ok(auth_time);
    }
    match evidence.without_auth_time {
        WithoutAuthTime::Issued(at) => Ok(at),
        WithoutAuthTime::Login(at) if is_proven_by_the_round_trip(needs) => Ok(at),
        WithoutAuthTime::Login(_) | WithoutAuthTime::Nothing => Err(NotProven::NoAuthTime),
    }
}

/// Whether what was wished for came back (OpenID Connect Core 1.0 s3.1.3.7, 11 to 13).
///
/// # Errors
/// As [`NotProven`].
pub fn granted(
    tiers: &BTreeMap<Arc<str>, TierProof>,
    tier: &str,
    max_age: Option<Duration>,
    evidence: &Evidence<'_>,
    now: Timestamp,
) -> Result<(), NotProven> {
    let needs = tiers.get(tier).ok_or(NotProven::NotOffered)?;
    let proven_at = proven_at(needs, evidence)?;
    match max_age {
        Some(max_age) if now.since(proven_at) > max_age.saturating_add(LEEWAY) => Err(NotProven::TooLongAgo),
        _ => Ok(()),
    }
}

fn is_proven_by_the_round_trip(needs: &TierProof) -> bool {
    needs.acr.is_empty() && needs.amr_all.is_empty() && needs.amr_any.is_empty()
}
