//! What somebody still holds who has left by the directory: it is revoked at once, and not only not renewed. Their
//! enrolments stay: who is back gets new certificates by them, because `standing` asks the directory each time. What they
//! only answer for, certificates of services, goes on.
use crate::ca::own_domain;
use crate::ca::revoke::{RevokeRequest, live_of, revoke};
use crate::gate::Gate;
use torhaus_authz::Timestamp;
use torhaus_certs::{Purpose, Reason};

/// Revokes every certificate in a person's name. Cheap where there is none; call it as often as the directory is asked.
pub async fn revoke_running(gate: &Gate, person: &str, state: &str, now: Timestamp) {
    if own_domain(&gate.snapshot.load().config).is_none() {
        return;
    }
    let live = match live_of(gate, person, now).await {
        Ok(live) => live,
        // Asked again at the next look at the directory; their sessions have ended all the same.
        Err(error) => return tracing::error!(%error, person, "certificates of a leaver could not be looked for"),
    };
    let own = live.into_iter().map(|found| found.issued);
    let own = own.filter(|one| matches!(Purpose::parse(&one.profile), Some(Purpose::User | Purpose::Device)));
    let serials: Vec<_> = own.map(|one| one.serial).collect();
    if serials.is_empty() {
        return;
    }
    let request = RevokeRequest {
        serials,
        reason: Reason::AffiliationChanged,
        revoked_by: "the directory".to_owned(),
        why: format!("the account of {person} is {state} in the directory"),
    };
    match revoke(gate, &request, now).await {
        Ok(done) => tracing::info!(person, certificates = done.new.len(), "certificates of a leaver were revoked"),
        Err(error) => {
            tracing::error!(%error, person, "certificates of a leaver are refused here, and not written down")
        }
    }
}
