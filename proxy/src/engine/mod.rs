//! pingora's hooks and the gate: a request view goes in, an action comes out. Besides `edge/`, the only place that
//! names pingora.
//!
//! Never decides. What the gate did not permit has no [`Forward`] in its context, and without one there is no peer.
mod answer;
mod backend;
mod body;
mod context;
mod departure;
mod ended;
mod failure;
mod patience;
pub mod probe;
mod request_head;
mod response_head;
mod roots;
mod takes;
pub mod upstream;

use crate::clock;
use crate::cors;
use crate::ext_authz;
use crate::gate::{self, Gate};
use crate::login::own_pages;
use crate::outcome::Action;
use crate::refusal::{self, Refused};
use crate::request::authority;
use crate::verify;
use async_trait::async_trait;
use bytes::Bytes;
use context::{Context, View, connection_of};
use http::HeaderValue;
use http::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST, LOCATION, SET_COOKIE, UPGRADE};
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::H2Options;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};
use request_head::{apply, edit};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use torhaus_authz::Reason;
use upstream::Manner;

/// An h2 connection without streams is closed after this; pingora's default is never.
const H2_IDLE: Duration = Duration::from_secs(75);
/// What an HTTP/2 client may send as headers, decoded; `limits.max_header_bytes` asks again and is never more.
const H2_HEADER_LIST: u32 = 64 * 1024;
/// Requests at the same time on one HTTP/2 connection: what RFC 9113 section 6.5.2 recommends at least, and browsers
/// expect. Each holds a task and its buffers.
const H2_STREAMS: u32 = 100;
/// Streams that a client reset before we took them up (CVE-2023-44487), and streams that were reset and may still get
/// frames: over it the connection ends. A page that is left cancels what it asked for, which we have taken up by then.
const H2_RESETS: usize = 20;
/// Bytes of answers kept per stream for a client that does not read.
const H2_SEND_BUFFER: usize = 64 * 1024;
/// Headers that most requests leave with beside their own.
const ADDED_HEADERS: usize = 12;

pub struct Engine {
    gate: Arc<Gate>,
}

/// The engine as the connection layer wants it.
///
/// # Errors
/// The system's authorities cannot be written into the state folder for it.
pub fn build(
    gate: Arc<Gate>,
    mut conf: pingora_core::server::configuration::ServerConf,
) -> io::Result<Arc<pingora_proxy::HttpProxy<Engine>>> {
    let state_dir = gate.snapshot.load().config.state_dir.clone();
    conf.ca_file = Some(roots::SystemRoots::load().write(&state_dir, clock::now())?);
    let mut proxy = pingora_proxy::HttpProxy::new(Engine { gate }, Arc::new(conf));
    let mut options = pingora_core::apps::HttpServerOptions::default();
    options.h2_idle_timeout = Some(H2_IDLE);
    proxy.server_options = Some(options);
    proxy.h2_options = Some(h2_options());
    proxy.handle_init_modules();
    Ok(Arc::new(proxy))
}

fn h2_options() -> H2Options {
    let mut options = H2Options::new();
    options
        .max_header_list_size(H2_HEADER_LIST)
        .max_concurrent_streams(H2_STREAMS)
        .max_concurrent_reset_streams(H2_RESETS)
        .max_pending_accept_reset_streams(H2_RESETS)
        .max_send_buffer_size(H2_SEND_BUFFER);
    options
}

