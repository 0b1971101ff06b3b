//! The client's side of TLS: which authority is trusted, which certificate is shown, what is offered.
//!
//! Every peer is asked for the same: TLS 1.3, one cipher suite, one key exchange. Otherwise a comparison would
//! measure which defaults two libraries happen to have.

use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::error::{Doing, Error, Result};
use crate::target::Version;

/// Connections whose tickets are remembered; far above the number of concurrent connections.
const SESSIONS_KEPT: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum KeyExchange {
    /// What every peer can do (OpenSSL 3.0 knows no hybrid group).
    X25519,
    /// The post-quantum hybrid that browsers prefer today.
    X25519mlkem768,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tickets {
    /// Every connection makes a full handshake.
    Refused,
    /// A connection resumes when the server gave a ticket before.
    Used,
}

#[derive(Debug)]
pub struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

pub fn identity(cert_file: &Path, key_file: &Path) -> Result<Identity> {
    let key = PrivateKeyDer::from_pem_file(key_file).doing(format!("key file `{}`", key_file.display()))?;
    Ok(Identity { chain: certificates(cert_file)?, key })
}

pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let shown = file.display();
    let found: Vec<_> =
        CertificateDer::pem_file_iter(file).and_then(Iterator::collect).doing(format!("certificate file `{shown}`"))?;
    if found.is_empty() {
        return Err(Error::new(format!("certificate file `{shown}` holds no certificate")));
    }
    Ok(found)
}

pub fn client(
    roots: Vec<CertificateDer<'static>>,
    identity: Option<Identity>,
    version: Version,
    key_exchange: KeyExchange,
    tickets: Tickets,
) -> Result<Arc<ClientConfig>> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root).doing("authority's certificate")?;
    }
    let mut provider = default_provider();
    provider.cipher_suites = vec![cipher_suite::TLS13_AES_128_GCM_SHA256];
    provider.kx_groups = vec![match key_exchange {
        KeyExchange::X25519 => kx_group::X25519,
        KeyExchange::X25519mlkem768 => kx_group::X25519MLKEM768,
    }];
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .doing("TLS settings")?
        .with_root_certificates(store);
    let mut config = match identity {
        Some(Identity { chain, key }) => builder.with_client_auth_cert(chain, key).doing("client certificate")?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![version.alpn().to_vec()];
    config.resumption = match tickets {
        Tickets::Refused => Resumption::disabled(),
        Tickets::Used => Resumption::in_memory_sessions(SESSIONS_KEPT),
    };
    Ok(Arc::new(config))
}
