//! What operators watch. Handles are resolved once (per route, listener, reason) so that a request adds to plain
//! atomics. No user, address or path is ever a label: labels are bounded by the configuration.
pub mod cluster;
mod labels;
mod listeners;
pub mod policy;
pub mod replication;
mod results;
mod routes;
mod stages;
#[cfg(test)]
mod tests;

pub use listeners::{ListenerMetrics, Open};
pub use results::{LoginResult, LogoutResult, ReportResult};
pub use routes::{RouteHandles, RouteMetrics};
pub use stages::{Stage, Stages};

use crate::audit;
use crate::lookup::health::SourceStatus;
use crate::traces::TraceMetrics;
use cluster::ClusterMetrics;
use labels::{
    AcmeLabels, CertificateLabels, DecisionLabels, ListenerCauseLabels, ListenerLabel, LoginLabels, ProfileLabel,
    ProviderLabel, RefusalLabels, RequestLabels, ResultLabel, RouteLabel, SourceLabel, StageLabel, TrustDomainLabel,
};
use policy::PolicyMetrics;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use replication::ReplicationMetrics;
use routes::{CLASSES, request_seconds};
use stages::stage_seconds;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use torhaus_authz::{Reason, Timestamp, VerdictKind};

/// Everything that is counted. One per process, passed as `Arc`.
pub struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabel, Histogram, fn() -> Histogram>,
    decisions: Family<DecisionLabels, Counter>,
    refusals: Family<RefusalLabels, Counter>,
    /// By position in `Reason::ALL`.
    by_reason: Vec<Counter>,
    logins: Family<LoginLabels, Counter>,
    provider_logouts: Family<LoginLabels, Counter>,
    posture_reports: Family<ResultLabel, Counter>,
    connections_open: Family<ListenerLabel, Gauge>,
    connections_accepted: Family<ListenerLabel, Counter>,
    connections_refused: Family<ListenerCauseLabels, Counter>,
    handshake_failures: Family<ListenerCauseLabels, Counter>,
    connections_cut: Family<ListenerCauseLabels, Counter>,
    reloads: Family<ResultLabel, Counter>,
    certificates: Family<CertificateLabels, Gauge>,
    revocation_lists: Family<TrustDomainLabel, Gauge>,
    providers_up: Family<ProviderLabel, Gauge>,
    /// By position in `Stage::ALL`.
    stages: [Histogram; Stage::ALL.len()],
    pub ready: Gauge,
    pub store_up: Gauge,
    /// Grants that were used; and sessions that live by one.
    pub break_glass_used: Counter,
    pub break_glass_live: Gauge,
    pub audit_waiting: Gauge,
    pub audit_bytes: Gauge,
    /// Of the file system with the state folder.
    pub state_size: Gauge,
    pub state_free: Gauge,
    pub audit_failing: Gauge,
    issued: Family<ProfileLabel, Counter>,
    acme: Family<AcmeLabels, Counter>,
    obtained: Family<ResultLabel, Counter>,
    revoked: Counter,
    /// Certificates of ours that are neither over nor revoked; and how many of them end within the hour.
    pub issued_valid: Gauge,
    pub issued_expiring: Gauge,
    /// When the authority that signs ends, and the first of the published lists (Unix time; 0: there is none).
    pub ca_ends: Gauge,
    pub crl_ends: Gauge,
    source_up: Family<SourceLabel, Gauge>,
    source_last_answer: Family<SourceLabel, Gauge>,
    source_failures: Family<SourceLabel, Counter>,
    pub sessions_live: Gauge,
    pub streams_open: Gauge,
    /// When the running configuration was loaded, and whether the last attempt to load another one succeeded.
    pub config_loaded: Gauge,
    pub config_current: Gauge,
    pub policy: PolicyMetrics,
    pub cluster: ClusterMetrics,
    pub traces: TraceMetrics,
    pub replication: ReplicationMetrics,
}

