//! Upstreams: where an application is, on which servers, and how one of them is chosen.
use super::settings::{default, positive};
use super::{Cx, host, resolve, upstream_tls};
use crate::at::{At, List};
use crate::config::{Balance, HealthCheck, Probe, Upstream, UpstreamScheme, UpstreamServer};
use crate::file::route::{self as typed, Route};
use crate::place::Place;
use crate::units::Mistake;
use std::path::Path;
use std::time::Duration;
use url::Url;

/// What stands for the application where another proxy serves it.
const FORWARD_AUTH: &str = "forward_auth";
const UNIX: &str = "unix:";

/// The inner `None`: another proxy serves it. The outer one is a mistake.
pub(crate) fn check(route: &Route, cx: &mut Cx<'_>) -> Option<Option<Upstream>> {
    let connect_timeout = positive(route.connect_timeout.as_ref(), default::CONNECT_TIMEOUT, cx);
    let response_timeout = response_timeout(route.response_timeout.as_ref(), cx);
    let found = match route.upstream.get()? {
        typed::Upstream::Url(text) if text == FORWARD_AUTH => return Some(None),
        typed::Upstream::Url(text) => {
            let place = &route.upstream.place;
            let server = one(text, cx.base).map_err(|mistake| cx.mistake(place, mistake)).ok();
            server.map(|(scheme, server)| Servers { primary: vec![server], ..Servers::of(scheme) })
        }
        typed::Upstream::Servers(servers) => several(servers, &route.upstream.place, cx),
    };
    let Some(found) = found else {
        // What `upstream_tls` says is checked all the same.
        if let Some(tls) = route.upstream_tls.as_ref().and_then(At::get) {
            upstream_tls::pin(tls, cx);
        }
        return None;
    };
    let hosts: Vec<&str> = found.primary.iter().chain(&found.standby).filter_map(host_of).collect();
    let tls = upstream_tls::check(route, found.scheme, &hosts, cx);
    Some(Some(Upstream {
        scheme: found.scheme,
        tls: tls?,
        connect_timeout: connect_timeout?,
        response_timeout: response_timeout?,
        primary: found.primary,
        standby: found.standby,
        balance: found.balance,
        health: found.health,
    }))
}

struct Servers {
    scheme: UpstreamScheme,
    primary: Vec<UpstreamServer>,
    standby: Vec<UpstreamServer>,
    balance: Balance,
    health: Option<HealthCheck>,
}

impl Servers {
    fn of(scheme: UpstreamScheme) -> Self {
        Self { scheme, primary: Vec::new(), standby: Vec::new(), balance: Balance::default(), health: None }
    }
}

fn host_of(server: &UpstreamServer) -> Option<&str> {
    match server {
        UpstreamServer::Tcp { host, .. } => Some(host),
        UpstreamServer::Unix(_) => None,
    }
}

fn several(typed: &typed::Servers, place: &Place, cx: &mut Cx<'_>) -> Option<Servers> {
    let primary = all(&typed.primary, cx);
    let standby = all(&typed.standby, cx);
    let health = match &typed.health {
        Some(at) => at.get().and_then(|typed| health(typed, &at.place, cx)).map(Some),
        None => Some(None),
    };
    let (primary, standby, health) = (primary?, standby?, health?);
    let Some(scheme) = primary.first().map(|(scheme, _)| *scheme) else {
        if !cx.is_reported(place) {
            let hint = "add `primary: [http://10.0.0.7:8080]`, or write one server: `upstream: http://10.0.0.7:8080`";
            cx.error(place, "`upstream` names no server", hint);
        }
        return None;
    };
    if primary.iter().chain(&standby).any(|(other, _)| *other != scheme) {
        cx.error(place, "the servers of one application are reached in different ways", "use the same scheme for all");
        return None;
    }
    let servers = |found: Vec<(UpstreamScheme, UpstreamServer)>| found.into_iter().map(|(_, server)| server).collect();
    let (primary, standby): (Vec<_>, Vec<_>) = (servers(primary), servers(standby));
    for (at, server) in primary.iter().chain(&standby).enumerate() {
        if primary.iter().chain(&standby).take(at).any(|before| before == server) {
            cx.error(place, "a server is named twice", "remove one of the two");
            return None;
        }
    }
    if let Some(HealthCheck { probe: Probe::Grpc { .. }, .. }) = health
        && !matches!(scheme, UpstreamScheme::H2 | UpstreamScheme::H2c)
    {
        cx.error(place, "gRPC needs HTTP/2", "write the servers as `h2://…`, or `h2c://…` without TLS");
        return None;
    }
    let balance = match typed.balance.as_ref().map(At::get) {
        None => Balance::default(),
        Some(Some(typed::Balance::RoundRobin)) => Balance::RoundRobin,
        Some(Some(typed::Balance::LeastConnections)) => Balance::LeastConnections,
        Some(Some(typed::Balance::Sticky)) => Balance::Sticky,
        Some(None) => return None,
    };
    Some(Servers { scheme, primary, standby, balance, health })
}

