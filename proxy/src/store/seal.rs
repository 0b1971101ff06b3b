//! What the store asks of the one who holds the sealing key.
use crate::login::seal::SealKey;
use crate::login::session::Unavailable;
use zeroize::Zeroizing;

/// Seals what lies on disk. `purpose` names what is sealed and is bound in: a value moved to another row, or to
/// another use, does not open.
pub trait Seal: Send + Sync {
    /// # Errors
    /// There is no key, or no randomness for a nonce.
    fn seal(&self, purpose: &str, plain: &[u8]) -> Result<Vec<u8>, Unavailable>;

    /// # Errors
    /// It was sealed under another key, for another purpose, or was altered.
    fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unavailable>;
}

impl Seal for SealKey {
    fn seal(&self, purpose: &str, plain: &[u8]) -> Result<Vec<u8>, Unavailable> {
        SealKey::seal(self, purpose, plain).map_err(|e| Unavailable(e.to_string()))
    }

    fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unavailable> {
        SealKey::open(self, purpose, sealed)
            .map_err(|_| Unavailable(format!("`{purpose}` does not open with this key")))
    }
}
