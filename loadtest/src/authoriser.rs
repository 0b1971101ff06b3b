//! The smallest authoriser there is: knows one session and one service, answers 204 or 401.
//!
//! It stands for what peers without an identity of their own ask over HTTP. A real one costs more, so a comparison
//! with it flatters the peer, never Torhaus.

use std::collections::HashMap;
use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use http::header::COOKIE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::cli::AuthoriserArgs;
use crate::error::{Doing, Result};

/// What the proxy writes about a client certificate that it verified.
const CLIENT_NAME: &str = "x-client-dn";

/// Where the proxy reads who it is, to tell the application.
const USER: &str = "x-auth-user";

type Known = Arc<HashMap<Vec<u8>, HeaderValue>>;

pub async fn serve(args: &AuthoriserArgs) -> Result<ExitCode> {
    let shown = args.session_file.display();
    let session = std::fs::read_to_string(&args.session_file).doing(format!("session file `{shown}`"))?;
    let known: Known = Arc::new(HashMap::from([
        (session.trim().as_bytes().to_vec(), HeaderValue::from_static("alice")),
        (b"CN=load".to_vec(), HeaderValue::from_static("load")),
    ]));
    let listener = TcpListener::bind(args.listen.address()).await.doing("authoriser's address")?;
    loop {
        let (stream, _) = listener.accept().await.doing("accept")?;
        stream.set_nodelay(true).doing("accept")?;
        let known = Arc::clone(&known);
        let service = service_fn(move |request: Request<Incoming>| {
            let known = Arc::clone(&known);
            async move { Ok::<_, Infallible>(answer(&known, &request)) }
        });
        // A connection that fails is the proxy's to count.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

fn answer(known: &Known, request: &Request<Incoming>) -> Response<Empty<Bytes>> {
    let shown = |name| request.headers().get(name).and_then(|value| known.get(value.as_bytes()));
    let mut response = Response::new(Empty::new());
    match shown(COOKIE.as_str()).or_else(|| shown(CLIENT_NAME)) {
        Some(user) => {
            *response.status_mut() = StatusCode::NO_CONTENT;
            response.headers_mut().insert(USER, user.clone());
        }
        None => *response.status_mut() = StatusCode::UNAUTHORIZED,
    }
    response
}
