//! Old segments leave the folder: whole ones, oldest first, never the one that is written. The process that writes goes on
//! meanwhile; what stays is still one chain, which begins in the middle.
use crate::audit::read::{Lines, ReadError, verify_folder};
use crate::audit::segment;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use torhaus_authz::{Record, Timestamp};

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error("`{0}` is there already; nothing more was moved")]
    Taken(PathBuf),
    #[error("`{0}` could not be moved: {1}")]
    NotMoved(PathBuf, #[source] io::Error),
}

/// Moves the segments whose last record is from before this moment, and says where each is now. The log is verified first:
/// what was altered stays where it was found.
///
/// # Errors
/// The chain does not hold, or a file could not be moved. What was moved before stays moved.
pub fn archive(dir: &Path, before: Timestamp, to: &Path) -> Result<Vec<PathBuf>, ArchiveError> {
    verify_folder(dir)?;
    let folder = |e| ReadError::Folder(dir.to_owned(), e);
    let mut segments = segment::list(dir).map_err(folder)?;
    segments.pop();
    DirBuilder::new().recursive(true).mode(0o700).create(to).map_err(|e| ArchiveError::NotMoved(to.to_owned(), e))?;
    let mut moved = Vec::new();
    for (_, path) in segments {
        let is_old = last_time(&path).map_err(folder)?.is_some_and(|time| time < before);
        let Some(name) = path.file_name().filter(|_| is_old) else { break };
        let there = to.join(name);
        if there.exists() {
            return Err(ArchiveError::Taken(there));
        }
        shift(&path, &there).map_err(|e| ArchiveError::NotMoved(path.clone(), e))?;
        moved.push(there);
    }
    Ok(moved)
}

fn last_time(path: &Path) -> io::Result<Option<Timestamp>> {
    let mut lines = Lines::open(path)?;
    let mut last = None;
    while let Some(line) = lines.next_line()? {
        last = Some(line);
    }
    let text = last.as_deref().and_then(|line| std::str::from_utf8(line).ok());
    Ok(text.and_then(|text| Record::parse(text).ok()).map(|record| record.entry.time))
}

/// Also onto another file system. It is gone here only when it is on disk there.
fn shift(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
        done => return done,
    }
    let part = to.with_extension("part");
    fs::copy(from, &part)?;
    File::open(&part)?.sync_all()?;
    fs::rename(&part, to)?;
    if let Some(folder) = to.parent() {
        File::open(folder)?.sync_all()?;
    }
    fs::remove_file(from)
}
