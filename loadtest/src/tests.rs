//! The generator against a TLS server of its own, in process, with a client certificate.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use torhaus_certs::{Authority, Issued, LeafRequest};

use crate::load::{self, Load, Plan, Shape, Turn};
use crate::outcome::Outcome;
use crate::target::{Credentials, Expected, Loopback, Target, Version};
use crate::tls::{self, Identity, KeyExchange, Tickets};

const HOST: &str = "app.bench.test";
const BODY: &str = "a kilobyte, nearly";

struct Server {
    address: Loopback,
    root: CertificateDer<'static>,
    client: Issued,
}

/// 200 for the session cookie or a client certificate, 401 without; the certificate is required where asked.
async fn server(require_certificate: bool) -> Server {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let now = OffsetDateTime::now_utc();
    let authority = Authority::new("test", now, time::Duration::days(2)).unwrap();
    let leaf = authority.issue(&LeafRequest::server([HOST]).valid_for(time::Duration::days(1)), now).unwrap();
    let client = authority.issue(&LeafRequest::service("spiffe://bench.test/load"), now).unwrap();
    let root = CertificateDer::from(authority.root_der().to_vec());
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots));
    let verifier = if require_certificate { verifier } else { verifier.allow_unauthenticated() };
    let (chain, key) = parts(&leaf);
    let mut config = rustls::ServerConfig::builder()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Loopback::new(listener.local_addr().unwrap()).unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let known = stream.get_ref().1.peer_certificates().is_some();
                let service = service_fn(move |request: Request<Incoming>| async move {
                    let session = request.headers().get("cookie").is_some_and(|cookie| cookie == "id=alice");
                    let mut response = Response::new(Full::new(Bytes::from_static(BODY.as_bytes())));
                    if !known && !session {
                        *response.status_mut() = StatusCode::UNAUTHORIZED;
                    }
                    Ok::<_, Infallible>(response)
                });
                let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Server { address, root, client }
}

fn parts(issued: &Issued) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let key = PrivatePkcs8KeyDer::from(issued.key_der().to_vec());
    (vec![CertificateDer::from(issued.cert_der().to_vec())], PrivateKeyDer::Pkcs8(key))
}

#[derive(Clone, Copy, PartialEq)]
enum Shows {
    Certificate,
    Cookie,
    Nothing,
}

const TURN: Turn = Turn::For { warm_up: Duration::from_millis(100), duration: Duration::from_millis(500) };

async fn measure(server: &Server, version: Version, shape: Shape, tickets: Tickets, shows: Shows) -> Outcome {
    load::run(plan(server, version, shape, tickets, shows), TURN).await.unwrap()
}

