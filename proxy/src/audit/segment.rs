//! The files of the audit log: numbered segments in one folder, each a piece of one chain. Knows nothing of queues.
use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use torhaus_authz::{BrokenAt, Chain, Fact, GroupsRef, LineHash, Record, verify};

/// Puts bytes at the end of a file and returns when they are on disk. One function, so that a test can have a full disk.
pub type Append = Box<dyn FnMut(&File, &[u8]) -> io::Result<()> + Send>;

pub fn append_durably(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_data()
}

pub struct Limits {
    pub segment_bytes: u64,
}

impl Default for Limits {
    /// 64 MiB: small enough to verify at start and to ship, large enough that a busy day is a few files.
    fn default() -> Self {
        Self { segment_bytes: 64 * 1024 * 1024 }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("another process writes the audit log in `{0}`")]
    Locked(PathBuf),
    #[error("the audit log in `{0}` cannot be used: {1}")]
    Folder(PathBuf, #[source] io::Error),
    #[error("the audit log was altered: `{0}`: {1}; keep the folder as evidence and move it away to begin a new one")]
    Altered(PathBuf, BrokenAt),
}

/// The segment that is written.
pub struct Segment {
    pub number: u64,
    path: PathBuf,
    file: File,
    /// Device and inode: whether the path still leads to our file.
    identity: (u64, u64),
    /// How much of it is known to be on disk and in the chain.
    pub good: u64,
}

/// What a folder held at start.
pub struct Found {
    pub segment: Option<Segment>,
    pub chain: Chain,
    /// Sets of groups that stand in the segment already.
    pub groups: HashSet<GroupsRef>,
    /// Bytes of a torn last line, set aside.
    pub torn: u64,
    /// Held as long as the writer lives.
    pub lock: File,
}

/// Numbers and paths of the segments of a folder, oldest first.
///
/// # Errors
/// The folder cannot be read.
pub fn list(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let number = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_suffix(".jsonl"))
            .filter(|digits| digits.len() >= 8 && digits.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok());
        if let Some(number) = number {
            found.push((number, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Locks the folder and reads where its chain ends.
///
/// # Errors
/// See [`OpenError`].
pub fn open_last(dir: &Path) -> Result<Found, OpenError> {
    let folder = |e| OpenError::Folder(dir.to_owned(), e);
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(folder)?;
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(dir.join("lock"))
        .map_err(folder)?;
    lock.try_lock().map_err(|e| match e {
        TryLockError::WouldBlock => OpenError::Locked(dir.to_owned()),
        TryLockError::Error(e) => folder(e),
    })?;
    let mut found = Found { segment: None, chain: Chain::default(), groups: HashSet::new(), torn: 0, lock };
    let mut segments = list(dir).map_err(folder)?;
    while let Some((number, path)) = segments.pop() {
        let file = |e| OpenError::Folder(path.clone(), e);
        let bytes = fs::read(&path).map_err(file)?;
        let whole = whole_lines(&path, &bytes)?;
        let torn = bytes.len().saturating_sub(whole) as u64;
        if torn > 0 {
            set_aside(&path, bytes.get(whole..).unwrap_or_default()).map_err(file)?;
            found.torn += torn;
        }
        if whole == 0 {
            // The power failed before its first line was written; the segment before it is the last one.
            fs::remove_file(&path).map_err(file)?;
            continue;
        }
        let lines = bytes.get(..whole).unwrap_or_default().split_inclusive(|b| *b == b'\n');
        let summary = verify(lines.clone().map(trimmed), None).map_err(|e| OpenError::Altered(path.clone(), e))?;
        found.chain = Chain::after(summary.last_sequence, summary.last);
        found.groups = lines.filter_map(groups_of).collect();
        found.segment = Some(Segment::reopen(number, &path, whole as u64).map_err(file)?);
        break;
    }
    Ok(found)
}

impl Segment {
    /// A new file. What a failed attempt left there holds no line and is overwritten.
    ///
    /// # Errors
    /// It cannot be created, or holds lines already.
    pub fn create(dir: &Path, number: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let path = dir.join(format!("{number:08}.jsonl"));
        let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(&path)?;
        let mut text = Vec::new();
        // A leftover without a line is at most the start of one.
        (&mut file).take(64 * 1024).read_to_end(&mut text)?;
        if text.contains(&b'\n') {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("`{}` exists already", path.display())));
        }
        file.set_len(0)?;
        // The name itself must survive a power failure, or the lines in it do not.
        File::open(dir)?.sync_all()?;
        Self::new(number, path, file, 0)
    }

    /// Opens a segment whose first `good` bytes are known, and cuts what follows.
    fn reopen(number: u64, path: &Path, good: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).open(path)?;
        if file.metadata()?.len() != good {
            file.set_len(good)?;
            file.sync_all()?;
        }
        Self::new(number, path.to_owned(), file, good)
    }

    fn new(number: u64, path: PathBuf, file: File, good: u64) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self { number, path, file, identity: (meta.dev(), meta.ino()), good })
    }

    /// # Errors
    /// The bytes may be on disk in part; [`Segment::repaired`] cuts them.
    pub fn append(&mut self, append: &mut Append, bytes: &[u8]) -> io::Result<()> {
        append(&self.file, bytes)?;
        self.good += bytes.len() as u64;
        Ok(())
    }

    /// Whether the path still leads to this file and nobody else wrote to it. Writing to a file that was deleted or
    /// moved away succeeds without a trace, so it is asked before each batch.
    pub fn is_in_place(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.identity && m.len() == self.good)
    }

    /// After a failure: the same segment, cut back to its last good line. None: its past is gone, begin a new one.
    ///
    /// # Errors
    /// The disk still does not work.
    pub fn repaired(&self, last: LineHash) -> io::Result<Option<Self>> {
        let found = match fs::metadata(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        if found.len() < self.good || !self.ends_with(last) {
            return Ok(None);
        }
        Self::reopen(self.number, &self.path, self.good).map(Some)
    }

    /// Whether the good part, as it lies on disk now, ends with the line of this hash.
    fn ends_with(&self, last: LineHash) -> bool {
        let end = format!("\"hash\":\"{last}\"}}\n");
        let Some(at) = self.good.checked_sub(end.len() as u64) else {
            return false;
        };
        let mut bytes = vec![0; end.len()];
        File::open(&self.path).is_ok_and(|file| file.read_exact_at(&mut bytes, at).is_ok() && bytes == end.as_bytes())
    }

    /// Removes a segment whose first line could not be written.
    pub fn discard(self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Length of the part that is made of whole lines. A power failure leaves a last line without its end, or, where the
/// file grew before its blocks were written, zeros; such a tail was never answered for. Zeros elsewhere are not ours.
fn whole_lines(path: &Path, bytes: &[u8]) -> Result<usize, OpenError> {
    let ended = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let Some(zero) = bytes.get(..ended).and_then(|b| b.iter().position(|b| *b == 0)) else {
        return Ok(ended);
    };
    let before = bytes.get(..zero).and_then(|b| b.iter().rposition(|b| *b == b'\n')).map_or(0, |at| at + 1);
    // More than one batch cannot be under way at once.
    if ended - before > MAX_BATCH_BYTES {
        let line = bytes.get(..zero).map_or(0, |b| b.iter().filter(|b| **b == b'\n').count()) as u64 + 1;
        return Err(OpenError::Altered(path.to_owned(), BrokenAt { line, why: torhaus_authz::Broken::NotARecord }));
    }
    Ok(before)
}

/// What one batch may write. Beyond it the next batch begins.
pub const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Keeps what is cut off, beside the segment: nothing that once stood in the log is thrown away.
fn set_aside(path: &Path, torn: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(path.with_extension("torn"))?;
    file.seek(SeekFrom::End(0))?;
    file.write_all(torn)?;
    file.sync_all()
}

fn groups_of(line: &[u8]) -> Option<GroupsRef> {
    // Cheap first: few lines are of this kind.
    let text = std::str::from_utf8(trimmed(line)).ok().filter(|t| t.contains("\"kind\":\"groups\""))?;
    match Record::parse(text).ok()?.entry.groups? {
        Fact::Known(reference) => Some(reference),
        Fact::Unknown(_) => None,
    }
}

fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}
