//! Backup and restore of the state folder. A backup is taken while Torhaus runs, sealed with a key that lies elsewhere.
//! A restore revives nothing that was ended: sessions come back only where the state that is replaced still has them.
//! Never touches a folder that is in use, never overwrites one.
pub mod archive;

use crate::audit::read::{ReadError, verify_folder};
use crate::login::seal::SealKey;
use crate::store::backup::{self as database, DatabaseError};
use archive::{ArchiveError, Sink, Writer};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// How the folders begin that a backup works in; they are never part of one.
pub const WORK: &str = "backup.work-";
/// Name of the database in the state folder.
const DATABASE: &str = "torhaus.db";
const AUDIT: &str = "audit";
const SEAL_KEY: &str = "keys/seal.key";
const REVOCATIONS: &str = "ca/revocations.jsonl";
const POLICIES: &str = "policies";
/// Folders below the state folder, so that a link in a circle ends somewhere.
const MAX_DEPTH: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("`{}`: {why}", path.display())]
    File { path: PathBuf, why: io::Error },
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("the audit log in it does not verify: {0}")]
    Audit(ReadError),
    #[error("`{}` lies on the disk of the state folder itself; a backup belongs on another one", .0.display())]
    SameDisk(PathBuf),
    #[error("`{}` is there already; move it away first, and name it with --merge so that nothing in it is forgotten",
        .0.display())]
    InTheWay(PathBuf),
    #[error("the backup holds no database")]
    NoDatabase,
}

/// What a backup holds, after it was read to its end and checked.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Contents {
    pub files: u64,
    pub bytes: u64,
    pub sessions: u64,
    pub audit_lines: u64,
    pub last_audit_hash: String,
}

/// Whether a folder lies on another disk than the state.
///
/// # Errors
/// It is the same one, or one of them cannot be looked at.
pub fn on_another_disk(state: &Path, target: &Path) -> Result<(), BackupError> {
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).map_err(|why| file_error(path, why));
    if device(state)? == device(target)? { Err(BackupError::SameDisk(target.to_owned())) } else { Ok(()) }
}

/// Writes all of the state folder. The database first, as it is at one moment; then the log, which by then has at
/// least every line about it, up to its last whole line. `work` is a folder for the copy of the database.
///
/// # Errors
/// A file cannot be read, or the target takes no more: what was written is worth nothing.
pub async fn create<W: Write>(state: &Path, work: &Path, key: &SealKey, to: W) -> Result<(W, Contents), BackupError> {
    let copy = work.join("torhaus.db.backup");
    remove(&copy)?;
    database::copy(&state.join(DATABASE), &copy).await?;
    let written = write_all(state, &copy, key, to);
    remove(&copy)?;
    written
}

fn write_all<W: Write>(state: &Path, copy: &Path, key: &SealKey, to: W) -> Result<(W, Contents), BackupError> {
    let mut writer = Writer::begin(to, key)?;
    let mut contents = Contents::default();
    let mut add = |name: &str, path: &Path, bytes: Option<u64>| {
        let file = File::open(path).map_err(|why| file_error(path, why))?;
        let length = file.metadata().map_err(|why| file_error(path, why))?.len();
        let bytes = bytes.unwrap_or(length);
        contents.files += 1;
        contents.bytes += bytes;
        writer.file(name, bytes, BufReader::new(file)).map_err(BackupError::from)
    };
    add(DATABASE, copy, None)?;
    let mut names = Vec::new();
    list(state, Path::new(""), MAX_DEPTH, &mut names)?;
    names.sort();
    for name in names {
        let path = state.join(&name);
        let text = name.to_string_lossy();
        let whole =
            if name.extension().is_some_and(|ending| ending == "jsonl") { Some(whole_lines(&path)?) } else { None };
        add(&text, &path, whole)?;
    }
    Ok((writer.finish()?, contents))
}

