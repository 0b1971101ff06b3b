//! The operating system's certificate authorities, as the engine gets them: always as a file of ours.
//!
//! Left to itself, pingora 0.9.1 panics at start where one certificate of the system cannot be used, or where
//! `SSL_CERT_FILE` names nothing, and a container without any is common. So the usable ones are written into the state
//! folder, and where there is none, an authority whose key was thrown away, because rustls builds no verifier without a
//! root. A route that needs the system's authorities is refused then, when the configuration is loaded
//! ([`SystemRoots::found`]), and would fail closed in any case.
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use torhaus_authz::Timestamp;

/// Name of the file in the state folder; written anew at every start.
const FILE: &str = "system-authorities.pem";
/// Characters of base64 in a line (RFC 7468 section 2).
const LINE: usize = 64;
/// How long the authority that nobody has the key of would be valid; past it nothing changes, it signs nothing anyway.
const STAND_IN_LIFE: time::Duration = time::Duration::days(1);

/// Those of the system's certificates that rustls takes. `SSL_CERT_FILE` and `SSL_CERT_DIR` count.
pub struct SystemRoots(Vec<CertificateDer<'static>>);

impl SystemRoots {
    pub fn load() -> Self {
        let loaded = rustls_native_certs::load_native_certs();
        for error in &loaded.errors {
            tracing::warn!(%error, "an authority of this system cannot be read");
        }
        Self::usable(loaded.certs)
    }

    fn usable(certificates: Vec<CertificateDer<'static>>) -> Self {
        let takes = |der: &CertificateDer<'static>| RootCertStore::empty().add(der.clone()).is_ok();
        Self(certificates.into_iter().filter(takes).collect())
    }

    /// Whether a server can be believed by them at all.
    pub fn found(&self) -> bool {
        !self.0.is_empty()
    }

    /// Writes them into the state folder; the path of the file.
    ///
    /// # Errors
    /// 1. the file cannot be written; 2. no random bytes for the stand-in.
    pub fn write(&self, state_dir: &Path, now: Timestamp) -> io::Result<String> {
        let now = time::OffsetDateTime::from_unix_timestamp(now.millis() / 1000).map_err(io::Error::other)?;
        let text = if self.found() {
            self.0.iter().map(|der| pem(der)).collect()
        } else {
            let stand_in = torhaus_certs::Authority::new("nobody has the key of this", now, STAND_IN_LIFE);
            stand_in.map_err(|error| io::Error::other(error.to_string()))?.root_pem().to_owned()
        };
        let path = state_dir.join(FILE);
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(text.as_bytes())?;
        path.into_os_string().into_string().map_err(|_| io::Error::other("the state folder's name is not UTF-8"))
    }
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines = text.as_bytes().chunks(LINE).map(String::from_utf8_lossy).collect::<Vec<_>>().join("\n");
    format!("-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::pem::PemObject as _;

    fn read(path: &str) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_file_iter(path).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn what_the_system_has_is_written_and_what_is_no_certificate_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::from_millis(1_800_000_000_000);
        let day = time::Duration::days(1);
        let root = torhaus_certs::Authority::new("root", time::OffsetDateTime::UNIX_EPOCH, day).unwrap();
        let good = CertificateDer::from(root.root_der().to_vec());
        let roots = SystemRoots::usable(vec![CertificateDer::from(vec![0x30, 0]), good.clone()]);
        assert!(roots.found());
        let path = roots.write(folder.path(), now).unwrap();
        assert_eq!(read(&path), [good]);
    }

    #[test]
    fn a_system_without_authorities_gets_one_that_signs_nothing_and_is_said_to_have_none() {
        let folder = tempfile::tempdir().unwrap();
        let roots = SystemRoots::usable(vec![]);
        assert!(!roots.found());
        let now = Timestamp::from_millis(1_800_000_000_000);
        let first = read(&roots.write(folder.path(), now).unwrap());
        let second = read(&roots.write(folder.path(), now).unwrap());
        assert_eq!((first.len(), second.len()), (1, 1));
        assert_ne!(first, second, "made anew, its key kept nowhere");
    }
}
