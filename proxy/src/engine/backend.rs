//! One server of an application: where it is, how it was last seen, and how busy we keep it.
use arc_swap::ArcSwapOption;
use pingora_core::protocols::l4::socket::SocketAddr;
use std::os::unix::net::SocketAddr as UnixAddress;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use torhaus_authz::Timestamp;
use torhaus_config::{UpstreamScheme, UpstreamServer};

/// How long a resolved name is believed. After a failure it is asked about at once.
const RESOLVE_EVERY_MILLIS: i64 = 30_000;
/// How long a server that could not be reached is left alone, unless a probe finds it well before.
const LEFT_ALONE_MILLIS: i64 = 5_000;
/// So many answers in a row that break off make a server as good as unreachable. One or two may be about the request: a
/// client that knows which of them an application dies of must not take it away from everybody.
const MOST_BROKEN: usize = 3;

pub struct Backend {
    pub server: UpstreamServer,
    /// SNI, and the name in its certificate; empty without TLS.
    pub server_name: String,
    /// `Host`, where it is not the caller's.
    pub own_host: String,
    resolved: ArcSwapOption<Vec<std::net::SocketAddr>>,
    resolved_at: AtomicI64,
    state: Arc<State>,
}

/// What is known of it; outlives a reload.
#[derive(Default)]
struct State {
    /// Which of its addresses is next; each failure moves on.
    next: AtomicUsize,
    left_alone_until: AtomicI64,
    probe_failed: AtomicBool,
    probed_at: AtomicI64,
    open: AtomicUsize,
    /// Answers that broke off, one after the other.
    broken: AtomicUsize,
}

impl Backend {
    /// `before`: the same server in the configuration before.
    pub fn new(
        server: &UpstreamServer,
        scheme: UpstreamScheme,
        server_name: Option<&str>,
        before: Option<&Self>,
    ) -> Self {
        let (host, own_host, literal) = match server {
            UpstreamServer::Unix(_) => ("localhost", "localhost".to_owned(), None),
            UpstreamServer::Tcp { host, port } => {
                let literal = host.parse().ok().map(|ip| Arc::new(vec![std::net::SocketAddr::new(ip, *port)]));
                let shown = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                let default_port = if scheme.is_tls() { 443 } else { 80 };
                let own_host = if *port == default_port { shown } else { format!("{shown}:{port}") };
                (host.as_str(), own_host, literal)
            }
        };
        let server_name = if scheme.is_tls() { server_name.unwrap_or(host).to_owned() } else { String::new() };
        let resolved_at = AtomicI64::new(if literal.is_some() { i64::MAX } else { i64::MIN });
        let state = before.map(|before| before.state.clone()).unwrap_or_default();
        Self {
            server: server.clone(),
            server_name,
            own_host,
            resolved: ArcSwapOption::new(literal),
            resolved_at,
            state,
        }
    }

    pub fn is_well(&self, now: Timestamp) -> bool {
        !self.state.probe_failed.load(Ordering::Relaxed)
            && self.state.left_alone_until.load(Ordering::Relaxed) <= now.millis()
    }

    /// Requests on their way.
    pub fn open(&self) -> usize {
        self.state.open.load(Ordering::Relaxed)
    }

    /// It was reached, and broke off without an answer.
    pub fn broke_off(&self, now: Timestamp) {
        if self.state.broken.fetch_add(1, Ordering::Relaxed) + 1 >= MOST_BROKEN {
            self.failed(now);
        }
    }

    /// It could not be reached.
    pub fn failed(&self, now: Timestamp) {
        self.state.left_alone_until.store(now.millis().saturating_add(LEFT_ALONE_MILLIS), Ordering::Relaxed);
        self.state.next.fetch_add(1, Ordering::Relaxed);
        if self.resolved_at.load(Ordering::Relaxed) != i64::MAX {
            self.resolved_at.store(i64::MIN, Ordering::Relaxed);
        }
    }

    pub fn answered(&self) {
        self.state.left_alone_until.store(i64::MIN, Ordering::Relaxed);
        self.state.broken.store(0, Ordering::Relaxed);
    }

