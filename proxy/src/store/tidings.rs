//! What other replicas did, as PostgreSQL tells it (LISTEN). A help and no promise: whoever acts on it also looks for
//! himself every few seconds, because a notification can be missed.
use crate::lookup::seen::{Place, Visit};
use sqlx::postgres::{PgListener, PgPool};
use std::time::Duration;
use torhaus_authz::Timestamp;

/// All that replicas tell each other. The triggers of migrations 48 and 60 write it.
const CHANNEL: &str = "torhaus";
/// How long to wait before listening again.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// This session is over.
    Ended(String),
    /// Something else is known of this session.
    Changed(String),
    /// Certificates were revoked.
    Revoked,
    /// There is another authority, or another one signs.
    Authorities,
    /// Operators vouch for other devices than before.
    Devices,
    /// Somebody came from a place for the first time.
    Seen(Visit),
    /// Nobody listened for a moment: anything may have happened.
    Unsure,
}

pub struct Tidings {
    pool: PgPool,
    listener: Option<PgListener>,
}

impl Tidings {
    pub(super) fn of(pool: PgPool) -> Self {
        Self { pool, listener: None }
    }

    /// The next one. Waits for as long as there is none.
    pub async fn next(&mut self) -> News {
        loop {
            let Some(listener) = &mut self.listener else {
                match self.listen().await {
                    Ok(listener) => {
                        self.listener = Some(listener);
                        return News::Unsure;
                    }
                    Err(error) => {
                        tracing::debug!(%error, "not listening to the other replicas; they are asked about instead");
                        tokio::time::sleep(AGAIN).await;
                        continue;
                    }
                }
            };
            match listener.try_recv().await {
                Ok(Some(said)) => match parse(said.payload()) {
                    Some(news) => return news,
                    // A newer version tells more.
                    None => continue,
                },
                Ok(None) => self.listener = None,
                Err(error) => {
                    tracing::warn!(%error, "listening to the other replicas ended; beginning anew");
                    self.listener = None;
                }
            }
        }
    }

    async fn listen(&self) -> sqlx::Result<PgListener> {
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(listener)
    }
}

fn parse(text: &str) -> Option<News> {
    match text.split_once(' ') {
        Some(("ended", id)) => Some(News::Ended(id.to_owned())),
        Some(("changed", id)) => Some(News::Changed(id.to_owned())),
        Some(("seen", visit)) => {
            let (issuer, subject, place, last): (String, String, String, i64) = serde_json::from_str(visit).ok()?;
            let (place, last) = (Place::parse(&place)?, Timestamp::from_millis(last));
            Some(News::Seen(Visit { issuer: issuer.into(), subject: subject.into(), place, last }))
        }
        None if text == "revoked" => Some(News::Revoked),
        None if text == "authorities" => Some(News::Authorities),
        None if text == "devices" => Some(News::Devices),
        _ => None,
    }
}
