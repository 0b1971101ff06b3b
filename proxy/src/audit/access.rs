//! The access log: one JSON line per request, for operators. Not evidence: when it cannot keep up it drops lines and
//! counts them, and never holds a request. Never carries a cookie, a token, a header or a query value.
pub use crate::audit::access_line::Access;
use crate::audit::lines::{Stream, StreamEnd, Target};
use prometheus_client::metrics::counter::Counter;
use std::io;

/// What most lines take.
const USUAL_BYTES: usize = 384;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct AccessLog(Stream);

impl AccessLog {
    /// # Errors
    /// The file cannot be opened.
    pub fn start(target: Target) -> io::Result<(Self, StreamEnd)> {
        let (stream, end) = Stream::start("access-log", target)?;
        Ok((Self(stream), end))
    }

    /// False: do not bother to make an [`Access`].
    pub fn is_on(&self) -> bool {
        self.0.is_on()
    }

    /// Made by whoever answered a request; never waits.
    pub fn log(&self, access: &Access<'_>) {
        if !self.is_on() {
            return;
        }
        let mut text = Vec::with_capacity(USUAL_BYTES);
        access.append_to(&mut text);
        self.0.push(&text, 1);
    }

    /// Opens the file again, after somebody moved it away.
    pub fn reopen(&self) {
        self.0.reopen();
    }

    pub fn dropped(&self) -> &Counter {
        self.0.dropped()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::access_line::tests::{access, written};
    use crate::audit::lines::WAITING;
    use std::fs::OpenOptions;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn lines_reach_the_file_and_follow_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let (log, writer) = AccessLog::start(Target::File(path.clone())).unwrap();
        for _ in 0..100 {
            log.log(&access("/a"));
        }
        log.reopen();
        writer.finish();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 100);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_full_disk_drops_lines_and_counts_them() {
        let (log, writer) = AccessLog::start(Target::File("/dev/full".into())).unwrap();
        for _ in 0..10 {
            log.log(&access("/a"));
        }
        writer.finish();
        assert_eq!(log.dropped().get(), 10);
        log.log(&access("/a"));
        assert_eq!(log.dropped().get(), 11, "nobody writes any more");
    }

    #[test]
    fn a_reader_that_does_not_read_holds_neither_a_request_nor_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        // Both ends, so that opening waits for nobody; nothing is ever read.
        let _reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let (log, writer) = AccessLog::start(Target::File(path)).unwrap();
        let fits = WAITING / written("/a").len();
        for _ in 0..4 * fits {
            log.log(&access("/a"));
        }
        assert!(log.dropped().get() >= fits as u64, "{} were dropped", log.dropped().get());
        writer.finish();
    }
}
