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
    #[error("profile `{purpose}` certifies for {least} to {most}")]
    ProfileLife { purpose: crate::Purpose, least: time::Duration, most: time::Duration },
    #[error("a certificate of profile `{purpose}`: {why}")]
    Enrolment { purpose: crate::Purpose, why: &'static str },
    #[error("this key is not certified: {0}")]
    Key(&'static str),
    #[error("the certificate request cannot be used: {0}")]
    Csr(&'static str),
    #[error("this authority cannot be imported: {0}")]
    Import(&'static str),
    /// What was signed is thrown away.
    #[error("the last check found fault with what was signed: {0}")]
    Lint(&'static str),
    #[error("the system gave no random bytes")]
    Random,
    #[error("could not encode or sign")]
    Encode(#[from] rcgen::Error),
}
