//! What can be asked over the socket, and what the server must answer. Never shows a token.
use super::certificates::{self, Certificates};
use super::devices::{self, Devices};
use super::enrolments::{self, Enrolments};
use crate::login::break_glass::BreakGlassError;
use crate::login::session::{Session, SessionId, Unavailable, Which};
use crate::lookup::health::SourceStatus;
use crate::metrics::CONTENT_TYPE;
use crate::policies::Pinned;
use async_trait::async_trait;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE as CONTENT_TYPE_HEADER;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use torhaus_authz::{Fact, Name, Timestamp, Why};

/// Who is at the other end of the socket, for the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub uid: u32,
    pub pid: Option<i32>,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {}", self.uid)
    }
}

/// What the running process can be asked. The server implements it.
#[async_trait]
pub trait Control: Send + Sync {
    fn status(&self) -> Status;
    /// Empty: ready. Otherwise each reason why no traffic should come.
    fn not_ready(&self) -> Vec<String>;
    /// What is wrong, although traffic may come; for `/readyz` and `status`.
    fn degraded(&self) -> Vec<String>;
    /// How the sources of facts are doing. One that fails does not make the gate unready: it answers for everything
    /// that needs no such fact.
    fn sources(&self) -> Vec<SourceStatus>;
    /// Sources of facts that cannot answer, and why. Not a reason to be not ready.
    fn without(&self) -> Vec<String>;
    /// The text of `Metrics::text`.
    fn metrics(&self) -> String;
    async fn sessions(&self, which: &Which) -> Result<Vec<Session>, Unavailable>;
    /// The hosts at which a resource is reached; none: there is no such resource.
    fn hosts_of(&self, resource: &str) -> Vec<Name>;
    /// Ends sessions and their streams, and records who did it.
    async fn revoke(&self, which: &Which, by: Caller) -> Result<Vec<SessionId>, Unavailable>;
    /// Loads the configuration again: whole, or not at all.
    async fn reload(&self, by: Caller) -> Result<Reloaded, ReloadFailed>;
    /// Returns to a policy that ran before, or lets go of that.
    async fn roll_back(&self, rollback: &Rollback, by: Caller) -> Result<Reloaded, ReloadFailed>;
    /// Spends a grant of break glass.
    async fn break_glass(&self, order: &BreakGlassOrder, by: Caller) -> Result<BreakGlassAnswer, BreakGlassError>;
    /// The authority, where there is one.
    fn authority(&self) -> Option<&dyn Certificates> {
        None
    }
    /// Devices that came.
    fn device_records(&self) -> Option<&dyn Devices> {
        None
    }
    /// Enrolments, where there is an ACME server.
    fn enrolment(&self) -> Option<&dyn Enrolments> {
        None
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub pid: u32,
    pub config_file: String,
    /// SHA-256 over the loaded files.
    pub config_hash: String,
    pub policy_version: String,
    /// Milliseconds since the epoch.
    pub started: Timestamp,
    pub config_loaded: Timestamp,
    pub uptime_seconds: u64,
    pub listeners: Vec<ListenerStatus>,
    pub sessions_live: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceStatus>,
    /// Why the last reload failed; the configuration before it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload_error: Option<String>,
    /// The policy is a kept one, and not the file in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<Pinned>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<CandidateStatus>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_ready: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<String>,
    /// Sources of facts that cannot answer: those facts are unknown, and the process is well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,
    /// Where a cluster is looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<ClusterStatus>,
}

/// How the ingresses of a cluster are served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// Everything was read once.
    pub synced: bool,
    /// This replica writes status and events.
    pub leader: bool,
    /// Of our classes.
    pub ingresses: usize,
    /// Of these, nothing is served.
    pub not_served: usize,
    pub routes: usize,
    /// What the API server does not answer.
    pub failing: Vec<String>,
    /// What is not served as somebody wrote it, by ingress: a reason in one word, and what it is about.
    pub problems: BTreeMap<String, Vec<String>>,
}

/// Both files of a grant.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakGlassOrder {
    pub grant: String,
    pub key: String,
}

/// Never what it holds.
impl fmt::Debug for BreakGlassOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BreakGlassOrder(…)")
    }
}

impl Drop for BreakGlassOrder {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.key);
    }
}

#[derive(Clone, Serialize, Deserialize)]
pub struct BreakGlassAnswer {
    /// Opens a session in one browser, once, within 5 minutes.
    pub url: String,
    pub user: String,
    pub session_seconds: u64,
}

/// Never the link.
impl fmt::Debug for BreakGlassAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakGlassAnswer").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A policy that may come to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CandidateStatus {
    pub policy_version: String,
    /// For so many of a hundred people the stricter answer counts; none: it is only watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<u8>,
}

/// Which policy to return to: the one before, the kept one that begins like `to`, or with `clear` the file in place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clear: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    pub name: String,
    pub address: String,
    pub connections: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    pub config_hash: String,
    pub policy_version: String,
    pub warnings: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<Pinned>,
}

/// Nothing changed. The text is what `torhaus check` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadFailed {
    pub errors: String,
}

/// One session, as `session list` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionLine {
    pub id: String,
    pub user: String,
    pub provider: String,
    /// Newest proof per tier: tier and when.
    pub proofs: Vec<(String, Timestamp)>,
    pub groups: GroupsLine,
    pub created: Timestamp,
    pub last_seen: Timestamp,
    pub expires: Timestamp,
    pub opened_from: String,
    pub user_agent: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupsLine {
    Known(Vec<String>),
    Unknown(Why),
}

