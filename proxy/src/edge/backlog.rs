//! What a caller said on an upgraded connection, and the application has not taken yet. While that is much, nothing more
//! is read from the caller: who does not listen is not spoken to, and nobody's memory fills.
use futures::task::AtomicWaker;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

/// Bytes. A few of the largest pieces that the engine passes on at a time.
const MUCH: usize = 256 * 1024;

#[derive(Debug, Default)]
pub struct Backlog {
    bytes: AtomicUsize,
    reader: AtomicWaker,
}

impl Backlog {
    pub fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    pub fn remove(&self, bytes: usize) {
        let before = self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        if before >= MUCH && before - bytes < MUCH {
            self.reader.wake();
        }
    }

    /// Whether the caller may say more. Whoever asks is woken when he may.
    pub fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        if self.has_room() {
            return Poll::Ready(());
        }
        self.reader.register(cx.waker());
        // Room came between the look and the registration: nobody would wake us.
        if self.has_room() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn has_room(&self) -> bool {
        self.bytes.load(Ordering::Acquire) < MUCH
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::task::{noop_waker_ref, waker};
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    struct Woken(AtomicBool);

    impl futures::task::ArcWake for Woken {
        fn wake_by_ref(woken: &Arc<Self>) {
            woken.0.store(true, Ordering::Release);
        }
    }

    #[test]
    fn who_waits_for_room_is_woken_when_there_is_some() {
        let backlog = Backlog::default();
        assert!(backlog.poll_room(&Context::from_waker(noop_waker_ref())).is_ready());
        backlog.add(MUCH + 1);
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = waker(woken.clone());
        assert!(backlog.poll_room(&Context::from_waker(&waker)).is_pending());
        backlog.remove(1);
        assert!(!woken.0.load(Ordering::Acquire), "there is no room yet");
        backlog.remove(1);
        assert!(woken.0.load(Ordering::Acquire));
        assert!(backlog.poll_room(&Context::from_waker(&waker)).is_ready());
    }
}
