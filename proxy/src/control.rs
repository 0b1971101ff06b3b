//! What an operator may ask of the running process, and how it answers.
use crate::admin::{Caller, Certificates, Control, Enrolments, ListenerStatus, ReloadFailed, Reloaded, Status};
use crate::clock;
use crate::gate::Gate;
use crate::login::revoke;
use crate::login::session::{Session, SessionId, Unavailable, Which};
use crate::reload::Reloader;
use async_trait::async_trait;
use pingora_core::apps::ServerApp;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use torhaus_authz::{Entry, Kind, Timestamp};

pub struct Running<E> {
    pub file: PathBuf,
    pub gate: Arc<Gate>,
    pub reloader: Arc<Reloader<E>>,
    pub started: Timestamp,
    /// Told to stop: no traffic should come any more.
    pub stopping: AtomicBool,
}

#[async_trait]
impl<E: ServerApp + Send + Sync + 'static> Control for Running<E> {
    fn status(&self) -> Status {
        let snapshot = self.gate.snapshot.load();
        let last = self.reloader.last();
        let now = clock::now();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            config_file: self.file.display().to_string(),
            config_hash: snapshot.hash.clone(),
            policy_version: snapshot.policy_version().to_string(),
            started: self.started,
            config_loaded: last.loaded,
            uptime_seconds: now.since(self.started).as_secs(),
            listeners: self
                .reloader
                .addresses()
                .into_iter()
                .map(|(name, address, connections)| ListenerStatus { name, address: address.to_string(), connections })
                .collect(),
            sessions_live: u64::try_from(self.gate.metrics.sessions_live.get()).unwrap_or(0),
            reload_error: last.error,
            not_ready: self.not_ready(),
            without: self.without(),
        }
    }

    fn not_ready(&self) -> Vec<String> {
        let causes = [
            (self.stopping.load(Ordering::Acquire), "the process is stopping"),
            (self.gate.audit.is_failing(), "the audit log cannot be written"),
        ];
        causes.into_iter().filter(|(holds, _)| *holds).map(|(_, cause)| cause.to_owned()).collect()
    }

    fn without(&self) -> Vec<String> {
        self.gate.snapshot.load().lookups.problems()
    }

    fn metrics(&self) -> String {
        self.gate.metrics.text().unwrap_or_default()
    }

    async fn sessions(&self, which: &Which) -> Result<Vec<Session>, Unavailable> {
        self.gate.sessions.store.list(which).await
    }

    async fn revoke(&self, which: &Which, by: Caller) -> Result<Vec<SessionId>, Unavailable> {
        let now = clock::now();
        let ended = revoke::end_sessions(&self.gate, which, &format!("revoked by {by}"), now).await;
        let ended = ended.map_err(|_| Unavailable("nothing was revoked".into()))?;
        let detail = format!("{which:?} by {by}: {} sessions", ended.len());
        let entry = Entry { detail: Some(detail.into()), ..Entry::new(now, Kind::Revocation) };
        if let Err(error) = self.gate.audit.event(entry).await {
            tracing::error!(%error, "a revocation could not be recorded");
        }
        Ok(ended)
    }

    fn authority(&self) -> Option<&dyn Certificates> {
        Some(self)
    }

    fn enrolment(&self) -> Option<&dyn Enrolments> {
        Some(self)
    }

    async fn reload(&self, _by: Caller) -> Result<Reloaded, ReloadFailed> {
        self.reloader.reload().await.map_err(|error| ReloadFailed { errors: error.to_string() })?;
        let snapshot = self.gate.snapshot.load();
        Ok(Reloaded {
            config_hash: snapshot.hash.clone(),
            policy_version: snapshot.policy_version().to_string(),
            warnings: snapshot.config.warnings.iter().map(|warning| warning.problem.message.clone()).collect(),
        })
    }
}
