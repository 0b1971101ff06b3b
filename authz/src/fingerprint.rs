//! The fact fingerprint: two decisions with the same one are, for the audit log, the same decision again.
use crate::decision::{Decision, Verdict};
use crate::facts::{Fact, Facts, Proof};
use crate::identity::Identity;
use std::hash::{BuildHasher, Hash, Hasher};

/// What a method does, as far as a record cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MethodClass {
    Read,
    Write,
}

impl MethodClass {
    /// RFC 9110 section 9.2.1: the safe methods read.
    pub fn of(method: &str) -> Self {
        match method {
            "GET" | "HEAD" | "OPTIONS" | "TRACE" => Self::Read,
            _ => Self::Write,
        }
    }
}

/// Hash of who, what, from where, how proven, and what came out. Leaves out what differs from request to request: the
/// time, the address inside its zone and country, and the path beyond what the row's conditions ask of it. `state` should be keyed with randomness that callers cannot
/// know, so that nobody can craft a request that hides behind another one's record.
pub fn fingerprint(facts: &Facts<'_>, decision: &Decision, state: &impl BuildHasher) -> u64 {
    let hash = &mut Gathered(Vec::with_capacity(USUAL_BYTES));
    match &facts.identity {
        Identity::Anonymous => 0u8.hash(hash),
        Identity::User(user) => (1u8, &user.issuer, &user.subject, &user.name).hash(hash),
        Identity::Service(service) => (2u8, &service.id, &service.trust_domain).hash(hash),
    }
    (facts.resource, facts.listener, MethodClass::of(facts.method)).hash(hash);
    decision.zone.hash(hash);
    decision.request_class.hash(hash);
    fact(&facts.country, hash);
    fact(&facts.groups.as_ref().map(|groups| groups.reference()), hash);
    fact(&facts.certificate.as_ref().map(|found| found.as_ref().map(|c| &c.sha256)), hash);
    fact(&facts.device.as_ref().map(Option::as_deref), hash);
    fact(&facts.posture.as_ref().map(|posture| posture.values()), hash);
    facts.seen.hash(hash);
    // A service proves its tier anew with every connection: when is no news. A person's proof has a moment of its own.
    let is_service = matches!(facts.identity, Identity::Service(_));
    let proof = |proof: &Proof| {
        let at = (!is_service).then_some(proof.proven_at);
        state.hash_one((&proof.tier, &proof.provider, at))
    };
    // A set: sources may list the same proofs in any order.
    let proofs = facts.proofs.iter().map(proof);
    proofs.fold(0u64, u64::wrapping_add).hash(hash);
    match &decision.verdict {
        Verdict::Allow(_) => 0u8.hash(hash),
        Verdict::Login { tier } => (1u8, tier).hash(hash),
        Verdict::StepUp { tier, max_age } => (2u8, tier, max_age).hash(hash),
        Verdict::Deny => 3u8.hash(hash),
    }
    (decision.reason, &decision.condition, &decision.exception, &decision.policy, &decision.compared).hash(hash);
    state.hash_one(&hash.0)
}

/// What most decisions take.
const USUAL_BYTES: usize = 512;

/// All that is to be hashed, in one piece: a keyed hash takes longer over fifty small ones.
struct Gathered(Vec<u8>);

impl Hasher for Gathered {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// What was gathered is hashed as a whole.
    fn finish(&self) -> u64 {
        0
    }
}

fn fact<T: Hash>(fact: &Fact<T>, hash: &mut impl Hasher) {
    match fact {
        Fact::Known(value) => (0u8, value).hash(hash),
        Fact::Unknown(why) => (1u8, why).hash(hash),
    }
}
