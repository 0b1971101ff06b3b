//! Client certificate authorities, by trust domain, and the judgement of a chain.
//!
//! A handshake proves possession of a key once; whether the chain is trusted is judged again on every request, so that
//! a certificate revoked or expired while the connection lives, or resumed from a ticket, is refused at once. The
//! judgement is kept until something in it ends (a certificate's or a CRL's life), or the configuration changes.
use moka::sync::Cache;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, DistinguishedName, RootCertStore};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use torhaus_authz::{Certificate, Name, Reason, SpiffeId, Timestamp};
use torhaus_certs::{RevokedSet, SerialKey};
use torhaus_config::{Signers, Vouches};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

/// Judgements kept, at most. One is some hundred bytes; 10,000 devices fit in a few MB.
const KEPT_JUDGEMENTS: u64 = 10_000;

/// Attribute type `userid` (RFC 4519 section 2.39): how a certificate names the user it belongs to.
const OID_USER_ID: &str = "0.9.2342.19200300.100.1.1";

/// Attribute type `serialNumber` (X.520): that of the hardware.
const OID_DEVICE_SERIAL: &str = "2.5.4.5";

#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("{}: {why}", path.display())]
    File { path: PathBuf, why: String },
    #[error("trust domain `{domain}`: {why}")]
    Domain { domain: Name, why: String },
    #[error(
        "its server would be believed by the authorities of this system, and there are none; name the server's own in \
         `upstream_tls.ca_file`, or install some (`SSL_CERT_FILE` says where) and start again"
    )]
    NoSystemAuthorities,
}

/// Why a presented certificate is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CertificateRefusal {
    /// No authority of the allowed trust domains signed it.
    UnknownAuthority,
    Expired,
    NotYetValid,
    Revoked,
    /// The CRL of its authority is expired or says nothing about it: unknown is not good.
    RevocationUnknown,
    /// Not for client authentication.
    WrongPurpose,
    /// More than one URI SAN (X509-SVID section 2 forbids it), or one that is no SPIFFE ID where one is meant.
    AmbiguousName,
    /// It names a service of a SPIFFE trust domain that its authority may not vouch for.
    NotVouchedFor,
    /// A weak key, a CA certificate as leaf, a broken encoding, an algorithm we do not accept.
    Invalid,
}

impl CertificateRefusal {
    /// In the words of the reasons.
    pub fn reason(self) -> Reason {
        match self {
            Self::Expired => Reason::CertificateExpired,
            Self::Revoked => Reason::CertificateRevoked,
            Self::RevocationUnknown => Reason::RevocationUnknown,
            Self::UnknownAuthority
            | Self::NotYetValid
            | Self::WrongPurpose
            | Self::AmbiguousName
            | Self::NotVouchedFor
            | Self::Invalid => Reason::CertificateInvalid,
        }
    }
}

/// A chain that was judged and believed.
#[derive(Clone, Debug)]
pub struct VerifiedCertificate {
    pub certificate: Arc<Certificate>,
    /// The service it names, if it is a service's.
    pub spiffe: Option<SpiffeId>,
    /// What it calls the device that it is of: common name, DNS names, serial number of the hardware, each as
    /// [`torhaus_authz::serial`] writes it.
    pub device_names: Arc<[Name]>,
    /// E-mail addresses among its SANs, lower case.
    pub emails: Vec<String>,
    /// The moment at which the judgement has to be made again: the first end of a certificate of the chain or of a CRL.
    pub good_until: Timestamp,
    /// How our own authority revokes it; none if its number is too long to be one of ours.
    pub revocable: Option<Revocable>,
}

/// A certificate that may be our own, and the set in which it will stand once it is revoked.
#[derive(Clone, Debug)]
pub struct Revocable {
    serial: SerialKey,
    revoked: Arc<RevokedSet>,
}

