//! The last look before a certificate or a list leaves: read back by x509-parser and verified by webpki, neither of
//! which wrote it. It must say what was meant and nothing more.
use crate::ca::IssuingCa;
use crate::profile::{Enrolment, Profile, Purpose};
use crate::{Error, Serial};
use rustls_pki_types::{CertificateDer, UnixTime};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use time::OffsetDateTime;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage};
use x509_parser::extensions::DistributionPointName;
use x509_parser::prelude::{
    CertificateRevocationList, FromDer, GeneralName, ParsedExtension, X509Certificate, X509Version,
};

/// What was meant.
pub(crate) struct Expected<'a> {
    pub serial: &'a Serial,
    pub profile: &'a Profile,
    pub enrolment: &'a Enrolment,
    pub spki: &'a [u8],
    pub crl_url: Option<&'a str>,
}

/// # Errors
/// The certificate says something else than was meant, or does not verify.
pub(crate) fn certificate(
    der: &[u8],
    expected: &Expected<'_>,
    ca: &IssuingCa,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let fault = Error::Lint;
    let (rest, leaf) = X509Certificate::from_der(der).map_err(|_| fault("it cannot be read"))?;
    let (_, issuer) =
        X509Certificate::from_der(ca.certificate_der()).map_err(|_| fault("its issuer cannot be read"))?;
    let validity = leaf.validity();
    for (holds, why) in [
        (rest.is_empty(), "there are bytes behind it"),
        (leaf.version() == X509Version::V3, "it is not of version 3"),
        (Serial::from_bytes(leaf.raw_serial()) == *expected.serial, "its serial number is another"),
        (leaf.raw_serial().len() <= 20, "its serial number is longer than 20 octets"),
        (leaf.raw_serial().first().is_some_and(|byte| byte & 0x80 == 0), "its serial number is negative"),
        (leaf.issuer().as_raw() == issuer.subject().as_raw(), "its issuer is named otherwise than itself"),
        (leaf.public_key().raw == expected.spki, "its key is not the one of the request"),
        (validity.not_after <= issuer.validity().not_after, "it outlives its issuer"),
        (validity.not_before.timestamp() <= now.unix_timestamp(), "it is not valid yet"),
        (leaf.verify_signature(Some(issuer.public_key())).is_ok(), "its signature does not verify"),
    ] {
        if !holds {
            return Err(fault(why));
        }
    }
    extensions(&leaf, &issuer, expected)?;
    path(der, expected.profile.purpose(), ca, now)
}

/// Each extension once, each with the value that was meant, and no other.
fn extensions(leaf: &X509Certificate<'_>, issuer: &X509Certificate<'_>, expected: &Expected<'_>) -> Result<(), Error> {
    let purpose = expected.profile.purpose();
    let mut names = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for extension in leaf.iter_extensions() {
        let (kind, holds) = match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(constraints) => ("basic constraints", !constraints.ca),
            ParsedExtension::KeyUsage(usage) => ("key usage", usage.flags == 1),
            ParsedExtension::ExtendedKeyUsage(usage) => {
                let meant = (purpose != Purpose::Server, matches!(purpose, Purpose::Server | Purpose::Service));
                let others = usage.any
                    || usage.code_signing
                    || usage.email_protection
                    || usage.time_stamping
                    || usage.ocsp_signing
                    || !usage.other.is_empty();
                ("extended key usage", (usage.client_auth, usage.server_auth) == meant && !others)
            }
            ParsedExtension::SubjectKeyIdentifier(id) => ("subject key identifier", id.0.len() == 20),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                let named = id.key_identifier.as_ref().map(|id| id.0);
                ("authority key identifier", named.is_some() && named == subject_key_id(issuer))
            }
            ParsedExtension::SubjectAlternativeName(found) => {
                names = found.general_names.iter().map(described).collect();
                ("subject alternative name", names.len() == found.general_names.len())
            }
            ParsedExtension::CRLDistributionPoints(points) => {
                let uris = points.points.iter().flat_map(|point| match &point.distribution_point {
                    Some(DistributionPointName::FullName(names)) => names.iter().map(described).collect(),
                    _ => vec![String::new()],
                });
                let meant = expected.crl_url.map(|url| format!("uri:{url}"));
                ("CRL distribution point", uris.eq(meant))
            }
            _ => ("an extension that nobody meant", false),
        };
        if !seen.insert(kind) || !holds {
            return Err(Error::Lint(kind));
        }
    }
    for needed in ["basic constraints", "key usage", "extended key usage", "authority key identifier"] {
        if !seen.contains(needed) {
            return Err(Error::Lint(needed));
        }
    }
    if expected.crl_url.is_some() != seen.contains("CRL distribution point") {
        return Err(Error::Lint("CRL distribution point"));
    }
    let meant = Enrolment { user: None, ..expected.enrolment.clone() }.described();
    if names != meant.into_iter().collect() {
        return Err(Error::Lint("subject alternative name"));
    }
    let subject: BTreeSet<String> =
        leaf.subject().iter_attributes().filter_map(|a| Some(a.as_str().ok()?.to_owned())).collect();
    let meant = [Some(&expected.enrolment.common_name), expected.enrolment.user.as_ref()];
    let count = leaf.subject().iter_attributes().count();
    if count != meant.iter().flatten().count() || subject != meant.into_iter().flatten().cloned().collect() {
        return Err(Error::Lint("subject"));
    }
    Ok(())
}

