//! The log against a copy of its lines that was kept elsewhere (`torhaus run --audit-copy`). A chain shows every change but
//! one: its end can be cut off, or all of it written anew. What is in the copy must be in the log.
use crate::audit::read::{Lines, ReadError};
use crate::audit::segment;
use std::collections::HashMap;
use std::io::{self, BufRead};
use std::path::Path;
use torhaus_authz::{LineHash, Record};

/// What a copy and a log have to do with each other.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Compared {
    /// Records of the copy that are in the log as well.
    pub same: u64,
    /// Records of the copy from before the log's first: their segments were archived.
    pub older: u64,
    /// The first record of the copy that is not in the log, or is another there.
    pub missing: Option<u64>,
}

/// Lines that are no records are passed over: a copy may share its stream with the access log.
///
/// # Errors
/// The copy or the log cannot be read.
pub fn compare(dir: &Path, mut copy: impl BufRead) -> Result<Compared, ReadError> {
    let mut copied: HashMap<u64, LineHash> = HashMap::new();
    let mut line = Vec::new();
    let unreadable = |e: io::Error| ReadError::Copy(e);
    while copy.read_until(b'\n', &mut line).map_err(unreadable)? > 0 {
        if let Some(record) = record(&line) {
            copied.insert(record.sequence, record.hash);
        }
        line.clear();
    }
    let mut compared = Compared::default();
    let mut first = None;
    for (_, path) in segment::list(dir).map_err(|e| ReadError::Folder(dir.to_owned(), e))? {
        let file = |e| ReadError::Folder(path.clone(), e);
        let mut lines = Lines::open(&path).map_err(file)?;
        while let Some(line) = lines.next_line().map_err(file)? {
            let Some(record) = record(&line) else { continue };
            first.get_or_insert(record.sequence);
            if copied.get(&record.sequence) == Some(&record.hash) {
                copied.remove(&record.sequence);
                compared.same += 1;
            }
        }
    }
    let first = first.ok_or_else(|| ReadError::Nothing(dir.to_owned()))?;
    let before = copied.len();
    copied.retain(|sequence, _| *sequence >= first);
    compared.older = (before - copied.len()) as u64;
    compared.missing = copied.into_keys().min();
    Ok(compared)
}

fn record(line: &[u8]) -> Option<Record> {
    Record::parse(std::str::from_utf8(line).ok()?.trim_end()).ok()
}
