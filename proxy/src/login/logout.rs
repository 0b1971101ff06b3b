//! Signing out: the local session ends first, then the provider is asked to end its own (RP-Initiated Logout 1.0).
use crate::gate::Gate;
use crate::identify::session::LiveSession;
use crate::login::cookie;
use crate::login::revoke;
use crate::login::session::{Ticket, Which};
use crate::response::Response;
use crate::snapshot::Snapshot;
use std::sync::Arc;
use torhaus_authz::{Reason, Timestamp};
use torhaus_config::Provider;

/// Ends the session of this browser everywhere, open streams included.
///
/// # Errors
/// The store did not take it, or it could not be recorded: the session is still live.
pub async fn log_out(
    gate: &Gate,
    snapshot: &Snapshot,
    session: Option<Arc<LiveSession>>,
    now: Timestamp,
) -> Result<Response, Reason> {
    let signed_out = format!("{}/signed-out", super::handover::portal_origin(snapshot));
    let Some(live) = session else {
        return Ok(Response::redirect(&signed_out).with_cookie(&cookie::clear(cookie::SESSION)));
    };
    let stored = gate.sessions.stored(&live.id).await.map_err(|_| Reason::StoreUnavailable)?;
    revoke::end_sessions(gate, &Which::Session(live.id.clone()), "signed out", now).await?;
    let provider = snapshot.providers.named(&live.user.provider);
    let state = Ticket::new().map_err(|_| Reason::InternalError)?;
    let hint = stored.as_ref().and_then(|session| session.tokens.id_token.as_deref()).map(String::as_str);
    // Without an end-session endpoint the provider keeps its session; ours is over all the same.
    let next = provider.and_then(|provider| provider.logout_url(hint, state.expose()));
    let next = next.map_or(signed_out, String::from);
    Ok(Response::redirect(&next).with_cookie(&cookie::clear(cookie::SESSION)))
}

/// Where a form that signs out may lead on to. Chromium applies `form-action` to the redirects after a form, and the
/// answer to this one redirects to the provider.
pub fn form_targets(snapshot: &Snapshot) -> Vec<String> {
    let end_session = |config: &Arc<Provider>| snapshot.providers.named(&config.name)?.logout_url(None, "");
    let urls = snapshot.providers.offering(None).filter_map(end_session);
    urls.map(|url| url.origin().ascii_serialization()).collect()
}
