//! Asks servers regularly how they are, by the same trust that requests go by: a server with another certificate is
//! not well. Carries nothing of any caller.
use super::backend::Backend;
use super::upstream::{Manner, Upstream};
use crate::clock;
use crate::gate::Gate;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::Method;
use http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, TE, USER_AGENT};
use pingora_core::connectors::http::Connector;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::RequestHeader;
use std::sync::Arc;
use std::time::Duration;
use torhaus_config::Probe;

/// How often is looked who is due; intervals are seconds.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A server that takes longer is not well.
const PATIENCE: Duration = Duration::from_secs(3);
/// An answer of a gRPC health service has seven bytes.
const MOST_ANSWER_BYTES: usize = 1024;
/// `HealthCheckResponse { status: SERVING }` (grpc.health.v1), uncompressed.
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 0x08, 1];

/// Runs as long as the process.
pub async fn watch(gate: Arc<Gate>) {
    // Made when the first server is to be asked: it reads the system's authorities.
    let mut connector: Option<Arc<Connector>> = None;
    loop {
        let now = clock::now();
        let snapshot = gate.snapshot.load_full();
        for (upstream, check) in snapshot.upstreams.probed() {
            let every = i64::try_from(check.every.as_millis()).unwrap_or(i64::MAX);
            for backend in upstream.backends.iter().filter(|backend| backend.probe_is_due(every, now)) {
                let connector = connector.get_or_insert_with(|| Arc::new(Connector::new(None))).clone();
                let upstream = upstream.clone();
                tokio::spawn(one(connector, upstream, backend.clone(), check.probe.clone()));
            }
        }
        drop(snapshot);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn one(connector: Arc<Connector>, upstream: Arc<Upstream>, backend: Arc<Backend>, probe: Probe) {
    let asked = tokio::time::timeout(PATIENCE, ask(&connector, &upstream, &backend, &probe)).await;
    let well = matches!(asked, Ok(Ok(true)));
    if backend.probed(well, clock::now()) {
        let server = &backend.server;
        match asked {
            Ok(Ok(true)) => tracing::info!(?server, "a server is well again"),
            Ok(Ok(false)) => tracing::warn!(?server, "a server says that it is not well"),
            Ok(Err(error)) => tracing::warn!(?server, kind = error.etype().as_str(), "a server cannot be reached"),
            Err(_) => tracing::warn!(?server, "a server does not answer in time"),
        }
    }
}

async fn ask(connector: &Connector, upstream: &Upstream, backend: &Backend, probe: &Probe) -> Result<bool> {
    let unresolved = || Error::explain(ErrorType::ConnectError, "the name does not resolve");
    let mut peer = upstream.peer(backend, Manner::Plain).await.ok_or_else(unresolved)?;
    // A connection that is kept says nothing about the server now.
    peer.options.idle_timeout = Some(Duration::ZERO);
    let (mut session, _) = connector.get_http_session(&*peer).await?;
    if let Some(pin) = &upstream.pin {
        let shown = session.digest().and_then(|digest| digest.ssl_digest.as_ref());
        if shown.map(|tls| tls.cert_digest.as_slice()) != Some(pin.as_slice()) {
            return Error::e_explain(ErrorType::InvalidCert, "not the pinned certificate");
        }
    }
    let well = match probe {
        Probe::Tcp => true,
        Probe::Http { path } => {
            let mut head = head(Method::GET, path, backend)?;
            head.insert_header(USER_AGENT, "torhaus")?;
            session.write_request_header(Box::new(head)).await?;
            session.finish_request_body().await?;
            session.read_response_header().await?;
            session.response_header().is_some_and(|head| head.status.is_success() || head.status.is_redirection())
        }
        Probe::Grpc { service } => grpc(&mut session, service, backend).await?,
    };
    session.shutdown().await;
    Ok(well)
}

/// <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>
async fn grpc(session: &mut HttpSession, service: &str, backend: &Backend) -> Result<bool> {
    let mut head = head(Method::POST, "/grpc.health.v1.Health/Check", backend)?;
    head.insert_header(CONTENT_TYPE, "application/grpc")?;
    head.insert_header(TE, "trailers")?;
    session.write_request_header(Box::new(head)).await?;
    session.write_request_body(message(service), true).await?;
    session.read_response_header().await?;
    let ok = session.response_header().is_some_and(|head| {
        let status = head.headers.get(HeaderName::from_static("grpc-status"));
        head.status.is_success() && status.is_none_or(|status| status == HeaderValue::from_static("0"))
    });
    let mut answer = BytesMut::new();
    while let Some(part) = session.read_response_body().await? {
        answer.extend_from_slice(&part);
        if answer.len() > MOST_ANSWER_BYTES {
            return Ok(false);
        }
    }
    Ok(ok && answer == SERVING)
}

/// `HealthCheckRequest { service }`, with the length prefix of gRPC.
fn message(service: &str) -> Bytes {
    let mut field = BytesMut::new();
    // A length of one byte; names of services are shorter, and a longer one is asked about as far as it goes.
    let name = service.as_bytes().get(..127).unwrap_or(service.as_bytes());
    if !name.is_empty() {
        field.put_u8(0x0a);
        field.put_u8(u8::try_from(name.len()).unwrap_or(127));
        field.extend_from_slice(name);
    }
    let mut message = BytesMut::new();
    message.put_u8(0);
    message.put_u32(u32::try_from(field.len()).unwrap_or(0));
    message.extend_from_slice(&field);
    message.freeze()
}

fn head(method: Method, path: &str, backend: &Backend) -> Result<RequestHeader> {
    let mut head = RequestHeader::build(method, path.as_bytes(), None)?;
    head.insert_header(HOST, &backend.own_host)?;
    Ok(head)
}
