//! Bounds guessing: passwords and codes of one user, whoever sends them.
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use time::{Duration, OffsetDateTime};

/// Wrong answers in a row before somebody has to wait.
const PATIENCE: u32 = 5;
/// Six digits hold 10 guesses a minute for years.
const WAIT: Duration = Duration::seconds(30);

#[derive(Default)]
pub struct Guesses {
    wrong: Mutex<HashMap<&'static str, (u32, OffsetDateTime)>>,
}

impl Guesses {
    /// `who` is a user, or one common name for all that do not exist, so that the map cannot grow.
    pub fn must_wait(&self, who: &'static str, now: OffsetDateTime) -> bool {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.get(who).is_some_and(|(count, last)| *count >= PATIENCE && now - *last < WAIT)
    }

    pub fn note(&self, who: &'static str, right: bool, now: OffsetDateTime) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if right {
            wrong.remove(who);
            return;
        }
        let entry = wrong.entry(who).or_insert((0, now));
        if now - entry.1 >= WAIT {
            entry.0 = 0;
        }
        *entry = (entry.0.saturating_add(1), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn after_five_wrong_answers_comes_a_pause_for_that_user_only() {
        let now = datetime!(2026-11-22 12:00 UTC);
        let guesses = Guesses::default();
        for _ in 0..PATIENCE {
            assert!(!guesses.must_wait("alice", now));
            guesses.note("alice", false, now);
        }
        assert!(guesses.must_wait("alice", now));
        assert!(!guesses.must_wait("dana", now));
        assert!(!guesses.must_wait("alice", now + WAIT));
        guesses.note("alice", false, now + WAIT);
        assert!(!guesses.must_wait("alice", now + WAIT), "one more after the pause begins a new count");
    }

    #[test]
    fn a_right_answer_forgets_the_wrong_ones() {
        let now = datetime!(2026-11-22 12:00 UTC);
        let guesses = Guesses::default();
        for _ in 0..20 {
            (0..PATIENCE - 1).for_each(|_| guesses.note("alice", false, now));
            guesses.note("alice", true, now);
        }
        assert!(!guesses.must_wait("alice", now));
    }
}
