//! Enrolments, and whether their owners may still have certificates. The server asks at each order and each finalize;
//! there is no browser session to ask, so the answer comes from the directory, the device and the enrolment's own life.
use super::identifier::{DnsName, Identifier};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use time::OffsetDateTime;

/// What an EAB key binds an account to. Fixed when the key is made, by the portal or an operator; nothing in it comes
/// from the ACME client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    pub owner: Owner,
    /// The device or the purpose, for lists.
    pub label: String,
    pub names: Vec<Grant>,
    /// May `*.` of a granted name be ordered?
    pub wildcards: bool,
    pub proof: Proof,
    /// The profile of its certificates, one of [`super::Issuer::profiles`].
    pub profile: String,
    /// After this moment the owner signs in again, or an operator makes a new key.
    #[serde(with = "time::serde::timestamp")]
    pub until: OffsetDateTime,
    /// What the certificate and [`Standing`] need to know of the owner: issuer, subject, e-mail address, device. The
    /// ACME server passes it on and reads nothing in it.
    pub facts: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    Person(String),
    Service(String),
}

/// A name that may be ordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grant {
    /// This one.
    Exactly(Identifier),
    /// Every DNS name below this one, not itself.
    Below(DnsName),
}

/// How an account shows that a name is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// By the enrolment: orders are born ready.
    Approved,
    /// By http-01, dns-01 or tls-alpn-01.
    Challenge,
}

/// What the rest of Torhaus says about an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Good,
    /// The owner can mend it: `userActionRequired` with this sentence and the portal's address.
    SignInAgain(String),
    /// The owner cannot: `unauthorized` with this sentence.
    Refused(String),
    /// Could not ask; nothing is issued. Names what did not answer, for example `the directory`.
    Unknown(String),
}

#[async_trait]
pub trait Standing: Send + Sync {
    /// May this owner have certificates now? The enrolment's own end has been checked.
    async fn ask(&self, enrolment: &Enrolment, now: OffsetDateTime) -> Answer;
}

impl Enrolment {
    /// Is this name, wildcard or not, among the granted ones? `*.a.example` is below `a.example`.
    pub fn grants(&self, identifier: &Identifier) -> bool {
        let wildcard = identifier.is_wildcard();
        if wildcard && !self.wildcards {
            return false;
        }
        let base = identifier.base();
        self.names.iter().any(|grant| match (grant, &base) {
            (Grant::Exactly(granted), base) => granted == base,
            (Grant::Below(parent), Identifier::Dns(name)) => name.is_below(parent) || (wildcard && name == parent),
            (Grant::Below(_), Identifier::Ip(_)) => false,
        })
    }

    /// Is the name this enrolment's by itself, without a challenge?
    pub(super) fn owns(&self, identifier: &Identifier) -> bool {
        self.proof == Proof::Approved && self.grants(identifier)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person(name) => write!(f, "person {name}"),
            Self::Service(name) => write!(f, "service {name}"),
        }
    }
}
