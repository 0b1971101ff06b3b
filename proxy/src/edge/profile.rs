//! What TLS here agrees to: a profile after BSI TR-02102-2, by name, so that an update of a library changes nothing of it.
//!
//! | | agreed to |
//! |---|---|
//! | versions | 1.3, 1.2 |
//! | TLS 1.3 | `AES_256_GCM_SHA384`, `AES_128_GCM_SHA256` |
//! | TLS 1.2 | ECDHE with ECDSA or RSA, AES-256 or AES-128 in GCM, with the extended master secret (RFC 7627) |
//! | key exchange | X25519MLKEM768, secp256r1, secp384r1, X25519 |
//! | signatures | as the provider verifies them: ECDSA, Ed25519, RSA of 2048 bits and more; none with SHA-1 |
//!
//! ChaCha20 is not in the guideline and every client that has it has AES-GCM too. X25519 is more than the guideline
//! lists: it stays, after the curves that are in it, because a client that offers only that one would be turned away.
use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};

/// Best first, where a client leaves the choice.
const SUITES: [SupportedCipherSuite; 6] = [
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
];

const GROUPS: [&dyn SupportedKxGroup; 4] =
    [kx_group::X25519MLKEM768, kx_group::SECP256R1, kx_group::SECP384R1, kx_group::X25519];

/// The provider of every handshake with a client.
pub fn provider() -> CryptoProvider {
    CryptoProvider { cipher_suites: SUITES.to_vec(), kx_groups: GROUPS.to_vec(), ..aws_lc_rs::default_provider() }
}
