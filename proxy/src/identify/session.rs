//! Live sessions: what the gate asks on every request, answered from memory.
//!
//! The store is read when a handle is first seen, and again every few seconds, so that a replica that missed a
//! notification is right soon; whoever keeps asking does not wait for it. A store that only this process writes to is not
//! read again: it is asked, once for all sessions, whether that is still so. Ending a session here counts at once. While
//! the store is lost, sessions that are known go on for a stated time.
use crate::identify::known::Known;
pub use crate::identify::live::LiveSession;
use crate::identify::live::Read;
use crate::identify::shared_names::SharedNames;
use crate::locks::lock;
use crate::login::session::{AtHost, Others, Session, SessionId, SessionStore, TicketHash, Unavailable, Which};
use ahash::RandomState;
use moka::future::Cache;
use moka::ops::compute::Op;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use torhaus_authz::{Name, Timestamp};

/// How long an answer of the store counts: the bound within which a revocation made elsewhere arrives.
const REREAD: Duration = Duration::from_secs(5);
/// An answer of this age is asked for again, beside the requests that use it.
const REFRESH: Duration = Duration::from_secs(3);
/// Answers that grow old within this time are asked for together.
const GATHER: Duration = Duration::from_millis(50);
/// How often the store is asked whether others write to it.
const ASK_ABOUT_OTHERS: Duration = Duration::from_secs(1);
/// Who has not come for so long is forgotten, and read from the store when he comes.
const FORGET: Duration = Duration::from_secs(600);
/// Handles kept in memory; a session with ten groups and its handle take 0.9 KB (`tests/memory.rs`).
const KEPT: usize = 200_000;
/// Handles of which nothing is known: those who make them up push nobody out.
const UNKNOWN: u64 = 20_000;
/// Sessions of which it is remembered that they have ended.
const ENDED: u64 = 200_000;

#[derive(Clone)]
pub struct Sessions {
    pub store: Arc<dyn SessionStore>,
    known: Arc<Known>,
    /// Handles of which the store knew nothing when it was asked. Its lock for each is also what makes many who miss at
    /// once one reader.
    unknown: Cache<TicketHash, Read, RandomState>,
    names: Arc<SharedNames>,
    /// To be asked for again.
    old: Arc<Mutex<Vec<AtHost>>>,
    /// Ended a moment ago: a read that began before must not bring it back.
    ended: moka::sync::Cache<SessionId, ()>,
    /// The store could not be asked last time. Nobody waits for it then; `probe` finds out when it is back.
    lost: Arc<AtomicBool>,
    /// How often what happened elsewhere may have been missed. What was read before the last time is asked for again.
    doubts: Arc<AtomicU64>,
    /// How often something was forgotten because it had changed here. What was read meanwhile may be older than that.
    changes: Arc<AtomicU64>,
    began: Instant,
    /// Microseconds after `began` at which every answer that counts was still right, because nobody else had written.
    confirmed: Arc<AtomicU64>,
    live_without: Duration,
}

