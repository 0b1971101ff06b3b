//! Where a person is signed in, and how to end it.
use crate::gate::Gate;
use crate::identify::session::LiveSession;
use crate::login::session::{Session, Which};
use crate::login::{logout, revoke};
use crate::portal::pages::{self, OpenSession, Sessions};
use crate::refusal;
use crate::request::Request;
use crate::response::Response;
use crate::snapshot::Snapshot;
use std::sync::Arc;
use torhaus_authz::{Reason, Timestamp};

/// # Errors
/// The store could not be asked.
pub async fn page(
    gate: &Gate,
    snapshot: &Snapshot,
    request: &Request<'_>,
    live: &LiveSession,
    now: Timestamp,
) -> Result<Response, Reason> {
    let sessions = own(gate, live).await?;
    let sessions = sessions.into_iter().map(|session| OpenSession {
        current: session.id == live.id,
        id: session.id.to_string(),
        user_agent: session.user_agent,
        place: session.opened_from,
        started: session.created,
        last_used: session.last_seen,
        expires: session.expires,
    });
    let view = Sessions {
        sessions: sessions.collect(),
        // The request's own origin is checked instead: browsers say it, and no page of another site can.
        csrf: String::new(),
        form_targets: logout::form_targets(snapshot),
        just_ended: request.query_parameter("ended").and_then(|count| count.parse().ok()),
        now,
    };
    Ok(refusal::page(view.render(&refusal::look(snapshot), pages::language(request.headers))))
}

/// Ends one of the person's own sessions, all others, or all of them with the one at the provider.
///
/// # Errors
/// 1. the form says nothing; 2. the session is not the person's own; 3. the store did not take it.
pub async fn end(
    gate: &Gate,
    snapshot: &Snapshot,
    request: &Request<'_>,
    live: Arc<LiveSession>,
    now: Timestamp,
) -> Result<Response, Reason> {
    let wanted = request.form_field("end").ok_or(Reason::BadRequest)?;
    if wanted == Sessions::EVERYWHERE {
        let user = &live.user;
        let which = Which::Subject { issuer: user.issuer.clone(), subject: user.subject.clone() };
        revoke::end_sessions(gate, &which, "signed out everywhere by its person", now).await?;
        // The one of this browser is over with the others; what is left is the way to the provider.
        return logout::log_out(gate, snapshot, Some(live), now).await;
    }
    let mut ended = 0;
    for session in own(gate, &live).await? {
        let other = session.id != live.id;
        if *session.id == *wanted || (wanted == Sessions::ALL_OTHERS && other) {
            let which = Which::Session(session.id.clone());
            ended += revoke::end_sessions(gate, &which, "ended by its person", now).await?.len();
        }
    }
    Ok(Response::redirect(&format!("/sessions?ended={ended}")))
}

async fn own(gate: &Gate, live: &LiveSession) -> Result<Vec<Session>, Reason> {
    let user = &live.user;
    let which = Which::Subject { issuer: user.issuer.clone(), subject: user.subject.clone() };
    gate.sessions.store.list(&which).await.map_err(|_| Reason::StoreUnavailable)
}
