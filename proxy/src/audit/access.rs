//! The access log: one JSON line per request, for operators. Not evidence: when it cannot keep up it drops lines and
//! counts them, and never holds a request. Never carries a cookie, a token, a header or a query value.
//!
//! Whoever answered a request makes its line and adds it to those that wait. A thread of its own writes them together:
//! woken for each line, it would take more time than the line.
pub use crate::audit::access_line::Access;
use prometheus_client::metrics::counter::Counter;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::mem;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes that may wait for the writer.
const WAITING: usize = 4 * 1024 * 1024;
/// How long lines are gathered before they are written in one piece.
const GATHER: Duration = Duration::from_millis(20);
/// How long a sink that does not take the last lines may keep a process that ends.
const LAST_LINES: Duration = Duration::from_secs(1);
/// What most lines take.
const USUAL_BYTES: usize = 384;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Off,
    Stdout,
    /// Created 0600, appended to; [`AccessLog::reopen`] after a rotation.
    File(PathBuf),
}

/// The sending end; cheap to clone.
#[derive(Clone, Debug)]
pub struct AccessLog {
    lines: Option<Arc<Lines>>,
    dropped: Counter,
}

/// The writing end. The thread ends when this is told to [`AccessWriter::finish`].
#[derive(Debug)]
pub struct AccessWriter(Option<Arc<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    waiting: Mutex<Waiting>,
    /// Something waits, or was written for the last time.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    text: Vec<u8>,
    lines: u64,
    reopen: bool,
    /// No more lines come.
    closed: bool,
    /// The last one is written.
    finished: bool,
}

impl AccessLog {
    /// # Errors
    /// The file cannot be opened.
    pub fn start(target: Target) -> io::Result<(Self, AccessWriter)> {
        let sink = match &target {
            Target::Off => {
                return Ok((Self { lines: None, dropped: Counter::default() }, AccessWriter(None)));
            }
            Target::Stdout => Sink::Stdout,
            Target::File(path) => Sink::File(open(path)?, path.clone()),
        };
        let lines = Arc::<Lines>::default();
        let dropped = Counter::default();
        let (taken, lost) = (lines.clone(), dropped.clone());
        std::thread::Builder::new().name("access-log".into()).spawn(move || write_all(sink, &taken, &lost))?;
        Ok((Self { lines: Some(lines.clone()), dropped }, AccessWriter(Some(lines))))
    }

    /// False: do not bother to make an [`Access`].
    pub fn is_on(&self) -> bool {
        self.lines.is_some()
    }

    /// Never waits for the sink: a line for which there is no room is dropped and counted.
    pub fn log(&self, access: &Access<'_>) {
        let Some(lines) = &self.lines else { return };
        let mut text = Vec::with_capacity(USUAL_BYTES);
        access.append_to(&mut text);
        let mut waiting = lines.lock();
        if waiting.closed || waiting.text.len() + text.len() > WAITING {
            drop(waiting);
            self.dropped.inc();
            return;
        }
        waiting.text.extend_from_slice(&text);
        waiting.lines += 1;
        let first = waiting.lines == 1;
        drop(waiting);
        if first {
            lines.changed.notify_all();
        }
    }

    /// Opens the file again, after somebody moved it away.
    pub fn reopen(&self) {
        if let Some(lines) = &self.lines {
            lines.lock().reopen = true;
            lines.changed.notify_all();
        }
    }

    pub fn dropped(&self) -> &Counter {
        &self.dropped
    }
}

impl AccessWriter {
    /// Waits until what came before is written, or the sink has not taken it for a second.
    pub fn finish(self) {
        let Some(lines) = self.0 else { return };
        let mut waiting = lines.lock();
        waiting.closed = true;
        lines.changed.notify_all();
        drop(lines.changed.wait_timeout_while(waiting, LAST_LINES, |waiting| !waiting.finished));
    }
}

impl Lines {
    /// A panic under the lock leaves whole lines, or the last one torn.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to do, and a moment more for others to come.
    fn wait(&self) {
        let nothing = |waiting: &mut Waiting| waiting.lines == 0 && !waiting.reopen && !waiting.closed;
        let waiting = self.changed.wait_while(self.lock(), nothing).unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_timeout_while(waiting, GATHER, |waiting| !waiting.reopen && !waiting.closed));
    }
}

enum Sink {
    Stdout,
    File(File, PathBuf),
}

impl Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(bytes)?;
                out.flush()
            }
            Self::File(file, _) => file.write_all(bytes),
        }
    }

    fn reopen(&mut self) {
        if let Self::File(file, path) = self {
            match open(path) {
                Ok(new) => *file = new,
                Err(error) => {
                    tracing::warn!(%error, "the access log cannot be opened again; going on with the old file")
                }
            }
        }
    }
}

fn open(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn write_all(mut sink: Sink, lines: &Lines, lost: &Counter) {
    let mut text = Vec::new();
    loop {
        lines.wait();
        text.clear();
        let (written, reopen, closed) = {
            let mut waiting = lines.lock();
            mem::swap(&mut waiting.text, &mut text);
            (mem::take(&mut waiting.lines), mem::take(&mut waiting.reopen), waiting.closed)
        };
        if written > 0 && sink.write(&text).is_err() {
            // A full disk or a closed pipe: requests go on, the loss is counted.
            lost.inc_by(written);
        }
        if reopen {
            sink.reopen();
        }
        if closed {
            lines.lock().finished = true;
            lines.changed.notify_all();
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::access_line::tests::{access, written};
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
