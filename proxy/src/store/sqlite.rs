//! Sessions and one-time values in one SQLite file. Hot reads do not come here: the gate keeps what it found.
use crate::login::session::{
    ProviderLogout, Purpose, Session, SessionId, SessionStore, TicketHash, Unavailable, Which,
};
use crate::store::scope::{Value, scope};
use crate::store::{Seal, row};
use async_trait::async_trait;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Row as _, SqlSafeStr as _, Sqlite, Transaction};
use std::borrow::Cow;
use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use torhaus_authz::{Timestamp, User};

/// How long a statement waits for another process (a backup, `sqlite3` at the prompt) to let go of the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Readers beside the one writer. They come only for what the gate's cache does not hold.
const READERS: u32 = 4;

pub struct SqliteStore {
    /// One connection: SQLite has one writer, and waiting for it here is fair, waiting in SQLite is not.
    pub(super) writer: SqlitePool,
    pub(super) readers: SqlitePool,
    seal: Arc<dyn Seal>,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the state file `{0}` cannot be opened: {1}")]
    File(PathBuf, #[source] io::Error),
    #[error("the state file `{0}` cannot be used: {1}")]
    Database(PathBuf, #[source] sqlx::Error),
    #[error("the state file `{0}` is damaged ({1}); restore it from a backup")]
    Damaged(PathBuf, String),
    #[error(
        "the state file `{0}` was written by a newer torhaus; use that version, or restore a backup made before it"
    )]
    Newer(PathBuf),
    #[error("the state file `{0}` cannot be brought to this version: {1}")]
    Migrate(PathBuf, #[source] sqlx::migrate::MigrateError),
}

impl SqliteStore {
    /// Opens `file`, creating it (0600) and its folder (0700) if need be, and brings it to this version's form.
    ///
    /// # Errors
    /// 1. the file cannot be created, or made private; 2. it is no database, or locked; 3. the integrity check
    ///    fails; 4. it comes from a newer version; 5. a migration fails (it is rolled back).
    pub async fn open(file: &Path, seal: Arc<dyn Seal>) -> Result<Self, OpenError> {
        // A revocation that was answered must survive a power failure; NORMAL may lose the last commits in WAL mode.
        // Logins and revocations are rare beside requests, and `touch` comes in batches.
        Self::open_with(file, seal, SqliteSynchronous::Full).await
    }

    async fn open_with(file: &Path, seal: Arc<dyn Seal>, synchronous: SqliteSynchronous) -> Result<Self, OpenError> {
        create_private(file).map_err(|e| OpenError::File(file.to_owned(), e))?;
        let database = |e| OpenError::Database(file.to_owned(), e);
        let options = SqliteConnectOptions::new()
            .filename(file)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(synchronous)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true);
        let writer =
            SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await.map_err(database)?;
        let verdict: String = sqlx::query("PRAGMA quick_check(1)")
            .fetch_one(&writer)
            .await
            .and_then(|r| r.try_get(0))
            .map_err(database)?;
        if verdict != "ok" {
            return Err(OpenError::Damaged(file.to_owned(), verdict));
        }
        migrations().run(&writer).await.map_err(|e| match e {
            sqlx::migrate::MigrateError::VersionMissing(_) => OpenError::Newer(file.to_owned()),
            other => OpenError::Migrate(file.to_owned(), other),
        })?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.pragma("query_only", "ON"))
            .await
            .map_err(database)?;
        Ok(Self { writer, readers, seal })
    }

    /// Finishes what is being written and closes the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    pub(super) fn writer(&self) -> &SqlitePool {
        &self.writer
    }

    pub(super) fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    pub(super) fn seal(&self) -> &dyn Seal {
        &*self.seal
    }

    pub(super) async fn begin(&self) -> Result<Transaction<'_, Sqlite>, Unavailable> {
        self.writer.begin().await.map_err(unavailable)
    }

    fn session(&self, row: &SqliteRow) -> Result<Session, Unavailable> {
        let text = |column: &str| row.try_get::<String, _>(column).map_err(unavailable);
        let optional = |column: &str| row.try_get::<Option<String>, _>(column).map_err(unavailable);
        let time = |column: &str| row.try_get(column).map(Timestamp::from_millis).map_err(unavailable);
        let id: SessionId = text("id")?.into();
        let sealed: Vec<u8> = row.try_get("tokens").map_err(unavailable)?;
        Ok(Session {
            user: Arc::new(User {
                name: text("user_name")?.into(),
                provider: text("provider")?.into(),
                issuer: text("issuer")?.into(),
                subject: text("subject")?.into(),
                federated: row.try_get("federated").map_err(unavailable)?,
            }),
            display_name: optional("display_name")?,
            email: optional("email")?,
            groups: row::decode_groups(&id, &text("groups")?)?,
            proofs: row::decode_proofs(&id, &text("proofs")?)?,
            provider_session: optional("provider_session")?,
            tokens: row::decode_tokens(&id, &sealed, &*self.seal)?,
            created: time("created")?,
            expires: time("expires")?,
            last_seen: time("last_seen")?,
            opened_from: text("opened_from")?,
            user_agent: text("user_agent")?,
            id,
        })
    }
}

