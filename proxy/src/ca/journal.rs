//! A second book of revocations, beside the database: a file to which lines are added and from which none is taken. A
//! database that is restored from a backup forgets; this does not, if it is not restored with it.
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use time::OffsetDateTime;
use torhaus_certs::{Reason, RevokedRecord, Serial};

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("the revocations in `{0}` cannot be read or written: {1}")]
    File(PathBuf, #[source] io::Error),
    #[error(
        "`{0}`: line {1} is no revocation; whom it revoked would be let in again. Bring the line back, or remove it if \
         you know that its certificate has ended"
    )]
    Damaged(PathBuf, usize),
}

/// Open for as long as the process runs.
#[derive(Clone)]
pub struct Journal {
    path: PathBuf,
    file: Arc<Mutex<std::fs::File>>,
}

/// One line. Names of keys never change: files outlive programs.
#[derive(serde::Serialize, serde::Deserialize)]
struct Line {
    serial: String,
    issuer: Option<String>,
    /// Seconds since the epoch.
    at: i64,
    reason: String,
    by: String,
    why: String,
    not_after: Option<i64>,
}

impl Journal {
    /// Makes the file (0600) if there is none. What a power failure left of a line at its end was never answered for,
    /// and is cut off.
    ///
    /// # Errors
    /// It cannot be made or opened.
    pub async fn open(path: PathBuf) -> Result<Self, JournalError> {
        let at = path.clone();
        let file = blocking(&path, move || open(&at)).await?;
        Ok(Self { path, file: Arc::new(Mutex::new(file)) })
    }

    /// All lines, oldest first.
    ///
    /// # Errors
    /// 1. it cannot be read; 2. a line is no revocation.
    pub async fn read(&self) -> Result<Vec<RevokedRecord>, JournalError> {
        let file = self.file.clone();
        let text = blocking(&self.path, move || {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            let mut text = String::new();
            file.seek(SeekFrom::Start(0))?;
            file.read_to_string(&mut text)?;
            Ok(text)
        })
        .await?;
        let parse = |(at, line): (usize, &str)| {
            let parsed = serde_json::from_str::<Line>(line).ok().and_then(Line::record);
            parsed.ok_or_else(|| JournalError::Damaged(self.path.clone(), at + 1))
        };
        text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(parse).collect()
    }

    /// Adds lines. On disk when this returns.
    ///
    /// # Errors
    /// They could not be written; some of them may be.
    pub async fn append(&self, records: Vec<RevokedRecord>) -> Result<(), JournalError> {
        if records.is_empty() {
            return Ok(());
        }
        let file = self.file.clone();
        blocking(&self.path, move || {
            let mut text = String::new();
            for record in &records {
                text.push_str(&serde_json::to_string(&Line::of(record)).map_err(io::Error::other)?);
                text.push('\n');
            }
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            let before = file.seek(SeekFrom::End(0))?;
            // Half a line, as on a full disk, would make one of it and the next.
            let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_data());
            if written.is_err() {
                file.set_len(before)?;
            }
            written
        })
        .await
    }
}

impl Line {
    fn of(record: &RevokedRecord) -> Self {
        Self {
            serial: record.serial.to_string(),
            issuer: record.issuer.clone(),
            at: record.at.unix_timestamp(),
            reason: record.reason.as_str().to_owned(),
            by: record.revoked_by.clone(),
            why: record.why.clone(),
            not_after: record.not_after.map(OffsetDateTime::unix_timestamp),
        }
    }

    fn record(self) -> Option<RevokedRecord> {
        let moment = |seconds| OffsetDateTime::from_unix_timestamp(seconds).ok();
        Some(RevokedRecord {
            serial: Serial::parse(&self.serial)?,
            issuer: self.issuer,
            at: moment(self.at)?,
            reason: Reason::parse(&self.reason)?,
            revoked_by: self.by,
            why: self.why,
            not_after: match self.not_after {
                Some(end) => Some(moment(end)?),
                None => None,
            },
        })
    }
}

fn open(path: &Path) -> io::Result<std::fs::File> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if whole < bytes.len() {
        tracing::warn!(file = %path.display(), bytes = bytes.len() - whole, "half a line at the end was cut off");
        file.set_len(u64::try_from(whole).map_err(io::Error::other)?)?;
    }
    file.sync_all()?;
    // The name has to survive a power failure, too.
    std::fs::File::open(folder)?.sync_all()?;
    Ok(file)
}

async fn blocking<T: Send + 'static>(
    path: &Path,
    act: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, JournalError> {
    let done = tokio::task::spawn_blocking(act).await.map_err(|error| io::Error::other(error.to_string()));
    done.and_then(|result| result).map_err(|error| JournalError::File(path.to_owned(), error))
}
