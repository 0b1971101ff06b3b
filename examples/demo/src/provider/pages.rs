//! The provider's pages. No scripts; styles from here; words from `language.rs`.
use super::Provider;
use super::assurance::Ask;
use super::language::{Words, words};
use super::people::{PEOPLE, Person};
use super::request::Request;
use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use std::sync::Arc;

/// What went wrong with the answer before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    WrongPassword,
    WrongCode,
    Wait,
    TouchTheKey,
}

#[derive(Template)]
#[template(path = "provider/password.html")]
struct PasswordPage<'a> {
    w: &'a Words,
    id: &'a str,
    hint: &'a str,
    people: &'a [Person],
    notice: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "provider/second.html")]
struct SecondPage<'a> {
    w: &'a Words,
    id: &'a str,
    person: &'a Person,
    code: &'a str,
    notice: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "provider/key.html")]
struct KeyPage<'a> {
    w: &'a Words,
    id: &'a str,
    person: &'a Person,
    notice: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "provider/logout.html")]
struct LogoutPage<'a> {
    w: &'a Words,
    person: &'a Person,
    sid: &'a str,
    keep: Vec<(&'a str, &'a str)>,
}

#[derive(Template)]
#[template(path = "provider/message.html")]
struct MessagePage<'a> {
    w: &'a Words,
    heading: &'a str,
    text: &'a str,
    detail: Option<&'a str>,
}

pub fn ask(
    headers: &HeaderMap,
    request: &Request,
    ask: Ask,
    id: &str,
    person: Option<&Person>,
    code: Option<String>,
    notice: Option<Notice>,
) -> Response {
    let w = words(headers, request.locales.as_deref());
    let said = notice.map(|notice| match notice {
        Notice::WrongPassword => w.wrong_password,
        Notice::WrongCode => w.wrong_code,
        Notice::Wait => w.wait,
        Notice::TouchTheKey => w.touch_please,
    });
    let status = match notice {
        None => StatusCode::OK,
        Some(Notice::Wait) => StatusCode::TOO_MANY_REQUESTS,
        Some(_) => StatusCode::UNAUTHORIZED,
    };
    match (ask, person) {
        (Ask::SecondFactor, Some(person)) => {
            let code = code.unwrap_or_default();
            page(status, &SecondPage { w, id, person, code: &code, notice: said })
        }
        (Ask::Key, Some(person)) => page(status, &KeyPage { w, id, person, notice: said }),
        _ => {
            let hint = request.login_hint.as_deref().unwrap_or_default();
            page(status, &PasswordPage { w, id, hint, people: &PEOPLE, notice: said })
        }
    }
}

pub fn error(headers: &HeaderMap, status: StatusCode, why: &str) -> Response {
    let w = words(headers, None);
    page(status, &MessagePage { w, heading: w.error, text: w.error_help, detail: Some(why) })
}

pub fn signed_out(headers: &HeaderMap) -> Response {
    let w = words(headers, None);
    page(StatusCode::OK, &MessagePage { w, heading: w.signed_out, text: w.about, detail: None })
}

pub fn confirm_logout(headers: &HeaderMap, person: &Person, sid: &str, keep: Vec<(&str, &str)>) -> Response {
    page(StatusCode::OK, &LogoutPage { w: words(headers, None), person, sid, keep })
}

pub async fn home(State(provider): State<Arc<Provider>>, headers: HeaderMap) -> Response {
    let w = words(&headers, None);
    match provider.session(&headers) {
        Some(session) => confirm_logout(&headers, session.person, &session.sid, vec![]),
        None => page(StatusCode::OK, &MessagePage { w, heading: w.title, text: w.about, detail: Some(w.nobody) }),
    }
}

pub async fn style() -> Response {
    let headers = [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "max-age=300")];
    (headers, include_str!("../../templates/style.css")).into_response()
}

pub fn see_other(to: &str) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, to), (header::CACHE_CONTROL, "no-store")]).into_response()
}

pub fn add_cookie(response: &mut Response, cookie: &str) {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}

fn page(status: StatusCode, template: &impl Template) -> Response {
    let Ok(html) = template.render() else {
        return (StatusCode::INTERNAL_SERVER_ERROR, "the page could not be written\n").into_response();
    };
    let headers = [
        (header::CACHE_CONTROL, "no-store"),
        // No `form-action`: browsers apply it to the redirects after a form too, and ours lead to applications.
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    (status, headers, Html(html)).into_response()
}
