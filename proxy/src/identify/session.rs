//! Live sessions: what the gate asks on every request, answered from memory.
//!
//! The store is read when a handle is first seen, and again every few seconds, so that a replica that missed a
//! notification is right soon; whoever keeps asking does not wait for it. A store that only this process writes to is not
//! read again: it is asked, once for all sessions, whether that is still so. Ending a session here counts at once. While
//! the store is lost, sessions that are known go on for a stated time.
use crate::identify::shared_names::SharedNames;
use crate::login::device_claim::DeviceClaim;
use crate::login::session::{
    AccessToken, AtHost, Others, Session, SessionId, SessionStore, TicketHash, Unavailable, Which,
};
use ahash::RandomState;
use moka::Expiry;
use moka::future::Cache;
use moka::ops::compute::{CompResult, Op};
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use torhaus_authz::{Fact, Groups, Name, Proof, Timestamp, User};

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
/// Handles kept in memory; a session with ten groups and its handle take 1.4 KB (`tests/memory.rs`).
const KEPT: u64 = 200_000;

/// What requests ask of a session. What only a refresh, a logout or a list needs stays in the store
/// ([`Sessions::stored`]), and nothing is written back from here.
pub struct LiveSession {
    pub id: SessionId,
    pub user: Arc<User>,
    pub display_name: Option<Name>,
    pub email: Option<Name>,
    pub groups: Fact<Arc<Groups>>,
    /// The device that the person signed in with, as the provider has it.
    pub device: DeviceClaim,
    pub proofs: Arc<[Proof]>,
    /// For applications that it is handed on to.
    pub access_token: Option<AccessToken>,
    /// The absolute end.
    pub expires: Timestamp,
    used: Arc<Used>,
}

impl LiveSession {
    fn of(session: Session, used: Arc<Used>, names: &SharedNames) -> Self {
        let user = &session.user;
        // Most are called by their address.
        let email = |email: String| if *email == *user.name { user.name.clone() } else { email.into() };
        Self {
            user: Arc::new(User {
                name: user.name.clone(),
                provider: names.share(&user.provider),
                issuer: names.share(&user.issuer),
                subject: user.subject.clone(),
                federated: user.federated,
            }),
            groups: match &session.groups {
                Fact::Known(groups) => Fact::Known(names.share_groups(groups)),
                Fact::Unknown(why) => Fact::Unknown(*why),
            },
            proofs: (session.proofs.iter())
                .map(|proof| Proof {
                    tier: names.share(&proof.tier),
                    proven_at: proof.proven_at,
                    provider: names.share(&proof.provider),
                })
                .collect(),
            id: session.id,
            display_name: session.display_name.map(Into::into),
            email: session.email.map(email),
            device: session.device,
            access_token: session.tokens.access_token,
            expires: session.expires,
            used,
        }
    }
}

/// How a session was used, as far as this process saw it.
struct Used {
    /// Milliseconds since the epoch; written to the store from time to time.
    at: AtomicI64,
    ended: AtomicBool,
    /// Names of devices that are in the store, or on their way there.
    devices: Mutex<Vec<Name>>,
    /// Under which it is kept in memory, so that what changes about one session is no search among all. One for each
    /// host that the person uses.
    handles: Mutex<Vec<TicketHash>>,
}

impl LiveSession {
    /// Whether it was ended since, as far as this process knows.
    pub fn has_ended(&self) -> bool {
        self.used.ended.load(Ordering::Acquire)
    }
}

impl fmt::Debug for LiveSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LiveSession").field(&self.id).finish()
    }
}

/// What the store said of a handle.
struct Kept {
    host: Arc<str>,
    live: Option<Arc<LiveSession>>,
    read: Instant,
    /// `Sessions::doubts` when it was read.
    doubts: u64,
    /// Somebody asks again already.
    asking: AtomicBool,
}

/// That nothing is known of a handle is soon forgotten, so that those who make handles up push nobody out.
struct Unknown;

impl Expiry<TicketHash, Arc<Kept>> for Unknown {
    fn expire_after_create(&self, _: &TicketHash, kept: &Arc<Kept>, _: Instant) -> Option<Duration> {
        kept.live.is_none().then_some(REREAD)
    }

    fn expire_after_update(
        &self,
        _: &TicketHash,
        kept: &Arc<Kept>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        kept.live.is_none().then_some(REREAD)
    }
}

/// When a session was last used, and what of that is in the store.
struct Seen {
    used: Arc<Used>,
    written: i64,
}

