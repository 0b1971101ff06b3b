//! How sure we are of somebody, and what to ask to be surer. Pure: no clock, no HTTP.
//!
//! | `acr` | factors |
//! |---|---|
//! | `standard` | password |
//! | `gold` | password, and a one-time code or a key |
//! | `phrh` | password and a hardware key (phishing-resistant) |
use super::people::Person;
use time::OffsetDateTime;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Standard,
    Gold,
    Phrh,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factor {
    Password,
    Code,
    Key,
}

/// When somebody last gave each factor in this session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proven {
    pub password: Option<OffsetDateTime>,
    pub code: Option<OffsetDateTime>,
    pub key: Option<OffsetDateTime>,
}

/// What the relying party asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    Any,
    /// `acr_values`: a wish, in order of preference (OpenID Connect Core s3.1.2.1).
    Preferred(Vec<Level>),
    /// The essential `acr` claim: one of these or an error (s5.5.1.1).
    Essential(Vec<Level>),
}

/// The page to show next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Password,
    /// A one-time code; or the key, if they have one.
    SecondFactor,
    Key,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Ask(Ask),
    Done {
        level: Level,
        at: OffsetDateTime,
    },
    /// No factor this person has can meet what is demanded.
    Unmet,
}

/// What to do next for this person, who has proven that much. Only proofs not older than `since` count.
pub fn next(wanted: &Wanted, since: Option<OffsetDateTime>, known: Option<(&Person, &Proven)>) -> Next {
    let levels = match wanted {
        Wanted::Any => &[][..],
        Wanted::Preferred(levels) | Wanted::Essential(levels) => levels,
    };
    let essential = matches!(wanted, Wanted::Essential(_));
    if essential && levels.is_empty() {
        return Next::Unmet;
    }
    let Some((person, proven)) = known else {
        return Next::Ask(Ask::Password);
    };
    let met = |level: &Level| proven.established(*level, since).map(|at| Next::Done { level: *level, at });
    if let Some(done) = levels.iter().find_map(met) {
        return done;
    }
    if let Some(target) = levels.iter().copied().find(|level| level.possible_for(person)) {
        return Next::Ask(proven.missing_for(target, since));
    }
    if essential {
        return Next::Unmet;
    }
    // Nothing asked for, or only wishes that cannot come true: the best there is, a password at least.
    [Level::Phrh, Level::Gold, Level::Standard].iter().find_map(met).unwrap_or(Next::Ask(Ask::Password))
}

impl Level {
    pub const ALL: [Self; 3] = [Self::Standard, Self::Gold, Self::Phrh];

    pub fn acr(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Gold => "gold",
            Self::Phrh => "phrh",
        }
    }

    pub fn parse(acr: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.acr() == acr)
    }

    fn possible_for(self, person: &Person) -> bool {
        match self {
            Self::Standard => true,
            Self::Gold => person.can(Factor::Code) || person.can(Factor::Key),
            Self::Phrh => person.can(Factor::Key),
        }
    }
}

impl Proven {
    /// When this level was last established: the moment of the factor that makes it this level, and not of a later
    /// password, which would make an old key look fresh.
    pub fn established(&self, level: Level, since: Option<OffsetDateTime>) -> Option<OffsetDateTime> {
        let fresh = |at: Option<OffsetDateTime>| at.filter(|at| since.is_none_or(|since| *at >= since));
        let password = fresh(self.password)?;
        match level {
            Level::Standard => Some(password),
            Level::Gold => fresh(self.code).max(fresh(self.key)),
            Level::Phrh => fresh(self.key),
        }
    }

    /// Authentication methods behind a level (RFC 8176).
    pub fn methods(&self, level: Level) -> Vec<&'static str> {
        match level {
            Level::Standard => vec!["pwd"],
            Level::Gold if self.code >= self.key => vec!["pwd", "otp", "mfa"],
            Level::Gold | Level::Phrh => vec!["pwd", "hwk", "mfa"],
        }
    }

    fn missing_for(&self, level: Level, since: Option<OffsetDateTime>) -> Ask {
        match (self.established(Level::Standard, since), level) {
            (None, _) | (_, Level::Standard) => Ask::Password,
            (_, Level::Gold) => Ask::SecondFactor,
            (_, Level::Phrh) => Ask::Key,
        }
    }
}

#[cfg(test)]
#[path = "assurance_tests.rs"]
mod tests;
