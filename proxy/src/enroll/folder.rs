//! What an enrolment is on this machine.
//!
//! ```text
//! BASE/NAME/enrolment.json          how to renew; holds the account's private key
//!           live -> versions/N      what programs read: key.pem cert.pem chain.pem fullchain.pem, and bundle.p12
//!           versions/N/             the one in use and the one before
//!           pkcs12.password
//! BASE/lock                         one command at a time
//! ```
//!
//! Everything is for its owner alone (0600, folders 0700). A version is written whole, flushed to the disk, and then
//! the link is moved: a program that opens the files finds a key and a certificate that belong together.
use crate::acme_client::obtain::{Leaf, Obtained};
use crate::enroll::{EnrollError, pkcs12};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use rand::TryRng as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use url::Url;
use zeroize::{Zeroize as _, Zeroizing};

const SETTINGS: &str = "enrolment.json";
const LIVE: &str = "live";
const VERSIONS: &str = "versions";
/// Written where none was named.
const PASSWORD: &str = "pkcs12.password";

/// How an enrolment renews.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub directory: Url,
    pub ca_file: Option<PathBuf>,
    pub names: Vec<String>,
    /// The account's credentials, private key included.
    pub account: String,
    /// Also write `bundle.p12`, under the password in this file.
    pub pkcs12_password_file: Option<PathBuf>,
    /// Run by `sh -c` after each new certificate.
    pub after: Option<String>,
}

impl Drop for Settings {
    fn drop(&mut self) {
        self.account.zeroize();
    }
}

/// The folder of all enrolments of this user or machine, locked for this command.
pub struct Base {
    path: PathBuf,
    _lock: File,
}

