//! The sessions that are in memory, by handle, and how each is used, by its id.
//!
//! A table of our own and no cache, because of what a look costs: it touches the session's own memory and nothing else. A
//! cache that keeps an order of use moves an entry in it at each look, and takes half a kilobyte for each.
use super::live::{LiveSession, Used, lock};
use crate::login::session::{Session, SessionId, TicketHash};
use ahash::RandomState;
use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use torhaus_authz::Timestamp;

/// Parts with a lock of their own, so that requests do not wait for each other.
const PARTS: usize = 64;
/// When there is no room, the one goes that was used longest ago, of so many.
const SAMPLE: usize = 8;

type Part = RwLock<HashSet<ByHandle, RandomState>>;

pub(super) struct Known {
    parts: Box<[Part; PARTS]>,
    most_in_a_part: usize,
    /// As long as one of its handles is kept, and until the last use is written to the store.
    used: Mutex<HashSet<ById, RandomState>>,
}

impl Known {
    /// `most`: handles.
    pub fn new(most: usize) -> Self {
        Self {
            parts: Box::new(std::array::from_fn(|_| Part::default())),
            used: Mutex::default(),
            most_in_a_part: most.div_ceil(PARTS),
        }
    }

    pub fn get(&self, handle: &TicketHash) -> Option<Arc<LiveSession>> {
        let part = self.part(handle).read().unwrap_or_else(PoisonError::into_inner);
        part.get(handle).map(|kept| kept.0.clone())
    }

    /// Keeps it, unless something newer is known.
    pub fn put(&self, live: Arc<LiveSession>) {
        let mut part = self.part(&live.handle).write().unwrap_or_else(PoisonError::into_inner);
        if part.get(&live.handle).is_some_and(|kept| kept.0.read.at > live.read.at) {
            return;
        }
        if part.len() >= self.most_in_a_part && !part.contains(&live.handle) {
            let from = rand::random_range(0..part.len().max(1));
            let some = part.iter().skip(from).chain(part.iter()).take(SAMPLE);
            let oldest = some.min_by_key(|kept| kept.0.used.at.load(Ordering::Relaxed)).map(|kept| kept.0.handle);
            oldest.map(|handle| part.remove(&handle));
        }
        part.replace(ByHandle(live));
    }

    /// Replaces what was asked for before `read`, and nothing else: whoever was forgotten meanwhile, or asked for since,
    /// was so for a reason. None: the session is not live.
    pub fn renew(&self, handle: &TicketHash, read: u64, live: Option<Arc<LiveSession>>) {
        let mut part = self.part(handle).write().unwrap_or_else(PoisonError::into_inner);
        if part.get(handle).is_some_and(|kept| kept.0.read.at < read) {
            match live {
                Some(live) => drop(part.replace(ByHandle(live))),
                None => drop(part.take(handle)),
            }
        }
    }

    pub fn forget(&self, handle: &TicketHash) {
        self.part(handle).write().unwrap_or_else(PoisonError::into_inner).remove(handle);
    }

    /// How a session is used: what is known of that already, or what the store says.
    pub fn used_of(&self, session: &Session) -> Arc<Used> {
        let mut all = lock(&self.used);
        if let Some(ById(used)) = all.get(&session.id) {
            return used.clone();
        }
        let used = Arc::new(Used::new(session.id.clone(), session.last_seen));
        all.insert(ById(used.clone()));
        used
    }

    pub fn used(&self, id: &str) -> Option<Arc<Used>> {
        lock(&self.used).get(id).map(|by_id| by_id.0.clone())
    }

    /// When sessions were used, where the store does not know it yet.
    pub fn unwritten(&self) -> Vec<(SessionId, Timestamp)> {
        let all = lock(&self.used);
        all.iter().filter_map(|ById(used)| Some((used.id.clone(), used.unwritten()?))).collect()
    }

    /// The store knows it now.
    pub fn note_written(&self, seen: &[(SessionId, Timestamp)]) {
        let all = lock(&self.used);
        for (id, at) in seen {
            if let Some(ById(used)) = all.get(id) {
                used.written.store(at.millis(), Ordering::Relaxed);
            }
        }
    }

    /// Each device of each session is noted anew when it comes.
    pub fn forget_devices(&self) {
        lock(&self.used).iter().for_each(|ById(used)| used.devices().clear());
    }

    /// Forgets whom nobody has come for since `before`, and that a session was used, once the store knows it.
    pub fn forget_idle(&self, before: Timestamp) {
        lock(&self.used).retain(|ById(used)| {
            let is_idle = used.at.load(Ordering::Relaxed) < before.millis();
            used.handles().retain(|handle| {
                if is_idle {
                    self.forget(handle);
                }
                self.has(handle)
            });
            Arc::strong_count(used) > 1 || used.unwritten().is_some()
        });
    }

