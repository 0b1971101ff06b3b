//! Everything the demo writes: certificates, the client secret, the two configuration files.
use crate::applications;
use crate::ports::Ports;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use time::{Duration, OffsetDateTime};
use torhaus_certs::{Authority, Issued, LeafRequest, odd};

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The service that backups come from.
pub const BACKUP: &str = "spiffe://demo.test/backup";

pub struct RunFolder {
    pub path: PathBuf,
    /// What Torhaus authenticates itself to the provider with.
    pub client_secret: String,
    /// Held as long as the demo runs.
    _lock: File,
}

/// Says that a folder is ours to empty.
const MARK: &str = ".torhaus-demo";
const CA_LIFE: Duration = Duration::days(365);
const LEAF_LIFE: Duration = Duration::days(30);

impl RunFolder {
    /// # Errors
    /// 1. another demo runs in it; 2. it holds something that is not the demo's; 3. the disk.
    pub fn prepare(path: &Path, ports: &Ports, now: OffsetDateTime) -> Result<Self, Failure> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let lock = claim(path)?;
        empty(path)?;
        for folder in ["tls", "clients", "clients/refused", "secrets", "state", "logs"] {
            fs::DirBuilder::new().mode(0o700).create(path.join(folder))?;
        }
        let client_secret = crate::provider::random_secret();
        write_secret(&path.join("secrets/oidc"), &client_secret)?;
        web_certificate(path, now)?;
        client_certificates(path, now)?;
        fs::write(path.join("torhaus.yaml"), ports.write_into(include_str!("../torhaus.yaml")))?;
        fs::write(path.join("policy.yaml"), include_str!("../policy.yaml"))?;
        Ok(Self { path: path.to_owned(), client_secret, _lock: lock })
    }

    pub fn config(&self) -> PathBuf {
        self.path.join("torhaus.yaml")
    }
}

fn claim(path: &Path) -> Result<File, Failure> {
    let mark = path.join(MARK);
    if !mark.exists() && fs::read_dir(path)?.next().is_some() {
        return Err(format!("{} is not the demo's folder: it holds other files", path.display()).into());
    }
    let lock = OpenOptions::new().create(true).append(true).open(&mark)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(format!("a demo already runs in {}", path.display()).into()),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Keeps the demo CA, so that a browser that trusts it goes on doing so.
fn empty(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if [MARK, "ca.pem", "ca.key"].iter().any(|kept| entry.file_name() == *kept) {
            continue;
        }
        if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) }?;
    }
    Ok(())
}

/// The certificate of all hosts. One name each: browsers and OpenSSL refuse `*.localhost`.
fn web_certificate(path: &Path, now: OffsetDateTime) -> Result<(), Failure> {
    let names = applications::ALL.iter().map(|application| format!("{}.localhost", application.name));
    let names = ["auth.localhost".to_owned(), "localhost".to_owned()].into_iter().chain(names);
    let request = LeafRequest::server(names).valid_for(LEAF_LIFE);
    let authority = match kept_authority(path).filter(|kept| kept.issue(&request, now).is_ok()) {
        Some(kept) => kept,
        None => {
            // People will trust this one in a browser, and its key lies on their disk: it can sign for nothing else.
            let new = Authority::limited_to("Torhaus demo CA", &["localhost"], now, CA_LIFE)?;
            fs::write(path.join("ca.pem"), new.root_pem())?;
            write_secret(&path.join("ca.key"), &new.key_pem())?;
            new
        }
    };
    save(&path.join("tls"), "apps", &authority.issue(&request, now)?)
}

fn kept_authority(path: &Path) -> Option<Authority> {
    let cert = fs::read_to_string(path.join("ca.pem")).ok()?;
    let key = fs::read_to_string(path.join("ca.key")).ok()?;
    Authority::from_pem(&cert, &key).ok()
}

