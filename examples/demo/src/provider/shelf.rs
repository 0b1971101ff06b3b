//! Things kept for a while under a random key: interactions, sessions, codes, refresh tokens.
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use time::OffsetDateTime;

/// More than a demo needs; the oldest make room, so that nobody can fill the memory.
const CAPACITY: usize = 10_000;

pub struct Shelf<V> {
    things: Mutex<HashMap<String, (OffsetDateTime, V)>>,
}

impl<V: Clone> Shelf<V> {
    pub fn new() -> Self {
        Self { things: Mutex::new(HashMap::new()) }
    }

    pub fn put(&self, key: String, value: V, until: OffsetDateTime, now: OffsetDateTime) {
        let mut things = self.lock();
        if things.len() >= CAPACITY {
            things.retain(|_, (until, _)| *until > now);
        }
        if things.len() >= CAPACITY
            && let Some(oldest) = things.iter().min_by_key(|(_, (until, _))| *until).map(|(key, _)| key.clone())
        {
            things.remove(&oldest);
        }
        things.insert(key, (until, value));
    }

    pub fn find(&self, key: &str, now: OffsetDateTime) -> Option<V> {
        self.lock().get(key).filter(|(until, _)| *until > now).map(|(_, value)| value.clone())
    }

    /// Finds and removes in one step: of two callers, one gets it.
    pub fn take(&self, key: &str, now: OffsetDateTime) -> Option<V> {
        self.lock().remove(key).filter(|(until, _)| *until > now).map(|(_, value)| value)
    }

    pub fn any(&self, now: OffsetDateTime, wanted: impl Fn(&V) -> bool) -> bool {
        self.lock().values().any(|(until, value)| *until > now && wanted(value))
    }

    pub fn drop_all(&self, unwanted: impl Fn(&V) -> bool) {
        self.lock().retain(|_, (_, value)| !unwanted(value));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (OffsetDateTime, V)>> {
        // A panic elsewhere leaves the map whole: each change is one call.
        self.things.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 256 random bits for a URL or a cookie.
pub fn token() -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::Duration;
    use time::macros::datetime;

    #[test]
    fn a_thing_is_taken_once_and_not_after_its_time() {
        let now = datetime!(2026-11-22 12:00 UTC);
        let shelf = Shelf::new();
        shelf.put("a".into(), 1, now + Duration::seconds(60), now);
        assert_eq!(shelf.find("a", now), Some(1));
        assert_eq!(shelf.find("a", now + Duration::seconds(60)), None);
        assert_eq!(shelf.take("a", now), Some(1));
        assert_eq!(shelf.take("a", now), None);
    }

    #[test]
    fn a_full_shelf_drops_what_would_end_first() {
        let now = datetime!(2026-11-22 12:00 UTC);
        let shelf = Shelf::new();
        for i in 0..=CAPACITY {
            shelf.put(i.to_string(), i, now + Duration::seconds(60 + i64::try_from(i).unwrap()), now);
        }
        assert_eq!(shelf.find("0", now), None);
        assert_eq!(shelf.find("1", now), Some(1));
        assert_eq!(shelf.find(&CAPACITY.to_string(), now), Some(CAPACITY));
    }
}