impl Base {
    /// # Errors
    /// It cannot be made, others may look into it, or another command is at work in it.
    pub fn open(path: &Path) -> Result<Self, EnrollError> {
        private_folder(path)?;
        let file = path.join("lock");
        let lock = private().create(true).truncate(false).open(&file).map_err(|e| EnrollError::file(&file, e))?;
        lock.try_lock().map_err(|_| EnrollError::file(path, "another `torhaus enroll` is at work here"))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The enrolments that there are, by name.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn all(&self) -> Result<Vec<Enrolment>, EnrollError> {
        let failed = |e| EnrollError::file(&self.path, e);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.join(SETTINGS).is_file() {
                found.push(Enrolment { path });
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    /// Of this name, made if need be.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn enrolment(&self, name: &str) -> Result<Enrolment, EnrollError> {
        // A name of DNS from the server: no way out of the folder.
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
        if name.is_empty() || name.starts_with('.') || !plain {
            return Err(EnrollError::Refused(format!("`{name}` is not a name that a folder could have")));
        }
        let path = self.path.join(name);
        private_folder(&path)?;
        Ok(Enrolment { path })
    }
}

/// The folder of one enrolment.
pub struct Enrolment {
    path: PathBuf,
}

impl Enrolment {
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// What programs are pointed to.
    pub fn live(&self) -> PathBuf {
        self.path.join(LIVE)
    }

    /// # Errors
    /// They cannot be read.
    pub fn settings(&self) -> Result<Settings, EnrollError> {
        let file = self.path.join(SETTINGS);
        let text = Zeroizing::new(fs::read(&file).map_err(|e| EnrollError::file(&file, e))?);
        serde_json::from_slice(&text).map_err(|e| EnrollError::file(&file, format!("line {}: not readable", e.line())))
    }

    /// # Errors
    /// They cannot be written.
    pub fn keep_settings(&self, settings: &Settings) -> Result<(), EnrollError> {
        let text = serde_json::to_vec_pretty(settings).map_err(|e| EnrollError::Here(e.to_string()))?;
        let text = Zeroizing::new(text);
        let (new, file) = (self.path.join("enrolment.json.new"), self.path.join(SETTINGS));
        write(&new, &text)?;
        fs::rename(&new, &file).map_err(|e| EnrollError::file(&file, e))?;
        flush(&self.path)
    }

    /// The certificate in use. None: there is none yet.
    pub fn leaf(&self) -> Option<Leaf> {
        Leaf::of(&fs::read_to_string(self.live().join("fullchain.pem")).ok()?)
    }

    /// A file for the password of `bundle.p12`; one with a random password is made.
    ///
    /// # Errors
    /// There is no randomness, or it cannot be written.
    pub fn password_file(&self) -> Result<PathBuf, EnrollError> {
        let file = self.path.join(PASSWORD);
        if !file.exists() {
            let mut bits = Zeroizing::new([0u8; 15]);
            let drawn = rand::rngs::SysRng.try_fill_bytes(&mut *bits);
            drawn.map_err(|_| EnrollError::Here("the system has no randomness to give".into()))?;
            write(&file, format!("{}\n", BASE64_URL_SAFE_NO_PAD.encode(bits.as_slice())).as_bytes())?;
        }
        Ok(file)
    }

    /// Puts a new key and certificate in the place of those in use, all at once.
    ///
    /// # Errors
    /// Something cannot be written; then what was in use still is.
    pub fn install(&self, obtained: &Obtained, settings: &Settings) -> Result<(), EnrollError> {
        let versions = self.path.join(VERSIONS);
        private_folder(&versions)?;
        let before = fs::read_link(self.live()).ok();
        let number = 1 + highest(&versions);
        let folder = versions.join(number.to_string());
        private_folder(&folder)?;
        let leaf_end = obtained.chain_pem.find(END).map_or(obtained.chain_pem.len(), |at| at + END.len());
        let (leaf, issuers) = obtained.chain_pem.split_at(leaf_end);
        write(&folder.join("key.pem"), obtained.key_pem.as_bytes())?;
        write(&folder.join("cert.pem"), format!("{}\n", leaf.trim()).as_bytes())?;
        write(&folder.join("chain.pem"), issuers.trim_start().as_bytes())?;
        write(&folder.join("fullchain.pem"), obtained.chain_pem.as_bytes())?;
        if let Some(password) = &settings.pkcs12_password_file {
            write(&folder.join("bundle.p12"), &self.bundle(obtained, password)?)?;
        }
        flush(&folder)?;
        flush(&versions)?;
        let new = self.path.join("live.new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(EnrollError::file(&new, error)),
            _ => {}
        }
        symlink(Path::new(VERSIONS).join(number.to_string()), &new).map_err(|e| EnrollError::file(&new, e))?;
        fs::rename(&new, self.live()).map_err(|e| EnrollError::file(&self.live(), e))?;
        flush(&self.path)?;
        self.forget_all_but(&versions, number, before.as_deref());
        Ok(())
    }

    fn bundle(&self, obtained: &Obtained, password_file: &Path) -> Result<Vec<u8>, EnrollError> {
        let password = fs::read_to_string(password_file).map_err(|e| EnrollError::file(password_file, e))?;
        let password = Zeroizing::new(password);
        let password = password.trim_end_matches(['\n', '\r']);
        if password.is_empty() {
            return Err(EnrollError::file(password_file, "is empty; write the password for `bundle.p12` into it"));
        }
        let broken = || EnrollError::Refused("the chain that came back cannot be read".into());
        let chain: Result<Vec<CertificateDer<'static>>, _> =
            CertificateDer::pem_slice_iter(obtained.chain_pem.as_bytes()).collect();
        let chain = chain.map_err(|_| broken())?;
        let key = PrivateKeyDer::from_pem_slice(obtained.key_pem.as_bytes()).map_err(|_| broken())?;
        let chain: Vec<&[u8]> = chain.iter().map(AsRef::as_ref).collect();
        pkcs12::file(&self.name(), password, key.secret_der(), &chain)
            .ok_or_else(|| EnrollError::Here("the system has no randomness to give".into()))
    }

    /// Keeps the one in use and the one before: a program may be reading that. Others hold keys nobody needs.
    fn forget_all_but(&self, versions: &Path, number: u64, before: Option<&Path>) {
        let before = before.and_then(Path::file_name);
        let Ok(all) = fs::read_dir(versions) else { return };
        for entry in all.flatten() {
            let name = entry.file_name();
            if name.to_string_lossy() != number.to_string() && Some(name.as_os_str()) != before {
                // Tried again at the next renewal.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

const END: &str = "-----END CERTIFICATE-----";

fn highest(versions: &Path) -> u64 {
    let all = fs::read_dir(versions).into_iter().flatten().flatten();
    all.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok()).max().unwrap_or(0)
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// A file for its owner alone, on the disk when this returns.
fn write(file: &Path, text: &[u8]) -> Result<(), EnrollError> {
    let failed = |e| EnrollError::file(file, e);
    // One that a stopped command left behind may have another mode, or be a link.
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut open = private().create_new(true).open(file).map_err(failed)?;
    open.write_all(text).and_then(|()| open.sync_all()).map_err(failed)
}

fn private_folder(path: &Path) -> Result<(), EnrollError> {
    let failed = |e| EnrollError::file(path, e);
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    if fs::metadata(path).map_err(failed)?.mode() & 0o077 != 0 {
        return Err(EnrollError::file(
            path,
            "others may look into it; `chmod 700` it, or name another folder in `--dir`",
        ));
    }
    Ok(())
}

fn flush(folder: &Path) -> Result<(), EnrollError> {
    File::open(folder).and_then(|open| open.sync_all()).map_err(|e| EnrollError::file(folder, e))
}
