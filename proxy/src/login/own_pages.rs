//! Our own paths: all of the portal's host, and `/.torhaus/` on every application's host. Other systems are configured
//! with these addresses, so they are fixed.
use crate::acme_client::challenges;
use crate::ca::own_domain;
use crate::enroll::pairing;
use crate::gate::Gate;
use crate::login::{attempts, backchannel, break_glass, handover, logout, sign_in};
use crate::metrics::LoginResult;
use crate::portal::{devices, enroll, home, pages, session_list};
use crate::refusal::{self, Refused};
use crate::request::Request;
use crate::response::Response;
use crate::snapshot::Snapshot;
use crate::{acme, identify, lookup, posture};
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, StatusCode};
use torhaus_authz::{Identity, Reason, Timestamp};

/// On every application's host this prefix is ours and never reaches the application.
const OWN_PREFIX: &str = "/.torhaus/";

/// Whether a request is for one of our own pages.
pub fn serves(snapshot: &Snapshot, request: &Request<'_>) -> bool {
    is_own(snapshot, request.host, request.path)
}

/// Whether its body has to be read before the gate is asked.
pub fn wants_body(snapshot: &Snapshot, method: &Method, host: &str, path: &str) -> bool {
    *method == Method::POST && is_own(snapshot, host, path)
}

fn is_own(snapshot: &Snapshot, host: &str, path: &str) -> bool {
    snapshot.is_portal(host) || is_on_every_host(path)
}

/// A path that is ours on every application's host.
pub fn is_on_every_host(path: &str) -> bool {
    path.starts_with(OWN_PREFIX) || path == "/.torhaus"
}

/// The plain listener: everything is sent to https, but for revocation lists, and devices that look for a captive portal
/// get their 204. Challenges are answered by whoever solves them.
pub async fn plain(gate: &Gate, snapshot: &Snapshot, request: &Request<'_>) -> Response {
    if request.path == "/generate_204" {
        return Response::empty(StatusCode::NO_CONTENT);
    }
    if let Some(answer) = proof_of_name(snapshot, request).await {
        return answer;
    }
    if let Some(answer) = published(gate, snapshot, request) {
        return answer;
    }
    if let Some(answer) = acme::solver::answer(&snapshot.added, request).await {
        return answer;
    }
    let known = snapshot.is_portal(request.host) || snapshot.routes.knows(request.host);
    if !known {
        return refusal::bare(Reason::NoRoute, None);
    }
    let port = match snapshot.config.portal.url.port() {
        Some(port) => format!(":{port}"),
        None => String::new(),
    };
    let mut response = Response::redirect(&format!("https://{}{port}{}", request.host, request.path_and_query()));
    // 308 keeps the method (RFC 9110 section 15.4.9).
    response.status = StatusCode::PERMANENT_REDIRECT;
    response
}

/// What proves to a server of certificates that a host is ours (RFC 8555 section 8.3). None: nothing to prove there;
/// the path may be an application's own.
async fn proof_of_name(snapshot: &Snapshot, request: &Request<'_>) -> Option<Response> {
    let token = request.path.strip_prefix(challenges::PATH).filter(|_| *request.method == Method::GET)?;
    snapshot.obtains().next()?;
    let shown = snapshot.obtained.challenges.as_ref()?.http(request.host, token).await?;
    Some(Response::bytes(StatusCode::OK, "application/octet-stream", shown.into()))
}

/// The root's certificate and the revocation lists, for everybody: they are signed, and say nothing about people.
fn published(gate: &Gate, snapshot: &Snapshot, request: &Request<'_>) -> Option<Response> {
    let name = request.path.strip_prefix("/ca/").filter(|_| snapshot.is_portal(request.host))?;
    own_domain(&snapshot.config)?;
    if !matches!(*request.method, Method::GET | Method::HEAD) {
        return None;
    }
    if name == "root.pem" {
        // RFC 8555 section 9.1 registers this type for PEM certificates.
        return Some(Response::bytes(StatusCode::OK, "application/pem-certificate-chain", gate.ca.root_pem()?.into()));
    }
    let list = gate.ca.list(name.strip_suffix(".crl")?)?;
    // RFC 2585 section 3: a list is DER.
    Some(Response::bytes(StatusCode::OK, "application/pkix-crl", list.der))
}

