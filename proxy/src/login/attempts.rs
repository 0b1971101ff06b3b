//! How often somebody may try something within a minute: begin a sign-in or come back from a provider (an address), send
//! a report (a device, an address). Knows them for a minute, and so many at most; never a person: locking accounts is
//! the provider's business.
use crate::edge::shares::sharer;
use moka::sync::Cache;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use torhaus_authz::Timestamp;

/// Over this time they may use up their attempts at once; then they come back evenly.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Remembered at most: some hundred bytes each. Whoever has more addresses than that is not held back by counting
/// addresses.
const MOST: u64 = 50_000;

/// For each of them the moment at which they have all their attempts again (the generic cell rate algorithm), in
/// milliseconds.
pub struct Attempts<T: Hash + Eq = Address>(Cache<T, Arc<AtomicU64>>);

/// As connections are counted: an IPv6 /64 is one customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address(IpAddr);

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        Self(sharer(address))
    }
}

impl<T: Hash + Eq + Send + Sync + 'static> Default for Attempts<T> {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(MOST).time_to_idle(WINDOW).build())
    }
}

impl<T: Hash + Eq + Send + Sync + 'static> Attempts<T> {
    /// Whether they may try once more; counts the attempt if so.
    pub fn one_more(&self, who: impl Into<T>, per_minute: u32, now: Timestamp) -> bool {
        let window = u64::try_from(WINDOW.as_millis()).unwrap_or(u64::MAX);
        // However many are allowed, each costs something.
        let costs = (window / u64::from(per_minute.max(1))).max(1);
        let now = u64::try_from(now.millis()).unwrap_or(0);
        let whole_again = self.0.get_with(who.into(), Arc::default);
        let taken = whole_again.fetch_update(Ordering::AcqRel, Ordering::Acquire, |at| {
            // Nobody owes more than a window: the clock was set back.
            let owes_until = if at > now + window { now } else { at.max(now) };
            let at = owes_until + costs;
            (at - now <= window).then_some(at)
        });
        taken.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_attempts_and_gets_them_back() {
        let attempts = Attempts::<Address>::default();
        let at = |seconds: i64| Timestamp::from_seconds(1_800_000_000 + seconds);
        let try_ = |address: &str, seconds| attempts.one_more(address.parse::<IpAddr>().unwrap(), 6, at(seconds));
        assert!((0..6).all(|_| try_("192.0.2.1", 0)));
        assert!(!try_("192.0.2.1", 0) && !try_("::ffff:192.0.2.1", 9));
        assert!(try_("192.0.2.2", 0), "its neighbour is somebody else");
        assert!(try_("192.0.2.1", 10), "one each ten seconds");
        assert!(!try_("192.0.2.1", 10));
        assert!((0..6).all(|_| try_("192.0.2.1", 80)));
        assert!(!try_("192.0.2.1", 80));
        assert!((0..6).all(|_| try_("192.0.2.1", -3600)), "an hour that the clock was set back holds up nobody");
        assert!(!try_("192.0.2.1", -3600));
        assert!((0..6).all(|n| try_(&format!("2001:db8::{n}"), 0)));
        assert!(!try_("2001:db8::ffff", 0), "one /64 is one customer");
    }
}
