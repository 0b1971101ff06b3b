//! Anti-replay nonces (RFC 8555 s6.5). Making one costs no memory and no round trip: it is the time, 128 random bits
//! and a MAC over both. Taking one is where replays are caught:
//!
//! - **One replica** ([`Nonces::alone`]): the key lives and dies with the process, and the spent nonces are a set in
//!   memory. After a restart every older nonce is unknown, so nothing can be replayed across it.
//! - **Several replicas** ([`Nonces::shared`]): all have one key, so each accepts the nonces of the others. The set in
//!   memory catches a replay to the same replica. A request that changes something is spent in the store as well
//!   ([`super::Store::spend_nonce`]), in which it is about to write anyway. A read that is replayed to *another*
//!   replica is answered again; it changes nothing and says what its signer was told before.
use aws_lc_rs::hmac;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use time::{Duration, OffsetDateTime};

/// certbot waits for a DNS record for minutes between two requests; later it just asks for another nonce.
pub(super) const LIFE: Duration = Duration::minutes(15);
/// Clocks of replicas differ.
const MAX_CLOCK_SKEW: Duration = Duration::minutes(1);
/// About 16 MiB. When it is full, the older half is forgotten and refused from then on.
const MAX_SPENT: usize = 200_000;

const TIME_BYTES: usize = 8;
const RANDOM_BYTES: usize = 16;
const TAG_BYTES: usize = 16;

pub struct Nonces {
    key: hmac::Key,
    shared: bool,
    spent: Mutex<Spent>,
}

/// The random part of a nonce: its name in the store.
pub type NonceId = [u8; RANDOM_BYTES];

#[derive(Default)]
struct Spent {
    /// In order of their making.
    taken: BTreeSet<(i64, NonceId)>,
    /// Nonces made up to this second are refused: it is no longer known which of them were taken.
    forgotten: Option<i64>,
}

impl Nonces {
    /// For a single process.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub fn alone() -> Result<Self, crate::Error> {
        let mut key = zeroize::Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(key.as_mut()).map_err(|_| crate::Error::Random)?;
        Ok(Self { shared: false, ..Self::shared(&key) })
    }

    /// For replicas that hold one secret and one store.
    pub fn shared(key: &[u8; 32]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key), shared: true, spent: Mutex::default() }
    }

    pub(super) fn is_shared(&self) -> bool {
        self.shared
    }

    /// # Errors
    /// The system gave no random bytes.
    pub(super) fn fresh(&self, now: OffsetDateTime) -> Result<String, crate::Error> {
        let mut random = NonceId::default();
        aws_lc_rs::rand::fill(&mut random).map_err(|_| crate::Error::Random)?;
        let mut bytes = Vec::with_capacity(TIME_BYTES + RANDOM_BYTES + TAG_BYTES);
        bytes.extend(now.unix_timestamp().to_be_bytes());
        bytes.extend(random);
        let tag = hmac::sign(&self.key, &bytes);
        bytes.extend(tag.as_ref().iter().take(TAG_BYTES));
        Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The id of a nonce that is ours, fresh and not taken here before. Of two callers with one nonce, one gets it.
    pub(super) fn take(&self, nonce: &str, now: OffsetDateTime) -> Option<NonceId> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(nonce).ok()?;
        let (content, tag) = bytes.split_at_checked(TIME_BYTES + RANDOM_BYTES)?;
        let expected = hmac::sign(&self.key, content);
        let expected = expected.as_ref().get(..TAG_BYTES)?;
        aws_lc_rs::constant_time::verify_slices_are_equal(expected, tag).ok()?;
        let (made, random) = content.split_at_checked(TIME_BYTES)?;
        let made = i64::from_be_bytes(made.try_into().ok()?);
        let id = NonceId::try_from(random).ok()?;
        let age = Duration::seconds(now.unix_timestamp().checked_sub(made)?);
        if age > LIFE || age < -MAX_CLOCK_SKEW {
            return None;
        }
        self.spent.lock().unwrap_or_else(PoisonError::into_inner).take(made, id, now).then_some(id)
    }
}

impl Spent {
    fn take(&mut self, made: i64, id: NonceId, now: OffsetDateTime) -> bool {
        let oldest = (now - LIFE).unix_timestamp();
        while self.taken.first().is_some_and(|(made, _)| *made < oldest) {
            self.taken.pop_first();
        }
        if self.forgotten.is_some_and(|forgotten| made <= forgotten) {
            return false;
        }
        if self.taken.len() >= MAX_SPENT {
            for _ in 0..MAX_SPENT / 2 {
                self.forgotten = self.taken.pop_first().map(|(made, _)| made).max(self.forgotten);
            }
            if self.forgotten.is_some_and(|forgotten| made <= forgotten) {
                return false;
            }
        }
        self.taken.insert((made, id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: OffsetDateTime = time::macros::datetime!(2026-06-01 12:00 UTC);

    #[test]
    fn a_nonce_is_taken_once_within_its_life_and_only_by_who_holds_the_key() {
        let nonces = Nonces::alone().unwrap();
        let nonce = nonces.fresh(NOW).unwrap();
        assert!(nonces.take(&nonce, NOW).is_some());
        assert!(nonces.take(&nonce, NOW).is_none(), "replay");
        let late = nonces.fresh(NOW).unwrap();
        assert!(nonces.take(&late, NOW + LIFE + Duration::seconds(1)).is_none(), "too old");
        let early = nonces.fresh(NOW + Duration::minutes(5)).unwrap();
        assert!(nonces.take(&early, NOW).is_none(), "from the future");
        assert!(Nonces::alone().unwrap().take(&nonces.fresh(NOW).unwrap(), NOW).is_none(), "another process");
    }

    #[test]
    fn replicas_accept_the_nonces_of_each_other() {
        let (one, other) = (Nonces::shared(&[7; 32]), Nonces::shared(&[7; 32]));
        assert!(other.take(&one.fresh(NOW).unwrap(), NOW + Duration::seconds(3)).is_some());
    }

    #[test]
    fn a_full_set_forgets_and_refuses_what_it_forgot() {
        let mut spent = Spent::default();
        for i in 0..MAX_SPENT {
            let made = NOW.unix_timestamp() - i64::try_from(i % 100).unwrap();
            assert!(spent.take(made, id(i), NOW));
        }
        assert!(spent.take(NOW.unix_timestamp(), id(MAX_SPENT), NOW));
        assert!(spent.taken.len() <= MAX_SPENT / 2 + 1);
        for i in 0..MAX_SPENT {
            let made = NOW.unix_timestamp() - i64::try_from(i % 100).unwrap();
            assert!(!spent.take(made, id(i), NOW), "{i} was taken before");
        }
    }

    fn id(i: usize) -> NonceId {
        u128::try_from(i).unwrap().to_be_bytes()
    }
}