impl VerifiedCertificate {
    /// Whether our own authority has revoked it since it was judged.
    pub fn is_revoked(&self) -> bool {
        self.revocable.as_ref().is_some_and(|own| own.revoked.contains(&own.serial))
    }
}

/// Our own authorities, for the trust domain that says `own_ca`. Without any, it believes nobody.
#[derive(Clone, Debug, Default)]
pub struct OwnAuthorities {
    /// Issuing authorities that have not ended, those of before a rotation included. Not the root: it may have signed
    /// authorities for other purposes.
    pub issuing: Vec<CertificateDer<'static>>,
    pub revoked: Arc<RevokedSet>,
}

/// Fingerprint of a leaf, and the trust domains that were asked about it.
type Judged = (Arc<str>, Arc<[Name]>);

pub struct TrustDomains {
    domains: BTreeMap<Name, TrustDomain>,
    /// What our own authority has revoked. Asked about every certificate, whichever domain believes it: another domain
    /// may know an authority above ours.
    revoked: Arc<RevokedSet>,
    believed: Cache<Judged, Arc<VerifiedCertificate>>,
}

struct TrustDomain {
    name: Name,
    /// None: it has no authority yet.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// Its certificates are signed here.
    own: bool,
    hints: Vec<DistinguishedName>,
    proves: Option<Name>,
    vouches_for: Vouches,
    /// The earliest next update among its CRLs.
    crl_until: Option<Timestamp>,
}

impl TrustDomains {
    /// # Errors
    /// 1. a file cannot be read or parsed; 2. an authority is unusable.
    pub fn load(
        config: &BTreeMap<String, torhaus_config::TrustDomain>,
        own: &OwnAuthorities,
    ) -> Result<Self, TrustError> {
        let load = |(_, domain): (_, &torhaus_config::TrustDomain)| {
            TrustDomain::load(domain, own).map(|loaded| (loaded.name.clone(), loaded))
        };
        let domains = config.iter().map(load).collect::<Result<_, _>>()?;
        Ok(Self { domains, revoked: own.revoked.clone(), believed: Cache::new(KEPT_JUDGEMENTS) })
    }

    /// Judges a chain against the trust domains of a host. `sha256` is that of the leaf.
    ///
    /// # Errors
    /// The reason why it is not believed.
    pub fn judge(
        &self,
        allowed: &Arc<[Name]>,
        chain: &[CertificateDer<'_>],
        sha256: &Arc<str>,
        now: Timestamp,
    ) -> Result<Arc<VerifiedCertificate>, CertificateRefusal> {
        let key = (sha256.clone(), allowed.clone());
        // A refusal may end too (a certificate becomes valid), so only belief is kept.
        if let Some(kept) = self.believed.get(&key)
            && now < kept.good_until
        {
            return if kept.is_revoked() { Err(CertificateRefusal::Revoked) } else { Ok(kept) };
        }
        let judged = Arc::new(self.judge_anew(allowed, chain, sha256, now)?);
        self.believed.insert(key, judged.clone());
        Ok(judged)
    }

    pub fn judge_anew(
        &self,
        allowed: &[Name],
        chain: &[CertificateDer<'_>],
        sha256: &Arc<str>,
        now: Timestamp,
    ) -> Result<VerifiedCertificate, CertificateRefusal> {
        let (leaf, intermediates) = chain.split_first().ok_or(CertificateRefusal::Invalid)?;
        let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.seconds()).unwrap_or(0)));
        // The refusal of the domain that knows the authority says more than "unknown authority" of the others.
        let mut refusal = CertificateRefusal::UnknownAuthority;
        for domain in allowed.iter().filter_map(|name| self.domains.get(name)) {
            let Some(verifier) = &domain.verifier else { continue };
            match verifier.verify_client_cert(leaf, intermediates, at) {
                Ok(_) => match describe(domain, &self.revoked, leaf, intermediates, sha256) {
                    // The same authority may stand in another domain of the host, which may vouch for it.
                    Err(CertificateRefusal::NotVouchedFor) => refusal = CertificateRefusal::NotVouchedFor,
                    Ok(found) if found.is_revoked() => return Err(CertificateRefusal::Revoked),
                    judged => return judged,
                },
                Err(error) => {
                    let why = refusal_of(&error);
                    if why != CertificateRefusal::UnknownAuthority {
                        refusal = why;
                    }
                }
            }
        }
        Err(refusal)
    }

    /// Subjects of the authorities, sent to the client so that it offers a fitting certificate only.
    pub fn hints(&self, allowed: &[Name]) -> Arc<[DistinguishedName]> {
        allowed.iter().filter_map(|name| self.domains.get(name)).flat_map(|domain| domain.hints.clone()).collect()
    }

    /// Until when each revocation list is good.
    pub fn revocation_lists(&self) -> impl Iterator<Item = (&str, Timestamp)> {
        self.domains.iter().filter_map(|(name, domain)| Some((&**name, domain.crl_until?)))
    }

    /// The tier that a certificate of this domain proves for a service.
    pub fn proves(&self, domain: &str) -> Option<&Name> {
        self.domains.get(domain)?.proves.as_ref()
    }
}

