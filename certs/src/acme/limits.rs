//! Rate limits, each with a name, counted per replica in fixed windows (RFC 8555 s6.6). They bound what a client in a
//! loop costs; they are no access control.
use super::problem::{Kind, Problem};
use std::collections::HashMap;
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

/// About 10 MiB. Full of windows that still run, it refuses newcomers: an attacker with that many addresses is met
/// elsewhere, and must not get unlimited tries here.
const MAX_COUNTERS: usize = 100_000;

pub(super) struct Counters {
    rates: Rates,
    counters: Mutex<HashMap<(Limit, String), Counter>>,
}

struct Counter {
    since: OffsetDateTime,
    count: u32,
}

impl Counters {
    pub fn new(rates: Rates) -> Self {
        Self { rates, counters: Mutex::default() }
    }

    /// Counts one more.
    ///
    /// # Errors
    /// `rateLimited`, with the time to wait.
    pub fn count(&self, limit: Limit, whose: &str, now: OffsetDateTime) -> Result<(), Problem> {
        self.look(limit, whose, now, 1)
    }

    /// Counts nothing; is there room for one more?
    ///
    /// # Errors
    /// As [`Counters::count`].
    pub fn check(&self, limit: Limit, whose: &str, now: OffsetDateTime) -> Result<(), Problem> {
        self.look(limit, whose, now, 0)
    }

    fn look(&self, limit: Limit, whose: &str, now: OffsetDateTime, add: u32) -> Result<(), Problem> {
        let rate = limit.rate(&self.rates);
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (limit, whose.to_owned());
        if !counters.contains_key(&key) && counters.len() >= MAX_COUNTERS {
            counters.retain(|(limit, _), counter| now < counter.since + limit.rate(&self.rates).window);
            if counters.len() >= MAX_COUNTERS {
                return Err(limited(limit, rate, rate.window));
            }
        }
        let counter = counters.entry(key).or_insert(Counter { since: now, count: 0 });
        if now >= counter.since + rate.window {
            *counter = Counter { since: now, count: 0 };
        }
        if counter.count >= rate.count {
            return Err(limited(limit, rate, counter.since + rate.window - now));
        }
        counter.count += add;
        Ok(())
    }
}

fn limited(limit: Limit, rate: Rate, wait: Duration) -> Problem {
    let seconds = u64::try_from(wait.whole_seconds()).unwrap_or(0).max(1);
    let (name, count, minutes) = (limit.name(), rate.count, rate.window.whole_minutes());
    let detail = format!("too many {name}: {count} in {minutes} minutes; try again in {seconds} seconds");
    Problem::new(Kind::RateLimited, detail).help(super::problem::Help::Portal).retry_after(seconds)
}