#[async_trait]
impl SessionStore for SqliteStore {
    async fn create(&self, session: &Session, handle: TicketHash, host: &str) -> Result<(), Unavailable> {
        let encoded = row::encode(session, &*self.seal)?;
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO sessions (id, user_name, provider, issuer, subject, federated, display_name, email, groups, \
             proofs, provider_session, tokens, created, expires, last_seen, opened_from, user_agent) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&*session.id)
        .bind(&*session.user.name)
        .bind(&*session.user.provider)
        .bind(&*session.user.issuer)
        .bind(&*session.user.subject)
        .bind(session.user.federated)
        .bind(&session.display_name)
        .bind(&session.email)
        .bind(encoded.groups)
        .bind(encoded.proofs)
        .bind(&session.provider_session)
        .bind(encoded.tokens)
        .bind(session.created.millis())
        .bind(session.expires.millis())
        .bind(session.last_seen.millis())
        .bind(&session.opened_from)
        .bind(&session.user_agent)
        .execute(&mut *tx)
        .await
        .map_err(unavailable)?;
        insert_handle(&mut tx, &session.id, handle, host).await?;
        tx.commit().await.map_err(unavailable)
    }

    async fn find(&self, handle: TicketHash, host: &str) -> Result<Option<Session>, Unavailable> {
        let row = sqlx::query(
            "SELECT s.* FROM handles h JOIN sessions s ON s.id = h.session WHERE h.hash = ? AND h.host = ?",
        )
        .bind(handle.0.as_slice())
        .bind(host)
        .fetch_optional(&self.readers)
        .await
        .map_err(unavailable)?;
        row.map(|r| self.session(&r)).transpose()
    }

    async fn add_handle(
        &self,
        session: &SessionId,
        handle: TicketHash,
        host: &str,
        replaces: Option<TicketHash>,
    ) -> Result<bool, Unavailable> {
        let mut tx = self.begin().await?;
        // Inserting from the session's own row: a session that has just ended gets no handle.
        if !insert_handle(&mut tx, session, handle, host).await? {
            return Ok(false);
        }
        if let Some(old) = replaces {
            sqlx::query("DELETE FROM handles WHERE hash = ? AND session = ?")
                .bind(old.0.as_slice())
                .bind(&**session)
                .execute(&mut *tx)
                .await
                .map_err(unavailable)?;
        }
        tx.commit().await.map_err(unavailable)?;
        Ok(true)
    }

    async fn update(&self, session: &Session) -> Result<bool, Unavailable> {
        let encoded = row::encode(session, &*self.seal)?;
        // A session never changes hands (issuer and subject must match) and its absolute end never moves away.
        let done = sqlx::query(
            "UPDATE sessions SET user_name = ?, federated = ?, display_name = ?, email = ?, groups = ?, proofs = ?, \
             provider_session = ?, tokens = ?, expires = min(expires, ?), last_seen = max(last_seen, ?) \
             WHERE id = ? AND issuer = ? AND subject = ?",
        )
        .bind(&*session.user.name)
        .bind(session.user.federated)
        .bind(&session.display_name)
        .bind(&session.email)
        .bind(encoded.groups)
        .bind(encoded.proofs)
        .bind(&session.provider_session)
        .bind(encoded.tokens)
        .bind(session.expires.millis())
        .bind(session.last_seen.millis())
        .bind(&*session.id)
        .bind(&*session.user.issuer)
        .bind(&*session.user.subject)
        .execute(&self.writer)
        .await
        .map_err(unavailable)?;
        Ok(done.rows_affected() == 1)
    }

    async fn touch(&self, seen: &[(SessionId, Timestamp)]) -> Result<(), Unavailable> {
        let mut tx = self.begin().await?;
        for (id, at) in seen {
            sqlx::query("UPDATE sessions SET last_seen = max(last_seen, ?) WHERE id = ?")
                .bind(at.millis())
                .bind(&**id)
                .execute(&mut *tx)
                .await
                .map_err(unavailable)?;
        }
        tx.commit().await.map_err(unavailable)
    }

    async fn end(&self, which: &Which, _now: Timestamp) -> Result<Vec<SessionId>, Unavailable> {
        // Handles go with their session (ON DELETE CASCADE), tokens are in its row.
        let (condition, values) = scope(which);
        let mut query =
            sqlx::query(AssertSqlSafe(format!("DELETE FROM sessions WHERE {condition} RETURNING id")).into_sql_str());
        for value in values {
            query = match value {
                Value::Text(text) => query.bind(text),
                Value::Time(at) => query.bind(at.millis()),
            };
        }
        ids(query.fetch_all(&self.writer).await)
    }

    async fn list(&self, which: &Which) -> Result<Vec<Session>, Unavailable> {
        let (condition, values) = scope(which);
        let mut query = sqlx::query(
            AssertSqlSafe(format!("SELECT * FROM sessions WHERE {condition} ORDER BY created DESC, id")).into_sql_str(),
        );
        for value in values {
            query = match value {
                Value::Text(text) => query.bind(text),
                Value::Time(at) => query.bind(at.millis()),
            };
        }
        let rows = query.fetch_all(&self.readers).await.map_err(unavailable)?;
        rows.iter().map(|r| self.session(r)).collect()
    }

    async fn count(&self) -> Result<u64, Unavailable> {
        let row =
            sqlx::query("SELECT count(*) AS n FROM sessions").fetch_one(&self.readers).await.map_err(unavailable)?;
        let n: i64 = row.try_get("n").map_err(unavailable)?;
        Ok(u64::try_from(n).unwrap_or(0))
    }

    async fn keep_logout(
        &self,
        token: TicketHash,
        logout: &ProviderLogout,
        until: Timestamp,
    ) -> Result<Timestamp, Unavailable> {
        // The same token again keeps the time of the first.
        let row = sqlx::query(
            "INSERT INTO logouts (token, issuer, subject, sid, heard, expires) VALUES (?, ?, ?, ?, ?, ?) \
             ON CONFLICT (token) DO UPDATE SET expires = max(logouts.expires, excluded.expires) RETURNING heard",
        )
        .bind(token.0.as_slice())
        .bind(&*logout.issuer)
        .bind(logout.subject.as_deref())
        .bind(&logout.sid)
        .bind(logout.heard.millis())
        .bind(until.millis())
        .fetch_one(&self.writer)
        .await
        .map_err(unavailable)?;
        row.try_get("heard").map(Timestamp::from_millis).map_err(unavailable)
    }

    async fn is_logged_out(&self, session: &Session, began: Timestamp) -> Result<bool, Unavailable> {
        // Asked on the writer's connection, after the session was written there: no older view of the file.
        let row = sqlx::query(IS_LOGGED_OUT)
            .bind(&*session.user.issuer)
            .bind(&*session.user.subject)
            .bind(&session.provider_session)
            .bind(began.millis())
            .fetch_one(&self.writer)
            .await
            .map_err(unavailable)?;
        row.try_get::<i64, _>("over").map(|over| over != 0).map_err(unavailable)
    }

    async fn put_once(
        &self,
        purpose: Purpose,
        key: TicketHash,
        value: &[u8],
        expires: Timestamp,
    ) -> Result<(), Unavailable> {
        // Login states hold the PKCE verifier and the nonce, so they are sealed like tokens.
        let sealed = self.seal.seal(once_purpose(purpose), value)?;
        sqlx::query("INSERT INTO once (purpose, key, value, expires) VALUES (?, ?, ?, ?)")
            .bind(once_purpose(purpose))
            .bind(key.0.as_slice())
            .bind(sealed)
            .bind(expires.millis())
            .execute(&self.writer)
            .await
            .map_err(unavailable)?;
        Ok(())
    }

    async fn take_once(
        &self,
        purpose: Purpose,
        key: TicketHash,
        now: Timestamp,
    ) -> Result<Option<Vec<u8>>, Unavailable> {
        // One statement: of two callers, one finds it gone.
        let row = sqlx::query("DELETE FROM once WHERE purpose = ? AND key = ? RETURNING value, expires")
            .bind(once_purpose(purpose))
            .bind(key.0.as_slice())
            .fetch_optional(&self.writer)
            .await
            .map_err(unavailable)?;
        let Some(row) = row else { return Ok(None) };
        let expires = row.try_get("expires").map(Timestamp::from_millis).map_err(unavailable)?;
        if expires <= now {
            return Ok(None);
        }
        let sealed: Vec<u8> = row.try_get("value").map_err(unavailable)?;
        Ok(Some(self.seal.open(once_purpose(purpose), &sealed)?.to_vec()))
    }

    async fn sweep(&self, now: Timestamp, idle_before: Timestamp) -> Result<Vec<SessionId>, Unavailable> {
        let mut tx = self.begin().await?;
        let ended = sqlx::query("DELETE FROM sessions WHERE expires <= ? OR last_seen < ? RETURNING id")
            .bind(now.millis())
            .bind(idle_before.millis())
            .fetch_all(&mut *tx)
            .await;
        let ended = ids(ended)?;
        for forget in ["DELETE FROM once WHERE expires <= ?", "DELETE FROM logouts WHERE expires <= ?"] {
            sqlx::query(forget).bind(now.millis()).execute(&mut *tx).await.map_err(unavailable)?;
        }
        tx.commit().await.map_err(unavailable)?;
        Ok(ended)
    }
}

