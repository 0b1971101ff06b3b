//! Reading the audit log: verify a folder, query it, follow it. Streams; never writes, never needs the process.
use crate::audit::segment;
use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;
use torhaus_authz::{BrokenAt, Kind, LineHash, Reason, Record, Timestamp, VerdictKind, Who, verify};

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the audit log in `{0}` cannot be read: {1}")]
    Folder(PathBuf, #[source] io::Error),
    #[error("the copy cannot be read: {0}")]
    Copy(#[source] io::Error),
    #[error("there is no audit log in `{0}`")]
    Nothing(PathBuf),
    #[error("the chain is broken: `{0}`: {1}")]
    Broken(PathBuf, BrokenAt),
    #[error("the chain is broken: segment {missing:08} is missing before `{found}`")]
    Missing { missing: u64, found: PathBuf },
}

/// What a verified folder holds.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Verified {
    pub segments: usize,
    pub lines: u64,
    pub first_sequence: u64,
    pub last_sequence: u64,
    /// Older segments are not here, so what came before the first line is believed.
    pub starts_in_the_middle: bool,
    /// Compare it with one noted elsewhere: a chain cannot know that its end was cut off.
    pub last_hash: LineHash,
    /// The last line has no end yet: it is being written, or the power failed.
    pub unfinished_bytes: u64,
}

/// Verifies every line of every segment, and that each segment continues the one before.
///
/// # Errors
/// The first place where the chain does not hold, or a file that cannot be read.
pub fn verify_folder(dir: &Path) -> Result<Verified, ReadError> {
    let segments = segment::list(dir).map_err(|e| ReadError::Folder(dir.to_owned(), e))?;
    let last = segments.len().saturating_sub(1);
    let mut verified: Option<Verified> = None;
    let mut expected = None;
    for (index, (number, path)) in segments.into_iter().enumerate() {
        if let Some(missing) = expected.filter(|e| *e != number) {
            return Err(ReadError::Missing { missing, found: path });
        }
        expected = Some(number + 1);
        // The first segment begins the chain, unless older ones were archived.
        let start = match &verified {
            Some(so_far) => Some(so_far.last_hash),
            None => (number == 1).then_some(LineHash::GENESIS),
        };
        let file = |e| ReadError::Folder(path.clone(), e);
        let mut lines = Lines::open(&path).map_err(file)?;
        let failure = Cell::new(None);
        let whole = std::iter::from_fn(|| {
            lines.next_line().unwrap_or_else(|error| {
                failure.set(Some(error));
                None
            })
        });
        let summary = verify(whole, start);
        if let Some(error) = failure.take() {
            return Err(file(error));
        }
        let unfinished = lines.unfinished();
        if index != last && unfinished > 0 {
            let line = summary.map_or(1, |s| s.lines + 1);
            return Err(ReadError::Broken(path, BrokenAt { line, why: torhaus_authz::Broken::NotARecord }));
        }
        let summary = match summary {
            Ok(summary) => summary,
            // A segment that was just begun.
            Err(BrokenAt { why: torhaus_authz::Broken::Empty, .. }) if index == last && verified.is_some() => continue,
            Err(broken) => return Err(ReadError::Broken(path, broken)),
        };
        let so_far = verified.get_or_insert(Verified {
            segments: 0,
            lines: 0,
            first_sequence: summary.first_sequence,
            last_sequence: 0,
            starts_in_the_middle: number != 1,
            last_hash: LineHash::GENESIS,
            unfinished_bytes: 0,
        });
        so_far.segments += 1;
        so_far.lines += summary.lines;
        so_far.last_sequence = summary.last_sequence;
        so_far.last_hash = summary.last;
        so_far.unfinished_bytes = unfinished;
    }
    verified.ok_or_else(|| ReadError::Nothing(dir.to_owned()))
}

/// Which records are asked for. What is not given does not matter.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// As in the policy: `alice`, `partner/bob`; a SPIFFE ID for a service.
    pub user: Option<String>,
    pub resource: Option<String>,
    /// Only what this exception of the policy opened.
    pub exception: Option<String>,
    pub verdict: Option<VerdictKind>,
    pub reason: Option<Reason>,
    pub kind: Option<Kind>,
    pub decision: Option<String>,
    pub session: Option<String>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

impl Filter {
    pub fn fits(&self, record: &Record) -> bool {
        let entry = &record.entry;
        let same = |asked: &Option<String>, found: Option<&str>| asked.is_none() || asked.as_deref() == found;
        let who = match &entry.who {
            Some(Who::User { name, .. }) => Some(&**name),
            Some(Who::Service { id, .. }) => Some(&**id),
            Some(Who::Anonymous) | None => None,
        };
        same(&self.user, who)
            && same(&self.resource, entry.resource.as_deref())
            && same(&self.exception, entry.exception.as_deref())
            && same(&self.decision, entry.decision.as_deref())
            && same(&self.session, entry.session.as_deref())
            && (self.verdict.is_none() || self.verdict == entry.verdict)
            && (self.reason.is_none() || self.reason == entry.reason)
            && self.kind.is_none_or(|kind| kind == entry.kind)
            && self.since.is_none_or(|since| entry.time >= since)
            && self.until.is_none_or(|until| entry.time < until)
    }
}

