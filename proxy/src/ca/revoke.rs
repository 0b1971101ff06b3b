//! Revoking. It takes effect first and is written down then: a full disk lets nobody in, and nobody is told that it is
//! written where it is not.
use crate::ca::{CaError, moment};
use crate::gate::Gate;
use crate::streams::Ending;
use torhaus_authz::{Entry, Kind, Timestamp};
use torhaus_certs::{Listed, Query, Reason, RevokedRecord, Serial};

/// What is to be revoked, by whom, and why.
#[derive(Clone, Debug)]
pub struct RevokeRequest {
    pub serials: Vec<Serial>,
    pub reason: Reason,
    pub revoked_by: String,
    pub why: String,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Revoked {
    /// Those that were not revoked before.
    pub new: Vec<Serial>,
    /// Those that the ledger has no issuing of; they are refused all the same.
    pub unknown: Vec<Serial>,
    pub streams_ended: usize,
}

/// Refused from the first line on: the next request on any connection, resumed or not, and whatever is open.
///
/// # Errors
/// It could not be written down: it holds in this process, and is forgotten with it.
pub async fn revoke(gate: &Gate, request: &RevokeRequest, now: Timestamp) -> Result<Revoked, CaError> {
    gate.ca.revoked.extend(&request.serials);
    let mut done = Revoked::default();
    let mut records = Vec::new();
    let mut lookup = Ok(());
    for serial in &request.serials {
        let found = gate.ca.ledger().find(serial).await;
        let issued = match found {
            Ok(found) => found.map(|found| found.issued),
            Err(error) => {
                lookup = Err(error);
                None
            }
        };
        match &issued {
            Some(issued) => done.streams_ended += gate.streams.end(&Ending::Certificate(&issued.sha256)),
            None => {
                // Nobody knows its fingerprint: ask about everything that is open.
                done.unknown.push(serial.clone());
                done.streams_ended += gate.streams.judge_anew(&gate.snapshot.load(), now);
            }
        }
        records.push(RevokedRecord {
            serial: serial.clone(),
            issuer: issued.as_ref().map(|issued| issued.issuer.clone()),
            at: moment(now).replace_nanosecond(0).unwrap_or(moment(now)),
            reason: request.reason,
            revoked_by: request.revoked_by.clone(),
            why: request.why.clone(),
            not_after: issued.as_ref().map(|issued| issued.not_after),
        });
    }
    // Each of the two books is tried, whatever became of the other.
    let journal = gate.ca.journal.append(records.clone()).await;
    let ledger = gate.ca.ledger().record_revoked(&records).await;
    journal?;
    done.new = ledger?;
    lookup?;
    if let Err(error) = gate.ca.publish(now).await {
        gate.ca.lists_are_stale();
        tracing::error!(%error, "a revocation is in force, and the published list could not be renewed");
    }
    for record in records.iter().filter(|record| done.new.contains(&record.serial)) {
        gate.metrics.revoked();
        let detail = format!(
            "certificate {} by {}, {}: {}",
            record.serial,
            record.revoked_by,
            record.reason.as_str(),
            record.why
        );
        let entry = Entry { detail: Some(detail.into()), ..Entry::new(now, Kind::Revocation) };
        if let Err(error) = gate.audit.event(entry).await {
            tracing::error!(%error, "a revocation could not be recorded in the audit log");
        }
    }
    Ok(done)
}

/// Every certificate of an owner that is neither over nor revoked.
///
/// # Errors
/// The ledger cannot be read.
pub async fn live_of(gate: &Gate, owner: &str, now: Timestamp) -> Result<Vec<Listed>, CaError> {
    let query = Query { owner: Some(owner.to_owned()), valid_at: Some(moment(now)), limit: None };
    Ok(gate.ca.ledger().list(&query).await?)
}
