//! Why an authority could not do what it was asked.

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("`{0}` cannot stand in a certificate: it must be plain ASCII text and not empty")]
    Name(String),
    #[error("`{0}` is not a SPIFFE ID; it begins with `spiffe://` and has a path")]
    NotSpiffe(String),
    #[error("a server certificate needs at least one DNS name or address")]
    NoServerName,
    #[error("the certificate would outlive its authority, which ends {authority_ends}")]
    OutlivesAuthority { authority_ends: time::OffsetDateTime },
    #[error("lifetimes must be positive, a CRL's next update later than this one")]
    Lifetime,
    #[error("not a PEM certificate")]
    Pem,
    #[error("the certificate is no authority: it lacks CA:TRUE or the right to sign certificates and CRLs")]
    NotAnAuthority,
    #[error("the key does not belong to the certificate")]
    KeyMismatch,
    #[error("the system gave no random bytes")]
    Random,
    #[error("could not encode or sign")]
    Encode(#[from] rcgen::Error),
}
