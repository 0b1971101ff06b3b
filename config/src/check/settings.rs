//! The settings that stand alone: portal, trusted proxies, networks, sessions, limits, admin address.
use super::listeners::{Listeners, address};
use super::{Cx, host, resolve};
use crate::at::{At, List};
use crate::config::{Admin, HostPattern, Limits, Portal, Sessions};
use crate::file;
use crate::units::{self, Mistake};
use ipnet::IpNet;
use std::path::PathBuf;
use std::time::Duration;
use torhaus_authz::Country;

/// Defaults; their reasons stand in `reference.rs`, and so in `docs/config.md`.
pub(crate) mod default {
    use std::time::Duration;

    pub(crate) const STATE_DIR: &str = "state";
    pub(crate) const POLICY_FILE: &str = "policy.yaml";
    pub(crate) const HSTS: Duration = Duration::from_secs(365 * 24 * 3600);
    pub(crate) const SESSION_IDLE: Duration = Duration::from_secs(8 * 3600);
    pub(crate) const SESSION_ABSOLUTE: Duration = Duration::from_secs(24 * 3600);
    pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
    pub(crate) const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
    pub(crate) const MAX_CONNECTIONS: usize = 10_000;
    pub(crate) const MAX_CONNECTIONS_PER_ADDRESS: usize = 1_000;
    pub(crate) const MAX_HANDSHAKES: usize = 1_000;
    pub(crate) const MAX_HEADER_BYTES: usize = 32 * 1024;
    pub(crate) const MAX_HEADERS: usize = 100;
    pub(crate) const MAX_BODY: usize = 1024 * 1024 * 1024;
    pub(crate) const MIN_BODY_RATE: usize = 512;
    pub(crate) const LOGINS_PER_MINUTE: usize = 300;
    pub(crate) const REPORTS_PER_MINUTE: usize = 10;
    pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
    pub(crate) const DRAIN: Duration = Duration::from_secs(30);
    pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
    pub(crate) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
    pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(55);
    pub(crate) const HEALTH_EVERY: Duration = Duration::from_secs(5);
    pub(crate) const POSTURE_MAX_AGE: Duration = Duration::from_secs(24 * 3600);
    pub(crate) const ENROLMENT: Duration = Duration::from_secs(90 * 24 * 3600);
    pub(crate) const ACME_REQUESTS: u32 = 60;
    pub(crate) const ACME_FAILED: u32 = 20;
    pub(crate) const CONTROLLER: &str = "torhaus.dev/ingress";
    pub(crate) const LEASE: &str = "torhaus";
    pub(crate) const ORGANISATION: &str = "Torhaus";
}

pub(crate) fn state_dir(at: Option<&At<String>>, cx: &mut Cx<'_>) -> Option<PathBuf> {
    let path = match at {
        Some(at) => resolve(cx.base, at.text()?),
        None => resolve(cx.base, default::STATE_DIR),
    };
    if let Some(at) = at
        && path.is_file()
    {
        cx.error(&at.place, format!("`{}` is a file, not a folder", path.display()), "name a folder of its own");
        return None;
    }
    Some(path)
}

pub(crate) fn portal(at: &At<file::Portal>, listeners: &Listeners, cx: &mut Cx<'_>) -> Option<Portal> {
    let at = &at.get()?.url;
    let mut url = cx.parse(at, |text| host::url(text, &["https", "http"]))?;
    if url.scheme() == "http" {
        cx.error(
            &at.place,
            "the portal is reached by https only: sessions are never sent in the clear",
            "write `https://…`",
        );
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        cx.error(
            &at.place,
            "the portal is a whole host: its URL has no path",
            "write only `https://host` or with a port",
        );
        return None;
    }
    let host_text = url.host_str().unwrap_or_default().to_owned();
    let host = match host::pattern(&host_text) {
        Ok(HostPattern::Exact(host)) => host,
        Ok(HostPattern::Wildcard(_) | HostPattern::Any) => {
            cx.error(&at.place, "the portal is one host, not a wildcard", "write `https://auth.example.test`");
            return None;
        }
        Err(mistake) => {
            cx.mistake(&at.place, mistake);
            return None;
        }
    };
    if listeners.covers(&HostPattern::Exact(host.clone())) == Some(false) {
        let names = listeners.certificate_names();
        cx.error(
            &at.place,
            format!("no listener has a certificate for the portal's host `{host}`"),
            format!("have one issued that names it; the certificates name {}", listed(&names)),
        );
    }
    // "Without a trailing slash": Url always shows one for an empty path, so paths are joined, never appended.
    url.set_path("");
    Some(Portal { url, host })
}