/// Files below the state folder, without what belongs to the running process: the database and its companions (it was
/// copied), locks and sockets.
fn list(state: &Path, below: &Path, depth: usize, names: &mut Vec<PathBuf>) -> Result<(), BackupError> {
    let folder = state.join(below);
    for entry in fs::read_dir(&folder).map_err(|why| file_error(&folder, why))? {
        let entry = entry.map_err(|why| file_error(&folder, why))?;
        let kind = entry.file_type().map_err(|why| file_error(&entry.path(), why))?;
        let name = below.join(entry.file_name());
        let text = name.to_string_lossy();
        let of_process = text == "audit/lock" || text.starts_with(DATABASE) || text.starts_with(WORK);
        if of_process {
            continue;
        }
        if kind.is_dir() && depth > 0 {
            list(state, &name, depth - 1, names)?;
        } else if kind.is_file() {
            names.push(name);
        }
    }
    Ok(())
}

/// How many bytes of a log are whole lines.
fn whole_lines(path: &Path) -> Result<u64, BackupError> {
    let failed = |why| file_error(path, why);
    let mut lines = BufReader::new(File::open(path).map_err(failed)?);
    let (mut whole, mut line) = (0, Vec::new());
    loop {
        line.clear();
        let read = lines.read_until(b'\n', &mut line).map_err(failed)?;
        if read == 0 || line.last() != Some(&b'\n') {
            return Ok(whole);
        }
        whole += read as u64;
    }
}

/// Reads a backup to its end, and checks its database and its log. `work` is an empty folder that may be written to;
/// keys are read and not kept there.
///
/// # Errors
/// The first thing that is wrong.
pub async fn verify(from: impl Read, key: &SealKey, work: &Path) -> Result<Contents, BackupError> {
    let mut sink = Unpack { below: work.to_owned(), keep_keys: false, file: None, contents: Contents::default() };
    archive::read(from, key, &mut sink)?;
    check(work, sink.contents).await
}

/// Puts a backup in place as `state`, which must not be there. `replaced` is the state folder from before, if there is
/// one: sessions live on only if they live there too, and what it knows of logouts, certificates, revocations, ACME
/// and rollbacks of the policy is taken along. Without it no session is revived: everybody signs in again.
///
/// # Errors
/// The first thing that is wrong; `state` is not there then.
pub async fn restore(
    from: impl Read,
    key: &SealKey,
    state: &Path,
    replaced: Option<&Path>,
) -> Result<Contents, BackupError> {
    if state.exists() {
        return Err(BackupError::InTheWay(state.to_owned()));
    }
    let aside = state.with_extension("restoring");
    if aside.exists() {
        return Err(BackupError::InTheWay(aside));
    }
    make_folder(&aside)?;
    let restored = unpack_and_merge(from, key, &aside, replaced).await;
    match restored {
        Ok(contents) => {
            fs::rename(&aside, state).map_err(|why| file_error(state, why))?;
            Ok(contents)
        }
        Err(error) => {
            // Half a state is none. If it cannot be removed, the next attempt says that it is in the way.
            let _ = fs::remove_dir_all(&aside);
            Err(error)
        }
    }
}

async fn unpack_and_merge(
    from: impl Read,
    key: &SealKey,
    aside: &Path,
    replaced: Option<&Path>,
) -> Result<Contents, BackupError> {
    let mut sink = Unpack { below: aside.to_owned(), keep_keys: true, file: None, contents: Contents::default() };
    archive::read(from, key, &mut sink)?;
    sink.close().map_err(|why| file_error(aside, why))?;
    let mut contents = check(aside, sink.contents).await?;
    let database = aside.join(DATABASE);
    contents.sessions = match replaced {
        Some(replaced) => {
            let sessions = database::merge(&database, &replaced.join(DATABASE), same_key(aside, replaced)?).await?;
            merge_revocations(aside, replaced)?;
            replace_policies(aside, replaced)?;
            sessions
        }
        None => database::forget_sessions(&database).await.map(|()| 0)?,
    };
    Ok(contents)
}

/// Whether what the two folders keep sealed opens with the same key.
fn same_key(aside: &Path, replaced: &Path) -> Result<bool, BackupError> {
    Ok(read_if_there(&aside.join(SEAL_KEY))? == read_if_there(&replaced.join(SEAL_KEY))?)
}

