//! How servers are asked how they are, and within which time what they say counts.
use crate::harness::app::{App, Reply};
use crate::harness::{Call, Door, Setup, World, until};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// Values of `grpc.health.v1.HealthCheckResponse.ServingStatus`.
const UNKNOWN: i32 = 0;
const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;
/// No answer, but an error: the service is not known (`NOT_FOUND`).
const NO_SUCH_SERVICE: i32 = -1;

/// A gRPC server with a health service (grpc.health.v1), over HTTP/2 without TLS.
struct Grpc {
    port: u16,
    says: Arc<AtomicI32>,
    /// Messages to the health service.
    asked: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Grpc {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let says = Arc::new(AtomicI32::new(SERVING));
        let asked: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let (status, messages) = (says.clone(), asked.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (status, messages) = (status.clone(), messages.clone());
                let service = service_fn(move |request| answer(request, port, status.clone(), messages.clone()));
                let serving = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
                tokio::spawn(async move { drop(serving.await) });
            }
        });
        Self { port, says, asked }
    }
}

type Body = http_body_util::combinators::BoxBody<Bytes, Infallible>;

async fn answer(
    request: Request<Incoming>,
    port: u16,
    says: Arc<AtomicI32>,
    asked: Arc<Mutex<Vec<Vec<u8>>>>,
) -> Result<Response<Body>, Infallible> {
    let plain = |text: String| Response::new(Full::new(Bytes::from(text)).boxed());
    if request.uri().path() != "/grpc.health.v1.Health/Check" {
        return Ok(plain(port.to_string()));
    }
    assert_eq!(request.headers()["content-type"], "application/grpc");
    assert_eq!(request.headers()["te"], "trailers");
    let message = request.into_body().collect().await.unwrap().to_bytes().to_vec();
    asked.lock().unwrap().push(message);
    let status = says.load(Ordering::SeqCst);
    let mut trailers = HeaderMap::new();
    if status == NO_SUCH_SERVICE {
        let mut response = plain(String::new());
        response.headers_mut().insert("grpc-status", HeaderValue::from_static("5"));
        return Ok(response);
    }
    // Proto3 leaves the value 0 out.
    let message =
        if status == UNKNOWN { vec![0, 0, 0, 0, 0] } else { vec![0, 0, 0, 0, 2, 8, u8::try_from(status).unwrap()] };
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(Bytes::from(message)).with_trailers(async move { Some(Ok(trailers)) });
    let mut response = Response::new(body.boxed());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    Ok(response)
}

/// The gate with `status.test` (open to anyone) on another upstream.
async fn gate(upstream: &str) -> World {
    let mut setup = Setup::new().await;
    let here = format!("upstream: \"http://127.0.0.1:{}\", resource: status }}", setup.echo.port);
    assert!(setup.config.contains(&here));
    setup.config = setup.config.replacen(&here, &format!("upstream: {upstream}, resource: status }}"), 1);
    setup.start().await
}

async fn served_by(world: &World) -> String {
    world.call(Door::Inside, None, &Call::get("status.test", "/")).await.unwrap().body
}

#[tokio::test]
async fn a_grpc_server_is_asked_by_its_health_service_and_only_serving_is_well() {
    let (primary, standby) = (Grpc::start().await, Grpc::start().await);
    let world = gate(&format!(
        "{{ primary: [\"h2c://127.0.0.1:{}\"], standby: [\"h2c://127.0.0.1:{}\"], \
         health: {{ probe: grpc, service: shop.Orders, every: 1s }} }}",
        primary.port, standby.port
    ))
    .await;
    let (first, second) = (primary.port.to_string(), standby.port.to_string());
    until("it was asked", async || !primary.asked.lock().unwrap().is_empty()).await;
    assert_eq!(served_by(&world).await, first);
    // `HealthCheckRequest { service: "shop.Orders" }`, with the prefix of gRPC.
    let mut expected = vec![0, 0, 0, 0, 13, 0x0a, 11];
    expected.extend_from_slice(b"shop.Orders");
    assert_eq!(primary.asked.lock().unwrap()[0], expected);
    for not_well in [NOT_SERVING, UNKNOWN, NO_SUCH_SERVICE] {
        primary.says.store(not_well, Ordering::SeqCst);
        until("the standby serves", async || served_by(&world).await == second).await;
        primary.says.store(SERVING, Ordering::SeqCst);
        until("the primary serves again", async || served_by(&world).await == first).await;
    }
}

#[tokio::test]
async fn a_standby_takes_over_within_the_health_interval() {
    /// The next look is at most one interval away; it takes part of a second to look who is due, to ask, and to hear.
    const INTERVAL: Duration = Duration::from_secs(3);
    const TO_ASK: Duration = Duration::from_secs(1);
    let well = Arc::new(AtomicBool::new(true));
    let says = well.clone();
    let primary = App::with(None, move |head| match head.starts_with("GET /healthz ") {
        true if !says.load(Ordering::SeqCst) => Reply::Status(503),
        _ => Reply::Status(200),
    });
    let standby = App::start();
    let world = gate(&format!(
        "{{ primary: [\"{}\"], standby: [\"{}\"], health: {{ probe: http, path: /healthz, every: {}s }} }}",
        primary.url(),
        standby.url(),
        INTERVAL.as_secs()
    ))
    .await;
    let (first, second) = (primary.port.to_string(), standby.port.to_string());
    let probes = || primary.seen.lock().unwrap().iter().filter(|head| head.starts_with("GET /healthz ")).count();
    for (is_well, takes_over) in [(false, &second), (true, &first), (false, &second)] {
        let (since, before) = (Instant::now(), probes());
        well.store(is_well, Ordering::SeqCst);
        until("another one serves", async || served_by(&world).await == *takes_over).await;
        let took = since.elapsed();
        assert!(took < INTERVAL + TO_ASK, "{takes_over} took over after {took:?}");
        assert!(probes() - before <= 2, "by the first look that could tell, not by a later one");
    }
}
