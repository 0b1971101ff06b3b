//! From the portal to a host: a session has one handle per host, and a browser gets it by a one-time code.
//!
//! ```text
//! host    sets a nonce cookie, sends the browser to   portal/login?to=<sealed: host, return path, H(nonce), tier>
//! portal  signs in or steps up, then sends it to      host/.torhaus/session?code=<one-time, 60 s>
//! host    compares H(nonce cookie), host; sets the handle; sends it to the return path
//! ```
//!
//! The code is worth nothing in another browser (the nonce), at another host, or a second time: without these, whoever
//! gets somebody to follow a link signs them in as somebody else (login CSRF).
use crate::gate::Gate;
use crate::login::cookie;
use crate::login::return_to::ReturnTo;
use crate::login::session::{Purpose, Ticket, TicketHash, Unavailable};
use crate::request::Request;
use crate::response::Response;
use crate::snapshot::Snapshot;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::Method;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use torhaus_authz::{Name, Proof, Reason, Timestamp};

/// How long a person may take from the host to the portal and through the provider's forms.
const WISH_LIFE: Duration = Duration::from_secs(15 * 60);
/// How long a code may take from the portal back to the host.
const CODE_LIFE: Duration = Duration::from_secs(60);
/// Life of the nonce cookie, in seconds: that of a wish.
const NONCE_SECONDS: u32 = 15 * 60;

const SEAL_PURPOSE: &str = "login-wish";

/// What a host asks of the portal. Travels sealed, so that nobody can make one up or read the tier out of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostWish {
    pub host: String,
    /// Host and port as the browser has to write them.
    pub authority: String,
    pub return_to: String,
    /// The tier that the row asks for, and how old its proof may be (seconds).
    pub tier: Option<Name>,
    pub max_age: Option<u64>,
    /// One of the portal's own pages asks: the way back needs no code.
    #[serde(default)]
    pub at_portal: bool,
    /// SHA-256 of the nonce cookie.
    binding: String,
}

#[derive(Serialize, Deserialize)]
struct Code {
    session: Name,
    host: String,
    return_to: String,
    binding: String,
}

/// The portal's address for signing in (or stepping up) for a host, and the nonce cookie that the host has to set for
/// the way back.
///
/// # Errors
/// No randomness, or the seal failed.
pub fn to_portal(
    gate: &Gate,
    snapshot: &Snapshot,
    request: &Request<'_>,
    tier: Option<&Name>,
    max_age: Option<Duration>,
    now: Timestamp,
) -> Result<(String, String), Unavailable> {
    // A nonce that is there already serves other tabs of this browser that wait for their code. It is set again, so
    // that it lives as long as this wish.
    let nonce = match request.cookie(cookie::NONCE).and_then(Ticket::parse) {
        Some(nonce) => nonce,
        None => Ticket::new()?,
    };
    // After a form the way back is the front page: its address may only make sense as a POST.
    let navigation = matches!(*request.method, Method::GET | Method::HEAD);
    let return_to = navigation.then(|| ReturnTo::parse(&request.path_and_query()).ok()).flatten();
    let wish = HostWish {
        host: request.host.to_owned(),
        authority: request.authority(),
        return_to: return_to.unwrap_or_else(ReturnTo::root).as_str().to_owned(),
        at_portal: snapshot.is_portal(request.host),
        tier: tier.cloned(),
        max_age: max_age.map(|age| age.as_secs()),
        binding: text(nonce.hash()),
    };
    let sealed =
        gate.sealer.seal_text(SEAL_PURPOSE, &serde_json::to_vec(&wish).unwrap_or_default(), now.plus(WISH_LIFE));
    let sealed = sealed.map_err(|error| Unavailable(error.to_string()))?;
    let url = format!("{}/login?to={sealed}", portal_origin(snapshot));
    Ok((url, cookie::set_for(cookie::NONCE, nonce.expose(), NONCE_SECONDS)))
}

/// The wish in the portal's `to` parameter; none if it is not ours, too old, or for a host that is gone.
pub fn read_wish(gate: &Gate, snapshot: &Snapshot, sealed: &str, now: Timestamp) -> Option<HostWish> {
    let wish: HostWish = serde_json::from_slice(&gate.sealer.open_text(SEAL_PURPOSE, sealed, now).ok()?).ok()?;
    (snapshot.routes.knows(&wish.host) || snapshot.is_portal(&wish.host)).then_some(wish)
}

/// Sends a browser from the portal to the host, with a code for this session.
///
/// # Errors
/// The store did not take the code.
pub async fn to_host(gate: &Gate, wish: &HostWish, session: &Name, now: Timestamp) -> Result<Response, Unavailable> {
    let ticket = Ticket::new()?;
    let code = Code {
        session: session.clone(),
        host: wish.host.clone(),
        return_to: wish.return_to.clone(),
        binding: wish.binding.clone(),
    };
    let value = serde_json::to_vec(&code).unwrap_or_default();
    gate.sessions.store.put_once(Purpose::HandOver, ticket.hash(), &value, now.plus(CODE_LIFE)).await?;
    Ok(Response::redirect(&format!("https://{}/.torhaus/session?code={}", wish.authority, ticket.expose())))
}

/// At the host: a code for a handle.
///
/// # Errors
/// 1. the code is unknown, used, expired, for another host or another browser; 2. the session has ended meanwhile;
///    3. the store could not be asked.
pub async fn accept(gate: &Gate, request: &Request<'_>, now: Timestamp) -> Result<Response, Reason> {
    let code = request.query_parameter("code").and_then(|code| Ticket::parse(&code)).ok_or(Reason::LoginInvalid)?;
    let taken = gate.sessions.store.take_once(Purpose::HandOver, code.hash(), now).await;
    let value = taken.map_err(|_| Reason::StoreUnavailable)?.ok_or(Reason::LoginInvalid)?;
    let code: Code = serde_json::from_slice(&value).map_err(|_| Reason::LoginInvalid)?;
    let nonce = request.cookie(cookie::NONCE).and_then(Ticket::parse).ok_or(Reason::CookiesMissing)?;
    if code.host != request.host || code.binding != text(nonce.hash()) {
        return Err(Reason::LoginInvalid);
    }
    // A new handle at every login and step-up: one that was fixed or stolen before is worth nothing after.
    let handle = Ticket::new().map_err(|_| Reason::StoreUnavailable)?;
    let replaces = request.cookie(cookie::SESSION).and_then(Ticket::parse).map(|old| old.hash());
    let added = gate.sessions.add_handle(&code.session, handle.hash(), request.host, replaces).await;
    if !added.map_err(|_| Reason::StoreUnavailable)? {
        return Err(Reason::SessionRevoked);
    }
    // The nonce stays: another tab of this browser may still be on its way with a code of its own.
    Ok(Response::redirect(&code.return_to).with_cookie(&cookie::set(cookie::SESSION, handle.expose())))
}

/// Whether these proofs are enough for what a host asks.
pub fn satisfies(snapshot: &Snapshot, proofs: &[Proof], wish: &HostWish, now: Timestamp) -> bool {
    let Some(tier) = &wish.tier else { return true };
    snapshot.policy.is_proven(proofs, tier, wish.max_age.map(Duration::from_secs), now)
}

/// `https://auth.example.test:8443`, without a trailing slash.
pub fn portal_origin(snapshot: &Snapshot) -> &str {
    snapshot.config.portal.url.as_str().trim_end_matches('/')
}

fn text(hash: TicketHash) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(hash.0)
}
