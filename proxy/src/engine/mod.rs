//! pingora's hooks and the gate: a request view goes in, an action comes out. Besides `edge/`, the only place that
//! names pingora.
//!
//! Never decides. What the gate did not permit has no [`Forward`] in its context, and without one there is no peer.
mod answer;
mod backend;
mod body;
mod patience;
pub mod probe;
mod response_head;
mod roots;
mod takes;
pub mod upstream;

use crate::audit::access::Access;
use crate::clock;
use crate::edge::connection::ConnectionInfo;
use crate::ext_authz;
use crate::forward::Forward;
use crate::gate::{self, Gate};
use crate::headers::{Changes, disarmed_connection};
use crate::login::own_pages;
use crate::outcome::{Action, Note};
use crate::refusal::{self, Refused};
use crate::request::{Request, authority};
use crate::snapshot::Snapshot;
use crate::strict;
use crate::traces::{self, Span, TraceContext};
use crate::verify;
use async_trait::async_trait;
use backend::{Backend, Chosen};
use body::{BodyWatch, Stalled};
use bytes::Bytes;
use http::header::{
    ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, LOCATION, SET_COOKIE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderValue, Uri, Version};
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::v2::server::H2Options;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use torhaus_authz::{Name, Reason};
use upstream::Manner;

/// Largest body of a request to our own pages: a form, an ACME message, a logout token.
const MAX_OWN_BODY: usize = 64 * 1024;
/// How long such a body may take, and how long an unread one is drained.
const OWN_BODY_TIMEOUT: Duration = Duration::from_secs(10);
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

pub struct Engine {
    gate: Arc<Gate>,
}

