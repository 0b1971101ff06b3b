//! What backup and restore need of the SQLite file: a copy at one moment, a check, and a merge that revives nothing.
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long to wait for whoever writes at the moment.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("the database `{}`: {why}", file.display())]
    Database { file: PathBuf, why: sqlx::Error },
    #[error("the database `{}` is damaged: {verdict}", file.display())]
    Damaged { file: PathBuf, verdict: String },
}

/// Copies the database as it is at one moment, while others read and write it.
///
/// # Errors
/// It cannot be read; the copy cannot be written.
pub async fn copy(from: &Path, to: &Path) -> Result<(), DatabaseError> {
    let mut database = open(from, true).await?;
    let done = sqlx::query("VACUUM INTO ?").bind(to.to_string_lossy().into_owned()).execute(&mut database).await;
    done.map_err(|why| failed(from, why))?;
    close(database, from).await
}

/// How many sessions there are.
///
/// # Errors
/// It is damaged, or no database of ours.
pub async fn check(file: &Path) -> Result<u64, DatabaseError> {
    let mut database = open(file, false).await?;
    let verdict = sqlx::query("PRAGMA integrity_check(1)").fetch_one(&mut database).await;
    let verdict: String = verdict.and_then(|row| row.try_get(0)).map_err(|why| failed(file, why))?;
    if verdict != "ok" {
        return Err(DatabaseError::Damaged { file: file.to_owned(), verdict });
    }
    let sessions = count(&mut database, file).await?;
    close(database, file).await?;
    Ok(sessions)
}

/// Nobody is signed in any more, and no one-time value is worth anything.
///
/// # Errors
/// The file cannot be written.
pub async fn forget_sessions(file: &Path) -> Result<(), DatabaseError> {
    let mut database = open(file, false).await?;
    for forget in ["DELETE FROM sessions", "DELETE FROM once"] {
        sqlx::query(forget).execute(&mut database).await.map_err(|why| failed(file, why))?;
    }
    close(database, file).await
}

/// Of the sessions in `file`, only those live on that live in `replaced` too: what was ended there since the backup
/// stays ended. Logouts that `replaced` has heard of are taken along. How many sessions are left.
///
/// # Errors
/// One of the two cannot be used.
pub async fn keep_what_lives_in(file: &Path, replaced: &Path) -> Result<u64, DatabaseError> {
    // A file that is not there would be made, and an empty one would end everything without a word.
    close(open(replaced, false).await?, replaced).await?;
    let mut database = open(file, false).await?;
    let attach = sqlx::query("ATTACH DATABASE ? AS replaced").bind(replaced.to_string_lossy().into_owned());
    attach.execute(&mut database).await.map_err(|why| failed(replaced, why))?;
    // A file of a version before logouts were kept has no such table; the next start makes it.
    let tables = sqlx::query(
        "SELECT (SELECT count(*) FROM main.sqlite_master WHERE name = 'logouts') \
         + (SELECT count(*) FROM replaced.sqlite_master WHERE name = 'logouts') AS n",
    );
    let tables = tables.fetch_one(&mut database).await.and_then(|row| row.try_get::<i64, _>("n"));
    let logouts = (tables.map_err(|why| failed(file, why))? == 2)
        .then_some("INSERT OR IGNORE INTO logouts SELECT * FROM replaced.logouts");
    let sessions = ["DELETE FROM sessions WHERE id NOT IN (SELECT id FROM replaced.sessions)", "DELETE FROM once"];
    for merge in sessions.into_iter().chain(logouts) {
        sqlx::query(merge).execute(&mut database).await.map_err(|why| failed(file, why))?;
    }
    let left = count(&mut database, file).await?;
    close(database, file).await?;
    Ok(left)
}

async fn count(database: &mut SqliteConnection, file: &Path) -> Result<u64, DatabaseError> {
    let row = sqlx::query("SELECT count(*) AS n FROM sessions").fetch_one(database).await;
    let n: i64 = row.and_then(|row| row.try_get("n")).map_err(|why| failed(file, why))?;
    Ok(u64::try_from(n).unwrap_or(0))
}

/// A file that is not there is an error, not an empty database.
async fn open(file: &Path, read_only: bool) -> Result<SqliteConnection, DatabaseError> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(false)
        .read_only(read_only)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true);
    options.connect().await.map_err(|why| failed(file, why))
}

async fn close(database: SqliteConnection, file: &Path) -> Result<(), DatabaseError> {
    database.close().await.map_err(|why| failed(file, why))
}

fn failed(file: &Path, why: sqlx::Error) -> DatabaseError {
    DatabaseError::Database { file: file.to_owned(), why }
}
