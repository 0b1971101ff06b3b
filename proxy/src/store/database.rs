//! What the store needs of a database, so that one text of SQL serves every one of them. A statement here says `$1` and
//! `CASE`, never what only one database understands; times and flags are integers.
use crate::login::session::{Others, Unavailable};
use async_trait::async_trait;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{ColumnIndex, Decode, Row as _, Type};
use std::borrow::Cow;

/// A statement and the values of `$1`, `$2` and so on. The text holds nothing that came from outside.
pub struct Statement {
    pub text: Cow<'static, str>,
    pub values: Vec<Value>,
}

/// With its type even where it is absent: PostgreSQL asks.
#[derive(Clone)]
pub enum Value {
    Integer(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

pub fn sql(text: impl Into<Cow<'static, str>>) -> Statement {
    Statement { text: text.into(), values: Vec::new() }
}

/// Values in one question; a database takes some ten thousand.
pub const AT_ONCE: usize = 500;

/// What stands in `IN (…)`, from `$1` on, and its values. In a few sizes only, so that a database knows its questions
/// again: the first values stand once more in the places that are left.
pub fn one_of(values: Vec<Value>) -> (String, Vec<Value>) {
    if values.is_empty() {
        return ("NULL".to_owned(), values);
    }
    let places = [1, 8, 64, AT_ONCE].into_iter().find(|size| *size >= values.len()).unwrap_or(values.len());
    let names: Vec<String> = (1..=places).map(|n| format!("${n}")).collect();
    (names.join(", "), values.into_iter().cycle().take(places).collect())
}

impl Statement {
    /// The next value.
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(Some(number))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Integer(Some(flag.into()))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(Some(text.clone()))
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(ToOwned::to_owned))
    }
}

impl From<&Option<String>> for Value {
    fn from(text: &Option<String>) -> Self {
        Self::Text(text.clone())
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(Some(bytes))
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(Some(bytes.to_vec()))
    }
}

impl From<&Option<Vec<u8>>> for Value {
    fn from(bytes: &Option<Vec<u8>>) -> Self {
        Self::Bytes(bytes.clone())
    }
}

/// What a statement answered with.
pub enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    pub fn integer(&self, column: &str) -> Result<i64, Unavailable> {
        self.column(column)
    }

    pub fn optional_integer(&self, column: &str) -> Result<Option<i64>, Unavailable> {
        self.column(column)
    }

    /// A count; nothing below zero is one.
    pub fn count(&self, column: &str) -> Result<u64, Unavailable> {
        Ok(u64::try_from(self.integer(column)?).unwrap_or(0))
    }

    pub fn flag(&self, column: &str) -> Result<bool, Unavailable> {
        Ok(self.integer(column)? != 0)
    }

    pub fn text(&self, column: &str) -> Result<String, Unavailable> {
        self.column(column)
    }

    pub fn optional_text(&self, column: &str) -> Result<Option<String>, Unavailable> {
        self.column(column)
    }

    pub fn bytes(&self, column: &str) -> Result<Vec<u8>, Unavailable> {
        self.column(column)
    }

    pub fn optional_bytes(&self, column: &str) -> Result<Option<Vec<u8>>, Unavailable> {
        self.column(column)
    }

    fn column<T>(&self, column: &str) -> Result<T, Unavailable>
    where
        T: for<'r> Decode<'r, sqlx::Sqlite> + Type<sqlx::Sqlite>,
        T: for<'r> Decode<'r, sqlx::Postgres> + Type<sqlx::Postgres>,
        for<'c> &'c str: ColumnIndex<SqliteRow> + ColumnIndex<PgRow>,
    {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
        .map_err(unavailable)
    }
}

/// Copies that a database keeps elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standbys {
    /// That are connected and get what is written.
    pub streaming: u64,
    /// Of these, a commit waits for them, or for some of them.
    pub synchronous: u64,
    /// How long ago the slowest had written down what was committed here.
    pub lag_ms: u64,
}

/// A database. What was written is on its disk when a call returns, and survives the loss of power.
#[async_trait]
pub trait Database: Send + Sync {
    /// Asks; beside whoever writes.
    async fn rows(&self, statement: Statement) -> Result<Vec<Row>, Unavailable>;
    /// Writes; what the statement returned. Nothing older than what was written before is seen.
    async fn change(&self, statement: Statement) -> Result<Vec<Row>, Unavailable>;
    /// Writes; how many rows that were.
    async fn write(&self, statement: Statement) -> Result<u64, Unavailable>;
    /// Several statements, of which all count or none.
    async fn begin(&self) -> Result<Box<dyn Steps>, Unavailable>;
    /// The same, and nobody else is within `begin_alone`, in this process or another: what is read in there nobody
    /// changes before it is written.
    async fn begin_alone(&self) -> Result<Box<dyn Steps>, Unavailable>;
    /// Whether anybody but this process has written since the last call.
    async fn others(&self) -> Result<Others, Unavailable> {
        Ok(Others::Untold)
    }
    /// How far its standbys are behind. None: there are none by its nature, or it may not say.
    async fn standbys(&self) -> Result<Option<Standbys>, Unavailable> {
        Ok(None)
    }
    /// Finishes what is being written.
    async fn close(&self);
}

/// Undone when it is dropped, unless it was committed.
#[async_trait]
pub trait Steps: Send {
    async fn rows(&mut self, statement: Statement) -> Result<Vec<Row>, Unavailable>;
    /// How many rows were written; none as well if what they belong to has gone a moment ago.
    async fn write(&mut self, statement: Statement) -> Result<u64, Unavailable>;
    async fn commit(self: Box<Self>) -> Result<(), Unavailable>;
}

/// Database errors name tables and constraints, never bound values, so they may be shown.
pub fn unavailable(error: sqlx::Error) -> Unavailable {
    Unavailable(error.to_string())
}

/// Takes a statement to one of the two drivers: they share no type for a value.
macro_rules! bound {
    ($statement:expr) => {{
        let $crate::store::database::Statement { text, values } = $statement;
        let mut query = sqlx::query(sqlx::SqlSafeStr::into_sql_str(sqlx::AssertSqlSafe(text.into_owned())));
        for value in values {
            query = match value {
                $crate::store::database::Value::Integer(number) => query.bind(number),
                $crate::store::database::Value::Text(text) => query.bind(text),
                $crate::store::database::Value::Bytes(bytes) => query.bind(bytes),
            };
        }
        query
    }};
}
pub(super) use bound;
