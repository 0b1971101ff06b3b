//! PostgreSQL: one database for several replicas. Nothing here waits longer than a few seconds, whatever the network or
//! the server does, and a connection that did not answer is never asked again.
use crate::login::session::Unavailable;
use crate::store::database::{Database, Row, Standbys, Statement, Steps, bound, sql, unavailable};
use crate::store::migrations;
use async_trait::async_trait;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgRow, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, Postgres, Row as _};
use std::path::Path;
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// How long to wait for a connection: a login then says that it cannot be done now.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a statement may take. Every one of ours is a few rows.
const STATEMENT: Duration = Duration::from_secs(5);
/// Set on every connection. A commit waits for the disk, and for the standby where the server has a synchronous one,
/// whatever the server's own default is: an acknowledged revocation survives. A server that a replica was cut off from
/// lets go of what that replica held.
const SETTINGS: &str = "SELECT set_config('statement_timeout', '5s', false), set_config('lock_timeout', '4s', false), \
     set_config('idle_in_transaction_session_timeout', '10s', false), set_config('synchronous_commit', \
     CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN 'on' \
     ELSE current_setting('synchronous_commit') END, false), pg_is_in_recovery()";
/// `begin_alone`, in every replica.
const ALONE: &str = "SELECT pg_advisory_xact_lock(7239471)";
/// What others than superusers see of standbys is nothing, unless they were granted `pg_read_all_stats` or `pg_monitor`.
const STANDBYS: &str = "SELECT CASE WHEN pg_has_role('pg_read_all_stats', 'USAGE') THEN 1 ELSE 0 END::bigint AS allowed, \
     count(*) FILTER (WHERE state = 'streaming') AS streaming, \
     count(*) FILTER (WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum')) AS synchronous, \
     coalesce(max(1000 * extract(epoch FROM flush_lag)), 0)::bigint AS lag_ms FROM pg_stat_replication";
/// A write that was refused because the server is a standby now (`read_only_sql_transaction`).
const READ_ONLY: &str = "25006";
/// What a row belongs to has gone a moment ago (`foreign_key_violation`).
const NO_PARENT: &str = "23503";

#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    #[error("store.postgres: the URL cannot be used: {0}")]
    Url(String),
    #[error("store.postgres: `{server}` does not answer: {why}")]
    Unreachable { server: String, why: sqlx::Error },
    #[error("store.postgres: `{server}` cannot be brought to this version's form: {why}")]
    Migrate { server: String, why: sqlx::migrate::MigrateError },
    #[error("store.postgres: `{0}` is used by a newer torhaus that this version cannot work beside; use that version")]
    Newer(String),
}

pub struct PostgresServer {
    pool: PgPool,
    servers: Vec<Address>,
    /// Somebody looks for the primary already.
    looking: Arc<AtomicBool>,
}

/// How the database is reached: one server, or several of which one is the primary at any time.
#[derive(Clone)]
pub struct Reach {
    servers: Vec<Address>,
    connections: u32,
}

#[derive(Clone)]
struct Address {
    options: PgConnectOptions,
    /// For people.
    name: String,
}

impl Reach {
    /// `ca`: a file with the authorities that may vouch for the server. Without one a server elsewhere is believed by
    /// the public authorities; on this machine it is as the URL says.
    ///
    /// # Errors
    /// It is no URL of a PostgreSQL server. The error does not repeat it, as it holds a password.
    pub fn new(url: &str, ca: Option<&Path>, connections: u32) -> Result<Self, PostgresError> {
        Self::any(std::iter::once(url), ca, connections)
    }

    /// The same with a URL for each of several servers.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn any<'a>(
        urls: impl Iterator<Item = &'a str>,
        ca: Option<&Path>,
        connections: u32,
    ) -> Result<Self, PostgresError> {
        Ok(Self { servers: urls.map(|url| Address::new(url, ca)).collect::<Result<_, _>>()?, connections })
    }
}

