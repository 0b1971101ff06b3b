//! What proves that a name is ours, while an order is open: a text under `/.well-known/acme-challenge/` of the plain
//! listener (RFC 8555 section 8.3), or a certificate for a handshake that asks for `acme-tls/1` (RFC 8737). Whichever
//! replica is asked: both are looked up in the store.
use crate::acme_client::obtain::ProofKind;
use crate::acme_client::shelf::{Kind, Shelf, Unavailable};
use crate::clock;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::ClientHello;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::sync::Arc;
use time::{Duration, OffsetDateTime};

/// The path below which a server looks for http-01.
pub const PATH: &str = "/.well-known/acme-challenge/";
/// RFC 8737 section 3.
const ALPN: &[u8] = b"acme-tls/1";
/// Longer than any server takes to look.
const LIFE: Duration = Duration::minutes(15);
/// RFC 8555 section 8.1: at least 128 bits of base64url. What is far longer is nobody's token.
const MOST_TOKEN: usize = 200;

pub struct Challenges {
    shelf: Arc<dyn Shelf>,
}

impl Challenges {
    pub fn new(shelf: Arc<dyn Shelf>) -> Self {
        Self { shelf }
    }

    /// Shows a proof from now on; how to hide it again.
    ///
    /// # Errors
    /// The store did not take it.
    pub async fn show(
        &self,
        kind: ProofKind,
        name: &str,
        token: &str,
        key_authorization: &str,
        digest: &[u8],
    ) -> Result<String, Unavailable> {
        let (id, value) = match kind {
            ProofKind::Http => (http_id(name, token), key_authorization.as_bytes()),
            ProofKind::TlsAlpn => (tls_id(name), digest),
        };
        let now = now();
        self.shelf.put(Kind::Challenge, &id, value, Some(now + LIFE), now).await?;
        Ok(id)
    }

    pub async fn hide(&self, id: &str) {
        // Left behind, it proves nothing after its time, and nothing to another account.
        let _ = self.shelf.remove(Kind::Challenge, id).await;
    }

    /// What `/.well-known/acme-challenge/{token}` of a host shows.
    pub async fn http(&self, host: &str, token: &str) -> Option<String> {
        let plausible = (22..=MOST_TOKEN).contains(&token.len())
            && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if !plausible {
            return None;
        }
        let shown = self.shelf.get(Kind::Challenge, &http_id(host, token), now()).await.ok()??;
        String::from_utf8(shown.to_vec()).ok()
    }

    /// The TLS configuration for a handshake that looks for tls-alpn-01, and for nothing else.
    pub async fn tls(&self, name: &str) -> Option<Arc<ServerConfig>> {
        let name = name.to_ascii_lowercase();
        let digest = self.shelf.get(Kind::Challenge, &tls_id(&name), now()).await.ok()??;
        config_for(&name, &digest).inspect_err(|why| tracing::error!(why, "a challenge cannot be shown")).ok()
    }
}

/// Whether a handshake asks for a proof: it offers `acme-tls/1` and no other protocol (RFC 8737 section 3).
pub fn asks_for_proof(hello: &ClientHello<'_>) -> bool {
    let Some(mut offered) = hello.alpn() else { return false };
    offered.next() == Some(ALPN) && offered.next().is_none()
}

fn config_for(name: &str, digest: &[u8]) -> Result<Arc<ServerConfig>, String> {
    let said = |error: rcgen::Error| error.to_string();
    let key = KeyPair::generate().map_err(said)?;
    let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(said)?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key).map_err(said)?;
    let private = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let provider = Arc::new(crate::edge::profile::provider());
    let private = provider.key_provider.load_private_key(private).map_err(|error| error.to_string())?;
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?.with_no_client_auth();
    // Not `with_single_cert`: it reads the certificate, and refuses the critical extension that makes it a proof.
    let shown = CertifiedKey::new(vec![certificate.der().clone()], private);
    let mut config = config.with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

fn http_id(host: &str, token: &str) -> String {
    format!("http {} {token}", host.to_ascii_lowercase())
}

fn tls_id(name: &str) -> String {
    format!("tls {name}")
}

fn now() -> OffsetDateTime {
    crate::ca::moment(clock::now())
}
