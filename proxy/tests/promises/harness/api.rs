//! The API of another system, as a test tells it to answer.
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What it does with a question.
#[derive(Clone)]
pub enum Does {
    Say(Value),
    Status(u16),
    Text(String),
    /// Bytes without end that are JSON so far.
    Flood(usize),
    Wait(Duration, Box<Self>),
    /// Takes the question, and never answers.
    Silence,
    /// By path and query.
    Look(Arc<dyn Fn(&str) -> Self + Send + Sync>),
}

#[derive(Clone)]
pub struct Api(Arc<Inner>);

struct Inner {
    url: String,
    does: Mutex<Does>,
    asked: Mutex<Vec<Question>>,
}

#[derive(Clone, Debug)]
pub struct Question {
    pub method: String,
    pub target: String,
    pub headers: axum::http::HeaderMap,
    pub body: String,
}

impl Api {
    pub async fn start(does: Does) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let api = Self(Arc::new(Inner { url, does: Mutex::new(does), asked: Mutex::default() }));
        let router = Router::new().fallback(answer).with_state(api.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        api
    }

    pub fn url(&self) -> &str {
        &self.0.url
    }

    pub fn does(&self, does: Does) {
        *self.0.does.lock().unwrap() = does;
    }

    pub fn asked(&self) -> Vec<Question> {
        self.0.asked.lock().unwrap().clone()
    }
}

impl Question {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

async fn answer(State(api): State<Api>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let target = head.uri.to_string();
    let (method, headers) = (head.method.to_string(), head.headers);
    let body = String::from_utf8_lossy(&body).into_owned();
    api.0.asked.lock().unwrap().push(Question { method, target: target.clone(), headers, body });
    let mut does = api.0.does.lock().unwrap().clone();
    loop {
        match does {
            Does::Say(value) => return axum::Json(value).into_response(),
            Does::Status(status) => return StatusCode::from_u16(status).unwrap().into_response(),
            Does::Text(text) => return text.into_response(),
            Does::Flood(bytes) => {
                let text = format!("{{\"nodes\":[\"{}\"]}}", "x".repeat(bytes));
                return ([(header::CONTENT_TYPE, "application/json")], text).into_response();
            }
            Does::Wait(time, then) => {
                tokio::time::sleep(time).await;
                does = *then;
            }
            Does::Silence => std::future::pending().await,
            Does::Look(look) => does = look(&target),
        }
    }
}
