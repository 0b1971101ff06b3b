//! The same connection layer and engine as Torhaus, with no gate behind them: what `make bench` measures the gate
//! against. Terminates mTLS and forwards everything to one upstream.
use async_trait::async_trait;
use clap::Parser;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{HttpProxy, ProxyHttp, Session};
use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use torhaus::audit::access::AccessLog;
use torhaus::audit::lines::Target;
use torhaus::edge::accept::{Edge, EdgeSettings, Listeners};
use torhaus::edge::shares::Bounds;
use torhaus::edge::tls::{Groups, ListenerTls};
use torhaus::edge::trust::{OwnAuthorities, TrustDomains};
use torhaus::metrics::Metrics;
use torhaus_config::{CertificateFiles, ClientAuth, ClientAuthMode, Listener, ListenerKind, TrustDomain, Vouches};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Args {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    upstream: SocketAddr,
    #[arg(long)]
    cert: PathBuf,
    #[arg(long)]
    key: PathBuf,
    #[arg(long)]
    client_ca: PathBuf,
}

struct Bare(SocketAddr);

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    fn init_downstream_modules(&self, _modules: &mut pingora_core::modules::http::HttpModules) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> pingora_core::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let args = Args::parse();
    let name: Arc<str> = "bench".into();
    let domain = TrustDomain {
        name: name.clone(),
        signers: torhaus_config::Signers::File(args.client_ca),
        crl_file: None,
        proves: None,
        vouches_for: Vouches::ForAny,
    };
    let trust =
        Arc::new(TrustDomains::load(&BTreeMap::from([("bench".to_owned(), domain)]), &OwnAuthorities::default())?);
    let auth = ClientAuth { mode: ClientAuthMode::Required, trust_domains: vec![name.clone()] };
    let names = torhaus::edge::tls::names_of(&args.cert)?;
    let groups = Arc::new(Groups::all_alike(&names, &auth));
    let certificates = vec![CertificateFiles { cert_file: args.cert, key_file: args.key, names, ocsp_file: None }];
    let tls = ListenerTls::build(&certificates, &groups, &trust)?;
    let settings = EdgeSettings {
        challenges: None,
        tls: [(name.clone(), Arc::new(tls))].into(),
        trusted_proxies: Vec::new(),
        handshake_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(60),
        max_connections: 100_000,
        shares: Bounds { connections_per_address: 100_000, handshakes: 100_000 },
        // This engine does not tell when a head was read, so nothing may count on it.
        header_timeout: Duration::from_secs(24 * 3600),
        max_header_bytes: usize::MAX / 2,
    };
    let (access, _writer) = AccessLog::start(Target::Off)?;
    let metrics = Arc::new(Metrics::new(&torhaus::audit::Counters::default(), access.dropped()));
    let conf = ServerConf { upstream_keepalive_pool_size: 1024, ..ServerConf::default() };
    let mut engine = HttpProxy::new(Bare(args.upstream), Arc::new(conf));
    engine.handle_init_modules();
    let edge = Edge::new(Arc::new(engine), settings, metrics);
    let listener = Listener {
        name,
        address: args.listen,
        kind: ListenerKind::Tls { certificates, acme: None },
        proxy_protocol: false,
        mesh: None,
    };
    let mut listeners = Listeners::default();
    edge.listen(&mut listeners, &[listener]).await?;
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?.recv().await;
    Ok(())
}
