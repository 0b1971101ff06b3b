//! Certificate revocation lists (RFC 5280 s5).
use crate::{Authority, Error, Serial};
use rcgen::{CertificateRevocationListParams, RevocationReason, RevokedCertParams};
use time::OffsetDateTime;

/// What a CRL is to say.
#[derive(Clone, Debug)]
pub struct CrlRequest<'a> {
    /// Grows with every list (RFC 5280 s5.2.3).
    pub number: u64,
    pub this_update: OffsetDateTime,
    /// After this moment the list counts as expired, and an expired list refuses.
    pub next_update: OffsetDateTime,
    pub revoked: &'a [Revoked],
}

#[derive(Clone, Debug)]
pub struct Revoked {
    pub serial: Serial,
    pub at: OffsetDateTime,
    pub reason: Reason,
}

/// The reasons we use (RFC 5280 s5.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Not written into the list, as the RFC asks.
    Unspecified,
    KeyCompromise,
    AffiliationChanged,
    Superseded,
    CessationOfOperation,
    PrivilegeWithdrawn,
}

/// A signed list.
pub struct Crl {
    der: Vec<u8>,
    pem: String,
}

impl Authority {
    /// # Errors
    /// 1. the next update is not later than this one; 2. encoding.
    pub fn crl(&self, request: &CrlRequest<'_>) -> Result<Crl, Error> {
        if request.next_update <= request.this_update {
            return Err(Error::Lifetime);
        }
        let signed = CertificateRevocationListParams {
            this_update: request.this_update,
            next_update: request.next_update,
            crl_number: request.number.into(),
            issuing_distribution_point: None,
            revoked_certs: request.revoked.iter().map(Revoked::to_rcgen).collect(),
            key_identifier_method: self.key_id(),
        }
        .signed_by(self.issuer())?;
        Ok(Crl { pem: signed.pem()?, der: signed.der().to_vec() })
    }
}

impl Crl {
    pub fn pem(&self) -> &str {
        &self.pem
    }

    pub fn der(&self) -> &[u8] {
        &self.der
    }
}

impl Revoked {
    fn to_rcgen(&self) -> RevokedCertParams {
        RevokedCertParams {
            serial_number: self.serial.to_rcgen(),
            revocation_time: self.at,
            reason_code: match self.reason {
                Reason::Unspecified => None,
                Reason::KeyCompromise => Some(RevocationReason::KeyCompromise),
                Reason::AffiliationChanged => Some(RevocationReason::AffiliationChanged),
                Reason::Superseded => Some(RevocationReason::Superseded),
                Reason::CessationOfOperation => Some(RevocationReason::CessationOfOperation),
                Reason::PrivilegeWithdrawn => Some(RevocationReason::PrivilegeWithdrawn),
            },
            invalidity_date: None,
        }
    }
}
