//! What an operator may ask about certificates, and how the running process answers.
use crate::acme::enrolment::{self, EnrolError};
use crate::admin::{Caller, CertificateQuery, Certificates, IssueOrder, IssuedAnswer, RevokeOrder, RevokedAnswer};
use crate::ca::issue::{IssueRequest, issue};
use crate::ca::revoke::{RevokeRequest, live_of, revoke};
use crate::ca::status::{CaStatus, CertificateLine, Export, Import, pem};
use crate::ca::{CaError, moment, own_domain, timestamp};
use crate::clock;
use crate::control::Running;
use async_trait::async_trait;
use pingora_core::apps::HttpServerApp;
use std::net::IpAddr;
use torhaus_authz::{Entry, Kind, Timestamp};
use torhaus_certs::{Csr, Enrolment, Purpose, Query, Reason, Serial};

#[async_trait]
impl<E: HttpServerApp + Send + Sync + 'static> Certificates for Running<E> {
    async fn ca_status(&self) -> Result<CaStatus, CaError> {
        self.configured()?;
        let (root_is_here, authorities) = self.gate.ca.lines().ok_or(CaError::NotConfigured)?;
        let now = moment(clock::now());
        let valid = self.gate.ca.ledger().count(now, now).await?.valid;
        Ok(CaStatus { root_is_here, authorities, revoked: self.gate.ca.revoked_count(), valid })
    }

    async fn ca_rotate(&self, by: Caller) -> Result<String, CaError> {
        self.configured()?;
        let now = clock::now();
        let config = self.gate.snapshot.load().config.clone();
        let id = self.gate.ca.add_next(&config, now).await?;
        self.switch(&id, &format!("authority {id} signs from now on, rotated by {by}"), now).await?;
        Ok(id)
    }

    async fn ca_import(&self, import: Import, by: Caller) -> Result<String, CaError> {
        self.configured()?;
        let now = clock::now();
        let id = self.gate.ca.add_imported(&import, now).await?;
        self.switch(&id, &format!("authority {id} signs from now on, imported by {by}"), now).await?;
        Ok(id)
    }

    fn ca_export(&self) -> Result<Export, CaError> {
        self.configured()?;
        let all = self.gate.ca.authorities().ok_or(CaError::NotConfigured)?;
        let active = all.active().ok_or(CaError::NoAuthority)?;
        let others = all.issuing().iter().filter(|ca| ca.id() != active.id() && ca.ends() > moment(clock::now()));
        let issuing = std::iter::once(active).chain(others);
        let issuing_pem = issuing.map(|ca| pem("CERTIFICATE", ca.certificate_der())).collect();
        Ok(Export { root_pem: pem("CERTIFICATE", active.root_der()), issuing_pem })
    }

    async fn certificates(&self, query: &CertificateQuery) -> Result<Vec<CertificateLine>, CaError> {
        let valid_at = query.valid.then(|| moment(clock::now()));
        let query = Query { owner: query.owner.clone(), valid_at, limit: None };
        Ok(self.gate.ca.ledger().list(&query).await?.iter().map(CertificateLine::from).collect())
    }

    async fn certificate(&self, serial: &str) -> Result<Option<CertificateLine>, CaError> {
        let found = self.gate.ca.ledger().find(&parse_serial(serial)?).await?;
        Ok(found.map(|found| CertificateLine::from(&found).with_pem(&found.issued.der)))
    }

    async fn issue(&self, order: IssueOrder, by: Caller) -> Result<IssuedAnswer, CaError> {
        let csr = Csr::from_pem(&order.csr_pem).map_err(|error| CaError::Refused(error.to_string()))?;
        let request = request_of(order, &by)?;
        let snapshot = self.gate.snapshot.load_full();
        let signed = issue(&self.gate, &snapshot, &request, &csr, clock::now()).await?;
        Ok(IssuedAnswer {
            serial: signed.serial.to_string(),
            sha256: signed.sha256,
            not_after: timestamp(signed.not_after),
            chain_pem: signed.chain_pem,
        })
    }

    async fn revoke_certificates(&self, order: RevokeOrder, by: Caller) -> Result<RevokedAnswer, CaError> {
        let now = clock::now();
        let reason = Reason::parse(&order.reason).ok_or_else(|| {
            let known = Reason::ALL.map(Reason::as_str).join(", ");
            CaError::Refused(format!(
                "`{}` is not a reason (RFC 5280 section 5.3.1); write one of {known}",
                order.reason
            ))
        })?;
        let mut serials = order.serials.iter().map(|text| parse_serial(text)).collect::<Result<Vec<_>, _>>()?;
        if let Some(owner) = &order.owner {
            serials.extend(live_of(&self.gate, owner, now).await?.into_iter().map(|found| found.issued.serial));
        } else if serials.is_empty() {
            return Err(CaError::Refused("name serial numbers, or an owner".to_owned()));
        }
        let asked = serials.len();
        let request = RevokeRequest { serials, reason, revoked_by: by.to_string(), why: order.why };
        let done = revoke(&self.gate, &request, now).await?;
        if let Some(owner) = &order.owner {
            // Or its devices would fetch new ones. What they got meanwhile is revoked with them.
            let ended = enrolment::end_all_of(&self.gate, owner, &by.to_string(), now).await;
            match ended {
                Ok(_) | Err(EnrolError::NotConfigured) => {}
                Err(error) => {
                    return Err(CaError::Refused(format!("enrolments of `{owner}` could not be ended: {error}")));
                }
            }
        }
        Ok(RevokedAnswer {
            already: asked - done.new.len(),
            new: done.new.iter().map(ToString::to_string).collect(),
            unknown: done.unknown.iter().map(ToString::to_string).collect(),
            streams_ended: done.streams_ended,
        })
    }
}

