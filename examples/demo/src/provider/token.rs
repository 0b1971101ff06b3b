//! The token endpoint and the UserInfo endpoint: no browser, no cookie, JSON only.
use super::client::{Client, NotTheClient, authenticate};
use super::grant::Grant;
use super::keys::{Kind, about, add};
use super::{Provider, people};
use crate::clock;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use serde_json::json;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use time::OffsetDateTime;
use url::form_urlencoded;

type Fields = HashMap<String, String>;

/// RFC 6749 s3.2.
pub async fn token(State(provider): State<Arc<Provider>>, headers: HeaderMap, body: String) -> Response {
    let now = clock::now();
    let is_form = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    let mut fields = Fields::new();
    for (name, value) in form_urlencoded::parse(body.as_bytes()).into_owned() {
        if fields.insert(name, value).is_some() {
            return problem(StatusCode::BAD_REQUEST, "invalid_request", "a parameter stands twice");
        }
    }
    if !is_form {
        return problem(StatusCode::BAD_REQUEST, "invalid_request", "send a form");
    }
    let text = |name: &str| fields.get(name).map(String::as_str);
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let client = match authenticate(&provider.clients, authorization, (text("client_id"), text("client_secret"))) {
        Ok(client) => client,
        Err(NotTheClient::Unclear) => return challenge("send the client's secret in exactly one way"),
        Err(NotTheClient::Wrong) => return challenge("the client or its secret is wrong"),
    };
    match text("grant_type") {
        Some("authorization_code") => redeem(&provider, client, &fields, now),
        Some("refresh_token") => refresh(&provider, client, &fields, now),
        _ => problem(StatusCode::BAD_REQUEST, "unsupported_grant_type", "authorization_code or refresh_token"),
    }
}

/// OpenID Connect Core s5.3.
pub async fn userinfo(State(provider): State<Arc<Provider>>, headers: HeaderMap) -> Response {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer);
    let ours = token.and_then(|token| provider.keys.read(token, Kind::AccessToken));
    let found = ours.as_ref().and_then(|ours| {
        let alive = provider.sessions.lives(&ours.sid, clock::now());
        people::by_subject(&ours.sub).filter(|_| alive).map(|person| (ours, person))
    });
    let Some((ours, person)) = found else {
        // RFC 6750 s3.1: no error code when no token was sent.
        let challenge = if token.is_some() { "Bearer error=\"invalid_token\"" } else { "Bearer" };
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response();
    };
    let scopes: Vec<String> = ours.scope.split(' ').map(str::to_owned).collect();
    let mut claims = json!({ "sub": person.subject });
    add(&mut claims, about(person, &scopes));
    no_store(Json(claims))
}

fn redeem(provider: &Provider, client: &Client, fields: &Fields, now: OffsetDateTime) -> Response {
    let text = |name: &str| fields.get(name).map_or("", String::as_str);
    let code = text("code");
    match provider.grants.redeem(code, &client.id, text("redirect_uri"), text("code_verifier"), now) {
        Some(grant) => tokens(provider, &grant, now),
        None => bad_grant(),
    }
}

fn refresh(provider: &Provider, client: &Client, fields: &Fields, now: OffsetDateTime) -> Response {
    let key = fields.get("refresh_token").map_or("", String::as_str);
    match provider.grants.refresh(key, &client.id, now) {
        Some(grant) if provider.sessions.lives(&grant.sid, now) => tokens(provider, &grant, now),
        _ => bad_grant(),
    }
}

fn tokens(provider: &Provider, grant: &Grant, now: OffsetDateTime) -> Response {
    let signed = provider.keys.access_token(grant, now).and_then(|access| {
        let further = provider.further.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let id = provider.keys.id_token(grant, &access, further, now)?;
        Ok((access, id))
    });
    let Ok((access, id)) = signed else {
        return problem(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "could not sign");
    };
    let mut answer = json!({
        "access_token": access,
        "token_type": "Bearer",
        "expires_in": provider.token_life.load(Ordering::Relaxed),
        "id_token": id,
        "scope": grant.scopes.join(" "),
    });
    if provider.refreshes.load(Ordering::Relaxed) {
        add(&mut answer, json!({ "refresh_token": provider.grants.refresh_token(grant, now) }));
    }
    no_store(Json(answer))
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// One answer for every reason: which part was wrong is nobody's business.
fn bad_grant() -> Response {
    problem(StatusCode::BAD_REQUEST, "invalid_grant", "the code or refresh token is not valid here, or no longer")
}

/// RFC 6749 s5.2: 401 and a challenge.
fn challenge(description: &str) -> Response {
    let mut response = problem(StatusCode::UNAUTHORIZED, "invalid_client", description);
    response.headers_mut().insert(
        header::WWW_AUTHENTICATE,
        axum::http::HeaderValue::from_static("Basic realm=\"token\", charset=\"UTF-8\""),
    );
    response
}

fn problem(status: StatusCode, error: &str, description: &str) -> Response {
    (status, no_store(Json(json!({ "error": error, "error_description": description })))).into_response()
}

fn no_store(body: impl IntoResponse) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], body).into_response()
}
