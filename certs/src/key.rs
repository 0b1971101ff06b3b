//! Which public keys a certificate may carry. Everything else is refused with a sentence, never certified unseen.
//!
//! ECDSA on P-256 and P-384, Ed25519, and RSA from 2048 bits. Each limit has its source; what a limit is for stands
//! beside it.
use crate::Error;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521, OID_PKCS1_RSAENCRYPTION,
    OID_SIG_ED25519,
};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::{PublicKey, RSAPublicKey};
use x509_parser::x509::SubjectPublicKeyInfo;

/// NIST SP 800-131A: less than 112 bits of strength must not be used.
const LEAST_RSA_BITS: usize = 2048;
/// An authority's key lives for years: 128 bits of strength (NIST SP 800-57 part 1, table 2).
pub(crate) const LEAST_RSA_AUTHORITY_BITS: usize = 3072;
/// Beyond it verifying costs more than it protects, and some clients refuse.
const MOST_RSA_BITS: usize = 8192;
/// Smaller exponents have met too many broken paddings (FIPS 186-5 s5.1: 2^16 < e < 2^256).
const LEAST_RSA_EXPONENT: u64 = 65_537;

/// A public key that may stand in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedKey {
    spki: Vec<u8>,
    kind: KeyKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    EcdsaP256,
    EcdsaP384,
    Ed25519,
    Rsa { bits: usize },
}

impl AllowedKey {
    /// From a DER `SubjectPublicKeyInfo` (RFC 5280 s4.1.2.7).
    ///
    /// # Errors
    /// 1. not one; 2. an algorithm or curve that we do not certify; 3. too weak.
    pub fn parse(spki: &[u8]) -> Result<Self, Error> {
        let (rest, parsed) = SubjectPublicKeyInfo::from_der(spki).map_err(|_| Error::Key("it is not a public key"))?;
        if !rest.is_empty() {
            return Err(Error::Key("there are bytes behind it"));
        }
        let algorithm = &parsed.algorithm.algorithm;
        let kind = if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
            curve(&parsed)?
        } else if *algorithm == OID_SIG_ED25519 {
            if parsed.subject_public_key.data.len() != 32 {
                return Err(Error::Key("an Ed25519 key has 32 octets (RFC 8032)"));
            }
            KeyKind::Ed25519
        } else if *algorithm == OID_PKCS1_RSAENCRYPTION {
            rsa(&parsed)?
        } else {
            return Err(Error::Key("use ECDSA with P-256 or P-384, Ed25519, or RSA from 2048 bits"));
        };
        Ok(Self { spki: spki.to_vec(), kind })
    }

    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    pub fn kind(&self) -> KeyKind {
        self.kind
    }
}

fn curve(key: &SubjectPublicKeyInfo<'_>) -> Result<KeyKind, Error> {
    let named = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    let (kind, coordinate) = match named {
        Some(oid) if oid == OID_EC_P256 => (KeyKind::EcdsaP256, 32),
        Some(oid) if oid == OID_NIST_EC_P384 => (KeyKind::EcdsaP384, 48),
        Some(oid) if oid == OID_NIST_EC_P521 => {
            return Err(Error::Key("the curve P-521 is not accepted by browsers; use P-256 or P-384"));
        }
        _ => return Err(Error::Key("of elliptic curves, only P-256 and P-384 are certified")),
    };
    // Uncompressed (RFC 5480 s2.2): what every verifier reads.
    let point = &key.subject_public_key.data;
    if point.first() != Some(&4) || point.len() != 1 + 2 * coordinate {
        return Err(Error::Key("write the point of the curve uncompressed (RFC 5480 section 2.2)"));
    }
    Ok(kind)
}

fn rsa(key: &SubjectPublicKeyInfo<'_>) -> Result<KeyKind, Error> {
    let Ok(PublicKey::RSA(RSAPublicKey { modulus, exponent })) = key.parsed() else {
        return Err(Error::Key("it is not an RSA key (RFC 8017 A.1.1)"));
    };
    let modulus: Vec<u8> = modulus.iter().copied().skip_while(|byte| *byte == 0).collect();
    let bits = modulus.len() * 8 - modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    if bits < LEAST_RSA_BITS {
        return Err(Error::Key("an RSA key has at least 2048 bits"));
    }
    if bits > MOST_RSA_BITS {
        return Err(Error::Key("an RSA key has at most 8192 bits"));
    }
    let odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
    let exponent: Vec<u8> = exponent.iter().copied().skip_while(|byte| *byte == 0).collect();
    let value = exponent.iter().try_fold(0u64, |sum, byte| Some(sum.checked_mul(256)? + u64::from(*byte)));
    if !odd(&exponent) || exponent.len() > 32 || value.is_some_and(|value| value < LEAST_RSA_EXPONENT) {
        return Err(Error::Key("the exponent of an RSA key is odd, and 65537 or more"));
    }
    if !odd(&modulus) {
        return Err(Error::Key("the modulus of an RSA key is odd"));
    }
    Ok(KeyKind::Rsa { bits })
}
