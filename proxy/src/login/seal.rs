//! Seals short texts: tokens at rest, and what travels through a browser and must come back unread and unchanged.
//! AES-256-GCM-SIV (RFC 8452): a repeated nonce, as after a restored virtual machine, tells no more than that two
//! texts are equal.
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use rand::TryRng as _;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use torhaus_authz::Timestamp;
use zeroize::Zeroizing;

/// First byte of everything sealed, so that the method can change one day.
const VERSION: u8 = 1;
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
/// Length of the expiry in front of a text that has one.
const EXPIRY_BYTES: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum SealKeyError {
    #[error("`{file}`: {problem}")]
    File { file: String, problem: std::io::Error },
    #[error("`{0}` may be read by others than its owner; `chmod 600` it, and consider what it sealed as known")]
    Readable(String),
    #[error("`{0}` is not a sealing key (43 characters of base64url)")]
    NotAKey(String),
    #[error("there is no randomness to be had")]
    NoRandomness,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("it could not be sealed: no randomness")]
    NoRandomness,
    #[error("it was not sealed here, not for this purpose, or was altered")]
    NotOurs,
    #[error("it is no longer valid")]
    Expired,
}

/// Seals and opens. Cheap to share behind an `Arc`.
pub struct SealKey(RandomizedNonceKey);

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(…)")
    }
}

impl SealKey {
    /// The key in `{state_dir}/keys/seal.key`; made at the first start, for its owner alone.
    ///
    /// # Errors
    /// 1. the file cannot be read or made; 2. others may read it; 3. it is not a key.
    pub fn load_or_create(state_dir: &Path) -> Result<Self, SealKeyError> {
        let folder = state_dir.join("keys");
        let file = folder.join("seal.key");
        match read_key(&file) {
            Err(SealKeyError::File { problem, .. }) if problem.kind() == ErrorKind::NotFound => {
                create_key(&folder, &file)?;
                read_key(&file)
            }
            other => other,
        }
    }

    /// A key in a file of its own.
    ///
    /// # Errors
    /// 1. the file cannot be read; 2. others may read it; 3. it is not a key.
    pub fn load(file: &Path) -> Result<Self, SealKeyError> {
        read_key(file)
    }

    /// A key as its file has it. None: it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text.trim_end()).map(Zeroizing::new).ok()?;
        (bytes.len() == KEY_BYTES).then(|| Self::from_bytes(&bytes)).flatten()
    }

    /// Makes a key in a file that is not there yet, for its owner alone.
    ///
    /// # Errors
    /// It is there already, or cannot be made.
    pub fn create(file: &Path) -> Result<(), SealKeyError> {
        if file.exists() {
            let problem = ErrorKind::AlreadyExists.into();
            return Err(SealKeyError::File { file: file.display().to_string(), problem });
        }
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        create_key(folder, file)
    }

    /// A key derived from a secret text (HKDF-SHA256, RFC 5869). The text must hold as much randomness as a key.
    ///
    /// # Errors
    /// None in practice: a key of this size can always be derived.
    pub fn derived(secret: &str) -> Result<Self, SealKeyError> {
        let salt = Salt::new(HKDF_SHA256, b"torhaus sealing key 1");
        let mut bytes = Zeroizing::new([0u8; KEY_BYTES]);
        let expanded = salt.extract(secret.as_bytes());
        let filled = expanded.expand(&[b"AES-256-GCM-SIV"], HKDF_SHA256).and_then(|okm| okm.fill(&mut *bytes));
        filled.ok().and_then(|()| Self::from_bytes(&*bytes)).ok_or(SealKeyError::NoRandomness)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        RandomizedNonceKey::new(&AES_256_GCM_SIV, bytes).ok().map(Self)
    }

    /// Seals bytes for one purpose. What was sealed for another one does not open.
    ///
    /// # Errors
    /// There is no randomness for a nonce.
    pub fn seal(&self, purpose: &str, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        // Room for the tag, so that the plain text is not left behind in a buffer that had to grow.
        let mut buffer = Vec::with_capacity(plain.len() + TAG_BYTES);
        buffer.extend_from_slice(plain);
        let sealed = self.0.seal_in_place_append_tag(Aad::from(purpose.as_bytes()), &mut buffer);
        let nonce = sealed.map_err(|_| SealError::NoRandomness)?;
        Ok([[VERSION].as_slice(), nonce.as_ref(), &buffer].concat())
    }

    /// # Errors
    /// It was not sealed with this key for this purpose, or was altered.
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (version, rest) = sealed.split_first().ok_or(SealError::NotOurs)?;
        let (nonce, text) = rest.split_at_checked(NONCE_BYTES).ok_or(SealError::NotOurs)?;
        if *version != VERSION {
            return Err(SealError::NotOurs);
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::NotOurs)?;
        let mut buffer = Zeroizing::new(text.to_vec());
        let opened = self.0.open_in_place(nonce, Aad::from(purpose.as_bytes()), &mut buffer);
        let length = opened.map_err(|_| SealError::NotOurs)?.len();
        buffer.truncate(length);
        Ok(buffer)
    }

    /// Seals into text for an address or a cookie, valid before `expires`.
    ///
    /// # Errors
    /// There is no randomness for a nonce.
    pub fn seal_text(&self, purpose: &str, plain: &[u8], expires: Timestamp) -> Result<String, SealError> {
        let dated = Zeroizing::new([expires.millis().to_be_bytes().as_slice(), plain].concat());
        Ok(BASE64_URL_SAFE_NO_PAD.encode(self.seal(&text_purpose(purpose), &dated)?))
    }

    /// # Errors
    /// 1. it was not sealed here, for this purpose, or was altered; 2. it has expired.
    pub fn open_text(&self, purpose: &str, text: &str, now: Timestamp) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| SealError::NotOurs)?;
        let dated = self.open(&text_purpose(purpose), &sealed)?;
        let (expires, plain) = dated.split_first_chunk::<EXPIRY_BYTES>().ok_or(SealError::NotOurs)?;
        if now >= Timestamp::from_millis(i64::from_be_bytes(*expires)) {
            return Err(SealError::Expired);
        }
        Ok(Zeroizing::new(plain.to_vec()))
    }
}

