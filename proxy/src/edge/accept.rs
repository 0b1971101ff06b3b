//! Listeners that come and go, and the way of a connection to the engine.
use crate::acme_client::challenges::{self, Challenges};
use crate::edge::client_hello::{self, HelloError};
use crate::edge::connection::{ConnectionInfo, TlsInfo};
use crate::edge::keep_alive;
use crate::edge::linger::linger;
use crate::edge::pace::{HeadBounds, Progress};
use crate::edge::proxy_protocol::{self, HeaderError};
use crate::edge::shares::{self, Bounds, Shares};
use crate::edge::stream::{Cutter, GateStream};
use crate::edge::tls::{ListenerTls, TlsTable, fingerprint};
use crate::metrics::{self, ListenerMetrics, Metrics};
use crate::systemd::Inherited;
use arc_swap::ArcSwap;
use ipnet::IpNet;
use pingora_core::apps::HttpServerApp;
use pingora_core::server::ShutdownWatch;
use rustls::HandshakeKind;
use rustls::server::Accepted;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::StartHandshake;
use torhaus_authz::Name;
use torhaus_config::{Listener, ListenerKind};

/// Between "stop accepting" and "refuse new requests": what was accepted a moment ago gets to send its first request, and
/// busy clients are told to leave (`Gate::leaving`) before idle connections are closed under them.
/// Measured: 1 lost request in 346 without it, 0 in 1,156 with it.
const SETTLE: Duration = Duration::from_millis(1500);
/// Pause after a failed accept (out of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a refused client may take to read why: it has a place among the handshakes meanwhile.
const LINGER: Duration = Duration::from_millis(500);

/// Where somebody is who cannot be told: in no zone's network, and nobody's address.
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

/// What connections need of the current configuration.
#[derive(Clone)]
pub struct EdgeSettings {
    pub tls: TlsTable,
    /// Where a server of certificates may look for what proves our names.
    pub challenges: Option<Arc<Challenges>>,
    /// Only their PROXY headers are read; anybody else on a PROXY listener is hung up on.
    pub trusted_proxies: Vec<IpNet>,
    pub handshake_timeout: Duration,
    pub max_connections: usize,
    pub shares: Bounds,
    /// Between two requests.
    pub idle_timeout: Duration,
    /// Of the head of a request.
    pub header_timeout: Duration,
    pub max_header_bytes: usize,
}

/// The connection layer in front of an engine (pingora's `HttpProxy`, or any other [`HttpServerApp`]).
pub struct Edge<E> {
    engine: Arc<E>,
    settings: ArcSwap<EdgeSettings>,
    metrics: Arc<Metrics>,
    open: AtomicUsize,
    shares: Arc<Shares>,
    stopping: tokio::sync::watch::Sender<bool>,
}

/// The listeners that are open, by name.
#[derive(Default)]
pub struct Listeners {
    open: HashMap<Name, Open>,
    /// Sockets that the service manager opened; the first listener of an address takes it.
    inherited: Inherited,
}

struct Open {
    listener: Listener,
    socket: Arc<TcpListener>,
    task: JoinHandle<()>,
}

impl Open {
    /// Whether it is already what is wanted.
    fn serves(&self, wanted: &Listener) -> bool {
        self.listener.address == wanted.address
            && self.listener.proxy_protocol == wanted.proxy_protocol
            && kind_of(&self.listener) == kind_of(wanted)
    }

    /// Port 0: the system chose one, for this listener only.
    fn is_ephemeral(&self) -> bool {
        self.listener.address.port() == 0
    }
}

