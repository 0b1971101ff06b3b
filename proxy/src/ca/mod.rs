//! Certificates that torhaus issues itself: authorities, issuing, revoking, publishing.
//!
//! ```text
//! issue   profile + enrolment + CSR -> sign (pure) -> ledger -> audit line -> handed out
//! revoke  set in memory (refused from here on) -> open streams -> journal -> ledger -> list -> audit line
//! start   journal and ledger are merged: neither takes anything away from the other
//! ```
//!
//! Never hands out a certificate that is not in the ledger, never revives one that is revoked.
mod authorities;
pub mod issue;
mod journal;
mod publish;
pub mod revoke;
pub mod status;

#[cfg(test)]
mod tests;

pub use authorities::{Authorities, AuthorityError};
pub use journal::JournalError;

use crate::edge::trust::OwnAuthorities;
use crate::login::seal::SealKey;
use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use journal::Journal;
use publish::Published;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use time::OffsetDateTime;
use torhaus_authz::Timestamp;
use torhaus_certs::{Ledger, LedgerError, RevokedSet, Serial};
use torhaus_config::{Config, Signers, TrustDomain};

/// Lists and look-ups keep a revoked certificate for a while after its end, for verifiers with slow clocks and for one
/// more list (RFC 5280 s3.3).
const AFTER_END: time::Duration = time::Duration::days(1);

/// Where authorities are kept. Keys arrive and leave sealed.
#[async_trait]
pub trait AuthorityStore: Send + Sync {
    /// In the order in which they were added.
    ///
    /// # Errors
    /// They could not be read.
    async fn authorities(&self) -> Result<Vec<StoredAuthority>, LedgerError>;

    /// The same as `add_authorities`, if there is none yet. False: another replica was first.
    ///
    /// # Errors
    /// They could not be written.
    async fn add_first_authorities(&self, added: &[StoredAuthority], at: OffsetDateTime) -> Result<bool, LedgerError>;

    /// All or none; one that says so signs from here on.
    ///
    /// # Errors
    /// They could not be written, or one of them is there already.
    async fn add_authorities(&self, added: &[StoredAuthority], at: OffsetDateTime) -> Result<(), LedgerError>;

    /// # Errors
    /// It could not be written.
    async fn activate_authority(&self, id: &str) -> Result<(), LedgerError>;

    /// The same key, sealed under another one.
    ///
    /// # Errors
    /// It could not be written.
    async fn reseal_authority(&self, id: &str, sealed_key: &[u8]) -> Result<(), LedgerError>;
}