impl From<&Session> for SessionLine {
    fn from(session: &Session) -> Self {
        Self {
            id: session.id.to_string(),
            user: session.user.name.to_string(),
            provider: session.user.provider.to_string(),
            proofs: session.proofs.iter().map(|p| (p.tier.to_string(), p.proven_at)).collect(),
            groups: match &session.groups {
                Fact::Known(groups) => GroupsLine::Known(groups.iter().map(ToString::to_string).collect()),
                Fact::Unknown(why) => GroupsLine::Unknown(*why),
            },
            created: session.created,
            last_seen: session.last_seen,
            expires: session.expires,
            opened_from: session.opened_from.clone(),
            user_agent: session.user_agent.clone(),
        }
    }
}

/// Which sessions are meant, as it travels. A query names at most one; a revocation exactly one, so that nothing that
/// was left out ends everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selector {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Sessions that were used at a host of this resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Sessions that were used with this device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

impl Selector {
    /// None: nothing, or more than one thing, was named. `hosts_of` tells where a resource is.
    pub fn which(&self, hosts_of: impl Fn(&str) -> Vec<Name>) -> Option<Which> {
        let named = [
            self.session.as_deref().map(|id| Which::Session(id.into())),
            self.user.as_deref().map(|name| Which::User(name.into())),
            self.provider.as_deref().map(|name| Which::Provider(name.into())),
            self.resource.as_deref().map(|name| Which::Hosts(hosts_of(name))),
            self.device.as_deref().map(|name| Which::Device(name.into())),
            self.all.then_some(Which::All),
        ];
        let mut named = named.into_iter().flatten();
        named.next().filter(|_| named.next().is_none())
    }
}

type Shared = Arc<dyn Control>;

pub(super) fn health(control: Shared) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(control)
}

pub(super) fn everything(control: Shared) -> Router {
    Router::new()
        .route("/status", get(async |State(c): State<Shared>| Json(c.status())))
        .route("/reload", post(reload))
        .route("/policy/rollback", post(roll_back))
        .route("/sessions", get(sessions))
        .route("/sessions/revoke", post(revoke))
        .route("/break-glass", post(break_glass))
        .with_state(Arc::clone(&control))
        .merge(certificates::routes(Arc::clone(&control)))
        .merge(devices::routes(Arc::clone(&control)))
        .merge(enrolments::routes(Arc::clone(&control)))
        .merge(health(control))
}

async fn ready(State(control): State<Shared>) -> Response {
    let lines = |what: &str, all: Vec<String>| all.iter().map(|one| format!("{what}{one}\n")).collect::<String>();
    let sources = control.sources().iter().map(|source| format!("{}: {}", source.name, source.describe())).collect();
    let rest = [lines("degraded: ", control.degraded()), lines("without ", control.without()), lines("", sources)];
    let reasons = control.not_ready();
    if reasons.is_empty() {
        return format!("ready\n{}", rest.concat()).into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("{}{}", lines("", reasons), rest.concat())).into_response()
}

async fn metrics(State(control): State<Shared>) -> Response {
    ([(CONTENT_TYPE_HEADER, CONTENT_TYPE)], control.metrics()).into_response()
}

async fn reload(State(control): State<Shared>, ConnectInfo(by): ConnectInfo<Caller>) -> Response {
    match control.reload(by).await {
        Ok(done) => Json(done).into_response(),
        Err(failed) => (StatusCode::CONFLICT, Json(failed)).into_response(),
    }
}

async fn roll_back(
    State(control): State<Shared>,
    ConnectInfo(by): ConnectInfo<Caller>,
    Json(rollback): Json<Rollback>,
) -> Response {
    match control.roll_back(&rollback, by).await {
        Ok(done) => Json(done).into_response(),
        Err(failed) => (StatusCode::CONFLICT, Json(failed)).into_response(),
    }
}

async fn sessions(State(control): State<Shared>, Query(selector): Query<Selector>) -> Response {
    let which = match selector == Selector::default() {
        true => Some(Which::All),
        false => selector.which(|resource| control.hosts_of(resource)),
    };
    let Some(which) = which else { return ambiguous() };
    match control.sessions(&which).await {
        Ok(found) => Json(found.iter().map(SessionLine::from).collect::<Vec<_>>()).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    }
}

async fn revoke(
    State(control): State<Shared>,
    ConnectInfo(by): ConnectInfo<Caller>,
    Json(selector): Json<Selector>,
) -> Response {
    let Some(which) = selector.which(|resource| control.hosts_of(resource)) else {
        return ambiguous();
    };
    match control.revoke(&which, by).await {
        Ok(ended) => Json(ended.iter().map(ToString::to_string).collect::<Vec<_>>()).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    }
}

async fn break_glass(
    State(control): State<Shared>,
    ConnectInfo(by): ConnectInfo<Caller>,
    Json(order): Json<BreakGlassOrder>,
) -> Response {
    match control.break_glass(&order, by).await {
        Ok(answer) => Json(answer).into_response(),
        Err(error @ (BreakGlassError::Record(_) | BreakGlassError::Store(_))) => {
            (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response()
        }
        Err(error) => (StatusCode::CONFLICT, error.to_string()).into_response(),
    }
}

fn ambiguous() -> Response {
    (StatusCode::BAD_REQUEST, "name one of session, user, provider, resource, device, all").into_response()
}
