//! Scripts of other origins that a route allows (the CORS protocol, WHATWG Fetch section 3.3).
//!
//! A preflight carries no identity, so it is answered here and never reaches the application. To what the gate itself
//! answers (a 401 to a script whose session has ended) the origin is added too, or the script could not read why.
use crate::request::Request;
use crate::response::Response;
use crate::snapshot::Snapshot;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderValue, ORIGIN, VARY,
};
use http::{Method, StatusCode};
use torhaus_config::Route;

/// The answer to a preflight of an origin that the route allows; none if it is not one. It says what a script may ask,
/// nothing about whether the answer will be yes: that is decided when it asks.
pub fn preflight(route: &Route, request: &Request<'_>) -> Option<Response> {
    let method = request.headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
    let origin = allowed(route, request)?;
    if *request.method != Method::OPTIONS {
        return None;
    }
    let mut response = with_origin(Response::empty(StatusCode::NO_CONTENT), origin)
        .with(ACCESS_CONTROL_ALLOW_METHODS, method.clone())
        .with(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    if let Some(headers) = request.headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        response = response.with(ACCESS_CONTROL_ALLOW_HEADERS, headers.clone());
    }
    Some(response)
}

/// Lets a script of an origin that the request's route allows read an answer of ours.
pub fn readable(snapshot: &Snapshot, request: &Request<'_>, response: Response) -> Response {
    let route = request.header(ORIGIN).and_then(|_| snapshot.route_of(request));
    match route.and_then(|route| allowed(route, request)) {
        Some(origin) => with_origin(response, origin)
            .with(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("WWW-Authenticate")),
        None => response,
    }
}

fn with_origin(response: Response, origin: HeaderValue) -> Response {
    response
        .with(ACCESS_CONTROL_ALLOW_ORIGIN, origin)
        .with(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"))
        .with(VARY, HeaderValue::from_static("Origin"))
}

fn allowed(route: &Route, request: &Request<'_>) -> Option<HeaderValue> {
    let origin = request.header(ORIGIN)?;
    let known = route.cors_origins.iter().any(|allowed| allowed == origin);
    known.then(|| HeaderValue::from_str(origin).ok()).flatten()
}