impl Metrics {
    /// `records` and `access_log_dropped` are counted where they happen and only shown here.
    pub fn new(records: &audit::Counters, access_log_dropped: &Counter) -> Self {
        let stages: Family<StageLabel, Histogram, fn() -> Histogram> = Family::new_with_constructor(stage_seconds);
        let metrics = Self {
            registry: Mutex::new(Registry::with_prefix("torhaus")),
            requests: Family::default(),
            durations: Family::new_with_constructor(request_seconds),
            decisions: Family::default(),
            refusals: Family::default(),
            by_reason: Vec::new(),
            logins: Family::default(),
            provider_logouts: Family::default(),
            posture_reports: Family::default(),
            connections_open: Family::default(),
            connections_accepted: Family::default(),
            connections_refused: Family::default(),
            handshake_failures: Family::default(),
            connections_cut: Family::default(),
            reloads: Family::default(),
            certificates: Family::default(),
            revocation_lists: Family::default(),
            providers_up: Family::default(),
            stages: Stage::ALL.map(|stage| stages.get_or_create_owned(&StageLabel { stage: stage.as_str() })),
            ready: Gauge::default(),
            store_up: Gauge::default(),
            break_glass_used: Counter::default(),
            break_glass_live: Gauge::default(),
            audit_waiting: Gauge::default(),
            audit_bytes: Gauge::default(),
            state_size: Gauge::default(),
            state_free: Gauge::default(),
            audit_failing: Gauge::default(),
            issued: Family::default(),
            acme: Family::default(),
            obtained: Family::default(),
            revoked: Counter::default(),
            issued_valid: Gauge::default(),
            issued_expiring: Gauge::default(),
            ca_ends: Gauge::default(),
            crl_ends: Gauge::default(),
            source_up: Family::default(),
            source_last_answer: Family::default(),
            source_failures: Family::default(),
            sessions_live: Gauge::default(),
            streams_open: Gauge::default(),
            config_loaded: Gauge::default(),
            config_current: Gauge::default(),
            policy: PolicyMetrics::default(),
            cluster: ClusterMetrics::default(),
            traces: TraceMetrics::default(),
            replication: ReplicationMetrics::default(),
        };
        metrics.register(records, access_log_dropped);
        metrics.register_state(stages);
        // Resolved now, so that a decision adds to an atomic, and an alert on a reason never meets a missing series.
        let by_reason = Reason::ALL.iter().map(|reason| metrics.decision(usual_verdict(*reason), *reason)).collect();
        Self { by_reason, ..metrics }
    }

