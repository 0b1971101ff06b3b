//! Where the certificates of listeners, the accounts they were obtained with, and what proves names are kept: together,
//! so that every replica serves what one of them obtained, and answers for what another one asked for.
use async_trait::async_trait;
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// The store could not be asked, or did not take what it was given. The store has logged why.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the store of certificates is not available")]
pub struct Unavailable;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An account's credentials.
    Account,
    /// A private key and its chain.
    Certificate,
    /// What proves a name, while an order is open.
    Challenge,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Certificate => "certificate",
            Self::Challenge => "challenge",
        }
    }
}

/// Sealed at rest: accounts and certificates hold private keys.
#[async_trait]
pub trait Shelf: Send + Sync {
    /// None: there is none, or its time is over.
    async fn get(&self, kind: Kind, id: &str, now: OffsetDateTime) -> Result<Option<Zeroizing<Vec<u8>>>, Unavailable>;
    /// Everything of a kind, by id.
    async fn all(&self, kind: Kind, now: OffsetDateTime) -> Result<Vec<(String, Zeroizing<Vec<u8>>)>, Unavailable>;
    /// Keeps it in the place of what was there, until `until` if that is given. What is over is forgotten.
    async fn put(
        &self,
        kind: Kind,
        id: &str,
        value: &[u8],
        until: Option<OffsetDateTime>,
        now: OffsetDateTime,
    ) -> Result<(), Unavailable>;
    /// Whether it was there or not.
    async fn remove(&self, kind: Kind, id: &str) -> Result<(), Unavailable>;
    /// Of several that want to do `work`, one may, until `until` or until it lets go. Who has it already keeps it.
    async fn claim(
        &self,
        work: &str,
        who: &str,
        until: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<bool, Unavailable>;
    async fn let_go(&self, work: &str, who: &str) -> Result<(), Unavailable>;
}
