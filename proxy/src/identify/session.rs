//! Live sessions: what the gate asks on every request, answered from memory.
//!
//! The store is read when a handle is first seen, and again every few seconds, so that a replica that missed a
//! notification is right soon. Ending a session here counts at once.
use crate::login::session::{Session, SessionId, SessionStore, TicketHash, Unavailable, Which};
use moka::future::Cache;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use torhaus_authz::Timestamp;

/// How long an answer of the store counts: the bound within which a revocation made elsewhere arrives.
const REREAD: Duration = Duration::from_secs(5);
/// Handles kept in memory; a session and its handle take under 1 KiB without groups.
const KEPT: u64 = 200_000;

/// A session as read from the store, and when it was last used.
pub struct LiveSession {
    pub session: Arc<Session>,
    /// Milliseconds since the epoch; written to the store from time to time.
    seen: Arc<AtomicI64>,
}

impl fmt::Debug for LiveSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LiveSession").field(&self.session.id).finish()
    }
}

/// A session and the host that the handle is for.
type AtHost = (Arc<str>, Arc<LiveSession>);

pub struct Sessions {
    pub store: Arc<dyn SessionStore>,
    live: Cache<TicketHash, Option<AtHost>>,
    /// When each session was last used, until it is written to the store: longer than an answer of the store is kept.
    seen: Mutex<HashMap<SessionId, Arc<AtomicI64>>>,
    /// Ended a moment ago: a read that began before must not bring it back.
    ended: moka::sync::Cache<SessionId, ()>,
}

impl Sessions {
    pub fn new(store: Arc<dyn SessionStore>) -> Self {
        Self {
            store,
            live: Cache::builder().max_capacity(KEPT).time_to_live(REREAD).build(),
            seen: Mutex::default(),
            ended: moka::sync::Cache::builder().max_capacity(KEPT).time_to_live(REREAD * 4).build(),
        }
    }

    /// The live session of a handle at a host. The idle limit is the store's to enforce, by its sweep.
    ///
    /// # Errors
    /// The store had to be asked and could not.
    pub async fn find(
        &self,
        handle: TicketHash,
        host: &str,
        now: Timestamp,
    ) -> Result<Option<Arc<LiveSession>>, Unavailable> {
        let found = match self.live.get(&handle).await {
            Some(kept) => kept,
            None => {
                let read = async {
                    let session = self.store.find(handle, host).await?;
                    Ok::<_, Unavailable>(session.map(|session| {
                        let seen = self.seen_of(&session);
                        (Arc::from(host), Arc::new(LiveSession { session: Arc::new(session), seen }))
                    }))
                };
                // Single flight: of many requests that miss at once, one reads.
                self.live.try_get_with(handle, read).await.map_err(|error| (*error).clone())?
            }
        };
        let Some((kept_host, live)) = found else { return Ok(None) };
        let usable = *kept_host == *host && live.session.expires > now && !self.has_ended(&live.session.id);
        if !usable {
            return Ok(None);
        }
        live.seen.fetch_max(now.millis(), Ordering::Relaxed);
        Ok(Some(live))
    }

    /// Whether a session was ended a moment ago, by this process.
    pub fn has_ended(&self, id: &SessionId) -> bool {
        self.ended.contains_key(id)
    }

    /// A new session with its first handle.
    ///
    /// # Errors
    /// The store did not take it.
    pub async fn create(&self, session: &Session, handle: TicketHash, host: &str) -> Result<(), Unavailable> {
        self.store.create(session, handle, host).await
    }

    /// Another handle of a live session; `replaces` is worth nothing from now on. False: it has ended.
    ///
    /// # Errors
    /// The store did not take it.
    pub async fn add_handle(
        &self,
        session: &SessionId,
        handle: TicketHash,
        host: &str,
        replaces: Option<TicketHash>,
    ) -> Result<bool, Unavailable> {
        let added = self.store.add_handle(session, handle, host, replaces).await?;
        if let Some(old) = replaces {
            self.live.invalidate(&old).await;
        }
        Ok(added)
    }

    /// Replaces what is known of a session; counts on the next request. False: it has ended.
    ///
    /// # Errors
    /// The store did not take it.
    pub async fn update(&self, session: &Session) -> Result<bool, Unavailable> {
        let live = self.store.update(session).await?;
        self.forget(|id| *id == session.id).await;
        Ok(live)
    }

    /// Ends sessions, for the next request already; the ids of those that were live.
    ///
    /// # Errors
    /// The store did not take it: they are still live.
    pub async fn end(&self, which: &Which, now: Timestamp) -> Result<Vec<SessionId>, Unavailable> {
        let ended = self.store.end(which, now).await?;
        self.note_ended(&ended).await;
        Ok(ended)
    }

    /// Writes back when sessions were used, and ends those that are idle or over.
    ///
    /// # Errors
    /// The store could not be asked.
    pub async fn sweep(&self, now: Timestamp, idle: Duration) -> Result<Vec<SessionId>, Unavailable> {
        let seen: Vec<(SessionId, Timestamp)> = {
            let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let seen = all.iter().map(|(id, at)| (id.clone(), Timestamp::from_millis(at.load(Ordering::Relaxed))));
            let seen = seen.collect();
            // Nobody holds it any more: its last use is in this batch.
            all.retain(|_, at| Arc::strong_count(at) > 1);
            seen
        };
        self.store.touch(&seen).await?;
        let ended = self.store.sweep(now, now.minus(idle)).await?;
        self.note_ended(&ended).await;
        Ok(ended)
    }

    fn seen_of(&self, session: &Session) -> Arc<AtomicI64> {
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen =
            all.entry(session.id.clone()).or_insert_with(|| Arc::new(AtomicI64::new(session.last_seen.millis())));
        seen.clone()
    }

    async fn note_ended(&self, ended: &[SessionId]) {
        for id in ended {
            self.ended.insert(id.clone(), ());
        }
        if !ended.is_empty() {
            self.forget(|id| ended.contains(id)).await;
        }
    }

    async fn forget(&self, which: impl Fn(&SessionId) -> bool) {
        let gone: Vec<TicketHash> = self
            .live
            .iter()
            .filter(|(_, entry)| entry.as_ref().is_some_and(|(_, live)| which(&live.session.id)))
            .map(|(handle, _)| *handle)
            .collect();
        for handle in gone {
            self.live.invalidate(&handle).await;
        }
    }
}
