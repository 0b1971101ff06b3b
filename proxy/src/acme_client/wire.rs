//! instant-acme's requests over reqwest: the same authorities, bounds and proxies as every other request of ours, and
//! no second HTTP client with its own ideas of trust.
use crate::login::http_client::{HttpClientError, client_for, innermost};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;
use url::Url;

/// A server that looks at a challenge before it answers may need this long.
const PATIENCE: Duration = Duration::from_secs(60);
/// A chain of certificates is some KiB; a directory far less.
const MOST_BYTES: usize = 1024 * 1024;

pub struct Wire(reqwest::Client);

type Answered = Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>>;

impl Wire {
    /// To the server of this directory. With a CA file, only that CA is believed.
    ///
    /// # Errors
    /// As [`client_for`].
    pub fn new(directory: &Url, ca_file: Option<&Path>) -> Result<Self, HttpClientError> {
        client_for(directory, ca_file, PATIENCE).map(Self)
    }
}

impl HttpClient for Wire {
    fn request(&self, request: http::Request<BodyWrapper<Bytes>>) -> Answered {
        let client = self.0.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(never) => match never {},
            };
            let request = reqwest::Request::try_from(http::Request::from_parts(head, body)).map_err(failed)?;
            let mut answer = client.execute(request).await.map_err(failed)?;
            let mut read = Vec::new();
            while let Some(chunk) = answer.chunk().await.map_err(failed)? {
                if read.len() + chunk.len() > MOST_BYTES {
                    return Err(Error::Other("the server sent more than 1 MiB".into()));
                }
                read.extend_from_slice(&chunk);
            }
            let mut response = http::Response::new(());
            *response.status_mut() = answer.status();
            *response.headers_mut() = std::mem::take(answer.headers_mut());
            let (parts, ()) = response.into_parts();
            Ok(BytesResponse { parts, body: Box::new(Bytes::from(read)) })
        })
    }
}

fn failed(error: reqwest::Error) -> Error {
    let host = error.url().and_then(|url| url.host_str()).unwrap_or("the server").to_owned();
    let why = innermost(error);
    Error::Other(format!("`{host}` did not answer: {why}").into())
}
