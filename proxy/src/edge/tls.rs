//! TLS by SNI: which certificate, which client authentication, whose sessions may be resumed.
//!
//! Hosts with the same client authentication form a group. A group has one TLS configuration with its own ticket key
//! and session storage, so a ticket of an open host is worth nothing at an mTLS host; and a request may name any
//! host of the group that its SNI is in, and no other (421).
use crate::added::Added;
use crate::edge::obtained::{ObtainedKeys, order_id};
use crate::edge::profile;
use crate::edge::trust::{CertificateRefusal, TrustDomains, TrustError, read_pem};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoClientAuth, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    version::{TLS12, TLS13},
};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use torhaus_authz::{Name, Timestamp};
use torhaus_config::{CertificateFiles, ClientAuth, ClientAuthMode, Config, HostPattern, ListenerKind, Route};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// TLS 1.2 sessions kept for resumption, per group. (TLS 1.3 resumes from tickets and keeps nothing here.)
const KEPT_SESSIONS: usize = 4096;

/// Hosts with identical client authentication, and what it is. Compared by what it asks, not by a number: a connection
/// outlives the configuration that it was opened under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub mode: ClientAuthMode,
    pub trust_domains: Arc<[Name]>,
}

impl Group {
    fn open() -> Arc<Self> {
        Arc::new(Self { mode: ClientAuthMode::None, trust_domains: Arc::from([]) })
    }
}

/// Which group a host is in.
pub struct Groups {
    exact: HashMap<String, Arc<Group>>,
    /// `apps.example.test` for `*.apps.example.test`.
    wildcard: HashMap<String, Arc<Group>>,
    /// The first is that of hosts that ask for no certificate; the portal is one of them.
    all: Vec<Arc<Group>>,
}

impl Groups {
    pub fn of(config: &Config, added: &[Arc<Route>]) -> Self {
        let open = Group::open();
        let mut all = vec![open.clone()];
        let mut exact = HashMap::from([(config.portal.host.clone(), open)]);
        let mut wildcard = HashMap::new();
        for route in config.routes.iter().chain(added) {
            let group = group_of(&mut all, &route.client_auth);
            match &route.host {
                HostPattern::Exact(host) => exact.insert(host.clone(), group),
                HostPattern::Wildcard(suffix) => wildcard.insert(suffix.clone(), group),
                // A host that nobody names is in no group; it can only be the one that the handshake named.
                HostPattern::Any => None,
            };
        }
        Self { exact, wildcard, all }
    }

    /// These hosts (`*.` for all names one below), all with the same client authentication.
    pub fn all_alike(hosts: &[String], wanted: &ClientAuth) -> Self {
        let mut all = vec![Group::open()];
        let group = group_of(&mut all, wanted);
        let (mut exact, mut wildcard) = (HashMap::new(), HashMap::new());
        for host in hosts {
            match host.strip_prefix("*.") {
                Some(suffix) => wildcard.insert(suffix.to_owned(), group.clone()),
                None => exact.insert(host.clone(), group.clone()),
            };
        }
        Self { exact, wildcard, all }
    }

    /// The group of a host that has routes (or is the portal's).
    pub fn find(&self, host: &str) -> Option<&Arc<Group>> {
        let wildcard = || self.wildcard.get(host.split_once('.')?.1);
        self.exact.get(host).or_else(wildcard)
    }
}

fn group_of(all: &mut Vec<Arc<Group>>, wanted: &ClientAuth) -> Arc<Group> {
    let trust_domains = match wanted.mode {
        ClientAuthMode::None => Arc::from([]),
        ClientAuthMode::Optional | ClientAuthMode::Required => wanted.trust_domains.as_slice().into(),
    };
    let group = Group { mode: wanted.mode, trust_domains };
    if let Some(known) = all.iter().find(|known| ***known == group) {
        return known.clone();
    }
    let group = Arc::new(group);
    all.push(group.clone());
    group
}

/// The TLS configurations of one listener.
pub struct ListenerTls {
    certificates: Arc<Certificates>,
    groups: Arc<Groups>,
    /// One for each group.
    configs: Vec<(Arc<Group>, Arc<ServerConfig>)>,
}

impl ListenerTls {
    /// # Errors
    /// A certificate or key cannot be read, or they do not belong together.
    pub fn build(
        files: &[CertificateFiles],
        groups: &Arc<Groups>,
        trust: &Arc<TrustDomains>,
    ) -> Result<Self, TrustError> {
        Self::with_others(files, groups, trust, None, &Arc::default())
    }

