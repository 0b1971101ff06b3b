//! Was this recorded within the window? Then it is counted. Sharded, bounded, no I/O.
use crate::audit::{Recorded, WINDOW};
use crate::locks::lock;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Mutex, MutexGuard};
use torhaus_authz::{Name, Timestamp};

/// About 20 MB when full. Beyond it the oldest are forgotten, and so written again sooner.
pub const MOST_FACTS: usize = 256 * 1024;
/// Networks and reasons of callers nobody knows, each worth at most two lines per window. Beyond it all are counted
/// together: an attack from everywhere writes some 10 MB per window, not more.
pub const MOST_NETWORKS: usize = 8 * 1024;

const SHARDS: usize = 64;
/// A line may lie this far ahead of the caller's `now`: tasks read the clock before they wait. Beyond it the clock was
/// set back, and old lines must not silence new ones.
const AHEAD_MILLIS: i64 = 10_000;

pub struct Dedupe<K> {
    shards: Box<[Mutex<HashMap<K, Slot>>]>,
    hasher: RandomState,
    most_per_shard: usize,
}

struct Slot {
    at: Timestamp,
    decision: Option<Name>,
    /// How many came after the line.
    after: u64,
}

impl Slot {
    fn holds(&self, now: Timestamp) -> bool {
        let age = now.millis().saturating_sub(self.at.millis());
        age >= -AHEAD_MILLIS && now.since(self.at) < WINDOW
    }
}

impl<K: Copy + Eq + Hash> Dedupe<K> {
    pub fn new(most: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            most_per_shard: most.div_ceil(SHARDS),
        }
    }

    /// Counts `key` if its line is not older than the window.
    pub fn count(&self, key: &K, now: Timestamp) -> Option<Recorded> {
        let mut shard = self.shard(key)?;
        let slot = shard.get_mut(key).filter(|slot| slot.holds(now))?;
        slot.after = slot.after.saturating_add(1);
        Some(Recorded { decision: slot.decision.clone() })
    }

    /// How many were counted since the last line of `key`; they go into the next one.
    pub fn counted(&self, key: &K) -> u64 {
        self.shard(key).and_then(|shard| shard.get(key).map(|slot| slot.after)).unwrap_or(0)
    }

    /// Call it once the line is on disk. `after`: how many came while it was written.
    pub fn written(&self, key: K, at: Timestamp, decision: Option<Name>, after: u64) {
        let Some(mut shard) = self.shard(&key) else { return };
        if shard.len() >= self.most_per_shard && !shard.contains_key(&key) {
            make_room(&mut shard, at);
        }
        shard.insert(key, Slot { at, decision, after });
    }

    /// Whether `key` can be followed without forgetting another one.
    pub fn has_room(&self, key: &K, now: Timestamp) -> bool {
        let Some(mut shard) = self.shard(key) else { return false };
        if shard.len() < self.most_per_shard || shard.contains_key(key) {
            return true;
        }
        // Counts that were not reported yet stay.
        shard.retain(|_, slot| slot.holds(now) || slot.after > 0);
        shard.len() < self.most_per_shard
    }

    /// Forgets what is older than the window; the counts that no later line will carry.
    pub fn take_expired(&self, now: Timestamp) -> Vec<(K, u64)> {
        let mut counts = Vec::new();
        for shard in &self.shards {
            lock(shard).retain(|key, slot| {
                let holds = slot.holds(now);
                if !holds && slot.after > 0 {
                    counts.push((*key, slot.after));
                }
                holds
            });
        }
        counts
    }

    fn shard(&self, key: &K) -> Option<MutexGuard<'_, HashMap<K, Slot>>> {
        let index = usize::try_from(self.hasher.hash_one(key)).unwrap_or(0) % SHARDS;
        self.shards.get(index).map(lock)
    }
}

/// Drops what the window has left, and if that is not enough, the older half.
fn make_room<K: Copy + Eq + Hash>(shard: &mut HashMap<K, Slot>, now: Timestamp) {
    let before = shard.len();
    shard.retain(|_, slot| slot.holds(now));
    if shard.len() == before {
        let mut times: Vec<Timestamp> = shard.values().map(|slot| slot.at).collect();
        let middle = times.len() / 2;
        let (_, median, _) = times.select_nth_unstable(middle);
        let median = *median;
        shard.retain(|_, slot| slot.at >= median);
        // Many may share the median's millisecond: of those, as many as it takes.
        let mut too_many = shard.len().saturating_sub(before - middle);
        shard.retain(|_, slot| {
            let drop = slot.at == median && too_many > 0;
            too_many -= usize::from(drop);
            !drop
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOON: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn minutes(n: u64) -> Timestamp {
        NOON.plus(Duration::from_secs(60 * n))
    }

    #[test]
    fn what_was_written_is_counted_for_fifteen_minutes() {
        let dedupe = Dedupe::new(64);
        assert!(dedupe.count(&1, NOON).is_none(), "not written yet");
        dedupe.written(1, NOON, Some("d-1".into()), 0);
        assert_eq!(dedupe.count(&1, minutes(14)).unwrap().decision().map(|d| &**d), Some("d-1"));
        assert!(dedupe.count(&2, minutes(14)).is_none(), "another fingerprint");
        assert!(dedupe.count(&1, minutes(15)).is_none(), "the window has passed");
        assert_eq!(dedupe.counted(&1), 1, "and its count goes into the next line");
        dedupe.written(1, minutes(15), None, 0);
        assert_eq!(dedupe.counted(&1), 0);
    }

    #[test]
    fn a_clock_set_back_does_not_silence_the_log() {
        let dedupe = Dedupe::new(64);
        dedupe.written(1, minutes(60), None, 0);
        assert!(dedupe.count(&1, NOON).is_none());
    }

    #[test]
    fn memory_is_bounded_and_what_is_forgotten_is_the_oldest() {
        let dedupe = Dedupe::new(SHARDS * 8);
        for n in 0..100_000u64 {
            dedupe.written(n, NOON.plus(Duration::from_millis(n)), None, 0);
        }
        let held: usize = dedupe.shards.iter().map(|s| lock(s).len()).sum();
        assert!(held <= SHARDS * 8, "{held}");
        let late = NOON.plus(Duration::from_millis(100_000));
        assert!(dedupe.count(&99_999, late).is_some(), "the newest is there");
        assert!(dedupe.count(&1, late).is_none());
    }
}