/// What one request carries through pingora's hooks.
pub struct Context {
    started: Instant,
    snapshot: Option<Arc<Snapshot>>,
    connection: Option<Arc<ConnectionInfo>>,
    forward: Option<Box<Forward>>,
    /// Length of a body that was read because its application needs to know it.
    spooled: Option<usize>,
    /// Why the application cannot be sent this request.
    unfit: Option<Reason>,
    /// The server that has the request now, and all that were asked for it.
    chosen: Option<Chosen>,
    tried: Vec<Arc<Backend>>,
    /// The protocol that the client asked to switch to, if its route allows it.
    upgrade: Option<HeaderValue>,
    body: Option<BodyWatch>,
    /// While a body is awaited.
    stalled: Option<Stalled>,
    host: String,
    port: Option<u16>,
    /// From arrival to the application's first byte.
    upstream_answered: Option<Duration>,
    /// Its place in a trace, where requests are traced.
    trace: Option<TraceContext>,
    note: Note,
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
        Context {
            started: Instant::now(),
            snapshot: None,
            connection: None,
            forward: None,
            spooled: None,
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
        session.set_total_drain_timeout(Some(OWN_BODY_TIMEOUT));
        // Early hints (RFC 8297) would reach a client before the answer they belong to has been looked at.
        session.set_ignore_info_resp(true);

        if let Some(h1) = session.as_downstream().as_http1()
            && let Err(why) = strict::check_head(&h1.get_headers_raw_bytes())
        {
            ctx.note.reason = Some(Reason::BadRequest);
            return answer::send(session, refusal::bare(Reason::BadRequest, Some(why.sentence()))).await;
        }
        let head = session.req_header_mut();
        let changes = disarmed_connection(&head.headers);
        apply(head, changes)?;
        let bytes: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        if bytes > limits.max_header_bytes {
            ctx.note.reason = Some(Reason::HeaderTooLarge);
            return answer::send(session, refusal::bare(Reason::HeaderTooLarge, None)).await;
        }
        let target = match snapshot.read(&head.method, &head.uri, head.version, &head.headers) {
            Ok(target) => target,
            Err(why) => {
                let reason = why.reason();
                ctx.note.reason = Some(reason);
                return answer::send(session, refusal::bare(reason, Some(why.sentence()))).await;
            }
        };
        // From here on there is one path: this one is routed, decided on, and forwarded. The engine keeps an absolute
        // target beside the URI and would send that.
        if head.uri.path() != target.path || head.uri.authority().is_some() || !head.raw_path().starts_with(b"/") {
            // ... and one host: `:authority` (HTTP/2) is lost with the old address, and applications read `Host`.
            if let Some(authority) = head.uri.authority().map(ToString::to_string) {
                head.insert_header(HOST, authority)?;
            }
            let query = head.uri.query();
            let rewritten = query.map_or_else(|| target.path.clone(), |query| format!("{}?{query}", target.path));
            let uri = rewritten.parse::<Uri>().map_err(|_| Error::new(ErrorType::InvalidHTTPHeader))?;
            head.set_uri(uri);
        }

        let asks_by_grpc = ext_authz::is_question(&snapshot, &head.method, &target.host, &target.path);
        let body = if own_pages::wants_body(&snapshot, &head.method, &target.host, &target.path) {
            match read_body(session).await? {
                Some(body) => body,
                None => {
                    ctx.note.reason = Some(Reason::BodyTooLarge);
                    return answer::send(session, refusal::bare(Reason::BodyTooLarge, None)).await;
                }
            }
        } else {
            Bytes::new()
        };

        (ctx.host, ctx.port) = (target.host, target.port);
        let view = View { head: session.req_header(), host: &ctx.host, port: ctx.port, connection: &connection };
        let request = view.request(&body);
        let outcome = if asks_by_grpc && connection.tls.is_some() {
            ext_authz::answer(&self.gate, &snapshot, &request, clock::now()).await
        } else if verify::is_question(&request) {
            verify::answer(&self.gate, &snapshot, &request, clock::now()).await
        } else {
            gate::pass(&self.gate, &snapshot, &request, clock::now()).await
        };
        ctx.upgrade = request.headers.get(UPGRADE).cloned();
        ctx.note = outcome.note;
        match outcome.action {
            Action::Respond(response) => answer::send(session, response).await,
            Action::KeepForm { sign_in, cookie } => {
                let body = read_body(session).await?.unwrap_or_default();
                let head = session.req_header();
                let view = View { head, host: &ctx.host, port: ctx.port, connection: &connection };
                let response = refusal::keep_form(&snapshot, &view.request(&body), &sign_in);
                answer::send(session, response.with_cookie(&cookie).closing()).await
            }
            Action::Forward(forward) => {
                if ctx.upgrade.as_ref().is_some_and(|token| !upgrade_allowed(&forward, token)) {
                    ctx.upgrade = None;
                }
                if ctx.upgrade.is_some() && !may_switch(session.req_header()) {
                    ctx.note.reason = Some(Reason::BadRequest);
                    let why = "another protocol is switched to from HTTP/1.1, by a request without a body";
                    return answer::send(session, refusal::bare(Reason::BadRequest, Some(why)).closing()).await;
                }
                if ctx.upgrade.is_none() {
                    let limits = &snapshot.config.limits;
                    let largest = forward.route.max_body.unwrap_or(limits.max_body);
                    let slowest = forward.route.min_body_rate.unwrap_or(limits.min_body_rate);
                    let body = BodyWatch::new(largest, slowest, Instant::now());
                    let declared = session.req_header().headers.get(CONTENT_LENGTH);
                    let declared = declared.and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(0);
                    if let Err(reason) = body.declared(declared) {
                        ctx.note.reason = Some(reason);
                        return answer::send(session, refusal::bare(reason, None)).await;
                    }
                    ctx.body = Some(body);
                    // On HTTP/1.1 the engine's own timeout counts, and says 408.
                    if session.as_downstream().as_http1().is_none() && !session.as_mut().is_body_empty() {
                        ctx.stalled = Some(Stalled::watch(connection.clone(), limits.idle_timeout));
                    }
                } else {
                    // What takes over may be quiet for hours, either way; it ends with its session.
                    session.set_read_timeout(None);
                    session.set_write_timeout(None);
                }
                if takes::needs_length(session, &forward) {
                    ctx.spooled = takes::spool(session).await?;
                    if ctx.spooled.is_none() {
                        ctx.note.reason = Some(Reason::BodyTooLarge);
                        return answer::send(session, refusal::bare(Reason::BodyTooLarge, None).closing()).await;
                    }
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
        let upstream = snapshot.upstreams.for_request(forward).ok_or_else(unresolved)?;
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
        let upstream = ctx.forward.as_ref().zip(ctx.snapshot.as_ref()).and_then(|(f, s)| s.upstreams.for_request(f));
        let Some(pin) = upstream.and_then(|upstream| upstream.pin) else { return Ok(()) };
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
        let changes = snapshot.reserved.changes(&upstream.headers);
        apply(upstream, changes)?;
        if let Some(name) = forward.stripped() {
            upstream.remove_header(&name);
        }
        for (name, value) in forward.headers() {
            // What is reserved was taken away before: whatever is there, is ours.
            upstream.append_header(name.clone(), value.clone())?;
        }
        if let Some(trace) = &ctx.trace {
            apply(upstream, trace.told())?;
        }
        if let Some(chosen) = ctx.chosen.as_ref().filter(|_| !forward.route.preserve_host) {
            upstream.insert_header(HOST, &chosen.0.own_host)?;
        }
        if let Some(token) = &ctx.upgrade
            && !token.as_bytes().eq_ignore_ascii_case(b"websocket")
        {
            // pingora forwards WebSocket upgrades by itself; other tokens only where the route lists them.
            upstream.insert_header(CONNECTION, "upgrade")?;
            upstream.insert_header(UPGRADE, token)?;
        }
        if let Err(reason) = takes::fit(upstream, forward, ctx.spooled)? {
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
            return by_the_application("the head of the answer is too large");
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
            return by_the_application("101 that nobody asked for");
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
        if let Some(others) = response_head::without_our_cookies(&response.headers) {
            response.remove_header(&SET_COOKIE);
            for value in others {
                response.append_header(SET_COOKIE, value)?;
            }
        }
        if let (Some(location), Some(chosen)) = (response.headers.get(LOCATION), &ctx.chosen) {
            let (host, server) = (&ctx.host, &chosen.0.server);
            if let Some(here) = response_head::at_the_gate(location, host, &authority(host, ctx.port), server) {
                response.insert_header(LOCATION, here)?;
            }
        }
        Ok(())
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Context) -> FailToProxy {
        let reason = match (error.esource(), error.etype()) {
            _ if ctx.unfit.is_some() => ctx.unfit.unwrap_or(Reason::InternalError),
            (ErrorSource::Downstream, ErrorType::HTTPStatus(413)) => Reason::BodyTooLarge,
            (ErrorSource::Downstream, ErrorType::HTTPStatus(408) | ErrorType::ReadTimedout) => Reason::RequestTooSlow,
            (_, ErrorType::InvalidCert | ErrorType::TLSHandshakeFailure | ErrorType::HandshakeError) => {
                Reason::UpstreamNotTrusted
            }
            (_, ErrorType::ConnectTimedout | ErrorType::ReadTimedout | ErrorType::TLSHandshakeTimedout) => {
                Reason::UpstreamTimeout
            }
            (_, ErrorType::ConnectRefused | ErrorType::ConnectNoRoute | ErrorType::ConnectError) => {
                Reason::UpstreamUnavailable
            }
            (ErrorSource::Upstream, _) => Reason::UpstreamFailed,
            // The client is gone or sent nonsense: nobody reads an answer, or it gets the shortest.
            (ErrorSource::Downstream, ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed) => {
                return FailToProxy { error_code: 0, can_reuse_downstream: false };
            }
            (ErrorSource::Downstream, _) => Reason::BadRequest,
            _ => Reason::InternalError,
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
                    refusal::respond(snapshot, &view.request(&[]), &refused, clock::now())
                }
                _ => refusal::bare(reason, None),
            };
            // The client may be gone by now; the log line says what happened either way.
            let _ = answer::send(session, response.closing()).await;
        }
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, ctx: &mut Context) {
        let status = session.response_written().map_or(0, |response| response.status.as_u16());
        if session.as_downstream().as_http1().is_some() {
            match &ctx.connection {
                Some(connection) if session.is_body_done() => connection.progress.next_head(),
                // What is left of the body would count as the next head, or that head as body.
                _ => session.set_keepalive(None),
            }
        }
        let nowhere = || Name::from("-");
        let listener = ctx.connection.as_ref().map_or_else(nowhere, |connection| connection.listener.clone());
        let route = ctx.note.route.clone();
        let duration = ctx.started.elapsed();
        self.gate.route_metrics.of(&self.gate.metrics, &listener, route.as_ref()).answered(status, duration);
        if let (Some(snapshot), Some(trace)) = (&ctx.snapshot, ctx.trace.filter(|trace| trace.sampled))
            && let Some(traces) = &snapshot.traces
        {
            let head = session.req_header();
            let span = Span {
                context: trace,
                started: ctx.started,
                ended: ctx.started + duration,
                stages: ctx.note.stages.clone(),
                upstream_answered: ctx.upstream_answered.map(|after| ctx.started + after),
                method: traces::method(&head.method),
                version: head.version,
                status,
                listener: listener.clone(),
                route: route.clone(),
                decision: ctx.note.decision.clone(),
                reason: ctx.note.reason,
            };
            traces.record(span, &self.gate.metrics.traces);
        }
        if !self.gate.access.is_on() {
            return;
        }
        let head = session.req_header();
        self.gate.access.log(Access {
            time: clock::now(),
            listener,
            client: ctx.connection.as_ref().map(|connection| connection.client.ip()),
            method: head.method.as_str().into(),
            host: ctx.host.as_str().into(),
            path: head.uri.path().into(),
            status,
            bytes: u64::try_from(session.body_bytes_sent()).unwrap_or(u64::MAX),
            duration,
            route,
            identity: ctx.note.identity.clone(),
            decision: ctx.note.decision.clone(),
            reason: ctx.note.reason,
            upstream: ctx.upstream_answered,
        });
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

impl Context {
    /// Whether another server may be asked after the chosen one was no good.
    fn may_try_again(&self) -> bool {
        let upstream = self.forward.as_ref().zip(self.snapshot.as_ref()).and_then(|(f, s)| s.upstreams.for_request(f));
        self.chosen.is_some() && upstream.is_some_and(|upstream| upstream.may_try_again(&self.tried))
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

/// What is wrong with an answer.
fn by_the_application<T>(what: &'static str) -> Result<T> {
    let mut error = Error::explain(ErrorType::InvalidHTTPHeader, what);
    error.esource = ErrorSource::Upstream;
    Err(error)
}

/// A request as pingora holds it.
struct View<'a> {
    head: &'a RequestHeader,
    host: &'a str,
    port: Option<u16>,
    connection: &'a Arc<ConnectionInfo>,
}

impl<'a> View<'a> {
    /// Our own view of it. The path was made canonical before.
    fn request(&self, body: &'a [u8]) -> Request<'a> {
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

/// pingora keeps the spelling of h1 headers beside the map; its own methods keep both in step.
fn apply(head: &mut RequestHeader, changes: Changes) -> Result<()> {
    for name in changes.remove {
        head.remove_header(&name);
    }
    if let Some((name, values)) = changes.replace {
        head.remove_header(&name);
        for value in values {
            head.append_header(name.clone(), value)?;
        }
    }
    Ok(())
}

/// What the connection layer noted; the same on h1 and h2.
fn connection_of(session: &Session) -> Option<Arc<ConnectionInfo>> {
    let carried = session.as_downstream().digest()?.proxy_digest.as_ref()?.user_data.as_ref()?;
    carried.downcast_ref::<Arc<ConnectionInfo>>().cloned()
}

/// The whole body of a request to one of our own pages; none if it is too large.
async fn read_body(session: &mut Session) -> Result<Option<Bytes>> {
    let declared =
        session.req_header().headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > MAX_OWN_BODY) {
        return Ok(None);
    }
    let read = async {
        let mut body = Vec::new();
        while let Some(part) = session.read_request_body().await? {
            body.extend_from_slice(&part);
            if body.len() > MAX_OWN_BODY {
                return Ok(None);
            }
        }
        Ok(Some(body.into()))
    };
    let too_slow = |_| Error::explain(ErrorType::ReadTimedout, "the body of a request to one of our pages");
    tokio::time::timeout(OWN_BODY_TIMEOUT, read).await.map_err(too_slow)?
}

/// Only HTTP/1.1 has this way to another protocol (RFC 9110 section 7.8); a body would have no bounds before it.
fn may_switch(head: &RequestHeader) -> bool {
    let length = head.headers.get(CONTENT_LENGTH);
    head.version == Version::HTTP_11
        && !head.headers.contains_key(TRANSFER_ENCODING)
        && length.is_none_or(|length| length.as_bytes().iter().all(|digit| *digit == b'0'))
}

fn upgrade_allowed(forward: &Forward, token: &HeaderValue) -> bool {
    token.as_bytes().eq_ignore_ascii_case(b"websocket")
        || forward.route.upgrades.iter().any(|allowed| token.as_bytes().eq_ignore_ascii_case(allowed.as_bytes()))
}
