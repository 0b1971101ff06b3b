//! Upstreams, one per route, made when the configuration is loaded: which server gets a request, and the engine's peer
//! for it.
//!
//! What makes a connection trustworthy (authority, pin, our own certificate) is in the key of its pool: pingora's own
//! key omits the authority, so that a peer with the wrong one would reuse a good connection.
use super::backend::{Backend, Chosen};
use super::patience::Patience;
use super::roots::SystemRoots;
use crate::edge::backlog::Backlog;
use crate::edge::trust::{TrustError, read_pem};
use crate::forward::Forward;
use pingora_core::protocols::ALPN;
use pingora_core::protocols::tls::CaType;
use pingora_core::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use pingora_core::utils::tls::{CertKey, WrappedX509, parse_x509};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use torhaus_authz::{Name, Timestamp};
use torhaus_config::{Balance, HealthCheck, Route, UpstreamScheme, UpstreamServer, UpstreamTls, UpstreamVerify};

/// Servers asked for one request, the first included. More than a handful of dead ones is no bad luck any more.
const MOST_TRIES: usize = 4;
/// Placeholder until a server is chosen; never connected to.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

#[derive(Debug, thiserror::Error)]
#[error("route `{route}`: {why}")]
pub struct UpstreamError {
    route: Name,
    why: TrustError,
}

/// The upstreams of all routes, by route name.
pub struct Upstreams {
    files: Arc<ByRoute>,
    added: ByRoute,
}

/// What was made for a route.
type ByRoute = HashMap<Name, (Arc<Route>, Arc<Upstream>)>;

pub struct Upstream {
    template: HttpPeer,
    /// Connections for upgrades are kept apart from the others.
    upgrade_key: u64,
    connect_timeout: Duration,
    /// Primary servers first.
    pub backends: Box<[Arc<Backend>]>,
    primary: usize,
    balance: Balance,
    turn: AtomicUsize,
    /// SHA-256 of the leaf that the server has to show.
    pub pin: Option<[u8; 32]>,
    pub health: Option<HealthCheck>,
}

impl Upstreams {
    /// What is known about servers that stay where they are is taken over.
    ///
    /// # Errors
    /// 1. a file of a route cannot be read; 2. a route needs the system's authorities, and there are none.
    pub fn build(routes: &[Arc<Route>], before: Option<&Self>) -> Result<Self, UpstreamError> {
        if let Some(route) = routes.iter().find(|route| needs_the_system(route))
            && !SystemRoots::load().found()
        {
            return Err(UpstreamError { route: route.name.clone(), why: TrustError::NoSystemAuthorities });
        }
        let mut files = ByRoute::new();
        for route in routes {
            let before = before.and_then(|before| before.of(&route.name));
            let built = Upstream::build(route, before.map(Arc::as_ref))
                .map_err(|why| UpstreamError { route: route.name.clone(), why })?;
            files.extend(built.map(|upstream| (route.name.clone(), (route.clone(), Arc::new(upstream)))));
        }
        Ok(Self { files: Arc::new(files), added: ByRoute::new() })
    }

    /// The same with those of other routes besides. One that cannot be made leaves its route without: no other suffers.
    pub fn with(&self, routes: &[Arc<Route>], before: Option<&Self>) -> Self {
        let mut added = ByRoute::with_capacity(routes.len());
        for route in routes {
            if added.contains_key(&route.name) {
                continue;
            }
            let known = before.and_then(|before| before.added.get(&route.name));
            let built = match known {
                Some((same, upstream)) if Arc::ptr_eq(same, route) => Some(upstream.clone()),
                known => match Upstream::build(route, known.map(|(_, upstream)| &**upstream)) {
                    Ok(built) => built.map(Arc::new),
                    Err(error) => {
                        tracing::warn!(route = &*route.name, %error, "an added route has no upstream");
                        None
                    }
                },
            };
            added.extend(built.map(|upstream| (route.name.clone(), (route.clone(), upstream))));
        }
        Self { files: self.files.clone(), added }
    }

    /// The only way of a request to an upstream: a permit.
    pub fn for_request(&self, forward: &Forward) -> Option<&Arc<Upstream>> {
        self.of(&forward.route.name)
    }

    fn of(&self, route: &Name) -> Option<&Arc<Upstream>> {
        self.files.get(route).or_else(|| self.added.get(route)).map(|(_, upstream)| upstream)
    }

    /// Those whose servers are asked regularly how they are.
    pub fn probed(&self) -> impl Iterator<Item = (&Arc<Upstream>, &HealthCheck)> {
        let all = self.files.values().chain(self.added.values());
        all.filter_map(|(_, upstream)| Some((upstream, upstream.health.as_ref()?)))
    }
}

/// What a request needs of its connection.
#[derive(Clone, Copy, Debug)]
pub enum Manner<'a> {
    Plain,
    /// Parts of the answer may be hours apart: server-sent events, gRPC.
    Stream,
    /// Another protocol takes over; what the caller says in it counts there until it is sent.
    Upgrade(&'a Arc<Backlog>),
}

