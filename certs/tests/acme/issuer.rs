//! An authority for these tests: a P-256 root, a ledger in memory, and switches for what can go wrong.
use aws_lc_rs::rand;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer as Signer, KeyPair, SanType};
use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use time::{Duration, OffsetDateTime};
use torhaus_certs::acme::{By, Identifier, Issued, Issuer, Known, Refused, Unavailable, Wanted};
use torhaus_certs::{Reason, Serial};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

pub struct TestIssuer {
    /// PEM.
    root: String,
    signer: Signer<'static, KeyPair>,
    pub ledger: Mutex<HashMap<Serial, Entry>>,
    /// Signs nothing until a permit is there, if set.
    pub gate: Mutex<Option<std::sync::Arc<tokio::sync::Semaphore>>>,
    pub down: AtomicBool,
    pub renew_now: AtomicBool,
}

pub struct Entry {
    pub der: Vec<u8>,
    pub revoked: Option<(Reason, By)>,
}

pub const LIFE: Duration = Duration::hours(24);

impl TestIssuer {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().pem();
        let signer = Signer::new(params, key);
        let (down, renew_now) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { root, signer, ledger: Mutex::default(), gate: Mutex::default(), down, renew_now }
    }

    pub fn live(&self) -> usize {
        self.ledger.lock().unwrap().values().filter(|entry| entry.revoked.is_none()).count()
    }

    pub fn issued(&self) -> usize {
        self.ledger.lock().unwrap().len()
    }
}

#[async_trait::async_trait]
impl Issuer for TestIssuer {
    fn profiles(&self) -> BTreeMap<String, String> {
        ["device", "server"].map(|name| (name.to_owned(), format!("certificates for a {name}"))).into()
    }

    fn check_csr(&self, csr_der: &[u8], _: &str) -> Result<(), Refused> {
        let (_, csr) = X509CertificationRequest::from_der(csr_der).map_err(|_| Refused::Csr("no CSR".into()))?;
        csr.verify_signature().map_err(|_| Refused::Csr("not signed by the key in it".into()))?;
        let bits = csr.certification_request_info.subject_pki.parsed().unwrap().key_size();
        // Elliptic curves begin at 256.
        if bits < 2048 && csr.certification_request_info.subject_pki.algorithm.algorithm.to_id_string() == RSA {
            return Err(Refused::Csr("weak key".into()));
        }
        Ok(())
    }

    async fn issue(&self, wanted: &Wanted<'_>, now: OffsetDateTime) -> Result<Issued, Refused> {
        if self.down.load(Ordering::SeqCst) {
            return Err(Refused::Unavailable);
        }
        let gate = self.gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.acquire().await.unwrap().forget();
        }
        let (_, csr) = X509CertificationRequest::from_der(wanted.csr_der).unwrap();
        let key = rcgen::SubjectPublicKeyInfo::from_der(csr.certification_request_info.subject_pki.raw).unwrap();
        let mut serial = [0; 16];
        rand::fill(&mut serial).unwrap();
        let mut params = CertificateParams::default();
        params.serial_number = Some(rcgen::SerialNumber::from_slice(&serial));
        params.not_before = now - Duration::minutes(1);
        params.not_after = now + LIFE;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.subject_alt_names = wanted.identifiers.iter().map(name).collect();
        let certificate = params.signed_by(&key, &self.signer).unwrap();
        let serial = Serial::from_bytes(&serial);
        let der = certificate.der().to_vec();
        self.ledger.lock().unwrap().insert(serial.clone(), Entry { der: der.clone(), revoked: None });
        Ok(Issued {
            serial,
            der,
            chain_pem: format!("{}{}", certificate.pem(), self.root).replace("\r\n", "\n"),
            alternates_pem: vec![format!("{}# other chain\n{}", certificate.pem(), self.root).replace("\r\n", "\n")],
            not_before: params.not_before,
            not_after: params.not_after,
        })
    }

    async fn find(&self, serial: &Serial) -> Result<Option<Known>, Unavailable> {
        if self.down.load(Ordering::SeqCst) {
            return Err(Unavailable);
        }
        let renew_now = self.renew_now.load(Ordering::SeqCst);
        let ledger = self.ledger.lock().unwrap();
        Ok(ledger.get(serial).map(|e| Known { der: e.der.clone(), revoked: e.revoked.is_some(), renew_now }))
    }

    async fn revoke(&self, serial: &Serial, reason: Reason, by: &By, _: OffsetDateTime) -> Result<bool, Unavailable> {
        let mut ledger = self.ledger.lock().unwrap();
        let entry = ledger.get_mut(serial).filter(|entry| entry.revoked.is_none());
        Ok(entry.map(|entry| entry.revoked = Some((reason, by.clone()))).is_some())
    }
}

const RSA: &str = "1.2.840.113549.1.1.1";

fn name(identifier: &Identifier) -> SanType {
    match identifier {
        Identifier::Dns(name) => SanType::DnsName(name.as_str().try_into().unwrap()),
        Identifier::Ip(address) => SanType::IpAddress(*address),
    }
}
