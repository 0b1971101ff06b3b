//! The other end of the socket: what the command line uses.
use axum::http::{Method, Request, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// A reload checks every file; nothing takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no torhaus answers on `{0}` ({1}); is it running, and are you its user or root?")]
    Unreachable(PathBuf, #[source] io::Error),
    #[error("the process on `{0}` does not answer as torhaus does: {1}")]
    Strange(PathBuf, String),
    /// It answered, and the answer is no.
    #[error("{1}")]
    Refused(StatusCode, String),
}

/// One process, by its socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// # Errors
    /// See [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.parsed(Method::GET, path, Vec::new()).await
    }

    /// # Errors
    /// See [`ClientError`].
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|e| self.strange(&e))?;
        self.parsed(Method::POST, path, body).await
    }

    async fn parsed<T: DeserializeOwned>(&self, method: Method, path: &str, body: Vec<u8>) -> Result<T, ClientError> {
        let (status, bytes) = tokio::time::timeout(PATIENCE, self.send(method, path, body))
            .await
            .map_err(|_| ClientError::Unreachable(self.socket.clone(), io::ErrorKind::TimedOut.into()))??;
        if !status.is_success() {
            return Err(ClientError::Refused(status, String::from_utf8_lossy(&bytes).into_owned()));
        }
        serde_json::from_slice(&bytes).map_err(|e| self.strange(&e))
    }

    async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> Result<(StatusCode, Bytes), ClientError> {
        let stream =
            UnixStream::connect(&self.socket).await.map_err(|e| ClientError::Unreachable(self.socket.clone(), e))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.strange(&e))?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "torhaus")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| self.strange(&e))?;
        let answer = sender.send_request(request).await.map_err(|e| self.strange(&e))?;
        let status = answer.status();
        let bytes = answer.into_body().collect().await.map_err(|e| self.strange(&e))?.to_bytes();
        Ok((status, bytes))
    }

    fn strange(&self, error: &dyn std::error::Error) -> ClientError {
        ClientError::Strange(self.socket.clone(), error.to_string())
    }
}