/// What the authority keeps, and in what.
pub trait CaStore: Ledger + AuthorityStore {}
impl<T: Ledger + AuthorityStore> CaStore for T {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredRole {
    Root,
    Issuing,
}

/// An authority as it lies in the store.
#[derive(Clone, Debug)]
pub struct StoredAuthority {
    pub id: String,
    pub role: StoredRole,
    /// PEM.
    pub certificate: String,
    /// PEM of the root above it; of a root, itself.
    pub root: String,
    /// None: its key is elsewhere.
    pub sealed_key: Option<Vec<u8>>,
    /// It signs what is issued now.
    pub active: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum CaError {
    #[error("no trust domain has `own_ca`, so nothing is issued here")]
    NotConfigured,
    #[error("there is no issuing authority yet; bring one with `torhaus ca import`")]
    NoAuthority,
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// What was asked for cannot be certified; says why.
    #[error("{0}")]
    Refused(String),
    #[error("{0}; the certificate was not handed out")]
    Record(#[from] crate::audit::Unavailable),
}

/// The authority of this process. There is one, whatever the configuration says: what was revoked stays revoked while
/// `own_ca` is off, too.
pub struct OwnCa {
    store: Arc<dyn CaStore>,
    journal: Journal,
    revoked: Arc<RevokedSet>,
    /// Keys that open what is sealed; the first seals.
    keys: Vec<SealKey>,
    authorities: ArcSwapOption<Authorities>,
    published: Published,
    /// One change of authorities at a time.
    changing: tokio::sync::Mutex<()>,
    /// Authorities as the store had them when other replicas were asked about last: id, and whether it signs.
    seen: Mutex<Vec<(String, bool)>>,
}

impl OwnCa {
    /// Opens the books, merges them, and knows from here on what is revoked.
    ///
    /// # Errors
    /// 1. the journal cannot be used, or was damaged; 2. the ledger cannot be used; 3. a key cannot be made.
    pub async fn open(
        config: &Config,
        store: Arc<dyn CaStore>,
        state_key: SealKey,
        now: Timestamp,
    ) -> Result<Self, CaError> {
        let revoked = Arc::new(RevokedSet::default());
        let journal = Journal::open(journal_path(config)).await?;
        merge(&journal, &*store, &revoked, now).await?;
        let mut keys = Vec::new();
        if let Some(secret) = &config.ca.key {
            keys.push(SealKey::derived(secret.expose()).map_err(AuthorityError::Key)?);
        }
        keys.push(state_key);
        let ca = Self {
            store,
            journal,
            revoked,
            keys,
            authorities: ArcSwapOption::empty(),
            published: Published::default(),
            changing: tokio::sync::Mutex::new(()),
            seen: Mutex::default(),
        };
        ca.prepare(config, now).await?;
        Ok(ca)
    }

    /// Who revoked, as the journal says: all that were ever revoked.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn revokers(&self) -> Result<Vec<String>, CaError> {
        Ok(self.journal.read().await?.into_iter().map(|one| one.revoked_by).collect())
    }

    /// Makes or loads the authorities if this configuration issues. Call it before a snapshot is built of it.
    ///
    /// # Errors
    /// 1. the store cannot be used; 2. a key does not open; 3. an authority cannot be used.
    pub async fn prepare(&self, config: &Config, now: Timestamp) -> Result<(), CaError> {
        if own_domain(config).is_none() {
            return Ok(());
        }
        let _one = self.changing.lock().await;
        if self.authorities.load().is_none() {
            let found = Authorities::load_or_make(&*self.store, &self.keys, &config.ca, now).await?;
            self.authorities.store(Some(Arc::new(found)));
        }
        self.publish(now).await
    }

    /// Takes over what another replica has revoked; the serials that were new here.
    ///
    /// # Errors
    /// The ledger cannot be read, or the journal not written: they are refused all the same.
    pub async fn learn_revocations(&self, now: Timestamp) -> Result<Vec<Serial>, CaError> {
        let known = self.store.revoked_ending_after(moment(now) - AFTER_END).await?;
        let new: Vec<_> = known.into_iter().filter(|one| !self.is_revoked(&one.serial)).collect();
        self.revoked.extend(new.iter().map(|one| &one.serial));
        self.journal.append(new.clone()).await?;
        if !new.is_empty() {
            self.publish(now).await?;
        }
        Ok(new.into_iter().map(|one| one.serial).collect())
    }

    /// Takes over another replica's change of authorities. True: there is one that was not known here, and snapshots
    /// have to be built anew.
    ///
    /// # Errors
    /// The store cannot be read, or a key does not open.
    pub async fn learn_authorities(&self, now: Timestamp) -> Result<bool, CaError> {
        let _one = self.changing.lock().await;
        let Some(before) = self.authorities.load_full() else { return Ok(false) };
        let stored = self.store.authorities().await?;
        let names: Vec<_> = stored.iter().map(|one| (one.id.clone(), one.active)).collect();
        let seen = std::mem::replace(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner), names.clone());
        if seen == names {
            return Ok(false);
        }
        let found = Authorities::load(&*self.store, &self.keys, stored, now).await?;
        let known = |id: &str| before.issuing().iter().any(|ca| ca.id() == id);
        let new = found.issuing().iter().any(|ca| !known(ca.id()));
        if new || !found.signs_like(&before) {
            self.authorities.store(Some(Arc::new(found)));
            self.publish(now).await?;
        }
        Ok(new)
    }

    /// What the gate's verifier needs of it.
    pub fn trusted(&self, now: Timestamp) -> OwnAuthorities {
        let issuing = self.authorities.load().as_ref().map(|all| all.anchors(now)).unwrap_or_default();
        OwnAuthorities { issuing, revoked: self.revoked.clone() }
    }

    pub fn authorities(&self) -> Option<Arc<Authorities>> {
        self.authorities.load_full()
    }

