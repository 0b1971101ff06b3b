//! Where people came from before.
use crate::login::session::Unavailable;
use crate::lookup::seen::{Place, Visit, VisitStore};
use crate::store::SqlStore;
use crate::store::database::sql;
use async_trait::async_trait;
use torhaus_authz::Timestamp;

#[async_trait]
impl VisitStore for SqlStore {
    async fn visits(&self) -> Result<Vec<Visit>, Unavailable> {
        let rows = self.rows(sql("SELECT issuer, subject, place, last_seen FROM seen_places")).await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            // A place that a later version writes is new to this one.
            let Some(place) = Place::parse(&row.text("place")?) else { continue };
            found.push(Visit {
                issuer: row.text("issuer")?.into(),
                subject: row.text("subject")?.into(),
                place,
                last: Timestamp::from_millis(row.integer("last_seen")?),
            });
        }
        Ok(found)
    }

    async fn visited(&self, visits: &[Visit]) -> Result<(), Unavailable> {
        let mut steps = self.begin().await?;
        for visit in visits {
            let keep = sql(
                "INSERT INTO seen_places (issuer, subject, place, first_seen, last_seen) VALUES ($1, $2, $3, $4, $4) \
                 ON CONFLICT (issuer, subject, place) DO UPDATE SET last_seen = excluded.last_seen \
                 WHERE seen_places.last_seen < excluded.last_seen",
            );
            let keep = keep.bind(&*visit.issuer).bind(&*visit.subject).bind(visit.place.to_string());
            steps.write(keep.bind(visit.last.millis())).await?;
        }
        steps.commit().await
    }

    async fn forget_visits(&self, before: Timestamp, keep: usize) -> Result<(), Unavailable> {
        let forget = sql("DELETE FROM seen_places WHERE last_seen < $1 OR (issuer, subject, place) IN (\
             SELECT issuer, subject, place FROM (SELECT issuer, subject, place, row_number() OVER \
             (PARTITION BY issuer, subject ORDER BY last_seen DESC) AS n FROM seen_places) AS numbered WHERE n > $2)");
        self.write(forget.bind(before.millis()).bind(i64::try_from(keep).unwrap_or(i64::MAX))).await.map(drop)
    }
}