    /// The same with certificates that are obtained for it, and with those for single hosts besides.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn with_others(
        files: &[CertificateFiles],
        groups: &Arc<Groups>,
        trust: &Arc<TrustDomains>,
        obtained: Option<ObtainedNames>,
        added: &Arc<HostCertificates>,
    ) -> Result<Self, TrustError> {
        let provider = Arc::new(profile::provider());
        let files = Arc::new(HostCertificates::load(files, &provider)?);
        let certificates = Arc::new(Certificates { files, obtained: obtained.map(Arc::new), added: added.clone() });
        let mut configs = Vec::new();
        for group in &groups.all {
            configs.push((group.clone(), Arc::new(server_config(&provider, &certificates, group, trust)?)));
        }
        Ok(Self { certificates, groups: groups.clone(), configs })
    }

    /// The same listener with other hosts and other certificates besides its own. What groups that stay have issued
    /// is still resumed.
    ///
    /// # Errors
    /// No randomness for a ticket key.
    pub fn renewed(
        &self,
        groups: &Arc<Groups>,
        trust: &Arc<TrustDomains>,
        added: &Arc<HostCertificates>,
    ) -> Result<Self, TrustError> {
        let own = &self.certificates;
        let (files, obtained) = (own.files.clone(), own.obtained.clone());
        let certificates = Arc::new(Certificates { files, obtained, added: added.clone() });
        let mut configs = Vec::new();
        for group in &groups.all {
            let config = match self.configs.iter().find(|(known, _)| **known == **group) {
                Some((_, known)) => {
                    let mut config = ServerConfig::clone(known);
                    config.cert_resolver = certificates.clone();
                    config
                }
                None => server_config(&Arc::new(profile::provider()), &certificates, group, trust)?,
            };
            configs.push((group.clone(), Arc::new(config)));
        }
        Ok(Self { certificates, groups: groups.clone(), configs })
    }

    /// The configuration for a ClientHello. None: no SNI, an address, or a name that no certificate of this listener
    /// is for; such a caller is refused, as nothing says which rule would be strict enough.
    pub fn pick(&self, hello: &ClientHello<'_>) -> Option<(String, Arc<Group>, Arc<ServerConfig>)> {
        let name = hello.server_name()?.to_ascii_lowercase();
        self.certificates.find(&name)?;
        // A name that a certificate covers but no route serves is told so by a page, without any client certificate.
        let group = self.groups.find(&name).or(self.groups.all.first())?;
        let (group, config) = self.configs.iter().find(|(known, _)| Arc::ptr_eq(known, group))?;
        Some((name, group.clone(), config.clone()))
    }
}

/// The TLS configurations of all listeners, by name.
pub type TlsTable = HashMap<Name, Arc<ListenerTls>>;

/// # Errors
/// A certificate or key cannot be used.
pub fn build_table(
    config: &Config,
    groups: &Arc<Groups>,
    trust: &Arc<TrustDomains>,
    obtained: &Arc<ObtainedKeys>,
    added: &Added,
) -> Result<TlsTable, TrustError> {
    let mut table = TlsTable::new();
    for listener in &config.listeners {
        if let ListenerKind::Tls { certificates, acme } = &listener.kind {
            let names = acme.as_ref().map(|acme| ObtainedNames {
                names: acme.names.iter().cloned().collect(),
                order: order_id(acme),
                keys: obtained.clone(),
            });
            let tls = ListenerTls::with_others(certificates, groups, trust, names, &added.certificates)?;
            table.insert(listener.name.clone(), Arc::new(tls));
        }
    }
    Ok(table)
}