fn plan(server: &Server, version: Version, shape: Shape, tickets: Tickets, shows: Shows) -> Plan {
    let identity = (shows == Shows::Certificate).then(|| {
        let (chain, key) = parts(&server.client);
        Identity { chain, key }
    });
    let cookies = (shows == Shows::Cookie).then(|| "id=alice".to_owned()).into_iter().collect();
    let credentials = Credentials { cookies, bearer: None };
    let expected = Expected { status: 200, body_bytes: Some(BODY.len() as u64) };
    Plan {
        target: Target::new(server.address, HOST, "/bench", version, &credentials, expected).unwrap(),
        tls: tls::client(vec![server.root.clone()], identity, version, KeyExchange::X25519, tickets).unwrap(),
        shape,
        processes: vec![("proxy".to_owned(), std::process::id())],
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_on_h1_and_h2() {
    let server = server(true).await;
    let shape = Shape::Closed { connections: 2, streams: 4 };
    for (version, connections) in [(Version::Http1, 2), (Version::Http2, 2)] {
        let outcome = measure(&server, version, shape, Tickets::Refused, Shows::Certificate).await;
        assert!(outcome.faults.is_empty(), "{:?}", outcome.faults);
        assert!(outcome.completed > 0);
        assert_eq!(outcome.full_handshakes, connections);
        assert!(outcome.cpu_us_per_operation["proxy"] > 0.0);
        assert!(outcome.latency.p50_us > 0.0 && outcome.lateness.is_none());
    }
}

#[tokio::test]
async fn without_the_certificate_every_attempt_is_a_fault() {
    let server = server(true).await;
    let shape = Shape::Closed { connections: 1, streams: 1 };
    let outcome = measure(&server, Version::Http1, shape, Tickets::Refused, Shows::Nothing).await;
    assert_eq!(outcome.completed, 0);
    assert!(outcome.fault_count() > 0);
}

#[tokio::test]
async fn a_refusal_is_a_fault_and_not_a_fast_answer() {
    let server = server(false).await;
    let shape = Shape::Closed { connections: 1, streams: 1 };
    let with_cookie = measure(&server, Version::Http1, shape, Tickets::Refused, Shows::Cookie).await;
    assert!(with_cookie.completed > 0 && with_cookie.faults.is_empty(), "{:?}", with_cookie.faults);
    let without = measure(&server, Version::Http1, shape, Tickets::Refused, Shows::Nothing).await;
    assert_eq!(without.completed, 0);
    assert_eq!(without.faults.keys().collect::<Vec<_>>(), ["status 401"]);
}

#[tokio::test]
async fn handshakes_are_what_tls_really_did() {
    let server = server(true).await;
    let shape = Shape::Handshakes { callers: 2 };
    let full = measure(&server, Version::Http1, shape, Tickets::Refused, Shows::Certificate).await;
    assert!(full.full_handshakes > 0 && full.faults.is_empty(), "{:?}", full.faults);
    assert_eq!(full.resumed_handshakes, 0);
    let resumed = measure(&server, Version::Http1, shape, Tickets::Used, Shows::Certificate).await;
    assert!(resumed.resumed_handshakes > 0 && resumed.faults.is_empty(), "{:?}", resumed.faults);
}

#[tokio::test]
async fn the_open_loop_says_how_late_it_was() {
    let server = server(true).await;
    let shape = Shape::Open { connections: 2, streams: 1, per_second: 200 };
    let outcome = measure(&server, Version::Http1, shape, Tickets::Refused, Shows::Certificate).await;
    assert!(outcome.faults.is_empty(), "{:?}", outcome.faults);
    assert!(outcome.lateness.is_some());
    // The rate itself depends on who else uses the machine: no test's affair.
    assert!(outcome.completed > 0);
}

#[tokio::test]
async fn between_turns_connections_stay_open_and_nothing_is_asked() {
    let server = server(true).await;
    for shape in [Shape::Closed { connections: 2, streams: 1 }, Shape::Handshakes { callers: 2 }] {
        let plan = plan(&server, Version::Http1, shape, Tickets::Refused, Shows::Certificate);
        let mut load = Load::start(plan).await.unwrap();
        for number in 1..=3 {
            // As many as were asked for: nobody began another one, neither meanwhile nor before.
            let outcome = load.turn(Turn::Operations(number)).await.unwrap();
            assert_eq!((outcome.completed, outcome.fault_count()), (number, 0), "{:?}", outcome.faults);
            let opened = match shape {
                Shape::Handshakes { .. } => number,
                _ if number == 1 => 2,
                _ => 0,
            };
            assert_eq!(outcome.full_handshakes, opened, "{shape:?}, turn {number}");
        }
        let timed = load.turn(TURN).await.unwrap();
        assert!(timed.completed > 3, "{}", timed.completed);
        load.stop().await;
    }
}

#[tokio::test]
async fn a_turn_of_operations_ends_with_their_faults_too() {
    let server = server(false).await;
    let shape = Shape::Closed { connections: 2, streams: 1 };
    let plan = plan(&server, Version::Http1, shape, Tickets::Refused, Shows::Nothing);
    let mut load = Load::start(plan).await.unwrap();
    let outcome = load.turn(Turn::Operations(4)).await.unwrap();
    assert_eq!((outcome.completed, outcome.fault_count()), (0, 4), "{:?}", outcome.faults);
    load.stop().await;
}
