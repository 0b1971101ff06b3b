//! The audit log: who was let in, who was not, and why, as lines that cannot be changed unseen. No record, no forward.
//!
//! ```text
//! gate -- decision / refusal / event --> dedupe (seen within 15 minutes? count it) --> writer (one thread, one chain)
//! ```
//!
//! A copy of the lines leaves the machine, where `torhaus run --audit-copy` asks for it (`lines.rs`): a chain cannot know that
//! its end was cut off. `access` is another stream: one line per request, for operators, not evidence.
pub mod access;
mod access_line;
pub mod against;
pub mod archive;
pub mod decisions;
mod dedupe;
pub mod lines;
mod network;
pub mod read;
mod segment;
mod writer;

#[cfg(test)]
mod tests;

use crate::audit::dedupe::Dedupe;
use crate::audit::lines::Stream;
use crate::audit::network::Network;
use crate::audit::writer::{Job, Key, Writer};
use futures::StreamExt as _;
use prometheus_client::metrics::counter::Counter;
use std::hash::RandomState;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use torhaus_authz::{Entry, Groups, Kind, Name, Reason, Timestamp};

pub use segment::OpenError;

/// A decision with the same facts within this time is counted, not written.
pub const WINDOW: Duration = Duration::from_secs(15 * 60);
/// Longer than any disk that works takes to write; a request that waits longer is refused.
const PATIENCE: Duration = Duration::from_secs(5);
/// Records that may wait for the disk. More than this many callers wait before the queue instead.
const QUEUE: usize = 4096;

/// Writes the audit log. One per process: the folder is locked.
pub struct Audit {
    shared: Arc<Shared>,
    queue: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    hasher: RandomState,
}

/// What the gate's tasks and the writer share.
struct Shared {
    facts: Dedupe<u64>,
    crowd: Dedupe<(Network, Reason)>,
    counters: Counters,
    /// Of every line, once it is on disk.
    copy: Stream,
    /// The last record could not be written.
    failing: AtomicBool,
    /// Version of the running policy, for records that name none themselves.
    policy: Mutex<Option<Name>>,
}

/// Plain counts, for the metrics registry.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Lines on disk.
    pub written: Counter,
    /// Records that could not be written.
    pub failed: Counter,
    /// Decisions counted under an earlier line.
    pub deduped: Counter,
    /// Lines that are on disk and missing in the copy.
    pub not_copied: Counter,
}

/// What is to be recorded. The groups are written once per segment and referenced by the entry.
#[derive(Debug)]
pub struct Note {
    pub entry: Entry,
    pub groups: Option<Arc<Groups>>,
}

impl From<Entry> for Note {
    fn from(entry: Entry) -> Self {
        Self { entry, groups: None }
    }
}

/// Proof that a decision is on disk, or was counted under a line of the last 15 minutes. Only [`Audit`] makes one.
#[derive(Debug)]
pub struct Recorded {
    decision: Option<Name>,
}

impl Recorded {
    /// The decision number of the line it stands in or was counted under: the one that `audit query` finds.
    pub fn decision(&self) -> Option<&Name> {
        self.decision.as_ref()
    }
}

/// The record could not be written; what depended on it must not happen.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the audit log cannot be written: {0}")]
pub struct Unavailable(pub(crate) Arc<str>);

impl Audit {
    /// Opens the folder (0700), verifies its last segment and continues it. A line torn by a power failure is set
    /// aside and noted.
    ///
    /// # Errors
    /// 1. another process writes there; 2. the folder or its files cannot be used; 3. the last segment was altered.
    pub fn open(dir: &Path, now: Timestamp) -> Result<Self, OpenError> {
        Self::open_copied(dir, Stream::default(), now)
    }

    /// The same, with a copy of every line that is on disk.
    ///
    /// # Errors
    /// As [`Audit::open`].
    pub fn open_copied(dir: &Path, copy: Stream, now: Timestamp) -> Result<Self, OpenError> {
        Self::open_with(dir, copy, now, segment::Limits::default(), Box::new(segment::append_durably))
    }

