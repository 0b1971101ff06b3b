//! How long, and how large, the head of a request may be while it is read. The engine would wait a minute for each read
//! and take up to 1 MiB before anybody asks it to stop; this is asked at every read.
//!
//! Never looks at what the bytes say: the engine tells when a head was read whole.
use crate::metrics::ListenerMetrics;
use bytes::Bytes;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};
use torhaus_authz::{Language, Reason};

/// What a request line may add to the headers: the longest target and the words around it.
const REQUEST_LINE: usize = crate::request::MAX_TARGET + 64;
/// Bytes of the preface of HTTP/2 (RFC 9113 section 3.4). After it the engine counts streams and idle time.
pub const H2_PREFACE: usize = 24;

/// What the engine tells about the requests of one connection: even while a head is awaited, odd afterwards.
#[derive(Debug, Default)]
pub struct Progress(AtomicU32);

impl Progress {
    /// The head of a request was read whole: what comes now is its body.
    pub fn head_is_read(&self) {
        self.0.fetch_or(1, Ordering::AcqRel);
    }

    /// The request is over, its body read: what comes now is the head of the next one.
    pub fn next_head(&self) {
        let now = self.0.load(Ordering::Acquire);
        self.0.store((now | 1).wrapping_add(1), Ordering::Release);
    }

    fn awaited(&self) -> Option<u32> {
        let now = self.0.load(Ordering::Acquire);
        (now & 1 == 0).then_some(now)
    }
}

/// The bounds of one listener's connections.
#[derive(Clone, Debug)]
pub struct HeadBounds {
    pub timeout: Duration,
    /// Headers only; the request line has its own bound.
    pub header_bytes: usize,
    pub metrics: Arc<ListenerMetrics>,
}

/// Why a connection ends before its request was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Not a byte came.
    Silent,
    TooSlow,
    TooLarge,
}

impl Over {
    /// What an HTTP/1.1 client is told: the engine has no request yet that it could answer.
    pub fn last_words(self) -> Bytes {
        let reason = match self {
            Self::Silent => return Bytes::new(),
            Self::TooSlow => Reason::RequestTooSlow,
            Self::TooLarge => Reason::HeaderTooLarge,
        };
        let (status, title) = (reason.status(), reason.words(Language::English).sentence);
        let body = format!("{{\"type\":\"urn:torhaus:reason:{reason}\",\"title\":\"{title}\",\"status\":{status}}}");
        let head = format!(
            "HTTP/1.1 {status} Refused\r\nContent-Type: application/problem+json\r\nCache-Control: no-store\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        (head + &body).into()
    }

    pub fn cause(self) -> &'static str {
        match self {
            Self::Silent => "no request",
            Self::TooSlow => "head too slow",
            Self::TooLarge => "head too large",
        }
    }
}

/// Watches the heads of one connection.
#[derive(Debug)]
pub struct HeadWatch {
    bounds: HeadBounds,
    h2: bool,
    /// Which head, and how much of it came.
    head: u32,
    read: usize,
    /// When this head has to be there; set with its first byte, for the first one with the connection.
    deadline: Option<Instant>,
    /// Made when it is first waited for: most heads come in one piece.
    timer: Option<Pin<Box<Sleep>>>,
}

impl HeadWatch {
    pub fn new(bounds: HeadBounds, h2: bool) -> Self {
        let deadline = Some(Instant::now() + bounds.timeout);
        Self { bounds, h2, head: 0, read: 0, deadline, timer: None }
    }

    /// Before a read: too much already?
    pub fn before(&mut self, progress: &Progress) -> Result<(), Over> {
        if !self.is_awaited(progress) || self.h2 {
            return Ok(());
        }
        let most = self.bounds.header_bytes + REQUEST_LINE;
        if self.read > most { Err(self.over(Over::TooLarge)) } else { Ok(()) }
    }

    /// After a read that brought this much.
    pub fn came(&mut self, progress: &Progress, bytes: usize) {
        if self.is_awaited(progress) {
            self.read += bytes;
            if self.deadline.is_none() {
                self.deadline = Some(Instant::now() + self.bounds.timeout);
            }
        }
    }

