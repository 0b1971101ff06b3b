//! Passes on what somebody else's solver answers to an ACME http-01 challenge (RFC 8555 section 8.3), on the plain
//! listener and without a login: whoever validates has none. Nothing of the request reaches the solver but the path that
//! it was registered with, and nothing of its answer the client but a short text, so this is no way around the gate.
use crate::added::Added;
use crate::request::Request;
use crate::response::Response;
use http::header::HOST;
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Where challenges are looked for.
pub const PREFIX: &str = "/.well-known/acme-challenge/";
/// One solver, connection included; whoever validates waits for ten seconds or so.
const PATIENCE: Duration = Duration::from_secs(3);
/// A key authorization is a token, a dot and 43 characters.
const MOST_BYTES: usize = 1024;

/// None: there is no such challenge.
pub async fn answer(added: &Added, request: &Request<'_>) -> Option<Response> {
    if *request.method != Method::GET || !request.path.starts_with(PREFIX) {
        return None;
    }
    let solvers = added.challenges.get(&(request.host.to_owned(), request.path.to_owned()))?;
    for solver in solvers {
        match timeout(PATIENCE, ask(*solver, request.host, request.path)).await {
            Ok(Ok(Some(text))) => {
                return Some(Response::bytes(StatusCode::OK, "application/octet-stream", text));
            }
            Ok(Ok(None)) => tracing::warn!(%solver, host = request.host, "a solver does not know its challenge"),
            Ok(Err(error)) => tracing::warn!(%solver, host = request.host, %error, "a solver cannot be asked"),
            Err(_) => tracing::warn!(%solver, host = request.host, "a solver does not answer in time"),
        }
    }
    Some(Response::empty(StatusCode::BAD_GATEWAY))
}

type Broken = Box<dyn std::error::Error + Send + Sync>;

/// What it answers with 200, if it is short enough.
async fn ask(solver: SocketAddr, host: &str, path: &str) -> Result<Option<Bytes>, Broken> {
    let stream = TcpStream::connect(solver).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = http::Request::get(path).header(HOST, host).body(Empty::<Bytes>::new())?;
    let asked = async {
        let answer = sender.send_request(request).await?;
        if answer.status() != StatusCode::OK {
            return Ok(None);
        }
        Ok(Some(Limited::new(answer.into_body(), MOST_BYTES).collect().await?.to_bytes()))
    };
    let asked = asked.await;
    driver.abort();
    asked
}
