//! Where people came from before, in the same SQLite file.
use super::sqlite::{SqliteStore, unavailable};
use crate::login::session::Unavailable;
use crate::lookup::seen::{Place, Visit, VisitStore};
use async_trait::async_trait;
use sqlx::Row as _;
use torhaus_authz::Timestamp;

#[async_trait]
impl VisitStore for SqliteStore {
    async fn visits(&self) -> Result<Vec<Visit>, Unavailable> {
        let query = sqlx::query("SELECT issuer, subject, place, last_seen FROM seen_places");
        let rows = query.fetch_all(&self.readers).await.map_err(unavailable)?;
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            let text = |column: &str| row.try_get::<String, _>(column).map_err(unavailable);
            // A place that a later version writes is new to this one.
            let Some(place) = Place::parse(&text("place")?) else { continue };
            found.push(Visit {
                issuer: text("issuer")?.into(),
                subject: text("subject")?.into(),
                place,
                last: row.try_get("last_seen").map(Timestamp::from_millis).map_err(unavailable)?,
            });
        }
        Ok(found)
    }

    async fn visited(&self, visits: &[Visit]) -> Result<(), Unavailable> {
        let mut tx = self.begin().await?;
        for visit in visits {
            sqlx::query(
                "INSERT INTO seen_places (issuer, subject, place, first_seen, last_seen) VALUES (?, ?, ?, ?, ?) \
                 ON CONFLICT (issuer, subject, place) DO UPDATE SET last_seen = max(last_seen, excluded.last_seen)",
            )
            .bind(&*visit.issuer)
            .bind(&*visit.subject)
            .bind(visit.place.to_string())
            .bind(visit.last.millis())
            .bind(visit.last.millis())
            .execute(&mut *tx)
            .await
            .map_err(unavailable)?;
        }
        tx.commit().await.map_err(unavailable)
    }

    async fn forget_visits(&self, before: Timestamp, keep: usize) -> Result<(), Unavailable> {
        sqlx::query(
            "DELETE FROM seen_places WHERE last_seen < ? OR (issuer, subject, place) IN (\
             SELECT issuer, subject, place FROM (SELECT issuer, subject, place, row_number() OVER \
             (PARTITION BY issuer, subject ORDER BY last_seen DESC) AS n FROM seen_places) WHERE n > ?)",
        )
        .bind(before.millis())
        .bind(i64::try_from(keep).unwrap_or(i64::MAX))
        .execute(&self.writer)
        .await
        .map_err(unavailable)?;
        Ok(())
    }
}
