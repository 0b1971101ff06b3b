//! What the ACME server needs of the authority behind it. The server decides who may have which names; the issuer
//! decides what a certificate looks like, signs it and keeps the ledger.
use super::identifier::Identifier;
use super::problem::{Kind, Problem};
use super::standing::Enrolment;
use crate::{Reason, Serial};
use async_trait::async_trait;
use std::collections::BTreeMap;
use time::OffsetDateTime;

#[async_trait]
pub trait Issuer: Send + Sync {
    /// Name and one line about each, or the address of a page (profiles draft s3).
    fn profiles(&self) -> BTreeMap<String, String>;

    /// Is this CSR signed by the key in it, and is that a key the profile allows? The names in it have been compared
    /// with the order.
    fn check_csr(&self, csr_der: &[u8], profile: &str) -> Result<(), Refused>;

    /// Signs and writes to the ledger; when this returns, both are done. The certificate is built from the profile,
    /// the enrolment and the identifiers; of the CSR only the key counts.
    async fn issue(&self, wanted: &Wanted<'_>, now: OffsetDateTime) -> Result<Issued, Refused>;

    /// The certificate of this serial, whoever it was issued to.
    async fn find(&self, serial: &Serial) -> Result<Option<Known>, Unavailable>;

    /// Revokes: gate, ledger and CRL. Of two callers, one gets `true`.
    async fn revoke(&self, serial: &Serial, reason: Reason, by: &By, now: OffsetDateTime) -> Result<bool, Unavailable>;
}

/// One certificate to be issued.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// For the ledger.
    pub account: &'a str,
    pub order: &'a str,
    pub enrolment: &'a Enrolment,
    pub profile: &'a str,
    pub identifiers: &'a [Identifier],
    pub csr_der: &'a [u8],
}

#[derive(Clone, Debug)]
pub struct Issued {
    pub serial: Serial,
    /// Of the leaf.
    pub der: Vec<u8>,
    /// Leaf first, each signed by the next (RFC 8555 s9.1). At least two: certbot refuses a leaf alone. The root
    /// stands in it only if it signs leaves itself.
    pub chain_pem: String,
    /// The same leaf under other chains, during a rotation.
    pub alternates_pem: Vec<String>,
    pub not_before: OffsetDateTime,
    pub not_after: OffsetDateTime,
}

#[derive(Clone, Debug)]
pub struct Known {
    /// Of the leaf.
    pub der: Vec<u8>,
    pub revoked: bool,
    /// The authority wants it replaced before its time, because of a rotation (RFC 9773 s4.2).
    pub renew_now: bool,
}

/// Who revoked, for the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    Account(String),
    /// Somebody who holds the certificate's private key.
    CertificateKey,
    /// Torhaus: a revoked device, a leaver, or a certificate that was not delivered.
    Server(String),
}

/// The issuer says no.
#[derive(Clone, Debug)]
pub enum Refused {
    /// The CSR; why, for its author.
    Csr(String),
    /// The profile is gone or does not fit the names; why.
    Profile(String),
    /// The ledger, the key or the store.
    Unavailable,
}

/// Could not be asked, or could not write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store does not answer")]
pub struct Unavailable;

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Csr(why) => Self::new(Kind::BadCsr, why),
            Refused::Profile(why) => Self::new(Kind::InvalidProfile, why),
            Refused::Unavailable => Self::unavailable("the certificate authority"),
        }
    }
}

impl From<Unavailable> for Problem {
    fn from(_: Unavailable) -> Self {
        Self::unavailable("the store")
    }
}