    /// After a read that brought nothing yet: wakes the reader when the time is over.
    pub fn waiting(&mut self, progress: &Progress, cx: &mut Context<'_>) -> Result<(), Over> {
        // First: it may be the next head by now, which has no deadline yet.
        if !self.is_awaited(progress) {
            return Ok(());
        }
        let Some(deadline) = self.deadline else { return Ok(()) };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        match timer.as_mut().poll(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => Err(self.over(if self.read == 0 { Over::Silent } else { Over::TooSlow })),
        }
    }

    fn is_awaited(&mut self, progress: &Progress) -> bool {
        match progress.awaited() {
            Some(_) if self.h2 && self.read >= H2_PREFACE => false,
            Some(head) => {
                if head != self.head {
                    // Between requests the engine's own idle timeout counts.
                    (self.head, self.read, self.deadline) = (head, 0, None);
                }
                true
            }
            None => false,
        }
    }

    fn over(&self, why: Over) -> Over {
        self.count(why.cause());
        why
    }

    /// Counts a connection that is ended for what its client does.
    pub fn count(&self, cause: &'static str) {
        self.bounds.metrics.cut(cause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Counters;
    use crate::metrics::Metrics;
    use std::task::Waker;

    fn watch(h2: bool) -> HeadWatch {
        let metrics = Metrics::new(&Counters::default(), &prometheus_client::metrics::counter::Counter::default());
        let metrics = Arc::new(metrics.listener("test"));
        HeadWatch::new(HeadBounds { timeout: Duration::from_secs(15), header_bytes: 1000, metrics }, h2)
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_so_long_from_its_first_byte_and_the_first_from_the_handshake() {
        let cx = &mut Context::from_waker(Waker::noop());
        let (mut watch, progress) = (watch(false), Progress::default());
        assert_eq!(watch.waiting(&progress, cx), Ok(()));
        tokio::time::advance(Duration::from_secs(14)).await;
        watch.came(&progress, 1);
        assert_eq!(watch.waiting(&progress, cx), Ok(()), "a byte a second does not make it longer");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(watch.waiting(&progress, cx), Err(Over::TooSlow));
        progress.head_is_read();
        assert_eq!(watch.waiting(&progress, cx), Ok(()), "a body has its own bounds");
        progress.next_head();
        assert_eq!(watch.waiting(&progress, cx), Ok(()));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(watch.waiting(&progress, cx), Ok(()), "idle between requests");
        watch.came(&progress, 1);
        tokio::time::advance(Duration::from_secs(16)).await;
        assert_eq!(watch.waiting(&progress, cx), Err(Over::TooSlow));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_byte_ends_without_a_word() {
        let cx = &mut Context::from_waker(Waker::noop());
        let (mut watch, progress) = (watch(false), Progress::default());
        tokio::time::advance(Duration::from_secs(16)).await;
        assert_eq!(watch.waiting(&progress, cx), Err(Over::Silent));
        assert!(Over::Silent.last_words().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_is_bounded_and_a_body_is_not() {
        let (mut watch, progress) = (watch(false), Progress::default());
        watch.came(&progress, 1000 + REQUEST_LINE);
        assert_eq!(watch.before(&progress), Ok(()));
        watch.came(&progress, 1);
        assert_eq!(watch.before(&progress), Err(Over::TooLarge));
        progress.head_is_read();
        watch.came(&progress, 1 << 20);
        assert_eq!(watch.before(&progress), Ok(()));
        progress.next_head();
        watch.came(&progress, 500);
        assert_eq!(watch.before(&progress), Ok(()), "the next head begins at nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn h2_is_watched_until_its_preface_is_there() {
        let cx = &mut Context::from_waker(Waker::noop());
        let (mut watch, progress) = (watch(true), Progress::default());
        watch.came(&progress, H2_PREFACE - 1);
        tokio::time::advance(Duration::from_secs(16)).await;
        assert_eq!(watch.waiting(&progress, cx), Err(Over::TooSlow));
        watch.came(&progress, 1);
        assert_eq!(watch.waiting(&progress, cx), Ok(()));
        watch.came(&progress, 1 << 20);
        assert_eq!(watch.before(&progress), Ok(()));
    }
}