/// From the root down, as a verifier will: signatures, lives, path length, name constraints, usage.
fn path(der: &[u8], purpose: Purpose, ca: &IssuingCa, now: OffsetDateTime) -> Result<(), Error> {
    let fault = |_| Error::Lint("webpki does not verify it: outside of the authority's name constraints, or not valid");
    let (root, issuing) = (CertificateDer::from(ca.root_der()), [CertificateDer::from(ca.certificate_der())]);
    let anchors = [webpki::anchor_from_trusted_cert(&root).map_err(fault)?];
    let leaf = CertificateDer::from(der);
    let leaf = EndEntityCert::try_from(&leaf).map_err(fault)?;
    let seconds = u64::try_from(now.unix_timestamp()).map_err(|_| Error::Lifetime)?;
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let usages: &[fn() -> KeyUsage] = match purpose {
        Purpose::User | Purpose::Device => &[KeyUsage::client_auth],
        Purpose::Service => &[KeyUsage::client_auth, KeyUsage::server_auth],
        Purpose::Server => &[KeyUsage::server_auth],
    };
    for usage in usages {
        leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &issuing, at, usage(), None, None).map_err(fault)?;
    }
    Ok(())
}

/// # Errors
/// The list cannot be read, names its issuer otherwise, or does not verify.
pub(crate) fn crl(der: &[u8], issuer_der: &[u8]) -> Result<(), Error> {
    let (rest, list) = CertificateRevocationList::from_der(der).map_err(|_| Error::Lint("the list cannot be read"))?;
    let (_, issuer) = X509Certificate::from_der(issuer_der).map_err(|_| Error::Lint("its issuer cannot be read"))?;
    let key_id = list.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0),
        _ => None,
    });
    for (holds, why) in [
        (rest.is_empty(), "there are bytes behind the list"),
        (list.version() == Some(X509Version::V2), "the list is not of version 2"),
        (list.issuer().as_raw() == issuer.subject().as_raw(), "the list names its issuer otherwise than itself"),
        (key_id.is_some() && key_id == subject_key_id(&issuer), "the list names another key"),
        (list.next_update().is_some(), "the list has no next update"),
        (list.crl_number().is_some(), "the list has no number"),
        (list.verify_signature(issuer.public_key()).is_ok(), "the list's signature does not verify"),
    ] {
        if !holds {
            return Err(Error::Lint(why));
        }
    }
    Ok(())
}

pub(crate) fn subject_key_id<'a>(certificate: &X509Certificate<'a>) -> Option<&'a [u8]> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
        _ => None,
    })
}

/// As [`Enrolment::described`] writes it.
fn described(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => format!("dns:{name}"),
        GeneralName::RFC822Name(address) => format!("email:{address}"),
        GeneralName::URI(uri) => format!("uri:{uri}"),
        GeneralName::IPAddress(octets) => {
            let four = <[u8; 4]>::try_from(*octets).map(|octets| IpAddr::from(Ipv4Addr::from(octets)));
            let six = <[u8; 16]>::try_from(*octets).map(|octets| IpAddr::from(Ipv6Addr::from(octets)));
            four.or(six).map_or_else(|_| "ip:?".to_owned(), |address| format!("ip:{address}"))
        }
        _ => "?".to_owned(),
    }
}
