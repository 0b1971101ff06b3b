//! An application that reads a body to its end and says how long it was.

use std::convert::Infallible;
use std::process::ExitCode;

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::cli::SinkArgs;
use crate::error::{Doing, Result};

pub async fn serve(args: &SinkArgs) -> Result<ExitCode> {
    let listener = TcpListener::bind(args.listen.address()).await.doing("the sink's address")?;
    loop {
        let (stream, _) = listener.accept().await.doing("accept")?;
        // A connection that fails is the proxy's to count.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(swallow)));
    }
}

async fn swallow(request: Request<Incoming>) -> std::result::Result<Response<String>, Infallible> {
    let mut body = request.into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            let mut response = Response::new(String::new());
            *response.status_mut() = StatusCode::BAD_REQUEST;
            return Ok(response);
        };
        bytes += frame.data_ref().map_or(0, bytes::Bytes::len);
    }
    Ok(Response::new(format!("{bytes:>16}")))
}