impl<E: HttpServerApp + Send + Sync + 'static> Edge<E> {
    pub fn new(engine: Arc<E>, settings: EdgeSettings, metrics: Arc<Metrics>) -> Arc<Self> {
        let stopping = tokio::sync::watch::Sender::new(false);
        Arc::new(Self {
            engine,
            settings: ArcSwap::from_pointee(settings),
            metrics,
            open: AtomicUsize::new(0),
            shares: Arc::default(),
            stopping,
        })
    }

    /// New connections use these from now on; returns those before.
    pub fn apply(&self, settings: EdgeSettings) -> Arc<EdgeSettings> {
        self.settings.swap(Arc::new(settings))
    }

    /// What new connections use now.
    pub fn settings(&self) -> Arc<EdgeSettings> {
        self.settings.load_full()
    }

    /// Back to earlier settings.
    pub fn restore(&self, settings: Arc<EdgeSettings>) {
        self.settings.store(settings);
    }

    /// Opens and closes listeners so that they are those of `wanted`. New sockets are bound before any is closed:
    /// if one cannot be had, nothing has changed.
    ///
    /// # Errors
    /// An address cannot be bound; says which.
    pub async fn listen(self: &Arc<Self>, open: &mut Listeners, wanted: &[Listener]) -> io::Result<()> {
        let mut next = HashMap::new();
        for listener in wanted {
            let before = open.open.values().find(|old| old.listener.address == listener.address && !old.is_ephemeral());
            let before = open.open.get(&listener.name).filter(|old| old.serves(listener)).or(before);
            // An address that stays keeps its socket, whatever else changes: nobody is turned away.
            let socket = match before {
                Some(old) => old.socket.clone(),
                None => Arc::new(match open.inherited.at(listener.address) {
                    Some(inherited) => TcpListener::from_std(inherited)?,
                    None => bind(listener.address).await?,
                }),
            };
            next.insert(listener.name.clone(), (listener, socket));
        }
        for (name, (listener, socket)) in next {
            if open.open.get(&name).is_some_and(|old| old.serves(listener) && Arc::ptr_eq(&old.socket, &socket)) {
                continue;
            }
            let task = tokio::spawn(self.clone().accept_loop(listener.clone(), socket.clone()));
            let opened = Open { listener: listener.clone(), socket, task };
            if let Some(old) = open.open.insert(name, opened) {
                old.task.abort();
            }
        }
        open.open.retain(|name, old| {
            let keep = wanted.iter().any(|listener| listener.name == *name);
            if !keep {
                old.task.abort();
            }
            keep
        });
        Ok(())
    }

    /// Stops accepting, lets what runs finish for at most `patience`, and returns how many connections were left.
    pub async fn drain(&self, open: &mut Listeners, patience: Duration) -> usize {
        for (_, old) in open.open.drain() {
            old.task.abort();
        }
        tokio::time::sleep(SETTLE).await;
        self.stopping.send_replace(true);
        self.engine.http_cleanup().await;
        let gone = async {
            while self.open.load(Ordering::Acquire) > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        // Whether in time or not: the count says it.
        let _ = tokio::time::timeout(patience, gone).await;
        self.open.load(Ordering::Acquire)
    }

    async fn accept_loop(self: Arc<Self>, listener: Listener, socket: Arc<TcpListener>) {
        let listener = Arc::new(listener);
        let metrics = Arc::new(self.metrics.listener(&listener.name));
        loop {
            let Ok((stream, peer)) = socket.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            metrics.accepted.inc();
            let settings = self.settings.load_full();
            if self.open.fetch_add(1, Ordering::AcqRel) >= settings.max_connections {
                self.open.fetch_sub(1, Ordering::AcqRel);
                metrics.refused("too many connections");
                continue;
            }
            let (edge, listener, metrics) = (self.clone(), listener.clone(), metrics.clone());
            tokio::spawn(async move {
                let _counted = metrics::Open::new(&metrics.open);
                let slot = Slot(edge);
                let shutdown = slot.0.stopping.subscribe();
                slot.0.serve(&listener, stream, peer, settings, &shutdown, &metrics).await;
            });
        }
    }

    async fn serve(
        &self,
        listener: &Listener,
        stream: TcpStream,
        peer: SocketAddr,
        settings: Arc<EdgeSettings>,
        shutdown: &ShutdownWatch,
        metrics: &Arc<ListenerMetrics>,
    ) {
        // A response's head and tail are separate writes; waiting for acknowledgements in between costs 40 ms.
        let _ = stream.set_nodelay(true);
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        // On the heap, so that what a handshake needs is freed with its end and not with the connection's.
        let prepared = Box::pin(self.prepare(listener, stream, peer, &settings, metrics));
        match tokio::time::timeout(settings.handshake_timeout, prepared).await {
            Ok(Ok((stream, _share))) => {
                let idle = settings.idle_timeout;
                drop(settings);
                keep_alive::serve(&self.engine, stream, idle, shutdown).await;
            }
            Ok(Err(error)) => {
                error.count(metrics);
                tracing::debug!(listener = &*listener.name, %peer, %error, "connection refused");
            }
            Err(_) => {
                metrics.handshake_failed("too slow");
                tracing::debug!(listener = &*listener.name, %peer, "handshake took too long");
            }
        }
    }

    async fn prepare(
        &self,
        listener: &Listener,
        mut stream: TcpStream,
        peer: SocketAddr,
        settings: &EdgeSettings,
        metrics: &Arc<ListenerMetrics>,
    ) -> Result<(GateStream, Option<shares::Place>), Refused> {
        let local_port = stream.local_addr()?.port();
        let is_proxy = settings.trusted_proxies.iter().any(|network| network.contains(&peer.ip()));
        let mut client = peer;
        if listener.proxy_protocol {
            if !is_proxy {
                return Err(Refused::UntrustedProxy);
            }
            client = match proxy_protocol::read(&mut stream).await? {
                Some(told) => SocketAddr::new(told.ip().to_canonical(), told.port()),
                // It says that it does not know, or speaks for itself: its own address, which may well lie in a zone
                // that opens more, is not the caller's.
                None => NOBODY,
            };
        }
        // A proxy that names no caller has many behind it.
        let anonymous = client == NOBODY || (is_proxy && client == peer);
        let share = match anonymous {
            true => None,
            false => Some(self.shares.connection(client.ip(), settings.shares).ok_or(Refused::ShareOfConnections)?),
        };
        let bounds = HeadBounds {
            timeout: settings.header_timeout,
            header_bytes: settings.max_header_bytes,
            metrics: metrics.clone(),
        };
        let mut info = ConnectionInfo {
            listener: listener.name.clone(),
            client,
            peer,
            local_port,
            tls: None,
            cutter: Cutter::default(),
            progress: Progress::default(),
            backlog: Arc::default(),
            origin: OnceLock::new(),
        };
        let tls = match listener.kind {
            ListenerKind::RedirectToHttps => return Ok((GateStream::plain(stream, Arc::new(info), bounds)?, share)),
            ListenerKind::Tls { .. } => settings.tls.get(&listener.name).ok_or(Refused::UnknownName)?,
        };
        let (stream, tls) = self.handshake(stream, tls, client.ip(), settings).await?;
        info.tls = Some(tls);
        Ok((GateStream::tls(stream, Arc::new(info), bounds)?, share))
    }

    async fn handshake(
        &self,
        mut stream: TcpStream,
        tls: &ListenerTls,
        client: IpAddr,
        settings: &EdgeSettings,
    ) -> Result<(tokio_rustls::server::TlsStream<TcpStream>, TlsInfo), Refused> {
        let accepted = client_hello::read(&mut stream).await?;
        // From here on it costs us work. Who says nothing takes a connection, and no handshake of somebody else.
        let _place = self.shares.handshake(client, settings.shares).ok_or(Refused::ShareOfHandshakes)?;
        if let Some(challenges) = &settings.challenges
            && challenges::asks_for_proof(&accepted.client_hello())
        {
            return Err(prove(accepted, stream, challenges).await);
        }
        let Some((server_name, group, config)) = tls.pick(&accepted.client_hello()) else {
            client_hello::refuse_name(&mut stream).await;
            return Err(Refused::UnknownName);
        };
        let handshake = StartHandshake::from_parts(accepted, stream).into_stream(config).into_fallible();
        let stream = match handshake.await {
            Ok(stream) => stream,
            Err((error, stream)) => {
                let_read(stream).await;
                return Err(error.into());
            }
        };
        let session = stream.get_ref().1;
        let resumed = matches!(session.handshake_kind(), Some(HandshakeKind::Resumed));
        let peer_chain: Vec<_> =
            session.peer_certificates().unwrap_or_default().iter().map(|c| c.clone().into_owned()).collect();
        let info = TlsInfo {
            server_name,
            group,
            peer_sha256: peer_chain.first().map(fingerprint),
            peer_chain,
            version: session.protocol_version().and_then(|v| v.as_str()).unwrap_or("unknown"),
            cipher: session.negotiated_cipher_suite().and_then(|s| s.suite().as_str()).unwrap_or("unknown"),
            key_exchange: session
                .negotiated_key_exchange_group()
                .map(|g| format!("{:?}", g.name()))
                .unwrap_or_default(),
            alpn: if session.alpn_protocol() == Some(b"h2") { "h2" } else { "http/1.1" },
            resumed,
        };
        Ok((stream, info))
    }
}

