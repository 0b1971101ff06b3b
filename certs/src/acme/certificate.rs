//! Certificates: download (RFC 8555 s7.4.2) and revocation (s7.6), by the account that ordered, by one that has
//! proved all the names, or by the certificate's own key.
use super::account::Account;
use super::csr;
use super::identifier::Identifier;
use super::issuer::{By, Issued, Known};
use super::jwk::Jwk;
use super::jws;
use super::order::Order;
use super::problem::{Kind, Problem};
use super::renewal;
use super::reply::Reply;
use super::request::{Call, object};
use super::server::Server;
use crate::{Reason, Serial};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// A certificate as its client gets it. The ledger of the authority is elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    pub id: String,
    pub account: String,
    pub order: String,
    /// As in [`Serial::as_bytes`].
    pub serial: Vec<u8>,
    /// RFC 9773 s4.1.
    pub renewal_id: String,
    pub identifiers: Vec<Identifier>,
    pub chain_pem: String,
    pub alternates_pem: Vec<String>,
    #[serde(with = "time::serde::timestamp")]
    pub not_before: OffsetDateTime,
    #[serde(with = "time::serde::timestamp")]
    pub not_after: OffsetDateTime,
}

#[derive(Deserialize)]
struct Revoke {
    certificate: String,
    reason: Option<u8>,
}

/// Who asks for a revocation.
pub(super) enum Asking {
    Account(Box<Account>),
    Key(Jwk),
}

impl Certificate {
    pub(super) fn new(order: &Order, issued: &Issued) -> Result<Self, Problem> {
        let renewal_id = renewal::id(&issued.der);
        Ok(Self {
            id: super::random_id()?,
            account: order.account.clone(),
            order: order.id.clone(),
            serial: issued.serial.as_bytes().to_vec(),
            renewal_id: renewal_id.ok_or_else(|| Problem::new(Kind::ServerInternal, "the new certificate is odd"))?,
            identifiers: order.identifiers.clone(),
            chain_pem: issued.chain_pem.clone(),
            alternates_pem: issued.alternates_pem.clone(),
            not_before: issued.not_before,
            not_after: issued.not_after,
        })
    }

    pub fn serial(&self) -> Serial {
        Serial::from_bytes(&self.serial)
    }
}

impl Server {
    /// `alternate` counts from 0; none is the usual chain.
    pub(super) async fn certificate(
        &self,
        call: &Call,
        account: &Account,
        id: &str,
        alternate: Option<usize>,
    ) -> Result<Reply, Problem> {
        let found = self.store.certificate(id).await?;
        let own = found.filter(|found| found.account == account.id);
        let certificate = own.ok_or_else(|| Problem::not_yours("certificate"))?;
        let chain = match alternate {
            None => Some(&certificate.chain_pem),
            Some(index) => certificate.alternates_pem.get(index),
        };
        let chain = chain.ok_or_else(|| Problem::not_yours("certificate"))?;
        let url = call.at("certificate", &certificate.id);
        let others = (0..certificate.alternates_pem.len()).map(Some).chain([None]).filter(|other| *other != alternate);
        let reply = Reply::chain(chain.clone());
        Ok(others.fold(reply, |reply, other| {
            let target = other.map_or_else(|| url.clone(), |index| format!("{url}/{index}"));
            reply.link(target, "alternate")
        }))
    }

    /// RFC 8555 s7.6.
    pub(super) async fn revoke(&self, call: &Call, asking: &Asking) -> Result<Reply, Problem> {
        let wanted: Revoke = object(&call.payload)?;
        let der = jws::decode(&wanted.certificate, "certificate")?;
        let unreadable = || Problem::malformed("`certificate` is not one DER certificate");
        let (rest, certificate) = X509Certificate::from_der(&der).map_err(|_| unreadable())?;
        if !rest.is_empty() {
            return Err(unreadable());
        }
        let reason = reason(wanted.reason.unwrap_or(0))?;
        let serial = Serial::from_bytes(certificate.raw_serial());
        let known = self.issuer.find(&serial).await?.filter(|known: &Known| known.der == der);
        let known =
            known.ok_or_else(|| Problem::malformed("this authority has not issued the certificate").status(404))?;
        let by = match asking {
            Asking::Key(key) => {
                let same = key.subject_public_key() == *certificate.public_key().subject_public_key.data;
                same.then_some(By::CertificateKey)
            }
            Asking::Account(account) => {
                let may = self.may_revoke(call, account, &certificate, &der).await?;
                may.then(|| By::Account(account.id.clone()))
            }
        };
        let by = by.ok_or_else(|| {
            let detail = "only its account, an account with all its names, or its key can revoke the certificate";
            Problem::new(Kind::Unauthorized, detail)
        })?;
        if known.revoked || !self.issuer.revoke(&serial, reason, &by, call.now).await? {
            return Err(Problem::new(Kind::AlreadyRevoked, "the certificate is revoked already"));
        }
        Ok(Reply::empty(200))
    }

    async fn may_revoke(
        &self,
        call: &Call,
        account: &Account,
        certificate: &X509Certificate<'_>,
        der: &[u8],
    ) -> Result<bool, Problem> {
        if let Some(renewal_id) = renewal::id(der) {
            let found = self.store.certificate_by_renewal_id(&renewal_id).await?;
            if found.is_some_and(|found| found.account == account.id) {
                return Ok(true);
            }
        }
        let Some(names) = names(certificate).filter(|names| !names.is_empty()) else { return Ok(false) };
        for name in names {
            if !account.enrolment.owns(&name) && !self.store.has_proved(&account.id, &name, call.now).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// All DNS names and addresses; none if there is one that is no identifier of an order.
fn names(certificate: &X509Certificate<'_>) -> Option<Vec<Identifier>> {
    let names = certificate.subject_alternative_name().ok()??;
    let addresses_and_hosts = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(Identifier::parse("dns", name).ok()),
        GeneralName::IPAddress(bytes) => Some(csr::address(bytes).map(Identifier::Ip)),
        _ => None,
    });
    addresses_and_hosts.collect()
}

/// Those of RFC 5280 s5.3.1 that a subscriber can mean. Others are the authority's own.
fn reason(code: u8) -> Result<Reason, Problem> {
    match code {
        0 => Ok(Reason::Unspecified),
        1 => Ok(Reason::KeyCompromise),
        3 => Ok(Reason::AffiliationChanged),
        4 => Ok(Reason::Superseded),
        5 => Ok(Reason::CessationOfOperation),
        _ => Err(Problem::new(Kind::BadRevocationReason, "the reason is one of 0, 1, 3, 4 and 5")),
    }
}