impl Address {
    fn new(url: &str, ca: Option<&Path>) -> Result<Self, PostgresError> {
        let options = PgConnectOptions::from_str(url.trim());
        // Its words name a part of the URL, which may be the password.
        let options = options.map_err(|_| {
            PostgresError::Url("write `postgres://user:password@host:5432/database` into the file".into())
        })?;
        let here = options.get_socket().is_some()
            || options.get_host().starts_with('/')
            || matches!(options.get_host(), "localhost" | "127.0.0.1" | "::1" | "[::1]");
        let options = match ca {
            Some(ca) => options.ssl_mode(PgSslMode::VerifyFull).ssl_root_cert(ca),
            None if here => options,
            None => options.ssl_mode(PgSslMode::VerifyFull),
        };
        let name = match options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        };
        Ok(Self { options: options.application_name("torhaus"), name })
    }
}

impl PostgresServer {
    /// Brings the database to this version's form; of several replicas that start at once, one does it.
    ///
    /// # Errors
    /// 1. the server does not answer, is not believed, or lets us not in; 2. a newer version changed it; 3. a migration
    ///    fails (it is rolled back).
    pub async fn open(reach: Reach) -> Result<Self, PostgresError> {
        let Reach { servers, connections } = reach;
        let (Address { options, name: server }, mut first) = primary(&servers, CONNECT * 2).await?;
        let unreachable = |why| PostgresError::Unreachable { server: server.clone(), why };
        let migrated = migrations::of_postgres().run(&mut first).await;
        migrated.map_err(|why| PostgresError::Migrate { server: server.clone(), why })?;
        let needed = sqlx::query("SELECT max(migration) AS needed FROM needs").fetch_one(&mut first).await;
        let needed: i64 = needed.and_then(|row| row.try_get("needed")).map_err(unreachable)?;
        if needed > migrations::newest() {
            return Err(PostgresError::Newer(server));
        }
        first.close().await.map_err(unreachable)?;
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .min_connections(1)
            .acquire_timeout(CONNECT)
            .after_connect(|connection, _| Box::pin(prepare(connection)))
            .connect_lazy_with(options);
        Ok(Self { pool, servers, looking: Arc::default() })
    }

    /// A connection to the primary, and what it is called. Nothing is brought to any form.
    ///
    /// # Errors
    /// None answers, is believed, or lets us in.
    pub async fn to_look_at(reach: Reach) -> Result<(Self, String), PostgresError> {
        let (Address { options, name }, connection) = primary(&reach.servers, CONNECT * 2).await?;
        drop(connection);
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(CONNECT).connect_lazy_with(options);
        Ok((Self { pool, servers: Vec::new(), looking: Arc::default() }, name))
    }

    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    async fn connection(&self) -> Result<PoolConnection<Postgres>, Unavailable> {
        self.pool.acquire().await.map_err(|error| {
            self.look_for_primary();
            unavailable(error)
        })
    }

    /// Another server may have become the primary: what is connected from then on goes there. Nobody waits for it.
    fn look_for_primary(&self) {
        if self.servers.len() < 2 || self.looking.swap(true, Ordering::AcqRel) {
            return;
        }
        let (servers, pool, looking) = (self.servers.clone(), self.pool.clone(), self.looking.clone());
        tokio::spawn(async move {
            match primary(&servers, CONNECT).await {
                Ok((server, connection)) => {
                    pool.set_connect_options(server.options);
                    tracing::info!(server = server.name, "the primary of the store");
                    // Whether it hears that we go or not.
                    drop(timeout(CONNECT, connection.close()).await);
                }
                Err(error) => tracing::debug!(%error, "none of the servers is the primary"),
            }
            looking.store(false, Ordering::Release);
        });
    }

    async fn started(&self, more: &'static str) -> Result<Box<dyn Steps>, Unavailable> {
        let mut steps = Doing(Some(self.connection().await?));
        steps.write(sql("BEGIN")).await?;
        if !more.is_empty() {
            steps.rows(sql(more)).await?;
        }
        Ok(Box::new(steps))
    }
}

/// The first that lets us in and is no standby, and a connection to it.
async fn primary(servers: &[Address], patience: Duration) -> Result<(Address, PgConnection), PostgresError> {
    let mut failed = PostgresError::Url("it names no server".into());
    for server in servers {
        let connect = async {
            let mut connection = server.options.connect().await?;
            // One alone says so itself when something is written to it.
            if servers.len() > 1 {
                not_a_standby(&sqlx::query("SELECT pg_is_in_recovery()").fetch_one(&mut connection).await?)?;
            }
            Ok(connection)
        };
        match timeout(patience, connect).await.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
            Ok(connection) => return Ok((server.clone(), connection)),
            Err(why) => failed = PostgresError::Unreachable { server: server.name.clone(), why },
        }
    }
    Err(failed)
}