impl Listeners {
    /// None is open yet; addresses that the service manager opened are taken over.
    pub fn inheriting(inherited: Inherited) -> Self {
        Self { open: HashMap::new(), inherited }
    }

    /// Sockets of the service manager that no listener of the configuration has asked for.
    pub fn unclaimed(&self) -> impl Iterator<Item = SocketAddr> {
        self.inherited.left()
    }

    /// The sockets themselves, to be handed on.
    pub fn sockets(&self) -> Vec<Arc<TcpListener>> {
        self.open.values().map(|open| open.socket.clone()).collect()
    }

    /// Where each listener really is: tests ask for port 0.
    pub fn addresses(&self) -> impl Iterator<Item = (&Name, SocketAddr)> {
        self.open.iter().filter_map(|(name, open)| Some((name, open.socket.local_addr().ok()?)))
    }
}

/// One of the connections that may be open. Given back even if the engine panics.
struct Slot<E>(Arc<Edge<E>>);

impl<E> Drop for Slot<E> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("not a trusted proxy, but the listener expects the PROXY protocol")]
    UntrustedProxy,
    #[error("this address has as many connections as one may have")]
    ShareOfConnections,
    #[error("too many handshakes under way")]
    ShareOfHandshakes,
    #[error(transparent)]
    ProxyHeader(#[from] HeaderError),
    #[error(transparent)]
    Hello(#[from] HelloError),
    #[error("no certificate for the name asked for, or no name")]
    UnknownName,
    #[error("it was shown what proves a name, and nothing else")]
    Proved,
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Refused {
    fn count(&self, metrics: &ListenerMetrics) {
        match self {
            Self::UntrustedProxy => metrics.refused("not a trusted proxy"),
            Self::ShareOfConnections => metrics.refused("too many connections of an address"),
            Self::ShareOfHandshakes => metrics.refused("too many handshakes"),
            Self::ProxyHeader(_) => metrics.refused("bad PROXY header"),
            Self::UnknownName => metrics.handshake_failed("unknown name"),
            Self::Proved => metrics.refused("tls-alpn-01"),
            Self::Hello(_) => metrics.handshake_failed("no ClientHello"),
            Self::Io(_) => metrics.handshake_failed("handshake"),
        }
    }
}

/// RFC 8737 section 3: the handshake is the whole answer, and no request follows.
async fn prove(accepted: Accepted, mut stream: TcpStream, challenges: &Challenges) -> Refused {
    let name = accepted.client_hello().server_name().map(str::to_owned);
    let config = match name {
        Some(name) => challenges.tls(&name).await,
        None => None,
    };
    let Some(config) = config else {
        client_hello::refuse_name(&mut stream).await;
        return Refused::UnknownName;
    };
    match StartHandshake::from_parts(accepted, stream).into_stream(config).await {
        Ok(mut stream) => {
            // Whether it waited for the end or not.
            let _ = tokio::time::timeout(LINGER, stream.shutdown()).await;
            Refused::Proved
        }
        Err(error) => error.into(),
    }
}

fn kind_of(listener: &Listener) -> &'static str {
    match listener.kind {
        ListenerKind::Tls { .. } => "tls",
        ListenerKind::RedirectToHttps => "plain",
    }
}

/// Lets the client read our alert. It may have sent its request already (TLS 1.3 clients do); closing with that unread
/// would reset the connection, and all it would ever learn is "connection reset" instead of "certificate expired".
async fn let_read(mut stream: TcpStream) {
    // A client that is gone reads nothing.
    if stream.shutdown().await.is_ok() {
        let _ = tokio::time::timeout(LINGER, linger(&mut stream)).await;
    }
}

async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {address}: {e}")))
}