    pub fn ledger(&self) -> &dyn CaStore {
        &*self.store
    }

    pub fn is_revoked(&self, serial: &Serial) -> bool {
        torhaus_certs::SerialKey::of(serial.as_bytes()).is_some_and(|key| self.revoked.contains(&key))
    }

    pub fn revoked_count(&self) -> usize {
        self.revoked.len()
    }

    /// The root above the authority that signs now, PEM.
    pub fn root_pem(&self) -> Option<String> {
        Some(self.authorities.load().as_ref()?.active()?.root_pem().to_owned())
    }

    /// The first step of a rotation: another authority that is known, and will be believed once the snapshot is built
    /// anew, but does not sign yet.
    ///
    /// # Errors
    /// 1. nothing is issued here; 2. the root's key is not here; 3. it could not be made or written.
    pub async fn add_next(&self, config: &Config, now: Timestamp) -> Result<String, CaError> {
        let _one = self.changing.lock().await;
        let all = self.authorities.load_full().ok_or(CaError::NotConfigured)?;
        let (all, id) = all.with_next(&*self.store, &self.keys, &config.ca, now).await?;
        self.authorities.store(Some(Arc::new(all)));
        Ok(id)
    }

    /// The same, with an authority that somebody else's root signed.
    ///
    /// # Errors
    /// 1. nothing is issued here; 2. it cannot be used, or is known already; 3. it could not be written.
    pub async fn add_imported(&self, imported: &status::Import, now: Timestamp) -> Result<String, CaError> {
        let _one = self.changing.lock().await;
        let all = self.authorities.load_full().ok_or(CaError::NotConfigured)?;
        let (all, id) = all.with_imported(&*self.store, &self.keys, imported, now).await?;
        self.authorities.store(Some(Arc::new(all)));
        Ok(id)
    }

    /// The second step: it signs from here on. Those before it are believed until they end.
    ///
    /// # Errors
    /// It is not known, or it could not be written.
    pub async fn activate(&self, id: &str, now: Timestamp) -> Result<(), CaError> {
        let one = self.changing.lock().await;
        let all = self.authorities.load_full().ok_or(CaError::NotConfigured)?;
        let all = all.activated(&*self.store, id).await?;
        self.authorities.store(Some(Arc::new(all)));
        drop(one);
        self.publish(now).await
    }
}

/// The trust domain whose certificates torhaus signs.
pub fn own_domain(config: &Config) -> Option<&TrustDomain> {
    config.trust_domains.values().find(|domain| domain.signers == Signers::Own)
}

fn journal_path(config: &Config) -> PathBuf {
    config.ca.revocations_file.clone().unwrap_or_else(|| config.state_dir.join("ca").join("revocations.jsonl"))
}

/// What one book knows and the other does not is written into the other. So a database that was restored from a backup
/// learns again what was revoked since, and a journal that was lost is written again.
async fn merge(journal: &Journal, store: &dyn CaStore, revoked: &RevokedSet, now: Timestamp) -> Result<(), CaError> {
    let since = moment(now) - AFTER_END;
    let written: Vec<_> = journal.read().await?;
    let counts: Vec<_> = written.iter().filter(|one| one.not_after.is_none_or(|end| end > since)).cloned().collect();
    let forgotten = store.record_revoked(&counts).await?;
    if !forgotten.is_empty() {
        tracing::warn!(
            revocations = forgotten.len(),
            "the database did not know these revocations; was it restored? They hold"
        );
    }
    let known = store.revoked_ending_after(since).await?;
    let in_journal: std::collections::HashSet<&Serial> = written.iter().map(|one| &one.serial).collect();
    let missing: Vec<_> = known.iter().filter(|one| !in_journal.contains(&one.serial)).cloned().collect();
    journal.append(missing).await?;
    revoked.extend(known.iter().map(|one| &one.serial));
    Ok(())
}

pub(crate) fn moment(at: Timestamp) -> OffsetDateTime {
    // Far outside of what a clock says only.
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.millis()) * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

pub(crate) fn timestamp(at: OffsetDateTime) -> Timestamp {
    Timestamp::from_seconds(at.unix_timestamp())
}
