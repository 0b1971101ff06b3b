//! Ending sessions: in the store, in memory, on open streams, and in the log.
use crate::gate::Gate;
use crate::login::session::{SessionId, Which};
use crate::streams::Ending;
use torhaus_authz::{Entry, Kind, Reason, Timestamp};

/// Ends sessions and whatever is open on their account. The store comes first: what it did not take is not ended, and
/// nobody is told so. Then streams, then the record, which is evidence and no condition here: revoking must work
/// while the disk is full.
///
/// # Errors
/// The store did not take it.
pub async fn end_sessions(gate: &Gate, which: &Which, why: &str, now: Timestamp) -> Result<Vec<SessionId>, Reason> {
    let ended = gate.sessions.end(which, now).await.map_err(|_| Reason::StoreUnavailable)?;
    note_ended(gate, &ended, why, now).await;
    Ok(ended)
}

/// Closes the streams of sessions that have ended, and writes it down.
pub async fn note_ended(gate: &Gate, ended: &[SessionId], why: &str, now: Timestamp) {
    for id in ended {
        let streams = gate.streams.end(&Ending::Session(id));
        let detail = format!("{why}; {streams} open requests ended");
        let entry =
            Entry { session: Some(id.clone()), detail: Some(detail.into()), ..Entry::new(now, Kind::SessionEnd) };
        if let Err(error) = gate.audit.event(entry).await {
            tracing::error!(session = %id, %error, "a session ended and could not be recorded");
        }
    }
}
