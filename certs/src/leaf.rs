//! What a leaf certificate is asked to say, and the leaf that came of it.
use crate::{Error, Serial};
use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use std::net::IpAddr;
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

/// What a certificate is for. Decides key usages and how long it lives unless the request says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeafUse {
    /// A TLS server: serverAuth.
    Server,
    /// A person: clientAuth.
    User,
    /// A machine of a person: clientAuth.
    Device,
    /// A program, named by one SPIFFE ID: clientAuth.
    Service,
    /// A program that also answers TLS: clientAuth and serverAuth.
    ServiceAndServer,
}

/// A request for a leaf: a profile and the names it certifies.
#[derive(Clone, Debug)]
pub struct LeafRequest {
    pub(crate) profile: LeafUse,
    pub(crate) common_name: String,
    pub(crate) dns: Vec<String>,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) emails: Vec<String>,
    pub(crate) spiffe: Option<String>,
    pub(crate) life: Duration,
}

/// A leaf with its private key.
pub struct Issued {
    certificate: rcgen::Certificate,
    key: KeyPair,
    pub serial: Serial,
    pub not_before: OffsetDateTime,
    pub not_after: OffsetDateTime,
}

/// Clocks of machines differ; a certificate is valid from a minute ago.
pub(crate) const BACKDATE: Duration = Duration::minutes(1);

impl LeafRequest {
    /// A TLS server of these DNS names (`*.example.test` for a wildcard; clients refuse one right below a top-level
    /// domain, `*.localhost`). Ninety days.
    pub fn server<I: IntoIterator<Item: Into<String>>>(names: I) -> Self {
        let dns: Vec<String> = names.into_iter().map(Into::into).collect();
        let common_name = dns.first().cloned().unwrap_or_else(|| "server".to_owned());
        Self { dns, ..Self::new(LeafUse::Server, common_name, Duration::days(90)) }
    }

    /// A person, named by the common name. Twelve hours.
    pub fn user(name: impl Into<String>) -> Self {
        Self::new(LeafUse::User, name.into(), Duration::hours(12))
    }

    /// A device, named by the common name. A day.
    pub fn device(name: impl Into<String>) -> Self {
        Self::new(LeafUse::Device, name.into(), Duration::days(1))
    }

    /// A program, named by its SPIFFE ID, the only URI in the certificate (X509-SVID s2). A day.
    pub fn service(spiffe_id: impl Into<String>) -> Self {
        let spiffe = spiffe_id.into();
        let common_name = spiffe.rsplit('/').next().unwrap_or_default().to_owned();
        Self { spiffe: Some(spiffe), ..Self::new(LeafUse::Service, common_name, Duration::days(1)) }
    }

    /// The same program also answers TLS under these DNS names.
    #[must_use]
    pub fn and_server<I: IntoIterator<Item: Into<String>>>(mut self, names: I) -> Self {
        self.profile = LeafUse::ServiceAndServer;
        self.dns.extend(names.into_iter().map(Into::into));
        self
    }

    #[must_use]
    pub fn address(mut self, address: impl Into<IpAddr>) -> Self {
        self.addresses.push(address.into());
        self
    }

    #[must_use]
    pub fn dns(mut self, name: impl Into<String>) -> Self {
        self.dns.push(name.into());
        self
    }

    #[must_use]
    pub fn email(mut self, address: impl Into<String>) -> Self {
        self.emails.push(address.into());
        self
    }

    #[must_use]
    pub fn valid_for(mut self, life: Duration) -> Self {
        self.life = life;
        self
    }

    fn new(profile: LeafUse, common_name: String, life: Duration) -> Self {
        Self { profile, common_name, dns: vec![], addresses: vec![], emails: vec![], spiffe: None, life }
    }

    /// The certificate's content, built fresh from the profile.
    pub(crate) fn params(&self, serial: &Serial, now: OffsetDateTime) -> Result<CertificateParams, Error> {
        if !self.life.is_positive() {
            return Err(Error::Lifetime);
        }
        if self.profile == LeafUse::Server && self.dns.is_empty() && self.addresses.is_empty() {
            return Err(Error::NoServerName);
        }
        let names = self.names()?;
        if self.common_name.is_empty() {
            return Err(Error::Name(self.common_name.clone()));
        }
        let mut params = CertificateParams::default();
        params.serial_number = Some(serial.to_rcgen());
        params.not_before = now - BACKDATE;
        params.not_after = now + self.life;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        // ECDSA keys sign; they encipher nothing (RFC 5480 s3).
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match self.profile {
            LeafUse::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            LeafUse::User | LeafUse::Device | LeafUse::Service => vec![ExtendedKeyUsagePurpose::ClientAuth],
            LeafUse::ServiceAndServer => {
                vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth]
            }
        };
        params.distinguished_name = named(&self.common_name);
        params.subject_alt_names = names;
        Ok(params)
    }

    fn names(&self) -> Result<Vec<SanType>, Error> {
        let mut names = Vec::new();
        for dns in &self.dns {
            names.push(SanType::DnsName(ascii(dns)?));
        }
        names.extend(self.addresses.iter().map(|address| SanType::IpAddress(*address)));
        for email in &self.emails {
            names.push(SanType::Rfc822Name(ascii(email)?));
        }
        if let Some(id) = &self.spiffe {
            let path = id.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/'));
            if !path.is_some_and(|(domain, path)| !domain.is_empty() && !path.is_empty()) {
                return Err(Error::NotSpiffe(id.clone()));
            }
            names.push(SanType::URI(ascii(id)?));
        }
        Ok(names)
    }
}

impl Issued {
    pub(crate) fn new(certificate: rcgen::Certificate, key: KeyPair, serial: Serial, p: &CertificateParams) -> Self {
        Self { certificate, key, serial, not_before: p.not_before, not_after: p.not_after }
    }

    pub fn cert_pem(&self) -> String {
        self.certificate.pem()
    }

    pub fn cert_der(&self) -> &[u8] {
        self.certificate.der()
    }

    /// PKCS #8.
    pub fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.key.serialize_pem())
    }

    /// PKCS #8.
    pub fn key_der(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.key.serialize_der())
    }
}

pub(crate) fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

pub(crate) fn ascii(text: &str) -> Result<Ia5String, Error> {
    // NUL and control characters have fooled verifiers before (CVE-2009-2408).
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::Name(text.to_owned()));
    }
    Ia5String::try_from(text).map_err(|_| Error::Name(text.to_owned()))
}
