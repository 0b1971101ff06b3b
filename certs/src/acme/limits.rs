//! Rate limits, each with a name, counted per replica in fixed windows (RFC 8555 s6.6). They bound what a client in a
//! loop costs; they are no access control.
use super::problem::{Kind, Problem};
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use time::{Duration, OffsetDateTime};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// `newAccount` requests of an address, good or bad: EAB keys cannot be tried out.
    NewAccounts,
    /// Orders of an account.
    NewOrders,
    /// Failed validations of an account.
    FailedValidations,
    /// Finalize requests of an account: each costs a signature.
    Finalizes,
}

/// How many within which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub count: u32,
    pub window: Duration,
}

/// All limits; the defaults fit clients that renew every few hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    pub new_accounts: Rate,
    pub new_orders: Rate,
    pub failed_validations: Rate,
    pub finalizes: Rate,
}

impl Default for Rates {
    fn default() -> Self {
        let per_hour = |count| Rate { count, window: Duration::hours(1) };
        Self {
            new_accounts: per_hour(60),
            new_orders: per_hour(60),
            failed_validations: per_hour(20),
            finalizes: per_hour(60),
        }
    }
}

impl Limit {
    fn name(self) -> &'static str {
        match self {
            Self::NewAccounts => "new accounts from one address",
            Self::NewOrders => "orders of one account",
            Self::FailedValidations => "failed validations of one account",
            Self::Finalizes => "finalized orders of one account",
        }
    }

    fn rate(self, rates: &Rates) -> Rate {
        match self {
            Self::NewAccounts => rates.new_accounts,
            Self::NewOrders => rates.new_orders,
            Self::FailedValidations => rates.failed_validations,
            Self::Finalizes => rates.finalizes,
        }
    }
}

/// Of each kind; about 10 MiB. Full of windows that still run, it refuses newcomers: whoever has that many addresses must not
/// get unlimited tries. Accounts are counted apart, so that strangers crowd out none of them.
const MAX_COUNTERS: usize = 100_000;
/// How often what is over is looked for while it is full: it takes a walk over all.
const SWEEP: Duration = Duration::seconds(10);

pub(super) struct Counters {
    rates: Rates,
    addresses: Mutex<Table<IpAddr>>,
    accounts: Mutex<Table<(Limit, String)>>,
}

struct Table<K> {
    counters: HashMap<K, Counter>,
    swept: Option<OffsetDateTime>,
}

struct Counter {
    since: OffsetDateTime,
    until: OffsetDateTime,
    count: u32,
}

impl Counters {
    pub fn new(rates: Rates) -> Self {
        Self { rates, addresses: Mutex::default(), accounts: Mutex::default() }
    }

    /// Counts one more new account of an address; an IPv6 /64 is what a single customer gets.
    ///
    /// # Errors
    /// `rateLimited`, with the time to wait.
    pub fn address(&self, address: IpAddr, now: OffsetDateTime) -> Result<(), Problem> {
        let limit = Limit::NewAccounts;
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.look(customer(address), limit.rate(&self.rates), now, 1).map_err(|wait| self.limited(limit, wait))
    }

    /// Counts one more of an account.
    ///
    /// # Errors
    /// `rateLimited`, with the time to wait.
    pub fn count(&self, limit: Limit, account: &str, now: OffsetDateTime) -> Result<(), Problem> {
        self.account(limit, account, now, 1)
    }

    /// Counts nothing; is there room for one more?
    ///
    /// # Errors
    /// As [`Counters::count`].
    pub fn check(&self, limit: Limit, account: &str, now: OffsetDateTime) -> Result<(), Problem> {
        self.account(limit, account, now, 0)
    }

    fn account(&self, limit: Limit, account: &str, now: OffsetDateTime, add: u32) -> Result<(), Problem> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (limit, account.to_owned());
        accounts.look(key, limit.rate(&self.rates), now, add).map_err(|wait| self.limited(limit, wait))
    }

    fn limited(&self, limit: Limit, wait: Duration) -> Problem {
        limited(limit, limit.rate(&self.rates), wait)
    }
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self { counters: HashMap::new(), swept: None }
    }
}

impl<K: Eq + Hash> Table<K> {
    /// How long to wait, if there is no room for one more.
    fn look(&mut self, key: K, rate: Rate, now: OffsetDateTime, add: u32) -> Result<(), Duration> {
        if self.counters.len() >= MAX_COUNTERS && !self.counters.contains_key(&key) {
            // Also when the clock was set back.
            if self.swept.is_none_or(|swept| (now - swept).abs() >= SWEEP) {
                self.counters.retain(|_, counter| counter.runs(now));
                self.swept = Some(now);
            }
            if self.counters.len() >= MAX_COUNTERS {
                return Err(rate.window);
            }
        }
        let anew = || Counter { since: now, until: now + rate.window, count: 0 };
        let counter = self.counters.entry(key).or_insert_with(anew);
        if !counter.runs(now) {
            *counter = anew();
        }
        if counter.count >= rate.count {
            return Err(counter.until - now);
        }
        counter.count += add;
        Ok(())
    }
}

impl Counter {
    /// A window that begins later than now is of a clock that was set back.
    fn runs(&self, now: OffsetDateTime) -> bool {
        now < self.until && self.since - now < SWEEP
    }
}

fn customer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

fn limited(limit: Limit, rate: Rate, wait: Duration) -> Problem {
    let seconds = u64::try_from(wait.whole_seconds()).unwrap_or(0).max(1);
    let (name, count, minutes) = (limit.name(), rate.count, rate.window.whole_minutes());
    let detail = format!("too many {name}: {count} in {minutes} minutes; try again in {seconds} seconds");
    Problem::new(Kind::RateLimited, detail).help(super::problem::Help::Portal).retry_after(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    #[test]
    fn strangers_crowd_out_no_account_and_a_network_is_one_customer() {
        let counters = Counters::new(Rates::default());
        for n in 0..100_000u32 {
            let [_, a, b, c] = n.to_be_bytes();
            assert!(counters.address([10, a, b, c].into(), NOW).is_ok());
        }
        assert!(counters.address([11, 0, 0, 0].into(), NOW).is_err(), "no room for one more");
        assert!(counters.address([10, 0, 0, 1].into(), NOW).is_ok(), "known before");
        assert!(counters.count(Limit::NewOrders, "alice", NOW).is_ok());
        let hour = Duration::hours(1);
        assert!(counters.address([11, 0, 0, 0].into(), NOW + hour).is_ok(), "their windows are over");

        let counters = Counters::new(Rates::default());
        let of = |n: u16| IpAddr::from([0x2001, 0xdb8, 0, 7, n, n, n, n]);
        assert!((0..60).all(|n| counters.address(of(n), NOW).is_ok()));
        assert!(counters.address(of(60), NOW).is_err());
        assert!(counters.address(IpAddr::from([0x2001, 0xdb8, 0, 8, 0, 0, 0, 0]), NOW).is_ok());
    }

    #[test]
    fn a_clock_that_was_set_back_holds_up_nobody() {
        let counters = Counters::new(Rates::default());
        assert!((0..60).all(|_| counters.count(Limit::NewOrders, "alice", NOW).is_ok()));
        assert!(counters.count(Limit::NewOrders, "alice", NOW).is_err());
        assert!(counters.count(Limit::NewOrders, "alice", NOW - Duration::seconds(1)).is_err());
        assert!(counters.count(Limit::NewOrders, "alice", NOW - Duration::days(1)).is_ok());
    }
}
