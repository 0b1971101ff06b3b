//! Logout that begins at the identity provider: `/backchannel-logout/{provider}` (OpenID Connect Back-Channel Logout
//! 1.0) and `/frontchannel-logout/{provider}` (Front-Channel Logout 1.0). The provider itself calls the first; the
//! second comes from a frame in a browser, without our cookies where third-party cookies are blocked, so it is a help
//! and no promise.
use crate::gate::Gate;
use crate::login::logout_token::{self, LogoutToken, LogoutTokenError};
use crate::login::oidc::LOGIN_LIFETIME;
use crate::login::provider::OidcProvider;
use crate::login::revoke;
use crate::login::session::{ProviderLogout, Which};
use crate::metrics::LogoutResult;
use crate::request::Request;
use crate::response::Response;
use crate::snapshot::Snapshot;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use http::{HeaderName, StatusCode};
use serde_json::json;
use torhaus_authz::{Reason, Timestamp};

const FORM: &str = "application/x-www-form-urlencoded";

/// `POST /backchannel-logout/{provider}`: ends the sessions that the logout token names, and lets no login that is
/// under way bring them back. 200 also if there was nothing to end; 400 if the token does not count; 503 if it could
/// not be judged or kept, so that the provider tries again.
///
/// # Errors
/// There is no such provider.
pub async fn back_channel(
    gate: &Gate,
    snapshot: &Snapshot,
    request: &Request<'_>,
    provider: &str,
    now: Timestamp,
) -> Result<Response, Reason> {
    let provider = snapshot.providers.named(provider).ok_or(Reason::NoRoute)?;
    let name = &provider.config().name;
    let Some(token) = token_of(request) else {
        gate.metrics.logout(name, LogoutResult::Strange);
        return Ok(refused("one form field `logout_token` is needed"));
    };
    let checked = match provider.check_logout_token(&token, now).await {
        Ok(checked) => checked,
        Err(error) => {
            return Ok(answer_to(gate, provider, &error));
        }
    };
    match end(gate, provider, checked, now).await {
        Ok(()) => {
            gate.metrics.logout(name, LogoutResult::Done);
            Ok(Response::empty(StatusCode::OK))
        }
        Err(reason) => {
            tracing::error!(provider = %name, reason = reason.as_str(), "a logout of the provider could not be kept");
            gate.metrics.logout(name, LogoutResult::Unavailable);
            Ok(Response::empty(StatusCode::SERVICE_UNAVAILABLE))
        }
    }
}

/// `GET /frontchannel-logout/{provider}?iss=…&sid=…`: ends the session that was opened under this one of the provider.
/// A `sid` is as hard to guess as a cookie, and knowing it does no more than signing out.
///
/// # Errors
/// 1. there is no such provider; 2. issuer or session are missing, or not this provider's; 3. the store did not take it.
pub async fn front_channel(
    gate: &Gate,
    snapshot: &Snapshot,
    request: &Request<'_>,
    provider: &str,
    now: Timestamp,
) -> Result<Response, Reason> {
    let provider = snapshot.providers.named(provider).ok_or(Reason::NoRoute)?;
    let config = provider.config();
    let of_issuer = request.query_parameter("iss").is_some_and(|issuer| provider.is_issuer(&issuer));
    let sid = request.query_parameter("sid").filter(|sid| logout_token::is_sid(sid));
    let sid = sid.filter(|_| of_issuer).ok_or(Reason::BadRequest)?.into_owned();
    let named = ProviderLogout { issuer: config.issuer_text.clone(), subject: None, sid: Some(sid), heard: now };
    let which = Which::LoggedOut(named);
    // Anybody may ask: reading comes first, so that a stranger makes nobody write.
    let live = gate.sessions.store.list(&which).await.map_err(|_| Reason::StoreUnavailable)?;
    if !live.is_empty() {
        revoke::end_sessions(gate, &which, "signed out at the identity provider, by a frame", now).await?;
    }
    let frames = format!("default-src 'none'; frame-ancestors {}", config.issuer.origin().ascii_serialization());
    let frames = HeaderValue::from_str(&frames).map_err(|_| Reason::InternalError)?;
    Ok(Response::bytes(StatusCode::OK, "text/plain", "signed out\n".into()).with(CONTENT_SECURITY_POLICY, frames))
}

/// The one `logout_token` of a form (s2.5); other fields are not looked at.
fn token_of<'a>(request: &Request<'a>) -> Option<std::borrow::Cow<'a, str>> {
    let kind = request.header(CONTENT_TYPE)?;
    let kind = kind.split_once(';').map_or(kind, |(kind, _)| kind).trim();
    kind.eq_ignore_ascii_case(FORM).then(|| request.form_field("logout_token")).flatten()
}

async fn end(gate: &Gate, provider: &OidcProvider, token: LogoutToken, now: Timestamp) -> Result<(), Reason> {
    let named = ProviderLogout {
        issuer: provider.config().issuer_text.clone(),
        subject: token.subject,
        sid: token.sid,
        heard: now,
    };
    // As long as the token is good it is known again, and as long as a login may be under way it is barred.
    let until = token.expires.plus(logout_token::KEPT_AFTER).max(now.plus(LOGIN_LIFETIME));
    // Kept before sessions are ended: a login that finishes in between either finds this mark or is ended with the rest.
    let heard = gate.sessions.store.keep_logout(token.id, &named, until).await;
    let heard = heard.map_err(|_| Reason::StoreUnavailable)?;
    // The same token again means what it meant first: whoever signed in since then stays. At first it means all who are
    // there, whatever a clock said when they came.
    let heard = if heard == now { Timestamp::from_millis(i64::MAX) } else { heard };
    let which = Which::LoggedOut(ProviderLogout { heard, ..named });
    revoke::end_sessions(gate, &which, "signed out at the identity provider", now).await.map(drop)
}

fn answer_to(gate: &Gate, provider: &OidcProvider, error: &LogoutTokenError) -> Response {
    let (name, unavailable) = (&provider.config().name, error.is_unavailable());
    let result = match (unavailable, error.is_strange()) {
        (true, _) => LogoutResult::Unavailable,
        (_, true) => LogoutResult::Strange,
        _ => LogoutResult::Refused,
    };
    gate.metrics.logout(name, result);
    if result == LogoutResult::Strange {
        // Anybody can send something here; it shall neither fill the log nor wake somebody.
        tracing::debug!(provider = %name, %error, "what came as a logout is not of the provider");
    } else {
        tracing::warn!(provider = %name, %error, "a logout of the provider was not taken");
    }
    match unavailable {
        true => Response::empty(StatusCode::SERVICE_UNAVAILABLE),
        // The sentences name claims, never their values.
        false => refused(&error.to_string()),
    }
}

/// s2.8.
fn refused(why: &str) -> Response {
    Response::json(StatusCode::BAD_REQUEST, &json!({ "error": "invalid_request", "error_description": why }))
        .with(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"))
}
