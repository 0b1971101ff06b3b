//! One line of the audit log: what happened, to whom, and why. [`crate::Chain`] numbers and links the lines.
use crate::canary::Compared;
use crate::decision::{Decision, VerdictKind};
use crate::device::Device;
use crate::facts::{Country, Fact, Facts, Proof, Seen, Why};
use crate::groups::{Groups, GroupsRef};
use crate::identity::{Identity, Name};
use crate::posture::Posture;
use crate::reason::Reason;
use crate::time::{Timestamp, rfc3339};
use std::net::IpAddr;
use std::sync::Arc;

/// What a line reports. Lines of a kind that a reader does not know still verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A segment begins; `prev` is the hash of the last line of the segment before it.
    Segment,
    Start,
    Stop,
    Reload,
    Decision,
    /// Refusals of unauthenticated callers of one network, counted in `before`.
    Refusals,
    /// The set of groups that other lines name by `groups`.
    Groups,
    Login,
    LoginFailed,
    StepUp,
    SessionEnd,
    /// A session, certificate or person was revoked.
    Revocation,
    /// A certificate was issued.
    Issue,
    Enrolment,
    /// Something an administrator did.
    Admin,
}

/// One line without its number and hashes. Values are bounded and escaped when the line is written, so that one record
/// is one line whatever a client sent. Nothing secret belongs here: no token, cookie, key or query value.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Entry {
    #[serde(with = "rfc3339")]
    pub time: Timestamp,
    pub kind: Kind,
    /// The number that the refusal page shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<Who>,
    /// A reference to the session that is no secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Name>,
    /// Without its query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Fact<IpAddr>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<Fact<Country>>,
    /// The tier needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Name>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proofs: Vec<ProofNote>,
    /// Absent when no client certificate was presented.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Fact<CertificateNote>>,
    /// Absent, like posture and seen places, where no source of it is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Fact<DeviceNote>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub posture: Option<Fact<Arc<Posture>>>,
    /// Whether the person came from there before; absent for those who are no persons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Fact<GroupsRef>>,
    /// Only in lines of kind `groups`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group_names: Vec<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<VerdictKind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The condition that refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<Name>,
    /// Version of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Name>,
    /// What the other policy said, where a candidate ran beside this one and said something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<Compared>,
    /// How many decisions with the same fingerprint came after the last line of it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub before: u64,
    /// What else a reader needs: which file was reloaded, which serial was revoked, who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Name>,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Who {
    Anonymous,
    User {
        name: Name,
        provider: Name,
        issuer: Name,
        subject: Name,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        federated: bool,
    },
    Service {
        id: Name,
        trust_domain: Name,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ProofNote {
    pub tier: Name,
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
    pub by: Name,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CertificateNote {
    pub sha256: Name,
    pub trust_domain: Name,
    #[serde(with = "rfc3339")]
    pub not_after: Timestamp,
}

/// A device, or that it is in no list.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceNote {
    InNoList,
    #[serde(untagged)]
    Is(Arc<Device>),
}

impl Entry {
    /// An empty one, for struct update syntax: `Entry { who, ..Entry::new(now, Kind::Login) }`.
    pub fn new(time: Timestamp, kind: Kind) -> Self {
        Self {
            time,
            kind,
            decision: None,
            who: None,
            session: None,
            resource: None,
            method: None,
            path: None,
            zone: None,
            listener: None,
            address: None,
            country: None,
            tier: None,
            proofs: Vec::new(),
            certificate: None,
            device: None,
            posture: None,
            seen: None,
            groups: None,
            group_names: Vec::new(),
            verdict: None,
            reason: None,
            condition: None,
            exception: None,
            policy: None,
            compared: None,
            before: 0,
            detail: None,
        }
    }

    /// A decision with all facts it was made from. `id` is the number that the refusal page shows.
    pub fn decided(id: &str, facts: &Facts<'_>, decision: &Decision) -> Self {
        let certificate = facts.certificate.as_ref().map(Option::as_ref);
        Self {
            decision: Some(id.into()),
            who: Some(Who::from(&facts.identity)),
            resource: Some(facts.resource.into()),
            method: Some(facts.method.into()),
            path: Some(without_query(facts.path).into()),
            zone: Some(decision.zone.clone()),
            listener: Some(facts.listener.into()),
            address: Some(facts.address),
            country: Some(facts.country),
            tier: decision.tier.clone(),
            proofs: ProofNote::of(&facts.proofs),
            certificate: match certificate {
                Fact::Known(None) => None,
                Fact::Unknown(why) => Some(Fact::Unknown(why)),
                Fact::Known(Some(certificate)) => Some(Fact::Known(CertificateNote {
                    sha256: certificate.sha256.clone(),
                    trust_domain: certificate.trust_domain.clone(),
                    not_after: certificate.not_after,
                })),
            },
            device: configured(&facts.device).map(|device| device.map(DeviceNote::of)),
            posture: configured(&facts.posture),
            seen: matches!(facts.identity, Identity::User(_)).then_some(facts.seen),
            groups: match facts.identity {
                Identity::Anonymous => None,
                _ => Some(facts.groups.as_ref().map(|groups| groups.reference())),
            },
            verdict: Some(decision.verdict.kind()),
            reason: Some(decision.reason),
            condition: decision.condition.clone(),
            exception: decision.exception.clone(),
            policy: Some(decision.policy.clone()),
            compared: decision.compared.as_deref().cloned(),
            ..Self::new(facts.now, Kind::Decision)
        }
    }

    /// Written once per set of groups, before the first line that refers to it.
    pub fn groups(now: Timestamp, groups: &Groups) -> Self {
        Self {
            groups: Some(Fact::Known(groups.reference())),
            group_names: groups.iter().cloned().collect(),
            ..Self::new(now, Kind::Groups)
        }
    }
}

impl DeviceNote {
    fn of(device: Option<Arc<Device>>) -> Self {
        device.map_or(Self::InNoList, Self::Is)
    }

    pub(crate) fn device(self) -> Option<Arc<Device>> {
        match self {
            Self::InNoList => None,
            Self::Is(device) => Some(device),
        }
    }
}

/// A fact that has a source: what nobody could know does not make every line longer.
fn configured<T: Clone>(fact: &Fact<T>) -> Option<Fact<T>> {
    match fact {
        Fact::Unknown(Why::NotConfigured) => None,
        fact => Some(fact.clone()),
    }
}

impl ProofNote {
    pub fn of(proofs: &[Proof]) -> Vec<Self> {
        let note = |proof: &Proof| Self { tier: proof.tier.clone(), at: proof.proven_at, by: proof.provider.clone() };
        proofs.iter().map(note).collect()
    }
}

impl From<&Identity> for Who {
    fn from(identity: &Identity) -> Self {
        match identity {
            Identity::Anonymous => Self::Anonymous,
            Identity::User(user) => Self::User {
                name: user.name.clone(),
                provider: user.provider.clone(),
                issuer: user.issuer.clone(),
                subject: user.subject.clone(),
                federated: user.federated,
            },
            Identity::Service(service) => {
                Self::Service { id: service.id.as_str().into(), trust_domain: service.trust_domain.clone() }
            }
        }
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn without_query(path: &str) -> &str {
    path.split(['?', '#']).next().unwrap_or_default()
}
