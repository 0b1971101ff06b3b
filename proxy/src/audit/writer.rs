//! The single writer of the chain: a thread that takes what waits, writes it in one piece, waits for the disk once, and
//! answers all. A failure answers all with `Unavailable`; the next batch tries again, so that it recovers by itself.
use crate::audit::network::Network;
use crate::audit::segment::{self, Append, Limits, MAX_BATCH_BYTES, OpenError, Segment};
use crate::audit::{Note, Recorded, Shared, Unavailable};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use torhaus_authz::{Chain, Entry, Groups, GroupsRef, Kind, Name, Reason, Timestamp};

/// Records written with one wait for the disk.
const MAX_BATCH: usize = 1024;

/// One record that somebody waits for.
pub struct Job {
    pub note: Note,
    pub key: Key,
    pub now: Timestamp,
    pub answer: oneshot::Sender<Result<Recorded, Unavailable>>,
}

/// Under which key later ones are counted.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    None,
    Facts(u64),
    Crowd(Network, Reason),
}

pub struct Writer {
    dir: PathBuf,
    limits: Limits,
    append: Append,
    chain: Chain,
    segment: Option<Segment>,
    /// Of the last segment that has a line.
    number: u64,
    /// The last attempt failed: look at the file before writing again.
    doubtful: bool,
    /// Sets of groups that stand in this segment.
    groups: HashSet<GroupsRef>,
    shared: Arc<Shared>,
    _lock: File,
}

/// Lines of one batch, not yet on disk.
struct Draft {
    chain: Chain,
    text: String,
    lines: u64,
    groups: HashSet<GroupsRef>,
}

impl Writer {
    /// Continues the folder's chain and writes its first line, so that a log that cannot be written is noticed now.
    pub fn open(
        dir: &Path,
        now: Timestamp,
        limits: Limits,
        append: Append,
        shared: Arc<Shared>,
    ) -> Result<Self, OpenError> {
        let found = segment::open_last(dir)?;
        let mut writer = Self {
            dir: dir.to_owned(),
            limits,
            append,
            chain: found.chain,
            number: found.segment.as_ref().map_or(0, |segment| segment.number),
            segment: found.segment,
            doubtful: false,
            groups: found.groups,
            shared,
            _lock: found.lock,
        };
        let mut detail = format!("torhaus {}", env!("CARGO_PKG_VERSION"));
        if found.torn > 0 {
            detail.push_str(&format!("; {} bytes of a torn last line were set aside", found.torn));
        }
        let start = Entry { detail: Some(detail.into()), ..Entry::new(now, Kind::Start) };
        writer.write_one(&start).map_err(|e| OpenError::Folder(dir.to_owned(), e))?;
        Ok(writer)
    }

