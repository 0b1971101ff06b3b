//! What `decide` answers: a verdict, the one reason for it, and the trace that led there.
use crate::identity::Name;
use std::time::Duration;

#[derive(Debug)]
pub struct Decision {
    pub verdict: Verdict,
    pub reason: Reason,
}

#[derive(Debug)]
pub enum Verdict {
    Allow(Permit),
    /// Nobody is identified: sign in, asking for this tier.
    Login {
        tier: Name,
    },
    /// The person is known; a proof of `tier`, not older than `max_age`, is missing.
    StepUp {
        tier: Name,
        max_age: Duration,
    },
    Deny,
}

/// Proof that a decision allowed one request. Only this crate's `decide` makes one.
#[derive(Debug)]
pub struct Permit {
    pub(crate) resource: Name,
}

impl Permit {
    pub fn resource(&self) -> &Name {
        &self.resource
    }
}

/// The vocabulary of all outcomes: stable; stands in logs, pages, metrics and tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    Allowed,
    LoginNeeded,
    StepUpNeeded,
    NoRule,
    ZoneDenied,
    NotAllowed,
    GroupsUnknown,
    ConditionDenied,
    RequirementMissing,
}
