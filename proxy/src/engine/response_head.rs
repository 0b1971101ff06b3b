//! The head of an application's answer, before its client sees it: bounded, without cookies of our names, and with
//! redirects that lead to where the client is.
use super::context::Context;
use crate::headers::{COOKIE_PREFIX, size_of};
use http::header::{SET_COOKIE, STRICT_TRANSPORT_SECURITY};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue};
use pingora_core::Result;
use pingora_http::ResponseHeader;
use torhaus_config::UpstreamServer;

/// Largest head of an application's answer. Those with long policies of content send some KiB.
const MAX_RESPONSE_HEAD: usize = 64 * 1024;

pub fn is_too_large(headers: &HeaderMap) -> bool {
    size_of(headers) > MAX_RESPONSE_HEAD
}

/// Says that this host is asked by https alone (RFC 6797), where the configuration says so and the answer does not say
/// something of its own. Over plain http it means nothing (section 7.2).
///
/// # Errors
/// The engine does not take the header.
pub fn add_hsts(response: &mut ResponseHeader, ctx: &Context) -> Result<()> {
    let (Some(snapshot), Some(connection)) = (&ctx.snapshot, &ctx.connection) else { return Ok(()) };
    match &snapshot.hsts {
        Some(hsts) if connection.tls.is_some() && !response.headers.contains_key(STRICT_TRANSPORT_SECURITY) => {
            response.insert_header(STRICT_TRANSPORT_SECURITY, hsts.clone())
        }
        _ => Ok(()),
    }
}

/// All cookies but those of our names, if there are such: an application may set any cookie but ours.
pub fn without_our_cookies(headers: &HeaderMap) -> Option<Vec<HeaderValue>> {
    let all = || headers.get_all(SET_COOKIE).iter();
    all().any(is_ours).then(|| all().filter(|value| !is_ours(value)).cloned().collect())
}

fn is_ours(cookie: &HeaderValue) -> bool {
    let cookie = cookie.as_bytes().trim_ascii_start();
    // A nameless cookie is sent back as if its value were the name.
    let cookie = cookie.strip_prefix(b"=").unwrap_or(cookie).trim_ascii_start();
    cookie.get(..COOKIE_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(COOKIE_PREFIX.as_bytes()))
}

/// `Location` for an application that thinks the client were at its own door: our name with its scheme or its port
/// (nginx completes `/docs` to `http://HOST:ITS-PORT/docs/`), or where it was told that name, its own. None if it leads
/// where it means to.
///
/// `host` and `authority` are what the client asked for; `told` is the `Host` that the application got, if that was another.
/// The path is kept as it is, so that no redirect comes to lead out of the application that sent it.
pub fn at_the_gate(
    location: &HeaderValue,
    host: &str,
    authority: &str,
    server: &UpstreamServer,
    told: Option<&str>,
) -> Option<HeaderValue> {
    let location = std::str::from_utf8(location.as_bytes()).ok()?;
    let (scheme, rest) = location.split_once("://")?;
    let is_tls = scheme.eq_ignore_ascii_case("https");
    if !is_tls && !scheme.eq_ignore_ascii_case("http") {
        return None;
    }
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (named, path) = rest.split_at_checked(end)?;
    let named: Authority = named.parse().ok()?;
    let is_host_and_port = !named.as_str().contains('@') && (named.port().is_some() || named.as_str() == named.host());
    if !is_host_and_port {
        return None;
    }
    let names = |other: &str| bare(named.host()).eq_ignore_ascii_case(bare(other));
    let port = named.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let (its_host, its_port) = match server {
        UpstreamServer::Unix(_) => (None, None),
        UpstreamServer::Tcp { host, port } => (Some(host.as_str()), Some(*port)),
    };
    let without_our_tls = !is_tls && (port == 80 || named.as_str().eq_ignore_ascii_case(authority));
    let by_our_name = names(host) && (its_port == Some(port) || without_our_tls);
    // Told our name, an application that names its own door means it: that may be somebody else's, as `localhost` is.
    let by_its_own = told.is_some_and(|told| {
        named.as_str().eq_ignore_ascii_case(told) || (its_port == Some(port) && its_host.is_some_and(names))
    });
    if !(by_our_name || by_its_own) {
        return None;
    }
    let meant = format!("https://{authority}{path}");
    (meant != location).then(|| HeaderValue::try_from(meant).ok()).flatten()
}

/// The host without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn led_by(location: &str, server: &UpstreamServer, told: Option<&str>) -> Option<String> {
        let location = HeaderValue::try_from(location).unwrap();
        let led = at_the_gate(&location, "wiki.test", "wiki.test:8443", server, told);
        led.map(|led| String::from_utf8(led.as_bytes().to_vec()).unwrap())
    }

    /// By an application that was told our name.
    fn led(location: &str) -> Option<String> {
        led_by(location, &UpstreamServer::Tcp { host: "10.0.0.5".into(), port: 9001 }, None)
    }

    #[test]
    fn a_redirect_of_an_application_that_knows_only_its_own_door_stays_at_the_gate() {
        for (sent, arrives) in [
            ("http://wiki.test:9001/docs/?a=b", "https://wiki.test:8443/docs/?a=b"),
            ("http://WIKI.test:8443/docs/", "https://wiki.test:8443/docs/"),
            ("http://wiki.test/docs/", "https://wiki.test:8443/docs/"),
            ("https://wiki.test:9001", "https://wiki.test:8443"),
            ("http://wiki.test:9001/Bücher/", "https://wiki.test:8443/Bücher/"),
        ] {
            assert_eq!(led(sent).as_deref(), Some(arrives), "{sent}");
        }
    }

    #[test]
    fn one_that_was_told_its_own_name_is_understood_by_that() {
        let nas = UpstreamServer::Tcp { host: "nas.lan".into(), port: 443 };
        let address = UpstreamServer::Tcp { host: "fd00::5".into(), port: 9001 };
        let socket = UpstreamServer::Unix("/run/app.sock".into());
        for (sent, server, told) in [
            ("https://nas.lan/docs/", &nas, "nas.lan"),
            ("http://nas.lan/docs/", &nas, "nas.lan"),
            ("http://nas.lan:443/docs/", &nas, "nas.lan"),
            ("http://[fd00::5]:9001/docs/", &address, "[fd00::5]:9001"),
            ("http://localhost/docs/", &socket, "localhost"),
        ] {
            assert_eq!(led_by(sent, server, Some(told)).as_deref(), Some("https://wiki.test:8443/docs/"), "{sent}");
            assert_eq!(led_by(sent, server, None), None, "{sent}: it was told our name");
        }
        assert_eq!(led_by("http://nas.lan:8080/", &nas, Some("nas.lan")), None);
    }

    #[test]
    fn every_other_redirect_is_left_as_it_is() {
        for sent in [
            "/docs/",
            "docs",
            "//wiki.test:9001/docs/",
            "https://wiki.test:8443/docs/",
            "https://wiki.test/docs/",
            "http://wiki.test:9002/docs/",
            "http://wiki.test:99999/docs/",
            "http://wiki.test.evil.test:9001/",
            "http://wiki.test:9001@evil.test/",
            "http://evil.test:9001/",
            "http://10.0.0.5:9001/callback?code=1",
            "ftp://wiki.test:9001/",
            "http:///docs/",
            "javascript://wiki.test:9001/",
        ] {
            assert_eq!(led(sent), None, "{sent}");
        }
    }
}
