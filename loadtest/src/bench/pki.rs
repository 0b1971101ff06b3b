//! Certificates for one benchmark: an authority, the server's certificate, the caller's. All ECDSA P-256.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use time::{Duration, OffsetDateTime};
use torhaus_certs::{Authority, Issued, LeafRequest};

use crate::error::{Doing, Result};

/// Who calls: the row of the table names it.
pub const SERVICE: &str = "spiffe://bench.test/load";

/// Every host of the benchmark lies below it.
pub const DOMAIN: &str = "bench.test";

const LIFE: Duration = Duration::days(2);

#[derive(Debug)]
pub struct Pki {
    pub ca: PathBuf,
    pub server: KeyPair,
    pub client: KeyPair,
}

#[derive(Debug)]
pub struct KeyPair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

pub fn write(folder: &Path, now: OffsetDateTime) -> Result<Pki> {
    let authority = Authority::new("Torhaus benchmark", now, LIFE).doing("authority")?;
    let issue = |request: &LeafRequest| authority.issue(request, now).doing("certificate");
    let server = issue(&LeafRequest::server([format!("*.{DOMAIN}")]).valid_for(Duration::days(1)))?;
    let client = issue(&LeafRequest::service(SERVICE).valid_for(Duration::days(1)))?;
    let ca = file(folder, "ca.pem", authority.root_pem())?;
    Ok(Pki { ca, server: pair(folder, "server", &server)?, client: pair(folder, "client", &client)? })
}

fn pair(folder: &Path, name: &str, issued: &Issued) -> Result<KeyPair> {
    Ok(KeyPair {
        cert: file(folder, &format!("{name}.pem"), &issued.cert_pem())?,
        key: private_file(folder, &format!("{name}.key"), &issued.key_pem())?,
    })
}

/// Readable by nobody else: whoever reads it may insist on that.
pub fn private_file(folder: &Path, name: &str, content: &str) -> Result<PathBuf> {
    let path = file(folder, name, content)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).doing(format!("file `{}`", path.display()))?;
    Ok(path)
}

fn file(folder: &Path, name: &str, content: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    std::fs::write(&path, content).doing(format!("file `{}`", path.display()))?;
    Ok(path)
}
