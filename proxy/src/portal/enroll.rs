//! The portal's side of `torhaus enroll`: a person who has just proved the tier confirms that a command may have a
//! one-time key in their name, and the command fetches it. How the two are bound is `enroll::pairing`.
use crate::acme::PATH;
use crate::acme::enrolment::{self, EnrolError, MOST_DEVICES};
use crate::admin::EabAnswer;
use crate::enroll::pairing::{Claim, Code, LIFE, Shown, Verifier, is_43_of_base64url};
use crate::gate::Gate;
use crate::identify::session::LiveSession;
use crate::login::session::{Purpose, Ticket, TicketHash};
use crate::portal::devices;
use crate::portal::pages::{self, ConfirmDevice, Waiting};
use crate::refusal;
use crate::request::Request;
use crate::response::Response;
use crate::snapshot::Snapshot;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use torhaus_authz::{Reason, Timestamp, User};

/// Larger than any claim.
const MOST_CLAIM: usize = 4096;

/// What a person confirmed, until it is fetched.
#[derive(Serialize, Deserialize)]
struct Confirmed {
    name: String,
    provider: String,
    issuer: String,
    subject: String,
    federated: bool,
    shown: Shown,
    /// The name that stood on the page; a typed code stands for it itself.
    label: Option<String>,
}

/// Asks the person.
///
/// # Errors
/// 1. there is no ACME server; 2. the address is not one of `torhaus enroll`'s; 3. the store could not be asked.
pub fn page(
    gate: &Gate,
    snapshot: &Snapshot,
    request: &Request<'_>,
    live: &LiveSession,
    now: Timestamp,
) -> Result<Response, Reason> {
    if let Some(redirect) = devices::step_up(gate, snapshot, request, live, now)? {
        return Ok(redirect);
    }
    let waiting = waiting(|name| request.query_parameter(name))?;
    Ok(show(snapshot, request, waiting, false))
}

/// Takes the person's word.
///
/// # Errors
/// As [`page`]; 4. the form says nothing.
pub async fn confirm(
    gate: &Gate,
    snapshot: &Snapshot,
    request: &Request<'_>,
    live: &LiveSession,
    now: Timestamp,
) -> Result<Response, Reason> {
    if devices::step_up(gate, snapshot, request, live, now)?.is_some() {
        // A form that was open for too long: the page asks for the proof, the command has to begin again.
        return Ok(Response::redirect("/devices"));
    }
    let user = &live.user;
    let confirmed = |shown, label| Confirmed {
        name: user.name.to_string(),
        provider: user.provider.to_string(),
        issuer: user.issuer.to_string(),
        subject: user.subject.to_string(),
        federated: user.federated,
        shown,
        label,
    };
    match waiting(|name| request.form_field(name))? {
        Waiting::Here { label, challenge, port, state } => {
            let back = |result: &str| Response::redirect(&format!("http://127.0.0.1:{port}/?{result}&state={state}"));
            if request.form_field("yes").is_none() {
                return Ok(back("error=access_denied"));
            }
            let ticket = Ticket::new().map_err(|_| Reason::StoreUnavailable)?;
            keep(gate, ticket.hash(), &confirmed(Shown::Challenge(challenge), Some(label)), now).await?;
            Ok(back(&format!("code={}", ticket.expose())))
        }
        Waiting::Elsewhere => {
            let typed = request.form_field("code").ok_or(Reason::BadRequest)?;
            let Some(code) = Code::parse(&typed) else { return Ok(show(snapshot, request, Waiting::Elsewhere, true)) };
            let key = hash_of(&code);
            // Confirmed twice is confirmed once.
            gate.sessions.store.take_once(Purpose::Enrolment, key, now).await.map_err(|_| Reason::StoreUnavailable)?;
            keep(gate, key, &confirmed(Shown::Code(code), None), now).await?;
            Ok(Response::redirect("/devices?confirmed=1"))
        }
    }
}

