//! Looks at a PostgreSQL database as it is, and changes nothing: after a restore, before the first start on it.
use crate::login::session::Unavailable;
use crate::store::database::sql;
use crate::store::postgres::{PostgresError, PostgresServer, Reach};
use crate::store::{Seal, SqlStore, migrations};
use std::fmt;
use std::sync::Arc;

/// What is in a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    pub server: String,
    pub sessions: u64,
    pub certificates: u64,
    pub revocations: u64,
    /// Migrations that the next start makes.
    pub behind: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum ExamineError {
    #[error(transparent)]
    Reach(#[from] PostgresError),
    #[error("`{server}` cannot be read: {why}; was everything restored, and for this user?")]
    Read { server: String, why: Unavailable },
    #[error("`{0}` holds no state of torhaus; the next start would make a new one")]
    Empty(String),
    #[error(
        "migration {step} was made by another text than this version's: this is not a database of torhaus as released"
    )]
    Changed { step: i64 },
    #[error("what is sealed in `{0}` does not open: `seal_file` is not the one that it was made with")]
    Sealed(String),
}

/// # Errors
/// 1. no primary answers; 2. there is no state, or part of it is missing; 3. it was changed by hand; 4. it is sealed under
///    another key.
pub async fn examine(reach: Reach, seal: Arc<dyn Seal>) -> Result<Examined, ExamineError> {
    let (database, server) = PostgresServer::to_look_at(reach).await?;
    let store = SqlStore { database: Box::new(database), seal };
    let read = |why| ExamineError::Read { server: server.clone(), why };
    let there = store.rows(sql("SELECT to_regclass('_sqlx_migrations')::text AS name")).await.map_err(read)?;
    let there = there.first().map_or(Ok(None), |row| row.optional_text("name")).map_err(read)?;
    if there.is_none() {
        return Err(ExamineError::Empty(server));
    }
    let made = store.rows(sql("SELECT version, checksum FROM _sqlx_migrations WHERE success")).await.map_err(read)?;
    let mut behind = 0;
    for step in migrations::of_postgres().iter() {
        let row = made.iter().find(|row| row.integer("version").is_ok_and(|version| version == step.version));
        match row.map(|row| row.bytes("checksum")).transpose().map_err(read)? {
            Some(checksum) if *checksum == *step.checksum => {}
            Some(_) => return Err(ExamineError::Changed { step: step.version }),
            None => behind += 1,
        }
    }
    let secrets = store.rows(sql("SELECT name, value FROM secrets")).await.map_err(read)?;
    for row in secrets {
        let purpose = format!("secret:{}", row.text("name").map_err(read)?);
        let value = row.bytes("value").map_err(read)?;
        store.seal().open(&purpose, &value).map_err(|_| ExamineError::Sealed(server.clone()))?;
    }
    let count = async |text: &'static str| {
        let rows = store.rows(sql(text)).await.map_err(read)?;
        rows.first().map_or(Ok(0), |row| row.count("n")).map_err(read)
    };
    let found = Examined {
        sessions: count("SELECT count(*) AS n FROM sessions").await?,
        certificates: count("SELECT count(*) AS n FROM certificates").await?,
        revocations: count("SELECT count(*) AS n FROM revocations").await?,
        behind,
        server: server.clone(),
    };
    store.close().await;
    Ok(found)
}

impl fmt::Display for Examined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, sessions, certificates, revocations, behind } = self;
        write!(f, "`{server}` answers, `seal_file` opens it; {sessions} sessions, {certificates} certificates, ")?;
        write!(f, "{revocations} revocations")?;
        match behind {
            0 => Ok(()),
            behind => write!(f, "; the next start makes {behind} migrations"),
        }
    }
}