/// False: the session is not live.
async fn insert_handle(
    tx: &mut Transaction<'_, Sqlite>,
    session: &SessionId,
    handle: TicketHash,
    host: &str,
) -> Result<bool, Unavailable> {
    let done = sqlx::query("INSERT INTO handles (hash, host, session) SELECT ?, ?, id FROM sessions WHERE id = ?")
        .bind(handle.0.as_slice())
        .bind(host)
        .bind(&**session)
        .execute(&mut **tx)
        .await
        .map_err(unavailable)?;
    Ok(done.rows_affected() == 1)
}

/// `$1` issuer, `$2` subject, `$3` sid or null, `$4` when the login began.
const IS_LOGGED_OUT: &str = "SELECT EXISTS (SELECT 1 FROM logouts WHERE issuer = $1 AND ( \
    (sid = $3 AND (subject IS NULL OR subject = $2)) \
    OR (subject = $2 AND (sid IS NULL OR $3 IS NULL) AND heard >= $4))) AS over";

fn once_purpose(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::LoginState => "login_state",
        Purpose::HandOver => "hand_over",
        Purpose::Enrolment => "enrolment",
    }
}

fn ids(rows: sqlx::Result<Vec<SqliteRow>>) -> Result<Vec<SessionId>, Unavailable> {
    let read = |r: &SqliteRow| r.try_get::<String, _>("id").map(SessionId::from).map_err(unavailable);
    rows.map_err(unavailable)?.iter().map(read).collect()
}