impl Upstream {
    fn build(route: &Route, before: Option<&Self>) -> Result<Option<Self>, TrustError> {
        let Some(upstream) = &route.upstream else { return Ok(None) };
        let mut peer = HttpPeer::new(NOWHERE, upstream.scheme.is_tls(), String::new());
        let mut trust = DefaultHasher::new();
        let mut pin = None;
        if let Some(tls) = &upstream.tls {
            pin = believe(&mut peer, tls, &mut trust)?;
        }
        peer.group_key = trust.finish();
        9u8.hash(&mut trust);
        let upgrade_key = trust.finish();
        peer.options.alpn = match upstream.scheme {
            UpstreamScheme::H2c | UpstreamScheme::H2 => ALPN::H2,
            UpstreamScheme::Http | UpstreamScheme::Https => ALPN::H1,
        };
        peer.options.connection_timeout = Some(upstream.connect_timeout);
        peer.options.total_connection_timeout = Some(upstream.connect_timeout.saturating_mul(2));
        peer.options.read_timeout = upstream.response_timeout;
        peer.options.write_timeout = upstream.response_timeout;
        peer.options.idle_timeout = Some(route.takes.keep_alive);
        peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::standard();
        let server_name = upstream.tls.as_ref().and_then(|tls| tls.server_name.as_deref());
        let backend = |server: &UpstreamServer| {
            let known = before.and_then(|before| before.backends.iter().find(|known| known.server == *server));
            Arc::new(Backend::new(server, upstream.scheme, server_name, known.map(Arc::as_ref)))
        };
        Ok(Some(Self {
            template: peer,
            upgrade_key,
            connect_timeout: upstream.connect_timeout,
            backends: upstream.primary.iter().chain(&upstream.standby).map(backend).collect(),
            primary: upstream.primary.len(),
            balance: upstream.balance,
            turn: AtomicUsize::new(0),
            pin,
            health: upstream.health.clone(),
        }))
    }

    /// A server for a request: a primary one that is well, else a standby that is, else whichever was not tried yet,
    /// so that a gate that believes all of them dead still asks.
    pub fn choose<'a>(&'a self, affinity: u64, tried: &[Arc<Backend>], now: Timestamp) -> Option<Chosen> {
        if let [only] = &*self.backends {
            return Some(Chosen::new(only.clone()));
        }
        let (primary, standby) = self.backends.split_at_checked(self.primary)?;
        let untried = |backend: &&Arc<Backend>| !tried.iter().any(|other| Arc::ptr_eq(other, backend));
        let well = |backend: &&Arc<Backend>| backend.is_well(now);
        let groups = [(primary, true), (standby, true), (&*self.backends, false)];
        let left_of = |(group, must_be_well): (&'a [Arc<Backend>], bool)| -> Vec<&'a Arc<Backend>> {
            group.iter().filter(untried).filter(|backend| !must_be_well || well(backend)).collect()
        };
        let candidates = groups.into_iter().map(left_of).find(|group| !group.is_empty());
        let candidates = candidates.unwrap_or_else(|| self.backends.iter().collect());
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        pick(&candidates, self.balance, affinity, turn).map(|backend| Chosen::new(backend.clone()))
    }

    /// Whether another server may be asked after one could not be reached.
    pub fn may_try_again(&self, tried: &[Arc<Backend>]) -> bool {
        tried.len() < self.backends.len().min(MOST_TRIES)
    }

    /// The engine's peer for a server; none if its name does not resolve.
    pub async fn peer(&self, backend: &Backend, manner: Manner<'_>) -> Option<Box<HttpPeer>> {
        let mut peer = Box::new(self.template.clone());
        peer._address = backend.address().await?;
        peer.sni.clone_from(&backend.server_name);
        if !matches!(manner, Manner::Plain) {
            // It may be silent for hours; it ends with its session.
            peer.options.read_timeout = None;
            peer.options.write_timeout = None;
        }
        if let Manner::Upgrade(backlog) = manner {
            let patience = Patience { connect_timeout: self.connect_timeout, backlog: Arc::clone(backlog) };
            peer.options.custom_l4 = Some(Arc::new(patience));
            peer.options.idle_timeout = Some(Duration::ZERO);
            peer.group_key = self.upgrade_key;
        }
        Some(peer)
    }
}

/// One of those that may be asked.
fn pick<'a>(candidates: &[&'a Arc<Backend>], balance: Balance, affinity: u64, turn: usize) -> Option<&'a Arc<Backend>> {
    let first = turn.checked_rem(candidates.len())?;
    let around = candidates.iter().cycle().skip(first).take(candidates.len());
    match balance {
        Balance::RoundRobin => around.copied().next(),
        // Among equals whose turn it is.
        Balance::LeastConnections => around.copied().min_by_key(|backend| backend.open()),
        // Rendezvous hashing (Thaler and Ravishankar, 1998): each server bids, the highest bid wins.
        Balance::Sticky => candidates.iter().copied().max_by_key(|backend| {
            let mut bid = DefaultHasher::new();
            (affinity, &backend.server).hash(&mut bid);
            bid.finish()
        }),
    }
}

