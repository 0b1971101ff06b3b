//! From a decision to its line in the audit log. Waits until the line is written, if it has to be: no record, no
//! forward.
use crate::audit::{Audit, Note, Recorded, Unavailable};
use crate::gate::Gate;
use crate::identify::{Caller, NotIdentified, Shown};
use crate::request::Request;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use torhaus_authz::{
    Certificate, CertificateNote, Decision, Entry, Fact, Facts, Identity, Kind, Name, Timestamp, Verdict, Who,
    fingerprint,
};
use torhaus_config::Route;

/// Opens files of logs anew: somebody may have moved them away.
pub fn reopen(gate: &Gate) {
    gate.access.reopen();
    gate.audit.copy().reopen();
}

/// Records what somebody changed who may; that it cannot be written does not undo it.
pub async fn admin(audit: &Audit, what: String, now: Timestamp) {
    tracing::info!("{what}");
    let entry = Entry { detail: Some(what.into()), ..Entry::new(now, Kind::Admin) };
    if let Err(error) = audit.event(entry).await {
        tracing::error!(%error, "a change could not be recorded");
    }
}

/// Records a decision. Those about strangers that were refused or sent to sign in are counted per network, so that
/// probing cannot fill the disk.
///
/// # Errors
/// The line is not on disk.
pub async fn decision(
    audit: &Audit,
    request: &Request<'_>,
    facts: &Facts<'_>,
    decision: &Decision,
    caller: &Caller,
) -> Result<Recorded, Unavailable> {
    let line = || Note {
        entry: Entry {
            session: caller.session.as_ref().map(|live| live.id.clone()),
            ..Entry::decided(&decision_id(), facts, decision)
        },
        groups: caller.groups.known().cloned(),
    };
    let allowed = matches!(decision.verdict, Verdict::Allow(_));
    if !allowed && caller.identity == Identity::Anonymous {
        return Box::pin(audit.refusal(Some(request.connection.client.ip()), decision.reason, facts.now, line)).await;
    }
    let print = fingerprint(facts, decision, audit.hasher());
    // Every start of a stream is recorded: it may outlive its decision by days. So is each use of an exception.
    // An upgrade of somebody whom nobody knows is counted like their other requests: it could fill the disk.
    let stream = request.wants_upgrade() && caller.identity != Identity::Anonymous;
    let every = decision.record_every || (allowed && (stream || decision.exception.is_some()));
    audit.decision(print, every, facts.now, line).await
}

/// Records a caller whose identity is contradictory or does not check out. Of whom something is known, by that: one
/// line each, however many are behind the same network. Everybody else is counted as strangers are.
///
/// # Errors
/// The line is not on disk.
pub async fn not_identified(
    audit: &Audit,
    request: &Request<'_>,
    route: &Route,
    why: &NotIdentified,
    now: Timestamp,
) -> Result<Recorded, Unavailable> {
    let Shown { user, session, certificate } = &*why.shown;
    let note = |found: &Arc<Certificate>| {
        let (sha256, trust_domain) = (found.sha256.clone(), found.trust_domain.clone());
        Fact::Known(CertificateNote { sha256, trust_domain, not_after: found.not_after })
    };
    let line = || Entry {
        decision: Some(decision_id()),
        who: user.as_ref().map(|user| Who::from(&Identity::User(user.clone()))),
        session: session.clone(),
        certificate: certificate.as_ref().map(note),
        resource: Some(route.resource.clone()),
        method: Some(request.method.as_str().into()),
        path: Some(request.path.into()),
        verdict: Some(torhaus_authz::VerdictKind::Deny),
        reason: Some(why.reason),
        ..of_request(request, Kind::Decision, now)
    };
    if user.is_none() && certificate.is_none() {
        return audit.refusal(Some(request.connection.client.ip()), why.reason, now, line).await;
    }
    let person = user.as_ref().map(|user| (&user.issuer, &user.subject));
    let sha256 = certificate.as_ref().map(|found| &found.sha256);
    let print = audit.hasher().hash_one((person, session, sha256, why.reason, &route.resource));
    audit.decision(print, false, now, line).await
}

/// An event with where it came from.
pub fn of_request(request: &Request<'_>, kind: Kind, now: Timestamp) -> Entry {
    Entry {
        listener: Some(request.connection.listener.clone()),
        address: Some(Fact::Known(request.connection.client.ip())),
        ..Entry::new(now, kind)
    }
}

/// The number that a refusal page shows and the log can be asked for: 64 random bits.
fn decision_id() -> Name {
    format!("{:016x}", rand::random::<u64>()).into()
}