impl TrustDomain {
    fn load(config: &torhaus_config::TrustDomain, own: &OwnAuthorities) -> Result<Self, TrustError> {
        let fail = |why: String| TrustError::Domain { domain: config.name.clone(), why };
        let authorities = match &config.signers {
            Signers::File(file) => read_pem::<CertificateDer<'static>>(file)?,
            Signers::Own => own.issuing.clone(),
        };
        if authorities.is_empty() {
            return Ok(Self {
                name: config.name.clone(),
                verifier: None,
                own: config.signers == Signers::Own,
                hints: Vec::new(),
                proves: config.proves.clone(),
                vouches_for: config.vouches_for.clone(),
                crl_until: None,
            });
        }
        let mut roots = RootCertStore::empty();
        for certificate in authorities {
            roots.add(certificate).map_err(|e| fail(e.to_string()))?;
        }
        let roots = Arc::new(roots);
        let mut builder = WebPkiClientVerifier::builder(roots);
        let mut crl_until = None;
        if let Some(crl_file) = &config.crl_file {
            let crls = read_pem::<CertificateRevocationListDer<'static>>(crl_file)?;
            crl_until = crls.iter().filter_map(|crl| next_update(crl)).min();
            // Without this call rustls would accept a CRL long after its next update.
            builder = builder.with_crls(crls).enforce_revocation_expiration();
        }
        let verifier = builder.build().map_err(|e| fail(e.to_string()))?;
        let hints = verifier.root_hint_subjects().to_vec();
        Ok(Self {
            name: config.name.clone(),
            verifier: Some(verifier),
            own: config.signers == Signers::Own,
            hints,
            proves: config.proves.clone(),
            vouches_for: config.vouches_for.clone(),
            crl_until,
        })
    }
}