/// `off` says nothing about it. The outer `None` is a mistake.
pub(crate) fn hsts(at: Option<&At<String>>, cx: &mut Cx<'_>) -> Option<Option<Duration>> {
    match at {
        Some(at) if at.text() == Some("off") => Some(None),
        at => positive(at, default::HSTS, cx).map(Some),
    }
}

pub(crate) fn trusted_proxies(list: &List<String>, cx: &mut Cx<'_>) -> Vec<IpNet> {
    let hint = "name the address of the proxy in front; with no proxy in front, write `trusted_proxies: []`";
    proxies(list, hint, cx)
}

/// Networks of those whose word about a caller counts.
pub(crate) fn proxies(list: &List<String>, hint: &str, cx: &mut Cx<'_>) -> Vec<IpNet> {
    let mut found = Vec::new();
    for item in &list.items {
        let Some(network) = cx.parse(item, network) else {
            continue;
        };
        if network.prefix_len() == 0 {
            cx.error(&item.place, format!("`{network}` trusts everybody's word about who they are"), hint);
            continue;
        }
        found.push(network);
    }
    found
}

/// `10.0.0.0/8`, or one address.
pub(crate) fn network(text: &str) -> Result<IpNet, Mistake> {
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        return Ok(address.into());
    }
    let network: IpNet = text.parse().map_err(|_| {
        Mistake::new(format!("`{text}` is not a network")).hint("write it as `10.0.0.0/8` or `fd00::/8`")
    })?;
    if network != network.trunc() {
        let meant = network.trunc();
        return Err(
            Mistake::new(format!("`{text}` has bits behind its prefix")).hint(format!("did you mean `{meant}`?"))
        );
    }
    Ok(network)
}

pub(crate) fn country(text: &str) -> Result<Country, Mistake> {
    Country::parse(text).ok_or_else(|| {
        let mistake = Mistake::new(format!("`{text}` is not a country code"));
        let upper = text.to_ascii_uppercase();
        match Country::parse(&upper) {
            Some(_) => mistake.hint(format!("write it in capitals: `{upper}`")),
            None => mistake.hint("write the two letters of ISO 3166-1: `DE`, `FR`, `NO`"),
        }
    })
}

pub(crate) fn sessions(at: Option<&At<file::Sessions>>, cx: &mut Cx<'_>) -> Option<Sessions> {
    let Some(at) = at else {
        return Some(Sessions { idle: default::SESSION_IDLE, absolute: default::SESSION_ABSOLUTE });
    };
    let typed = at.get()?;
    let idle = positive(typed.idle.as_ref(), default::SESSION_IDLE, cx);
    let absolute = positive(typed.absolute.as_ref(), default::SESSION_ABSOLUTE, cx);
    let (idle, absolute) = (idle?, absolute?);
    if idle > absolute {
        let place = typed.idle.as_ref().or(typed.absolute.as_ref()).map_or(&at.place, |at| &at.place);
        cx.error(
            place,
            "`idle` is longer than `absolute`, so it never ends a session",
            "`absolute` ends every session; make `idle` shorter or equal",
        );
        return None;
    }
    Some(Sessions { idle, absolute })
}

pub(crate) fn limits(at: Option<&At<file::Limits>>, cx: &mut Cx<'_>) -> Option<Limits> {
    let mut limits = Limits {
        handshake_timeout: default::HANDSHAKE_TIMEOUT,
        header_timeout: default::HEADER_TIMEOUT,
        max_connections: default::MAX_CONNECTIONS,
        max_connections_per_address: default::MAX_CONNECTIONS_PER_ADDRESS,
        max_handshakes: default::MAX_HANDSHAKES,
        max_header_bytes: default::MAX_HEADER_BYTES,
        max_headers: default::MAX_HEADERS,
        max_body: bytes(default::MAX_BODY),
        min_body_rate: bytes(default::MIN_BODY_RATE),
        logins_per_minute: u32::try_from(default::LOGINS_PER_MINUTE).unwrap_or(u32::MAX),
        reports_per_minute: u32::try_from(default::REPORTS_PER_MINUTE).unwrap_or(u32::MAX),
        idle_timeout: default::IDLE_TIMEOUT,
        drain: default::DRAIN,
    };
    let Some(at) = at else { return Some(limits) };
    let typed = at.get()?;
    let handshake = positive(typed.handshake_timeout.as_ref(), limits.handshake_timeout, cx);
    let idle = positive(typed.idle_timeout.as_ref(), limits.idle_timeout, cx);
    let drain = cx.parse_or(typed.drain.as_ref(), limits.drain, units::duration);
    let header_bytes = cx.parse_or(typed.max_header_bytes.as_ref(), limits.max_header_bytes, header_size);
    let connections = count(typed.max_connections.as_ref(), limits.max_connections, cx);
    let headers = count(typed.max_headers.as_ref(), limits.max_headers, cx);
    let header = positive(typed.header_timeout.as_ref(), limits.header_timeout, cx);
    let per_address = count(typed.max_connections_per_address.as_ref(), limits.max_connections_per_address, cx);
    let handshakes = count(typed.max_handshakes.as_ref(), limits.max_handshakes, cx);
    let body = cx.parse_or(typed.max_body.as_ref(), limits.max_body, super::route::body_size);
    let rate = cx.parse_or(typed.min_body_rate.as_ref(), limits.min_body_rate, super::route::body_rate);
    let logins = count(typed.logins_per_minute.as_ref(), default::LOGINS_PER_MINUTE, cx);
    let reports = count(typed.reports_per_minute.as_ref(), default::REPORTS_PER_MINUTE, cx);
    limits.handshake_timeout = handshake?;
    limits.idle_timeout = idle?;
    limits.drain = drain?;
    limits.max_header_bytes = header_bytes?;
    limits.max_connections = connections?;
    limits.max_headers = headers?;
    limits.header_timeout = header?;
    limits.max_connections_per_address = per_address?;
    limits.max_handshakes = handshakes?;
    limits.max_body = body?;
    limits.min_body_rate = rate?;
    limits.logins_per_minute = u32::try_from(logins?).unwrap_or(u32::MAX);
    limits.reports_per_minute = u32::try_from(reports?).unwrap_or(u32::MAX);
    Some(limits)
}

