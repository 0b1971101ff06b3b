//! A step-up adds to a session; it never takes a proof away, and never keeps an older one beside a newer.
use crate::login::device_claim;
use crate::login::oidc::SignedIn;
use crate::login::session::{Session, Tokens};
use std::sync::Arc;
use torhaus_authz::Proof;

/// The session after the same person has signed in again.
pub fn merged(session: &Session, signed_in: SignedIn) -> Session {
    Session {
        user: Arc::new(signed_in.user),
        display_name: signed_in.display_name,
        email: signed_in.email,
        groups: signed_in.groups,
        device: device_claim::newer(&session.device, signed_in.device),
        proofs: newest(&session.proofs, signed_in.proofs).into(),
        provider_session: signed_in.provider_session.or_else(|| session.provider_session.clone()),
        tokens: newer(&session.tokens, signed_in.tokens),
        ..session.clone()
    }
}

/// The pair of one login, never a mix: a tier may have an OIDC client of its own, and a refresh token works only for
/// the client that the ID token beside it names.
fn newer(before: &Tokens, now: Tokens) -> Tokens {
    match now.refresh_token.is_none() && before.refresh_token.is_some() {
        true => before.clone(),
        false => now,
    }
}

/// Of each tier and provider the newest.
fn newest(before: &[Proof], now: Vec<Proof>) -> Vec<Proof> {
    let mut all = now;
    for proof in before {
        match all.iter_mut().find(|p| p.tier == proof.tier && p.provider == proof.provider) {
            Some(known) => known.proven_at = known.proven_at.max(proof.proven_at),
            None => all.push(proof.clone()),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use torhaus_authz::Timestamp;

    #[test]
    fn a_step_up_keeps_what_was_proven_and_takes_the_newer_of_two() {
        let proof = |tier: &str, at| Proof {
            tier: tier.into(),
            proven_at: Timestamp::from_seconds(at),
            provider: "corp".into(),
        };
        let all = newest(&[proof("mfa", 10), proof("hardware", 20)], vec![proof("mfa", 30), proof("standard", 30)]);
        assert_eq!(all, [proof("mfa", 30), proof("standard", 30), proof("hardware", 20)]);
        assert_eq!(newest(&[proof("mfa", 50)], vec![proof("mfa", 30)]), [proof("mfa", 50)]);
    }
}