    fn register(&self, records: &audit::Counters, access_log_dropped: &Counter) {
        let mut guard = self.lock();
        let r = &mut *guard;
        r.register("build", "Version of the program.", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
        r.register("requests", "Requests answered.", self.requests.clone());
        r.register(
            "request_duration_seconds",
            "From the request's head to the end of its answer.",
            self.durations.clone(),
        );
        r.register("decisions", "Decisions by verdict and reason.", self.decisions.clone());
        r.register("refusals", "Decisions other than `allow`, by resource.", self.refusals.clone());
        r.register("logins", "Logins and step-ups by result.", self.logins.clone());
        r.register(
            "provider_logouts",
            "Back-channel logouts of identity providers by result.",
            self.provider_logouts.clone(),
        );
        r.register("posture_reports", "Reports of devices about their state by result.", self.posture_reports.clone());
        r.register("audit_records_written", "Lines of the audit log on disk.", records.written.clone());
        r.register(
            "audit_records_failed",
            "Records that could not be written; each refused something.",
            records.failed.clone(),
        );
        r.register(
            "audit_records_deduped",
            "Decisions counted under a line of the last 15 minutes.",
            records.deduped.clone(),
        );
        r.register("access_log_dropped", "Lines of the access log that were lost.", access_log_dropped.clone());
        r.register(
            "audit_records_not_copied",
            "Audit records that are on disk and were lost in the copy.",
            records.not_copied.clone(),
        );
        r.register("sessions_live", "Sessions that have not ended.", self.sessions_live.clone());
        r.register(
            "streams_open",
            "WebSockets, event streams and other long answers under way.",
            self.streams_open.clone(),
        );
        r.register("connections_open", "Connections of clients.", self.connections_open.clone());
        r.register("connections_accepted", "Connections accepted since start.", self.connections_accepted.clone());
        r.register(
            "connections_refused",
            "Connections closed before a handshake, by cause.",
            self.connections_refused.clone(),
        );
        r.register("handshake_failures", "TLS handshakes that failed, by cause.", self.handshake_failures.clone());
        r.register(
            "connections_cut",
            "Connections ended for what their client did after the handshake, by cause.",
            self.connections_cut.clone(),
        );
        r.register("reloads", "Attempts to load the configuration again.", self.reloads.clone());
        r.register(
            "config_loaded_seconds",
            "When the running configuration was loaded (Unix time).",
            self.config_loaded.clone(),
        );
        r.register(
            "config_current",
            "1 if the files are what runs; 0 if the last reload failed.",
            self.config_current.clone(),
        );
        r.register("source_up", "1 if a source of facts answered when it was asked last.", self.source_up.clone());
        r.register(
            "source_last_answer_seconds",
            "When a source of facts answered last (Unix time).",
            self.source_last_answer.clone(),
        );
        r.register("source_failures", "Questions to a source of facts that failed.", self.source_failures.clone());
        r.register(
            "certificate_not_after_seconds",
            "When a certificate of ours ends (Unix time).",
            self.certificates.clone(),
        );
        r.register("certificates_issued", "Certificates issued since start.", self.issued.clone());
        r.register(
            "acme_requests",
            "Requests of ACME clients, by what was asked and what came of it.",
            self.acme.clone(),
        );
        r.register(
            "listener_certificates_ordered",
            "Orders for certificates of listeners, at the ACME server that the configuration names.",
            self.obtained.clone(),
        );
        r.register("certificates_revoked", "Certificates revoked since start.", self.revoked.clone());
        r.register("certificates_valid", "Issued, and neither over nor revoked.", self.issued_valid.clone());
        r.register("certificates_expiring", "Of these, how many end within an hour.", self.issued_expiring.clone());
        r.register("ca_not_after_seconds", "When the signing authority ends (Unix time).", self.ca_ends.clone());
        r.register(
            "ca_crl_next_update_seconds",
            "When the first published list ends (Unix time).",
            self.crl_ends.clone(),
        );
        self.policy.register(r);
        self.cluster.register(r);
        self.traces.register(r);
        self.replication.register(r);
    }

    /// What is true at the moment, beside what happened.
    fn register_state(&self, stages: Family<StageLabel, Histogram, fn() -> Histogram>) {
        let mut guard = self.lock();
        let r = &mut *guard;
        r.register("gate_stage_seconds", "What the gate itself takes for a request, by stage.", stages);
        r.register("ready", "1 if traffic may come; 0 says as /readyz does that it should not.", self.ready.clone());
        r.register("store_up", "1 if the store answered when it was last asked.", self.store_up.clone());
        r.register("break_glass_used", "Grants of break glass used since start.", self.break_glass_used.clone());
        r.register("break_glass_live", "Sessions that live by a grant of break glass.", self.break_glass_live.clone());
        r.register("provider_up", "1 if the identity provider answered when last asked.", self.providers_up.clone());
        r.register("audit_waiting", "Records that wait for the disk.", self.audit_waiting.clone());
        r.register("audit_bytes", "Size of the audit log.", self.audit_bytes.clone());
        r.register("state_size_bytes", "Size of the file system with the state folder.", self.state_size.clone());
        r.register("state_free_bytes", "What may still be written there.", self.state_free.clone());
        r.register("audit_failing", "1 while records cannot be written.", self.audit_failing.clone());
        r.register(
            "crl_next_update_seconds",
            "Until when the revocation list of a trust domain is good (Unix time); later it rejects all.",
            self.revocation_lists.clone(),
        );
    }

    /// A certificate of ours was handed out.
    pub fn issued(&self, profile: &str) {
        self.issued.get_or_create_owned(&ProfileLabel { profile: profile.to_owned() }).inc();
    }

    /// `result` is `ok` or the name of a problem (RFC 8555 section 6.7).
    pub fn acme(&self, action: &'static str, result: &'static str) {
        self.acme.get_or_create(&AcmeLabels { action, result }).inc();
    }

    /// A certificate for listeners was ordered, and came or not.
    pub fn listener_certificate(&self, came: bool) {
        self.obtained.get_or_create(&ResultLabel { result: if came { "ok" } else { "failed" } }).inc();
    }

    pub fn revoked(&self) {
        self.revoked.inc();
    }

    /// Handles of a route (or of our own pages: `portal`, `none`). Ask once per configuration, not per request.
    pub fn route(&self, listener: &str, route: &str) -> RouteMetrics {
        let counter = |class| {
            let labels = RequestLabels { listener: listener.to_owned(), route: route.to_owned(), class };
            self.requests.get_or_create_owned(&labels)
        };
        RouteMetrics {
            classes: CLASSES.map(counter),
            seconds: self.durations.get_or_create_owned(&RouteLabel { route: route.to_owned() }),
        }
    }

    pub fn listener(&self, name: &str) -> ListenerMetrics {
        let label = ListenerLabel { listener: name.to_owned() };
        ListenerMetrics {
            name: name.to_owned(),
            open: self.connections_open.get_or_create_owned(&label),
            accepted: self.connections_accepted.get_or_create_owned(&label),
            refused: self.connections_refused.clone(),
            handshake_failures: self.handshake_failures.clone(),
            cut: self.connections_cut.clone(),
        }
    }

    pub fn decided(&self, resource: &str, verdict: VerdictKind, reason: Reason) {
        // What is allowed is counted by route, without a look-up for each request.
        if verdict != VerdictKind::Allow {
            let labels =
                RefusalLabels { resource: resource.to_owned(), verdict: verdict.as_str(), reason: reason.as_str() };
            self.refusals.get_or_create(&labels).inc();
        }
        let resolved = (verdict == usual_verdict(reason)).then(|| self.by_reason.get(reason as usize)).flatten();
        match resolved {
            Some(counter) => counter.inc(),
            None => self.decision(verdict, reason).inc(),
        };
    }

    fn decision(&self, verdict: VerdictKind, reason: Reason) -> Counter {
        self.decisions.get_or_create_owned(&DecisionLabels { verdict: verdict.as_str(), reason: reason.as_str() })
    }

    /// `provider` is the name of a configured one; `-` where none was chosen yet.
    pub fn login(&self, provider: &str, result: LoginResult) {
        self.logins.get_or_create(&LoginLabels { provider: provider.to_owned(), result: result.as_str() }).inc();
    }

    /// `provider` is the name of a configured one.
    pub fn logout(&self, provider: &str, result: LogoutResult) {
        let labels = LoginLabels { provider: provider.to_owned(), result: result.as_str() };
        self.provider_logouts.get_or_create(&labels).inc();
    }

    pub fn report(&self, result: ReportResult) {
        self.posture_reports.get_or_create(&ResultLabel { result: result.as_str() }).inc();
    }

    pub fn reloaded(&self, ok: bool, now: Timestamp) {
        self.reloads.get_or_create(&ResultLabel { result: if ok { "ok" } else { "failed" } }).inc();
        self.config_current.set(i64::from(ok));
        if ok {
            self.config_loaded.set(now.seconds());
        }
    }

    /// Replaces what was said before: certificates of the last configuration that are gone are not shown.
    pub fn certificates<'a>(&self, all: impl IntoIterator<Item = (&'a str, Timestamp)>) {
        self.certificates.clear();
        for (name, not_after) in all {
            self.certificates.get_or_create(&CertificateLabels { name: name.to_owned() }).set(not_after.seconds());
        }
    }

    /// Replaces what was said before of the revocation lists.
    pub fn revocation_lists<'a>(&self, all: impl IntoIterator<Item = (&'a str, Timestamp)>) {
        self.revocation_lists.clear();
        for (domain, until) in all {
            let label = TrustDomainLabel { trust_domain: domain.to_owned() };
            self.revocation_lists.get_or_create(&label).set(until.seconds());
        }
    }

    /// Replaces what was said before: providers that were asked, and whether each answered.
    pub fn providers<'a>(&self, all: impl IntoIterator<Item = (&'a str, bool)>) {
        self.providers_up.clear();
        for (provider, up) in all {
            self.providers_up.get_or_create(&ProviderLabel { provider: provider.to_owned() }).set(i64::from(up));
        }
    }

    /// As [`Self::text`], after `look` has noted what is true now. One scrape at a time: none sees half of it.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn text_of(&self, look: impl FnOnce(&Self)) -> Result<String, fmt::Error> {
        let guard = self.lock();
        look(self);
        let mut out = String::with_capacity(16 * 1024);
        text::encode(&mut out, &guard)?;
        Ok(out)
    }

    /// How the configured sources of facts are doing.
    pub fn sources(&self, all: &[SourceStatus]) {
        for source in all {
            let label = SourceLabel { source: source.name.clone() };
            self.source_up.get_or_create(&label).set(i64::from(source.up));
            self.source_last_answer.get_or_create(&label).set(source.last_answer.map_or(0, Timestamp::seconds));
            let counter = self.source_failures.get_or_create(&label);
            counter.inc_by(source.failures.saturating_sub(counter.get()));
        }
    }

    /// The text that Prometheus reads (OpenMetrics).
    ///
    /// # Errors
    /// Never, as text has room; the encoder's signature says so.
    pub fn text(&self) -> Result<String, fmt::Error> {
        self.text_of(|_| {})
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

fn usual_verdict(reason: Reason) -> VerdictKind {
    match reason {
        Reason::Allowed => VerdictKind::Allow,
        Reason::LoginNeeded => VerdictKind::Login,
        Reason::StepUpNeeded => VerdictKind::StepUp,
        _ => VerdictKind::Deny,
    }
}