/// The same listeners with what is added now.
///
/// # Errors
/// As [`ListenerTls::renewed`].
pub fn renew_table(
    table: &TlsTable,
    groups: &Arc<Groups>,
    trust: &Arc<TrustDomains>,
    added: &Added,
) -> Result<TlsTable, TrustError> {
    let renew = |(name, tls): (&Name, &Arc<ListenerTls>)| {
        Ok((name.clone(), Arc::new(tls.renewed(groups, trust, &added.certificates)?)))
    };
    table.iter().map(renew).collect()
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    certificates: &Arc<Certificates>,
    group: &Group,
    trust: &Arc<TrustDomains>,
) -> Result<ServerConfig, TrustError> {
    let Group { mode, trust_domains: domains } = group;
    let fail = |e: rustls::Error| TrustError::Domain { domain: domains.join(", ").into(), why: e.to_string() };
    let verifier: Arc<dyn ClientCertVerifier> = match *mode {
        ClientAuthMode::None => Arc::new(NoClientAuth),
        ClientAuthMode::Optional | ClientAuthMode::Required => Arc::new(GroupVerifier {
            mandatory: *mode == ClientAuthMode::Required,
            domains: domains.clone(),
            hints: trust.hints(domains),
            trust: trust.clone(),
            provider: provider.clone(),
        }),
    };
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(fail)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificates.clone());
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Own storage and own ticket key: what one group issued, no other resumes.
    config.session_storage = ServerSessionMemoryCache::new(KEPT_SESSIONS);
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(fail)?;
    // 0-RTT data can be replayed (RFC 8446 section 8); a gate that records decisions must not accept it.
    config.max_early_data_size = 0;
    // RFC 7627: without it two TLS 1.2 sessions could be made to share their secret (triple handshake).
    config.require_ems = true;
    Ok(config)
}

/// The names of a listener for which torhaus obtains a certificate itself.
pub struct ObtainedNames {
    names: HashSet<String>,
    order: String,
    keys: Arc<ObtainedKeys>,
}

/// Server certificates of a listener: those of its files, those that torhaus obtains for it, and those that came with
/// routes of elsewhere. A name that the operator's files have or list is never another's.
struct Certificates {
    files: Arc<HostCertificates>,
    obtained: Option<Arc<ObtainedNames>>,
    added: Arc<HostCertificates>,
}

impl Certificates {
    fn find(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        let of_parent = |of: &HostCertificates| of.wildcard.get(parent?).cloned();
        if let Some(key) = self.files.exact.get(name) {
            return Some(key.clone());
        }
        if let Some(own) = self.obtained.as_ref().filter(|own| own.names.contains(name)) {
            return of_parent(&self.files).or_else(|| own.keys.find(&own.order, name));
        }
        let added = self.added.exact.get(name).cloned();
        added.or_else(|| of_parent(&self.files)).or_else(|| of_parent(&self.added))
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("files", &self.files).field("added", &self.added).finish_non_exhaustive()
    }
}

/// Certificates by the hosts that they are shown for.
#[derive(Default)]
pub struct HostCertificates {
    exact: HashMap<String, Arc<CertifiedKey>>,
    wildcard: HashMap<String, Arc<CertifiedKey>>,
}

impl HostCertificates {
    /// The first one for a host keeps it.
    pub fn add(&mut self, host: &HostPattern, key: Arc<CertifiedKey>) {
        match host {
            HostPattern::Exact(host) => self.exact.entry(host.clone()).or_insert(key),
            HostPattern::Wildcard(suffix) => self.wildcard.entry(suffix.clone()).or_insert(key),
            HostPattern::Any => return,
        };
    }

    fn load(files: &[CertificateFiles], provider: &CryptoProvider) -> Result<Self, TrustError> {
        let mut table = Self::default();
        for file in files {
            let chain = read_pem::<CertificateDer<'static>>(&file.cert_file)?;
            let fail = |why: String| TrustError::File { path: file.key_file.clone(), why };
            let key = PrivateKeyDer::from_pem_file(&file.key_file).map_err(|e| fail(e.to_string()))?;
            let mut key = CertifiedKey::from_der(chain, key, provider).map_err(|e| fail(e.to_string()))?;
            if let Some(path) = &file.ocsp_file {
                let why = |e: std::io::Error| TrustError::File { path: path.clone(), why: e.to_string() };
                key.ocsp = Some(std::fs::read(path).map_err(why)?);
            }
            let key = Arc::new(key);
            for name in &file.names {
                match name.strip_prefix("*.") {
                    Some(suffix) => table.wildcard.entry(suffix.to_owned()).or_insert_with(|| key.clone()),
                    None => table.exact.entry(name.clone()).or_insert_with(|| key.clone()),
                };
            }
        }
        Ok(table)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(&hello.server_name()?.to_ascii_lowercase())
    }
}

impl fmt::Debug for HostCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.exact.keys()).entries(self.wildcard.keys()).finish()
    }
}

