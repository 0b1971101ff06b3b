//! SQLite: one file, one writer. Hot reads do not come here: the gate keeps what it found.
use crate::login::session::{Others, Unavailable};
use crate::store::database::{Database, Row, Statement, Steps, bound, unavailable};
use crate::store::{OpenError, migrations};
use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Row as _, Sqlite, Transaction};
use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;

/// How long a statement waits for another process (a backup, `sqlite3` at the prompt) to let go of the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Readers beside the one writer. They come only for what the gate's cache does not hold.
const READERS: u32 = 4;

pub struct SqliteFile {
    /// One connection: SQLite has one writer, and waiting for it here is fair, waiting in SQLite is not.
    writer: SqlitePool,
    readers: SqlitePool,
    /// How often the writer's connection was opened.
    opened: Arc<AtomicU64>,
    /// What `others` found last: which opening, and what others had written by then.
    found: Mutex<Option<(u64, i64)>>,
}

impl SqliteFile {
    /// Opens `file`, creating it (0600) and its folder (0700) if need be, and brings it to this version's form.
    ///
    /// # Errors
    /// 1. the file cannot be created, or made private; 2. it is no database, or locked; 3. the integrity check
    ///    fails; 4. it comes from a newer version; 5. a migration fails (it is rolled back).
    pub async fn open(file: &Path) -> Result<Self, OpenError> {
        // A revocation that was answered must survive a power failure; NORMAL may lose the last commits in WAL mode.
        // Logins and revocations are rare beside requests, and `touch` comes in batches.
        Self::open_with(file, SqliteSynchronous::Full).await
    }

    pub(super) async fn open_with(file: &Path, synchronous: SqliteSynchronous) -> Result<Self, OpenError> {
        create_private(file).map_err(|e| OpenError::File(file.to_owned(), e))?;
        let database = |e| OpenError::Database(file.to_owned(), e);
        let options = SqliteConnectOptions::new()
            .filename(file)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(synchronous)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true);
        let opened = Arc::<AtomicU64>::default();
        let open = opened.clone();
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            // It stays the same one: only that knows what others wrote since.
            .max_lifetime(None)
            .idle_timeout(None)
            .after_connect(move |_, _| {
                open.fetch_add(1, Ordering::Relaxed);
                Box::pin(async { Ok(()) })
            })
            .connect_with(options.clone())
            .await
            .map_err(database)?;
        let verdict: String = sqlx::query("PRAGMA quick_check(1)")
            .fetch_one(&writer)
            .await
            .and_then(|r| r.try_get(0))
            .map_err(database)?;
        if verdict != "ok" {
            return Err(OpenError::Damaged(file.to_owned(), verdict));
        }
        migrations::of_sqlite().run(&writer).await.map_err(|e| match e {
            sqlx::migrate::MigrateError::VersionMissing(_) => OpenError::Newer(file.to_owned()),
            other => OpenError::Migrate(file.to_owned(), other),
        })?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.pragma("query_only", "ON"))
            .await
            .map_err(database)?;
        Ok(Self { writer, readers, opened, found: Mutex::default() })
    }
}

#[async_trait]
impl Database for SqliteFile {
    async fn rows(&self, statement: Statement) -> Result<Vec<Row>, Unavailable> {
        let rows = bound!(statement).fetch_all(&self.readers).await.map_err(unavailable)?;
        Ok(rows.into_iter().map(Row::Sqlite).collect())
    }

    async fn change(&self, statement: Statement) -> Result<Vec<Row>, Unavailable> {
        // On the writer's connection: no older view of the file.
        let rows = bound!(statement).fetch_all(&self.writer).await.map_err(unavailable)?;
        Ok(rows.into_iter().map(Row::Sqlite).collect())
    }

    async fn write(&self, statement: Statement) -> Result<u64, Unavailable> {
        Ok(bound!(statement).execute(&self.writer).await.map_err(unavailable)?.rows_affected())
    }

    async fn begin(&self) -> Result<Box<dyn Steps>, Unavailable> {
        Ok(Box::new(Writing(self.writer.begin().await.map_err(unavailable)?)))
    }

    async fn begin_alone(&self) -> Result<Box<dyn Steps>, Unavailable> {
        // There is one writer.
        self.begin().await
    }

    async fn others(&self) -> Result<Others, Unavailable> {
        let mut found = self.found.lock().await;
        let mut writer = self.writer.acquire().await.map_err(unavailable)?;
        // Changes when another connection has written, and our own others only read.
        let asked = sqlx::query("PRAGMA data_version").fetch_one(&mut *writer).await;
        let version: i64 = asked.and_then(|row| row.try_get(0)).map_err(unavailable)?;
        let now = Some((self.opened.load(Ordering::Relaxed), version));
        let silent = *found == now;
        *found = now;
        Ok(if silent { Others::Silent } else { Others::Wrote })
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

struct Writing(Transaction<'static, Sqlite>);

#[async_trait]
impl Steps for Writing {
    async fn rows(&mut self, statement: Statement) -> Result<Vec<Row>, Unavailable> {
        let rows = bound!(statement).fetch_all(&mut *self.0).await.map_err(unavailable)?;
        Ok(rows.into_iter().map(Row::Sqlite).collect())
    }

    async fn write(&mut self, statement: Statement) -> Result<u64, Unavailable> {
        Ok(bound!(statement).execute(&mut *self.0).await.map_err(unavailable)?.rows_affected())
    }

    async fn commit(self: Box<Self>) -> Result<(), Unavailable> {
        self.0.commit().await.map_err(unavailable)
    }
}

/// Brings a database that is open to this version's form.
pub(super) async fn migrate(database: &mut sqlx::sqlite::SqliteConnection) -> Result<(), sqlx::migrate::MigrateError> {
    migrations::of_sqlite().run(database).await
}

/// SQLite creates its `-wal` and `-shm` files with the mode of the database file, so making that private suffices.
fn create_private(file: &Path) -> io::Result<()> {
    if let Some(folder) = file.parent().filter(|p| !p.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(file)?;
    opened.set_permissions(Permissions::from_mode(0o600))
}
