//! Forward authentication: another reverse proxy asks whether a request of its own may pass.
//!
//! ```text
//! client -> nginx, Apache, Traefik, Caddy -- GET /.torhaus/verify, which describes the request --> gate::pass
//!                                         <- 200 and who it is | 401, 403 | a redirect to sign in
//! ```
//!
//! Only listed peers are heard: what they say about a request (host, path, method, the client's address) is believed.
//! Never decides, and says 200 to a permit only: an answer of the gate's own, such as to a preflight, is none.
use crate::edge::connection::{ConnectionInfo, TlsInfo};
use crate::edge::pace::Progress;
use crate::edge::stream::Cutter;
use crate::forward::Forward;
use crate::gate::{self, Gate};
use crate::login::own_pages;
use crate::outcome::{Action, Note, Outcome};
use crate::refusal;
use crate::request::Request;
use crate::response::Response;
use crate::snapshot::Snapshot;
use http::header::{CONTENT_LENGTH, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, TRANSFER_ENCODING};
use http::{Method, StatusCode, Uri, Version};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use torhaus_authz::{Reason, Timestamp};
use torhaus_config::{AskingProxy, AskingStyle, FORWARD_AUTH_LISTENER, Route};

const PATH: &str = "/.torhaus/verify";
/// What a host without a port means (RFC 9110 section 4.2.2).
const HTTPS: u16 = 443;
/// Why, for the asking proxy's log.
pub(crate) const REASON: HeaderName = HeaderName::from_static("x-torhaus-reason");

/// Whether a request is a question about another one.
pub fn is_question(request: &Request<'_>) -> bool {
    request.path == PATH && request.connection.tls.is_some()
}

/// Answers a question: the request that it describes takes the same way as any other.
pub async fn answer(gate: &Gate, snapshot: &Snapshot, question: &Request<'_>, now: Timestamp) -> Outcome {
    let (style, described) = match understood(snapshot, question) {
        Ok(understood) => understood,
        Err((reason, why)) => return refused(reason, why),
    };
    let Outcome { action, note } = asked(gate, snapshot, &described, now).await;
    let response = match let_in(action) {
        Ok(forward) => allowed(&forward, snapshot, &described.headers),
        Err(response) => *response,
    };
    let response = match style {
        AskingStyle::XForwarded | AskingStyle::Grpc => response,
        AskingStyle::XOriginal => plainly(response),
    };
    let why = note.reason.map(|reason| HeaderValue::try_from(reason.to_string()));
    note.respond(match why {
        Some(Ok(why)) => response.with(REASON, why),
        _ => response,
    })
}

/// What is forwarded, or else what the client gets instead.
pub(crate) fn let_in(action: Action) -> Result<Box<Forward>, Box<Response>> {
    match action {
        Action::Forward(forward) => Ok(forward),
        Action::KeepForm { sign_in, cookie } => Err(Response::redirect(&sign_in).with_cookie(&cookie).into()),
        Action::Respond(response) => Err(response.into()),
    }
}