fn describe(
    domain: &TrustDomain,
    revoked: &Arc<RevokedSet>,
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    sha256: &Arc<str>,
) -> Result<VerifiedCertificate, CertificateRefusal> {
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| CertificateRefusal::Invalid)?;
    let names = parsed.subject_alternative_name().map_err(|_| CertificateRefusal::Invalid)?;
    let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let mut uris = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let spiffe = match (uris.next(), uris.next()) {
        (_, Some(_)) => return Err(CertificateRefusal::AmbiguousName),
        (Some(uri), None) if uri.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("spiffe:")) => {
            let id = SpiffeId::parse(uri).map_err(|_| CertificateRefusal::AmbiguousName)?;
            // The policy knows services by their ID alone, so here is where an authority is held to its own.
            if !domain.vouches_for.includes(id.trust_domain()) {
                return Err(CertificateRefusal::NotVouchedFor);
            }
            Some(id)
        }
        _ => None,
    };
    let email = |name: &GeneralName<'_>| match name {
        GeneralName::RFC822Name(address) => Some(address.to_ascii_lowercase()),
        _ => None,
    };
    let user = parsed
        .subject()
        .iter_attributes()
        .find(|attribute| attribute.attr_type().to_id_string() == OID_USER_ID)
        .and_then(|attribute| attribute.as_str().ok())
        .map(Name::from);
    let until = |der: &CertificateDer<'_>| {
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        Some(Timestamp::from_seconds(parsed.validity().not_after.timestamp()))
    };
    let not_after = Timestamp::from_seconds(parsed.validity().not_after.timestamp());
    let good_until =
        intermediates.iter().filter_map(until).chain(domain.crl_until).fold(not_after, |least, next| least.min(next));
    let certificate = Arc::new(Certificate {
        trust_domain: domain.name.clone(),
        sha256: sha256.clone(),
        serial: parsed.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
        not_after,
        user,
    });
    let revocable = SerialKey::of(parsed.raw_serial()).map(|serial| Revocable { serial, revoked: revoked.clone() });
    // A number too long to be ours is nobody's that we could revoke.
    if domain.own && revocable.is_none() {
        return Err(CertificateRefusal::Invalid);
    }
    let device_names = device_names(&parsed, names);
    let emails = names.iter().filter_map(email).collect();
    Ok(VerifiedCertificate { certificate, spiffe, device_names, emails, good_until, revocable })
}

fn device_names(parsed: &X509Certificate<'_>, names: &[GeneralName<'_>]) -> Arc<[Name]> {
    let subject = parsed.subject();
    // RFC 5280 section 4.1.2.4: the serial number of a subject is that of the device.
    let in_subject = subject
        .iter_common_name()
        .chain(subject.iter_attributes().filter(|attribute| attribute.attr_type().to_id_string() == OID_DEVICE_SERIAL));
    let in_subject = in_subject.filter_map(|attribute| attribute.as_str().ok());
    let in_names = names.iter().filter_map(|name| match name {
        GeneralName::DNSName(dns) => Some(*dns),
        _ => None,
    });
    in_subject.chain(in_names).filter_map(torhaus_authz::serial).collect()
}

fn refusal_of(error: &rustls::Error) -> CertificateRefusal {
    let rustls::Error::InvalidCertificate(why) = error else { return CertificateRefusal::Invalid };
    match why {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => CertificateRefusal::UnknownAuthority,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => CertificateRefusal::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => CertificateRefusal::NotYetValid,
        CertificateError::Revoked => CertificateRefusal::Revoked,
        CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => CertificateRefusal::RevocationUnknown,
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            CertificateRefusal::WrongPurpose
        }
        _ => CertificateRefusal::Invalid,
    }
}

/// When the first certificate of a PEM file ends; none if there is none that can be read.
pub fn end_of(file: &Path) -> Option<Timestamp> {
    let chain = read_pem::<CertificateDer<'static>>(file).ok()?;
    let (_, leaf) = X509Certificate::from_der(chain.first()?).ok()?;
    Some(Timestamp::from_seconds(leaf.validity().not_after.timestamp()))
}

fn next_update(crl: &CertificateRevocationListDer<'_>) -> Option<Timestamp> {
    let (_, parsed) = CertificateRevocationList::from_der(crl).ok()?;
    parsed.next_update().map(|time| Timestamp::from_seconds(time.timestamp()))
}

