//! HTTP/2 frames that cost the server an answer or a look and the client nothing: PING, SETTINGS, RST_STREAM, PRIORITY,
//! CONTINUATION, empty DATA, and types that nobody knows (CVE-2019-9512, -9515, -9518, CVE-2023-44487, RFC 9113 section
//! 10.5). The engine bounds the memory that each of them takes; this bounds how many there may be.
//!
//! Never looks into a frame: only at the nine bytes before it.
use std::time::Instant;

/// So many at once. A browser that leaves a page cancels about a hundred streams; connections in a load test of ours
/// send ten control frames in their life.
const BURST: u32 = 1_000;
/// And so many more each second. gRPC clients probe with some PINGs a second.
const PER_SECOND: u32 = 100;
/// Length, type, flags, stream (RFC 9113 section 4.1).
const HEAD: usize = 9;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const WINDOW_UPDATE: u8 = 0x8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

/// What one connection has sent so far.
#[derive(Debug)]
pub struct ControlFrames {
    /// Bytes to pass over: the preface, then the payload of the frame before.
    skip: usize,
    head: [u8; HEAD],
    have: usize,
    left: u32,
    since: Instant,
}

impl ControlFrames {
    pub fn new(now: Instant) -> Self {
        Self { skip: super::pace::H2_PREFACE, head: [0; HEAD], have: 0, left: BURST, since: now }
    }

    /// Counts what came.
    ///
    /// # Errors
    /// Too many of them: the connection should end.
    pub fn see(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), TooMany> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let passed = self.skip.min(bytes.len());
                self.skip -= passed;
                bytes = bytes.get(passed..).unwrap_or_default();
                continue;
            }
            let (&byte, rest) = bytes.split_first().ok_or(TooMany)?;
            bytes = rest;
            if let Some(place) = self.head.get_mut(self.have) {
                *place = byte;
            }
            self.have += 1;
            if self.have == HEAD {
                self.have = 0;
                let [high, middle, low, kind, ..] = self.head;
                let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                self.skip = length;
                let useful = matches!(kind, HEADERS | WINDOW_UPDATE) || (kind == DATA && length > 0);
                if !useful {
                    self.take(now)?;
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, now: Instant) -> Result<(), TooMany> {
        let seconds = now.saturating_duration_since(self.since).as_secs();
        if seconds > 0 {
            let more = u32::try_from(seconds).unwrap_or(u32::MAX).saturating_mul(PER_SECOND);
            self.left = self.left.saturating_add(more).min(BURST);
            self.since = now;
        }
        self.left = self.left.checked_sub(1).ok_or(TooMany)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

    fn begun(now: Instant) -> ControlFrames {
        let mut frames = ControlFrames::new(now);
        frames.see(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", now).unwrap();
        frames
    }

    #[test]
    fn a_thousand_at_once_and_a_hundred_a_second() {
        let now = Instant::now();
        let mut frames = begun(now);
        // However they are cut: byte by byte here.
        for _ in 0..BURST {
            PING.iter().try_for_each(|byte| frames.see(&[*byte], now)).unwrap();
        }
        assert_eq!(frames.see(&PING, now), Err(TooMany));
        let mut frames = begun(now);
        assert_eq!(frames.see(&PING.repeat(1_000), now), Ok(()));
        assert_eq!(frames.see(&PING.repeat(200), now + Duration::from_secs(2)), Ok(()));
        assert_eq!(frames.see(&PING, now + Duration::from_secs(2)), Err(TooMany));
    }

    #[test]
    fn requests_and_data_are_not_counted() {
        let now = Instant::now();
        let mut frames = begun(now);
        let headers = [0, 0, 1, HEADERS, 5, 0, 0, 0, 1, 0x82];
        let data = [&[0, 1, 0, DATA, 0, 0, 0, 0, 1][..], &[6; 256]].concat();
        let window = [0, 0, 4, WINDOW_UPDATE, 0, 0, 0, 0, 0, 0, 0, 1, 0];
        for _ in 0..5_000 {
            assert_eq!(frames.see(&[&headers[..], &data, &window].concat(), now), Ok(()));
        }
        let empty = [0, 0, 0, DATA, 0, 0, 0, 0, 1];
        assert_eq!(frames.see(&empty.repeat(1_001), now), Err(TooMany));
    }
}
