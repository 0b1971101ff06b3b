//! A private CA: a root, and below it an issuing authority that signs certificates of profiles.
//!
//! ```text
//! new_root --new_issuing--> IssuingCa --sign(profile, enrolment, csr, now)--> Signed, linted
//!        (or an offline root, and IssuingCa::import)
//! ```
//!
//! Never copies anything but the public key from a request, never makes an authority from one, and lets nothing out
//! that an independent parser finds fault with ([`crate::lint`]).
use crate::csr::Csr;
use crate::key::{AllowedKey, KeyKind, LEAST_RSA_AUTHORITY_BITS};
use crate::leaf::{BACKDATE, named};
use crate::lint;
use crate::profile::{Enrolment, Profile};
use crate::{Authority, Crl, CrlRequest, Error, Serial};
use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, CrlDistributionPoint, GeneralSubtree, IsCa, KeyPair,
    KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SubjectPublicKeyInfo,
};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

/// A certificate that would be over before anybody could use it is none.
const LEAST_LEFT: Duration = Duration::minutes(5);

/// The key of a new authority. RSA keys are imported, never made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyAlgorithm {
    #[default]
    EcdsaP256,
    EcdsaP384,
}

/// What a new authority is to be.
#[derive(Clone, Debug)]
pub struct AuthorityRequest<'a> {
    pub name: &'a str,
    pub key: KeyAlgorithm,
    /// It can certify only these DNS names and what is below them, and no addresses (RFC 5280 s4.2.1.10). Empty: any.
    pub permitted_dns: &'a [String],
    pub life: Duration,
}

/// An authority that signs certificates, and the root above it.
pub struct IssuingCa {
    id: String,
    authority: Authority,
    root_pem: String,
    root_der: Vec<u8>,
}

/// What a certificate is to be, from those who may say so.
#[derive(Clone, Debug)]
pub struct SigningRequest<'a> {
    pub profile: &'a Profile,
    pub enrolment: &'a Enrolment,
    pub csr: &'a Csr,
    /// Where the list of this authority's revoked certificates is published.
    pub crl_url: Option<&'a str>,
    /// Shorter than the profile's.
    pub life: Option<Duration>,
}

/// A certificate that passed the lint.
#[derive(Clone, Debug)]
pub struct Signed {
    pub serial: Serial,
    /// Of the authority that signed.
    pub issuer: String,
    pub der: Vec<u8>,
    /// Leaf, then its issuer (RFC 8555 s7.4.2); not the root, which whoever verifies has already.
    pub chain_pem: String,
    /// SHA-256 of the DER, lower-case hex.
    pub sha256: String,
    pub not_before: OffsetDateTime,
    pub not_after: OffsetDateTime,
}

/// A self-signed root that may sign authorities of one level (pathLen 1), and nothing else is asked of it.
///
/// # Errors
/// 1. a name that cannot stand there; 2. a life that is not positive; 3. no random bytes; 4. encoding.
pub fn new_root(request: &AuthorityRequest<'_>, now: OffsetDateTime) -> Result<Authority, Error> {
    let (key, params) = authority_params(request, 1, now)?;
    let pem = params.self_signed(&key)?.pem();
    Authority::from_parts(pem, key)
}

impl IssuingCa {
    /// A new authority below `root`. It ends with the root at the latest.
    ///
    /// # Errors
    /// As [`new_root`]; and: the root has ended.
    pub fn new(root: &Authority, request: &AuthorityRequest<'_>, now: OffsetDateTime) -> Result<Self, Error> {
        let (key, mut params) = authority_params(request, 0, now)?;
        params.use_authority_key_identifier_extension = true;
        params.not_after = params.not_after.min(root.ends());
        if params.not_after <= now {
            return Err(Error::OutlivesAuthority { authority_ends: root.ends() });
        }
        let pem = params.signed_by(&key, root.issuer())?.pem();
        Self::below(root.root_pem(), Authority::from_parts(pem, key)?, now)
    }

