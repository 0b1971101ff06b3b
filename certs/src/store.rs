//! The ledger: every certificate issued and every one revoked. It only grows.
use crate::crl::Reason;
use crate::serial::Serial;
use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use time::OffsetDateTime;

/// A certificate that was signed. Times are whole seconds, as in the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedRecord {
    pub serial: Serial,
    /// Id of the authority.
    pub issuer: String,
    pub profile: String,
    pub common_name: String,
    /// With their kinds: `dns:…`, `uri:…`, `user:…`.
    pub names: Vec<String>,
    /// For whom: a user's name, or who answers for a service. Ending an owner's certificates goes by it.
    pub owner: String,
    /// Who had it issued, and why, in words.
    pub requested_by: String,
    pub why: String,
    /// SHA-256 of the DER, lower-case hex.
    pub sha256: String,
    pub issued_at: OffsetDateTime,
    pub not_before: OffsetDateTime,
    pub not_after: OffsetDateTime,
    pub der: Vec<u8>,
}

/// A certificate that was revoked, whether its issuing is in the ledger or not: a ledger that was restored may have
/// forgotten it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedRecord {
    pub serial: Serial,
    /// Id of the authority, if it is known.
    pub issuer: Option<String>,
    pub at: OffsetDateTime,
    pub reason: Reason,
    pub revoked_by: String,
    pub why: String,
    /// End of the certificate, if it is known: until then it stands in lists.
    pub not_after: Option<OffsetDateTime>,
}

/// A certificate and whether it is revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub issued: IssuedRecord,
    pub revoked: Option<RevokedRecord>,
}

/// Which certificates; newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pub owner: Option<String>,
    /// Only those that are neither revoked nor over at this moment.
    pub valid_at: Option<OffsetDateTime>,
    pub limit: Option<u32>,
}

/// Counts for an operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Neither over nor revoked.
    pub valid: u64,
    /// Of these, how many end before the other moment that was asked about.
    pub ending: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// 128 random bits were the same twice: the randomness is broken.
    #[error("serial number {0} was issued before")]
    SerialUsed(String),
    #[error("the ledger cannot be used: {0}")]
    Unavailable(String),
}

/// Where issued and revoked certificates are written. When a call returns, what it wrote is on disk.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// # Errors
    /// 1. the serial was used before; 2. it could not be written, and the certificate must not be handed out.
    async fn record_issued(&self, record: &IssuedRecord) -> Result<(), LedgerError>;

    /// All or none. What is revoked already keeps its first moment and reason. Returns those that are new.
    ///
    /// # Errors
    /// It could not be written.
    async fn record_revoked(&self, records: &[RevokedRecord]) -> Result<Vec<Serial>, LedgerError>;

    /// # Errors
    /// It could not be read.
    async fn find(&self, serial: &Serial) -> Result<Option<Listed>, LedgerError>;

    /// # Errors
    /// It could not be read.
    async fn list(&self, query: &Query) -> Result<Vec<Listed>, LedgerError>;

    /// Who owns a certificate that is neither over nor revoked, each once.
    ///
    /// # Errors
    /// It could not be read.
    async fn owners(&self, now: OffsetDateTime) -> Result<Vec<String>, LedgerError>;

    /// All whose end is later than this, or unknown.
    ///
    /// # Errors
    /// It could not be read.
    async fn revoked_ending_after(&self, moment: OffsetDateTime) -> Result<Vec<RevokedRecord>, LedgerError>;

    /// # Errors
    /// It could not be read.
    async fn count(&self, now: OffsetDateTime, ending_before: OffsetDateTime) -> Result<Counts, LedgerError>;

    /// The number of an authority's next list: higher than all before it, and at least this (RFC 5280 s5.2.3).
    ///
    /// # Errors
    /// It could not be written.
    async fn next_crl_number(&self, issuer: &str, at_least: u64) -> Result<u64, LedgerError>;
}

/// A ledger for tests: it forgets when it is dropped.
#[derive(Debug, Default)]
pub struct MemoryLedger(Mutex<Books>);

#[derive(Debug, Default)]
struct Books {
    issued: Vec<IssuedRecord>,
    revoked: HashMap<Serial, RevokedRecord>,
    numbers: BTreeMap<String, u64>,
}

impl MemoryLedger {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn listed(&self, issued: &IssuedRecord) -> Listed {
        Listed { issued: issued.clone(), revoked: self.revoked.get(&issued.serial).cloned() }
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn record_issued(&self, record: &IssuedRecord) -> Result<(), LedgerError> {
        let mut books = self.books();
        if books.issued.iter().any(|known| known.serial == record.serial) {
            return Err(LedgerError::SerialUsed(record.serial.to_string()));
        }
        books.issued.push(record.clone());
        Ok(())
    }

    async fn record_revoked(&self, records: &[RevokedRecord]) -> Result<Vec<Serial>, LedgerError> {
        let mut books = self.books();
        let mut new = Vec::new();
        for record in records {
            if !books.revoked.contains_key(&record.serial) {
                books.revoked.insert(record.serial.clone(), record.clone());
                new.push(record.serial.clone());
            }
        }
        Ok(new)
    }

    async fn find(&self, serial: &Serial) -> Result<Option<Listed>, LedgerError> {
        let books = self.books();
        Ok(books.issued.iter().find(|known| known.serial == *serial).map(|issued| books.listed(issued)))
    }

    async fn list(&self, query: &Query) -> Result<Vec<Listed>, LedgerError> {
        let books = self.books();
        let mut found: Vec<Listed> = books.issued.iter().rev().map(|issued| books.listed(issued)).collect();
        found.retain(|one| {
            query.owner.as_ref().is_none_or(|owner| one.issued.owner == *owner)
                && query.valid_at.is_none_or(|at| one.revoked.is_none() && one.issued.not_after > at)
        });
        found.sort_by_key(|one| std::cmp::Reverse(one.issued.issued_at));
        found.truncate(query.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX)));
        Ok(found)
    }

    async fn owners(&self, now: OffsetDateTime) -> Result<Vec<String>, LedgerError> {
        let live = self.list(&Query { owner: None, valid_at: Some(now), limit: None }).await?;
        let owners: BTreeSet<String> = live.into_iter().map(|one| one.issued.owner).collect();
        Ok(owners.into_iter().collect())
    }

    async fn revoked_ending_after(&self, moment: OffsetDateTime) -> Result<Vec<RevokedRecord>, LedgerError> {
        let books = self.books();
        Ok(books.revoked.values().filter(|one| one.not_after.is_none_or(|end| end > moment)).cloned().collect())
    }

    async fn count(&self, now: OffsetDateTime, ending_before: OffsetDateTime) -> Result<Counts, LedgerError> {
        let books = self.books();
        let valid = books.issued.iter().filter(|one| one.not_after > now && !books.revoked.contains_key(&one.serial));
        let ends: Vec<OffsetDateTime> = valid.map(|one| one.not_after).collect();
        let ending = ends.iter().filter(|end| **end <= ending_before).count();
        Ok(Counts { valid: ends.len().try_into().unwrap_or(u64::MAX), ending: ending.try_into().unwrap_or(u64::MAX) })
    }

    async fn next_crl_number(&self, issuer: &str, at_least: u64) -> Result<u64, LedgerError> {
        let mut books = self.books();
        let last = books.numbers.entry(issuer.to_owned()).or_default();
        *last = last.saturating_add(1).max(at_least);
        Ok(*last)
    }
}
