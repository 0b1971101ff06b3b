//! Lines for somebody else: to standard output or a file, by a thread of its own. Whoever makes a line adds it to those that
//! wait; woken for each line, the thread would take more time than the line. What cannot keep up loses lines, which are
//! counted, and never holds whoever makes them.
use prometheus_client::metrics::counter::Counter;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::mem;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes that may wait for the writer.
pub const WAITING: usize = 4 * 1024 * 1024;
/// How long lines are gathered before they are written in one piece.
const GATHER: Duration = Duration::from_millis(20);
/// How long a sink that does not take the last lines may keep a process that ends.
const LAST_LINES: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Off,
    Stdout,
    /// Created 0600, appended to; [`Stream::reopen`] after a rotation.
    File(PathBuf),
}

/// The sending end; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    lines: Option<Arc<Lines>>,
    dropped: Counter,
}

/// The writing end. The thread ends when this is told to [`StreamEnd::finish`].
#[derive(Debug)]
pub struct StreamEnd(Option<Arc<Lines>>);

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

impl Stream {
    /// `name` is the thread's, and how a warning calls it.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn start(name: &'static str, target: Target) -> io::Result<(Self, StreamEnd)> {
        let sink = match &target {
            Target::Off => return Ok((Self::default(), StreamEnd(None))),
            Target::Stdout => Sink::Stdout,
            Target::File(path) => Sink::File(open(path)?, path.clone()),
        };
        let lines = Arc::<Lines>::default();
        let dropped = Counter::default();
        let (taken, lost) = (lines.clone(), dropped.clone());
        std::thread::Builder::new().name(name.into()).spawn(move || write_all(name, sink, &taken, &lost))?;
        Ok((Self { lines: Some(lines.clone()), dropped }, StreamEnd(Some(lines))))
    }

    /// False: do not bother to make a line.
    pub fn is_on(&self) -> bool {
        self.lines.is_some()
    }

    /// Never waits for the sink: lines for which there is no room are dropped and counted.
    pub fn push(&self, text: &[u8], count: u64) {
        let Some(lines) = &self.lines else { return };
        let mut waiting = lines.lock();
        if waiting.closed || waiting.text.len() + text.len() > WAITING {
            drop(waiting);
            self.dropped.inc_by(count);
            return;
        }
        waiting.text.extend_from_slice(text);
        let first = waiting.lines == 0;
        waiting.lines += count;
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

impl StreamEnd {
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

    fn reopen(&mut self, name: &str) {
        if let Self::File(file, path) = self {
            match open(path) {
                Ok(new) => *file = new,
                Err(error) => {
                    tracing::warn!(%error, "the {name} cannot be opened again; going on with the old file")
                }
            }
        }
    }
}

fn open(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn write_all(name: &str, mut sink: Sink, lines: &Lines, lost: &Counter) {
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
            sink.reopen(name);
        }
        if closed {
            lines.lock().finished = true;
            lines.changed.notify_all();
            return;
        }
    }
}
