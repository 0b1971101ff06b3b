//! `torhaus enroll`: a certificate for this machine, bound to who signed in, and its renewal. Runs on a person's or a
//! service's machine, beside no configuration and no state folder of the gate.
//!
//! ```text
//! pairing.rs   how the command and the portal come to trust each other; used on both sides
//! portal.rs    asks the portal for the one-time key, by a browser on this machine or by a code that a person types
//! loopback.rs  where the browser comes back to
//! folder.rs    what is on this machine: keys, certificates, how to renew; written whole or not at all
//! pkcs12.rs    key and chain in one file, for browsers
//! renew.rs     obtains and renews
//! ```
//!
//! The private keys are made here and never leave.
pub mod folder;
pub mod loopback;
pub mod pairing;
pub mod pkcs12;
pub mod portal;
pub mod renew;

/// Why somebody got no certificate, or what is wrong here; in one sentence.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// The server says no: asking again will not help.
    #[error("{0}")]
    Refused(String),
    /// The server or the way to it; worth another try.
    #[error("{0}")]
    Unreachable(String),
    /// Something on this machine.
    #[error("{0}")]
    Here(String),
}

impl EnrollError {
    pub(crate) fn file(path: &std::path::Path, why: impl std::fmt::Display) -> Self {
        Self::Here(format!("`{}`: {why}", path.display()))
    }
}

impl From<instant_acme::Error> for EnrollError {
    fn from(error: instant_acme::Error) -> Self {
        let said = crate::acme_client::sentence(&error);
        match error {
            instant_acme::Error::Api(_) => Self::Refused(said),
            _ => Self::Unreachable(said),
        }
    }
}
