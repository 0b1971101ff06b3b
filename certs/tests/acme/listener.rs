//! The server on a TLS listener of the loopback device, for clients that others wrote.
use crate::harness::World;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::PrivateKeyDer;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use time::{Duration, OffsetDateTime};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use torhaus_certs::acme::{Config, MAX_BODY_BYTES, Nonces};
use torhaus_certs::{Authority, LeafRequest};

pub struct Listener {
    pub origin: String,
    /// PEM of the root of its TLS certificate.
    pub root: PathBuf,
    pub world: Arc<World>,
    _files: tempfile::TempDir,
}

impl Listener {
    pub async fn start(config: Config) -> Self {
        // The client takes the process's provider; with the whole workspace two are linked, and none is chosen by itself.
        // An error says that another test has chosen already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("https://localhost:{}", socket.local_addr().unwrap().port());
        let now = OffsetDateTime::now_utc();
        let authority = Authority::new("test", now, Duration::DAY).unwrap();
        let leaf = authority.issue(&LeafRequest::server(["localhost"]).valid_for(Duration::HOUR), now).unwrap();
        let files = tempfile::tempdir().unwrap();
        let root = files.path().join("root.pem");
        std::fs::write(&root, authority.root_pem()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(leaf.key_der().to_vec()).unwrap();
        let tls = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let chain = vec![leaf.cert_der().to_vec().into()];
        let tls = tls.with_no_client_auth().with_single_cert(chain, key).unwrap();
        let config = Config { origins: vec![origin.clone()], ..config };
        let world = Arc::new(World::with(config, Nonces::alone().unwrap(), Arc::default()));
        *world.now.lock().unwrap() = now;
        tokio::spawn(accept(socket, TlsAcceptor::from(Arc::new(tls)), Arc::clone(&world)));
        Self { origin, root, world, _files: files }
    }

    pub fn directory(&self) -> String {
        format!("{}/acme/directory", self.origin)
    }
}

async fn accept(socket: TcpListener, tls: TlsAcceptor, world: Arc<World>) {
    loop {
        let (stream, address) = socket.accept().await.unwrap();
        let (tls, world) = (tls.clone(), Arc::clone(&world));
        tokio::spawn(async move {
            // A client that breaks off is its own affair.
            let Ok(stream) = tls.accept(stream).await else { return };
            let service = service_fn(move |request| answer(Arc::clone(&world), request, address));
            let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    world: Arc<World>,
    request: hyper::Request<Incoming>,
    address: SocketAddr,
) -> Result<hyper::Response<Full<Bytes>>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, MAX_BODY_BYTES + 1).collect().await {
        Ok(body) => body.to_bytes().to_vec(),
        Err(_) => vec![b' '; MAX_BODY_BYTES + 1],
    };
    let request = hyper::Request::from_parts(parts, body);
    let now = OffsetDateTime::now_utc();
    let response = world.server.handle(&request, address.ip(), now).await;
    Ok(response.map(|body| Full::new(Bytes::from(body))))
}
