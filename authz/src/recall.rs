//! The facts of a decision, read back from its line in the audit log: for replaying and for explaining afterwards.
//! The one place that turns a line into facts; what [`Entry::decided`] writes is what is read here.
use crate::facts::{Certificate, Fact, Facts, Proof, Seen, Why};
use crate::groups::Groups;
use crate::identity::{Identity, Service, User};
use crate::reason::Reason;
use crate::record::{DeviceNote, Entry, Kind, Who};
use crate::spiffe::SpiffeId;
use std::sync::Arc;

impl Entry {
    /// `groups`: the set that this line names by its reference, if a line before it said what is in it. `None` for a
    /// line that no decision of a policy stands behind.
    ///
    /// What the line does not say is unknown, and so is never taken for a yes.
    pub fn facts(&self, groups: Option<&Arc<Groups>>) -> Option<Facts<'_>> {
        if !matches!(self.kind, Kind::Decision | Kind::Refusals) || !self.reason.is_some_and(is_of_policy) {
            return None;
        }

        let not_given = Why::NotGiven;
        let proof = |note: &crate::record::ProofNote| Proof {
            tier: note.tier.clone(),
            proven_at: note.at,
            provider: note.by.clone(),
        };
        let certificate = match &self.certificate {
            None => Fact::Known(None),
            Some(Fact::Unknown(why)) => Fact::Unknown(*why),
            Some(Fact::Known(note)) => Fact::Known(Some(Arc::new(Certificate {
                trust_domain: note.trust_domain.clone(),
                sha256: note.sha256.clone(),
                // Neither is asked by a rule.
                serial: "".into(),
                user: None,
                not_after: note.not_after,
            }))),
        };
        Some(Facts {
            method: self.method.as_deref().unwrap_or_default(),
            path: self.path.as_deref().unwrap_or_default(),
            listener: self.listener.as_deref().unwrap_or_default(),
            address: self.address.unwrap_or(Fact::Unknown(not_given)),
            identity: self.identity()?,
            groups: self.recalled_groups(groups),
            proofs: self.proofs.iter().map(proof).collect(),
            certificate,
            country: self.country.unwrap_or(Fact::Unknown(not_given)),
            device: match &self.device {
                None => Fact::Unknown(Why::NotConfigured),
                Some(device) => device.clone().map(DeviceNote::device),
            },
            posture: self.posture.clone().unwrap_or(Fact::Unknown(Why::NotConfigured)),
            seen: self.seen.unwrap_or(Seen::unknown(not_given)),
            ..Facts::unknown(self.time, self.resource.as_deref()?)
        })
    }

    fn identity(&self) -> Option<Identity> {
        Some(match self.who.as_ref()? {
            Who::Anonymous => Identity::Anonymous,
            Who::User { name, provider, issuer, subject, federated } => Identity::User(Arc::new(User {
                name: name.clone(),
                provider: provider.clone(),
                issuer: issuer.clone(),
                subject: subject.clone(),
                federated: *federated,
            })),
            Who::Service { id, trust_domain } => Identity::Service(Arc::new(Service {
                id: SpiffeId::parse(id).ok()?,
                trust_domain: trust_domain.clone(),
            })),
        })
    }

    fn recalled_groups(&self, given: Option<&Arc<Groups>>) -> Fact<Arc<Groups>> {
        match &self.groups {
            None => Fact::Unknown(Why::NotGiven),
            Some(Fact::Unknown(why)) => Fact::Unknown(*why),
            Some(Fact::Known(reference)) => match given.filter(|groups| groups.reference() == *reference) {
                Some(groups) => Fact::Known(groups.clone()),
                None if *reference == Groups::default().reference() => Fact::Known(Arc::default()),
                None => Fact::Unknown(Why::NotFound),
            },
        }
    }
}

/// Whether the policy gave this reason; the others are the gate's own, before or after it.
fn is_of_policy(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Allowed
            | Reason::LoginNeeded
            | Reason::StepUpNeeded
            | Reason::NoRule
            | Reason::ZoneDenied
            | Reason::NotAllowed
            | Reason::GroupsUnknown
            | Reason::ConditionDenied
            | Reason::RequirementMissing
            | Reason::ServiceTierMissing
    )
}
