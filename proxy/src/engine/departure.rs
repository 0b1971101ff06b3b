//! What a permitted request needs before it leaves: a protocol to switch to that its route allows, bounds for its body,
//! the length of one.
use super::body::{BodyWatch, Stalled};
use super::context::Context;
use super::request_head::Unfit;
use super::takes;
use crate::edge::connection::ConnectionInfo;
use crate::forward::Forward;
use crate::snapshot::Snapshot;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderValue, Version};
use pingora_core::Result;
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use std::sync::Arc;
use std::time::Instant;
use torhaus_authz::Reason;

/// # Errors
/// Outer: the engine's own. Inner: it cannot leave like this.
pub async fn prepare(
    session: &mut Session,
    ctx: &mut Context,
    snapshot: &Snapshot,
    connection: &Arc<ConnectionInfo>,
    forward: &Forward,
) -> Result<std::result::Result<(), Unfit>> {
    if ctx.upgrade.as_ref().is_some_and(|token| !upgrade_allowed(forward, token)) {
        ctx.upgrade = None;
    }
    if ctx.upgrade.is_some() {
        if !may_switch(session.req_header()) {
            let why = "another protocol is switched to from HTTP/1.1, by a request without a body";
            return Ok(Err((Reason::BadRequest, Some(why))));
        }
        // What takes over may be quiet for hours, either way; it ends with its session.
        session.set_read_timeout(None);
        session.set_write_timeout(None);
    } else {
        let limits = &snapshot.config.limits;
        let largest = forward.route.max_body.unwrap_or(limits.max_body);
        let slowest = forward.route.min_body_rate.unwrap_or(limits.min_body_rate);
        let body = BodyWatch::new(largest, slowest, Instant::now());
        let declared = session.req_header().headers.get(CONTENT_LENGTH);
        let declared = declared.and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(0);
        if let Err(reason) = body.declared(declared) {
            return Ok(Err((reason, None)));
        }
        ctx.body = Some(body);
        // On HTTP/1.1 the engine's own timeout counts, and says 408.
        if session.as_downstream().as_http1().is_none() && !session.as_mut().is_body_empty() {
            ctx.stalled = Some(Stalled::watch(connection.clone(), limits.idle_timeout));
        }
    }
    if takes::needs_length(session, forward) {
        ctx.spooled = Box::pin(takes::spool(session)).await?;
        if ctx.spooled.is_none() {
            return Ok(Err((Reason::BodyTooLarge, None)));
        }
    }
    Ok(Ok(()))
}

/// Only HTTP/1.1 has this way to another protocol (RFC 9110 section 7.8); a body would have no bounds before it.
fn may_switch(head: &RequestHeader) -> bool {
    let length = head.headers.get(CONTENT_LENGTH);
    head.version == Version::HTTP_11
        && !head.headers.contains_key(TRANSFER_ENCODING)
        && length.is_none_or(|length| length.as_bytes().iter().all(|digit| *digit == b'0'))
}

fn upgrade_allowed(forward: &Forward, token: &HeaderValue) -> bool {
    token.as_bytes().eq_ignore_ascii_case(b"websocket")
        || forward.route.upgrades.iter().any(|allowed| token.as_bytes().eq_ignore_ascii_case(allowed.as_bytes()))
}