/// Client authentication of a group. Where a certificate is required, a bad one ends the handshake. Where it is
/// optional, the handshake goes on and the gate refuses with a page that says which certificate was sent and why
/// it does not count; such a certificate proves nothing.
struct GroupVerifier {
    mandatory: bool,
    domains: Arc<[Name]>,
    hints: Arc<[DistinguishedName]>,
    trust: Arc<TrustDomains>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for GroupVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if self.mandatory {
            let mut chain = vec![end_entity.clone()];
            chain.extend_from_slice(intermediates);
            let now = Timestamp::from_seconds(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
            self.trust.judge_anew(&self.domains, &chain, &fingerprint(end_entity), now).map_err(alert_of)?;
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl fmt::Debug for GroupVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupVerifier").field("mandatory", &self.mandatory).field("domains", &self.domains).finish()
    }
}

/// The refusal in TLS's words, so that the client gets the right alert.
fn alert_of(refusal: CertificateRefusal) -> rustls::Error {
    rustls::Error::InvalidCertificate(match refusal {
        CertificateRefusal::UnknownAuthority => CertificateError::UnknownIssuer,
        CertificateRefusal::Expired => CertificateError::Expired,
        CertificateRefusal::NotYetValid => CertificateError::NotValidYet,
        CertificateRefusal::Revoked => CertificateError::Revoked,
        CertificateRefusal::RevocationUnknown => CertificateError::UnknownRevocationStatus,
        CertificateRefusal::WrongPurpose => CertificateError::InvalidPurpose,
        CertificateRefusal::NotVouchedFor => CertificateError::ApplicationVerificationFailure,
        CertificateRefusal::AmbiguousName | CertificateRefusal::Invalid => CertificateError::BadEncoding,
    })
}

/// Chain and key as a listener uses them, and the DNS names in the first certificate, lower case.
///
/// # Errors
/// No certificate or no key in the PEM, they do not belong together, or the certificate has ended or names no host. In
/// words; nothing of the key is in them.
pub fn from_pem(chain: &[u8], key: &[u8], now: Timestamp) -> Result<(Arc<CertifiedKey>, Vec<String>), String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or("there is no certificate in it")?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| "there is no private key in it")?;
    let leaf = chain.first().ok_or("there is no certificate in it")?;
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| "the certificate is damaged")?;
    if parsed.validity().not_after.timestamp() <= now.seconds() {
        return Err("the certificate has expired".into());
    }
    let names = dns_names(&parsed);
    if names.is_empty() {
        return Err("the certificate names no host".into());
    }
    let key = CertifiedKey::from_der(chain, key, &profile::provider())
        .map_err(|_| "the key cannot be used, or does not belong to the certificate")?;
    Ok((Arc::new(key), names))
}

fn dns_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let dns = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    dns.collect()
}

/// Whether a PEM text holds certificates that can be read, and nothing that cannot.
pub fn is_authorities(pem: &str) -> bool {
    let found: Result<Vec<CertificateDer<'_>>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    found.is_ok_and(|found| !found.is_empty() && found.iter().all(|der| X509Certificate::from_der(der).is_ok()))
}

/// DNS names of the first certificate of a file, lower case.
///
/// # Errors
/// The file holds no certificate that can be read.
pub fn names_of(cert_file: &Path) -> Result<Vec<String>, TrustError> {
    let fail = || TrustError::File { path: cert_file.to_owned(), why: "no certificate with names".into() };
    let chain = read_pem::<CertificateDer<'static>>(cert_file)?;
    let leaf = chain.first().ok_or_else(fail)?;
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| fail())?;
    let names = dns_names(&leaf);
    if names.is_empty() { Err(fail()) } else { Ok(names) }
}

/// DNS names of a certificate, lower case.
pub fn names_in(certificate: &CertificateDer<'_>) -> Vec<String> {
    X509Certificate::from_der(certificate).map(|(_, read)| dns_names(&read)).unwrap_or_default()
}

/// SHA-256 of a DER certificate, lower-case hex.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> Arc<str> {
    Sha256::digest(certificate.as_ref()).iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_are_all_alike_demand_it_of_every_name_below_a_wildcard() {
        let wanted = ClientAuth { mode: ClientAuthMode::Required, trust_domains: vec!["staff".into()] };
        let groups = Groups::all_alike(&["*.bench.test".to_owned(), "one.test".to_owned()], &wanted);
        let mode = |host: &str| groups.find(host).map(|group| group.mode);
        for host in ["peer.bench.test", "one.test"] {
            assert_eq!(mode(host), Some(ClientAuthMode::Required), "{host}");
        }
        for host in ["bench.test", "a.b.bench.test", "two.test"] {
            assert_eq!(mode(host), None, "{host}");
        }
    }
}