impl<E: HttpServerApp + Send + Sync + 'static> Running<E> {
    fn configured(&self) -> Result<(), CaError> {
        own_domain(&self.gate.snapshot.load().config).map(drop).ok_or(CaError::NotConfigured)
    }

    /// Believed first, and then it signs: otherwise its first certificates would be refused.
    async fn switch(&self, id: &str, detail: &str, now: Timestamp) -> Result<(), CaError> {
        let rebuilt = self.reloader.rebuild().await;
        rebuilt.map_err(|error| CaError::Refused(format!("authority {id} is known and does not sign yet: {error}")))?;
        self.gate.ca.activate(id, now).await?;
        let entry = Entry { detail: Some(detail.into()), ..Entry::new(now, Kind::Admin) };
        self.gate.audit.event(entry).await?;
        Ok(())
    }
}

fn parse_serial(text: &str) -> Result<Serial, CaError> {
    Serial::parse(text)
        .ok_or_else(|| CaError::Refused(format!("`{text}` is not a serial number (hex, as `cert list` shows)")))
}

/// Names by their form: `spiffe://…`, an address, an e-mail address, else a DNS name.
fn request_of(order: IssueOrder, by: &Caller) -> Result<IssueRequest, CaError> {
    let purpose = Purpose::parse(&order.profile).ok_or_else(|| {
        let known = Purpose::ALL.map(Purpose::as_str).join(", ");
        CaError::Refused(format!("`{}` is not a profile; write one of {known}", order.profile))
    })?;
    if order.why.trim().is_empty() {
        return Err(CaError::Refused("say why: it stands in the ledger and in the audit log".to_owned()));
    }
    let mut enrolment = Enrolment { user: order.user.clone(), ..Enrolment::default() };
    for name in &order.names {
        if name.starts_with("spiffe://") {
            if enrolment.spiffe.replace(name.clone()).is_some() {
                return Err(CaError::Refused("a certificate names one SPIFFE ID (X509-SVID section 2)".to_owned()));
            }
        } else if let Ok(address) = name.parse::<IpAddr>() {
            enrolment.addresses.push(address);
        } else if name.contains('@') {
            enrolment.emails.push(name.clone());
        } else {
            enrolment.dns.push(name.clone());
        }
    }
    let last_of = |id: &str| id.rsplit('/').next().unwrap_or(id).to_owned();
    let first = enrolment.dns.first().cloned();
    let shown = order.common_name.or_else(|| enrolment.spiffe.as_deref().map(last_of)).or(order.user.clone()).or(first);
    enrolment.common_name = shown.or_else(|| order.names.first().cloned()).unwrap_or_default();
    let owner = order.owner.or(order.user).or_else(|| enrolment.spiffe.clone());
    Ok(IssueRequest {
        purpose,
        owner: owner.unwrap_or_else(|| enrolment.common_name.clone()),
        enrolment,
        requested_by: by.to_string(),
        why: order.why,
        life: order.life_seconds.map(|seconds| time::Duration::seconds(seconds.into())),
    })
}
