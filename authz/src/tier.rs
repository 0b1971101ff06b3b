//! The ordered ladder of tiers that the policy defines, and what proves them.
use crate::draft::{Located, TierDraft};
use crate::facts::Proof;
use crate::identity::Name;
use crate::problems::Problems;
use crate::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// How strongly, and how recently, a person must have proven who they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tier {
    pub name: Name,
    /// How old a proof of this tier may be.
    pub max_age: Duration,
    /// For people: "password + hardware key".
    pub factors: String,
    pub(crate) rank: u8,
}

/// Lowest first. A proof of a higher tier proves the lower ones.
#[derive(Clone, Debug)]
pub(crate) struct Ladder(Box<[Arc<Tier>]>);

/// What the proofs of a session are worth for one tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proven {
    /// Age of the newest proof of this tier or a higher one.
    Fresh(Duration),
    Stale(Duration),
    Missing,
}

/// How far ahead of us the clock of a provider may be. A proof from further ahead would stay fresh for too long and
/// counts as none.
pub(crate) const MAX_CLOCK_AHEAD: Duration = Duration::from_secs(60);

/// Words that a cell uses for itself.
const RESERVED: [&str; 2] = ["deny", "anonymous"];

impl Ladder {
    pub(crate) fn check(drafts: &[TierDraft], problems: &mut Problems) -> Self {
        let mut tiers: Vec<Arc<Tier>> = Vec::new();
        for draft in drafts {
            let (name, line) = (&draft.name, draft.name.line);
            problems.name("tier", name);
            if RESERVED.contains(&name.value.as_str()) {
                problems.add(
                    line,
                    format!("a tier cannot be called `{}`", name.value),
                    "cells use this word; rename it",
                );
            }
            if draft.max_age < Duration::from_secs(1) {
                problems.add(
                    line,
                    format!(
                        "tier `{}` has a `max_age` of less than a second, so no proof could satisfy it",
                        name.value
                    ),
                    "write how old a proof may be, such as `max_age: 8h`",
                );
            }
            if let Some(first) = drafts.iter().find(|other| other.name.value == name.value)
                && !std::ptr::eq(first, draft)
            {
                problems.duplicate("tier", name, first.name.line);
                continue;
            }
            let Ok(rank) = u8::try_from(tiers.len()) else {
                problems.add(line, "more than 256 tiers", "use fewer; people tell about three apart");
                break;
            };
            tiers.push(Arc::new(Tier {
                name: name.value.as_str().into(),
                max_age: draft.max_age,
                factors: draft.factors.clone(),
                rank,
            }));
        }
        Self(tiers.into())
    }

    pub(crate) fn named(&self, name: &Located<String>, problems: &mut Problems) -> Option<Arc<Tier>> {
        let found = self.find(&name.value).cloned();
        if found.is_none() {
            problems.unknown("tier", name, self.0.iter().map(|tier| &*tier.name));
        }
        found
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Arc<Tier>> {
        self.0.iter().find(|tier| &*tier.name == name)
    }

    pub(crate) fn at(&self, rank: u8) -> Option<&Arc<Tier>> {
        self.0.get(usize::from(rank))
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Tier>> {
        self.0.iter()
    }

    /// The newest proof of `needed` or a higher tier decides. A tier that the policy does not know proves nothing.
    pub(crate) fn proven(&self, proofs: &[Proof], needed: &Tier, max_age: Duration, now: Timestamp) -> Proven {
        let is_proof = |proof: &&Proof| self.find(&proof.tier).is_some_and(|tier| tier.rank >= needed.rank);
        match newest(proofs.iter().filter(is_proof), now) {
            Some(age) if age <= max_age => Proven::Fresh(age),
            Some(age) => Proven::Stale(age),
            None => Proven::Missing,
        }
    }
}

/// Age of the newest of these proofs.
pub(crate) fn newest<'a>(proofs: impl Iterator<Item = &'a Proof>, now: Timestamp) -> Option<Duration> {
    let credible = proofs.filter(|proof| proof.proven_at <= now.plus(MAX_CLOCK_AHEAD));
    credible.map(|proof| now.since(proof.proven_at)).min()
}
