//! Everything a rule may look at, `now` included; each fact is known, or unknown for a reason.
use crate::identity::{Identity, Name};
use crate::time::Timestamp;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact<T> {
    Known(T),
    Unknown(Why),
}

/// Why a fact is not known. An unknown never opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Nobody said (policy tests, explain) or the token had no such claim.
    NotGiven,
    /// No source for this fact is configured.
    NotConfigured,
    /// The source could not be asked.
    SourceDown,
    /// The last answer is older than it may be.
    Stale,
    /// The source answered and does not know (an address in no country).
    NotFound,
}

pub type Groups = HashSet<Name>;

/// Facts of one request. What a request carries itself is borrowed; what sessions and lookups hold is shared.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    pub now: Timestamp,
    pub resource: &'a str,
    pub method: &'a str,
    /// The canonical path, as the application will see it.
    pub path: &'a str,
    /// Name of the listener that the connection came in by.
    pub listener: &'a str,
    pub address: Fact<IpAddr>,
    pub identity: Identity,
    pub groups: Fact<Arc<Groups>>,
    /// What was proven, at most one entry per (tier, provider), the newest.
    pub proofs: Arc<[Proof]>,
    /// The client certificate of the connection, when one was presented and its chain was verified.
    pub certificate: Option<Arc<Certificate>>,
    pub country: Fact<Country>,
}

/// A tier, when it was proven, and by which provider (or `trust domain`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    pub tier: Name,
    pub proven_at: Timestamp,
    pub provider: Name,
}

/// A verified client certificate, as rules see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The configured trust domain whose authority signed it.
    pub trust_domain: Name,
    /// SHA-256 of the DER, lower-case hex.
    pub sha256: Name,
    /// Serial number, lower-case hex.
    pub serial: Name,
    pub not_after: Timestamp,
    /// The user it names, if it names one; must be the session's user.
    pub user: Option<Name>,
}

/// ISO 3166-1 alpha-2, upper case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Country([u8; 2]);

impl Country {
    pub fn parse(text: &str) -> Option<Self> {
        match text.as_bytes() {
            [a, b] if a.is_ascii_uppercase() && b.is_ascii_uppercase() => Some(Self([*a, *b])),
            _ => None,
        }
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("??")
    }
}
