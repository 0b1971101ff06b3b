//! What was obtained for listeners, in SQLite; sealed, each record to its place.
use crate::acme_client::shelf::{Kind, Shelf, Unavailable};
use crate::store::SqliteStore;
use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use time::OffsetDateTime;
use zeroize::Zeroizing;

#[async_trait]
impl Shelf for SqliteStore {
    async fn get(&self, kind: Kind, id: &str, now: OffsetDateTime) -> Result<Option<Zeroizing<Vec<u8>>>, Unavailable> {
        let query =
            sqlx::query("SELECT id, value FROM shelf WHERE kind = ? AND id = ? AND (until IS NULL OR until > ?)")
                .bind(kind.as_str())
                .bind(id)
                .bind(now.unix_timestamp());
        let row = query.fetch_optional(self.readers()).await.map_err(unavailable)?;
        Ok(row.map(|row| self.unsealed(kind, &row)).transpose()?.map(|(_, value)| value))
    }

    async fn all(&self, kind: Kind, now: OffsetDateTime) -> Result<Vec<(String, Zeroizing<Vec<u8>>)>, Unavailable> {
        let query =
            sqlx::query("SELECT id, value FROM shelf WHERE kind = ? AND (until IS NULL OR until > ?) ORDER BY id")
                .bind(kind.as_str())
                .bind(now.unix_timestamp());
        let rows = query.fetch_all(self.readers()).await.map_err(unavailable)?;
        rows.iter().map(|row| self.unsealed(kind, row)).collect()
    }

    async fn put(
        &self,
        kind: Kind,
        id: &str,
        value: &[u8],
        until: Option<OffsetDateTime>,
        now: OffsetDateTime,
    ) -> Result<(), Unavailable> {
        let sealed = self.seal().seal(&purpose(kind, id), value).map_err(|_| Unavailable)?;
        let mut tx = self.writer().begin().await.map_err(unavailable)?;
        sqlx::query("DELETE FROM shelf WHERE until <= ?")
            .bind(now.unix_timestamp())
            .execute(&mut *tx)
            .await
            .map_err(unavailable)?;
        sqlx::query(
            "INSERT INTO shelf (kind, id, until, value) VALUES (?, ?, ?, ?) \
             ON CONFLICT (kind, id) DO UPDATE SET until = excluded.until, value = excluded.value",
        )
        .bind(kind.as_str())
        .bind(id)
        .bind(until.map(OffsetDateTime::unix_timestamp))
        .bind(sealed)
        .execute(&mut *tx)
        .await
        .map_err(unavailable)?;
        tx.commit().await.map_err(unavailable)
    }

    async fn remove(&self, kind: Kind, id: &str) -> Result<(), Unavailable> {
        let query = sqlx::query("DELETE FROM shelf WHERE kind = ? AND id = ?").bind(kind.as_str()).bind(id);
        query.execute(self.writer()).await.map_err(unavailable)?;
        Ok(())
    }

    async fn claim(
        &self,
        work: &str,
        who: &str,
        until: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<bool, Unavailable> {
        // One statement: of two, one writes.
        let query = sqlx::query(
            "INSERT INTO claims (work, who, until) VALUES ($1, $2, $3) \
             ON CONFLICT (work) DO UPDATE SET who = excluded.who, until = excluded.until \
             WHERE claims.who = excluded.who OR claims.until <= $4",
        )
        .bind(work)
        .bind(who)
        .bind(until.unix_timestamp())
        .bind(now.unix_timestamp());
        let done = query.execute(self.writer()).await.map_err(unavailable)?;
        Ok(done.rows_affected() == 1)
    }

    async fn let_go(&self, work: &str, who: &str) -> Result<(), Unavailable> {
        let query = sqlx::query("DELETE FROM claims WHERE work = ? AND who = ?").bind(work).bind(who);
        query.execute(self.writer()).await.map_err(unavailable)?;
        Ok(())
    }
}

impl SqliteStore {
    fn unsealed(&self, kind: Kind, row: &SqliteRow) -> Result<(String, Zeroizing<Vec<u8>>), Unavailable> {
        let id: String = row.try_get("id").map_err(unavailable)?;
        let sealed: Vec<u8> = row.try_get("value").map_err(unavailable)?;
        let plain = self.seal().open(&purpose(kind, &id), &sealed).map_err(|error| {
            tracing::error!(%error, "what was kept for listeners cannot be read");
            Unavailable
        })?;
        Ok((id, plain))
    }
}

/// Bound to its place: a record moved to another row does not open.
fn purpose(kind: Kind, id: &str) -> String {
    format!("shelf:{}:{id}", kind.as_str())
}

/// Database errors name tables and constraints, never bound values, so they may be shown.
fn unavailable(error: sqlx::Error) -> Unavailable {
    tracing::error!(%error, "what is kept for listeners cannot be used");
    Unavailable
}
