//! Key and chain in one file, as browsers and mail programs import them: PKCS #12 (RFC 7292) with AES-256 and SHA-256
//! (PBES2, RFC 8018), which OpenSSL 1.1, NSS 3.35, Windows 10 1709 and later read. Nothing older is written: RC2 and
//! 3DES with SHA-1 protect nothing.
use aws_lc_rs::cipher::{AES_256, DecryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::{digest, hmac, pbkdf2};
use rand::TryRng as _;
use std::num::NonZeroU32;
use zeroize::Zeroizing;

/// NIST SP 800-132 asks for as many as the user can stand; an import of a second is one.
const ROUNDS: u32 = 100_000;
const SALT: usize = 16;

// Universal tags, DER (X.690).
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const NULL: &[u8] = &[0x05, 0x00];
const BMP: u8 = 0x1e;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0]` around what follows, and in its place.
const EXPLICIT_0: u8 = 0xa0;
const IMPLICIT_0: u8 = 0x80;

// Object identifiers with tag and length.
const DATA: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
const ENCRYPTED_DATA: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 6];
const SHROUDED_KEY_BAG: &[u8] = &[6, 11, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 2];
const CERT_BAG: &[u8] = &[6, 11, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 3];
const X509_CERTIFICATE: &[u8] = &[6, 10, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 22, 1];
const FRIENDLY_NAME: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 20];
const LOCAL_KEY_ID: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 21];
const PBES2: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 13];
const PBKDF2: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 12];
const HMAC_SHA256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 9];
const AES_256_CBC: &[u8] = &[6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 42];
const SHA256: &[u8] = &[6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];

/// `key_pkcs8` and `chain` (leaf first) in DER, under a password, with a name for lists. None: no randomness.
pub fn file(name: &str, password: &str, key_pkcs8: &[u8], chain: &[&[u8]]) -> Option<Vec<u8>> {
    let leaf = chain.first()?;
    // What ties the key to its certificate among several (RFC 7292 section 4.2).
    let id = digest::digest(&digest::SHA256, leaf);
    let attributes = || {
        let text: Vec<u8> = name.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let named = sequence(&[FRIENDLY_NAME, &der(SET, &[&der(BMP, &[&text])])]);
        let tied = sequence(&[LOCAL_KEY_ID, &der(SET, &[&der(OCTETS, &[id.as_ref()])])]);
        der(SET, &[&named, &tied])
    };
    let certificates = chain.iter().enumerate().map(|(at, certificate)| {
        let value = sequence(&[X509_CERTIFICATE, &der(EXPLICIT_0, &[&der(OCTETS, &[certificate])])]);
        let attributes = if at == 0 { attributes() } else { Vec::new() };
        sequence(&[CERT_BAG, &der(EXPLICIT_0, &[&value]), &attributes])
    });
    let certificates = sequence_of(certificates);
    let (algorithm, encrypted) = encrypt(password, &certificates)?;
    let content = sequence(&[DATA, &algorithm, &der(IMPLICIT_0, &[&encrypted])]);
    let certificates = sequence(&[&der(INTEGER, &[&[0]]), &content]);
    let certificates = sequence(&[ENCRYPTED_DATA, &der(EXPLICIT_0, &[&certificates])]);

    let (algorithm, encrypted) = encrypt(password, key_pkcs8)?;
    let key = sequence(&[&algorithm, &der(OCTETS, &[&encrypted])]);
    let key = sequence(&[SHROUDED_KEY_BAG, &der(EXPLICIT_0, &[&key]), &attributes()]);
    let key = data(&sequence(&[&key]));

    let safe = sequence(&[&certificates, &key]);
    let salt = random::<SALT>()?;
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &mac_key(password, &salt)), &safe);
    let sum = sequence(&[&sequence(&[SHA256, NULL]), &der(OCTETS, &[mac.as_ref()])]);
    let mac = sequence(&[&sum, &der(OCTETS, &[&salt]), &number(ROUNDS)]);
    Some(sequence(&[&der(INTEGER, &[&[3]]), &data(&safe), &mac]))
}

/// PBES2 with PBKDF2-HMAC-SHA256 and AES-256-CBC: its algorithm identifier, and the text.
fn encrypt(password: &str, plain: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let salt = random::<SALT>()?;
    let mut key = Zeroizing::new([0u8; 32]);
    let rounds = NonZeroU32::new(ROUNDS)?;
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password.as_bytes(), &mut *key);
    // Room for the padding: a buffer that had to grow would leave the key behind.
    let mut text = Vec::with_capacity(plain.len() + 16);
    text.extend_from_slice(plain);
    let cipher = PaddedBlockEncryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_256, &*key).ok()?).ok()?;
    let DecryptionContext::Iv128(iv) = cipher.encrypt(&mut text).ok()? else { return None };
    let derived = sequence(&[&der(OCTETS, &[&salt]), &number(ROUNDS), &sequence(&[HMAC_SHA256, NULL])]);
    let derived = sequence(&[PBKDF2, &derived]);
    let iv: &[u8; 16] = iv.as_ref();
    let cipher = sequence(&[AES_256_CBC, &der(OCTETS, &[iv])]);
    Some((sequence(&[PBES2, &sequence(&[&derived, &cipher])]), text))
}

/// RFC 7292 appendix B.2 with SHA-256 and purpose 3. One block of output is as much as is needed.
fn mac_key(password: &str, salt: &[u8]) -> Zeroizing<Vec<u8>> {
    /// Block of SHA-256, in bytes.
    const BLOCK: usize = 64;
    let filled =
        |text: &[u8]| -> Vec<u8> { text.iter().copied().cycle().take(text.len().div_ceil(BLOCK) * BLOCK).collect() };
    // A BMPString with its two zero bytes.
    let password: Zeroizing<Vec<u8>> =
        Zeroizing::new(password.encode_utf16().chain([0]).flat_map(u16::to_be_bytes).collect());
    let input = Zeroizing::new([&[3; BLOCK][..], &filled(salt), &Zeroizing::new(filled(&password))].concat());
    let mut out = Zeroizing::new(digest::digest(&digest::SHA256, &input).as_ref().to_vec());
    for _ in 1..ROUNDS {
        *out = digest::digest(&digest::SHA256, &out).as_ref().to_vec();
    }
    out
}

fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0u8; N];
    rand::rngs::SysRng.try_fill_bytes(&mut bytes).ok()?;
    Some(bytes)
}

fn data(content: &[u8]) -> Vec<u8> {
    sequence(&[DATA, &der(EXPLICIT_0, &[&der(OCTETS, &[content])])])
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    der(SEQUENCE, parts)
}

fn sequence_of(parts: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    sequence(&[&parts.flatten().collect::<Vec<u8>>()])
}

/// A non-negative INTEGER.
fn number(value: u32) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let digits = bytes.iter().position(|byte| *byte != 0).and_then(|at| bytes.get(at..)).unwrap_or(&[0]);
    let positive: &[u8] = if digits.first().is_some_and(|byte| *byte >= 0x80) { &[0] } else { &[] };
    der(INTEGER, &[positive, digits])
}

/// Tag, length, parts.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let digits = bytes.iter().position(|byte| *byte != 0).and_then(|at| bytes.get(at..)).unwrap_or(&[]);
            out.push(0x80 | u8::try_from(digits.len()).unwrap_or(0));
            out.extend_from_slice(digits);
        }
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}