/// Database errors name tables and constraints, never bound values, so they may be shown.
pub(super) fn unavailable(error: sqlx::Error) -> Unavailable {
    Unavailable(error.to_string())
}

/// Brings a database that is open to this version's form.
pub(super) async fn migrate(database: &mut sqlx::sqlite::SqliteConnection) -> Result<(), sqlx::migrate::MigrateError> {
    migrations().run(database).await
}

/// Forward only: an older program refuses a newer file instead of guessing.
fn migrations() -> Migrator {
    let step = |version, name: &'static str, sql: &'static str| {
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(vec![
        step(1, "sessions", include_str!("migrations/sqlite/0001_sessions.sql")),
        step(2, "seen places", include_str!("migrations/sqlite/0002_seen_places.sql")),
        step(3, "ledger", include_str!("migrations/sqlite/0003_ledger.sql")),
        step(10, "acme", include_str!("migrations/sqlite/0010_acme.sql")),
        step(40, "logouts", include_str!("migrations/sqlite/0040_logouts.sql")),
        step(46, "devices", include_str!("migrations/sqlite/0046_devices.sql")),
        step(47, "shelf", include_str!("migrations/sqlite/0047_shelf.sql")),
    ])
}

/// SQLite creates its `-wal` and `-shm` files with the mode of the database file, so making that private suffices.
fn create_private(file: &Path) -> io::Result<()> {
    if let Some(folder) = file.parent().filter(|p| !p.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(file)?;
    opened.set_permissions(Permissions::from_mode(0o600))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::seal::SealKey;
    use crate::store::{contract, device_contract};

    fn seal(folder: &Path) -> Arc<dyn Seal> {
        Arc::new(SealKey::load_or_create(folder).unwrap())
    }

    async fn store(folder: &Path) -> SqliteStore {
        SqliteStore::open(&folder.join("state/torhaus.db"), seal(folder)).await.unwrap()
    }

    #[tokio::test]
    async fn keeps_the_contract_of_a_store_of_devices() {
        let folder = tempfile::tempdir().unwrap();
        device_contract::holds(Arc::new(store(folder.path()).await)).await;
    }

    #[tokio::test]
    async fn keeps_the_contract_of_a_session_store() {
        let folder = tempfile::tempdir().unwrap();
        // Without waiting for the disk: ten thousand logins one after the other take 20 s otherwise.
        let file = folder.path().join("torhaus.db");
        let store = SqliteStore::open_with(&file, seal(folder.path()), SqliteSynchronous::Off).await.unwrap();
        contract::holds(Arc::new(store)).await;
    }

    #[tokio::test]
    async fn what_was_kept_is_there_after_a_restart_and_the_files_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state/torhaus.db");
        let seal = seal(folder.path());
        let session = contract::session("s-1", "alice");
        let first = SqliteStore::open(&file, seal.clone()).await.unwrap();
        first.create(&session, TicketHash([1; 32]), "wiki").await.unwrap();
        for entry in std::fs::read_dir(folder.path().join("state")).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        }
        first.close().await;

        let second = SqliteStore::open(&file, seal).await.unwrap();
        let found = second.find(TicketHash([1; 32]), "wiki").await.unwrap().unwrap();
        assert_eq!(found.id, session.id);
        assert_eq!(found.tokens.refresh_token.unwrap().as_str(), "refresh-s-1");
    }

    #[tokio::test]
    async fn tokens_and_one_time_values_are_not_readable_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path()).await;
        store.create(&contract::session("s-1", "alice"), TicketHash([1; 32]), "wiki").await.unwrap();
        let once =
            store.put_once(Purpose::LoginState, TicketHash([2; 32]), b"pkce-verifier", Timestamp::from_millis(9));
        once.await.unwrap();
        for entry in std::fs::read_dir(folder.path().join("state")).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            for secret in ["refresh-s-1", "id-token-s-1", "pkce-verifier"] {
                assert!(!bytes.windows(secret.len()).any(|w| w == secret.as_bytes()), "{secret} lies open");
            }
        }
    }

    #[tokio::test]
    async fn tokens_moved_to_another_session_do_not_open() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path()).await;
        store.create(&contract::session("s-1", "alice"), TicketHash([1; 32]), "wiki").await.unwrap();
        store.create(&contract::session("s-2", "bob"), TicketHash([2; 32]), "wiki").await.unwrap();
        sqlx::query("UPDATE sessions SET tokens = (SELECT tokens FROM sessions WHERE id = 's-1') WHERE id = 's-2'")
            .execute(&store.writer)
            .await
            .unwrap();
        assert!(store.find(TicketHash([2; 32]), "wiki").await.is_err());
        assert!(store.find(TicketHash([1; 32]), "wiki").await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_damaged_file_and_a_newer_one_are_refused_with_words() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("torhaus.db");
        let seal = seal(folder.path());
        std::fs::write(&file, vec![0x55; 8192]).unwrap();
        let refused = SqliteStore::open(&file, seal.clone()).await.err().unwrap();
        assert!(matches!(refused, OpenError::Database(..)), "{refused}");

        std::fs::remove_file(&file).unwrap();
        let store = SqliteStore::open(&file, seal.clone()).await.unwrap();
        sqlx::query("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (99, 'future', true, x'00', 0)")
            .execute(&store.writer)
            .await
            .unwrap();
        store.close().await;
        let refused = SqliteStore::open(&file, seal).await.err().unwrap();
        assert!(matches!(refused, OpenError::Newer(_)), "{refused}");
    }
}