/// A server in recovery is a standby: it may be behind, and what was ended would be alive there.
async fn prepare(connection: &mut PgConnection) -> sqlx::Result<()> {
    not_a_standby(&sqlx::query(SETTINGS).fetch_one(connection).await?)
}

fn not_a_standby(row: &PgRow) -> sqlx::Result<()> {
    match row.try_get::<bool, _>("pg_is_in_recovery")? {
        true => Err(sqlx::Error::Configuration("the server is a standby; the primary is needed".into())),
        false => Ok(()),
    }
}

#[async_trait]
impl Database for PostgresServer {
    async fn rows(&self, statement: Statement) -> Result<Vec<Row>, Unavailable> {
        let mut connection = self.connection().await?;
        let asked = timeout(STATEMENT, bound!(statement).fetch_all(&mut *connection)).await;
        Ok(answer(connection, asked)?.into_iter().map(Row::Postgres).collect())
    }

    async fn change(&self, statement: Statement) -> Result<Vec<Row>, Unavailable> {
        // One primary, and each statement sees what was committed before it began.
        self.rows(statement).await
    }

    async fn write(&self, statement: Statement) -> Result<u64, Unavailable> {
        let mut connection = self.connection().await?;
        let asked = timeout(STATEMENT, bound!(statement).execute(&mut *connection)).await;
        Ok(answer(connection, asked)?.rows_affected())
    }

    async fn begin(&self) -> Result<Box<dyn Steps>, Unavailable> {
        self.started("").await
    }

    async fn begin_alone(&self) -> Result<Box<dyn Steps>, Unavailable> {
        self.started(ALONE).await
    }

    async fn standbys(&self) -> Result<Option<Standbys>, Unavailable> {
        let rows = self.rows(sql(STANDBYS)).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        if !row.flag("allowed")? {
            return Ok(None);
        }
        Ok(Some(Standbys {
            streaming: row.count("streaming")?,
            synchronous: row.count("synchronous")?,
            lag_ms: row.count("lag_ms")?,
        }))
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

type Asked<T> = Result<sqlx::Result<T>, tokio::time::error::Elapsed>;

/// What a statement outside of a transaction answered. A connection that cannot be used again is closed.
fn answer<T>(connection: PoolConnection<Postgres>, asked: Asked<T>) -> Result<T, Unavailable> {
    let usable = match &asked {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => code(error).as_deref() != Some(READ_ONLY),
        // Half of an answer may still come: nobody else gets it.
        Err(_) => false,
    };
    if !usable {
        drop(connection.detach());
    }
    in_time(asked)
}

fn in_time<T>(asked: Asked<T>) -> Result<T, Unavailable> {
    let late = |_| Unavailable(format!("the database did not answer within {} s", STATEMENT.as_secs()));
    asked.map_err(late)?.map_err(unavailable)
}

fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// A transaction. One that was not committed takes its connection along, and the server undoes it: that holds for a
/// caller that goes away in the middle, too.
struct Doing(Option<PoolConnection<Postgres>>);

impl Doing {
    fn connection(&mut self) -> Result<&mut PgConnection, Unavailable> {
        self.0.as_deref_mut().ok_or_else(|| Unavailable("the transaction is over".into()))
    }
}

#[async_trait]
impl Steps for Doing {
    async fn rows(&mut self, statement: Statement) -> Result<Vec<Row>, Unavailable> {
        let asked = timeout(STATEMENT, bound!(statement).fetch_all(self.connection()?)).await;
        Ok(in_time(asked)?.into_iter().map(Row::Postgres).collect())
    }

    async fn write(&mut self, statement: Statement) -> Result<u64, Unavailable> {
        let asked = timeout(STATEMENT, bound!(statement).execute(self.connection()?)).await;
        if let Ok(Err(error)) = &asked
            && code(error).as_deref() == Some(NO_PARENT)
        {
            return Ok(0);
        }
        Ok(in_time(asked)?.rows_affected())
    }

    async fn commit(mut self: Box<Self>) -> Result<(), Unavailable> {
        self.write(sql("COMMIT")).await?;
        drop(self.0.take());
        Ok(())
    }
}

impl Drop for Doing {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}