fn needs_the_system(route: &Route) -> bool {
    let tls = route.upstream.as_ref().and_then(|upstream| upstream.tls.as_ref());
    tls.is_some_and(|tls| matches!(tls.verify, UpstreamVerify::System))
}

/// Sets how the server is believed and what we show it, all of it in the hash; the pin, if it is one.
fn believe(peer: &mut HttpPeer, tls: &UpstreamTls, trust: &mut DefaultHasher) -> Result<Option<[u8; 32]>, TrustError> {
    let mut pin = None;
    match &tls.verify {
        UpstreamVerify::System => 1u8.hash(trust),
        UpstreamVerify::CaFile(path) => {
            let authorities = read_pem::<CertificateDer<'static>>(path)?;
            (2u8, authorities.iter().map(|der| der.as_ref()).collect::<Vec<_>>()).hash(trust);
            let parsed: Vec<_> = authorities.iter().map(|der| WrappedX509::new(der.to_vec(), parse_x509)).collect();
            let authorities: Arc<CaType> = parsed.into();
            peer.options.ca = Some(authorities);
        }
        UpstreamVerify::CaPem(pem) => {
            (2u8, pem).hash(trust);
            let authorities = CertificateDer::pem_slice_iter(pem.as_bytes());
            // One that cannot be read believes nobody.
            let parsed: Vec<_> = authorities.flatten().map(|der| WrappedX509::new(der.to_vec(), parse_x509)).collect();
            let authorities: Arc<CaType> = parsed.into();
            peer.options.ca = Some(authorities);
        }
        UpstreamVerify::Pin(sha256) => {
            (3u8, sha256).hash(trust);
            // The pin is compared in `connected_to_upstream`, before any byte of the request is sent.
            peer.options.verify_cert = false;
            peer.options.verify_hostname = false;
            pin = Some(*sha256);
        }
        UpstreamVerify::DangerNone => {
            4u8.hash(trust);
            peer.options.verify_cert = false;
            peer.options.verify_hostname = false;
        }
    }
    if let Some(pair) = &tls.client {
        let chain: Vec<Vec<u8>> =
            read_pem::<CertificateDer<'static>>(&pair.cert_file)?.iter().map(|der| der.to_vec()).collect();
        let key = PrivateKeyDer::from_pem_file(&pair.key_file)
            .map_err(|why| TrustError::File { path: pair.key_file.clone(), why: why.to_string() })?;
        (5u8, &chain).hash(trust);
        peer.client_cert_key = Some(Arc::new(CertKey::new(chain, key.secret_der().to_vec())));
    }
    Ok(pin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backends(count: u16) -> Vec<Arc<Backend>> {
        let server = |port| UpstreamServer::Tcp { host: "127.0.0.1".into(), port };
        (1..=count).map(|port| Arc::new(Backend::new(&server(port), UpstreamScheme::Http, None, None))).collect()
    }

    #[test]
    fn a_session_stays_with_its_server_and_moves_only_when_that_one_goes() {
        let all = backends(5);
        let every: Vec<_> = all.iter().collect();
        for affinity in 0..200 {
            let chosen = pick(&every, Balance::Sticky, affinity, 0).unwrap();
            assert!(Arc::ptr_eq(chosen, pick(&every, Balance::Sticky, affinity, 77).unwrap()));
            for gone in &all {
                let left: Vec<_> = all.iter().filter(|backend| !Arc::ptr_eq(backend, gone)).collect();
                let again = pick(&left, Balance::Sticky, affinity, 1).unwrap();
                assert!(Arc::ptr_eq(chosen, gone) || Arc::ptr_eq(chosen, again), "{affinity}");
            }
        }
        let used = |backend: &Arc<Backend>| {
            (0..200).any(|affinity| Arc::ptr_eq(backend, pick(&every, Balance::Sticky, affinity, 0).unwrap()))
        };
        assert!(all.iter().all(used), "every server has sessions");
    }

    #[test]
    fn turns_are_taken_and_the_least_busy_server_comes_first() {
        let all = backends(3);
        let every: Vec<_> = all.iter().collect();
        for turn in 0..9 {
            assert!(Arc::ptr_eq(&all[turn % 3], pick(&every, Balance::RoundRobin, 0, turn).unwrap()));
        }
        let (_one, _two) = (Chosen::new(all[0].clone()), Chosen::new(all[2].clone()));
        for turn in 0..9 {
            assert!(Arc::ptr_eq(&all[1], pick(&every, Balance::LeastConnections, 0, turn).unwrap()));
        }
        assert!(pick(&[], Balance::RoundRobin, 0, 5).is_none());
    }
}