/// Texts with an expiry never open as bytes without one.
fn text_purpose(purpose: &str) -> String {
    format!("until:{purpose}")
}

fn read_key(path: &Path) -> Result<SealKey, SealKeyError> {
    let name = || path.display().to_string();
    let failed = |problem| SealKeyError::File { file: name(), problem };
    let file = File::open(path).map_err(failed)?;
    // Of the opened file, not of the name: it cannot be exchanged in between.
    if file.metadata().map_err(failed)?.permissions().mode() & 0o077 != 0 {
        return Err(SealKeyError::Readable(name()));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(256).read_to_string(&mut text).map_err(failed)?;
    SealKey::parse(&text).ok_or_else(|| SealKeyError::NotAKey(name()))
}

/// Written aside and linked into place: of two first starts at once, one makes the key, and nobody reads half of it.
fn create_key(folder: &Path, path: &Path) -> Result<(), SealKeyError> {
    let failed = |problem| SealKeyError::File { file: path.display().to_string(), problem };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let mut key = Zeroizing::new([0u8; KEY_BYTES]);
    let mut suffix = [0u8; 8];
    rand::rngs::SysRng.try_fill_bytes(&mut *key).map_err(|_| SealKeyError::NoRandomness)?;
    rand::rngs::SysRng.try_fill_bytes(&mut suffix).map_err(|_| SealKeyError::NoRandomness)?;
    let aside = folder.join(format!("seal.key.{:016x}", u64::from_be_bytes(suffix)));
    let text = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(key.as_slice()));
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::hard_link(&aside, path)
    });
    // A key that is lost in a power failure would lose every session: the directory entry counts too.
    let result = written.and_then(|()| File::open(folder)?.sync_all());
    let removed = fs::remove_file(&aside);
    match result {
        Err(problem) if problem.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other.and(removed).map_err(failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn key() -> SealKey {
        SealKey::from_bytes(&[7; KEY_BYTES]).expect("a key")
    }

    #[test]
    fn what_was_sealed_opens_for_the_same_purpose_only() {
        let sealed = key().seal("tokens", b"marked-secret").expect("seals");
        assert!(!sealed.windows(6).any(|w| w == b"marked"));
        assert_eq!(&**key().open("tokens", &sealed).expect("opens"), b"marked-secret");
        assert_eq!(key().open("login", &sealed).err(), Some(SealError::NotOurs));
        let other = SealKey::from_bytes(&[8; KEY_BYTES]).expect("a key");
        assert_eq!(other.open("tokens", &sealed).err(), Some(SealError::NotOurs));
        assert_ne!(sealed, key().seal("tokens", b"marked-secret").expect("seals"), "nonces differ");
    }

    #[test]
    fn a_single_changed_bit_does_not_open() {
        let sealed = key().seal("p", b"").expect("an empty text seals");
        for byte in 0..sealed.len() {
            for bit in 0..8 {
                let mut altered = sealed.clone();
                altered[byte] ^= 1 << bit;
                assert_eq!(key().open("p", &altered).err(), Some(SealError::NotOurs), "byte {byte} bit {bit}");
            }
            assert_eq!(key().open("p", &sealed[..byte]).err(), Some(SealError::NotOurs));
        }
    }

    #[test]
    fn a_text_expires() {
        let text = key().seal_text("to", b"/wiki", NOW.plus(Duration::from_secs(60))).expect("seals");
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert_eq!(&**key().open_text("to", &text, NOW).expect("opens"), b"/wiki");
        let late = NOW.plus(Duration::from_secs(60));
        assert_eq!(key().open_text("to", &text, late).err(), Some(SealError::Expired));
        assert_eq!(key().open_text("code", &text, NOW).err(), Some(SealError::NotOurs));
        assert_eq!(key().open_text("to", "%%%", NOW).err(), Some(SealError::NotOurs));
    }

    #[test]
    fn the_key_is_made_once_for_its_owner_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let keys: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| SealKey::load_or_create(dir.path()))).collect();
            starts.into_iter().map(|start| start.join().expect("no panic").expect("a key")).collect()
        });
        let sealed = keys[0].seal("p", b"x").expect("seals");
        assert!(keys.iter().all(|key| key.open("p", &sealed).is_ok()), "all starts have the same key");
        let folder = dir.path().join("keys");
        let mode = |path: &Path| fs::metadata(path).expect("is there").permissions().mode() & 0o777;
        assert_eq!(mode(&folder.join("seal.key")), 0o600);
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(fs::read_dir(&folder).expect("readable").count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_key_that_others_may_read_or_that_is_none_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        SealKey::load_or_create(dir.path()).expect("a key");
        let file = dir.path().join("keys/seal.key");
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("chmod");
            assert!(matches!(SealKey::load_or_create(dir.path()), Err(SealKeyError::Readable(_))), "{mode:o}");
        }
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("chmod");
        for text in ["", "short", &"A".repeat(44), &"A".repeat(300)] {
            fs::write(&file, text).expect("writes");
            assert!(matches!(SealKey::load_or_create(dir.path()), Err(SealKeyError::NotAKey(_))), "{text}");
        }
    }
}
