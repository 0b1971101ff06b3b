//! The authority: a self-signed ECDSA P-256 root that signs leaves and CRLs.
use crate::leaf::{BACKDATE, named};
use crate::{Error, Issued, LeafRequest, Serial};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, GeneralSubtree, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, PublicKeyData,
};
use std::net::{Ipv4Addr, Ipv6Addr};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};
use zeroize::Zeroizing;

/// Signs. Its key stays in memory unless [`Authority::key_pem`] is asked for.
pub struct Authority {
    root_pem: String,
    root_der: Vec<u8>,
    ends: OffsetDateTime,
    /// As it stands in the root; a CRL must name the same one (RFC 5280 s5.2.1).
    key_id: KeyIdMethod,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new root named `name`.
    ///
    /// # Errors
    /// 1. `life` is not positive; 2. no random bytes; 3. encoding.
    pub fn new(name: &str, now: OffsetDateTime, life: Duration) -> Result<Self, Error> {
        Self::limited_to(name, &[], now, life)
    }

    /// A new root that can only sign for these DNS names and what is below them, so that whoever trusts it risks
    /// nothing else (RFC 5280 s4.2.1.10). Addresses are limited to loopback then. No names: no limit.
    ///
    /// # Errors
    /// As [`Authority::new`].
    pub fn limited_to(name: &str, dns: &[&str], now: OffsetDateTime, life: Duration) -> Result<Self, Error> {
        if name.is_empty() {
            return Err(Error::Name(name.to_owned()));
        }
        if !life.is_positive() {
            return Err(Error::Lifetime);
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.serial_number = Some(Serial::random()?.to_rcgen());
        params.not_before = now - BACKDATE;
        params.not_after = now + life;
        // It signs leaves only: no authority below it.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = named(name);
        if !dns.is_empty() {
            let loopback = [(Ipv4Addr::LOCALHOST.into(), 8), (Ipv6Addr::LOCALHOST.into(), 128)];
            let loopback = loopback.map(|(address, prefix)| CidrSubnet::from_addr_prefix(address, prefix));
            let names = dns.iter().map(|name| GeneralSubtree::DnsName((*name).to_owned()));
            let permitted_subtrees = names.chain(loopback.map(GeneralSubtree::IpAddress)).collect();
            params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: vec![] });
        }
        let root = params.self_signed(&key)?.pem();
        Self::from_parts(root, key)
    }

    /// An authority from its certificate and its PKCS #8 key.
    ///
    /// # Errors
    /// 1. not PEM; 2. the certificate may not sign certificates and CRLs; 3. the key is another's.
    pub fn from_pem(root_pem: &str, key_pem: &str) -> Result<Self, Error> {
        Self::from_parts(root_pem.to_owned(), KeyPair::from_pem(key_pem)?)
    }

    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    pub fn root_der(&self) -> &[u8] {
        &self.root_der
    }

    /// PKCS #8.
    pub fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.issuer.key().serialize_pem())
    }

    /// A leaf with a fresh P-256 key.
    ///
    /// # Errors
    /// 1. a name that cannot stand in a certificate; 2. a lifetime that is not positive or outlives this authority;
    ///    3. no random bytes; 4. encoding.
    pub fn issue(&self, request: &LeafRequest, now: OffsetDateTime) -> Result<Issued, Error> {
        let serial = Serial::random()?;
        let params = request.params(&serial, now)?;
        if params.not_after > self.ends {
            return Err(Error::OutlivesAuthority { authority_ends: self.ends });
        }
        self.sign(&params, serial)
    }

    pub(crate) fn sign(&self, params: &CertificateParams, serial: Serial) -> Result<Issued, Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued::new(certificate, key, serial, params))
    }

    pub(crate) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    pub(crate) fn key_id(&self) -> KeyIdMethod {
        self.key_id.clone()
    }

    pub fn ends(&self) -> OffsetDateTime {
        self.ends
    }

    pub(crate) fn from_parts(root_pem: String, key: KeyPair) -> Result<Self, Error> {
        let (_, pem) = x509_parser::pem::parse_x509_pem(root_pem.as_bytes()).map_err(|_| Error::Pem)?;
        let (_, root) = X509Certificate::from_der(&pem.contents).map_err(|_| Error::Pem)?;
        let signs =
            root.key_usage().ok().flatten().is_some_and(|usage| usage.value.key_cert_sign() && usage.value.crl_sign());
        if !root.is_ca() || !signs {
            return Err(Error::NotAnAuthority);
        }
        if root.public_key().raw != key.subject_public_key_info() {
            return Err(Error::KeyMismatch);
        }
        let key_id = root.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(KeyIdMethod::PreSpecified(id.0.to_vec())),
            _ => None,
        });
        let ends = root.validity().not_after.to_datetime();
        let issuer = Issuer::from_ca_cert_pem(&root_pem, key)?;
        let root_der = pem.contents.clone();
        Ok(Self { root_der, ends, key_id: key_id.unwrap_or(KeyIdMethod::Sha256), issuer, root_pem })
    }
}