/// Authorities of their own for devices and services: who may issue the one cannot issue the other.
fn client_certificates(path: &Path, now: OffsetDateTime) -> Result<(), Failure> {
    let devices = Authority::new("Torhaus demo devices", now, CA_LIFE)?;
    let services = Authority::new(SERVICES, now, CA_LIFE)?;
    fs::write(path.join("devices-ca.pem"), devices.root_pem())?;
    fs::write(path.join("services-ca.pem"), services.root_pem())?;

    let clients = path.join("clients");
    let laptop = LeafRequest::device("alices-laptop").email("alice@demo.test").valid_for(LEAF_LIFE);
    save(&clients, "alices-laptop", &devices.issue(&laptop, now)?)?;
    let backup = LeafRequest::service(BACKUP).valid_for(LEAF_LIFE);
    save(&clients, "backup", &services.issue(&backup, now)?)?;

    let refused = clients.join("refused");
    save(&refused, "expired", &odd::expired(&services, &backup, now)?)?;
    save(&refused, "wrong-authority", &odd::wrong_authority(SERVICES, &backup, now)?)?;
    save(&refused, "server-only", &odd::server_auth_only(&services, &backup, now)?)?;
    let two = [BACKUP, "spiffe://demo.test/other"];
    save(&refused, "two-names", &odd::with_uris(&services, &backup, &two, now)?)?;
    let other = LeafRequest::service("spiffe://demo.test/other").valid_for(LEAF_LIFE);
    save(&refused, "another-service", &services.issue(&other, now)?)
}

const SERVICES: &str = "Torhaus demo services";

fn save(folder: &Path, name: &str, issued: &Issued) -> Result<(), Failure> {
    fs::write(folder.join(format!("{name}.pem")), issued.cert_pem())?;
    write_secret(&folder.join(format!("{name}.key")), &issued.key_pem())?;
    Ok(())
}

/// Readable by its owner only, from the first byte on.
fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-22 12:00 UTC);

    fn read(folder: &RunFolder, name: &str) -> String {
        fs::read_to_string(folder.path.join(name)).unwrap()
    }

    #[test]
    fn a_start_makes_everything_anew_but_keeps_the_authority_that_browsers_trust() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("run");
        let first = RunFolder::prepare(&path, &Ports::new(None), NOW).unwrap();
        let (ca, apps, secret) = (read(&first, "ca.pem"), read(&first, "tls/apps.pem"), first.client_secret.clone());
        assert_eq!(read(&first, "secrets/oidc"), secret);
        fs::write(path.join("state/old"), "old").unwrap();
        drop(first);
        let second = RunFolder::prepare(&path, &Ports::new(Some(20000)), NOW + Duration::days(1)).unwrap();
        assert_eq!(read(&second, "ca.pem"), ca);
        assert_ne!(read(&second, "tls/apps.pem"), apps);
        assert_ne!(second.client_secret, secret);
        assert!(!path.join("state/old").exists());
        assert!(read(&second, "torhaus.yaml").contains("127.0.0.1:20000"));
        drop(second);
        let third = RunFolder::prepare(&path, &Ports::new(None), NOW + CA_LIFE).unwrap();
        assert_ne!(read(&third, "ca.pem"), ca, "an authority near its end is replaced");
    }

    #[test]
    fn keys_and_secrets_are_their_owners_only() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::prepare(&place.path().join("run"), &Ports::new(None), NOW).unwrap();
        for secret in ["secrets/oidc", "ca.key", "tls/apps.key", "clients/backup.key", "clients/refused/expired.key"] {
            let mode = fs::metadata(folder.path.join(secret)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{secret}");
        }
        assert_eq!(fs::metadata(&folder.path).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_folder_in_use_or_of_others_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let ports = Ports::new(None);
        let path = place.path().join("run");
        let _held = RunFolder::prepare(&path, &ports, NOW).unwrap();
        let why = RunFolder::prepare(&path, &ports, NOW).map(|_| ()).unwrap_err().to_string();
        assert!(why.contains("already runs"), "{why}");

        let thesis = place.path().join("thesis.txt");
        fs::write(&thesis, "years of work").unwrap();
        let why = RunFolder::prepare(place.path(), &ports, NOW).map(|_| ()).unwrap_err().to_string();
        assert!(why.contains("other files"), "{why}");
        assert!(thesis.exists());
    }
}
