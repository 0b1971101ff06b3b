//! What one request carries through pingora's hooks, and our own view of it.
use super::backend::{Backend, Chosen};
use super::body::{BodyWatch, Stalled};
use super::upstream::Upstream;
use crate::edge::connection::ConnectionInfo;
use crate::forward::Forward;
use crate::outcome::Note;
use crate::request::Request;
use crate::snapshot::Snapshot;
use crate::traces::TraceContext;
use http::HeaderValue;
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use std::sync::Arc;
use std::time::{Duration, Instant};
use torhaus_authz::Reason;

/// What one request carries through pingora's hooks.
pub struct Context {
    pub started: Instant,
    pub snapshot: Option<Arc<Snapshot>>,
    pub connection: Option<Arc<ConnectionInfo>>,
    pub forward: Option<Box<Forward>>,
    /// Where `forward` leads.
    pub upstream: Option<Arc<Upstream>>,
    /// Length of a body that was read because its application needs to know it.
    pub spooled: Option<usize>,
    /// A failure was answered, and nothing follows on a connection of HTTP/1.1.
    pub closes: bool,
    /// Why the application cannot be sent this request.
    pub unfit: Option<Reason>,
    /// The server that has the request now, and all that were asked for it.
    pub chosen: Option<Chosen>,
    pub tried: Vec<Arc<Backend>>,
    /// The protocol that the client asked to switch to, if its route allows it.
    pub upgrade: Option<HeaderValue>,
    pub body: Option<BodyWatch>,
    /// While a body is awaited.
    pub stalled: Option<Stalled>,
    pub host: String,
    pub port: Option<u16>,
    /// From arrival to the application's first byte.
    pub upstream_answered: Option<Duration>,
    /// Its place in a trace, where requests are traced.
    pub trace: Option<TraceContext>,
    pub note: Note,
}

impl Context {
    /// Of a request whose first bytes have come.
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            snapshot: None,
            connection: None,
            forward: None,
            upstream: None,
            spooled: None,
            closes: false,
            unfit: None,
            chosen: None,
            tried: Vec::new(),
            upgrade: None,
            body: None,
            stalled: None,
            host: String::new(),
            port: None,
            upstream_answered: None,
            trace: None,
            note: Note::empty(),
        }
    }

    /// Whether another server may be asked after the chosen one was no good.
    pub fn may_try_again(&self) -> bool {
        let upstream = self.upstream.as_ref();
        self.chosen.is_some() && upstream.is_some_and(|upstream| upstream.may_try_again(&self.tried))
    }
}

/// A request as pingora holds it.
pub struct View<'a> {
    pub head: &'a RequestHeader,
    pub host: &'a str,
    pub port: Option<u16>,
    pub connection: &'a Arc<ConnectionInfo>,
}

impl<'a> View<'a> {
    /// Our own view of it. The path was made canonical before.
    pub fn request(&self, body: &'a [u8]) -> Request<'a> {
        Request {
            method: &self.head.method,
            host: self.host,
            port: self.port,
            path: self.head.uri.path(),
            query: self.head.uri.query(),
            headers: &self.head.headers,
            connection: self.connection,
            body,
        }
    }
}

/// What the connection layer noted; the same on h1 and h2.
pub fn connection_of(session: &Session) -> Option<Arc<ConnectionInfo>> {
    let carried = session.as_downstream().digest()?.proxy_digest.as_ref()?.user_data.as_ref()?;
    carried.downcast_ref::<Arc<ConnectionInfo>>().cloned()
}
