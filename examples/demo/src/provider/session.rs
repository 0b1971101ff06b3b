//! The provider's own single sign-on session: who signed in with this browser, and with what.
use super::assurance::Proven;
use super::people::Person;
use super::shelf::{Shelf, token};
use time::{Duration, OffsetDateTime};

#[derive(Clone)]
pub struct Session {
    pub person: &'static Person,
    /// Told to relying parties; the cookie's key is another.
    pub sid: String,
    pub proven: Proven,
    ends: OffsetDateTime,
}

pub struct Sessions {
    shelf: Shelf<Session>,
}

/// A working day.
const LIFE: Duration = Duration::hours(10);

impl Sessions {
    pub fn new() -> Self {
        Self { shelf: Shelf::new() }
    }

    pub fn find(&self, key: &str, now: OffsetDateTime) -> Option<Session> {
        self.shelf.find(key, now)
    }

    /// Notes a proof. The person's session in this browser continues, another person's ends. Returns a new key for
    /// the cookie: it changes at every authentication, so that a key seen before is worth nothing after.
    pub fn prove(
        &self,
        old_key: Option<&str>,
        person: &'static Person,
        change: impl FnOnce(&mut Proven),
        now: OffsetDateTime,
    ) -> String {
        let old = old_key.and_then(|key| self.shelf.take(key, now)).filter(|session| session.person == person);
        let mut session =
            old.unwrap_or_else(|| Session { person, sid: token(), proven: Proven::default(), ends: now + LIFE });
        change(&mut session.proven);
        let key = token();
        let ends = session.ends;
        self.shelf.put(key.clone(), session, ends, now);
        key
    }

    pub fn lives(&self, sid: &str, now: OffsetDateTime) -> bool {
        self.shelf.any(now, |session| session.sid == sid)
    }

    /// The `sid` of each session of a person.
    pub fn of(&self, user: &str, now: OffsetDateTime) -> Vec<String> {
        let found = std::sync::Mutex::new(Vec::new());
        self.shelf.any(now, |session| {
            if session.person.user == user
                && let Ok(mut found) = found.lock()
            {
                found.push(session.sid.clone());
            }
            false
        });
        found.into_inner().unwrap_or_default()
    }

    pub fn end(&self, sid: &str) {
        self.shelf.drop_all(|session| session.sid == sid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::people::find;
    use time::macros::datetime;

    #[test]
    fn a_proof_changes_the_key_and_keeps_the_session_of_the_same_person() {
        let now = datetime!(2026-11-22 12:00 UTC);
        let sessions = Sessions::new();
        let (alice, dana) = (find("alice").unwrap(), find("dana").unwrap());
        let first = sessions.prove(None, alice, |proven| proven.password = Some(now), now);
        let sid = sessions.find(&first, now).unwrap().sid;
        let second = sessions.prove(Some(&first), alice, |proven| proven.code = Some(now), now);
        assert!(sessions.find(&first, now).is_none());
        let session = sessions.find(&second, now).unwrap();
        assert_eq!(session.sid, sid);
        assert_eq!((session.proven.password, session.proven.code), (Some(now), Some(now)));

        let third = sessions.prove(Some(&second), dana, |proven| proven.password = Some(now), now);
        assert!(!sessions.lives(&sid, now), "another person in the same browser ends the session");
        assert_eq!(sessions.find(&third, now).unwrap().proven.code, None);
        assert!(sessions.find(&third, now + LIFE).is_none());
    }
}
