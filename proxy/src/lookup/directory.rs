//! What the gate asks of a directory: which groups somebody is in, and whether the account is still in use.
//!
//! A source answers about several people at once and keeps nothing; `people.rs` keeps what it said.
use async_trait::async_trait;
use std::sync::Arc;
use torhaus_authz::{Groups, Name, Timestamp};

/// A source of live facts about people.
#[async_trait]
pub trait Directory: Send + Sync {
    /// One answer for each name, in their order; none: nobody, or more than one, has it, or what is said of the
    /// person cannot be used. For no names it says only that it is there.
    ///
    /// # Errors
    /// The source could not be asked, or what it said cannot be used. Nothing is known about anybody then.
    async fn ask(&self, names: &[Name], now: Timestamp) -> Result<Vec<Option<Person>>, Failure>;
}

/// What a directory says about one person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub standing: Standing,
    /// All of them, nested ones and the primary one included, as the policy names them.
    pub groups: Arc<Groups>,
    /// When the password was set, by the directory's clock; a change of it means that somebody set it anew.
    pub password_set: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Active,
    Disabled,
    /// The account itself, not its password.
    Expired,
    /// After too many wrong passwords, or by an administrator.
    Locked,
}

impl Standing {
    /// Completes "the account is ... in the directory".
    pub fn describe(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
            Self::Locked => "locked",
        }
    }
}

/// Why a source gave no answer. Never holds a secret, nor text of more than a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("{0} did not answer in time")]
    Timeout(String),
    #[error("{0}")]
    Unreachable(String),
    /// Asking another server would only lock the account.
    #[error("the account that torhaus reads with is refused: {0}")]
    BindRefused(String),
    #[error("refused: {0}")]
    Refused(String),
    #[error("the answer cannot be used: {0}")]
    Garbage(String),
    /// What it says of one person; the others are not affected.
    #[error("{0}")]
    Unusable(String),
    /// Those who were there a moment ago are all gone: more likely a mistake than a dismissal.
    #[error("of {0} people who were in it a moment ago it knows nobody any more; this is not believed")]
    Emptied(usize),
}