#[derive(Clone)]
pub struct Sessions {
    pub store: Arc<dyn SessionStore>,
    live: Cache<TicketHash, Arc<Kept>, RandomState>,
    names: Arc<SharedNames>,
    /// To be asked for again.
    old: Arc<Mutex<Vec<AtHost>>>,
    /// How each session was used, as long as one of its handles is kept, and until that is written to the store.
    seen: Arc<Mutex<HashMap<SessionId, Seen>>>,
    /// Ended a moment ago: a read that began before must not bring it back.
    ended: moka::sync::Cache<SessionId, ()>,
    /// The store could not be asked last time. Nobody waits for it then; `probe` finds out when it is back.
    lost: Arc<AtomicBool>,
    /// How often what happened elsewhere may have been missed. What was read before the last time is asked for again.
    doubts: Arc<AtomicU64>,
    /// How often something was forgotten because it had changed here. What was read meanwhile may be older than that.
    changes: Arc<AtomicU64>,
    began: Instant,
    /// Milliseconds after `began` at which every answer that counts was still right, because nobody else had written.
    confirmed: Arc<AtomicU64>,
    live_without: Duration,
}

impl Sessions {
    /// `live_without`: how long sessions that are known go on while the store is lost.
    pub fn new(store: Arc<dyn SessionStore>, live_without: Duration) -> Self {
        Self {
            store,
            live: Cache::builder()
                .max_capacity(KEPT)
                .time_to_idle(live_without.max(FORGET))
                .expire_after(Unknown)
                .build_with_hasher(RandomState::new()),
            names: Arc::default(),
            old: Arc::default(),
            seen: Arc::default(),
            ended: moka::sync::Cache::builder().max_capacity(KEPT).time_to_live(REREAD * 4).build(),
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
        let moment = Instant::now();
        let kept = match self.live.get(&handle).await {
            Some(kept) if self.counts(&kept, moment) => {
                self.refresh(handle, &kept, moment);
                kept
            }
            Some(kept) if kept.live.is_some() => match Box::pin(self.read(handle, host)).await {
                Ok(read) => read,
                // Whoever is signed in goes on for a while.
                Err(_) if self.age(&kept, moment) < self.live_without => kept,
                Err(error) => return Err(error),
            },
            _ => Box::pin(self.read(handle, host)).await?,
        };
        let Some(live) = &kept.live else { return Ok(None) };
        let usable = *kept.host == *host && live.expires > now && !live.has_ended();
        if !usable {
            return Ok(None);
        }
        live.used.at.fetch_max(now.millis(), Ordering::Relaxed);
        Ok(Some(live.clone()))
    }

    /// Asks the store. Single flight: of many requests that miss at once, one reads.
    async fn read(&self, handle: TicketHash, host: &str) -> Result<Arc<Kept>, Unavailable> {
        let changes = self.changes.load(Ordering::Acquire);
        let read = async |before: Option<moka::Entry<TicketHash, Arc<Kept>>>| {
            let moment = Instant::now();
            let is_new = |kept: &Kept| self.counts(kept, moment) && self.age(kept, moment) < REFRESH;
            if before.is_some_and(|before| is_new(before.value())) {
                return Ok(Op::Nop);
            }
            if self.is_lost() {
                return Err(Unavailable("the store did not answer a moment ago".into()));
            }
            let (read, doubts) = (Instant::now(), self.doubts.load(Ordering::Acquire));
            let found = self.store.find(handle, host).await;
            self.lost.store(found.is_err(), Ordering::Release);
            let live = found?.map(|session| self.known(session, handle));
            Ok(Op::Put(Arc::new(Kept {
                host: self.names.share(host),
                live,
                read,
                doubts,
                asking: AtomicBool::new(false),
            })))
        };
        let kept = match self.live.entry(handle).and_try_compute_with(read).await? {
            CompResult::Inserted(entry) | CompResult::ReplacedWith(entry) | CompResult::Unchanged(entry) => {
                entry.into_value()
            }
            CompResult::StillNone(_) | CompResult::Removed(_) => {
                return Err(Unavailable("nothing was read".into()));
            }
        };
        if let Some(live) = &kept.live {
            // Once more: a sweep that came before it was kept has taken it for one that is not kept any more.
            live.used.kept_under(handle);
        }
        self.keep_nothing_older([handle], changes).await;
        Ok(kept)
    }

    /// What was read while something changed may be from before, and was kept after it had been forgotten. It counts once.
    async fn keep_nothing_older(&self, read: impl IntoIterator<Item = TicketHash>, changes: u64) {
        if self.changes.load(Ordering::Acquire) != changes {
            for handle in read {
                self.live.invalidate(&handle).await;
            }
        }
    }

    /// Asks again, beside the request that found `kept` good enough. Handles are gathered for a moment: one question to
    /// the store for all whose answers grew old in it.
    fn refresh(&self, handle: TicketHash, kept: &Kept, moment: Instant) {
        if kept.live.is_none() || self.age(kept, moment) < REFRESH || kept.asking.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut old = lock(&self.old);
        old.push((handle, kept.host.clone()));
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
        let (read, doubts) = (Instant::now(), self.doubts.load(Ordering::Acquire));
        let found = self.store.find_all(&old).await;
        self.lost.store(found.is_err(), Ordering::Release);
        let Ok(found) = found else { return };
        let mut found: HashMap<TicketHash, Result<Session, Unavailable>> = found.into_iter().collect();
        let handles: Vec<TicketHash> = old.iter().map(|(handle, _)| *handle).collect();
        for (handle, host) in old {
            let live = match found.remove(&handle).transpose() {
                Ok(live) => live.map(|session| self.known(session, handle)),
                // Its own next request is told so.
                Err(_) => continue,
            };
            let again = Arc::new(Kept { host, live, read, doubts, asking: AtomicBool::new(false) });
            // Whoever was forgotten meanwhile, or asked for since, was so for a reason.
            let put = async |before: Option<moka::Entry<TicketHash, Arc<Kept>>>| match before {
                Some(before) if before.value().read < read => Op::Put(again),
                _ => Op::Nop,
            };
            self.live.entry(handle).and_compute_with(put).await;
        }
        self.keep_nothing_older(handles, changes).await;
    }

    fn known(&self, session: Session, handle: TicketHash) -> Arc<LiveSession> {
        let used = self.used_of(&session);
        used.kept_under(handle);
        // Ended while it was read: whoever ended it may not have found it here.
        if self.has_ended(&session.id) {
            used.ended.store(true, Ordering::Release);
        }
        Arc::new(LiveSession::of(session, used, &self.names))
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
            self.forget_handles([old]).await;
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
        let seen: Vec<(SessionId, Timestamp)> = {
            let all = lock(&self.seen);
            let used = all.iter().map(|(id, seen)| (id, seen.used.at.load(Ordering::Relaxed), seen.written));
            let new = used.filter(|(_, at, written)| at > written);
            new.map(|(id, at, _)| (id.clone(), Timestamp::from_millis(at))).collect()
        };
        if !seen.is_empty() {
            self.store.touch(&seen).await?;
        }
        {
            let mut all = lock(&self.seen);
            for (id, at) in seen {
                if let Some(seen) = all.get_mut(&id) {
                    seen.written = at.millis();
                }
            }
            // Nobody holds it any more, and its last use is written.
            all.retain(|_, seen| {
                lock(&seen.used.handles).retain(|handle| self.live.contains_key(handle));
                Arc::strong_count(&seen.used) > 1 || seen.used.at.load(Ordering::Relaxed) > seen.written
            });
        }
        let ended = self.store.sweep(now, now.minus(idle)).await?;
        self.note_ended(&ended).await;
        Ok(ended)
    }

    fn used_of(&self, session: &Session) -> Arc<Used> {
        let mut all = lock(&self.seen);
        let last = session.last_seen.millis();
        let used = || Used {
            at: AtomicI64::new(last),
            ended: AtomicBool::new(false),
            devices: Mutex::default(),
            handles: Mutex::default(),
        };
        let new = || Seen { used: Arc::new(used()), written: last };
        all.entry(session.id.clone()).or_insert_with(new).used.clone()
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
            if let Some(seen) = lock(&self.seen).get(id) {
                seen.used.ended.store(true, Ordering::Release);
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
        let all = lock(&self.seen);
        all.values().for_each(|seen| seen.used.devices().clear());
    }

    fn counts(&self, kept: &Kept, moment: Instant) -> bool {
        self.age(kept, moment) < REREAD && kept.doubts == self.doubts.load(Ordering::Acquire)
    }

    /// Since an answer was known to be right. That nothing is known of a handle is not confirmed: it is asked for again.
    fn age(&self, kept: &Kept, moment: Instant) -> Duration {
        let read = moment.saturating_duration_since(kept.read);
        if kept.live.is_none() || kept.doubts != self.doubts.load(Ordering::Acquire) {
            return read;
        }
        let confirmed = self.began + Duration::from_millis(self.confirmed.load(Ordering::Acquire));
        read.min(moment.saturating_duration_since(confirmed))
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
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
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
        let handles: Vec<TicketHash> = {
            let all = lock(&self.seen);
            let known = ids.into_iter().filter_map(|id| all.get(id));
            known.flat_map(|seen| lock(&seen.used.handles).iter().copied().collect::<Vec<_>>()).collect()
        };
        self.forget_handles(handles).await;
    }

    /// After the change is in the store.
    async fn forget_handles(&self, handles: impl IntoIterator<Item = TicketHash>) {
        // In this order: who reads meanwhile either sees that something changed, or has kept it by now.
        self.changes.fetch_add(1, Ordering::AcqRel);
        for handle in handles {
            self.live.invalidate(&handle).await;
        }
    }
}

impl Used {
    /// Those that were not noted before; they are now.
    fn not_yet(&self, names: impl Iterator<Item = Name>) -> Vec<Name> {
        let mut devices = self.devices();
        let new: Vec<Name> = names.filter(|name| !devices.contains(name)).collect();
        devices.extend(new.iter().cloned());
        new
    }

    fn kept_under(&self, handle: TicketHash) {
        let mut handles = lock(&self.handles);
        if !handles.contains(&handle) {
            // Most have one.
            handles.reserve_exact(1);
            handles.push(handle);
        }
    }

    fn devices(&self) -> MutexGuard<'_, Vec<Name>> {
        lock(&self.devices)
    }
}

/// A panic under the lock leaves whole values: they are used as they are.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
