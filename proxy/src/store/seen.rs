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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::seal::SealKey;
    use crate::lookup::places::Places;
    use crate::lookup::seen::{MAX_PLACES, REMEMBERED, SeenPlaces};
    use std::sync::Arc;
    use std::time::Duration;
    use torhaus_authz::{Country, Fact, Identity, Seen, User, Why};

    const NOW: Timestamp = Timestamp::from_seconds(1_795_900_000);

    async fn store(folder: &std::path::Path) -> SqliteStore {
        let seal = Arc::new(SealKey::load_or_create(folder).unwrap());
        SqliteStore::open(&folder.join("torhaus.db"), seal).await.unwrap()
    }

    fn visit(subject: &str, place: &str, last: Timestamp) -> Visit {
        Visit { issuer: "idp".into(), subject: subject.into(), place: Place::parse(place).unwrap(), last }
    }

    fn person(subject: &str) -> Identity {
        Identity::User(Arc::new(User {
            name: subject.into(),
            provider: "corp".into(),
            issuer: "idp".into(),
            subject: subject.into(),
            federated: false,
        }))
    }

    #[tokio::test]
    async fn where_somebody_was_is_known_after_a_restart_and_new_again_after_half_a_year() {
        let folder = tempfile::tempdir().unwrap();
        let first = store(folder.path()).await;
        let visits =
            [visit("dana", "DE", NOW), visit("dana", "203.0.113.0/24", NOW), visit("dana", "2001:db8:1::/48", NOW)];
        first.visited(&visits).await.unwrap();
        // An older word takes nothing back.
        first.visited(&[visit("dana", "DE", NOW.minus(REMEMBERED * 2))]).await.unwrap();
        first.close().await;

        let seen = SeenPlaces::load(Arc::new(store(folder.path()).await)).await.unwrap();
        let of = |who: &str, address: &str, country: &str, now: Timestamp| {
            let country = Country::parse(country).map_or(Fact::Unknown(Why::SourceDown), Fact::Known);
            seen.of(&person(who), address.parse().unwrap(), country, &Places::default(), now)
        };
        let known =
            |country: bool, network: bool| Seen { country: Fact::Known(country), network: Fact::Known(network) };
        for (who, address, country, answer) in [
            ("dana", "203.0.113.200", "DE", known(true, true)),
            ("dana", "::ffff:203.0.113.9", "DE", known(true, true)),
            ("dana", "2001:db8:1:ff::1", "DE", known(true, true)),
            ("dana", "2001:db8:2::1", "DE", known(true, false)),
            ("dana", "203.0.114.1", "FR", known(false, false)),
            ("eve", "203.0.113.200", "DE", known(false, false)),
            ("dana", "203.0.113.200", "?", Seen { country: Fact::Unknown(Why::SourceDown), ..known(true, true) }),
        ] {
            assert_eq!(of(who, address, country, NOW), answer, "{who} {address} {country}");
        }
        assert_eq!(of("dana", "203.0.113.200", "DE", NOW.plus(REMEMBERED)), known(false, false));
        let nobody = seen.of(
            &Identity::Anonymous,
            "203.0.113.1".parse().unwrap(),
            Fact::Unknown(Why::NotFound),
            &Places::default(),
            NOW,
        );
        assert_eq!(nobody, Seen::unknown(Why::NotFound));
    }

    #[tokio::test]
    async fn what_is_old_or_too_much_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path()).await;
        let many: Vec<Visit> = (0..MAX_PLACES + 3)
            .map(|n| visit("dana", &format!("10.0.{n}.0/24"), NOW.plus(Duration::from_secs(n as u64))))
            .collect();
        store.visited(&many).await.unwrap();
        store.visited(&[visit("eve", "DE", NOW.minus(REMEMBERED * 2)), visit("eve", "FR", NOW)]).await.unwrap();
        store.forget_visits(NOW.minus(REMEMBERED), MAX_PLACES).await.unwrap();
        let left = store.visits().await.unwrap();
        let of = |who: &str| left.iter().filter(|visit| *visit.subject == *who).count();
        assert_eq!((of("dana"), of("eve")), (MAX_PLACES, 1));
        assert!(!left.iter().any(|visit| visit.place.to_string() == "10.0.0.0/24"), "the oldest makes room");
    }
}