/// The key, to whoever brings what fits what was confirmed. Nobody is signed in here, and no cookie is read.
///
/// # Errors
/// The claim is none, or the store could not be asked.
pub async fn key(gate: &Gate, snapshot: &Snapshot, request: &Request<'_>, now: Timestamp) -> Result<Response, Reason> {
    let config = snapshot.config.acme.as_ref().ok_or(Reason::NoRoute)?;
    if request.body.len() > MOST_CLAIM {
        return Err(Reason::BadRequest);
    }
    let claim: Claim = serde_json::from_slice(request.body).map_err(|_| Reason::BadRequest)?;
    let verifier = Verifier::parse(&claim.verifier).ok_or(Reason::BadRequest)?;
    let (key, typed) = match (Ticket::parse(&claim.code), Code::parse(&claim.code)) {
        (Some(ticket), _) => (ticket.hash(), false),
        (None, Some(code)) => (hash_of(&code), true),
        (None, None) => return Err(Reason::BadRequest),
    };
    // Taken before it is looked at: of two who bring it, one gets a key, and a wrong verifier ends it.
    let taken = gate.sessions.store.take_once(Purpose::Enrolment, key, now).await;
    let Some(taken) = taken.map_err(|_| Reason::StoreUnavailable)? else {
        return Ok(match typed {
            true => Response::json(StatusCode::ACCEPTED, &serde_json::json!({ "waiting": true })),
            false => refused("this confirmation was used already, or is older than ten minutes; begin again"),
        });
    };
    let confirmed: Confirmed = serde_json::from_slice(&taken).map_err(|_| Reason::InternalError)?;
    let label = claim.label.clone();
    let shown = confirmed.shown.clone();
    // A typed code is stretched: that takes a core for some milliseconds.
    let fits = tokio::task::spawn_blocking(move || verifier.fits(&shown, &label)).await;
    let same_name = confirmed.label.as_ref().is_none_or(|confirmed| *confirmed == claim.label);
    if !fits.unwrap_or(false) || !same_name {
        return Ok(refused("this is not the command that was confirmed; begin again"));
    }
    let user = User {
        name: confirmed.name.into(),
        provider: confirmed.provider.into(),
        issuer: confirmed.issuer.into(),
        subject: confirmed.subject.into(),
        federated: confirmed.federated,
    };
    let made = async {
        let wanted = enrolment::of_device(config, &user, &claim.label, now)?;
        if devices::count_of(gate, &user, now).await? >= MOST_DEVICES {
            return Err(EnrolError::Refused(
                "you have as many devices as you may have; revoke one in the portal".into(),
            ));
        }
        let by = format!("{} with `torhaus enroll`", user.name);
        enrolment::mint(gate, wanted, enrolment::KEY_LIFE, &by, now).await
    };
    match made.await {
        Ok(key) => {
            let origin = snapshot.config.portal.url.origin().ascii_serialization();
            let answer = EabAnswer {
                directory: format!("{origin}{PATH}/directory"),
                kid: key.kid.clone(),
                hmac_key: key.secret_base64().to_string(),
                names: enrolment::names(&key.enrolment),
                not_after: crate::ca::timestamp(key.not_after),
            };
            Ok(Response::json(StatusCode::OK, &answer))
        }
        Err(EnrolError::Refused(why)) => Ok(refused(&why)),
        Err(error) => Err(devices::reason(error)),
    }
}

async fn keep(gate: &Gate, key: TicketHash, confirmed: &Confirmed, now: Timestamp) -> Result<(), Reason> {
    let value = serde_json::to_vec(confirmed).map_err(|_| Reason::InternalError)?;
    let kept = gate.sessions.store.put_once(Purpose::Enrolment, key, &value, now.plus(LIFE)).await;
    kept.map_err(|_| Reason::StoreUnavailable)
}

fn hash_of(code: &Code) -> TicketHash {
    TicketHash(Sha256::digest(code.as_str()).into())
}

/// RFC 9457; the command prints the sentence.
fn refused(detail: &str) -> Response {
    let body = serde_json::json!({ "title": "no key", "status": 403, "detail": detail });
    Response::bytes(StatusCode::FORBIDDEN, "application/problem+json", body.to_string().into())
}

/// Who waits, by the fields of an address or a form. A port, and nothing else of an address, comes from outside: what
/// it leads to is this browser's own machine.
fn waiting<'a>(field: impl Fn(&str) -> Option<Cow<'a, str>>) -> Result<Waiting, Reason> {
    let Some(challenge) = field("challenge") else { return Ok(Waiting::Elsewhere) };
    let wanted = |name| field(name).ok_or(Reason::BadRequest);
    let port: u16 = wanted("port")?.parse().map_err(|_| Reason::BadRequest)?;
    let (label, state) = (wanted("label")?.into_owned(), wanted("state")?.into_owned());
    if port < 1024 || !is_43_of_base64url(&challenge) || !is_43_of_base64url(&state) || label.chars().count() > 80 {
        return Err(Reason::BadRequest);
    }
    Ok(Waiting::Here { label, challenge: challenge.into_owned(), port, state })
}

fn show(snapshot: &Snapshot, request: &Request<'_>, waiting: Waiting, wrong_code: bool) -> Response {
    let view = ConfirmDevice { waiting, wrong_code };
    refusal::page(view.render(&refusal::look(snapshot), pages::language(request.headers)))
}
