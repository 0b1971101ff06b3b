//! Envoy's external authorization (`ext_authz`), by gRPC: what `verify` is for other proxies, for Envoy and the gateways
//! built on it.
//!
//! ```text
//! client -> Envoy -- envoy.service.auth.v3.Authorization/Check, which describes the request --> gate::pass
//!                 <- set these headers, remove those | deny with this answer
//! ```
//!
//! Served at the portal's host only: an application may have this path, too. Never decides.
mod messages;

use crate::forward::Forward;
use crate::gate::Gate;
use crate::outcome::{Note, Outcome};
use crate::refusal;
use crate::request::Request;
use crate::response::Response;
use crate::snapshot::Snapshot;
use crate::verify::{self, Described, NotHeard, REASON, Said};
use bytes::{BufMut as _, BytesMut};
use http::header::{CONTENT_TYPE, COOKIE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use http::{Method, StatusCode};
use messages::{Allowed, Attributes, CheckRequest, CheckResponse, Denied, HeaderOption, HttpStatus, Status};
use prost::Message as _;
use std::collections::HashSet;
use torhaus_authz::{Reason, Timestamp};
use torhaus_config::AskingStyle;

const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";
/// gRPC over HTTP/2, "Length-Prefixed-Message": a byte for compression and four for the length.
const PREFIX: usize = 5;
/// Envoy writes these itself, before it asks; whatever the client said in them is gone.
const OF_ENVOY: [&str; 4] = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port"];

/// Codes of gRPC and of `google.rpc`.
#[derive(Clone, Copy)]
#[repr(i32)]
enum Code {
    Ok = 0,
    InvalidArgument = 3,
    PermissionDenied = 7,
    Unimplemented = 12,
    Unauthenticated = 16,
}

/// Whether a request is a question about another one. Its body has to be read before it is answered.
pub fn is_question(snapshot: &Snapshot, method: &Method, host: &str, path: &str) -> bool {
    *method == Method::POST && path == PATH && snapshot.is_portal(host)
}

/// Answers a question: the request that it describes takes the same way as any other.
pub async fn answer(gate: &Gate, snapshot: &Snapshot, question: &Request<'_>, now: Timestamp) -> Outcome {
    if question.connection.tls.as_ref().is_none_or(|tls| tls.alpn != "h2") {
        let bare = refusal::bare(Reason::BadRequest, Some("gRPC needs HTTP/2"));
        return Note { reason: Some(Reason::BadRequest), ..Note::empty() }.respond(bare);
    }
    // Of strangers nothing is read.
    if let Err((reason, why)) = may_ask(snapshot, question) {
        return replied(snapshot, question.headers, verify::refused(reason, why));
    }
    let check = match read(question) {
        Ok(check) => check,
        Err((code, why)) => {
            let (reason, why) = verify::not_understood(question, why);
            return Note { reason: Some(reason), ..Note::empty() }.respond(grpc(None, code, why));
        }
    };
    let described = match described(snapshot, question, check) {
        Ok(described) => described,
        Err((reason, why)) => return replied(snapshot, question.headers, verify::refused(reason, why)),
    };
    replied(snapshot, &described.headers, verify::asked(gate, snapshot, &described, now).await)
}

/// What the asking proxy is told; `client`: the headers of whom it asks about.
fn replied(snapshot: &Snapshot, client: &HeaderMap, outcome: Outcome) -> Outcome {
    let Outcome { action, note } = outcome;
    let reply = match verify::let_in(action) {
        Ok(forward) => allowed(&forward, snapshot, client),
        Err(response) => denied(&response, note.reason),
    };
    note.respond(grpc(Some(&reply), Code::Ok, ""))
}

/// # Errors
/// Why it is no question, with its code.
fn read(question: &Request<'_>) -> Result<Attributes, (Code, &'static str)> {
    let is_grpc = question.header(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/grpc"));
    let (prefix, message) = question
        .body
        .split_at_checked(PREFIX)
        .filter(|_| is_grpc)
        .ok_or((Code::InvalidArgument, "one message of gRPC is needed"))?;
    let [compressed, length @ ..] = prefix else { return Err((Code::InvalidArgument, "a prefix has five bytes")) };
    if *compressed != 0 {
        return Err((Code::Unimplemented, "messages are not compressed here"));
    }
    let length = length.iter().fold(0usize, |length, byte| (length << 8) | usize::from(*byte));
    if length != message.len() {
        return Err((Code::InvalidArgument, "one whole message is needed"));
    }
    let check = CheckRequest::decode(message).map_err(|_| (Code::InvalidArgument, "the message is malformed"))?;
    check.attributes.ok_or((Code::InvalidArgument, "the message describes nothing"))
}

fn may_ask(snapshot: &Snapshot, question: &Request<'_>) -> Result<(), NotHeard> {
    match verify::heard(snapshot, question)?.style {
        AskingStyle::Grpc => Ok(()),
        _ => Err((Reason::PeerNotTrusted, "this peer of `forward_auth` is none that asks by gRPC")),
    }
}

/// The request that is asked about.
fn described(snapshot: &Snapshot, question: &Request<'_>, check: Attributes) -> Result<Described, NotHeard> {
    let described = said(snapshot, question, check).map_err(|why| verify::not_understood(question, why))?;
    verify::not_disguised(snapshot, &described.headers, question)?;
    Ok(described)
}

fn said(snapshot: &Snapshot, question: &Request<'_>, check: Attributes) -> Result<Described, &'static str> {
    let http = check.request.and_then(|request| request.http).ok_or("the HTTP request is not described")?;
    let source = check.source.and_then(|peer| peer.address?.socket_address).ok_or("the client's address is needed")?;
    let mut headers = HeaderMap::with_capacity(http.headers.len());
    for (name, value) in &http.headers {
        // `:path` and its kin stand among them, too.
        if name.starts_with(':') {
            continue;
        }
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "a header is malformed")?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| "a header is malformed")?;
        headers.append(name, value);
    }
    // Whom Envoy sees, and where that is a proxy of ours, whom that one saw.
    let path = match headers.get("x-forwarded-for").map(HeaderValue::to_str) {
        None => source.address.clone(),
        Some(Ok(before)) => format!("{before},{}", source.address),
        // Taken for none, it would make the caller that proxy.
        Some(Err(_)) => return Err("`x-forwarded-for` is malformed"),
    };
    let client = verify::client(snapshot, &path)?;
    let said = Said { method: &http.method, proto: &http.scheme, authority: &http.host, target: &http.path, client };
    Described::of(snapshot, question, headers, &said)
}

/// Who the caller is, and nothing of the same name from the client.
fn allowed(forward: &Forward, snapshot: &Snapshot, client: &HeaderMap) -> CheckResponse {
    let mut headers = Vec::new();
    let mut remove: HashSet<String> = verify::told_by(&forward.route).map(|name| name.to_string()).collect();
    let changes = snapshot.reserved.changes(client);
    remove.extend(changes.remove.iter().map(ToString::to_string).filter(|name| !OF_ENVOY.contains(&name.as_str())));
    if let Some((name, values)) = changes.replace {
        match values.first() {
            Some(value) => headers.extend(HeaderOption::set(name.as_str(), value.as_bytes())),
            None => drop(remove.insert(COOKIE.to_string())),
        }
    }
    remove.extend(forward.stripped().map(|name| name.to_string()));
    for (name, value) in forward.told() {
        if let Some(header) = HeaderOption::set(name.as_str(), value.as_bytes()) {
            remove.remove(name.as_str());
            headers.push(header);
        }
    }
    let allowed = Allowed { headers, headers_to_remove: remove.into_iter().collect() };
    CheckResponse { status: Some(Status { code: Code::Ok as i32 }), allowed: Some(allowed), denied: None }
}

fn denied(response: &Response, reason: Option<Reason>) -> CheckResponse {
    let header = |(name, value): &(HeaderName, HeaderValue)| match *name == SET_COOKIE {
        true => HeaderOption::add(name.as_str(), value.as_bytes()),
        false => HeaderOption::set(name.as_str(), value.as_bytes()),
    };
    let mut headers: Vec<HeaderOption> = response.headers.iter().filter_map(header).collect();
    // Why, for the asking proxy's log.
    let why = reason.map(|reason| reason.to_string());
    headers.extend(why.and_then(|why| HeaderOption::set(REASON.as_str(), why.as_bytes())));
    let code = match response.status {
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        _ => Code::PermissionDenied,
    };
    let denied = Denied {
        status: Some(HttpStatus { code: i32::from(response.status.as_u16()) }),
        headers,
        body: String::from_utf8_lossy(&response.body).into_owned(),
    };
    CheckResponse { status: Some(Status { code: code as i32 }), denied: Some(denied), allowed: None }
}

/// An answer of gRPC: 200, at most one message, and how it went in the trailers.
fn grpc(reply: Option<&CheckResponse>, code: Code, why: &'static str) -> Response {
    let mut body = BytesMut::new();
    if let Some(reply) = reply {
        let length = reply.encoded_len();
        body.put_u8(0);
        body.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
        body.put_slice(&reply.encode_to_vec());
    }
    let mut response = Response::bytes(StatusCode::OK, "application/grpc", body.freeze());
    response.trailers.insert("grpc-status", HeaderValue::from(code as i32));
    if !why.is_empty() {
        response.trailers.insert("grpc-message", HeaderValue::from_static(why));
    }
    response
}
