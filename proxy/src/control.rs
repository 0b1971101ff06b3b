//! What an operator may ask of the running process, and how it answers.
use crate::admin::{
    ApproveOrder, BreakGlassAnswer, BreakGlassOrder, Caller, CandidateStatus, Certificates, ClusterStatus, Control,
    Devices, Enrolments, ForgetOrder, ListenerStatus, ReloadFailed, Reloaded, Rollback, Status,
};
use crate::clock;
use crate::gate::Gate;
use crate::login::break_glass::{self, BreakGlassError};
use crate::login::revoke;
use crate::login::session::{Session, SessionId, Unavailable, Which};
use crate::lookup::health::SourceStatus;
use crate::lookup::records::{Approval, DeviceRecord, DeviceRecords};
use crate::metrics::Metrics;
use crate::recording;
use crate::reload::Reloader;
use crate::state_dir;
use async_trait::async_trait;
use pingora_core::apps::HttpServerApp;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use torhaus_authz::{CandidateMode, Entry, Fact, Kind, Name, Timestamp, Why};
use torhaus_config::{HostPattern, Route};

pub struct Running<E> {
    pub file: PathBuf,
    pub gate: Arc<Gate>,
    pub reloader: Arc<Reloader<E>>,
    pub started: Timestamp,
    /// Told to stop: no traffic should come any more.
    pub stopping: AtomicBool,
    #[cfg(feature = "kubernetes")]
    pub cluster: Arc<crate::kubernetes::Cluster>,
}

#[async_trait]
impl<E: HttpServerApp + Send + Sync + 'static> Control for Running<E> {
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
            sources: self.sources(),
            reload_error: last.error,
            rolled_back: snapshot.pinned.clone(),
            candidate: snapshot.config.candidate.as_ref().map(|candidate| CandidateStatus {
                policy_version: candidate.policy.version().to_string(),
                share: match candidate.mode {
                    CandidateMode::Shadow => None,
                    CandidateMode::Share(percent) => Some(percent),
                },
            }),
            not_ready: self.not_ready(),
            degraded: self.degraded(),
            without: self.without(),
            kubernetes: self.cluster_status(),
        }
    }

    fn not_ready(&self) -> Vec<String> {
        // Where replicas share the store all of them lose it, and who is signed in is still served.
        let alone = self.gate.snapshot.load().config.postgres.is_none();
        let causes = [
            (self.stopping.load(Ordering::Acquire), "the process is stopping"),
            (self.gate.audit.is_failing(), "the audit log cannot be written"),
            (alone && self.store_is_lost(), STORE_LOST),
        ];
        let causes = causes.into_iter().filter(|(holds, _)| *holds).map(|(_, cause)| cause.to_owned());
        #[cfg(feature = "kubernetes")]
        let causes = causes.chain(self.cluster.not_ready());
        causes.collect()
    }

    fn degraded(&self) -> Vec<String> {
        let snapshot = self.gate.snapshot.load();
        let reload =
            self.reloader.last().error.map(|_| {
                "the last reload failed, the configuration before it runs on; see `torhaus status`".to_owned()
            });
        let providers = snapshot.providers.answering().filter(|(_, up)| !up);
        let providers =
            providers.map(|(name, _)| format!("the identity provider `{name}` does not answer: nobody signs in there"));
        let now = clock::now();
        let bare = snapshot.without_certificate(now).filter_map(|acme| acme.names.first());
        let bare = bare.map(|name| format!("there is no certificate for `{name}` yet; the log says why"));
        let shared = snapshot.config.postgres.is_some();
        let store = (shared && self.store_is_lost()).then(|| STORE_LOST.to_owned());
        let degraded = reload.into_iter().chain(store).chain(providers).chain(bare);
        #[cfg(feature = "kubernetes")]
        let degraded = degraded.chain(self.cluster.degraded());
        degraded.collect()
    }

    fn sources(&self) -> Vec<SourceStatus> {
        let snapshot = self.gate.snapshot.load();
        let people = snapshot.people.iter().map(|people| people.health.status());
        people.chain(snapshot.lookups.statuses()).collect()
    }

    fn without(&self) -> Vec<String> {
        self.gate.snapshot.load().lookups.problems()
    }

    fn metrics(&self) -> String {
        let (gate, snapshot) = (&self.gate, self.gate.snapshot.load());
        let look = |metrics: &Metrics| {
            metrics.ready.set(i64::from(self.not_ready().is_empty()));
            metrics.streams_open.set(i64::try_from(gate.streams.open()).unwrap_or(i64::MAX));
            metrics.audit_waiting.set(i64::try_from(gate.audit.waiting()).unwrap_or(i64::MAX));
            metrics.audit_failing.set(i64::from(gate.audit.is_failing()));
            // What cannot be asked now keeps its last value: a disk that is broken has alerts of its own.
            let state = &snapshot.config.state_dir;
            let as_gauge = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
            if let Ok(bytes) = state_dir::bytes_in(&state.join("audit")) {
                metrics.audit_bytes.set(as_gauge(bytes));
            }
            if let Ok((size, free)) = state_dir::space(state) {
                metrics.state_size.set(as_gauge(size));
                metrics.state_free.set(as_gauge(free));
            }
            metrics.sources(&self.sources());
            if let Some(cluster) = self.cluster_status() {
                metrics.cluster.show(&cluster);
            }
            metrics.providers(snapshot.providers.answering());
            metrics.certificates(snapshot.certificate_ends());
            metrics.revocation_lists(snapshot.trust.revocation_lists());
        };
        gate.metrics.text_of(look).unwrap_or_default()
    }

    async fn sessions(&self, which: &Which) -> Result<Vec<Session>, Unavailable> {
        let mut sessions = self.gate.sessions.store.list(which).await?;
        if let Some(people) = &self.gate.snapshot.load_full().people {
            for session in &mut sessions {
                // As the gate decides by them, not as the token had them.
                let Some(name) = people.name_of(&session.user) else { continue };
                let known = people.known(&name, clock::now()).await;
                session.groups = known.map_or(Fact::Unknown(Why::SourceDown), |seen| seen.groups());
            }
        }
        Ok(sessions)
    }

    fn hosts_of(&self, resource: &str) -> Vec<Name> {
        let snapshot = self.gate.snapshot.load();
        let routes = snapshot.all_routes().filter(|route| *route.resource == *resource);
        let host = |route: &Arc<Route>| match &route.host {
            HostPattern::Exact(host) => host.as_str().into(),
            host => host.shown().into(),
        };
        routes.map(host).collect()
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

    async fn break_glass(&self, order: &BreakGlassOrder, by: Caller) -> Result<BreakGlassAnswer, BreakGlassError> {
        break_glass::spend(&self.gate, order, by, clock::now()).await
    }

    fn authority(&self) -> Option<&dyn Certificates> {
        Some(self)
    }

    fn device_records(&self) -> Option<&dyn Devices> {
        Some(self)
    }

    fn enrolment(&self) -> Option<&dyn Enrolments> {
        Some(self)
    }

    async fn reload(&self, _by: Caller) -> Result<Reloaded, ReloadFailed> {
        recording::reopen(&self.gate);
        self.reloader.reload().await.map_err(|error| ReloadFailed { errors: error.to_string() })?;
        Ok(self.reloaded())
    }

    async fn roll_back(&self, rollback: &Rollback, by: Caller) -> Result<Reloaded, ReloadFailed> {
        let (by, now) = (by.to_string(), clock::now());
        let done = match rollback.clear {
            true => self.gate.let_go(&by, now, self.reloader.reload()).await,
            false => self.gate.roll_back(rollback.to.as_deref(), &by, now, self.reloader.reload()).await,
        };
        done.map_err(|error| ReloadFailed { errors: error.to_string() })?;
        Ok(self.reloaded())
    }
}