impl Sessions {
    /// `live_without`: how long sessions that are known go on while the store is lost.
    pub fn new(store: Arc<dyn SessionStore>, live_without: Duration) -> Self {
        Self {
            store,
            known: Arc::new(Known::new(KEPT)),
            unknown: Cache::builder().max_capacity(UNKNOWN).time_to_live(REREAD).build_with_hasher(RandomState::new()),
            names: Arc::default(),
            old: Arc::default(),
            ended: moka::sync::Cache::builder().max_capacity(ENDED).time_to_live(REREAD * 4).build(),
            lost: Arc::default(),
            doubts: Arc::default(),
            changes: Arc::default(),
            began: Instant::now(),
            confirmed: Arc::default(),
            live_without,
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
        let moment = self.moment();
        let found = match self.known.get(&handle) {
            Some(live) if self.counts(live.read, REREAD, moment) => {
                self.refresh(handle, &live, moment);
                Some(live)
            }
            Some(live) => match Box::pin(self.read(handle, host)).await {
                Ok(read) => read,
                // Whoever is signed in goes on for a while.
                Err(_) if self.age(live.read, moment) < self.live_without => Some(live),
                Err(error) => return Err(error),
            },
            None => Box::pin(self.read(handle, host)).await?,
        };
        let Some(live) = found.filter(|live| *live.host == *host && live.expires > now && !live.has_ended()) else {
            return Ok(None);
        };
        live.used.at.fetch_max(now.millis(), Ordering::Relaxed);
        Ok(Some(live))
    }

    /// Asks the store. Single flight: of many requests that miss at once, one reads.
    async fn read(&self, handle: TicketHash, host: &str) -> Result<Option<Arc<LiveSession>>, Unavailable> {
        let changes = self.changes.load(Ordering::Acquire);
        let mut answer = None;
        let ask = async |unknown: Option<moka::Entry<TicketHash, Read>>| {
            let moment = self.moment();
            // Somebody else has asked by now.
            answer = self.known.get(&handle).filter(|live| self.counts(live.read, REFRESH, moment));
            if answer.is_some() || unknown.is_some_and(|unknown| self.is_still_unknown(*unknown.value(), moment)) {
                return Ok(Op::Nop);
            }
            if self.is_lost() {
                return Err(Unavailable("the store did not answer a moment ago".into()));
            }
            let read = self.reading();
            let found = self.store.find(handle, host).await;
            self.lost.store(found.is_err(), Ordering::Release);
            match found? {
                Some(session) => {
                    let live = self.live(session, handle, self.names.share(host), read);
                    self.known.put(handle, live.clone());
                    // Once more: a sweep that came before it was kept has taken it for one that is not kept any more.
                    live.used.kept_under(handle);
                    answer = Some(live);
                    Ok(Op::Remove)
                }
                None => {
                    self.known.forget(&handle);
                    Ok(Op::Put(read))
                }
            }
        };
        self.unknown.entry(handle).and_try_compute_with(ask).await?;
        self.keep_nothing_older([handle], changes).await;
        Ok(answer)
    }

    /// What was read while something changed may be from before, and was kept after it had been forgotten. It counts once.
    async fn keep_nothing_older(&self, read: impl IntoIterator<Item = TicketHash>, changes: u64) {
        if self.changes.load(Ordering::Acquire) != changes {
            for handle in read {
                self.forget_handle(handle).await;
            }
        }
    }

    /// Asks again, beside the request that found `live` good enough. Handles are gathered for a moment: one question to
    /// the store for all whose answers grew old in it.
    fn refresh(&self, handle: TicketHash, live: &LiveSession, moment: u64) {
        if self.age(live.read, moment) < REFRESH || live.asking.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut old = lock(&self.old);
        old.push((handle, live.host.clone()));
        if old.len() > 1 {
            return;
        }
        let sessions = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(GATHER).await;
            let old = std::mem::take(&mut *lock(&sessions.old));
            sessions.read_again(old).await;
        });
    }

    /// If it fails, the next one who comes after the answer's time asks himself.
    async fn read_again(&self, old: Vec<AtHost>) {
        if self.is_lost() {
            return;
        }
        let changes = self.changes.load(Ordering::Acquire);
        let read = self.reading();
        let found = self.store.find_all(&old).await;
        self.lost.store(found.is_err(), Ordering::Release);
        let Ok(found) = found else { return };
        let mut found: HashMap<TicketHash, Session> = found.into_iter().collect();
        let handles: Vec<TicketHash> = old.iter().map(|(handle, _)| *handle).collect();
        for (handle, host) in old {
            let live = found.remove(&handle).map(|session| self.live(session, handle, host, read));
            self.known.renew(&handle, read.at, live);
        }
        self.keep_nothing_older(handles, changes).await;
    }

    fn live(&self, session: Session, handle: TicketHash, host: Name, read: Read) -> Arc<LiveSession> {
        let used = self.known.used_of(&session);
        used.kept_under(handle);
        // Ended while it was read: whoever ended it may not have found it here.
        if self.has_ended(&session.id) {
            used.ended.store(true, Ordering::Release);
        }
        Arc::new(LiveSession::of(session, host, read, used, &self.names))
    }

    /// The store did not answer the last time it was asked.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Asks the store for something, to know whether it answers; how many sessions are live.
    ///
    /// # Errors
    /// It does not.
    pub async fn probe(&self) -> Result<u64, Unavailable> {
        let live = self.store.count().await;
        self.lost.store(live.is_err(), Ordering::Release);
        live
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
            self.note_change();
            self.forget_handle(old).await;
        }
        Ok(added)
    }

    /// A session with all its tokens; none if it has ended.
    ///
    /// # Errors
    /// The store could not be asked.
    pub async fn stored(&self, id: &SessionId) -> Result<Option<Session>, Unavailable> {
        Ok(self.store.list(&Which::Session(id.clone())).await?.pop())
    }

    /// Replaces what is known of a session; counts on the next request. False: it has ended.
    ///
    /// # Errors
    /// The store did not take it.
    pub async fn update(&self, session: &Session) -> Result<bool, Unavailable> {
        let live = self.store.update(session).await?;
        self.forget([&*session.id]).await;
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
        let seen = self.known.unwritten();
        if !seen.is_empty() {
            self.store.touch(&seen).await?;
        }
        self.known.note_written(&seen);
        self.known.forget_idle(now.minus(self.live_without.max(FORGET)));
        let ended = self.store.sweep(now, now.minus(idle)).await?;
        self.note_ended(&ended).await;
        Ok(ended)
    }

    /// Notes which device a session is used with, so that ending the sessions of a device finds it. Makes no request
    /// wait: what the store does not take is noted again with the next request.
    pub fn used_with(&self, live: &Arc<LiveSession>, names: impl Iterator<Item = Name>) {
        if self.is_lost() {
            return;
        }
        let new = live.used.not_yet(names);
        if new.is_empty() {
            return;
        }
        let (store, live) = (self.store.clone(), live.clone());
        tokio::spawn(async move {
            if let Err(error) = store.used_with(&live.id, &new).await {
                tracing::warn!(session = %live.id, %error, "the device of a session could not be written down");
                live.used.devices().retain(|name| !new.contains(name));
            }
        });
    }

    /// Sessions that have ended, here or elsewhere, count no more.
    pub async fn note_ended(&self, ended: &[SessionId]) {
        for id in ended {
            // In this order: who reads it from the store meanwhile notes it as known, and then looks here.
            self.ended.insert(id.clone(), ());
            if let Some(used) = self.known.used(id) {
                used.ended.store(true, Ordering::Release);
            }
        }
        if !ended.is_empty() {
            self.forget(ended.iter().map(|id| &**id)).await;
        }
    }

    /// Something else is known of this session now; the next request asks for it.
    pub async fn note_changed(&self, id: &str) {
        self.forget([id]).await;
    }

    /// Nobody told what happened meanwhile: each session is asked for again. If the store cannot be asked yet, who is
    /// signed in goes on as before.
    pub fn note_unsure(&self) {
        self.doubts.fetch_add(1, Ordering::AcqRel);
        // A server that took over may lack what was written a moment before: each device is written down again.
        self.known.forget_devices();
    }

    /// Microseconds since `began`.
    fn moment(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn reading(&self) -> Read {
        Read { at: self.moment(), doubts: self.doubts.load(Ordering::Acquire) }
    }

    /// Whether an answer is no older than that, and nothing was missed since.
    fn counts(&self, read: Read, within: Duration, moment: u64) -> bool {
        self.is_undoubted(read) && self.age(read, moment) < within
    }

    /// That nothing is known of a handle is not confirmed by a silent store: it is asked for again.
    fn is_still_unknown(&self, read: Read, moment: u64) -> bool {
        self.is_undoubted(read) && since(read.at, moment) < REREAD
    }

    fn is_undoubted(&self, read: Read) -> bool {
        read.doubts == self.doubts.load(Ordering::Acquire)
    }

    /// Since an answer was known to be right.
    fn age(&self, read: Read, moment: u64) -> Duration {
        let confirmed = if self.is_undoubted(read) { self.confirmed.load(Ordering::Acquire) } else { 0 };
        since(read.at.max(confirmed), moment)
    }

    /// Runs as long as the process.
    pub async fn watch_others(self) {
        let mut ticks = tokio::time::interval(ASK_ABOUT_OTHERS);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Ok(Others::Untold) = self.ask_about_others().await {
                return;
            }
        }
    }

    /// Whether anybody else wrote to the store. If not, every answer that counts is as good as a new one.
    pub(super) async fn ask_about_others(&self) -> Result<Others, Unavailable> {
        let now = self.moment();
        let others = self.store.others().await?;
        match others {
            Others::Silent => self.confirmed.store(now, Ordering::Release),
            Others::Wrote => self.note_unsure(),
            Others::Untold => {}
        }
        Ok(others)
    }

    /// What is known of these sessions, and under which handles, is asked for again.
    async fn forget<'a>(&self, ids: impl IntoIterator<Item = &'a str>) {
        self.note_change();
        let used = ids.into_iter().filter_map(|id| self.known.used(id));
        let handles: Vec<TicketHash> = used.flat_map(|used| used.handles().clone()).collect();
        for handle in handles {
            self.forget_handle(handle).await;
        }
    }

    /// After a change is in the store, and before anybody looks for what is known of it: who reads meanwhile either sees
    /// that something changed, or has kept what he read by now.
    fn note_change(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    async fn forget_handle(&self, handle: TicketHash) {
        self.known.forget(&handle);
        self.unknown.invalidate(&handle).await;
    }
}

fn since(at: u64, moment: u64) -> Duration {
    Duration::from_micros(moment.saturating_sub(at))
}
