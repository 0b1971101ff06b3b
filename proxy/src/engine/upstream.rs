//! Upstream peers, one per route, made when the configuration is loaded.
//!
//! What makes a connection trustworthy (authority, pin, name) is in the key of its pool: pingora's own key omits the
//! authority, so that a peer with the wrong one would reuse a good connection.
use arc_swap::ArcSwapOption;
use pingora_core::protocols::ALPN;
use pingora_core::protocols::tls::CaType;
use pingora_core::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use pingora_core::utils::tls::{WrappedX509, parse_x509};
use rustls::pki_types::CertificateDer;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use torhaus_authz::Name;
use torhaus_config::{Route, UpstreamScheme, UpstreamVerify};

use super::patience::Patience;
use crate::edge::trust::{TrustError, read_pem};
use crate::forward::Forward;

/// Connections of one route to one server kept idle no longer than this; servers close theirs after 60 to 75 s.
const UPSTREAM_IDLE: Duration = Duration::from_secs(55);
/// How long a resolved name is believed.
const RESOLVE_EVERY_MILLIS: u64 = 30_000;
/// Placeholder until a name is resolved; never connected to.
const UNRESOLVED: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

#[derive(Debug, thiserror::Error)]
#[error("route `{route}`: {why}")]
pub struct UpstreamError {
    route: Name,
    why: TrustError,
}

/// The peers of all routes, by route name.
pub struct Upstreams(HashMap<Name, Arc<Upstream>>);

pub struct Upstream {
    template: HttpPeer,
    /// For upgrades: connections of their own, kept apart from the others.
    patience: Arc<Patience>,
    upgrade_key: u64,
    /// Host and port as configured; resolved now and then if it is a name.
    host: String,
    port: u16,
    address: ArcSwapOption<SocketAddr>,
    resolved_at: AtomicU64,
    /// SHA-256 of the leaf that the server has to show.
    pub pin: Option<[u8; 32]>,
    /// `Host` for the application if not the caller's.
    pub own_host: Option<String>,
}

impl Upstreams {
    /// # Errors
    /// The CA file of a route cannot be read.
    pub fn build(routes: &[Arc<Route>]) -> Result<Self, UpstreamError> {
        let build = |route: &Arc<Route>| {
            let upstream = Upstream::build(route).map_err(|why| UpstreamError { route: route.name.clone(), why })?;
            Ok((route.name.clone(), Arc::new(upstream)))
        };
        routes.iter().map(build).collect::<Result<_, _>>().map(Self)
    }

    /// The only way to an upstream: a permitted request.
    pub fn for_request(&self, forward: &Forward) -> Option<&Arc<Upstream>> {
        self.0.get(&forward.route.name)
    }
}

impl Upstream {
    fn build(route: &Route) -> Result<Self, TrustError> {
        let upstream = &route.upstream;
        let literal = upstream.host.trim_matches(['[', ']']).parse().ok().map(|ip| SocketAddr::new(ip, upstream.port));
        let server_name = upstream.tls.as_ref().map(|tls| tls.server_name.clone()).unwrap_or_default();
        let mut peer =
            HttpPeer::new(literal.unwrap_or(UNRESOLVED), upstream.scheme == UpstreamScheme::Https, server_name);
        let mut trust = DefaultHasher::new();
        let mut pin = None;
        match upstream.tls.as_ref().map(|tls| &tls.verify) {
            None => {}
            Some(UpstreamVerify::System) => 1u8.hash(&mut trust),
            Some(UpstreamVerify::CaFile(path)) => {
                let authorities = read_pem::<CertificateDer<'static>>(path)?;
                (2u8, authorities.iter().map(|der| der.as_ref()).collect::<Vec<_>>()).hash(&mut trust);
                let parsed: Vec<_> = authorities.iter().map(|der| WrappedX509::new(der.to_vec(), parse_x509)).collect();
                let authorities: Arc<CaType> = parsed.into();
                peer.options.ca = Some(authorities);
            }
            Some(UpstreamVerify::Pin(sha256)) => {
                (3u8, sha256).hash(&mut trust);
                // The pin is compared in `connected_to_upstream`, before any byte of the request is sent.
                peer.options.verify_cert = false;
                peer.options.verify_hostname = false;
                pin = Some(*sha256);
            }
            Some(UpstreamVerify::DangerNone) => {
                4u8.hash(&mut trust);
                peer.options.verify_cert = false;
                peer.options.verify_hostname = false;
            }
        }
        peer.group_key = trust.finish();
        9u8.hash(&mut trust);
        let upgrade_key = trust.finish();
        peer.options.alpn = match upstream.scheme {
            UpstreamScheme::H2c => ALPN::H2,
            UpstreamScheme::Http | UpstreamScheme::Https => ALPN::H1,
        };
        peer.options.connection_timeout = Some(upstream.connect_timeout);
        peer.options.total_connection_timeout = Some(upstream.connect_timeout.saturating_mul(2));
        peer.options.read_timeout = upstream.response_timeout;
        peer.options.idle_timeout = Some(UPSTREAM_IDLE);
        peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::standard();
        let own_host = (!route.preserve_host).then(|| match (upstream.scheme, upstream.port) {
            (UpstreamScheme::Https, 443) | (UpstreamScheme::Http | UpstreamScheme::H2c, 80) => upstream.host.clone(),
            (_, port) => format!("{}:{port}", upstream.host),
        });
        Ok(Self {
            template: peer,
            patience: Arc::new(Patience { connect_timeout: upstream.connect_timeout }),
            upgrade_key,
            host: upstream.host.clone(),
            port: upstream.port,
            address: ArcSwapOption::new(literal.map(Arc::new)),
            resolved_at: AtomicU64::new(if literal.is_some() { u64::MAX } else { 0 }),
            pin,
            own_host,
        })
    }

    /// The peer to connect to; none if its name does not resolve.
    pub async fn peer(&self, streaming: bool) -> Option<Box<HttpPeer>> {
        self.resolve_if_old().await;
        let address = *self.address.load_full()?;
        let mut peer = Box::new(self.template.clone());
        peer._address = pingora_core::protocols::l4::socket::SocketAddr::Inet(address);
        if streaming {
            // A WebSocket may be silent for hours; it ends with its session.
            peer.options.read_timeout = None;
            peer.options.custom_l4 = Some(Arc::clone(&self.patience) as _);
            peer.options.idle_timeout = Some(Duration::ZERO);
            peer.group_key = self.upgrade_key;
        }
        Some(peer)
    }

    async fn resolve_if_old(&self) {
        let resolved_at = self.resolved_at.load(Ordering::Relaxed);
        if resolved_at == u64::MAX {
            return;
        }
        let now = u64::try_from(crate::clock::now().millis()).unwrap_or(0);
        if now < resolved_at.saturating_add(RESOLVE_EVERY_MILLIS)
            || self.resolved_at.compare_exchange(resolved_at, now, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return;
        }
        // The last good address stays when the resolver does not answer.
        match tokio::net::lookup_host((self.host.as_str(), self.port)).await {
            Ok(mut found) => {
                if let Some(address) = found.next() {
                    self.address.store(Some(Arc::new(address)));
                }
            }
            Err(error) => tracing::warn!(host = self.host, %error, "cannot resolve an upstream"),
        }
    }
}
