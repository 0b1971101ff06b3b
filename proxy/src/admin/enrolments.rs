//! Enrolments over the socket: `torhaus eab`. A one-time key goes out once, when it is made.
use super::api::{Caller, Control};
use crate::acme::enrolment::{EnrolError, EnrolmentLine};
use async_trait::async_trait;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use torhaus_authz::Timestamp;

/// What the running process can be asked about enrolments.
#[async_trait]
pub trait Enrolments: Send + Sync {
    async fn enrolments(&self, owner: Option<&str>) -> Result<Vec<EnrolmentLine>, EnrolError>;
    async fn create_eab(&self, order: EabOrder, by: Caller) -> Result<EabAnswer, EnrolError>;
    /// How many were ended.
    async fn end_enrolments(&self, which: EabEnd, by: Caller) -> Result<usize, EnrolError>;
}

/// An operator's order for a one-time key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EabOrder {
    /// A user's name for profiles of people, else who answers for the service.
    pub owner: String,
    pub profile: String,
    /// DNS names and addresses that may be ordered, and one SPIFFE ID for profile `service`.
    pub names: Vec<String>,
    /// Every name below one of these may be ordered.
    #[serde(default)]
    pub below: Vec<String>,
    #[serde(default)]
    pub wildcards: bool,
    /// Each name is proved by a challenge; else orders are born ready.
    #[serde(default)]
    pub challenge: bool,
    #[serde(default)]
    pub label: Option<String>,
    pub key_seconds: u64,
    pub enrolment_seconds: u64,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct EabAnswer {
    pub directory: String,
    pub kid: String,
    /// base64url without padding, as clients take it.
    pub hmac_key: String,
    pub names: Vec<String>,
    pub not_after: Timestamp,
}

/// Never the key.
impl fmt::Debug for EabAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EabAnswer").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl Drop for EabAnswer {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.hmac_key);
    }
}

/// Exactly one of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EabEnd {
    /// Of a key or of an account.
    #[serde(default)]
    pub id: Option<String>,
    #[serde(default)]
    pub owner: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whose {
    owner: Option<String>,
}

type Shared = Arc<dyn Control>;

pub(super) fn routes(control: Shared) -> Router {
    Router::new()
        .route("/enrolments", get(list))
        .route("/enrolments/create", post(create))
        .route("/enrolments/end", post(end))
        .with_state(control)
}

async fn list(State(control): State<Shared>, Query(whose): Query<Whose>) -> Response {
    match control.enrolment() {
        Some(all) => answer(all.enrolments(whose.owner.as_deref()).await),
        None => answer::<()>(Err(EnrolError::NotConfigured)),
    }
}

async fn create(
    State(control): State<Shared>,
    ConnectInfo(by): ConnectInfo<Caller>,
    Json(order): Json<EabOrder>,
) -> Response {
    match control.enrolment() {
        Some(all) => answer(all.create_eab(order, by).await),
        None => answer::<()>(Err(EnrolError::NotConfigured)),
    }
}

async fn end(
    State(control): State<Shared>,
    ConnectInfo(by): ConnectInfo<Caller>,
    Json(which): Json<EabEnd>,
) -> Response {
    match control.enrolment() {
        Some(all) => answer(all.end_enrolments(which, by).await),
        None => answer::<()>(Err(EnrolError::NotConfigured)),
    }
}

fn answer<T: Serialize>(result: Result<T, EnrolError>) -> Response {
    match result {
        Ok(done) => Json(done).into_response(),
        Err(error) => (status_of(&error), error.to_string()).into_response(),
    }
}

fn status_of(error: &EnrolError) -> StatusCode {
    match error {
        EnrolError::NotConfigured => StatusCode::NOT_FOUND,
        EnrolError::Refused(_) => StatusCode::BAD_REQUEST,
        EnrolError::Store(_) | EnrolError::Record(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
