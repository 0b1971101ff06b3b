//! Devices over the socket: `torhaus device`.
use super::api::{Caller, Control};
use crate::login::session::Unavailable;
use crate::lookup::records::DeviceRecord;
use async_trait::async_trait;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What the running process can be asked about devices.
#[async_trait]
pub trait Devices: Send + Sync {
    /// Those that came last first.
    fn devices(&self) -> Vec<Arc<DeviceRecord>>;
    /// False: there is no such device.
    async fn approve(&self, order: ApproveOrder, by: Caller) -> Result<bool, Unavailable>;
    /// False: there is no such device.
    async fn forget(&self, order: ForgetOrder, by: Caller) -> Result<bool, Unavailable>;
}

/// An operator vouches for a device.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApproveOrder {
    pub id: String,
    /// As in `user:alice`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForgetOrder {
    pub id: String,
}

type Shared = Arc<dyn Control>;

pub(super) fn routes(control: Shared) -> Router {
    Router::new()
        .route("/devices", get(list))
        .route("/devices/approve", post(approve))
        .route("/devices/forget", post(forget))
        .with_state(control)
}

async fn list(State(control): State<Shared>) -> Response {
    match control.device_records() {
        Some(all) => Json(all.devices()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn approve(
    State(control): State<Shared>,
    ConnectInfo(by): ConnectInfo<Caller>,
    Json(order): Json<ApproveOrder>,
) -> Response {
    match control.device_records() {
        Some(all) => answer(all.approve(order, by).await),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn forget(
    State(control): State<Shared>,
    ConnectInfo(by): ConnectInfo<Caller>,
    Json(order): Json<ForgetOrder>,
) -> Response {
    match control.device_records() {
        Some(all) => answer(all.forget(order, by).await),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Whether there was one.
fn answer(result: Result<bool, Unavailable>) -> Response {
    match result {
        Ok(done) => Json(done).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    }
}
