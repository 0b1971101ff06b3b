//! The sessions that are in memory, by handle, and how each is used, by its id.
//!
//! A table of our own and no cache, because of what a look costs: it touches the session's own memory and nothing else. A
//! cache that keeps an order of use moves an entry in it at each look, and takes half a kilobyte for each.
use super::live::{LiveSession, Used};
use crate::locks::{lock, read, write};
use crate::login::session::{Session, SessionId, TicketHash};
use ahash::RandomState;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, RwLock};
use torhaus_authz::Timestamp;

/// Parts with a lock of their own, so that requests do not wait for each other.
const PARTS: usize = 64;
/// When there is no room, the one goes that was used longest ago, of so many.
const SAMPLE: usize = 8;

type Part = RwLock<HashMap<TicketHash, Arc<LiveSession>, RandomState>>;

pub(super) struct Known {
    parts: Box<[Part; PARTS]>,
    most_in_a_part: usize,
    /// As long as one of its handles is kept, and until the last use is written to the store.
    used: Mutex<HashMap<SessionId, Arc<Used>, RandomState>>,
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
        read(self.part(handle)).get(handle).cloned()
    }

    /// Keeps it, unless something newer is known.
    pub fn put(&self, handle: TicketHash, live: Arc<LiveSession>) {
        let mut part = write(self.part(&handle));
        match part.get(&handle) {
            Some(kept) if kept.read.at > live.read.at => return,
            None if part.len() >= self.most_in_a_part => {
                let from = rand::random_range(0..part.len().max(1));
                let some = part.iter().skip(from).chain(part.iter()).take(SAMPLE);
                let oldest = some.min_by_key(|(_, kept)| kept.used.at.load(Ordering::Relaxed));
                let oldest = oldest.map(|(handle, _)| *handle);
                oldest.map(|handle| part.remove(&handle));
            }
            _ => {}
        }
        part.insert(handle, live);
    }

    /// Replaces what was asked for before `read_at`, and nothing else: whoever was forgotten meanwhile, or asked for since,
    /// was so for a reason. None: the session is not live.
    pub fn renew(&self, handle: &TicketHash, read_at: u64, live: Option<Arc<LiveSession>>) {
        let mut part = write(self.part(handle));
        if part.get(handle).is_some_and(|kept| kept.read.at < read_at) {
            match live {
                Some(live) => part.insert(*handle, live),
                None => part.remove(handle),
            };
        }
    }

    pub fn forget(&self, handle: &TicketHash) {
        write(self.part(handle)).remove(handle);
    }

    /// How a session is used: what is known of that already, or what the store says.
    pub fn used_of(&self, session: &Session) -> Arc<Used> {
        let new = || Arc::new(Used::new(session.id.clone(), session.last_seen));
        lock(&self.used).entry(session.id.clone()).or_insert_with(new).clone()
    }

    pub fn used(&self, id: &str) -> Option<Arc<Used>> {
        lock(&self.used).get(id).cloned()
    }

    /// When sessions were used, where the store does not know it yet.
    pub fn unwritten(&self) -> Vec<(SessionId, Timestamp)> {
        let all = lock(&self.used);
        all.iter().filter_map(|(id, used)| Some((id.clone(), used.unwritten()?))).collect()
    }

    /// The store knows it now.
    pub fn note_written(&self, seen: &[(SessionId, Timestamp)]) {
        let all = lock(&self.used);
        for (id, at) in seen {
            if let Some(used) = all.get(id) {
                used.written.store(at.millis(), Ordering::Relaxed);
            }
        }
    }

    /// Each device of each session is noted anew when it comes.
    pub fn forget_devices(&self) {
        lock(&self.used).values().for_each(|used| used.devices().clear());
    }

    /// Forgets whom nobody has come for since `before`, and that a session was used, once the store knows it.
    pub fn forget_idle(&self, before: Timestamp) {
        lock(&self.used).retain(|_, used| {
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
        read(self.part(handle)).contains_key(handle)
    }

    #[expect(clippy::indexing_slicing, reason = "a remainder of the number of parts")]
    fn part(&self, handle: &TicketHash) -> &Part {
        // A handle is a hash.
        &self.parts[usize::from(handle.0[0]) % PARTS]
    }
}

#[cfg(test)]
mod tests {
    use super::super::live::Read;
    use super::super::shared_names::SharedNames;
    use super::*;
    use crate::store::contract;
    use std::time::Duration;

    fn live(known: &Known, number: u32, used: Timestamp, read_at: u64) -> (TicketHash, Arc<LiveSession>) {
        let session = contract::session(&format!("s-{number}"), "alice");
        let mut handle = [0; 32];
        handle[..4].copy_from_slice(&number.to_le_bytes());
        let (handle, read) = (TicketHash(handle), Read { at: read_at, doubts: 0 });
        let of = known.used_of(&session);
        of.at.store(used.millis(), Ordering::Relaxed);
        of.kept_under(handle);
        (handle, Arc::new(LiveSession::of(session, "wiki".into(), read, of, &SharedNames::default())))
    }

    #[test]
    fn when_there_is_no_room_somebody_goes_who_was_here_longer_ago() {
        let known = Known::new(4 * PARTS);
        let (busy, session) = live(&known, 0, contract::NOON.plus(Duration::from_secs(3600)), 1);
        known.put(busy, session);
        for number in 1..5_000 {
            let (comes, session) = live(&known, number, contract::NOON, 1);
            known.put(comes, session);
            assert!(known.get(&comes).is_some(), "whoever comes is known");
        }
        assert!(known.get(&busy).is_some(), "and so is who came last");
        let kept: usize = known.parts.iter().map(|part| read(part).len()).sum();
        assert_eq!(kept, 4 * PARTS);
        known.forget_idle(contract::NOON);
        assert_eq!(lock(&known.used).len(), kept, "nothing is left of the others");
    }

    #[test]
    fn who_comes_no_more_is_forgotten_and_when_he_came_not_before_it_is_written() {
        let known = Known::new(100);
        let [first, second] = [(1, 0), (2, 60)].map(|(number, seconds)| {
            let (handle, session) = live(&known, number, contract::NOON.plus(Duration::from_secs(seconds)), 1);
            session.used.written.store(0, Ordering::Relaxed);
            known.put(handle, session);
            handle
        });
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
        let (handle, first) = live(&known, 1, contract::NOON, 1);
        let (_, again) = live(&known, 1, contract::NOON, 2);
        let is = |expected: &Arc<LiveSession>| known.get(&handle).is_some_and(|kept| Arc::ptr_eq(&kept, expected));
        known.renew(&handle, 2, Some(again.clone()));
        assert!(known.get(&handle).is_none(), "forgotten meanwhile");
        known.put(handle, first.clone());
        known.renew(&handle, 1, None);
        assert!(is(&first), "asked for since");
        known.renew(&handle, 2, Some(again.clone()));
        assert!(is(&again));
        known.put(handle, first);
        assert!(is(&again), "what was asked for earlier came later");
        known.renew(&handle, 3, None);
        assert!(known.get(&handle).is_none(), "it is not live any more");
    }
}
