//! How a source of facts is doing, and whether it is worth asking. After a failure nobody who makes a request waits for
//! it again: the poll tries it, and the first answer closes the circuit.
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use torhaus_authz::{Name, Timestamp};

/// How soon the poll tries a failing source again: at first, and at most.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_AT_MOST: Duration = Duration::from_secs(15);

pub struct Health {
    name: Name,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last_answer: Option<Timestamp>,
    /// Since when it fails, and how it failed last.
    failing: Option<(Timestamp, String)>,
    failures_in_a_row: u32,
    failures: u64,
}

/// For `status`, `/readyz` and metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStatus {
    pub name: String,
    pub up: bool,
    /// When it answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_answer: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Since the source was configured.
    pub failures: u64,
}

impl Health {
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), state: Mutex::default() }
    }

    pub fn answered(&self, now: Timestamp) {
        self.change(|state| {
            if state.failing.take().is_some() {
                tracing::info!(source = &*self.name, "answers again");
            }
            state.failures_in_a_row = 0;
            state.last_answer = Some(now);
        });
    }

    pub fn failed(&self, why: &str, now: Timestamp) {
        self.change(|state| {
            match state.failing {
                // Once, not for each poll; `status` has the latest.
                None => tracing::warn!(source = &*self.name, %why, "a source of facts cannot be asked"),
                Some(_) => tracing::debug!(source = &*self.name, %why, "a source of facts still cannot be asked"),
            }
            let since = state.failing.as_ref().map_or(now, |(since, _)| *since);
            state.failing = Some((since, why.to_owned()));
            state.failures_in_a_row = state.failures_in_a_row.saturating_add(1);
            state.failures += 1;
        });
    }

    /// Not worth asking on behalf of a request.
    pub fn is_failing(&self) -> bool {
        self.change(|state| state.failing.is_some())
    }

    /// How long the poll waits until it asks again.
    pub fn next_poll(&self, poll: Duration) -> Duration {
        let in_a_row = self.change(|state| state.failures_in_a_row);
        match in_a_row {
            0 => poll,
            n => poll.min(RETRY.saturating_mul(1 << n.min(8).saturating_sub(1)).min(RETRY_AT_MOST)),
        }
    }

    pub fn status(&self) -> SourceStatus {
        self.change(|state| SourceStatus {
            name: self.name.to_string(),
            up: state.failing.is_none() && state.last_answer.is_some(),
            last_answer: state.last_answer,
            failing_since: state.failing.as_ref().map(|(since, _)| *since),
            error: state.failing.as_ref().map(|(_, error)| error.clone()),
            failures: state.failures,
        })
    }

    fn change<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl SourceStatus {
    /// One line for people.
    pub fn describe(&self) -> String {
        match (&self.error, self.last_answer) {
            (Some(error), _) => {
                let since = self.failing_since.map(|since| since.to_string()).unwrap_or_default();
                format!("failing since {since}: {error}")
            }
            (None, Some(at)) => format!("answers, last at {at}"),
            (None, None) => "not asked yet".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_fails_is_left_alone_until_it_answers() {
        let health = Health::new("ldap");
        let at = Timestamp::from_seconds;
        let poll = Duration::from_secs(30);
        assert_eq!((health.is_failing(), health.status().up, health.next_poll(poll)), (false, false, poll));
        let waits = (0..6).map(|second| {
            health.failed("`ldaps://dc` did not answer in time", at(second));
            health.next_poll(poll).as_secs()
        });
        assert_eq!(waits.collect::<Vec<_>>(), [1, 2, 4, 8, 15, 15]);
        assert_eq!(health.next_poll(Duration::from_secs(3)).as_secs(), 3, "never later than the poll");
        let status = health.status();
        assert_eq!((status.failing_since, status.failures, status.up), (Some(at(0)), 6, false));
        assert!(health.is_failing());
        health.answered(at(9));
        assert_eq!((health.is_failing(), health.status().up, health.next_poll(poll)), (false, true, poll));
    }
}