/// Why a question is not answered, for the asking proxy's log.
pub(crate) type NotHeard = (Reason, &'static str);

fn understood(snapshot: &Snapshot, question: &Request<'_>) -> Result<(AskingStyle, Described), NotHeard> {
    let asking = heard(snapshot, question)?;
    not_disguised(snapshot, question.headers, question)?;
    let described = Described::read(snapshot, asking, question).map_err(|why| not_understood(question, why))?;
    Ok((asking.style, described))
}

pub(crate) fn not_understood(question: &Request<'_>, why: &'static str) -> NotHeard {
    tracing::warn!(peer = %question.connection.peer.ip(), why, "a question for authorisation is not understood");
    (Reason::BadRequest, why)
}

/// Who asks, if it may.
///
/// # Errors
/// 1. it is not listed, or does not speak for itself; 2. another host was meant.
pub(crate) fn heard<'a>(snapshot: &'a Snapshot, question: &Request<'_>) -> Result<&'a AskingProxy, NotHeard> {
    let peer = question.connection.peer.ip().to_canonical();
    // Whoever comes through a sender of PROXY headers is not that sender, listed or not.
    let own_words = question.connection.client.ip().to_canonical() == peer;
    let Some(asking) = snapshot.asking_proxy(peer).filter(|_| own_words) else {
        return Err((Reason::PeerNotTrusted, "this address is no peer of `forward_auth`"));
    };
    if !snapshot.belongs(question) {
        return Err((Reason::WrongHost, Reason::WrongHost.words(torhaus_authz::Language::English).what_to_do));
    }
    Ok(asking)
}

/// The client wrote these, and the asking proxy would pass them on to an application that may fold names.
///
/// # Errors
/// A reserved header is there in disguise.
pub(crate) fn not_disguised(snapshot: &Snapshot, headers: &HeaderMap, question: &Request<'_>) -> Result<(), NotHeard> {
    let Some(name) = snapshot.reserved.disguised(headers) else { return Ok(()) };
    let peer = question.connection.peer.ip();
    tracing::warn!(%peer, %name, "a question for authorisation carries a reserved header in disguise");
    Err((Reason::BadRequest, "a reserved header is spelled in another way"))
}

/// What the gate says to the request that is asked about; it answers in person to nothing but a refusal.
pub(crate) async fn asked(gate: &Gate, snapshot: &Snapshot, described: &Described, now: Timestamp) -> Outcome {
    let request = described.request();
    if own_pages::serves(snapshot, &request) {
        return refused(Reason::NoRoute, "the gate's own pages are sent to the gate itself, not asked about");
    }
    let Outcome { action, mut note } = gate::pass(gate, snapshot, &request, now).await;
    let action = match action {
        Action::Respond(response) if response.status.is_success() => {
            note.reason = Some(Reason::CrossOrigin);
            let why = "a preflight is answered by nobody who only authorises";
            Action::Respond(refusal::bare(Reason::CrossOrigin, Some(why)))
        }
        action => action,
    };
    Outcome { action, note }
}

pub(crate) fn refused(reason: Reason, detail: &str) -> Outcome {
    // 403 whatever it is: the only refusal that every asking proxy understands.
    let mut response = refusal::bare(reason, Some(detail));
    response.status = StatusCode::FORBIDDEN;
    Note { reason: Some(reason), ..Note::empty() }.respond(response)
}

/// Who the caller is, for the proxy to pass on, and its cookies without ours.
fn allowed(forward: &Forward, snapshot: &Snapshot, headers: &HeaderMap) -> Response {
    let mut response = Response::empty(StatusCode::OK);
    let told = forward.told().map(|(name, value)| (name.clone(), value.clone()));
    response.headers.extend(told);
    // Every name that the application may be told by, also with nothing to tell: a proxy that copies only what is there
    // would let the client's own through.
    for name in told_by(&forward.route) {
        if !response.headers.iter().any(|(known, _)| *known == name) {
            response.headers.push((name, HeaderValue::from_static("")));
        }
    }
    let changed = snapshot.reserved.changes(headers).replace;
    let cookies = changed.map_or_else(|| headers.get_all(COOKIE).iter().cloned().collect(), |(_, values)| values);
    let cookie = cookies.into_iter().next().unwrap_or(HeaderValue::from_static(""));
    response.headers.push((COOKIE, cookie));
    response
}

/// Every name that an application may be told by.
pub(crate) fn told_by(route: &Route) -> impl Iterator<Item = HeaderName> {
    let names = &route.headers;
    let assertion = names.assertion.then_some("x-torhaus-assertion");
    let certificate = names.client_certificate.then_some("client-cert");
    let token = route.access_token.as_deref().filter(|name| !name.eq_ignore_ascii_case("authorization"));
    let names = [&names.user, &names.email, &names.groups, &names.name].into_iter().filter_map(|name| name.as_deref());
    let all = names.chain(assertion).chain(certificate).chain(token);
    all.filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
}

/// For those who understand 2xx, 401 and 403 and nothing else: where to sign in stands in `Location` of a 401.
fn plainly(mut response: Response) -> Response {
    let status = response.status;
    if status.is_redirection() && response.headers.iter().any(|(name, _)| *name == LOCATION) {
        response.status = StatusCode::UNAUTHORIZED;
    } else if status.is_client_error() && status != StatusCode::UNAUTHORIZED {
        response.status = StatusCode::FORBIDDEN;
    }
    response
}

/// The request that is asked about, as the asking proxy describes it.
pub(crate) struct Described {
    method: Method,
    host: String,
    port: Option<u16>,
    path: String,
    query: Option<String>,
    pub headers: HeaderMap,
    connection: Arc<ConnectionInfo>,
}

/// What an asking proxy says of a request, in whatever way.
pub(crate) struct Said<'a> {
    pub method: &'a str,
    pub proto: &'a str,
    pub authority: &'a str,
    /// Path and query.
    pub target: &'a str,
    pub client: IpAddr,
}