    fn open_with(
        dir: &Path,
        copy: Stream,
        now: Timestamp,
        limits: segment::Limits,
        append: segment::Append,
    ) -> Result<Self, OpenError> {
        let shared = Arc::new(Shared {
            facts: Dedupe::new(dedupe::MOST_FACTS),
            crowd: Dedupe::new(dedupe::MOST_NETWORKS),
            counters: Counters { not_copied: copy.dropped().clone(), ..Counters::default() },
            copy,
            failing: AtomicBool::new(false),
            policy: Mutex::default(),
        });
        let writer = Writer::open(dir, now, limits, append, Arc::clone(&shared))?;
        let (queue, jobs) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || writer.run(jobs))
            .map_err(|e| OpenError::Folder(dir.to_owned(), e))?;
        Ok(Self { shared, queue: Some(queue), thread: Some(thread), hasher: RandomState::new() })
    }

    /// Keys `torhaus_authz::fingerprint`: random per process, so that nobody can craft a request that hides behind
    /// another one's record.
    pub fn hasher(&self) -> &RandomState {
        &self.hasher
    }

    /// Records that wait for the disk.
    pub fn waiting(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.max_capacity() - queue.capacity())
    }

    /// From now on this version stands in every record that names none itself.
    pub fn now_running(&self, policy: &Name) {
        *self.shared.policy.lock().unwrap_or_else(PoisonError::into_inner) = Some(policy.clone());
    }

    /// Whether the last record could not be written: until one can, nothing new is let through.
    pub fn is_failing(&self) -> bool {
        self.shared.failing.load(Ordering::Relaxed)
    }

    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Where the copy of every line goes.
    pub fn copy(&self) -> &Stream {
        &self.shared.copy
    }

    /// Records a decision about somebody known. With the same fingerprint within [`WINDOW`] it is counted, without
    /// allocating or waiting; `every` writes it in any case.
    ///
    /// # Errors
    /// The line is not on disk: no record, no forward.
    pub async fn decision<N: Into<Note>>(
        &self,
        fingerprint: u64,
        every: bool,
        now: Timestamp,
        note: impl FnOnce() -> N,
    ) -> Result<Recorded, Unavailable> {
        if every {
            return Box::pin(self.write(note().into(), Key::None, now)).await;
        }
        if let Some(recorded) = self.shared.facts.count(&fingerprint, now) {
            self.shared.counters.deduped.inc();
            return Ok(recorded);
        }
        Box::pin(self.write(note().into(), Key::Facts(fingerprint), now)).await
    }

    /// Records that a caller nobody knows was refused or sent to sign in: one line per network (/24, /64), reason and
    /// [`WINDOW`], so that probing cannot fill the disk.
    ///
    /// # Errors
    /// The line is not on disk.
    pub async fn refusal<N: Into<Note>>(
        &self,
        address: Option<IpAddr>,
        reason: Reason,
        now: Timestamp,
        note: impl FnOnce() -> N,
    ) -> Result<Recorded, Unavailable> {
        let mut key = (Network::of(address), reason);
        if let Some(recorded) = self.shared.crowd.count(&key, now) {
            self.shared.counters.deduped.inc();
            return Ok(recorded);
        }
        if !self.shared.crowd.has_room(&key, now) {
            // More networks than we follow at once: an attack from everywhere. They are counted together.
            key.0 = key.0.everywhere();
            if let Some(recorded) = self.shared.crowd.count(&key, now) {
                self.shared.counters.deduped.inc();
                return Ok(recorded);
            }
        }
        let mut note = note().into();
        let network = key.0.to_string();
        if note.entry.kind == Kind::Decision {
            note.entry.kind = Kind::Refusals;
        }
        note.entry.detail = Some(match &note.entry.detail {
            Some(detail) => format!("{network}: {detail}").into(),
            None => network.into(),
        });
        self.write(note, Key::Crowd(key.0, reason), now).await
    }

    /// Writes the counts of networks that have gone quiet. Call it about once a minute.
    ///
    /// # Errors
    /// The lines are not on disk; their counts are lost.
    pub async fn report_refusals(&self, now: Timestamp) -> Result<(), Unavailable> {
        let lines = self.shared.crowd.take_expired(now).into_iter().map(|((network, reason), count)| {
            self.event(Entry {
                reason: Some(reason),
                before: count,
                detail: Some(network.to_string().into()),
                ..Entry::new(now, Kind::Refusals)
            })
        });
        // Together, so that the writer waits for the disk once and not once per network.
        let written: Vec<_> = futures::stream::iter(lines).buffer_unordered(QUEUE / 4).collect().await;
        written.into_iter().try_for_each(|line| line.map(drop))
    }

    /// Records what is never counted: login, logout, revocation, reload, the start and end of a stream.
    ///
    /// # Errors
    /// The line is not on disk.
    pub async fn event(&self, note: impl Into<Note>) -> Result<Recorded, Unavailable> {
        let note = note.into();
        let now = note.entry.time;
        self.write(note, Key::None, now).await
    }

    /// Writes the last line and lets go of the folder.
    ///
    /// # Errors
    /// The line is not on disk.
    pub async fn close(mut self, now: Timestamp) -> Result<(), Unavailable> {
        let stopped = self.event(Entry::new(now, Kind::Stop)).await;
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        stopped.map(drop)
    }

    async fn write(&self, mut note: Note, key: Key, now: Timestamp) -> Result<Recorded, Unavailable> {
        if note.entry.policy.is_none() {
            note.entry.policy = self.shared.policy.lock().unwrap_or_else(PoisonError::into_inner).clone();
        }
        let (answer, answered) = oneshot::channel();
        let job = Job { note, key, now, answer };
        let written = async {
            let queue = self.queue.as_ref().ok_or_else(gone)?;
            queue.send(job).await.map_err(|_| gone())?;
            answered.await.map_err(|_| gone())?
        };
        let result = tokio::time::timeout(PATIENCE, written).await.unwrap_or_else(|_| {
            self.shared.counters.failed.inc();
            Err(Unavailable("the disk does not answer".into()))
        });
        self.shared.failing.store(result.is_err(), Ordering::Relaxed);
        result
    }
}

impl Drop for Audit {
    /// Waits until what was queued is written.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn gone() -> Unavailable {
    Unavailable("its writer has stopped".into())
}
