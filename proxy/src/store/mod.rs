//! Where state is kept. Each consumer declares the trait it needs (`login::session::SessionStore`); here they are
//! implemented, once, on whatever `database::Database` is. SQL stands nowhere else.
mod acme;
pub mod backup;
mod database;
mod devices;
pub mod examine;
mod ledger;
mod migrations;
mod postgres;
mod row;
mod scope;
mod seal;
mod secrets;
mod seen;
mod sessions;
mod shelf;
mod sqlite;
pub mod tidings;

#[cfg(test)]
mod acme_contract;
#[cfg(test)]
pub(crate) mod contract;
#[cfg(test)]
mod device_contract;
#[cfg(test)]
mod ledger_contract;
#[cfg(test)]
mod seen_contract;
#[cfg(test)]
mod shelf_contract;
#[cfg(test)]
mod sqlite_tests;

pub use postgres::{PostgresError, Reach};
pub use seal::Seal;

use crate::login::session::Unavailable;
pub use database::Standbys;
use database::{Database, Row, Statement, Steps};
use postgres::PostgresServer;
use sqlite::SqliteFile;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tidings::Tidings;

/// Everything that outlives the process, but for the audit log.
pub struct SqlStore {
    database: Box<dyn Database>,
    seal: Arc<dyn Seal>,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the state file `{0}` cannot be opened: {1}")]
    File(PathBuf, #[source] std::io::Error),
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
    #[error(transparent)]
    Postgres(#[from] PostgresError),
}

impl SqlStore {
    /// One file, for one process. Made, with its folder, for its owner alone if it is not there.
    ///
    /// # Errors
    /// 1. the file cannot be created, or made private; 2. it is no database, or locked; 3. the integrity check
    ///    fails; 4. it comes from a newer version; 5. a migration fails (it is rolled back).
    pub async fn sqlite(file: &Path, seal: Arc<dyn Seal>) -> Result<Self, OpenError> {
        Ok(Self { database: Box::new(SqliteFile::open(file).await?), seal })
    }

    /// A database that several replicas share, and what the others do in it.
    ///
    /// # Errors
    /// 1. the server does not answer, is not believed, or lets us not in; 2. a newer version changed it; 3. a migration
    ///    fails (it is rolled back).
    pub async fn postgres(reach: Reach, seal: Arc<dyn Seal>) -> Result<(Self, Tidings), OpenError> {
        let server = PostgresServer::open(reach).await?;
        let tidings = Tidings::of(server.pool().clone());
        Ok((Self { database: Box::new(server), seal }, tidings))
    }

    /// How far the standbys of the database are behind. None: it has none by its nature, or may not say.
    ///
    /// # Errors
    /// It did not answer.
    pub async fn standbys(&self) -> Result<Option<Standbys>, Unavailable> {
        self.database.standbys().await
    }

    /// Finishes what is being written.
    pub async fn close(&self) {
        self.database.close().await;
    }

    fn seal(&self) -> &dyn Seal {
        &*self.seal
    }

    async fn rows(&self, statement: Statement) -> Result<Vec<Row>, Unavailable> {
        self.database.rows(statement).await
    }

    async fn change(&self, statement: Statement) -> Result<Vec<Row>, Unavailable> {
        self.database.change(statement).await
    }

    async fn write(&self, statement: Statement) -> Result<u64, Unavailable> {
        self.database.write(statement).await
    }

    async fn begin(&self) -> Result<Box<dyn Steps>, Unavailable> {
        self.database.begin().await
    }

    async fn begin_alone(&self) -> Result<Box<dyn Steps>, Unavailable> {
        self.database.begin_alone().await
    }
}