/// All PEM items of one kind in a file; at least one.
pub(crate) fn read_pem<T: PemObject>(path: &Path) -> Result<Vec<T>, TrustError> {
    let fail = |why: String| TrustError::File { path: path.to_owned(), why };
    let items = T::pem_file_iter(path).map_err(|e| fail(e.to_string()))?;
    let items = items.collect::<Result<Vec<T>, _>>().map_err(|e| fail(e.to_string()))?;
    if items.is_empty() { Err(fail("holds nothing of the kind expected here".into())) } else { Ok(items) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::tls::fingerprint;
    use std::fs;
    use tempfile::TempDir;
    use torhaus_certs::{Authority, Issued, LeafRequest};

    const ID: &str = "spiffe://example.test/backup";

    fn now() -> time::OffsetDateTime {
        time::OffsetDateTime::from_unix_timestamp(crate::clock::now().seconds()).unwrap()
    }

    /// Two authorities, and the trust that is in them.
    struct Two {
        _folder: TempDir,
        ours: Authority,
        partner: Authority,
        trust: TrustDomains,
    }

    fn two(ours_for: Vouches, partner_for: Vouches) -> Two {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = TempDir::new().unwrap();
        let authority = |name: &str| Authority::new(name, now(), time::Duration::days(30)).unwrap();
        let (ours, partner) = (authority("ours"), authority("partner"));
        let domain = |name: &str, authority: &Authority, vouches_for: Vouches| {
            let ca_file = folder.path().join(name);
            fs::write(&ca_file, authority.root_pem()).unwrap();
            let name: Name = name.into();
            (
                name.to_string(),
                torhaus_config::TrustDomain {
                    name,
                    signers: Signers::File(ca_file),
                    crl_file: None,
                    proves: None,
                    vouches_for,
                },
            )
        };
        let domains = [domain("ours", &ours, ours_for), domain("partner", &partner, partner_for)];
        let trust = TrustDomains::load(&domains.into_iter().collect(), &OwnAuthorities::default()).unwrap();
        Two { _folder: folder, ours, partner, trust }
    }

    fn only(spiffe: &[&str]) -> Vouches {
        Vouches::For(spiffe.iter().map(|name| Name::from(*name)).collect())
    }

    fn judge(trust: &TrustDomains, issued: &Issued) -> Result<Option<SpiffeId>, CertificateRefusal> {
        let leaf = CertificateDer::from(issued.cert_der().to_vec());
        let allowed: Arc<[Name]> = ["ours".into(), "partner".into()].into();
        let sha256 = fingerprint(&leaf);
        trust.judge(&allowed, &[leaf], &sha256, crate::clock::now()).map(|found| found.spiffe.clone())
    }

    #[test]
    fn an_authority_names_services_of_its_own_trust_domains_and_no_others() {
        let two = two(only(&["example.test"]), only(&["partner.test"]));
        let service = |authority: &Authority, id: &str| {
            judge(&two.trust, &authority.issue(&LeafRequest::service(id), now()).unwrap())
        };
        assert_eq!(service(&two.ours, ID), Ok(Some(SpiffeId::parse(ID).unwrap())));
        assert_eq!(service(&two.partner, ID), Err(CertificateRefusal::NotVouchedFor));
        assert_eq!(
            service(&two.partner, "spiffe://example.test.partner.test/a"),
            Err(CertificateRefusal::NotVouchedFor)
        );
        assert!(service(&two.partner, "spiffe://partner.test/a").is_ok());
        // A certificate that names no service is not asked for any.
        let device = two.partner.issue(&LeafRequest::device("laptop"), now()).unwrap();
        assert_eq!(judge(&two.trust, &device), Ok(None));
        assert_eq!(CertificateRefusal::NotVouchedFor.reason(), torhaus_authz::Reason::CertificateInvalid);
    }

    #[test]
    fn an_authority_that_may_name_nobody_names_nobody_and_the_only_one_anybody() {
        let two = two(Vouches::ForAny, only(&[]));
        let service = |authority: &Authority| authority.issue(&LeafRequest::service(ID), now()).unwrap();
        assert!(judge(&two.trust, &service(&two.ours)).is_ok());
        assert_eq!(judge(&two.trust, &service(&two.partner)), Err(CertificateRefusal::NotVouchedFor));
    }
}
