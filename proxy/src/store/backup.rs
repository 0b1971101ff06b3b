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

/// Sessions live on only if they live in both, with the rows and handles of `replaced`, which is the newer.
const SESSIONS: &[&str] = &[
    "DELETE FROM once",
    "DELETE FROM sessions WHERE id NOT IN (SELECT id FROM replaced.sessions)",
    "INSERT OR REPLACE INTO sessions SELECT * FROM replaced.sessions WHERE id IN (SELECT id FROM main.sessions)",
    "DELETE FROM handles",
    "INSERT INTO handles SELECT * FROM replaced.handles WHERE session IN (SELECT id FROM main.sessions)",
];
const LOGOUTS: &[&str] = &["INSERT OR IGNORE INTO logouts SELECT * FROM replaced.logouts"];
/// A grant is good once, whatever is restored.
const GRANTS: &[&str] = &["INSERT OR IGNORE INTO spent_grants SELECT * FROM replaced.spent_grants"];
/// The ledger only grows: what either of the two knows is known. A list never has a number again.
const LEDGER: &[&str] = &[
    "INSERT OR IGNORE INTO certificates SELECT * FROM replaced.certificates",
    "INSERT OR IGNORE INTO revocations SELECT * FROM replaced.revocations",
    "INSERT INTO crl_numbers SELECT * FROM replaced.crl_numbers WHERE true \
     ON CONFLICT (issuer) DO UPDATE SET number = max(number, excluded.number)",
];
/// Keys of authorities are sealed with that of the state folder.
const AUTHORITIES: &[&str] = &[
    "INSERT OR IGNORE INTO authorities SELECT * FROM replaced.authorities",
    "INSERT OR REPLACE INTO active_authority SELECT * FROM replaced.active_authority",
];
/// Sealed with another key they only verify: what they issued is still theirs, but nothing new is signed.
const AUTHORITIES_WITHOUT_KEYS: &[&str] =
    &["INSERT OR IGNORE INTO authorities SELECT id, role, certificate, root, NULL, added FROM replaced.authorities"];
/// What ACME remembers is as in `replaced`: a key that was used or withdrawn since, an account or an order that ended,
/// stays so. A nonce counts for the process that gave it.
const ACME: &[&str] = &[
    "DELETE FROM acme_nonces",
    "DELETE FROM acme_eabs",
    "DELETE FROM acme_accounts",
    "INSERT INTO acme_accounts SELECT * FROM replaced.acme_accounts",
    "DELETE FROM acme_orders",
    "INSERT INTO acme_orders SELECT * FROM replaced.acme_orders",
    "DELETE FROM acme_authorizations",
    "INSERT INTO acme_authorizations SELECT * FROM replaced.acme_authorizations",
    "DELETE FROM acme_certificates",
    "INSERT INTO acme_certificates SELECT * FROM replaced.acme_certificates",
];
const ACME_KEYS: &[&str] = &["INSERT INTO acme_eabs SELECT * FROM replaced.acme_eabs"];

/// Merges what `replaced` knows into `file`, so that nothing revives: sessions, logouts, the ledger of certificates and
/// its authorities, the memory of ACME. `same_key`: both are sealed with the same key. How many sessions are left.
///
/// # Errors
/// One of the two cannot be used.
pub async fn merge(file: &Path, replaced: &Path, same_key: bool) -> Result<u64, DatabaseError> {
    // A file that is not there would be made, and an empty one would end everything without a word.
    close(open(replaced, false).await?, replaced).await?;
    let mut database = open(file, false).await?;
    // A backup of an older version has fewer tables than what is to be merged into them.
    let migrated = super::sqlite::migrate(&mut database).await;
    migrated.map_err(|why| failed(file, sqlx::Error::Migrate(Box::new(why))))?;
    let attach = sqlx::query("ATTACH DATABASE ? AS replaced").bind(replaced.to_string_lossy().into_owned());
    attach.execute(&mut database).await.map_err(|why| failed(replaced, why))?;
    let authorities = if same_key { AUTHORITIES } else { AUTHORITIES_WITHOUT_KEYS };
    let eabs = if same_key { ACME_KEYS } else { &[] };
    let parts = [
        ("sessions", SESSIONS),
        ("logouts", LOGOUTS),
        ("spent_grants", GRANTS),
        ("certificates", LEDGER),
        ("authorities", authorities),
        ("acme_eabs", ACME),
        ("acme_eabs", eabs),
    ];
    for (table, statements) in parts {
        // A state of an older version has nothing of the kind to say. Sessions all of them have, or they are no state.
        let there = sqlx::query("SELECT count(*) AS n FROM replaced.sqlite_master WHERE name = ?").bind(table);
        let there = there.fetch_one(&mut database).await.and_then(|row| row.try_get::<i64, _>("n"));
        if there.map_err(|why| failed(replaced, why))? == 0 && table != "sessions" {
            continue;
        }
        for statement in statements {
            sqlx::query(*statement).execute(&mut database).await.map_err(|why| failed(file, why))?;
        }
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
