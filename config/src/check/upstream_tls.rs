//! How an upstream with TLS is believed, and what we show it.
use super::{Cx, certificate, host, trust};
use crate::at::At;
use crate::config::{ClientPair, UpstreamScheme, UpstreamTls, UpstreamVerify};
use crate::file::route::{self as typed, Route};
use crate::units::Mistake;
use std::net::IpAddr;

/// Exactly one way to believe an https upstream. The outer `None` is a mistake.
pub(crate) fn check(
    route: &Route,
    scheme: UpstreamScheme,
    hosts: &[&str],
    cx: &mut Cx<'_>,
) -> Option<Option<UpstreamTls>> {
    let is_https = scheme.is_tls();
    let by_address = hosts.iter().any(|host| host.parse::<IpAddr>().is_ok());
    let Some(at) = &route.upstream_tls else {
        if is_https && by_address {
            cx.error(
                &route.upstream.place,
                "nothing says which certificate this upstream must show: public authorities issue none for addresses",
                "add `upstream_tls: { ca_file: … }`, or `{ pin_sha256: … }` with the output of \
                 `openssl x509 -noout -fingerprint -sha256 -in CERT`",
            );
            return None;
        }
        let tls = UpstreamTls { server_name: None, verify: UpstreamVerify::System, client: None };
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
        Some(at) => cx.parse(at, server_name).map(Some),
        None => Some(None),
    };
    let verify = verify(at, typed, by_address, cx);
    let client = client(at, typed, cx);
    Some(Some(UpstreamTls { server_name: server_name?, verify: verify?, client: client? }))
}

/// A pair, or neither of the two. The outer `None` is a mistake.
fn client(at: &At<typed::UpstreamTls>, tls: &typed::UpstreamTls, cx: &mut Cx<'_>) -> Option<Option<ClientPair>> {
    match (&tls.client_cert_file, &tls.client_key_file) {
        (None, None) => Some(None),
        (Some(cert), Some(key)) => {
            let (cert_file, key_file) = certificate::of_client(cert, key, cx)?;
            Some(Some(ClientPair { cert_file, key_file }))
        }
        _ => {
            cx.error(
                &at.place,
                "a client certificate and its key belong together",
                "give both `client_cert_file` and `client_key_file`",
            );
            None
        }
    }
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
    by_address: bool,
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
        (None, None) if tls.server_name.is_none() && by_address => {
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
pub(crate) fn pin(tls: &typed::UpstreamTls, cx: &mut Cx<'_>) -> Option<[u8; 32]> {
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
