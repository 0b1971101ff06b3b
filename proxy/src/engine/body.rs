//! Bounds on a request's body: how much, how slowly, and whether it comes at all.
use crate::edge::connection::ConnectionInfo;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use pingora_core::{Error, ErrorType, Result as EngineResult};
use pingora_proxy::Session;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use torhaus_authz::Reason;

/// A body is judged by what came in spans of this length, so that a pause of the client or of the application counts
/// once and is then forgotten.
const SPAN: Duration = Duration::from_secs(20);
/// Largest body of a request to our own pages: a form, an ACME message, a logout token.
const MAX_OWN_BODY: usize = 64 * 1024;
/// How long such a body may take, and how long an unread one is drained.
pub const OWN_BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// One request's body.
#[derive(Debug)]
pub struct BodyWatch {
    largest: u64,
    /// Bytes per second; 0: no matter.
    slowest: u64,
    total: u64,
    since: Instant,
    in_span: u64,
}

impl BodyWatch {
    pub fn new(largest: u64, slowest: u64, now: Instant) -> Self {
        Self { largest, slowest, total: 0, since: now, in_span: 0 }
    }

    /// The same bounds for the same body, sent once more.
    pub fn again(self, now: Instant) -> Self {
        Self::new(self.largest, self.slowest, now)
    }

    /// # Errors
    /// What is wrong with a body that says it has so many bytes.
    pub fn declared(&self, length: u64) -> Result<(), Reason> {
        if length > self.largest { Err(Reason::BodyTooLarge) } else { Ok(()) }
    }

    /// # Errors
    /// It is too large, or came too slowly.
    pub fn came(&mut self, bytes: usize, now: Instant) -> Result<(), Reason> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.total = self.total.saturating_add(bytes);
        self.declared(self.total)?;
        self.in_span = self.in_span.saturating_add(bytes);
        if now.saturating_duration_since(self.since) < SPAN {
            return Ok(());
        }
        if self.in_span < self.slowest.saturating_mul(SPAN.as_secs()) {
            return Err(Reason::RequestTooSlow);
        }
        (self.since, self.in_span) = (now, 0);
        Ok(())
    }
}

/// Ends a connection whose body stopped coming; the engine waits without end for one on HTTP/2. Given up when this is
/// dropped.
pub struct Stalled {
    came: Arc<AtomicBool>,
    timer: JoinHandle<()>,
}

impl Stalled {
    /// `patience`: from the head to the first part, and between two parts; at most twice as long.
    pub fn watch(connection: Arc<ConnectionInfo>, patience: Duration) -> Self {
        let came = Arc::new(AtomicBool::new(true));
        let seen = came.clone();
        let timer = tokio::spawn(async move {
            while seen.swap(false, Ordering::AcqRel) {
                tokio::time::sleep(patience).await;
            }
            connection.cutter.cut();
        });
        Self { came, timer }
    }

    /// A part of the body.
    pub fn came(&self) {
        self.came.store(true, Ordering::Release);
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        self.timer.abort();
    }
}

/// The whole body of a request to one of our own pages; none if it is too large.
pub async fn read_own(session: &mut Session) -> EngineResult<Option<Bytes>> {
    let declared =
        session.req_header().headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > MAX_OWN_BODY) {
        return Ok(None);
    }
    let read = async {
        let mut body = Vec::new();
        while let Some(part) = session.read_request_body().await? {
            body.extend_from_slice(&part);
            if body.len() > MAX_OWN_BODY {
                return Ok(None);
            }
        }
        Ok(Some(body.into()))
    };
    let too_slow = |_| Error::explain(ErrorType::ReadTimedout, "the body of a request to one of our pages");
    tokio::time::timeout(OWN_BODY_TIMEOUT, read).await.map_err(too_slow)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_may_be_so_large_and_so_slow() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut body = BodyWatch::new(100, 0, begin);
        assert_eq!(body.declared(101), Err(Reason::BodyTooLarge));
        assert_eq!((body.came(100, at(0)), body.came(1, at(0))), (Ok(()), Err(Reason::BodyTooLarge)));
        assert_eq!(BodyWatch::new(100, 0, begin).came(1, at(3600)), Ok(()), "as slow as it likes");

        let mut body = BodyWatch::new(u64::MAX, 512, begin);
        assert!((0..20).all(|second| body.came(1, at(second)).is_ok()));
        assert_eq!(body.came(1, at(20)), Err(Reason::RequestTooSlow));
        let mut body = BodyWatch::new(u64::MAX, 512, begin);
        assert!((0..10).all(|span| body.came(512 * 20, at(20 * (span + 1))).is_ok()));
        // The application did not read for ten minutes; what waited in between comes at once.
        assert_eq!(body.came(16 * 1024, at(1000)), Ok(()));
        // A second server gets all of it.
        let mut body = BodyWatch::new(100, 0, begin);
        assert_eq!(body.came(100, at(0)), Ok(()));
        assert_eq!(body.again(at(1)).came(100, at(1)), Ok(()));
    }
}