#[async_trait]
impl ProxyHttp for Engine {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::new()
    }

    /// None of pingora's modules: what comes from an application goes to the client as it is.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        let snapshot = self.gate.snapshot.load_full();
        let connection = connection_of(session).ok_or_else(|| Error::new(ErrorType::InternalError))?;
        ctx.snapshot = Some(snapshot.clone());
        ctx.connection = Some(connection.clone());
        connection.progress.head_is_read();
        if let Some(traces) = &snapshot.traces {
            ctx.trace = Some(traces.begin(connection.client.ip(), &session.req_header().headers));
        }
        let limits = &snapshot.config.limits;
        session.set_keepalive(self.keepalive(limits.idle_timeout));
        session.set_read_timeout(Some(limits.idle_timeout));
        session.set_write_timeout(Some(limits.idle_timeout));
        session.set_total_drain_timeout(Some(body::OWN_BODY_TIMEOUT));
        // Early hints (RFC 8297) would reach a client before the answer they belong to has been looked at.
        session.set_ignore_info_resp(true);

        let target = match request_head::read(session, &snapshot)? {
            Ok(target) => target,
            Err(unfit) => return Box::pin(answer::refuse(session, ctx, unfit)).await,
        };
        let head = session.req_header();
        let asks_by_grpc = ext_authz::is_question(&snapshot, &head.method, &target.host, &target.path);
        let body = if own_pages::wants_body(&snapshot, &head.method, &target.host, &target.path) {
            match Box::pin(body::read_own(session)).await? {
                Some(body) => body,
                None => return Box::pin(answer::refuse(session, ctx, (Reason::BodyTooLarge, None))).await,
            }
        } else {
            Bytes::new()
        };

        (ctx.host, ctx.port) = (target.host, target.port);
        let view = View { head: session.req_header(), host: &ctx.host, port: ctx.port, connection: &connection };
        let request = view.request(&body);
        let outcome = if asks_by_grpc && connection.tls.is_some() {
            Box::pin(ext_authz::answer(&self.gate, &snapshot, &request, clock::now())).await
        } else if verify::is_question(&request) {
            Box::pin(verify::answer(&self.gate, &snapshot, &request, clock::now())).await
        } else {
            gate::pass(&self.gate, &snapshot, &request, clock::now()).await
        };
        ctx.upgrade = request.headers.get(UPGRADE).cloned();
        ctx.note = outcome.note;
        match outcome.action {
            Action::Respond(response) => Box::pin(answer::send(session, ctx, response)).await,
            Action::KeepForm { sign_in, cookie } => {
                let body = Box::pin(body::read_own(session)).await?.unwrap_or_default();
                let head = session.req_header();
                let view = View { head, host: &ctx.host, port: ctx.port, connection: &connection };
                let response = refusal::keep_form(&snapshot, &view.request(&body), &sign_in);
                Box::pin(answer::send(session, ctx, response.with_cookie(&cookie).closing())).await
            }
            Action::Forward(forward) => {
                if let Err(unfit) = departure::prepare(session, ctx, &snapshot, &connection, &forward).await? {
                    return Box::pin(answer::refuse(session, ctx, unfit)).await;
                }
                ctx.forward = Some(forward);
                Ok(false)
            }
        }
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Context,
    ) -> Result<()> {
        // An empty last frame of HTTP/2 would be written as a last chunk, and the end of the body as another: rubbish before
        // the next request on that connection.
        if end_of_stream && body.as_ref().is_some_and(Bytes::is_empty) {
            *body = None;
        }
        match &ctx.stalled {
            Some(_) if end_of_stream => ctx.stalled = None,
            Some(stalled) if body.as_ref().is_some_and(|part| !part.is_empty()) => stalled.came(),
            _ => {}
        }
        let (Some(part), Some(watch)) = (body, &mut ctx.body) else { return Ok(()) };
        watch.came(part.len(), Instant::now()).map_err(|reason| {
            let mut error = Error::explain(ErrorType::HTTPStatus(reason.status()), "the body of a request");
            error.esource = ErrorSource::Downstream;
            error
        })
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Context) -> Result<Box<HttpPeer>> {
        // Asked again on a retry: the same permit, for the same request.
        let (Some(forward), Some(snapshot)) = (&ctx.forward, &ctx.snapshot) else {
            return Error::e_explain(ErrorType::InternalError, "no permit, no forward");
        };
        let unresolved = || Error::explain(ErrorType::ConnectError, "the upstream's name does not resolve");
        let upstream = match &ctx.upstream {
            Some(upstream) => upstream,
            None => ctx.upstream.insert(snapshot.upstreams.for_request(forward).ok_or_else(unresolved)?.clone()),
        };
        let chosen = upstream.choose(forward.affinity, &ctx.tried, clock::now()).ok_or_else(unresolved)?;
        let manner = match (&ctx.upgrade, &ctx.connection) {
            (Some(_), Some(connection)) => Manner::Upgrade(&connection.backlog),
            (Some(_), None) => return Error::e_explain(ErrorType::InternalError, "an upgrade on no connection"),
            (None, _) if is_stream(session) => Manner::Stream,
            (None, _) => Manner::Plain,
        };
        if !ctx.tried.is_empty() {
            // The next server gets the same body from its beginning.
            ctx.body = ctx.body.take().map(|body| body.again(Instant::now()));
        }
        let peer = upstream.peer(&chosen.0, manner).await.ok_or_else(unresolved)?;
        ctx.tried.push(chosen.0.clone());
        ctx.chosen = Some(chosen);
        Ok(peer)
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        // Nothing of the request is sent: whatever it is, another server may get it.
        if let Some(chosen) = &ctx.chosen {
            chosen.0.failed(clock::now());
        }
        error.set_retry(ctx.may_try_again());
        error
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut Context,
        reused: bool,
    ) -> Box<Error> {
        // RFC 9110 section 9.2.2: what may be done twice, may be asked twice, as long as nobody saw an answer.
        let twice = session.req_header().method.is_idempotent()
            && !session.as_ref().retry_buffer_truncated()
            && session.response_written().is_none()
            && ctx.upgrade.is_none();
        if !twice {
            error.set_retry(false);
            return error;
        }
        error.retry.decide_reuse(reused);
        // A kept connection that was closed meanwhile says nothing about its server; anything else does.
        if !error.retry() && error.esource() == &ErrorSource::Upstream && *error.etype() != ErrorType::ReadTimedout {
            if let Some(chosen) = &ctx.chosen {
                chosen.0.broke_off(clock::now());
            }
            error.set_retry(ctx.may_try_again());
        }
        error
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        reused: bool,
        _peer: &HttpPeer,
        _fd: std::os::unix::io::RawFd,
        digest: Option<&Digest>,
        ctx: &mut Context,
    ) -> Result<()> {
        let Some(pin) = ctx.upstream.as_ref().and_then(|upstream| upstream.pin) else { return Ok(()) };
        let shown = digest.and_then(|digest| digest.ssl_digest.as_ref()).map(|tls| tls.cert_digest.as_slice());
        if shown == Some(pin.as_slice()) {
            return Ok(());
        }
        tracing::error!(route = ctx.note.route.as_deref(), reused, "the upstream's certificate is not the pinned one");
        Error::e_explain(ErrorType::InvalidCert, "the upstream's certificate is not the pinned one")
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        upstream: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        let (Some(forward), Some(snapshot)) = (&ctx.forward, &ctx.snapshot) else {
            return Error::e_explain(ErrorType::InternalError, "no permit, no forward");
        };
        let own_host = ctx.chosen.as_ref().filter(|_| !forward.route.preserve_host);
        let own_host = own_host.map(|chosen| HeaderValue::from_str(&chosen.0.own_host)).transpose();
        let own_host = own_host.map_err(|_| Error::explain(ErrorType::InternalError, "a server's name is no host"))?;
        let fits = edit(upstream, |headers| {
            let changes = snapshot.reserved.changes(headers);
            apply(headers, changes);
            if let Some(name) = forward.stripped() {
                headers.remove(name);
            }
            headers.reserve(ADDED_HEADERS);
            for (name, value) in forward.headers() {
                // What is reserved was taken away before: whatever is there, is ours.
                headers.append(name.clone(), value.clone());
            }
            if let Some(trace) = &ctx.trace {
                apply(headers, trace.told());
            }
            if let Some(host) = own_host {
                headers.insert(HOST, host);
            }
            if let Some(token) = &ctx.upgrade
                && !token.as_bytes().eq_ignore_ascii_case(b"websocket")
            {
                // pingora forwards WebSocket upgrades by itself; other tokens only where the route lists them.
                headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
                headers.insert(UPGRADE, token.clone());
            }
            takes::fit(headers, forward, ctx.spooled)
        })?;
        if let Err(reason) = fits {
            ctx.unfit = Some(reason);
            return Error::e_explain(ErrorType::InvalidHTTPHeader, "more than the application's server takes");
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        if response_head::is_too_large(&response.headers) {
            return failure::by_the_application("the head of the answer is too large");
        }
        ctx.upstream_answered.get_or_insert_with(|| ctx.started.elapsed());
        if let Some(chosen) = &ctx.chosen {
            chosen.0.answered();
        }
        // The application has answered: how long its client goes on talking is between the two.
        ctx.stalled = None;
        if let Some(snapshot) = ctx.snapshot.as_ref().filter(|_| ctx.upgrade.is_some() && response.status != 101) {
            // It did not switch: a request like any other.
            session.set_read_timeout(Some(snapshot.config.limits.idle_timeout));
            session.set_write_timeout(Some(snapshot.config.limits.idle_timeout));
        }
        if response.status == 101 && ctx.upgrade.is_none() {
            return failure::by_the_application("101 that nobody asked for");
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        if ctx.upgrade.is_none() && self.keepalive(Duration::ZERO).is_none() {
            session.set_keepalive(None);
        }
        response_head::add_hsts(response, ctx)?;
        if let Some(others) = response_head::without_our_cookies(&response.headers) {
            response.remove_header(&SET_COOKIE);
            for value in others {
                response.append_header(SET_COOKIE, value)?;
            }
        }
        if let (Some(location), Some(chosen), Some(forward)) =
            (response.headers.get(LOCATION), &ctx.chosen, &ctx.forward)
        {
            let backend = &chosen.0;
            let told = (!forward.route.preserve_host).then_some(backend.own_host.as_str());
            let (host, here) = (&ctx.host, authority(&ctx.host, ctx.port));
            if let Some(here) = response_head::at_the_gate(location, host, &here, &backend.server, told) {
                response.insert_header(LOCATION, here)?;
            }
        }
        Ok(())
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Context) -> FailToProxy {
        let Some(reason) = ctx.unfit.or_else(|| failure::reason_of(error)) else {
            // The client is gone: nobody reads an answer.
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        };
        ctx.note.reason = Some(reason);
        // Kind and side only: the engine's context may quote what the application sent, cookies too.
        let (kind, side) = (error.etype().as_str(), error.esource().as_str());
        tracing::warn!(route = ctx.note.route.as_deref(), reason = ?reason, kind, side, "a request failed on its way");
        let status = reason.status();
        if session.response_written().is_none() {
            let response = match (&ctx.snapshot, &ctx.connection) {
                (Some(snapshot), Some(connection)) => {
                    let view = View { head: session.req_header(), host: &ctx.host, port: ctx.port, connection };
                    let refused = Refused { decision: ctx.note.decision.clone(), ..Refused::because(reason) };
                    let request = view.request(&[]);
                    cors::readable(snapshot, &request, refusal::respond(snapshot, &request, &refused, clock::now()))
                }
                _ => refusal::bare(reason, None),
            };
            // The client may be gone by now; the log line says what happened either way.
            ctx.closes = answer::send(session, ctx, response.closing()).await.is_ok();
        }
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, ctx: &mut Context) {
        ended::note(&self.gate, session, ctx);
        if ctx.closes
            && let ServerSession::H1(connection) = session.as_downstream_mut()
        {
            // The engine would drop it with what the client still sends unread. An answer that broke off is dropped: it must
            // not look as if it had ended.
            ctx.forward = None;
            connection.shutdown().await;
        }
    }

    fn suppress_error_log(&self, _session: &Session, _ctx: &Context, _error: &Error) -> bool {
        // `fail_to_proxy` has said it in our own words.
        true
    }
}

impl Engine {
    /// For how many seconds a connection may be kept for the next request. Not at all once the process is to stop: busy
    /// clients leave with `Connection: close`, before what is idle is closed. HTTP/2 has its GOAWAY.
    fn keepalive(&self, idle: Duration) -> Option<u64> {
        (!self.gate.leaving.load(Ordering::Acquire)).then_some(idle.as_secs())
    }
}

/// Server-sent events and gRPC say what they are; a watch that does not has `response_timeout: off` at its route. Events
/// are asked for without a body: `Accept` of a request that sends one takes no bound away.
fn is_stream(session: &mut Session) -> bool {
    let no_body = session.as_mut().is_body_empty();
    let head = session.req_header();
    let says = |name, value: &str| {
        head.headers.get(name).is_some_and(|said| said.as_bytes().to_ascii_lowercase().starts_with(value.as_bytes()))
    };
    (no_body && says(ACCEPT, "text/event-stream")) || says(CONTENT_TYPE, "application/grpc")
}
