//! What the gate may know about a connection: who called which listener, and what TLS proved.
use crate::edge::backlog::Backlog;
use crate::edge::pace::Progress;
use crate::edge::stream::Cutter;
use crate::edge::tls::Group;
use http::{HeaderName, HeaderValue};
use rustls::pki_types::CertificateDer;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use torhaus_authz::Name;

/// Headers ready to be set.
pub type Headers = Arc<[(HeaderName, HeaderValue)]>;

/// One connection, as it stays for all its requests.
#[derive(Debug)]
pub struct ConnectionInfo {
    /// Name of the listener.
    pub listener: Name,
    /// The caller: from the PROXY header of a trusted peer, else the socket's peer.
    pub client: SocketAddr,
    /// The socket's peer, which may be a load balancer.
    pub peer: SocketAddr,
    /// The port of ours that was connected to.
    pub local_port: u16,
    /// None on the plain listener.
    pub tls: Option<TlsInfo>,
    /// Ends the connection from outside, whatever it is doing.
    pub cutter: Cutter,
    /// Which part of a request is under way.
    pub progress: Progress,
    /// Of an upgraded connection.
    pub backlog: Arc<Backlog>,
    /// What applications are told about where this comes from.
    pub origin: OnceLock<Origin>,
}

/// Headers about where a connection comes from, made for the host and port that it asked for first.
#[derive(Debug)]
pub struct Origin {
    pub host: Box<str>,
    pub port: Option<u16>,
    pub headers: Headers,
}

#[derive(Debug)]
pub struct TlsInfo {
    /// Lower case, as the ClientHello said.
    pub server_name: String,
    /// The hosts that may be asked for on this connection: those with this SNI's client authentication.
    pub group: Arc<Group>,
    /// Leaf first; empty if no certificate was presented. Possession of the key is proven, trust is not:
    /// [`crate::edge::trust`] judges the chain on every request, so that what was revoked or expired since counts.
    pub peer_chain: Vec<CertificateDer<'static>>,
    /// SHA-256 of the leaf, lower-case hex.
    pub peer_sha256: Option<Arc<str>>,
    pub version: &'static str,
    pub cipher: &'static str,
    /// Key exchange group, `X25519MLKEM768` where the client can.
    pub key_exchange: String,
    pub alpn: &'static str,
    pub resumed: bool,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn plain_connection() -> Arc<ConnectionInfo> {
        let caller = SocketAddr::from(([127, 0, 0, 1], 50_000));
        Arc::new(ConnectionInfo {
            listener: "test".into(),
            client: caller,
            peer: caller,
            local_port: 443,
            tls: None,
            cutter: Cutter::default(),
            progress: Progress::default(),
            backlog: Arc::default(),
            origin: OnceLock::new(),
        })
    }
}