#[async_trait]
impl<E: HttpServerApp + Send + Sync + 'static> Devices for Running<E> {
    fn devices(&self) -> Vec<Arc<DeviceRecord>> {
        self.records().map(|records| records.all()).unwrap_or_default()
    }

    async fn approve(&self, order: ApproveOrder, by: Caller) -> Result<bool, Unavailable> {
        let Some(records) = self.records() else { return Ok(false) };
        let (by, owner) = (by.to_string(), order.owner.as_deref().map(Name::from));
        let of = owner.as_ref().map(|owner| format!(" as {owner}'s")).unwrap_or_default();
        let approval = Approval { by: by.as_str().into(), at: clock::now(), owner };
        let done = records.approve(&order.id, approval).await?;
        if done {
            let what = format!("device {} was approved{of} by {by}", order.id);
            recording::admin(&self.gate.audit, what, clock::now()).await;
        }
        Ok(done)
    }

    async fn forget(&self, order: ForgetOrder, by: Caller) -> Result<bool, Unavailable> {
        let Some(records) = self.records() else { return Ok(false) };
        let done = records.forget(&order.id).await?;
        if done {
            let what = format!("device {} was forgotten by {by}", order.id);
            recording::admin(&self.gate.audit, what, clock::now()).await;
        }
        Ok(done)
    }
}

const STORE_LOST: &str = "the store does not answer: nobody can sign in";

impl<E: HttpServerApp + Send + Sync + 'static> Running<E> {
    fn store_is_lost(&self) -> bool {
        self.gate.metrics.store_up.get() == 0
    }

    fn records(&self) -> Option<Arc<DeviceRecords>> {
        self.gate.snapshot.load().lookups.records.clone()
    }

    #[cfg(feature = "kubernetes")]
    fn cluster_status(&self) -> Option<ClusterStatus> {
        self.cluster.status()
    }

    #[cfg(not(feature = "kubernetes"))]
    fn cluster_status(&self) -> Option<ClusterStatus> {
        None
    }

    fn reloaded(&self) -> Reloaded {
        let snapshot = self.gate.snapshot.load();
        Reloaded {
            config_hash: snapshot.hash.clone(),
            policy_version: snapshot.policy_version().to_string(),
            warnings: snapshot.config.warnings.iter().map(|warning| warning.problem.message.clone()).collect(),
            rolled_back: snapshot.pinned.clone(),
        }
    }
}
