//! PostgreSQL: one database for several replicas. Nothing here waits longer than a few seconds, whatever the network or
//! the server does, and a connection that did not answer is never asked again.
use crate::login::session::Unavailable;
use crate::store::database::{Database, Row, Statement, Steps, bound, sql, unavailable};
use crate::store::migrations;
use async_trait::async_trait;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, Postgres, Row as _};
use std::path::Path;
use std::str::FromStr as _;
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
}

/// How a server is reached.
#[derive(Clone)]
pub struct Reach {
    options: PgConnectOptions,
    connections: u32,
    server: String,
}

impl Reach {
    /// `ca`: a file with the authorities that may vouch for the server. Without one a server elsewhere is believed by
    /// the public authorities; on this machine it is as the URL says.
    ///
    /// # Errors
    /// It is no URL of a PostgreSQL server. The error does not repeat it, as it holds a password.
    pub fn new(url: &str, ca: Option<&Path>, connections: u32) -> Result<Self, PostgresError> {
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
        let server = match options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        };
        Ok(Self { options: options.application_name("torhaus"), connections, server })
    }
}

impl PostgresServer {
    /// Brings the database to this version's form; of several replicas that start at once, one does it.
    ///
    /// # Errors
    /// 1. the server does not answer, is not believed, or lets us not in; 2. a newer version changed it; 3. a migration
    ///    fails (it is rolled back).
    pub async fn open(reach: Reach) -> Result<Self, PostgresError> {
        let Reach { options, connections, server } = reach;
        let unreachable = |why| PostgresError::Unreachable { server: server.clone(), why };
        let connected = timeout(CONNECT * 2, options.connect()).await;
        let mut first = connected.map_err(|_| unreachable(sqlx::Error::PoolTimedOut))?.map_err(unreachable)?;
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
        Ok(Self { pool })
    }

    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    async fn connection(&self) -> Result<PoolConnection<Postgres>, Unavailable> {
        self.pool.acquire().await.map_err(unavailable)
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

/// A server in recovery is a standby: it may be behind, and what was ended would be alive there.
async fn prepare(connection: &mut PgConnection) -> sqlx::Result<()> {
    let row = sqlx::query(SETTINGS).fetch_one(connection).await?;
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