pub(crate) fn admin(at: Option<&At<file::Admin>>, listeners: &Listeners, cx: &mut Cx<'_>) -> Option<Option<Admin>> {
    let Some(at) = at else { return Some(None) };
    let typed = at.get()?;
    let at = &typed.address;
    let found = cx.parse(at, address)?;
    let beyond_loopback = typed.danger_beyond_loopback.as_ref().and_then(At::get) == Some(&true);
    if !found.ip().is_loopback() && beyond_loopback {
        cx.warning(
            &at.place,
            format!("whoever reaches `{found}` reads metrics and health (`danger_beyond_loopback`)"),
            "let a firewall or a network policy admit nobody but the monitoring",
        );
    } else if !found.ip().is_loopback() {
        cx.error(
            &at.place,
            format!("`{found}` can be reached from other machines, and this address asks nobody who they are"),
            format!("write `127.0.0.1:{}`; for others, put a route with a row of the table before it", found.port()),
        );
        return None;
    }
    if let Some(listener) = listeners.checked.iter().find(|listener| listener.address == found) {
        let name = listener.name.clone();
        cx.error(&at.place, format!("`{found}` is already the address of listener `{name}`"), "use another port");
        return None;
    }
    Some(Some(Admin { address: found, beyond_loopback }))
}

/// Zero would end everything at once.
pub(crate) fn positive(at: Option<&At<String>>, default: Duration, cx: &mut Cx<'_>) -> Option<Duration> {
    cx.parse_or(at, default, |text| match units::duration(text)? {
        Duration::ZERO => Err(Mistake::new(format!("`{text}` is no time at all")).hint("write at least `1s`")),
        duration => Ok(duration),
    })
}

fn bytes(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

fn header_size(text: &str) -> Result<usize, Mistake> {
    /// What HTTP/2 clients are told they may send (`SETTINGS_MAX_HEADER_LIST_SIZE`) does not follow a reload.
    const MOST: usize = 64 * 1024;
    /// One cookie may have 4 KiB (RFC 6265 s6.1); with less, sign-in fails.
    const LEAST: usize = 8 * 1024;
    match units::size(text)? {
        size if size < LEAST => {
            Err(Mistake::new(format!("`{text}` is too small for a browser's headers")).hint("write at least `8KiB`"))
        }
        size if size > MOST => {
            Err(Mistake::new(format!("`{text}` is more than any client needs")).hint("write at most `64KiB`"))
        }
        size => Ok(size),
    }
}

pub(crate) fn count(at: Option<&At<u64>>, default: usize, cx: &mut Cx<'_>) -> Option<usize> {
    let Some(at) = at else { return Some(default) };
    match usize::try_from(*at.get()?) {
        Ok(0) | Err(_) => {
            cx.error(&at.place, "this limit lets nobody in", "write a number from 1 on");
            None
        }
        Ok(number) => Some(number),
    }
}

/// `a`, `b`, in backticks; "nothing" for none.
pub(crate) fn listed(names: &[&str]) -> String {
    /// More on one line help nobody.
    const SHOWN: usize = 8;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    match (shown.is_empty(), names.len() > SHOWN) {
        (true, _) => "nothing".to_owned(),
        (false, true) => format!("{}, …", shown.join(", ")),
        (false, false) => shown.join(", "),
    }
}
