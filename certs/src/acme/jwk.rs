//! Public keys of accounts (RFC 7517) and the signature algorithms that fit them (RFC 7518, RFC 8037). Only public-key
//! ones: a MAC stands in an external account binding and nowhere else. Reads strictly, because two spellings of one
//! key would be two accounts. aws-lc-rs verifies, as everywhere in this crate; a JOSE library would accept `oct` keys.
use super::problem::{Kind, Problem};
use aws_lc_rs::signature as sig;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a refused client may use instead (RFC 8555 s6.2).
pub(super) const ALGORITHMS: [&str; 5] = ["ES256", "ES384", "ES512", "EdDSA", "RS256"];

/// NIST SP 800-57: 2,048 bits is the least, and beyond 4,096 verifying only costs us.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=512;
/// aws-lc takes exponents up to 33 bits; everybody uses 65,537, which has 3 bytes.
const MAX_EXPONENT_BYTES: usize = 4;

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Jwk {
    Ec { curve: Curve, x: Vec<u8>, y: Vec<u8> },
    Ed25519 { x: Vec<u8> },
    Rsa { n: Vec<u8>, e: Vec<u8> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Curve {
    P256,
    P384,
    P521,
}

impl Jwk {
    /// # Errors
    /// `badPublicKey`: another kind of key, a private one, weak, or not in the one accepted spelling.
    pub fn parse(value: &Value) -> Result<Self, Problem> {
        let members = value.as_object().ok_or_else(|| bad("`jwk` is not an object"))?;
        if ["d", "p", "q", "k"].iter().any(|private| members.contains_key(*private)) {
            return Err(bad("the key is secret or private; send the public one"));
        }
        let key = match (text(members, "kty")?, members.get("crv").and_then(Value::as_str)) {
            ("EC", Some(curve)) => {
                let curve = Curve::named(curve).ok_or_else(|| bad("the curve is not supported; use P-256"))?;
                Self::Ec { curve, x: bytes(members, "x")?, y: bytes(members, "y")? }
            }
            ("OKP", Some("Ed25519")) => Self::Ed25519 { x: bytes(members, "x")? },
            ("RSA", None) => Self::Rsa { n: bytes(members, "n")?, e: bytes(members, "e")? },
            _ => return Err(bad("this kind of key is not supported; use EC, RSA or Ed25519")),
        };
        key.check()?;
        Ok(key)
    }

    fn check(&self) -> Result<(), Problem> {
        match self {
            Self::Ec { curve, x, y } => {
                if x.len() != curve.bytes() || y.len() != curve.bytes() {
                    return Err(bad("the coordinates have the wrong length for the curve"));
                }
                sig::ParsedPublicKey::new(curve.verification(), self.subject_public_key())
                    .map_err(|_| bad("the point is not on the curve"))?;
            }
            Self::Ed25519 { x } => {
                sig::ParsedPublicKey::new(&sig::ED25519, x).map_err(|_| bad("not an Ed25519 key"))?;
            }
            Self::Rsa { n, e } => {
                let significant = n.first().is_some_and(|byte| *byte >= 0x80);
                if !RSA_BYTES.contains(&n.len()) || !significant {
                    return Err(bad("RSA keys must have 2,048 to 4,096 bits"));
                }
                if n.last().is_none_or(|byte| byte % 2 == 0) {
                    return Err(bad("the RSA modulus is even"));
                }
                let odd = e.last().is_some_and(|byte| byte % 2 == 1);
                // 1 signs nothing; 3 has had its padding forged (CVE-2006-4339).
                if !odd || e.first() == Some(&0) || e.len() > MAX_EXPONENT_BYTES || e.len() < 3 {
                    return Err(bad("the RSA exponent must be odd, and at least 65537"));
                }
            }
        }
        Ok(())
    }

    /// # Errors
    /// 1. `badSignatureAlgorithm`: `alg` is unknown or does not fit the key; 2. `malformed`: the signature is wrong.
    pub(super) fn verify(&self, alg: &str, message: &[u8], signature: &[u8]) -> Result<(), Problem> {
        let good = match (alg, self) {
            ("ES256", Self::Ec { curve: curve @ Curve::P256, .. })
            | ("ES384", Self::Ec { curve: curve @ Curve::P384, .. })
            | ("ES512", Self::Ec { curve: curve @ Curve::P521, .. }) => {
                sig::UnparsedPublicKey::new(curve.verification(), self.subject_public_key()).verify(message, signature)
            }
            ("EdDSA", Self::Ed25519 { x }) => sig::UnparsedPublicKey::new(&sig::ED25519, x).verify(message, signature),
            ("RS256", Self::Rsa { n, e }) => {
                sig::RsaPublicKeyComponents { n, e }.verify(&sig::RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
            _ => return Err(unfit(alg)),
        };
        good.map_err(|_| Problem::malformed("the signature of the request is wrong"))
    }

    /// RFC 7638, SHA-256, base64url: the name of a key.
    pub fn thumbprint(&self) -> String {
        let b64 = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let canonical = match self {
            Self::Ec { curve, x, y } => {
                format!(r#"{{"crv":"{}","kty":"EC","x":"{}","y":"{}"}}"#, curve.name(), b64(x), b64(y))
            }
            Self::Ed25519 { x } => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, b64(x)),
            Self::Rsa { n, e } => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, b64(e), b64(n)),
        };
        b64(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, canonical.as_bytes()).as_ref())
    }

    /// The content of `subjectPublicKey` in a certificate or CSR with this key (RFC 5280 s4.1.2.7).
    pub fn subject_public_key(&self) -> Vec<u8> {
        match self {
            Self::Ec { x, y, .. } => [&[0x04], x.as_slice(), y.as_slice()].concat(),
            Self::Ed25519 { x } => x.clone(),
            Self::Rsa { n, e } => der(0x30, &[der_integer(n), der_integer(e)].concat()),
        }
    }
}

impl Curve {
    fn named(name: &str) -> Option<Self> {
        [Self::P256, Self::P384, Self::P521].into_iter().find(|curve| curve.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
        }
    }

    /// Of one coordinate.
    fn bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    fn verification(self) -> &'static sig::EcdsaVerificationAlgorithm {
        match self {
            Self::P256 => &sig::ECDSA_P256_SHA256_FIXED,
            Self::P384 => &sig::ECDSA_P384_SHA384_FIXED,
            Self::P521 => &sig::ECDSA_P521_SHA512_FIXED,
        }
    }
}

/// `badSignatureAlgorithm`; the document lists what is accepted.
pub(super) fn unfit(alg: &str) -> Problem {
    let alg = super::identifier::shown(alg);
    Problem::new(Kind::BadSignatureAlgorithm, format!("`{alg}` is not accepted for this key"))
}

fn bad(why: &str) -> Problem {
    Problem::new(Kind::BadPublicKey, why)
}

fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Result<&'a str, Problem> {
    members.get(name).and_then(Value::as_str).ok_or_else(|| bad(&format!("`jwk` lacks `{name}`")))
}

fn bytes(members: &Map<String, Value>, name: &str) -> Result<Vec<u8>, Problem> {
    let text = text(members, name)?;
    BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| bad(&format!("`{name}` of the key is not base64url")))
}

fn der_integer(magnitude: &[u8]) -> Vec<u8> {
    // A leading zero keeps it positive (X.690 s8.3).
    let sign: &[u8] = if magnitude.first().is_some_and(|byte| *byte >= 0x80) { &[0] } else { &[] };
    der(0x02, &[sign, magnitude].concat())
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            // At most eight octets of length.
            out.push(0x80 | u8::try_from(bytes.len()).unwrap_or(0x7f));
            out.extend(bytes);
        }
    }
    out.extend(content);
    out
}
