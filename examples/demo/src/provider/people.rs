//! The people of the demo. Their passwords are no secrets: the demo prints them.
use super::assurance::Factor;
use serde::Serialize;
use subtle::ConstantTimeEq;
use time::OffsetDateTime;
use totp_rs::{Builder, Secret, Totp};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Person {
    pub user: &'static str,
    /// What relying parties know the person by: stable and without meaning.
    pub subject: &'static str,
    pub name: &'static str,
    pub password: &'static str,
    pub groups: &'static [&'static str],
    /// Shared secret for an authenticator app, base32.
    pub totp_secret: &'static str,
    pub has_key: bool,
}

pub const PEOPLE: [Person; 5] = [
    Person {
        user: "alice",
        subject: "5f0c3a1e-alice",
        name: "Alice Adler",
        password: "alice-demo",
        groups: &["all-employees", "it-admins"],
        totp_secret: "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXA",
        has_key: true,
    },
    Person {
        user: "dana",
        subject: "8d21b7c4-dana",
        name: "Dana Dahl",
        password: "dana-demo",
        groups: &["all-employees", "hr"],
        totp_secret: "KRSXG5CTMVRXEZLUKRSXG5CTMVRXEZLB",
        has_key: false,
    },
    Person {
        user: "eve",
        subject: "0b9e64f2-eve",
        name: "Eve Engel",
        password: "eve-demo",
        groups: &["all-employees", "developers"],
        totp_secret: "MFRGGZDFMZTWQ2LKMFRGGZDFMZTWQ2LC",
        has_key: true,
    },
    Person {
        user: "frank",
        subject: "c74a90d8-frank",
        name: "Frank Funke",
        password: "frank-demo",
        groups: &["all-employees", "finance"],
        totp_secret: "NBSWY3DPO5XXE3DENBSWY3DPO5XXE3DD",
        has_key: false,
    },
    Person {
        user: "mallory",
        subject: "e3356fab-mallory",
        name: "Mallory Meier",
        password: "mallory-demo",
        groups: &["all-employees"],
        totp_secret: "ONSWG4TFORZWKY3SONSWG4TFORZWKY3E",
        has_key: false,
    },
];

pub fn find(user: &str) -> Option<&'static Person> {
    PEOPLE.iter().find(|person| person.user.eq_ignore_ascii_case(user.trim()))
}

pub fn by_subject(subject: &str) -> Option<&'static Person> {
    PEOPLE.iter().find(|person| person.subject == subject)
}

/// The person if the password is right. An unknown user takes as long as a wrong password.
pub fn sign_in(user: &str, password: &str) -> Option<&'static Person> {
    let person = find(user);
    let expected = person.map_or("nobody-has-this", |person| person.password);
    let right = bool::from(password.as_bytes().ct_eq(expected.as_bytes()));
    person.filter(|_| right)
}

impl Person {
    pub fn can(&self, factor: Factor) -> bool {
        match factor {
            Factor::Password | Factor::Code => true,
            Factor::Key => self.has_key,
        }
    }

    pub fn email(&self) -> String {
        format!("{}@demo.test", self.user)
    }

    /// The step a code belongs to, when it is right: now, or one step to either side.
    pub fn code_step(&self, code: &str, now: OffsetDateTime) -> Option<u64> {
        let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
        self.totp()?.check(&code, seconds(now))
    }

    /// The code that works now: of this step, or of the next one when this step's was used
    /// (RFC 6238 s5.2: a code works once).
    pub fn usable_code(&self, last_used: Option<u64>, now: OffsetDateTime) -> Option<String> {
        let step = (seconds(now) / STEP).max(last_used.map_or(0, |used| used + 1));
        Some(self.totp()?.generate(step * STEP).to_string())
    }

    fn totp(&self) -> Option<Totp> {
        let secret = Secret::try_from_base32(self.totp_secret).ok()?;
        Builder::new().with_secret(secret).with_step_duration(STEP).with_skew(1).build().ok()
    }
}

/// Seconds that a code lives (RFC 6238 s5.2).
const STEP: u64 = 30;

fn seconds(now: OffsetDateTime) -> u64 {
    u64::try_from(now.unix_timestamp()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::Duration;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-22 12:00:05 UTC);

    #[test]
    fn a_password_is_the_persons_own() {
        assert_eq!(sign_in(" Alice ", "alice-demo").map(|p| p.user), Some("alice"));
        for (user, password) in [("alice", "dana-demo"), ("alice", ""), ("nobody", "nobody-has-this"), ("", "")] {
            assert_eq!(sign_in(user, password), None, "{user}");
        }
    }

    #[test]
    fn everyone_has_a_code_and_it_counts_in_its_own_step() {
        for person in &PEOPLE {
            let code = person.usable_code(None, NOW).unwrap();
            assert_eq!(code.len(), 6);
            let step = person.code_step(&code, NOW).unwrap();
            assert_eq!(person.code_step(&code, NOW + Duration::seconds(90)), None);
            let next = person.usable_code(Some(step), NOW).unwrap();
            assert_eq!(person.code_step(&next, NOW), Some(step + 1), "the next code works when this one was used");
        }
    }

    #[test]
    fn the_code_is_that_of_any_authenticator_app() {
        // RFC 6238 appendix B, SHA-1, T = 59: 94287082; its secret is "12345678901234567890".
        let person = Person { totp_secret: "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", ..PEOPLE[0].clone() };
        let at = OffsetDateTime::from_unix_timestamp(59).unwrap();
        assert_eq!(person.usable_code(None, at).unwrap(), "287082");
    }
}
