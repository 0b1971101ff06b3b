//! Upstreams: where an application is, and how it is believed.
use super::settings::{default, positive};
use super::{Cx, host, trust};
use crate::at::At;
use crate::config::{Upstream, UpstreamScheme, UpstreamTls, UpstreamVerify};
use crate::file::route::{self as typed, Route};
use crate::units::Mistake;
use std::net::IpAddr;
use std::time::Duration;
use url::Url;

pub(crate) fn check(route: &Route, cx: &mut Cx<'_>) -> Option<Upstream> {
    let connect_timeout = positive(route.connect_timeout.as_ref(), default::CONNECT_TIMEOUT, cx);
    let response_timeout = response_timeout(route.response_timeout.as_ref(), cx);
    let typed::Upstream::Url(text) = route.upstream.get()? else {
        if !cx.is_reported(&route.upstream.place) {
            cx.error(&route.upstream.place, "`upstream` names no server", "write `upstream: http://10.0.0.7:8080`");
        }
        return None;
    };
    let url = match parse(text) {
        Ok(url) => url,
        Err(mistake) => {
            cx.mistake(&route.upstream.place, mistake);
            // What `upstream_tls` says is checked all the same.
            if let Some(tls) = route.upstream_tls.as_ref().and_then(At::get) {
                pin(tls, cx);
            }
            return None;
        }
    };
    let (scheme, port) = match url.scheme() {
        "https" => (UpstreamScheme::Https, 443),
        "h2c" => (UpstreamScheme::H2c, 80),
        _ => (UpstreamScheme::Http, 80),
    };
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let tls = tls(route, scheme, &host, cx);
    Some(Upstream {
        scheme,
        port: url.port().unwrap_or(port),
        tls: tls?,
        connect_timeout: connect_timeout?,
        response_timeout: response_timeout?,
        host,
    })
}

fn parse(text: &str) -> Result<Url, Mistake> {
    let url = host::url(text, &["http", "https", "h2c"])?;
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

/// Exactly one way to believe an https upstream. The outer `None` is a mistake.
fn tls(route: &Route, scheme: UpstreamScheme, host: &str, cx: &mut Cx<'_>) -> Option<Option<UpstreamTls>> {
    let is_https = scheme == UpstreamScheme::Https;
    let Some(at) = &route.upstream_tls else {
        if is_https && host.parse::<IpAddr>().is_ok() {
            cx.error(
                &route.upstream.place,
                "nothing says which certificate this upstream must show: public authorities issue none for addresses",
                "add `upstream_tls: { ca_file: … }`, or `{ pin_sha256: … }` with the output of \
                 `openssl x509 -noout -fingerprint -sha256 -in CERT`",
            );
            return None;
        }
        let tls = UpstreamTls { server_name: host.to_owned(), verify: UpstreamVerify::System };
        return Some(is_https.then_some(tls));
    };
    let typed = at.get()?;
    if !is_https {
        cx.error(
            &at.place,
            "`upstream_tls` has no effect on an upstream without TLS",
            "write `upstream: https://…`, or remove `upstream_tls`",
        );
        return None;
    }
    let server_name = match &typed.server_name {
        Some(at) => cx.parse(at, server_name),
        None => Some(host.to_owned()),
    };
    let verify = verify(at, typed, host, cx);
    Some(Some(UpstreamTls { server_name: server_name?, verify: verify? }))
}

fn server_name(text: &str) -> Result<String, Mistake> {
    match text.parse::<IpAddr>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => host::pattern(text).map(|_| text.to_ascii_lowercase()).and_then(|name| {
            if name.starts_with('*') {
                return Err(
                    Mistake::new("`server_name` is one name").hint("write the name in the upstream's certificate")
                );
            }
            Ok(name)
        }),
    }
}

fn verify(
    at: &At<typed::UpstreamTls>,
    tls: &typed::UpstreamTls,
    host: &str,
    cx: &mut Cx<'_>,
) -> Option<UpstreamVerify> {
    let skip = tls.danger_skip_verification.as_ref();
    let ways = [
        tls.ca_file.as_ref().map(|_| "`ca_file`"),
        tls.pin_sha256.as_ref().map(|_| "`pin_sha256`"),
        skip.filter(|at| at.get() != Some(&false)).map(|_| "`danger_skip_verification`"),
    ];
    let ways: Vec<&str> = ways.into_iter().flatten().collect();
    if ways.len() > 1 {
        cx.error(
            &at.place,
            format!("{} are different ways to believe an upstream", ways.join(" and ")),
            "keep one of them",
        );
        return None;
    }
    match (&tls.ca_file, &tls.pin_sha256) {
        (Some(file), _) => trust::ca_file(file, cx).map(UpstreamVerify::CaFile),
        (None, Some(_)) => pin(tls, cx).map(UpstreamVerify::Pin),
        (None, None) if !ways.is_empty() => {
            skip.and_then(At::get)?;
            cx.warning(
                &at.place,
                "this upstream is believed whoever answers (`danger_skip_verification`)",
                "use `ca_file` or `pin_sha256`",
            );
            Some(UpstreamVerify::DangerNone)
        }
        (None, None) if tls.server_name.is_none() && host.parse::<IpAddr>().is_ok() => {
            if !cx.is_reported(&at.place) {
                cx.error(
                    &at.place,
                    "nothing says which certificate this upstream must show",
                    "add `ca_file`, `pin_sha256`, or `server_name` if a public authority issued it",
                );
            }
            None
        }
        (None, None) => Some(UpstreamVerify::System),
    }
}

/// As `openssl x509 -fingerprint -sha256` prints it, with or without colons.
fn pin(tls: &typed::UpstreamTls, cx: &mut Cx<'_>) -> Option<[u8; 32]> {
    cx.parse(tls.pin_sha256.as_ref()?, |text| {
        let digits: String = text.chars().filter(|c| *c != ':').collect();
        let bytes: Option<Vec<u8>> = (0..digits.len())
            .step_by(2)
            .map(|at| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()))
            .collect();
        bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()).ok_or_else(|| {
            Mistake::new("this is not a SHA-256 fingerprint: 64 hexadecimal digits")
                .hint("`openssl x509 -noout -fingerprint -sha256 -in CERT` prints it; colons may stay")
        })
    })
}
