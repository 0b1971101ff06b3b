//! The authority over the socket: `torhaus ca`, `torhaus cert`. A key may come in (an import), none goes out.
use super::api::{Caller, Control};
use crate::ca::CaError;
use crate::ca::status::{CaStatus, CertificateLine, Export, Import};
use async_trait::async_trait;
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What the running process can be asked about certificates.
#[async_trait]
pub trait Certificates: Send + Sync {
    async fn ca_status(&self) -> Result<CaStatus, CaError>;
    /// Another authority signs from here on; those before are believed until they end. Its id.
    async fn ca_rotate(&self, by: Caller) -> Result<String, CaError>;
    async fn ca_import(&self, import: Import, by: Caller) -> Result<String, CaError>;
    fn ca_export(&self) -> Result<Export, CaError>;
    async fn certificates(&self, query: &CertificateQuery) -> Result<Vec<CertificateLine>, CaError>;
    /// None: it is not in the ledger.
    async fn certificate(&self, serial: &str) -> Result<Option<CertificateLine>, CaError>;
    async fn issue(&self, order: IssueOrder, by: Caller) -> Result<IssuedAnswer, CaError>;
    async fn revoke_certificates(&self, order: RevokeOrder, by: Caller) -> Result<RevokedAnswer, CaError>;
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateQuery {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Only those that are neither over nor revoked.
    #[serde(default)]
    pub valid: bool,
}

/// An operator's direct order for one certificate.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssueOrder {
    pub profile: String,
    /// `spiffe://…`, addresses, e-mail addresses, DNS names.
    pub names: Vec<String>,
    #[serde(default)]
    pub common_name: Option<String>,
    /// The person whom a certificate of a user or device belongs to.
    #[serde(default)]
    pub user: Option<String>,
    #[serde(default)]
    pub owner: Option<String>,
    pub why: String,
    #[serde(default)]
    pub life_seconds: Option<u32>,
    /// PEM of a PKCS #10 request; of it, only the key counts.
    pub csr_pem: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IssuedAnswer {
    pub serial: String,
    pub sha256: String,
    pub not_after: torhaus_authz::Timestamp,
    /// The certificate, then its issuer.
    pub chain_pem: String,
}

/// What to revoke: serial numbers, or everything that an owner has.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeOrder {
    #[serde(default)]
    pub serials: Vec<String>,
    #[serde(default)]
    pub owner: Option<String>,
    pub reason: String,
    pub why: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RevokedAnswer {
    pub new: Vec<String>,
    /// Refused from now on, though the ledger has no issuing of them.
    pub unknown: Vec<String>,
    pub already: usize,
    pub streams_ended: usize,
}

type Shared = Arc<dyn Control>;

pub(super) fn routes(control: Shared) -> Router {
    Router::new()
        .route("/ca", get(status))
        .route("/ca/rotate", post(rotate))
        .route("/ca/import", post(import))
        .route("/ca/export", get(export))
        .route("/certificates", get(list))
        .route("/certificates/issue", post(issue))
        .route("/certificates/revoke", post(revoke))
        .route("/certificates/{serial}", get(show))
        .with_state(control)
}

async fn status(State(control): State<Shared>) -> Response {
    match control.authority() {
        Some(ca) => answer(ca.ca_status().await),
        None => answer::<()>(Err(CaError::NotConfigured)),
    }
}

async fn rotate(State(control): State<Shared>, ConnectInfo(by): ConnectInfo<Caller>) -> Response {
    match control.authority() {
        Some(ca) => answer(ca.ca_rotate(by).await),
        None => answer::<()>(Err(CaError::NotConfigured)),
    }
}

async fn import(
    State(control): State<Shared>,
    ConnectInfo(by): ConnectInfo<Caller>,
    Json(import): Json<Import>,
) -> Response {
    match control.authority() {
        Some(ca) => answer(ca.ca_import(import, by).await),
        None => answer::<()>(Err(CaError::NotConfigured)),
    }
}

async fn export(State(control): State<Shared>) -> Response {
    match control.authority() {
        Some(ca) => answer(ca.ca_export()),
        None => answer::<()>(Err(CaError::NotConfigured)),
    }
}

async fn list(State(control): State<Shared>, Query(query): Query<CertificateQuery>) -> Response {
    match control.authority() {
        Some(ca) => answer(ca.certificates(&query).await),
        None => answer::<()>(Err(CaError::NotConfigured)),
    }
}

async fn show(State(control): State<Shared>, Path(serial): Path<String>) -> Response {
    let found = match control.authority() {
        Some(ca) => ca.certificate(&serial).await,
        None => Err(CaError::NotConfigured),
    };
    match found {
        Ok(None) => (StatusCode::NOT_FOUND, format!("no certificate {serial} is in the ledger")).into_response(),
        found => answer(found),
    }
}

async fn issue(
    State(control): State<Shared>,
    ConnectInfo(by): ConnectInfo<Caller>,
    Json(order): Json<IssueOrder>,
) -> Response {
    match control.authority() {
        Some(ca) => answer(ca.issue(order, by).await),
        None => answer::<()>(Err(CaError::NotConfigured)),
    }
}

async fn revoke(
    State(control): State<Shared>,
    ConnectInfo(by): ConnectInfo<Caller>,
    Json(order): Json<RevokeOrder>,
) -> Response {
    match control.authority() {
        Some(ca) => answer(ca.revoke_certificates(order, by).await),
        None => answer::<()>(Err(CaError::NotConfigured)),
    }
}

fn answer<T: Serialize>(result: Result<T, CaError>) -> Response {
    match result {
        Ok(done) => Json(done).into_response(),
        Err(error) => (status_of(&error), error.to_string()).into_response(),
    }
}

fn status_of(error: &CaError) -> StatusCode {
    match error {
        CaError::NotConfigured | CaError::NoAuthority => StatusCode::NOT_FOUND,
        CaError::Refused(_) => StatusCode::BAD_REQUEST,
        CaError::Authority(_) => StatusCode::CONFLICT,
        CaError::Ledger(_) | CaError::Journal(_) | CaError::Record(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