/// The operators' logo, on every host, from memory.
fn logo(snapshot: &Snapshot, request: &Request<'_>) -> Option<Response> {
    if !matches!(*request.method, Method::GET | Method::HEAD) {
        return None;
    }
    let logo = snapshot.brand.logo_at(request.path)?;
    let mut response = Response::bytes(StatusCode::OK, logo.kind.media_type(), Bytes::from_owner(logo.bytes.clone()));
    // Another picture has another name. On a page it is an `<img>`; opened by itself it still runs nothing.
    response.headers.retain(|(name, _)| *name != CACHE_CONTROL);
    for (name, value) in [
        (CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; sandbox"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        response = response.with(name, HeaderValue::from_static(value));
    }
    Some(response)
}

/// Answers a request for one of our own pages.
pub async fn answer(gate: &Gate, snapshot: &Snapshot, request: &Request<'_>, now: Timestamp) -> Response {
    if signs_in(snapshot, request)
        && !gate.attempts.one_more(request.connection.client.ip(), snapshot.config.limits.logins_per_minute, now)
    {
        gate.metrics.login("-", LoginResult::RateLimited);
        let refused = Refused::because(Reason::RateLimited);
        let response = refusal::respond(snapshot, request, &refused, now);
        return response.with(RETRY_AFTER, HeaderValue::from(attempts::WINDOW.as_secs()));
    }
    if let Some(logo) = logo(snapshot, request) {
        return logo;
    }
    let answered = if snapshot.is_portal(request.host) {
        portal(gate, snapshot, request, now).await
    } else {
        host(gate, snapshot, request, now).await
    };
    answered.unwrap_or_else(|reason| refusal::respond(snapshot, request, &Refused::because(reason), now))
}

/// Steps of a sign-in: each costs us or the provider some work, and is what somebody would repeat who guesses.
fn signs_in(snapshot: &Snapshot, request: &Request<'_>) -> bool {
    match snapshot.is_portal(request.host) {
        // A command that waits for its key asks every few seconds.
        true => {
            matches!(request.path, "/login" | pairing::KEY | break_glass::PATH)
                || request.path.starts_with("/callback/")
        }
        // Everybody behind a proxy that asks comes from its address. A code has 256 bits and one use: nothing to guess.
        false => {
            request.path == "/.torhaus/session"
                && snapshot.asking_proxy(request.connection.client.ip().to_canonical()).is_none()
        }
    }
}

async fn portal(gate: &Gate, snapshot: &Snapshot, request: &Request<'_>, now: Timestamp) -> Result<Response, Reason> {
    let get = matches!(*request.method, Method::GET | Method::HEAD);
    let post = *request.method == Method::POST;
    if let Some(answer) = published(gate, snapshot, request) {
        return Ok(answer);
    }
    if acme::serves(request.path) {
        return acme::answer(gate, request, now).await.ok_or(Reason::NoRoute);
    }
    match request.path {
        "/" if get => match sign_in::browser_session(gate, request, now).await? {
            Some(live) => home::page(snapshot, request, &live, now).await,
            None => Ok(Response::redirect("/login")),
        },
        "/login" if get => sign_in::login(gate, snapshot, request, now).await,
        break_glass::PATH if get => break_glass::enter(gate, request, now).await,
        "/logout" if get => Ok(sign_out_page(snapshot, request)),
        "/logout" if post => {
            same_origin(request)?;
            let session = sign_in::browser_session(gate, request, now).await?;
            logout::log_out(gate, snapshot, session, now).await
        }
        "/signed-out" if get => {
            let page = pages::SignedOut { sign_in: "/login".into(), provider_stays: None };
            Ok(refusal::page(page.render(&refusal::look(snapshot), pages::language(request.headers))))
        }
        "/sessions" if get => match sign_in::browser_session(gate, request, now).await? {
            Some(live) => session_list::page(gate, snapshot, request, &live, now).await,
            None => Ok(Response::redirect("/login")),
        },
        "/sessions" if post => {
            same_origin(request)?;
            let live = sign_in::browser_session(gate, request, now).await?.ok_or(Reason::SessionExpired)?;
            session_list::end(gate, snapshot, request, live, now).await
        }
        "/devices" if get => match sign_in::browser_session(gate, request, now).await? {
            Some(live) => devices::page(gate, snapshot, request, &live, now).await,
            None => devices::sign_in(gate, snapshot, request, now),
        },
        "/devices" if post => {
            same_origin(request)?;
            let live = sign_in::browser_session(gate, request, now).await?.ok_or(Reason::SessionExpired)?;
            devices::change(gate, snapshot, request, &live, now).await
        }
        pairing::PAGE if get => match sign_in::browser_session(gate, request, now).await? {
            Some(live) => enroll::page(gate, snapshot, request, &live, now),
            None => devices::sign_in(gate, snapshot, request, now),
        },
        pairing::PAGE if post => {
            same_origin(request)?;
            let live = sign_in::browser_session(gate, request, now).await?.ok_or(Reason::SessionExpired)?;
            enroll::confirm(gate, snapshot, request, &live, now).await
        }
        pairing::KEY if post => enroll::key(gate, snapshot, request, now).await,
        "/.well-known/torhaus/jwks.json" if get => Ok(Response::json(StatusCode::OK, gate.told.assertions.jwks())),
        path => match for_provider(path) {
            Some(("callback", provider)) if get => sign_in::callback(gate, snapshot, request, provider, now).await,
            Some(("backchannel-logout", provider)) if post => {
                backchannel::back_channel(gate, snapshot, request, provider, now).await
            }
            Some(("frontchannel-logout", provider)) if *request.method == Method::GET => {
                backchannel::front_channel(gate, snapshot, request, provider, now).await
            }
            Some(_) => Err(Reason::MethodNotAllowed),
            None if matches!(
                path,
                "/" | "/login" | "/logout" | "/signed-out" | "/sessions" | "/devices" | pairing::PAGE | pairing::KEY
            ) =>
            {
                Err(Reason::MethodNotAllowed)
            }
            None => Err(Reason::NoRoute),
        },
    }
}

/// `/callback/corp` is `callback` for `corp`: the addresses that an identity provider is configured with.
fn for_provider(path: &str) -> Option<(&str, &str)> {
    let (what, provider) = path.strip_prefix('/')?.split_once('/')?;
    matches!(what, "callback" | "backchannel-logout" | "frontchannel-logout").then_some((what, provider))
}

async fn host(gate: &Gate, snapshot: &Snapshot, request: &Request<'_>, now: Timestamp) -> Result<Response, Reason> {
    let get = matches!(*request.method, Method::GET | Method::HEAD);
    match request.path {
        "/.torhaus/session" if get => handover::accept(gate, request, now).await,
        "/.torhaus/logout" if get => Ok(sign_out_page(snapshot, request)),
        "/.torhaus/logout" if *request.method == Method::POST => {
            same_origin(request)?;
            logout::log_out(gate, snapshot, sign_in::browser_session(gate, request, now).await?, now).await
        }
        "/.torhaus/whoami" if get => who_am_i(gate, snapshot, request, now).await,
        posture::PATH => posture::take::take(gate, snapshot, request, now).await,
        "/.torhaus/session" | "/.torhaus/logout" | "/.torhaus/whoami" => Err(Reason::MethodNotAllowed),
        _ => Err(Reason::NoRoute),
    }
}

#[derive(serde::Serialize)]
struct WhoAmI {
    user: Option<String>,
    service: Option<String>,
    name: Option<String>,
    email: Option<String>,
    provider: Option<String>,
    /// Unknown groups are null, not none.
    groups: Option<Vec<String>>,
    tiers: Vec<ProvenTier>,
    zone: String,
    /// SHA-256 of the client certificate that was believed.
    certificate: Option<String>,
    address: String,
    session: Option<String>,
}

#[derive(serde::Serialize)]
struct ProvenTier {
    tier: String,
    provider: String,
    age_seconds: u64,
}

/// Who the gate takes the caller for, for people and for scripts.
async fn who_am_i(gate: &Gate, snapshot: &Snapshot, request: &Request<'_>, now: Timestamp) -> Result<Response, Reason> {
    let caller = identify::identify(gate, snapshot, request, now).await?;
    // No row is asked about; the decision only says which zone this is.
    let facts = lookup::about(snapshot, request, &caller, now);
    let (user, service, provider) = match &caller.identity {
        Identity::Anonymous => (None, None, None),
        Identity::User(user) => (Some(user.name.to_string()), None, Some(user.provider.to_string())),
        Identity::Service(service) => (None, Some(service.id.to_string()), None),
    };
    let tier = |proof: &torhaus_authz::Proof| ProvenTier {
        tier: proof.tier.to_string(),
        provider: proof.provider.to_string(),
        age_seconds: now.since(proof.proven_at).as_secs(),
    };
    let body = WhoAmI {
        user,
        service,
        provider,
        name: caller.display_name.as_deref().map(str::to_owned),
        email: caller.email.as_deref().map(str::to_owned),
        groups: caller.groups.known().map(|groups| groups.iter().map(ToString::to_string).collect()),
        tiers: caller.proofs.iter().map(tier).collect(),
        zone: snapshot.decide(&facts).zone.to_string(),
        certificate: caller.certificate.known().and_then(|c| Some(c.as_ref()?.sha256.to_string())),
        address: request.connection.client.ip().to_string(),
        session: caller.session.as_ref().map(|live| live.id.to_string()),
    };
    Ok(Response::json(StatusCode::OK, &body))
}

fn sign_out_page(snapshot: &Snapshot, request: &Request<'_>) -> Response {
    let page = pages::SignOut {
        action: request.path.into(),
        person: None,
        provider: None,
        csrf: String::new(),
        form_targets: logout::form_targets(snapshot),
    };
    refusal::page(page.render(&refusal::look(snapshot), pages::language(request.headers)))
}

/// A form of ours comes from a page of ours.
fn same_origin(request: &Request<'_>) -> Result<(), Reason> {
    if request.same_origin() { Ok(()) } else { Err(Reason::CrossOrigin) }
}