fn all(list: &List<String>, cx: &mut Cx<'_>) -> Option<Vec<(UpstreamScheme, UpstreamServer)>> {
    let base = cx.base;
    let mut whole = list.whole;
    let mut found = Vec::new();
    for at in &list.items {
        match cx.parse(at, |text| one(text, base)) {
            Some(server) => found.push(server),
            None => whole = false,
        }
    }
    whole.then_some(found)
}

fn health(typed: &typed::Health, place: &Place, cx: &mut Cx<'_>) -> Option<HealthCheck> {
    let every = positive(typed.every.as_ref(), default::HEALTH_EVERY, cx);
    let probe = *typed.probe.get()?;
    let text = |at: Option<&At<String>>| at.and_then(At::text).map(str::to_owned);
    let misplaced = match probe {
        typed::Probe::Http => typed.service.as_ref(),
        typed::Probe::Grpc => typed.path.as_ref(),
        typed::Probe::Tcp => typed.path.as_ref().or(typed.service.as_ref()),
    };
    if let Some(at) = misplaced {
        cx.error(&at.place, "this probe has no use for it", "`path` is for `http`, `service` for `grpc`");
        return None;
    }
    let probe = match probe {
        typed::Probe::Tcp => Probe::Tcp,
        typed::Probe::Grpc => Probe::Grpc { service: text(typed.service.as_ref()).unwrap_or_default() },
        typed::Probe::Http => {
            let Some(path) = text(typed.path.as_ref()) else {
                cx.error(place, "`path` is missing", "the page that is asked for: `path: /healthz`");
                return None;
            };
            if !path.starts_with('/') || !path.bytes().all(|b| b.is_ascii_graphic()) {
                cx.error(place, format!("`{path}` is not a path"), "as in `path: /healthz`");
                return None;
            }
            Probe::Http { path }
        }
    };
    Some(HealthCheck { probe, every: every? })
}

/// One server, as it is typed.
fn one(text: &str, base: &Path) -> Result<(UpstreamScheme, UpstreamServer), Mistake> {
    if let Some(path) = text.strip_prefix(UNIX) {
        if path.is_empty() || path.starts_with("//") {
            return Err(Mistake::new(format!("`{text}` is not a socket")).hint("as in `unix:/run/app.sock`"));
        }
        return Ok((UpstreamScheme::Http, UpstreamServer::Unix(resolve(base, path))));
    }
    let url = parse(text)?;
    let (scheme, port) = match url.scheme() {
        "https" => (UpstreamScheme::Https, 443),
        "h2" => (UpstreamScheme::H2, 443),
        "h2c" => (UpstreamScheme::H2c, 80),
        _ => (UpstreamScheme::Http, 80),
    };
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok((scheme, UpstreamServer::Tcp { host, port: url.port().unwrap_or(port) }))
}

fn parse(text: &str) -> Result<Url, Mistake> {
    let url = host::url(text, &["http", "https", "h2c", "h2"])?;
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let server = format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default());
        return Err(Mistake::new(
            "an upstream is a server, without a path: the application sees the path of the request",
        )
        .hint(format!("write `{server}`")));
    }
    if url.port() == Some(0) {
        return Err(Mistake::new("port 0 is nowhere").hint("write the port the application listens on"));
    }
    Ok(url)
}

/// `off` waits as long as it takes. The outer `None` is a mistake.
fn response_timeout(at: Option<&At<String>>, cx: &mut Cx<'_>) -> Option<Option<Duration>> {
    match at {
        Some(at) if at.text() == Some("off") => Some(None),
        at => positive(at, default::RESPONSE_TIMEOUT, cx).map(Some),
    }
}
