//! A certificate signing request (PKCS #10, RFC 2986): proof that somebody holds a key, and nothing else.
//!
//! What a request says about names, usages and constraints is never read: a certificate is built from the profile and
//! the enrolment. So there is no way for `CA:TRUE` of a request to reach a certificate.
use crate::Error;
use crate::key::AllowedKey;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::oid_registry::{OID_PKCS1_SHA1WITHRSA, OID_SHA1_WITH_RSA};
use x509_parser::prelude::FromDer;

/// Real ones are under 4 KiB, also with an RSA key of 8192 bits and a hundred names.
const MOST_BYTES: usize = 16 * 1024;

/// A request whose signature was verified with the key in it, which is one that we certify.
#[derive(Clone, Debug)]
pub struct Csr {
    key: AllowedKey,
}

impl Csr {
    /// From DER.
    ///
    /// # Errors
    /// 1. not one, or bytes behind it; 2. a key that we do not certify; 3. its signature is by another key, or by an
    ///    algorithm that is broken.
    pub fn parse(der: &[u8]) -> Result<Self, Error> {
        if der.len() > MOST_BYTES {
            return Err(Error::Csr("it is larger than 16 KiB"));
        }
        let parsed = X509CertificationRequest::from_der(der);
        let (rest, request) = parsed.map_err(|_| Error::Csr("it is not a PKCS #10 request"))?;
        if !rest.is_empty() {
            return Err(Error::Csr("there are bytes behind it"));
        }
        let key = AllowedKey::parse(request.certification_request_info.subject_pki.raw)?;
        let signed_by = &request.signature_algorithm.algorithm;
        if [OID_PKCS1_SHA1WITHRSA, OID_SHA1_WITH_RSA].contains(signed_by) {
            return Err(Error::Csr("it is signed with SHA-1; use SHA-256 or better"));
        }
        request.verify_signature().map_err(|_| Error::Csr("it is not signed by the key in it"))?;
        Ok(Self { key })
    }

    /// From PEM (RFC 7468 s7).
    ///
    /// # Errors
    /// 1. not PEM of a request; 2. as [`Csr::parse`].
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        let (_, pem) = x509_parser::pem::parse_x509_pem(text.as_bytes()).map_err(|_| Error::Csr("it is not PEM"))?;
        // OpenSSL wrote `NEW` for a long time (RFC 7468 s7).
        if !matches!(&*pem.label, "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST") {
            return Err(Error::Csr("the PEM block is not a certificate request"));
        }
        Self::parse(&pem.contents)
    }

    pub fn key(&self) -> &AllowedKey {
        &self.key
    }
}