    /// An authority that somebody else's root signed, with its PKCS #8 key: ECDSA P-256 or P-384, or RSA from 3072
    /// bits.
    ///
    /// # Errors
    /// 1. not PEM, or the key does not fit; 2. not an authority's certificate, expired, or without a key identifier;
    ///    3. the root did not sign it; 4. a key too weak for an authority; 5. names that we cannot write in the same
    ///    way again.
    pub fn import(root_pem: &str, issuing_pem: &str, key_pem: &str, now: OffsetDateTime) -> Result<Self, Error> {
        Self::below(root_pem, Authority::from_pem(issuing_pem, key_pem)?, now)
    }

    fn below(root_pem: &str, authority: Authority, now: OffsetDateTime) -> Result<Self, Error> {
        let (_, pem) = x509_parser::pem::parse_x509_pem(root_pem.as_bytes()).map_err(|_| Error::Pem)?;
        let (_, root) = X509Certificate::from_der(&pem.contents).map_err(|_| Error::Pem)?;
        let (_, issuing) = X509Certificate::from_der(authority.root_der()).map_err(|_| Error::Pem)?;
        if !root.is_ca() || root.verify_signature(None).is_err() {
            return Err(Error::Import("the root is not a self-signed authority"));
        }
        if issuing.issuer().as_raw() != root.subject().as_raw()
            || issuing.verify_signature(Some(root.public_key())).is_err()
        {
            return Err(Error::Import("the root did not sign the issuing authority"));
        }
        let ended = |certificate: &X509Certificate<'_>| {
            let validity = certificate.validity();
            now.unix_timestamp() < validity.not_before.timestamp()
                || now.unix_timestamp() > validity.not_after.timestamp()
        };
        if ended(&root) || ended(&issuing) {
            return Err(Error::Import("the root or the issuing authority is not valid now"));
        }
        match AllowedKey::parse(issuing.public_key().raw)?.kind() {
            KeyKind::EcdsaP256 | KeyKind::EcdsaP384 => {}
            KeyKind::Rsa { bits } if bits >= LEAST_RSA_AUTHORITY_BITS => {}
            KeyKind::Rsa { .. } => return Err(Error::Import("an authority's RSA key has at least 3072 bits")),
            KeyKind::Ed25519 => {
                return Err(Error::Import("browsers do not accept an Ed25519 authority; use ECDSA or RSA"));
            }
        }
        let key_id = lint::subject_key_id(&issuing).ok_or(Error::Import("it has no subject key identifier"))?;
        let id: String = key_id.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let ca = Self { id, root_pem: root_pem.to_owned(), root_der: pem.contents.clone(), authority };
        // Some subjects cannot be written again octet by octet; then nothing it signed would verify.
        let empty = CrlRequest { number: 1, this_update: now, next_update: now + LEAST_LEFT, revoked: &[] };
        lint::crl(ca.authority.crl(&empty)?.der(), ca.authority.root_der())?;
        Ok(ca)
    }

    /// The first eight octets of its key identifier, lower-case hex: how files, addresses and the ledger call it.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn certificate_pem(&self) -> &str {
        self.authority.root_pem()
    }

    pub fn certificate_der(&self) -> &[u8] {
        self.authority.root_der()
    }

    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    pub fn root_der(&self) -> &[u8] {
        &self.root_der
    }

    pub fn ends(&self) -> OffsetDateTime {
        self.authority.ends()
    }

    /// PKCS #8; for sealing, and nothing else.
    pub fn key_pem(&self) -> Zeroizing<String> {
        self.authority.key_pem()
    }

    /// Signs what profile and enrolment say, with the key of the request. It ends with this authority at the latest.
    ///
    /// # Errors
    /// 1. the profile does not certify these names; 2. this authority ends within minutes; 3. the key is this
    ///    authority's own; 4. no random bytes; 5. the lint found fault with it, names outside of the authority's
    ///    constraints among them.
    pub fn sign(&self, request: &SigningRequest<'_>, now: OffsetDateTime) -> Result<Signed, Error> {
        let SigningRequest { profile, enrolment, csr, crl_url, life } = request;
        profile.check(enrolment)?;
        let life = life.map_or(profile.life(), |shorter| shorter.min(profile.life()));
        if !life.is_positive() {
            return Err(Error::Lifetime);
        }
        if self.ends() - now < LEAST_LEFT {
            return Err(Error::OutlivesAuthority { authority_ends: self.ends() });
        }
        let (_, own) = X509Certificate::from_der(self.certificate_der()).map_err(|_| Error::Pem)?;
        if own.public_key().raw == csr.key().spki() {
            return Err(Error::Key("it is the authority's own"));
        }
        let serial = Serial::random()?;
        let mut params = CertificateParams::default();
        params.serial_number = Some(serial.to_rcgen());
        params.not_before = (now - BACKDATE).replace_nanosecond(0).unwrap_or(now);
        params.not_after = (now + life).min(self.ends()).replace_nanosecond(0).unwrap_or(now);
        params.distinguished_name = enrolment.subject();
        params.subject_alt_names = enrolment.names()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = profile.purpose().extended_key_usages();
        params.crl_distribution_points =
            crl_url.iter().map(|url| CrlDistributionPoint { uris: vec![(*url).to_owned()] }).collect();
        let key = SubjectPublicKeyInfo::from_der(csr.key().spki())?;
        let certificate = params.signed_by(&key, self.authority.issuer())?;
        let expected =
            lint::Expected { serial: &serial, profile, enrolment, spki: csr.key().spki(), crl_url: *crl_url };
        lint::certificate(certificate.der(), &expected, self, now)?;
        let hash = digest(&SHA256, certificate.der());
        Ok(Signed {
            issuer: self.id.clone(),
            der: certificate.der().to_vec(),
            chain_pem: certificate.pem() + self.certificate_pem(),
            sha256: hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect(),
            not_before: params.not_before,
            not_after: params.not_after,
            serial,
        })
    }

    /// A list of this authority's revoked certificates, linted.
    ///
    /// # Errors
    /// 1. the next update is not later than this one; 2. encoding; 3. the lint found fault with it.
    pub fn crl(&self, request: &CrlRequest<'_>) -> Result<Crl, Error> {
        let crl = self.authority.crl(request)?;
        lint::crl(crl.der(), self.certificate_der())?;
        Ok(crl)
    }
}