    /// Until the last sender is gone.
    pub fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.blocking_recv() {
            let mut batch = vec![first];
            while batch.len() < MAX_BATCH
                && let Ok(job) = jobs.try_recv()
            {
                batch.push(job);
            }
            self.serve(batch);
        }
    }

    /// Writes a batch, in pieces if it is large, and answers everybody in it.
    fn serve(&mut self, batch: Vec<Job>) {
        let mut waiting = batch.into_iter().peekable();
        while let Some(now) = waiting.peek().map(|job| job.now) {
            if let Err(error) = self.prepare(now) {
                let error = self.failed(&error);
                waiting.for_each(|job| self.refuse(job.answer, &error));
                return;
            }
            let mut draft = self.draft();
            let mut written: Vec<Pending> = Vec::new();
            let mut by_key: HashMap<Key, usize> = HashMap::new();
            while draft.text.len() < MAX_BATCH_BYTES / 2
                && let Some(job) = waiting.next()
            {
                // Written by the batch before, while this one waited.
                if let Some(recorded) = self.count(job.key, job.now) {
                    let _ = job.answer.send(Ok(recorded));
                    continue;
                }
                if let Some(same) = by_key.get(&job.key).and_then(|at| written.get_mut(*at)) {
                    same.also.push(job.answer);
                    continue;
                }
                match draft.add(self, &job) {
                    Ok(()) => {
                        if job.key != Key::None {
                            by_key.insert(job.key, written.len());
                        }
                        written.push(Pending::from(job));
                    }
                    Err(error) => {
                        let error = Unavailable(error.to_string().into());
                        self.refuse(job.answer, &error);
                    }
                }
            }
            match self.commit(draft) {
                Ok(()) => written.into_iter().for_each(|pending| self.answer(pending)),
                Err(error) => {
                    let error = self.failed(&error);
                    for pending in written {
                        self.refuse(pending.answer, &error);
                        pending.also.into_iter().for_each(|answer| self.refuse(answer, &error));
                    }
                }
            }
        }
    }

    fn write_one(&mut self, entry: &Entry) -> io::Result<()> {
        self.prepare(entry.time)?;
        let mut draft = self.draft();
        draft.line(entry)?;
        self.commit(draft)
    }

    /// Makes sure there is a segment to write to: ours, in its place, not full.
    fn prepare(&mut self, now: Timestamp) -> io::Result<()> {
        if let Some(segment) = self.segment.take() {
            let usable = if self.doubtful {
                match segment.repaired(self.chain.last()) {
                    Ok(repaired) => repaired,
                    Err(error) => {
                        self.segment = Some(segment);
                        return Err(error);
                    }
                }
            } else {
                Some(segment).filter(Segment::is_in_place)
            };
            match usable {
                Some(segment) if segment.good < self.limits.segment_bytes => {
                    self.segment = Some(segment);
                    return Ok(());
                }
                Some(_) => {}
                None => tracing::error!(
                    "the audit log was moved, deleted or written by somebody else; beginning a new segment"
                ),
            }
        }
        self.begin_segment(now)
    }

    /// The chain goes on: the first line of a segment names the last line of the one before it.
    fn begin_segment(&mut self, now: Timestamp) -> io::Result<()> {
        let number = self.number + 1;
        let mut chain = self.chain.clone();
        let detail = format!("segment {number:08}").into();
        let first = chain.append(&Entry { detail: Some(detail), ..Entry::new(now, Kind::Segment) })?;
        let mut segment = Segment::create(&self.dir, number)?;
        if let Err(error) = segment.append(&mut self.append, format!("{}\n", first.text).as_bytes()) {
            segment.discard();
            return Err(error);
        }
        self.shared.counters.written.inc();
        self.shared.copy.push(format!("{}\n", first.text).as_bytes(), 1);
        self.chain = chain;
        self.segment = Some(segment);
        self.number = number;
        self.groups.clear();
        Ok(())
    }

    fn draft(&self) -> Draft {
        Draft { chain: self.chain.clone(), text: String::new(), lines: 0, groups: HashSet::new() }
    }

    fn commit(&mut self, draft: Draft) -> io::Result<()> {
        if draft.text.is_empty() {
            return Ok(());
        }
        let segment = self.segment.as_mut().ok_or_else(|| io::Error::other("there is no segment"))?;
        segment.append(&mut self.append, draft.text.as_bytes())?;
        if std::mem::take(&mut self.doubtful) {
            tracing::info!("the audit log is written again");
        }
        self.shared.copy.push(draft.text.as_bytes(), draft.lines);
        self.chain = draft.chain;
        self.groups.extend(draft.groups);
        self.shared.counters.written.inc_by(draft.lines);
        Ok(())
    }

    fn failed(&mut self, error: &io::Error) -> Unavailable {
        if !self.doubtful {
            tracing::error!(%error, "the audit log cannot be written; what needs a record is refused");
        }
        self.doubtful = true;
        Unavailable(error.to_string().into())
    }

    fn refuse(&self, answer: oneshot::Sender<Result<Recorded, Unavailable>>, error: &Unavailable) {
        self.shared.counters.failed.inc();
        let _ = answer.send(Err(error.clone()));
    }

    fn count(&self, key: Key, now: Timestamp) -> Option<Recorded> {
        let recorded = match key {
            Key::None => None,
            Key::Facts(fingerprint) => self.shared.facts.count(&fingerprint, now),
            Key::Crowd(network, reason) => self.shared.crowd.count(&(network, reason), now),
        }?;
        self.shared.counters.deduped.inc();
        Some(recorded)
    }

    /// Marks the key first, so that whoever comes next is counted, then answers.
    fn answer(&self, pending: Pending) {
        let Pending { key, now, decision, answer, also } = pending;
        let after = also.len() as u64;
        match key {
            Key::None => {}
            Key::Facts(fingerprint) => self.shared.facts.written(fingerprint, now, decision.clone(), after),
            Key::Crowd(network, reason) => self.shared.crowd.written((network, reason), now, decision.clone(), after),
        }
        self.shared.counters.deduped.inc_by(after);
        for answer in std::iter::once(answer).chain(also) {
            let _ = answer.send(Ok(Recorded { decision: decision.clone() }));
        }
    }
}

/// A line of this batch, and who waits for it.
struct Pending {
    key: Key,
    now: Timestamp,
    decision: Option<Name>,
    answer: oneshot::Sender<Result<Recorded, Unavailable>>,
    /// With the same key, in the same batch: counted under this line.
    also: Vec<oneshot::Sender<Result<Recorded, Unavailable>>>,
}

impl From<Job> for Pending {
    fn from(job: Job) -> Self {
        Self { key: job.key, now: job.now, decision: job.note.entry.decision, answer: job.answer, also: Vec::new() }
    }
}

impl Draft {
    fn add(&mut self, writer: &Writer, job: &Job) -> io::Result<()> {
        if let Some(groups) = &job.note.groups {
            self.groups(writer, groups, job.now)?;
        }
        let before = match job.key {
            Key::None => 0,
            Key::Facts(fingerprint) => writer.shared.facts.counted(&fingerprint),
            Key::Crowd(network, reason) => writer.shared.crowd.counted(&(network, reason)),
        };
        if before == 0 {
            return self.line(&job.note.entry);
        }
        self.line(&Entry { before, ..job.note.entry.clone() })
    }

    fn groups(&mut self, writer: &Writer, groups: &Groups, now: Timestamp) -> io::Result<()> {
        let reference = groups.reference();
        if writer.groups.contains(&reference) || self.groups.contains(&reference) {
            return Ok(());
        }
        self.line(&Entry::groups(now, groups))?;
        self.groups.insert(reference);
        Ok(())
    }

    fn line(&mut self, entry: &Entry) -> io::Result<()> {
        let line = self.chain.append(entry)?;
        self.text.push_str(&line.text);
        self.text.push('\n');
        self.lines += 1;
        Ok(())
    }
}
