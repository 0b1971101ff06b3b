//! What operators see of the authority, and what they send. Keys arrive (an import) and never leave.
use crate::ca::{OwnCa, moment, timestamp};
use crate::metrics::Metrics;
use serde::{Deserialize, Serialize};
use std::fmt;
use torhaus_authz::Timestamp;
use torhaus_certs::Listed;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CaStatus {
    /// The root's key is here, so that `ca rotate` works.
    pub root_is_here: bool,
    pub authorities: Vec<AuthorityLine>,
    /// Serial numbers that the gate refuses.
    pub revoked: usize,
    pub valid: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuthorityLine {
    pub id: String,
    /// It signs what is issued now. The others are believed until they end.
    pub active: bool,
    pub ends: Timestamp,
    /// Number of its current list, how many certificates stand in it, and when it ends.
    pub crl_number: Option<u64>,
    pub crl_entries: Option<usize>,
    pub crl_next_update: Option<Timestamp>,
}

/// Certificates for whoever has to trust ours.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Export {
    pub root_pem: String,
    /// Those that have not ended, the one that signs first.
    pub issuing_pem: Vec<String>,
}

/// An issuing authority that somebody else's root signed.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Import {
    pub root_pem: String,
    pub certificate_pem: String,
    /// PKCS #8.
    pub key_pem: String,
}

/// Never the key.
impl fmt::Debug for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Import").finish_non_exhaustive()
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.key_pem);
    }
}

/// A certificate as the ledger knows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CertificateLine {
    pub serial: String,
    pub issuer: String,
    pub profile: String,
    pub common_name: String,
    pub names: Vec<String>,
    pub owner: String,
    pub requested_by: String,
    pub why: String,
    pub sha256: String,
    pub issued_at: Timestamp,
    pub not_after: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<RevocationLine>,
    /// Only where one certificate is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pem: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RevocationLine {
    pub at: Timestamp,
    pub reason: String,
    pub by: String,
    pub why: String,
}

impl From<&Listed> for CertificateLine {
    fn from(listed: &Listed) -> Self {
        let Listed { issued, revoked } = listed;
        Self {
            serial: issued.serial.to_string(),
            issuer: issued.issuer.clone(),
            profile: issued.profile.clone(),
            common_name: issued.common_name.clone(),
            names: issued.names.clone(),
            owner: issued.owner.clone(),
            requested_by: issued.requested_by.clone(),
            why: issued.why.clone(),
            sha256: issued.sha256.clone(),
            issued_at: timestamp(issued.issued_at),
            not_after: timestamp(issued.not_after),
            revoked: revoked.as_ref().map(|one| RevocationLine {
                at: timestamp(one.at),
                reason: one.reason.as_str().to_owned(),
                by: one.revoked_by.clone(),
                why: one.why.clone(),
            }),
            pem: None,
        }
    }
}

impl CertificateLine {
    #[must_use]
    pub fn with_pem(mut self, der: &[u8]) -> Self {
        self.pem = Some(pem("CERTIFICATE", der));
        self
    }
}

/// RFC 7468.
pub fn pem(label: &str, der: &[u8]) -> String {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    let text = BASE64_STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect::<Vec<_>>().join("\n");
    format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n")
}

impl OwnCa {
    pub fn lines(&self) -> Option<(bool, Vec<AuthorityLine>)> {
        let all = self.authorities()?;
        let active = all.active().map(|ca| ca.id().to_owned());
        let line = |ca: &std::sync::Arc<torhaus_certs::IssuingCa>| {
            let list = self.list(ca.id());
            AuthorityLine {
                id: ca.id().to_owned(),
                active: active.as_deref() == Some(ca.id()),
                ends: timestamp(ca.ends()),
                crl_number: list.as_ref().map(|list| list.number),
                crl_entries: list.as_ref().map(|list| list.entries),
                crl_next_update: list.as_ref().map(|list| timestamp(list.next_update)),
            }
        };
        Some((all.root_is_here(), all.issuing().iter().map(line).collect()))
    }
}

/// Renewal is at two thirds of a life at the latest; what is this near to its end was forgotten.
const EXPIRING: time::Duration = time::Duration::hours(1);

impl OwnCa {
    /// Sets what operators watch.
    pub async fn measure(&self, metrics: &Metrics, now: Timestamp) {
        let Some(all) = self.authorities() else { return };
        let at = moment(now);
        match self.ledger().count(at, at + EXPIRING).await {
            Ok(counts) => {
                metrics.issued_valid.set(i64::try_from(counts.valid).unwrap_or(i64::MAX));
                metrics.issued_expiring.set(i64::try_from(counts.ending).unwrap_or(i64::MAX));
            }
            Err(error) => tracing::error!(%error, "certificates could not be counted"),
        }
        metrics.ca_ends.set(all.active().map_or(0, |ca| ca.ends().unix_timestamp()));
        let lists = all.issuing().iter().filter_map(|ca| self.list(ca.id()));
        metrics.crl_ends.set(lists.map(|list| list.next_update.unix_timestamp()).min().unwrap_or(0));
    }
}