    /// What a probe found. True if that is news.
    pub fn probed(&self, well: bool, now: Timestamp) -> bool {
        if well {
            self.answered();
        } else {
            self.failed(now);
        }
        self.state.probe_failed.swap(!well, Ordering::Relaxed) == well
    }

    /// Whether a probe is due; true once per turn.
    pub fn probe_is_due(&self, every_millis: i64, now: Timestamp) -> bool {
        let last = self.state.probed_at.load(Ordering::Relaxed);
        now.millis().saturating_sub(last) >= every_millis
            && self.state.probed_at.compare_exchange(last, now.millis(), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Where to connect; none if its name does not resolve.
    pub async fn address(&self) -> Option<SocketAddr> {
        if let UpstreamServer::Unix(path) = &self.server {
            return UnixAddress::from_pathname(path).ok().map(SocketAddr::Unix);
        }
        self.resolve_if_old().await;
        let addresses = self.resolved.load_full()?;
        let at = self.state.next.load(Ordering::Relaxed).checked_rem(addresses.len())?;
        addresses.get(at).copied().map(SocketAddr::Inet)
    }

    async fn resolve_if_old(&self) {
        let UpstreamServer::Tcp { host, port } = &self.server else { return };
        let resolved_at = self.resolved_at.load(Ordering::Relaxed);
        let now = crate::clock::now().millis();
        if resolved_at == i64::MAX || now < resolved_at.saturating_add(RESOLVE_EVERY_MILLIS) {
            return;
        }
        // One request asks; the others go on with what is known, if something is.
        let mine = self.resolved_at.compare_exchange(resolved_at, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if !mine && self.resolved.load().is_some() {
            return;
        }
        // The last good addresses stay when the resolver does not answer.
        match tokio::net::lookup_host((host.as_str(), *port)).await {
            Ok(found) => {
                let found: Vec<_> = found.collect();
                if !found.is_empty() {
                    self.resolved.store(Some(Arc::new(found)));
                }
            }
            Err(error) => tracing::warn!(host, %error, "cannot resolve an upstream"),
        }
    }
}

/// A server that was chosen for a request, which counts as open while this lives.
pub struct Chosen(pub Arc<Backend>);

impl Chosen {
    pub fn new(backend: Arc<Backend>) -> Self {
        backend.state.open.fetch_add(1, Ordering::Relaxed);
        Self(backend)
    }
}

impl Drop for Chosen {
    fn drop(&mut self) {
        self.0.state.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_left_alone_after_three_answers_in_a_row_that_broke_off() {
        let server = UpstreamServer::Tcp { host: "app.test".into(), port: 443 };
        let now = Timestamp::from_seconds(1_000);
        let backend = Backend::new(&server, UpstreamScheme::Https, None, None);
        backend.broke_off(now);
        backend.broke_off(now);
        backend.answered();
        backend.broke_off(now);
        backend.broke_off(now);
        assert!(backend.is_well(now));
        backend.broke_off(now);
        assert!(!backend.is_well(now));
    }

    #[test]
    fn a_server_that_failed_is_left_alone_and_a_reload_does_not_forget_it() {
        let server = UpstreamServer::Tcp { host: "app.test".into(), port: 443 };
        let now = Timestamp::from_seconds(1_000);
        let backend = Backend::new(&server, UpstreamScheme::Https, None, None);
        assert!(backend.is_well(now));
        backend.failed(now);
        let again = Backend::new(&server, UpstreamScheme::Https, Some("other.test"), Some(&backend));
        assert!(!backend.is_well(now) && !again.is_well(now));
        assert!(again.is_well(Timestamp::from_seconds(1_005)));
        assert_eq!((&*again.own_host, &*again.server_name), ("app.test", "other.test"));
        assert!(backend.probed(false, now), "news");
        assert!(!backend.probed(false, now));
        assert!(!again.is_well(Timestamp::from_seconds(2_000)), "until a probe finds it well");
        assert!(backend.probed(true, now));
        assert!(again.is_well(now));
    }
}