    fn has(&self, handle: &TicketHash) -> bool {
        self.part(handle).read().unwrap_or_else(PoisonError::into_inner).contains(handle)
    }

    #[expect(clippy::indexing_slicing, reason = "a remainder of the number of parts")]
    fn part(&self, handle: &TicketHash) -> &Part {
        // A handle is a hash.
        &self.parts[usize::from(handle.0[0]) % PARTS]
    }
}

/// A session in a set, found by its handle.
struct ByHandle(Arc<LiveSession>);

impl Borrow<TicketHash> for ByHandle {
    fn borrow(&self) -> &TicketHash {
        &self.0.handle
    }
}

impl Hash for ByHandle {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.handle.hash(state);
    }
}

impl PartialEq for ByHandle {
    fn eq(&self, other: &Self) -> bool {
        self.0.handle == other.0.handle
    }
}

impl Eq for ByHandle {}

/// How a session is used, in a set, found by its id.
struct ById(Arc<Used>);

impl Borrow<str> for ById {
    fn borrow(&self) -> &str {
        &self.0.id
    }
}

impl Borrow<SessionId> for ById {
    fn borrow(&self) -> &SessionId {
        &self.0.id
    }
}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for ById {}

#[cfg(test)]
mod tests {
    use super::super::live::Read;
    use super::super::shared_names::SharedNames;
    use super::*;
    use crate::store::contract;
    use std::time::Duration;

    fn live(known: &Known, number: u32, used: Timestamp) -> Arc<LiveSession> {
        let session = contract::session(&format!("s-{number}"), "alice");
        let mut handle = [0; 32];
        handle[..4].copy_from_slice(&number.to_le_bytes());
        let (handle, read) = (TicketHash(handle), Read { at: 1, doubts: 0 });
        let of = known.used_of(&session);
        of.at.store(used.millis(), Ordering::Relaxed);
        of.kept_under(handle);
        Arc::new(LiveSession::of(session, (handle, "wiki".into()), read, of, &SharedNames::default()))
    }

    #[test]
    fn when_there_is_no_room_somebody_goes_who_was_here_longer_ago() {
        let known = Known::new(4 * PARTS);
        let busy = live(&known, 0, contract::NOON.plus(Duration::from_secs(3600)));
        known.put(busy.clone());
        for number in 1..5_000 {
            let comes = live(&known, number, contract::NOON);
            known.put(comes.clone());
            assert!(known.get(&comes.handle).is_some(), "whoever comes is known");
        }
        assert!(known.get(&busy.handle).is_some(), "and so is who came last");
        let kept: usize = known.parts.iter().map(|part| part.read().unwrap().len()).sum();
        assert_eq!(kept, 4 * PARTS);
        known.forget_idle(contract::NOON);
        assert_eq!(lock(&known.used).len(), kept, "nothing is left of the others");
    }

    #[test]
    fn who_comes_no_more_is_forgotten_and_when_he_came_not_before_it_is_written() {
        let known = Known::new(100);
        let (old, new) =
            (live(&known, 1, contract::NOON), live(&known, 2, contract::NOON.plus(Duration::from_secs(60))));
        let [first, second] = [&old, &new].map(|live| live.handle);
        for session in [old, new] {
            session.used.written.store(0, Ordering::Relaxed);
            known.put(session);
        }
        known.forget_idle(contract::NOON.plus(Duration::from_secs(1)));
        assert!(known.get(&first).is_none() && known.get(&second).is_some());
        let unwritten = known.unwritten();
        assert_eq!(unwritten.len(), 2);
        known.note_written(&unwritten);
        known.forget_idle(contract::NOON.plus(Duration::from_secs(1)));
        assert!(known.used("s-1").is_none() && known.used("s-2").is_some());
    }

    #[test]
    fn an_answer_replaces_only_an_older_one() {
        let known = Known::new(100);
        let (first, again) = (live(&known, 1, contract::NOON), live(&known, 1, contract::NOON));
        let handle = first.handle;
        known.renew(&handle, 2, Some(again.clone()));
        assert!(known.get(&handle).is_none(), "forgotten meanwhile");
        known.put(first.clone());
        known.renew(&handle, 1, None);
        assert!(known.get(&handle).is_some_and(|kept| Arc::ptr_eq(&kept, &first)), "asked for since");
        known.renew(&handle, 2, Some(again.clone()));
        assert!(known.get(&handle).is_some_and(|kept| Arc::ptr_eq(&kept, &again)));
        known.renew(&handle, 2, None);
        assert!(known.get(&handle).is_none(), "it is not live any more");
    }
}
