//! Shows who the application was told you are: the gate's headers, never a cookie.
use super::{Application, Extra};
use crate::clock;
use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Json, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::sync::Arc;

pub struct Setting {
    pub application: &'static Application,
    pub portal: String,
}

#[derive(Template)]
#[template(path = "applications/page.html")]
struct Page<'a> {
    application: &'a Application,
    portal: &'a str,
    user: &'a str,
    path: &'a str,
    time: &'a str,
    told: &'a [(String, String)],
    assertion: Option<String>,
    link: Option<(&'a str, &'a str)>,
}

pub async fn show(State(setting): State<Arc<Setting>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let application = setting.application;
    let told = told(&headers);
    let assertion = assertion(&headers);
    let user = user(&headers);
    let time = clock::text();
    let wants_page = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if application.extra == Extra::Api || !wants_page.contains("text/html") {
        let headers: serde_json::Map<String, Value> = told.into_iter().map(|(k, v)| (k, json!(v))).collect();
        return Json(json!({
            "application": application.name,
            "user": user,
            "method": method.as_str(),
            "path": uri.path(),
            "time": time,
            "told": headers,
            "assertion": assertion,
        }))
        .into_response();
    }
    let link = match application.extra {
        Extra::Live => Some(("/live", "Live chat (WebSocket)")),
        Extra::Stream => Some(("/watch", "Events as they happen (SSE)")),
        Extra::None | Extra::Api => None,
    };
    let page = Page {
        application,
        portal: &setting.portal,
        user: user.as_deref().unwrap_or("nobody"),
        path: uri.path(),
        time: &time,
        told: &told,
        assertion: assertion.map(|claims| format!("{claims:#}")),
        link,
    };
    html(page.render())
}

pub async fn style() -> Response {
    let headers = [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "max-age=300")];
    (headers, include_str!("../../templates/style.css")).into_response()
}

pub fn html(rendered: askama::Result<String>) -> Response {
    let policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; \
                  form-action 'none'; frame-ancestors 'none'";
    match rendered {
        Ok(text) => {
            let headers = [(header::CONTENT_SECURITY_POLICY, policy), (header::CACHE_CONTROL, "no-store")];
            (headers, Html(text)).into_response()
        }
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the page could not be written\n").into_response(),
    }
}

/// Who the gate says this is: a person, or the SPIFFE ID of a service.
pub fn user(headers: &HeaderMap) -> Option<String> {
    headers.get("x-forwarded-user").and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn told(headers: &HeaderMap) -> Vec<(String, String)> {
    let speaks_of_you = |name: &str| {
        name.starts_with("x-forwarded-")
            || name.starts_with("x-torhaus-")
            || name.starts_with("client-cert")
            || name == "forwarded"
    };
    headers
        .iter()
        // The assertion is shown decoded: whole, it would be a pass to whoever reads the screen.
        .filter(|(name, _)| speaks_of_you(name.as_str()) && name.as_str() != ASSERTION)
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}

const ASSERTION: &str = "x-torhaus-assertion";

/// The claims of the assertion. A real application verifies its signature first; this one only shows it.
fn assertion(headers: &HeaderMap) -> Option<Value> {
    let token = headers.get(ASSERTION)?.to_str().ok()?;
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&claims).ok()
}
