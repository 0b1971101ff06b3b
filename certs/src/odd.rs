//! TEST MATERIAL: leaves that a gate must refuse. Nothing here is ever issued to anybody.
//!
//! Each takes an honest request and breaks one thing, so that a refusal can only be for that thing.
use crate::leaf::ascii;
use crate::{Authority, Error, Issued, LeafRequest, Serial};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType};
use time::{Duration, OffsetDateTime};

/// Ended an hour ago.
pub fn expired(authority: &Authority, request: &LeafRequest, now: OffsetDateTime) -> Result<Issued, Error> {
    break_one(authority, request, now, |params| {
        params.not_before = now - Duration::days(2);
        params.not_after = now - Duration::hours(1);
        Ok(())
    })
}

/// Begins in an hour.
pub fn not_yet_valid(authority: &Authority, request: &LeafRequest, now: OffsetDateTime) -> Result<Issued, Error> {
    break_one(authority, request, now, |params| {
        params.not_before = now + Duration::hours(1);
        params.not_after = now + Duration::days(2);
        Ok(())
    })
}

/// Carries exactly these URI SANs: two SPIFFE IDs, none, or something that is no SPIFFE ID
/// (X509-SVID s2: more than one URI SAN must be rejected).
pub fn with_uris(
    authority: &Authority,
    request: &LeafRequest,
    uris: &[&str],
    now: OffsetDateTime,
) -> Result<Issued, Error> {
    break_one(authority, request, now, |params| {
        params.subject_alt_names.retain(|name| !matches!(name, SanType::URI(_)));
        for uri in uris {
            params.subject_alt_names.push(SanType::URI(ascii(uri)?));
        }
        Ok(())
    })
}

/// May be a server only, whatever the request says.
pub fn server_auth_only(authority: &Authority, request: &LeafRequest, now: OffsetDateTime) -> Result<Issued, Error> {
    break_one(authority, request, now, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        Ok(())
    })
}

/// Says CA:TRUE and may sign certificates.
pub fn authority_leaf(authority: &Authority, request: &LeafRequest, now: OffsetDateTime) -> Result<Issued, Error> {
    break_one(authority, request, now, |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages.push(KeyUsagePurpose::KeyCertSign);
        Ok(())
    })
}

/// Signed by a stranger of the same name as `authority`, with another key.
pub fn wrong_authority(authority_name: &str, request: &LeafRequest, now: OffsetDateTime) -> Result<Issued, Error> {
    Authority::new(authority_name, now, Duration::days(3650))?.issue(request, now)
}

fn break_one(
    authority: &Authority,
    request: &LeafRequest,
    now: OffsetDateTime,
    change: impl FnOnce(&mut CertificateParams) -> Result<(), Error>,
) -> Result<Issued, Error> {
    let serial = Serial::random()?;
    let mut params = request.params(&serial, now)?;
    change(&mut params)?;
    authority.sign(&params, serial)
}
