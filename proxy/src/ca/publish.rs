//! Revocation lists for verifiers elsewhere (RFC 5280 s5): made when something is revoked, and again long before they
//! end. The gate itself does not read them.
use crate::ca::{AFTER_END, CaError, OwnCa, moment};
use arc_swap::ArcSwap;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use time::{Duration, OffsetDateTime};
use torhaus_authz::Timestamp;
use torhaus_certs::{CrlRequest, IssuingCa, Revoked, RevokedRecord};

/// A verifier that cannot reach us for a night goes on with the list it has.
const LIST_LIFE: Duration = Duration::hours(24);
/// And a list that is fetched is good for at least this long.
const RENEW_BEFORE: Duration = Duration::hours(12);

/// The current list of an authority.
#[derive(Clone, Debug)]
pub struct List {
    pub der: Bytes,
    pub number: u64,
    pub next_update: OffsetDateTime,
    pub entries: usize,
}

/// Current lists, by authority.
#[derive(Default)]
pub struct Published {
    lists: ArcSwap<HashMap<String, List>>,
    /// One at a time, so that an older list never replaces a newer one.
    publishing: tokio::sync::Mutex<()>,
    /// Something was revoked and is not in the lists yet.
    stale: AtomicBool,
}

impl OwnCa {
    pub fn list(&self, issuer: &str) -> Option<List> {
        self.published.lists.load().get(issuer).cloned()
    }

    /// Makes the lists of all authorities anew.
    ///
    /// # Errors
    /// 1. the ledger cannot be used; 2. a list cannot be signed. The lists before stay, and the next look makes new ones.
    pub async fn publish(&self, now: Timestamp) -> Result<(), CaError> {
        let _one = self.published.publishing.lock().await;
        self.published.stale.store(false, Ordering::Release);
        let made = self.make_lists(now).await;
        match made {
            Ok(lists) => self.published.lists.store(Arc::new(lists)),
            Err(error) => {
                self.published.stale.store(true, Ordering::Release);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Publishes if a list ends soon, or the last attempt failed. Call it about once a minute.
    ///
    /// # Errors
    /// As [`OwnCa::publish`].
    pub async fn publish_if_needed(&self, now: Timestamp) -> Result<(), CaError> {
        let Some(all) = self.authorities() else { return Ok(()) };
        let lists = self.published.lists.load();
        let due = |ca: &Arc<IssuingCa>| {
            ca.ends() > moment(now)
                && lists.get(ca.id()).is_none_or(|list| list.next_update - moment(now) < RENEW_BEFORE)
        };
        if self.published.stale.load(Ordering::Acquire) || all.issuing().iter().any(due) {
            return self.publish(now).await;
        }
        Ok(())
    }

    async fn make_lists(&self, now: Timestamp) -> Result<HashMap<String, List>, CaError> {
        let Some(all) = self.authorities() else { return Ok(HashMap::new()) };
        let at = moment(now).replace_nanosecond(0).unwrap_or(moment(now));
        let revoked = self.store.revoked_ending_after(at - AFTER_END).await?;
        let mut lists = HashMap::new();
        for ca in all.issuing().iter().filter(|ca| ca.ends() > at) {
            // One whose authority nobody remembers stands in every list.
            let of_this = |one: &&RevokedRecord| one.issuer.as_deref().is_none_or(|issuer| issuer == ca.id());
            let mut entries: Vec<Revoked> = revoked
                .iter()
                .filter(of_this)
                .map(|one| Revoked { serial: one.serial.clone(), at: one.at, reason: one.reason })
                .collect();
            entries.sort_by(|one, other| one.serial.cmp(&other.serial));
            // Milliseconds: higher than any before, also where the database was restored.
            let number = self.store.next_crl_number(ca.id(), u64::try_from(now.millis()).unwrap_or(0)).await?;
            let next_update = at + LIST_LIFE;
            let request = CrlRequest { number, this_update: at, next_update, revoked: &entries };
            let crl = ca.crl(&request).map_err(|error| CaError::Refused(error.to_string()))?;
            let list = List { der: Bytes::copy_from_slice(crl.der()), number, next_update, entries: entries.len() };
            lists.insert(ca.id().to_owned(), list);
        }
        Ok(lists)
    }

    pub(super) fn lists_are_stale(&self) {
        self.published.stale.store(true, Ordering::Release);
    }
}
