//! The decisions of the log with the groups that their lines refer to: for replaying, explaining and reviewing.
use super::read::{Lines, ReadError};
use super::segment;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use torhaus_authz::{Entry, Fact, Groups, GroupsRef, Kind};

/// How many bytes of log a folder holds.
///
/// # Errors
/// The folder cannot be read.
pub fn size(dir: &Path) -> Result<u64, ReadError> {
    let segments = segment::list(dir).map_err(|e| ReadError::Folder(dir.to_owned(), e))?;
    Ok(segments.iter().filter_map(|(_, path)| path.metadata().ok()).map(|meta| meta.len()).sum())
}

/// Shows every entry, oldest first, with the set of groups that it names and the bytes of its line, until `show` breaks.
/// Lines of kinds that this version does not know are passed over. Reads as a stream: what is remembered is the groups
/// of one segment, which names each set before the first line that refers to it.
///
/// # Errors
/// A file cannot be read.
pub fn entries(
    dir: &Path,
    mut show: impl FnMut(&Entry, Option<&Arc<Groups>>, u64) -> ControlFlow<()>,
) -> Result<(), ReadError> {
    for (_, path) in segment::list(dir).map_err(|e| ReadError::Folder(dir.to_owned(), e))? {
        let file = |e| ReadError::Folder(path.clone(), e);
        let mut lines = Lines::open(&path).map_err(file)?;
        let mut groups: HashMap<GroupsRef, Arc<Groups>> = HashMap::new();
        while let Some(line) = lines.next_line().map_err(file)? {
            let bytes = line.len() as u64 + 1;
            // The number and the hashes of the line are of no interest here.
            let Ok(entry) = serde_json::from_slice::<Entry>(&line) else { continue };
            if entry.kind == Kind::Groups
                && let Some(Fact::Known(reference)) = entry.groups
            {
                groups.insert(reference, Arc::new(entry.group_names.iter().cloned().collect()));
            }
            let named = match entry.groups {
                Some(Fact::Known(reference)) => groups.get(&reference),
                _ => None,
            };
            if show(&entry, named, bytes).is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}
