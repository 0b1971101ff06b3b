//! The authorization endpoint: answers at once, or sends the browser to a page.
use super::assurance::{Level, Next, next};
use super::grant::Grant;
use super::interaction::Interaction;
use super::pages;
use super::people::Person;
use super::request::{Back, Refused, Request, parse};
use super::session::Session;
use super::shelf::token;
use super::{Provider, cookie, set_cookie};
use crate::clock;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use time::{Duration, OffsetDateTime};
use url::form_urlencoded;

/// Time to find the phone and type a code.
const INTERACTION_LIFE: Duration = Duration::minutes(10);

pub async fn get(State(provider): State<Arc<Provider>>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    begin(&provider, &headers, &query.unwrap_or_default())
}

pub async fn post(State(provider): State<Arc<Provider>>, headers: HeaderMap, body: String) -> Response {
    begin(&provider, &headers, &body)
}

fn begin(provider: &Provider, headers: &HeaderMap, query: &str) -> Response {
    let now = clock::now();
    let request = match parse(query, &provider.clients) {
        Ok(request) => request,
        Err(Refused::Here(why)) => return pages::error(headers, StatusCode::BAD_REQUEST, why),
        Err(Refused::Back(back)) => return send_back(provider, &back),
    };
    // Somebody else's session does not count for the person who is hinted at.
    let session = provider.session(headers).filter(|session| is_hinted(&request, session.person));
    let again = request.again || session.is_none();
    let since = if again { Some(now) } else { request.max_age.map(|age| now - age) };
    match step(&request, since, session.as_ref()) {
        Next::Ask(_) if request.silent => {
            let (error, description) = match session {
                None => ("login_required", "nobody is signed in"),
                Some(_) => ("interaction_required", "another factor or a new login is needed"),
            };
            send_back(provider, &back(&request, error, description))
        }
        Next::Ask(_) => {
            let browser = cookie(headers, &provider.browser_cookie()).unwrap_or_else(token);
            let set = set_cookie(&provider.browser_cookie(), &browser);
            let id = token();
            let interaction = Interaction { request: Arc::new(request), since, browser };
            provider.interactions.put(id.clone(), interaction, now + INTERACTION_LIFE, now);
            let mut response = pages::see_other(&format!("/interaction/{id}"));
            pages::add_cookie(&mut response, &set);
            response
        }
        decided => finish(provider, &request, session, decided, now),
    }
}

/// What comes next for this browser's session.
pub fn step(request: &Request, since: Option<OffsetDateTime>, session: Option<&Session>) -> Next {
    next(&request.wanted, since, session.map(|session| (session.person, &session.proven)))
}

/// Sends the browser back with a code or an error.
pub fn finish(
    provider: &Provider,
    request: &Request,
    session: Option<Session>,
    decided: Next,
    now: OffsetDateTime,
) -> Response {
    let (Next::Done { level, at }, Some(session)) = (decided, session) else {
        // OpenID Connect Unmet Authentication Requirements 1.0.
        let why = "this person cannot meet the demanded acr";
        return send_back(provider, &back(request, "unmet_authentication_requirements", why));
    };
    let code = provider.grants.code(grant(request, &session, level, at), request, now);
    redirect(provider, &request.redirect_uri, request.state.as_deref(), &[("code", &code)])
}

pub fn back(request: &Request, error: &'static str, description: &'static str) -> Back {
    Back { redirect_uri: request.redirect_uri.clone(), state: request.state.clone(), error, description }
}

pub fn send_back(provider: &Provider, back: &Back) -> Response {
    let fields = [("error", back.error), ("error_description", back.description)];
    redirect(provider, &back.redirect_uri, back.state.as_deref(), &fields)
}

fn is_hinted(request: &Request, person: &Person) -> bool {
    let is = |hint: &str| hint.eq_ignore_ascii_case(person.user) || hint.eq_ignore_ascii_case(&person.email());
    request.login_hint.as_deref().is_none_or(is)
}

fn grant(request: &Request, session: &Session, level: Level, at: OffsetDateTime) -> Grant {
    Grant::new(request, session.person, session.sid.clone(), (level, session.proven.methods(level), at))
}

/// `iss` goes with success and with errors (RFC 9207 s2). 303, so that no form is posted on (RFC 9700 s4.12).
fn redirect(provider: &Provider, to: &str, state: Option<&str>, fields: &[(&str, &str)]) -> Response {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(fields);
    if let Some(state) = state {
        query.append_pair("state", state);
    }
    query.append_pair("iss", &provider.issuer);
    let separator = if to.contains('?') { '&' } else { '?' };
    let location = format!("{to}{separator}{}", query.finish());
    let headers = [
        (header::LOCATION, location.as_str()),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (StatusCode::SEE_OTHER, headers).into_response()
}
