//! The dashboard's events: one a second, as long as the reader stays.
use super::page::{Setting, html, user};
use crate::clock;
use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{Stream, unfold};
use serde_json::json;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

const PODS: [&str; 4] = ["payments-7c9", "ledger-0", "gateway-5fd", "vault-1"];
const STATES: [&str; 3] = ["Pulling", "Running", "Ready"];

#[derive(Template)]
#[template(path = "applications/watch.html")]
struct Watch<'a> {
    portal: &'a str,
    user: &'a str,
}

pub async fn page(State(setting): State<Arc<Setting>>, headers: HeaderMap) -> Response {
    let user = user(&headers);
    html(Watch { portal: &setting.portal, user: user.as_deref().unwrap_or("nobody") }.render())
}

pub async fn script() -> Response {
    let headers = [(header::CONTENT_TYPE, "text/javascript; charset=utf-8")];
    (headers, include_str!("../../templates/applications/watch.js")).into_response()
}

pub async fn events() -> Response {
    let headers = [(header::CACHE_CONTROL, "no-store")];
    (headers, Sse::new(happenings())).into_response()
}

fn happenings() -> impl Stream<Item = Result<Event, Infallible>> {
    unfold(0usize, |count| async move {
        if count > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let pod = PODS.iter().cycle().nth(count % PODS.len()).copied().unwrap_or_default();
        let state = STATES.iter().cycle().nth(count % STATES.len()).copied().unwrap_or_default();
        let time = clock::text();
        let event = Event::default()
            .id(count.to_string())
            .data(json!({ "time": time, "pod": pod, "state": state }).to_string());
        Some((Ok(event), count.wrapping_add(1)))
    })
}
