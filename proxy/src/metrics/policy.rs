//! What operators watch of the policy: which one runs, what a candidate would answer, a rollback, and when exceptions end.
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use torhaus_authz::{Candidate, Decision, Policy, Role};

/// Part of [`crate::metrics::Metrics`].
#[derive(Debug, Default)]
pub struct PolicyMetrics {
    running: Family<PolicyLabels, Gauge>,
    candidate: Family<CandidateLabels, Gauge>,
    differences: Family<DifferenceLabels, Counter>,
    rolled_back: Gauge,
    exceptions: Family<ExceptionLabels, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PolicyLabels {
    version: String,
    config: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CandidateLabels {
    version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DifferenceLabels {
    running: &'static str,
    candidate: &'static str,
    /// Whose answer counted.
    counted: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ExceptionLabels {
    exception: String,
}

impl PolicyMetrics {
    pub fn register(&self, r: &mut Registry) {
        r.register("policy_info", "1 for the policy and configuration that run.", self.running.clone());
        r.register("policy_candidate_info", "1 for the candidate that is compared.", self.candidate.clone());
        r.register(
            "policy_candidate_differences",
            "Requests that the candidate answers otherwise, by both verdicts and whose answer counted.",
            self.differences.clone(),
        );
        r.register(
            "policy_rolled_back",
            "1 while a kept policy runs instead of the file in place.",
            self.rolled_back.clone(),
        );
        r.register(
            "exception_expires_seconds",
            "When an exception of the policy ends (Unix time).",
            self.exceptions.clone(),
        );
    }

    /// Replaces what was said of the policy before. `config`: hash of the configuration.
    pub fn now_running(&self, policy: &Policy, config: &str, candidate: Option<&Candidate>, rolled_back: bool) {
        self.running.clear();
        let label = PolicyLabels { version: policy.version().to_string(), config: config.to_owned() };
        self.running.get_or_create(&label).set(1);
        self.candidate.clear();
        if let Some(candidate) = candidate {
            let version = candidate.policy.version().to_string();
            self.candidate.get_or_create(&CandidateLabels { version }).set(1);
        }
        self.rolled_back.set(i64::from(rolled_back));
        self.exceptions.clear();
        for exception in policy.exceptions() {
            let label = ExceptionLabels { exception: exception.id.to_string() };
            self.exceptions.get_or_create(&label).set(exception.expires.seconds());
        }
    }

    /// A sample of each, as of a configuration that has all of it.
    #[cfg(test)]
    pub fn name_all(&self) {
        self.running.get_or_create(&PolicyLabels { version: "v".to_owned(), config: "c".to_owned() }).set(1);
        self.candidate.get_or_create(&CandidateLabels { version: "w".to_owned() }).set(1);
        self.exceptions.get_or_create(&ExceptionLabels { exception: "EX-1".to_owned() }).set(8);
        let differs = DifferenceLabels { running: "allow", candidate: "deny", counted: "running" };
        self.differences.get_or_create(&differs).inc();
    }

    /// Counts a decision where a candidate says otherwise.
    pub fn compared(&self, decision: &Decision) {
        let Some(other) = &decision.compared else { return };
        let (stood, other_said) = (decision.verdict.kind().as_str(), other.verdict.as_str());
        let label = match other.by {
            Role::Candidate => DifferenceLabels { running: stood, candidate: other_said, counted: "running" },
            Role::Running => DifferenceLabels { running: other_said, candidate: stood, counted: "candidate" },
        };
        self.differences.get_or_create(&label).inc();
    }
}