/// Shows every record that fits, oldest first, until `show` breaks. Lines of kinds this version does not know are
/// passed over; `verify_folder` checks them all the same.
///
/// # Errors
/// A file cannot be read.
pub fn query(
    dir: &Path,
    filter: &Filter,
    mut show: impl FnMut(&Record, &str) -> ControlFlow<()>,
) -> Result<(), ReadError> {
    for (_, path) in segment::list(dir).map_err(|e| ReadError::Folder(dir.to_owned(), e))? {
        let file = |e| ReadError::Folder(path.clone(), e);
        let mut lines = Lines::open(&path).map_err(file)?;
        while let Some(line) = lines.next_line().map_err(file)? {
            if let Some((record, text)) = parse(&line)
                && filter.fits(&record)
                && show(&record, text).is_break()
            {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Reads records as they are written, over the border of segments.
pub struct Follow {
    dir: PathBuf,
    number: u64,
    lines: Lines,
}

/// How often a follower looks. The log is followed by people.
pub const FOLLOW_EVERY: Duration = Duration::from_millis(250);

impl Follow {
    /// Begins with the newest segment's last `count` lines.
    ///
    /// # Errors
    /// There is no log, or it cannot be read.
    pub fn open(dir: &Path, count: usize) -> Result<Self, ReadError> {
        let segments = segment::list(dir).map_err(|e| ReadError::Folder(dir.to_owned(), e))?;
        let (mut number, path) = segments.last().cloned().ok_or_else(|| ReadError::Nothing(dir.to_owned()))?;
        let mut path = path;
        let mut skip = lines_in(&path)?.saturating_sub(count as u64);
        if skip == 0
            && let Some((before, older)) = segments.len().checked_sub(2).and_then(|at| segments.get(at))
        {
            // The newest segment is short: begin in the one before it.
            let missing = (count as u64).saturating_sub(lines_in(&path)?);
            skip = lines_in(older)?.saturating_sub(missing);
            (number, path) = (*before, older.clone());
        }
        let file = |e| ReadError::Folder(path.clone(), e);
        let mut lines = Lines::open(&path).map_err(file)?;
        for _ in 0..skip {
            lines.next_line().map_err(file)?;
        }
        Ok(Self { dir: dir.to_owned(), number, lines })
    }

    /// The next line, if there is one by now.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn next_record(&mut self) -> Result<Option<(Record, String)>, ReadError> {
        loop {
            let file = |e| ReadError::Folder(self.dir.clone(), e);
            if let Some(line) = self.lines.next_line().map_err(file)? {
                match parse(&line) {
                    Some((record, text)) => return Ok(Some((record, text.to_owned()))),
                    None => continue,
                }
            }
            let next = segment::list(&self.dir).map_err(file)?.into_iter().find(|(n, _)| *n > self.number);
            let Some((number, path)) = next else { return Ok(None) };
            // Lines that came between the last look and the new segment.
            if let Some(line) = self.lines.next_line().map_err(file)? {
                if let Some((record, text)) = parse(&line) {
                    return Ok(Some((record, text.to_owned())));
                }
                continue;
            }
            self.lines = Lines::open(&path).map_err(file)?;
            self.number = number;
        }
    }
}

fn parse(line: &[u8]) -> Option<(Record, &str)> {
    let text = std::str::from_utf8(line).ok()?;
    Some((Record::parse(text).ok()?, text))
}

fn lines_in(path: &Path) -> Result<u64, ReadError> {
    let file = |e| ReadError::Folder(path.to_owned(), e);
    let mut lines = Lines::open(path).map_err(file)?;
    let mut count = 0;
    while lines.next_line().map_err(file)?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// Whole lines of a file that may still grow. A line without its end is left for later.
pub(super) struct Lines {
    reader: BufReader<File>,
    /// Offset of the first byte that was not given out.
    at: u64,
    unfinished: u64,
}

/// Longer than any line the writer makes: a file of another kind must not fill the memory.
const MAX_LINE_BYTES: u64 = 64 * 1024 * 1024;

impl Lines {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { reader: BufReader::with_capacity(64 * 1024, File::open(path)?), at: 0, unfinished: 0 })
    }

    pub(super) fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let read = (&mut self.reader).take(MAX_LINE_BYTES).read_until(b'\n', &mut line)? as u64;
        if line.pop_if(|b| *b == b'\n').is_none() {
            self.unfinished = read;
            self.reader.seek(SeekFrom::Start(self.at))?;
            return Ok(None);
        }
        self.at += read;
        Ok(Some(line))
    }

    fn unfinished(&self) -> u64 {
        self.unfinished
    }
}
