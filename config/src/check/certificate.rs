//! Certificates and keys, read as the listeners will read them: what passes here serves there.
use super::Cx;
use crate::at::At;
use crate::config::CertificateFiles;
use crate::file::listener::Certificate;
use crate::place::Place;
use crate::units::Mistake;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use std::path::PathBuf;
use std::sync::Arc;
use torhaus_authz::Timestamp;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// A warning from here on: enough to renew by hand.
const EXPIRES_SOON_DAYS: i64 = 14;

/// Chain and key of a listener: readable, of one pair, valid now, with at least one DNS name.
pub(crate) fn check(at: &At<Certificate>, cx: &mut Cx<'_>) -> Option<CertificateFiles> {
    let files = at.get()?;
    let (chain, key) = read(&files.cert_file, &files.key_file, cx);
    let (cert_file, chain) = chain?;
    let names = leaf(&chain, &files.cert_file.place, &cert_file.display().to_string(), cx);
    let key_file = of_one_pair(chain, key?, &files.key_file.place, cx)?;
    let ocsp_file = match &files.ocsp_file {
        Some(at) => Some(ocsp_response(at, cx)?),
        None => None,
    };
    Some(CertificateFiles { cert_file, key_file, names: names?, ocsp_file })
}

/// Chain and key that we show to an upstream: readable, of one pair, not expired.
pub(crate) fn of_client(cert: &At<String>, key: &At<String>, cx: &mut Cx<'_>) -> Option<(PathBuf, PathBuf)> {
    let (chain, key_read) = read(cert, key, cx);
    let (cert_file, chain) = chain?;
    if let Some(day) = chain.first().and_then(|leaf| expired_since(leaf, cx.now)) {
        let shown = cert_file.display();
        cx.error(&cert.place, format!("the certificate in `{shown}` expired on {day}"), "have a new one issued");
        return None;
    }
    Some((cert_file, of_one_pair(chain, key_read?, &key.place, cx)?))
}

type Chain = Vec<CertificateDer<'static>>;
/// A file that could be read, and what is in it.
type Found<T> = Option<(PathBuf, T)>;

/// Both files; each that is no good is reported.
fn read(cert: &At<String>, key: &At<String>, cx: &mut Cx<'_>) -> (Found<Chain>, Found<Arc<dyn SigningKey>>) {
    let chain = cx.read(cert, "certificate file");
    let key_read = cx.read(key, "key file");
    if let Some((path, _)) = &key_read {
        cx.warn_if_open(&key.place, path, "key file");
    }
    let chain = chain.and_then(|(path, pem)| match certificates(&pem) {
        Ok(chain) => Some((path, chain)),
        Err(why) => {
            cx.mistake(&cert.place, why.of("certificate file", &path.display().to_string()));
            None
        }
    });
    let key_read = key_read.and_then(|(path, pem)| match private_key(&pem) {
        Ok(key) => Some((path, key)),
        Err(why) => {
            cx.mistake(&key.place, why.of("key file", &path.display().to_string()));
            None
        }
    });
    let key_read = key_read.and_then(|(path, found)| {
        let shown = path.display().to_string();
        Some((path, signing_key(&found, &key.place, &shown, cx)?))
    });
    (chain, key_read)
}

fn of_one_pair(
    chain: Chain,
    (path, key): (PathBuf, Arc<dyn SigningKey>),
    place: &Place,
    cx: &mut Cx<'_>,
) -> Option<PathBuf> {
    if CertifiedKey::new(chain, key).keys_match().is_err() {
        cx.error(
            place,
            format!("the key in `{}` does not belong to the certificate", path.display()),
            "name the key that the certificate was issued for; its first certificate must be the server's own",
        );
        return None;
    }
    Some(path)
}

/// A DER `OCSPResponse` with the status `successful` (RFC 6960 section 4.2.1). Whether its signature and its times are
/// good is the client's to judge; one that says "try later" is of no use to anybody.
fn ocsp_response(at: &At<String>, cx: &mut Cx<'_>) -> Option<PathBuf> {
    /// ENUMERATED, one byte, `successful`.
    const SUCCESSFUL: [u8; 3] = [0x0a, 0x01, 0x00];
    let (path, der) = cx.read(at, "OCSP response")?;
    let successful = der.first() == Some(&0x30) && der.windows(SUCCESSFUL.len()).take(8).any(|part| part == SUCCESSFUL);
    if !successful {
        cx.error(
            &at.place,
            format!("`{}` is not a successful OCSP response in DER", path.display()),
            "fetch it anew: `openssl ocsp -issuer CA.pem -cert CERT.pem -url URL -respout FILE`",
        );
        return None;
    }
    Some(path)
}

