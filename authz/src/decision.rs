//! What `decide` answers: a verdict, the one reason for it, and the trace that led there.
use crate::canary::Compared;
use crate::identity::{Identity, Name};
use crate::reason::Reason;
use crate::time::Timestamp;
use crate::trace::Trace;
use std::fmt;
use std::time::Duration;

/// One decision. Only [`crate::Policy::decide`] makes one.
#[derive(Debug)]
#[non_exhaustive]
pub struct Decision {
    pub verdict: Verdict,
    pub reason: Reason,
    /// The zone that the request came from.
    pub zone: Name,
    /// The row that answered; none if the resource has no row.
    pub row: Option<RowRef>,
    /// The exception that stood in for the row's cell and `allow`, whatever the verdict was then.
    pub exception: Option<Name>,
    /// The tier needed, once it was asked for.
    pub tier: Option<Name>,
    /// The `deny` or `require` condition that refused.
    pub condition: Option<Name>,
    /// The row says `record: every`.
    pub record_every: bool,
    /// What this decision teaches about where the person comes from.
    pub learns: Learns,
    /// When what it rests on ends by itself: the expiry of the exception that stood in.
    pub until: Option<Timestamp>,
    /// Version of the policy that decided.
    pub policy: Name,
    /// What the other policy said, where a candidate runs beside this one and says something else.
    pub compared: Option<Box<Compared>>,
    pub trace: Trace,
    /// What the row's conditions on method and path came to: all that the fingerprint needs to know of either.
    pub(crate) request_class: u64,
}

/// Whether a place becomes known by a decision. What a password alone proves makes no place a known one, whichever row
/// asks: somebody who stole it would pass `new_place` at the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Learns {
    /// Not allowed, no person, or nothing was proven.
    No,
    /// A place that is known stays so for longer; a new one stays new.
    Refresh,
    /// More than the lowest tier was proven, and as much as the row raises a new place to.
    Learn,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowRef {
    pub resource: Name,
    /// Line in the policy file.
    pub line: u32,
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

/// A verdict without what it carries: for records, metrics and tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    Allow,
    Login,
    StepUp,
    Deny,
}

/// Proof that a decision allowed one request of one identity to one resource. Only `decide` makes one, and it cannot
/// be copied:
///
/// ```compile_fail,E0451
/// let forged = torhaus_authz::Permit { resource: "wiki".into(), identity: torhaus_authz::Identity::Anonymous };
/// ```
///
/// ```compile_fail,E0308
/// fn copy(permit: &torhaus_authz::Permit) -> torhaus_authz::Permit {
///     permit.clone()
/// }
/// ```
#[derive(Debug)]
pub struct Permit {
    pub(crate) resource: Name,
    pub(crate) identity: Identity,
}

impl Verdict {
    pub fn kind(&self) -> VerdictKind {
        match self {
            Self::Allow(_) => VerdictKind::Allow,
            Self::Login { .. } => VerdictKind::Login,
            Self::StepUp { .. } => VerdictKind::StepUp,
            Self::Deny => VerdictKind::Deny,
        }
    }
}

impl VerdictKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Login => "login",
            Self::StepUp => "step_up",
            Self::Deny => "deny",
        }
    }
}

impl fmt::Display for VerdictKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Permit {
    pub fn resource(&self) -> &Name {
        &self.resource
    }

    /// Who was allowed: what the application is told about the caller comes from here.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}
