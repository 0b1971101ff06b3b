//! From an order to a certificate, by the one way that certificates have: ledger, audit log, metrics, the set of
//! revoked serials and open streams are the business of `ca`.
use crate::ca::CaError;
use crate::ca::issue::{IssueRequest, issue};
use crate::ca::revoke::{RevokeRequest, revoke};
use crate::gate::Gate;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use time::OffsetDateTime;
use torhaus_authz::Timestamp;
use torhaus_certs::acme::{By, Identifier, Issued, Issuer, Known, Owner, Refused, Unavailable, Wanted};
use torhaus_certs::{Csr, Enrolment, Purpose, Reason, Serial};

/// Keys of `Enrolment::facts`, written when a one-time key is made. Names of keys never change: they are stored.
pub mod fact {
    /// The user as the policy names them.
    pub const USER: &str = "user";
    pub const ISSUER: &str = "issuer";
    pub const SUBJECT: &str = "subject";
    /// Name of the identity provider.
    pub const PROVIDER: &str = "provider";
    pub const SPIFFE: &str = "spiffe";
}

/// Before the id of an account, in `requested_by` of the ledger.
const ACCOUNT: &str = "ACME account ";
/// Before the id of an account that we ended, in `revoked_by` of a revocation. Never changes: it is stored.
pub const WITHDRAWN: &str = "torhaus, ending ACME account ";

/// RFC 5280 appendix A, `ub-common-name`.
pub const MOST_COMMON_NAME: usize = 64;

pub struct OwnIssuer {
    gate: Weak<Gate>,
}

impl OwnIssuer {
    pub fn new(gate: Weak<Gate>) -> Self {
        Self { gate }
    }

    /// Says which account ended: the journal of revocations outlives a restored database, and so does this.
    async fn withdrawn_by(&self, gate: &Gate, serial: &Serial) -> String {
        let found = gate.ca.ledger().find(serial).await.ok().flatten();
        let account = found.and_then(|found| Some(found.issued.requested_by.strip_prefix(ACCOUNT)?.to_owned()));
        account.map_or_else(|| "torhaus".to_owned(), |account| format!("{WITHDRAWN}{account}"))
    }

    /// None while the process stops.
    fn gate(&self) -> Option<Arc<Gate>> {
        self.gate.upgrade()
    }
}

#[async_trait]
impl Issuer for OwnIssuer {
    fn profiles(&self) -> BTreeMap<String, String> {
        let about = |purpose| match purpose {
            Purpose::User => "a person, as a TLS client",
            Purpose::Device => "a person's machine, as a TLS client",
            Purpose::Service => "a program with a SPIFFE ID, as a TLS client and server",
            Purpose::Server => "a TLS server",
        };
        Purpose::ALL.map(|purpose| (purpose.as_str().to_owned(), about(purpose).to_owned())).into()
    }

    fn check_csr(&self, csr_der: &[u8], _profile: &str) -> Result<(), Refused> {
        Csr::parse(csr_der).map(drop).map_err(|error| Refused::Csr(error.to_string()))
    }

    async fn issue(&self, wanted: &Wanted<'_>, now: OffsetDateTime) -> Result<Issued, Refused> {
        let gate = self.gate().ok_or(Refused::Unavailable)?;
        let csr = Csr::parse(wanted.csr_der).map_err(|error| Refused::Csr(error.to_string()))?;
        let request = request(wanted)?;
        let snapshot = gate.snapshot.load_full();
        let signed = issue(&gate, &snapshot, &request, &csr, at(now)).await.map_err(refused)?;
        Ok(Issued {
            serial: signed.serial,
            der: signed.der,
            chain_pem: signed.chain_pem,
            alternates_pem: Vec::new(),
            not_before: signed.not_before,
            not_after: signed.not_after,
        })
    }

    async fn find(&self, serial: &Serial) -> Result<Option<Known>, Unavailable> {
        let gate = self.gate().ok_or(Unavailable)?;
        let Some(found) = gate.ca.ledger().find(serial).await.map_err(|_| Unavailable)? else { return Ok(None) };
        let signs = |issuer: &str| {
            gate.ca.authorities().is_some_and(|all| all.active().is_some_and(|active| active.id() == issuer))
        };
        Ok(Some(Known {
            // Whichever of the two books knows first.
            revoked: found.revoked.is_some() || gate.ca.is_revoked(serial),
            renew_now: !signs(&found.issued.issuer),
            der: found.issued.der,
        }))
    }

    async fn revoke(&self, serial: &Serial, reason: Reason, by: &By, now: OffsetDateTime) -> Result<bool, Unavailable> {
        let gate = self.gate().ok_or(Unavailable)?;
        let (revoked_by, why) = match by {
            By::Account(id) => (format!("{ACCOUNT}{id}"), "asked for by its client".to_owned()),
            By::CertificateKey => ("the certificate's own key".to_owned(), "asked for by its client".to_owned()),
            By::Server(why) => (self.withdrawn_by(&gate, serial).await, why.clone()),
        };
        let request = RevokeRequest { serials: vec![serial.clone()], reason, revoked_by, why };
        match revoke(&gate, &request, at(now)).await {
            Ok(done) => Ok(!done.new.is_empty()),
            Err(error) => {
                tracing::error!(%serial, %error, "a revocation is in force and could not be written down");
                Err(Unavailable)
            }
        }
    }
}

/// What is certified: names from the order, which its server compared with the enrolment; all else from the enrolment.
fn request(wanted: &Wanted<'_>) -> Result<IssueRequest, Refused> {
    let purpose = Purpose::parse(wanted.profile)
        .ok_or_else(|| Refused::Profile(format!("`{}` is not a profile", wanted.profile)))?;
    let enrolled = wanted.enrolment;
    let mut enrolment = Enrolment { user: enrolled.facts.get(fact::USER).cloned(), ..Enrolment::default() };
    if purpose == Purpose::Service {
        enrolment.spiffe = enrolled.facts.get(fact::SPIFFE).cloned();
    }
    for identifier in wanted.identifiers {
        match identifier {
            Identifier::Dns(name) => enrolment.dns.push(name.as_str().to_owned()),
            Identifier::Ip(address) => enrolment.addresses.push(*address),
        }
    }
    // One of the names and nothing else: certbot and lego order the common name of a certificate again.
    let names = wanted.identifiers.iter().map(Identifier::to_string);
    enrolment.common_name = names.into_iter().find(|name| name.len() <= MOST_COMMON_NAME).ok_or_else(|| {
        Refused::Profile(format!("one of the names has at most {MOST_COMMON_NAME} characters, for the common name"))
    })?;
    let (Owner::Person(owner) | Owner::Service(owner)) = &enrolled.owner;
    Ok(IssueRequest {
        purpose,
        enrolment,
        owner: owner.clone(),
        requested_by: format!("{ACCOUNT}{}", wanted.account),
        why: format!("order {} of `{}`", wanted.order, enrolled.label),
        life: None,
    })
}

fn refused(error: CaError) -> Refused {
    match error {
        CaError::Refused(why) => Refused::Profile(why),
        error => {
            tracing::error!(%error, "an order could not be signed");
            Refused::Unavailable
        }
    }
}

/// To the millisecond, as all lines of the audit log.
fn at(now: OffsetDateTime) -> Timestamp {
    Timestamp::from_millis(i64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX))
}