/// All certificates of a PEM file, at least one; used for authorities too.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadPem> {
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => {
            let broken = found.iter().any(|der| X509Certificate::from_der(der).is_err());
            if broken { Err(BadPem::Broken) } else { Ok(found) }
        }
        Ok(_) if looks_like_key(pem) => Err(BadPem::KeyInstead),
        Ok(_) if pem.starts_with(&[0x30]) => Err(BadPem::Der),
        Ok(_) => Err(BadPem::NoCertificate),
        Err(_) => Err(BadPem::Broken),
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, BadPem> {
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(key) => Ok(key),
        Err(_) if contains(pem, b"ENCRYPTED") => Err(BadPem::Encrypted),
        Err(pem::Error::NoItemsFound) if contains(pem, b"-----BEGIN CERTIFICATE") => Err(BadPem::CertificateInstead),
        Err(pem::Error::NoItemsFound) => Err(BadPem::NoKey),
        Err(_) => Err(BadPem::Broken),
    }
}

/// The key as TLS will use it.
fn signing_key(
    key: &PrivateKeyDer<'static>,
    place: &Place,
    path: &str,
    cx: &mut Cx<'_>,
) -> Option<Arc<dyn SigningKey>> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    match provider.key_provider.load_private_key(key.clone_key()) {
        Ok(key) => Some(key),
        Err(_) => {
            cx.error(
                place,
                format!("the key in `{path}` is damaged, or of a kind that TLS here cannot use"),
                "copy it again; ECDSA P-256, Ed25519 and RSA of at least 2048 bits are good",
            );
            None
        }
    }
}

/// DNS names of the leaf, which must be valid now.
fn leaf(chain: &[CertificateDer<'_>], place: &Place, path: &str, cx: &mut Cx<'_>) -> Option<Vec<String>> {
    let (_, leaf) = X509Certificate::from_der(chain.first()?).ok()?;
    let now = cx.now.seconds();
    let (from, to) = (leaf.validity().not_before.timestamp(), leaf.validity().not_after.timestamp());
    if to <= now {
        let day = day(to);
        cx.error(place, format!("the certificate in `{path}` expired on {day}"), "renew it; browsers refuse it");
        return None;
    }
    if from > now {
        let day = day(from);
        cx.error(place, format!("the certificate in `{path}` is not valid before {day}"), "check this machine's clock");
        return None;
    }
    if to - now < EXPIRES_SOON_DAYS * 24 * 3600 {
        cx.warning(place, format!("the certificate in `{path}` expires on {}", day(to)), "renew it");
    }
    if leaf.is_ca() && chain.len() > 1 {
        cx.error(
            place,
            format!("the first certificate in `{path}` is an authority's"),
            "put the server's own certificate first, then its issuer",
        );
        return None;
    }
    let names: Vec<String> = match leaf.subject_alternative_name() {
        Ok(Some(extension)) => extension
            .value
            .general_names
            .iter()
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    };
    if names.is_empty() {
        cx.error(
            place,
            format!("the certificate in `{path}` names no host"),
            "have it issued with the hosts as DNS names (subject alternative names); browsers look nowhere else",
        );
        return None;
    }
    Some(names)
}

fn day(seconds: i64) -> String {
    let at = time::OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    at.date().to_string()
}

/// When an authority's certificate ends, if it has ended.
pub(crate) fn expired_since(der: &CertificateDer<'_>, now: Timestamp) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let end = certificate.validity().not_after.timestamp();
    (end <= now.seconds()).then(|| day(end))
}

/// Is it an authority (basic constraints)? A file of server certificates is a common slip.
pub(crate) fn is_authority(der: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, certificate)| certificate.is_ca())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadPem {
    NoCertificate,
    NoKey,
    KeyInstead,
    CertificateInstead,
    Encrypted,
    Der,
    Broken,
}

impl BadPem {
    pub fn of(self, what: &str, path: &str) -> Mistake {
        let file = format!("{what} `{path}`");
        let (message, hint) = match self {
            Self::NoCertificate => (format!("{file} has no certificate"), "it must have `-----BEGIN CERTIFICATE-----`"),
            Self::NoKey => (format!("{file} has no private key"), "it must have `-----BEGIN PRIVATE KEY-----`"),
            Self::KeyInstead => (format!("{file} has a key, not a certificate"), "are the two files swapped?"),
            Self::CertificateInstead => (format!("{file} has a certificate, not a key"), "are the two files swapped?"),
            Self::Encrypted => {
                (format!("the key in `{path}` has a passphrase"), "remove it: `openssl pkey -in OLD -out NEW`")
            }
            Self::Der => {
                (format!("{file} is binary (DER)"), "convert it to PEM: `openssl x509 -inform der -in OLD -out NEW`")
            }
            Self::Broken => (format!("{file} is damaged"), "it is cut off or was edited; copy it again"),
        };
        Mistake::new(message).hint(hint)
    }
}

fn looks_like_key(pem: &[u8]) -> bool {
    contains(pem, b"PRIVATE KEY-----")
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
