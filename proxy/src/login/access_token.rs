//! The person's access token for an application whose route asks for it (`access_token`); for nobody else.
//!
//! A token that is about to end is renewed first, with the session's refresh token. Of many requests, and of several
//! replicas, one asks the provider: a refresh token works once (RFC 9700 section 4.14.2).
use super::break_glass;
use super::provider::OidcProvider;
use super::refresh::RefreshError;
use super::renewal;
use super::revoke;
use super::session::{AccessToken, Session, SessionId, Unavailable, Which};
use crate::gate::Gate;
use crate::identify::Caller;
use crate::identify::session::{LiveSession, Sessions};
use crate::snapshot::Snapshot;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use moka::future::Cache;
use std::sync::Arc;
use std::time::Duration;
use torhaus_authz::{Reason, Timestamp};
use torhaus_config::Route;
use zeroize::Zeroizing;

/// A token has to reach the application, and be used there, before it ends.
const ENDS_SOON: Duration = Duration::from_secs(30);
/// How long others wait for the one who asks: looks at the store, and the time between two.
const LOOKS: u32 = 30;
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// How long what was just renewed is used without a look at the session.
const SHARED_FOR: Duration = Duration::from_secs(5);
const MAX_SHARED: u64 = 100_000;

/// Renewals under way, by session.
pub struct AccessTokens(Cache<SessionId, AccessToken>);

impl Default for AccessTokens {
    fn default() -> Self {
        Self(Cache::builder().time_to_live(SHARED_FOR).max_capacity(MAX_SHARED).build())
    }
}

/// Why there is no token.
#[derive(Clone, Debug, thiserror::Error)]
enum NoToken {
    /// The session can have no token any more, and an application that needs one would refuse it anyway.
    #[error("{0}")]
    Ended(String),
    #[error("{0}")]
    Provider(String),
    #[error(transparent)]
    Store(#[from] Unavailable),
}

/// The header for the application. None: the route does not ask, or the caller has no session with a provider.
///
/// # Errors
/// 1. the provider does not continue the session, which is over now; 2. it cannot be asked and the token has ended;
/// 3. nor can the store.
pub async fn of(
    gate: &Gate,
    snapshot: &Snapshot,
    caller: &Caller,
    route: &Route,
    now: Timestamp,
) -> Result<Option<(HeaderName, HeaderValue)>, Reason> {
    let (Some(name), Some(live)) = (&route.access_token, &caller.session) else { return Ok(None) };
    if *live.user.issuer == *break_glass::ISSUER {
        return Ok(None);
    }
    let token = match lives(live.access_token.as_ref(), now.plus(ENDS_SOON)) {
        Some(token) => token.clone(),
        None => Box::pin(renewed(gate, snapshot, live, now)).await?,
    };
    header(name, &token).map(Some).ok_or(Reason::LoginFailed)
}

fn header(name: &str, token: &AccessToken) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    let scheme = if name == AUTHORIZATION { "Bearer " } else { "" };
    let value = Zeroizing::new(format!("{scheme}{}", *token.secret));
    let mut value = HeaderValue::from_str(&value).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

/// The token, if it still counts at `until`.
fn lives(token: Option<&AccessToken>, until: Timestamp) -> Option<&AccessToken> {
    token.filter(|token| token.expires > until)
}

async fn renewed(
    gate: &Gate,
    snapshot: &Snapshot,
    session: &LiveSession,
    now: Timestamp,
) -> Result<AccessToken, Reason> {
    // Its refresh token goes to whom it is from, and to nobody who took over the name.
    let provider = snapshot.providers.named(&session.user.provider);
    let provider =
        provider.filter(|_| renewal::is_vouched_for(snapshot, &session.user)).ok_or(Reason::SessionRevoked)?;
    let (sessions, provider, id) = (gate.sessions.clone(), Arc::clone(provider), session.id.clone());
    let ask = async {
        // To its end, also when the caller goes away: the provider may have replaced the refresh token by then.
        let asked = tokio::spawn(async move { ask(&sessions, &provider, &id, now).await });
        let token = asked.await.unwrap_or_else(|_| Err(NoToken::Provider("shutting down".to_owned())))?;
        renewal::judge_changed(gate, &session.id, now).await;
        Ok(token)
    };
    let why = match gate.access_tokens.0.try_get_with(session.id.clone(), ask).await {
        Ok(token) => return Ok(token),
        Err(why) => why,
    };
    match &*why {
        NoToken::Ended(_) => {
            tracing::info!(session = %session.id, %why, "no access token for an application: a session ends");
            let which = Which::Session(session.id.clone());
            revoke::end_sessions(gate, &which, "it has no access token any more", now).await?;
            Err(Reason::SessionRevoked)
        }
        NoToken::Provider(_) => {
            tracing::warn!(session = %session.id, %why, "no access token for an application");
            Err(Reason::ProviderUnavailable)
        }
        NoToken::Store(_) => Err(Reason::StoreUnavailable),
    }
}

/// Asks the provider, or waits for whoever does.
async fn ask(
    sessions: &Sessions,
    provider: &Arc<OidcProvider>,
    id: &SessionId,
    now: Timestamp,
) -> Result<AccessToken, NoToken> {
    for _ in 0..LOOKS {
        // Claimed before it is read: what is read then is what nobody else changes.
        let claimed = sessions.store.claim_renewal(id, now.minus(renewal::CLAIM), now).await?;
        let session = sessions.stored(id).await?;
        let session = session.ok_or_else(|| NoToken::Ended("it is over".to_owned()))?;
        if let Some(token) = lives(session.tokens.access_token.as_ref(), now.plus(ENDS_SOON)) {
            return Ok(token.clone());
        }
        if claimed {
            return refresh(sessions, provider, &session, now).await;
        }
        if let Some(token) = lives(session.tokens.access_token.as_ref(), now) {
            return Ok(token.clone());
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    Err(NoToken::Provider("whoever asked the provider a moment ago got none".to_owned()))
}

async fn refresh(
    sessions: &Sessions,
    provider: &Arc<OidcProvider>,
    session: &Session,
    now: Timestamp,
) -> Result<AccessToken, NoToken> {
    let old = || lives(session.tokens.access_token.as_ref(), now).cloned();
    match provider.refresh(&session.id, &session.user.subject, &session.tokens, now).await {
        Ok(refreshed) => {
            let token = refreshed.tokens.access_token.clone();
            renewal::keep(sessions, session, refreshed).await;
            token.ok_or_else(|| NoToken::Provider("the provider gave none".to_owned()))
        }
        Err(RefreshError::Ended(why)) => Err(NoToken::Ended(format!("the provider does not continue it: {why}"))),
        Err(RefreshError::NoRefreshToken) => {
            old().ok_or_else(|| NoToken::Ended("the provider gave no refresh token".to_owned()))
        }
        Err(RefreshError::Unavailable(why)) => old().ok_or_else(|| NoToken::Provider(why.to_string())),
    }
}