impl Described {
    /// # Errors
    /// What is missing, there twice, or has two readings, in words.
    fn read(snapshot: &Snapshot, asking: &AskingProxy, question: &Request<'_>) -> Result<Self, &'static str> {
        let said = |name: &'static str, why| question.header(name).filter(|value| !value.is_empty()).ok_or(why);
        let (method, proto, authority, target) = match asking.style {
            AskingStyle::XOriginal => {
                let url = said("x-original-url", "one `X-Original-URL: https://HOST/PATH` is needed")?;
                let (proto, rest) = url.split_once("://").ok_or("`X-Original-URL` is not a URL")?;
                let (authority, target) = rest.split_at(rest.find('/').ok_or("`X-Original-URL` has no path")?);
                (said("x-original-method", "one `X-Original-Method` is needed")?, proto, authority, target)
            }
            AskingStyle::XForwarded => (
                said("x-forwarded-method", "one `X-Forwarded-Method` is needed")?,
                said("x-forwarded-proto", "one `X-Forwarded-Proto` is needed")?,
                said("x-forwarded-host", "one `X-Forwarded-Host` is needed")?,
                said("x-forwarded-uri", "one `X-Forwarded-Uri` is needed")?,
            ),
            AskingStyle::Grpc => return Err("an `envoy` asks by gRPC"),
        };
        let why = "`X-Forwarded-For` with the client's address is needed";
        let client = client(snapshot, question.header("x-forwarded-for").ok_or(why)?)?;
        Self::of(snapshot, question, question.headers.clone(), &Said { method, proto, authority, target, client })
    }

    /// `headers`: those of the request that is asked about.
    ///
    /// # Errors
    /// What has two readings, in words.
    pub fn of(
        snapshot: &Snapshot,
        question: &Request<'_>,
        mut headers: HeaderMap,
        said: &Said<'_>,
    ) -> Result<Self, &'static str> {
        let Said { method, proto, authority, target, client } = *said;
        if proto != "https" {
            return Err("sessions are never sent in the clear: redirect to https before asking");
        }
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| "the method is malformed")?;
        let uri = target.parse::<Uri>().ok().filter(|uri| uri.authority().is_none() && target.starts_with('/'));
        // All of it: what comes after a `#` is left out of a URI, and forwarded all the same.
        let uri = uri.filter(|uri| uri.path_and_query().is_some_and(|all| all.as_str() == target));
        let uri = uri.ok_or("the path is malformed")?;
        for name in [CONTENT_LENGTH, TRANSFER_ENCODING] {
            headers.remove(name);
        }
        headers.insert(HOST, HeaderValue::from_str(authority).map_err(|_| "the host is malformed")?);
        let found = snapshot.read(&method, &uri, Version::HTTP_11, &headers).map_err(|why| why.sentence())?;
        // The asking proxy forwards the path as it was; what is decided has to be the same.
        if found.path != uri.path() {
            return Err("the path is not canonical, so an application may read another one than the policy");
        }
        let connection = connection(snapshot, question, (&found.host, found.port), client);
        let query = uri.query().map(str::to_owned);
        Ok(Self { method, host: found.host, port: found.port, path: found.path, query, headers, connection })
    }

    fn request(&self) -> Request<'_> {
        Request {
            method: &self.method,
            host: &self.host,
            port: self.port,
            path: &self.path,
            query: self.query.as_deref(),
            headers: &self.headers,
            connection: &self.connection,
            body: &[],
        }
    }
}

/// The last address that no proxy of ours wrote about itself: what stands before it, the client wrote.
pub(crate) fn client(snapshot: &Snapshot, said: &str) -> Result<IpAddr, &'static str> {
    let why = "the client's address is needed, as in `X-Forwarded-For: 192.0.2.7`";
    let ours = |address: &IpAddr| snapshot.config.trusted_proxies.iter().any(|net| net.contains(address));
    let mut last = None;
    for part in said.rsplit(',') {
        let address = part.trim().parse::<IpAddr>().map_err(|_| why)?.to_canonical();
        last = Some(address);
        if !ours(&address) {
            break;
        }
    }
    last.ok_or(why)
}

/// The connection of a client that we do not see: its TLS ends at the asking proxy, so no certificate is known here, and
/// the port that was connected to is the one the proxy was asked for.
fn connection(
    snapshot: &Snapshot,
    question: &Request<'_>,
    (host, port): (&str, Option<u16>),
    client: IpAddr,
) -> Arc<ConnectionInfo> {
    let tls = question.connection.tls.as_ref().map(|tls| TlsInfo {
        server_name: host.to_owned(),
        group: snapshot.groups.find(host).unwrap_or(&tls.group).clone(),
        peer_chain: Vec::new(),
        peer_sha256: None,
        version: tls.version,
        cipher: tls.cipher,
        key_exchange: tls.key_exchange.clone(),
        alpn: tls.alpn,
        resumed: tls.resumed,
    });
    Arc::new(ConnectionInfo {
        listener: FORWARD_AUTH_LISTENER.into(),
        client: SocketAddr::new(client, 0),
        peer: question.connection.peer,
        local_port: port.unwrap_or(HTTPS),
        tls,
        cutter: Cutter::default(),
        progress: Progress::default(),
        backlog: Arc::default(),
        origin: OnceLock::new(),
    })
}
