//! A candidate beside the running policy: watched, or in force for a share of the people, never opening anything.
use crate::decision::{Decision, Verdict, VerdictKind};
use crate::facts::Facts;
use crate::identity::{Identity, Name};
use crate::policy::Policy;
use crate::reason::Reason;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// A policy that may come to run.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub policy: Arc<Policy>,
    pub mode: CandidateMode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CandidateMode {
    /// It decides nothing; where it would answer otherwise is noted.
    Shadow,
    /// For this many of a hundred people the stricter of both answers counts.
    Share(u8),
}

/// Which of the two policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Running,
    Candidate,
}

/// What the other of the two policies said, where it said something else.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Compared {
    /// Whose answer this is. `running`: the candidate was the stricter one, and its answer stands in the decision.
    pub by: Role,
    pub policy: Name,
    pub verdict: VerdictKind,
    pub reason: Reason,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Name>,
}

impl Candidate {
    /// The running policy's decision; with what the candidate says beside it, or for somebody in the share the
    /// stricter of both.
    pub fn decide(&self, running: &Policy, facts: &Facts<'_>) -> Decision {
        let (mut live, mut new) = (running.decide(facts), self.policy.decide(facts));
        let same = outcome(&live) == outcome(&new);
        let record_every = live.record_every || new.record_every;
        if self.includes(&facts.identity) && is_stricter(&new, &live, running) {
            new.compared = (!same).then(|| Compared::of(&live, Role::Running).into());
            new.record_every = record_every;
            return new;
        }
        live.compared = (!same).then(|| Compared::of(&new, Role::Candidate).into());
        live.record_every = record_every;
        live
    }

    /// Whether somebody is in the share: the same people whatever the candidate is, and nobody who is not known.
    pub fn includes(&self, who: &Identity) -> bool {
        let CandidateMode::Share(percent) = self.mode else { return false };
        let mut hash = Sha256::new();
        match who {
            Identity::Anonymous => return false,
            Identity::User(user) => {
                // The length first, so that no two people give the same bytes.
                hash.update((user.issuer.len() as u64).to_be_bytes());
                hash.update(user.issuer.as_bytes());
                hash.update(user.subject.as_bytes());
            }
            Identity::Service(service) => hash.update(service.id.as_str().as_bytes()),
        }
        let first: [u8; 8] = hash.finalize().iter().copied().take(8).collect::<Vec<_>>().try_into().unwrap_or_default();
        u64::from_be_bytes(first) % 100 < u64::from(percent)
    }
}

impl Compared {
    fn of(decision: &Decision, by: Role) -> Self {
        Self {
            by,
            policy: decision.policy.clone(),
            verdict: decision.verdict.kind(),
            reason: decision.reason,
            tier: decision.tier.clone(),
        }
    }
}

fn outcome(decision: &Decision) -> (VerdictKind, Reason, Option<&Name>) {
    (decision.verdict.kind(), decision.reason, decision.tier.as_ref())
}

/// Whether `new` asks for more than `live`. A tier that the running policy does not know counts as more: nobody can say
/// that it is less.
fn is_stricter(new: &Decision, live: &Decision, running: &Policy) -> bool {
    let closed = |verdict: &Verdict| match verdict {
        Verdict::Allow(_) => 0,
        Verdict::Login { .. } | Verdict::StepUp { .. } => 1,
        Verdict::Deny => 2,
    };
    match closed(&new.verdict).cmp(&closed(&live.verdict)) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => {
            let rank = |verdict: &Verdict| match verdict {
                Verdict::Login { tier } | Verdict::StepUp { tier, .. } => {
                    Some(running.ladder.find(tier).map_or(u16::MAX, |tier| u16::from(tier.rank)))
                }
                Verdict::Allow(_) | Verdict::Deny => None,
            };
            let age = |verdict: &Verdict| match verdict {
                Verdict::StepUp { max_age, .. } => Some(*max_age),
                _ => None,
            };
            let (asked, before) = (rank(&new.verdict), rank(&live.verdict));
            asked > before || (asked == before && age(&new.verdict) < age(&live.verdict))
        }
    }
}
