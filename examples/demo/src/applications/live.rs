//! The wiki's live page: a chat over a WebSocket. Everybody who has it open sees every line.
use super::page::{Setting, html, user};
use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use std::sync::Arc;
use tokio::sync::broadcast::{Sender, channel, error::RecvError};

/// Lines that a slow reader may fall behind.
const BACKLOG: usize = 64;
/// A chat line, not a file.
const MAX_LINE: usize = 4 * 1024;

#[derive(Template)]
#[template(path = "applications/live.html")]
struct Live<'a> {
    portal: &'a str,
    user: &'a str,
}

pub async fn page(State(setting): State<Arc<Setting>>, headers: HeaderMap) -> Response {
    let user = user(&headers);
    html(Live { portal: &setting.portal, user: user.as_deref().unwrap_or("nobody") }.render())
}

pub async fn script() -> Response {
    let headers = [(header::CONTENT_TYPE, "text/javascript; charset=utf-8")];
    (headers, include_str!("../../templates/applications/live.js")).into_response()
}

pub fn socket<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let (everybody, _) = channel::<String>(BACKLOG);
    let open = move |upgrade: WebSocketUpgrade, headers: HeaderMap| {
        let everybody = everybody.clone();
        let name = user(&headers).unwrap_or_else(|| "nobody".to_owned());
        async move { upgrade.max_message_size(MAX_LINE).on_upgrade(move |socket| talk(socket, name, everybody)) }
    };
    Router::new().route("/live/socket", get(open))
}

async fn talk(mut socket: WebSocket, name: String, everybody: Sender<String>) {
    let mut lines = everybody.subscribe();
    let say = |text: &str| {
        // Nobody listening is no error: the speaker always is.
        let _ = everybody.send(json!({ "from": name, "text": text }).to_string());
    };
    say("is here");
    loop {
        tokio::select! {
            received = socket.recv() => match received {
                Some(Ok(Message::Text(text))) => say(&text),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => break,
            },
            line = lines.recv() => match line {
                Ok(line) => if socket.send(Message::Text(line.into())).await.is_err() { break },
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => break,
            },
        }
    }
    say("has left");
}
