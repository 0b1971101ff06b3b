//! Authorities and certificates of one test.
use std::fs;
use std::path::Path;
use time::{Duration, OffsetDateTime};
use torhaus_certs::{Authority, CrlRequest, Issued, LeafRequest, Reason, Revoked, Serial};

pub const BACKUP: &str = "spiffe://example.test/backup";

pub struct Pki {
    /// Of the gate's own certificate.
    pub web: Authority,
    pub devices: Authority,
    pub services: Authority,
}

/// A client certificate with its key.
#[derive(Clone)]
pub struct Identity {
    pub cert_pem: String,
    pub key_pem: String,
    pub serial: Serial,
}

impl From<Issued> for Identity {
    fn from(issued: Issued) -> Self {
        let key_pem = issued.key_pem().to_string();
        Self { cert_pem: issued.cert_pem(), key_pem, serial: issued.serial }
    }
}

pub fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

impl Pki {
    pub fn new() -> Self {
        let make = |name: &str| Authority::new(name, now(), Duration::days(2)).unwrap();
        Self { web: make("web"), devices: make("devices"), services: make("services") }
    }

    pub fn write(&self, folder: &Path, hosts: &[String]) {
        let web = self.web.issue(&LeafRequest::server(hosts.iter().cloned()).valid_for(Duration::days(1)), now());
        let web = Identity::from(web.unwrap());
        fs::write(folder.join("web.pem"), web.cert_pem).unwrap();
        write_secret(&folder.join("web.key"), &web.key_pem);
        fs::write(folder.join("web-ca.pem"), self.web.root_pem()).unwrap();
        fs::write(folder.join("devices-ca.pem"), self.devices.root_pem()).unwrap();
        fs::write(folder.join("services-ca.pem"), self.services.root_pem()).unwrap();
        self.revoke(folder, "devices", &[], Duration::days(1));
        self.revoke(folder, "services", &[], Duration::days(1));
    }

    /// A list of revoked certificates, valid from a while ago for `life` from now (negative: expired).
    pub fn revoke(&self, folder: &Path, domain: &str, serials: &[&Serial], life: Duration) {
        let authority = if domain == "devices" { &self.devices } else { &self.services };
        let at = now() - Duration::hours(2);
        let revoked: Vec<Revoked> =
            serials.iter().map(|s| Revoked { serial: (*s).clone(), at, reason: Reason::KeyCompromise }).collect();
        let number = u64::try_from(now().unix_timestamp_nanos() / 1000).unwrap();
        let request = CrlRequest { number, this_update: at, next_update: now() + life, revoked: &revoked };
        let crl = authority.crl(&request).unwrap();
        replace(&folder.join(format!("{domain}.crl")), crl.pem());
    }

    pub fn service(&self, id: &str) -> Identity {
        self.services.issue(&LeafRequest::service(id), now()).unwrap().into()
    }

    pub fn device(&self, name: &str) -> Identity {
        self.devices.issue(&LeafRequest::device(name), now()).unwrap().into()
    }
}

/// As `mv` does: whoever reads sees the old file or the new one.
pub fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

pub fn write_secret(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