/// Never the key.
impl fmt::Debug for IssuingCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuingCa").field("id", &self.id).field("ends", &self.ends()).finish_non_exhaustive()
    }
}

fn authority_params(
    request: &AuthorityRequest<'_>,
    below: u8,
    now: OffsetDateTime,
) -> Result<(KeyPair, CertificateParams), Error> {
    let AuthorityRequest { name, key, permitted_dns, life } = request;
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(Error::Name((*name).to_owned()));
    }
    if !life.is_positive() {
        return Err(Error::Lifetime);
    }
    let key = KeyPair::generate_for(match key {
        KeyAlgorithm::EcdsaP256 => &PKCS_ECDSA_P256_SHA256,
        KeyAlgorithm::EcdsaP384 => &PKCS_ECDSA_P384_SHA384,
    })?;
    let mut params = CertificateParams::default();
    params.serial_number = Some(Serial::random()?.to_rcgen());
    params.not_before = now - BACKDATE;
    params.not_after = now + *life;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name = named(name);
    if !permitted_dns.is_empty() {
        let any = [(Ipv4Addr::UNSPECIFIED.into(), 0), (Ipv6Addr::UNSPECIFIED.into(), 0)];
        let any = any.map(|(address, prefix)| CidrSubnet::from_addr_prefix(address, prefix));
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: permitted_dns.iter().cloned().map(GeneralSubtree::DnsName).collect(),
            excluded_subtrees: any.map(GeneralSubtree::IpAddress).into(),
        });
    }
    Ok((key, params))
}
