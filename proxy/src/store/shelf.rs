//! What was obtained for listeners; sealed, each record to its place.
use crate::acme_client::shelf::{Kind, Shelf, Unavailable};
use crate::login::session;
use crate::store::SqlStore;
use crate::store::database::{Row, sql};
use async_trait::async_trait;
use time::OffsetDateTime;
use zeroize::Zeroizing;

#[async_trait]
impl Shelf for SqlStore {
    async fn get(&self, kind: Kind, id: &str, now: OffsetDateTime) -> Result<Option<Zeroizing<Vec<u8>>>, Unavailable> {
        let find = sql("SELECT id, value FROM shelf WHERE kind = $1 AND id = $2 AND (until IS NULL OR until > $3)");
        let rows =
            self.rows(find.bind(kind.as_str()).bind(id).bind(now.unix_timestamp())).await.map_err(unavailable)?;
        Ok(rows.first().map(|row| self.unsealed(kind, row)).transpose()?.map(|(_, value)| value))
    }

    async fn all(&self, kind: Kind, now: OffsetDateTime) -> Result<Vec<(String, Zeroizing<Vec<u8>>)>, Unavailable> {
        let all = sql("SELECT id, value FROM shelf WHERE kind = $1 AND (until IS NULL OR until > $2) ORDER BY id");
        let rows = self.rows(all.bind(kind.as_str()).bind(now.unix_timestamp())).await.map_err(unavailable)?;
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
        let put = sql("INSERT INTO shelf (kind, id, until, value) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (kind, id) DO UPDATE SET until = excluded.until, value = excluded.value");
        let put = put.bind(kind.as_str()).bind(id).bind(until.map(OffsetDateTime::unix_timestamp)).bind(sealed);
        let both = async {
            let mut steps = self.begin().await?;
            steps.write(sql("DELETE FROM shelf WHERE until <= $1").bind(now.unix_timestamp())).await?;
            steps.write(put).await?;
            steps.commit().await
        };
        both.await.map_err(unavailable)
    }

    async fn remove(&self, kind: Kind, id: &str) -> Result<(), Unavailable> {
        let remove = sql("DELETE FROM shelf WHERE kind = $1 AND id = $2").bind(kind.as_str()).bind(id);
        self.write(remove).await.map(drop).map_err(unavailable)
    }

    async fn claim(
        &self,
        work: &str,
        who: &str,
        until: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<bool, Unavailable> {
        // One statement: of two, one writes.
        let claim = sql("INSERT INTO claims (work, who, until) VALUES ($1, $2, $3) \
             ON CONFLICT (work) DO UPDATE SET who = excluded.who, until = excluded.until \
             WHERE claims.who = excluded.who OR claims.until <= $4");
        let claim = claim.bind(work).bind(who).bind(until.unix_timestamp()).bind(now.unix_timestamp());
        Ok(self.write(claim).await.map_err(unavailable)? == 1)
    }

    async fn let_go(&self, work: &str, who: &str) -> Result<(), Unavailable> {
        let let_go = sql("DELETE FROM claims WHERE work = $1 AND who = $2").bind(work).bind(who);
        self.write(let_go).await.map(drop).map_err(unavailable)
    }
}

impl SqlStore {
    fn unsealed(&self, kind: Kind, row: &Row) -> Result<(String, Zeroizing<Vec<u8>>), Unavailable> {
        let id = row.text("id").map_err(unavailable)?;
        let sealed = row.bytes("value").map_err(unavailable)?;
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
fn unavailable(error: session::Unavailable) -> Unavailable {
    tracing::error!(%error, "what is kept for listeners cannot be used");
    Unavailable
}
