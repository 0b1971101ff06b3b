//! A file of data that other programs write while we run: read at the start, and again whenever it was replaced.
//!
//! It is looked at, not watched: editors, `cp`, Kubernetes and `geoipupdate` replace files in ways of their own, and one
//! look a second costs nothing. Never the reason why a process does not start or does not go on.
use arc_swap::ArcSwap;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use torhaus_authz::{Timestamp, Why};

/// What makes of the bytes what they mean, or says why it cannot.
type Parse<T> = fn(Vec<u8>) -> Result<T, String>;

pub struct DataFile<T> {
    path: PathBuf,
    /// A larger file is a mistake, and would take the memory that sessions need.
    max_bytes: u64,
    parse: Parse<T>,
    state: ArcSwap<State<T>>,
    looks: Mutex<Looks>,
}

struct State<T> {
    /// The last that could be used.
    value: Option<Arc<T>>,
    problem: Option<Problem>,
}

/// Why the file as it is now is not used.
#[derive(Clone, Debug)]
struct Problem {
    why: String,
    since: Timestamp,
}

/// What tells two states of a file apart: device, inode, size, time of change.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

#[derive(Default)]
struct Looks {
    /// As it was when it was read.
    read: Option<Stamp>,
    /// As it was at the last look: it is read once it is the same twice, so that half a copy is not.
    last: Option<Stamp>,
}

impl<T> DataFile<T> {
    /// Reads it now; what is wrong with it is said by [`Self::problem`].
    pub fn open(path: &Path, max_bytes: u64, parse: Parse<T>, now: Timestamp) -> Self {
        let state = ArcSwap::from_pointee(State { value: None, problem: None });
        let file = Self { path: path.to_owned(), max_bytes, parse, state, looks: Mutex::default() };
        let stamp = file.stamp();
        file.read(now);
        *file.looks() = Looks { read: Some(stamp), last: Some(stamp) };
        file
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks whether it was replaced, and reads it then. Blocks on the disk.
    pub fn refresh(&self, now: Timestamp) {
        let stamp = self.stamp();
        let mut looks = self.looks();
        let settled = looks.last == Some(stamp);
        looks.last = Some(stamp);
        if settled && looks.read != Some(stamp) {
            looks.read = Some(stamp);
            drop(looks);
            self.read(now);
        }
    }

    /// What is in it. While what lies there now cannot be used, the last good one counts for `patience` longer.
    ///
    /// # Errors
    /// There is none, or it has counted for long enough.
    pub fn get(&self, patience: Duration, now: Timestamp) -> Result<Arc<T>, Why> {
        let state = self.state.load();
        let over = state.problem.as_ref().is_some_and(|problem| now.since(problem.since) >= patience);
        match &state.value {
            Some(value) if !over => Ok(value.clone()),
            Some(_) if !patience.is_zero() => Err(Why::Stale),
            _ => Err(Why::SourceDown),
        }
    }

    /// What is wrong with the file as it is now, and since when.
    pub fn problem(&self) -> Option<String> {
        let state = self.state.load();
        let problem = state.problem.as_ref()?;
        Some(format!("{}: {} (since {})", self.path.display(), problem.why, problem.since))
    }

    fn read(&self, now: Timestamp) {
        let before = self.state.load_full();
        let state = match self.bytes().and_then(self.parse) {
            Ok(value) => {
                tracing::info!(file = %self.path.display(), "data file read");
                State { value: Some(Arc::new(value)), problem: None }
            }
            Err(why) => {
                tracing::error!(file = %self.path.display(), "data file not usable: {why}");
                let since = before.problem.as_ref().map_or(now, |problem| problem.since);
                State { value: before.value.clone(), problem: Some(Problem { why, since }) }
            }
        };
        self.state.store(Arc::new(state));
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        let file = File::open(&self.path).map_err(|error| error.to_string())?;
        let mut bytes = Vec::new();
        file.take(self.max_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        match u64::try_from(bytes.len()) {
            Ok(len) if len <= self.max_bytes => Ok(bytes),
            _ => Err(format!("larger than {} MiB", self.max_bytes >> 20)),
        }
    }

    /// None: it is not there.
    fn stamp(&self) -> Stamp {
        let meta = fs::metadata(&self.path).ok()?;
        Some((meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
    }

    fn looks(&self) -> std::sync::MutexGuard<'_, Looks> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    fn number(bytes: Vec<u8>) -> Result<u32, String> {
        String::from_utf8(bytes).ok().and_then(|text| text.trim().parse().ok()).ok_or_else(|| "no number".to_owned())
    }

    #[test]
    fn a_file_is_read_when_it_has_settled_and_a_bad_one_counts_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let file = DataFile::open(&path, 10, number, NOW);
        let get = |file: &DataFile<u32>, patience| file.get(patience, NOW.plus(HOUR)).map(|value| *value);
        assert_eq!(get(&file, Duration::ZERO), Err(Why::SourceDown));
        assert!(file.problem().unwrap().contains("No such file"));
        for (content, with_patience, without) in [
            ("1", Ok(1), Ok(1)),
            ("22", Ok(22), Ok(22)),
            ("broken", Ok(22), Err(Why::SourceDown)),
            ("333", Ok(333), Ok(333)),
            ("99999999999", Ok(333), Err(Why::SourceDown)),
        ] {
            fs::write(&path, content).unwrap();
            let before = get(&file, HOUR * 2);
            file.refresh(NOW);
            assert_eq!(get(&file, HOUR * 2), before, "{content}: read before it had settled");
            file.refresh(NOW);
            assert_eq!((get(&file, HOUR * 2), get(&file, Duration::ZERO)), (with_patience, without), "{content}");
        }
        assert_eq!(get(&file, HOUR), Err(Why::Stale));
        fs::remove_file(&path).unwrap();
        file.refresh(NOW);
        file.refresh(NOW);
        assert_eq!(get(&file, Duration::ZERO), Err(Why::SourceDown));
    }
}