/// Adds the lines of the other journal that are missing: what either has revoked is revoked.
fn merge_revocations(aside: &Path, replaced: &Path) -> Result<(), BackupError> {
    let (from, to) = (replaced.join(REVOCATIONS), aside.join(REVOCATIONS));
    let (newer, older) = (read_if_there(&from)?, read_if_there(&to)?);
    // What a power failure left of a line at its end was never answered for.
    let whole = |text: Vec<u8>| -> Vec<Vec<u8>> {
        text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")).map(<[u8]>::to_vec).collect()
    };
    let mut lines = whole(older.unwrap_or_default());
    let missing: Vec<_> = whole(newer.unwrap_or_default()).into_iter().filter(|line| !lines.contains(line)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    lines.extend(missing);
    write_anew(&to, &lines.concat())
}

/// The kept policies, and the one that is pinned, are those of the state that is replaced: a rollback holds.
fn replace_policies(aside: &Path, replaced: &Path) -> Result<(), BackupError> {
    if !replaced.join(POLICIES).is_dir() {
        return Ok(());
    }
    let to = aside.join(POLICIES);
    match fs::remove_dir_all(&to) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(file_error(&to, why)),
        _ => {}
    }
    let mut names = Vec::new();
    list(replaced, Path::new(POLICIES), MAX_DEPTH, &mut names)?;
    for name in names {
        let from = replaced.join(&name);
        write_anew(&aside.join(&name), &fs::read(&from).map_err(|why| file_error(&from, why))?)?;
    }
    Ok(())
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, BackupError> {
    match fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(file_error(path, why)),
    }
}

/// For its owner alone, and on the disk when this returns.
fn write_anew(path: &Path, text: &[u8]) -> Result<(), BackupError> {
    let write = || {
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(text)?;
        file.sync_all()
    };
    write().map_err(|why| file_error(path, why))
}

async fn check(folder: &Path, contents: Contents) -> Result<Contents, BackupError> {
    let database = folder.join(DATABASE);
    if !database.exists() {
        return Err(BackupError::NoDatabase);
    }
    let sessions = database::check(&database).await?;
    let audit = folder.join(AUDIT);
    if !audit.exists() {
        return Ok(Contents { sessions, ..contents });
    }
    let verified = verify_folder(&audit).map_err(BackupError::Audit)?;
    Ok(Contents { sessions, audit_lines: verified.lines, last_audit_hash: verified.last_hash.to_string(), ..contents })
}

/// Writes files below a folder, for their owner alone.
struct Unpack {
    below: PathBuf,
    keep_keys: bool,
    file: Option<File>,
    contents: Contents,
}

impl Unpack {
    /// The file that was written last is on the disk.
    fn close(&mut self) -> io::Result<()> {
        self.file.take().map_or(Ok(()), |file| file.sync_all())
    }
}

impl Sink for Unpack {
    fn begin(&mut self, path: &Path, bytes: u64) -> io::Result<()> {
        self.contents.files += 1;
        self.contents.bytes += bytes;
        let kept = self.keep_keys || path == Path::new(DATABASE) || path.starts_with(AUDIT);
        self.close()?;
        if kept {
            let to = self.below.join(path);
            if let Some(folder) = to.parent() {
                DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            }
            self.file = Some(OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?);
        }
        Ok(())
    }

    fn data(&mut self, data: &[u8]) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(data))
    }
}

/// For its owner alone.
///
/// # Errors
/// It is there, or cannot be made.
pub fn make_folder(path: &Path) -> Result<(), BackupError> {
    DirBuilder::new().mode(0o700).create(path).map_err(|why| file_error(path, why))
}

fn remove(path: &Path) -> Result<(), BackupError> {
    match fs::remove_file(path) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(file_error(path, why)),
        _ => Ok(()),
    }
}

fn file_error(path: &Path, why: io::Error) -> BackupError {
    BackupError::File { path: path.to_owned(), why }
}
