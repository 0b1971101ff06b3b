//! What a caller is told who has to sign in or step up: a browser is sent on its way, everybody else gets a 401 that
//! says what is missing, or the 403 of a certificate that does not count. A redirect is for navigations only: a
//! script, a socket or a tool would follow it into a form.
use crate::gate::Gate;
use crate::identify::challenge::Challenge;
use crate::login::handover;
use crate::outcome::Action;
use crate::portal::pages;
use crate::refusal::{self, Refused};
use crate::request::Request;
use crate::response::Response;
use crate::snapshot::Snapshot;
use http::header::{HeaderValue, WWW_AUTHENTICATE};
use http::{Method, StatusCode};
use std::time::Duration;
use torhaus_authz::{Name, Reason, Timestamp};

/// Nobody is identified.
pub fn login(
    gate: &Gate,
    snapshot: &Snapshot,
    request: &Request<'_>,
    refused: &Refused<'_>,
    tier: &Name,
    now: Timestamp,
) -> Action {
    if is_navigation(snapshot, request) {
        return browser(gate, snapshot, request, refused, tier, None, now);
    }
    // Somebody tried with a certificate that does not count: say that, not "sign in".
    let reason = match refused.caller {
        Some(caller) => match caller.certificate_refusal {
            Some(refusal) => refusal.reason(),
            None if caller.session_ended => Reason::SessionExpired,
            None => refused.reason,
        },
        None => refused.reason,
    };
    let response = refusal::respond(snapshot, request, &Refused { reason, ..refused.clone() }, now);
    // A certificate that does not count is a 403: the body says so, and no token is asked for.
    let challenge = (response.status == StatusCode::UNAUTHORIZED).then(|| Challenge::Missing.header());
    Action::Respond(with(response, challenge.as_deref()))
}

/// The person is known and has to prove more.
pub fn step_up(
    gate: &Gate,
    snapshot: &Snapshot,
    request: &Request<'_>,
    refused: &Refused<'_>,
    tier: &Name,
    max_age: Duration,
    now: Timestamp,
) -> Action {
    if is_navigation(snapshot, request) {
        return browser(gate, snapshot, request, refused, tier, Some(max_age), now);
    }
    let response = refusal::respond(snapshot, request, refused, now);
    let token = refused.caller.and_then(|caller| caller.bearer.as_ref());
    let challenge = token.map(|token| token.step_up_challenge(tier, Some(max_age)));
    Action::Respond(with(response, challenge.as_deref()))
}

/// A browser goes to a page, of an application that browsers are for.
fn is_navigation(snapshot: &Snapshot, request: &Request<'_>) -> bool {
    pages::prefers_html(request.headers) && snapshot.route_of(request).is_none_or(|route| route.sign_in)
}

/// A response that carries a challenge for programs (RFC 9110 section 11.6.1), if there is one.
pub fn with(response: Response, challenge: Option<&str>) -> Response {
    match challenge.and_then(|challenge| HeaderValue::from_str(challenge).ok()) {
        Some(challenge) => response.with(WWW_AUTHENTICATE, challenge),
        None => response,
    }
}

/// GET and HEAD go to the portal. A form that was sent is kept on a page, so that nothing typed is lost.
fn browser(
    gate: &Gate,
    snapshot: &Snapshot,
    request: &Request<'_>,
    refused: &Refused<'_>,
    tier: &Name,
    max_age: Option<Duration>,
    now: Timestamp,
) -> Action {
    let Ok((url, cookie)) = handover::to_portal(gate, snapshot, request, Some(tier), max_age, now) else {
        let refused = Refused { reason: Reason::InternalError, ..refused.clone() };
        return Action::Respond(refusal::respond(snapshot, request, &refused, now));
    };
    if !matches!(*request.method, Method::GET | Method::HEAD) {
        return Action::KeepForm { sign_in: url, cookie };
    }
    Action::Respond(Response::redirect(&url).with_cookie(&cookie))
}
