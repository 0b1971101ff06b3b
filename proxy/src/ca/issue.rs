//! Issuing: the one way in which a certificate leaves. Written down twice before it is handed out.
use crate::ca::{CaError, moment, own_domain, timestamp};
use crate::gate::Gate;
use crate::snapshot::Snapshot;
use torhaus_authz::{Entry, Kind, SpiffeId, Timestamp};
use torhaus_certs::{Csr, Enrolment, IssuedRecord, Purpose, Signed, SigningRequest};

/// Who gets what, and why. Comes from an enrolment or an operator, never from the CSR.
#[derive(Clone, Debug)]
pub struct IssueRequest {
    pub purpose: Purpose,
    pub enrolment: Enrolment,
    /// A user's name, or who answers for a service: ending this owner's certificates goes by it.
    pub owner: String,
    pub requested_by: String,
    pub why: String,
    /// Shorter than the profile's.
    pub life: Option<time::Duration>,
}

/// Signs, writes it into the ledger and into the audit log, and only then gives it out.
///
/// # Errors
/// 1. nothing is issued here, or there is no authority yet; 2. what is asked for cannot be certified; 3. it could not
///    be written down: what was signed is thrown away.
pub async fn issue(
    gate: &Gate,
    snapshot: &Snapshot,
    request: &IssueRequest,
    csr: &Csr,
    now: Timestamp,
) -> Result<Signed, CaError> {
    let config = &snapshot.config;
    let domain = own_domain(config).ok_or(CaError::NotConfigured)?;
    let all = gate.ca.authorities().ok_or(CaError::NotConfigured)?;
    let authority = all.active().ok_or(CaError::NoAuthority)?;
    if let Some(id) = &request.enrolment.spiffe {
        let parsed = SpiffeId::parse(id).map_err(|_| CaError::Refused(format!("`{id}` is not a SPIFFE ID")))?;
        if !domain.vouches_for.includes(parsed.trust_domain()) {
            return Err(CaError::Refused(format!(
                "trust domain `{}` does not vouch for `{id}`; add `{}` to its `spiffe_trust_domains`",
                domain.name,
                parsed.trust_domain()
            )));
        }
    }
    let profile = config.ca.profiles.iter().find(|profile| profile.purpose() == request.purpose);
    let profile = profile.ok_or(CaError::NotConfigured)?;
    let crl_url = format!("{}/{}.crl", config.ca.crl_base, authority.id());
    let signing =
        SigningRequest { profile, enrolment: &request.enrolment, csr, crl_url: Some(&crl_url), life: request.life };
    let at = moment(now);
    let signed = authority.sign(&signing, at).map_err(|error| CaError::Refused(error.to_string()))?;
    let record = IssuedRecord {
        serial: signed.serial.clone(),
        issuer: signed.issuer.clone(),
        profile: request.purpose.as_str().to_owned(),
        common_name: request.enrolment.common_name.clone(),
        names: request.enrolment.described(),
        owner: request.owner.clone(),
        requested_by: request.requested_by.clone(),
        why: request.why.clone(),
        sha256: signed.sha256.clone(),
        issued_at: at.replace_nanosecond(0).unwrap_or(at),
        not_before: signed.not_before,
        not_after: signed.not_after,
        der: signed.der.clone(),
    };
    gate.ca.ledger().record_issued(&record).await?;
    gate.audit.event(line(&record, now)).await?;
    gate.metrics.issued(record.profile.as_str());
    Ok(signed)
}

fn line(record: &IssuedRecord, now: Timestamp) -> Entry {
    let detail = format!(
        "serial {} of authority {}, profile {}, {} [{}], until {}, for {} by {}: {}",
        record.serial,
        record.issuer,
        record.profile,
        record.common_name,
        record.names.join(" "),
        timestamp(record.not_after),
        record.owner,
        record.requested_by,
        record.why,
    );
    Entry { detail: Some(detail.into()), ..Entry::new(now, Kind::Issue) }
}
