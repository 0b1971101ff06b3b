//! The head of an application's answer, before its client sees it: bounded, without cookies of our names, and with
//! redirects that lead to where the client is.
use crate::headers::{COOKIE_PREFIX, size_of};
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue};
use torhaus_config::UpstreamServer;

/// Largest head of an application's answer. Those with long policies of content send some KiB.
const MAX_RESPONSE_HEAD: usize = 64 * 1024;

pub fn is_too_large(headers: &HeaderMap) -> bool {
    size_of(headers) > MAX_RESPONSE_HEAD
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

/// `Location` for an application that thinks the client were at its own door: its scheme, its port, or its own name
/// instead of ours (nginx completes `/docs` to `http://HOST:ITS-PORT/docs/`). None if it leads where it means to.
///
/// `host` and `authority` are what the client asked for; the path is kept as it is, so that no redirect comes to lead
/// out of the application that sent it.
pub fn at_the_gate(
    location: &HeaderValue,
    host: &str,
    authority: &str,
    server: &UpstreamServer,
) -> Option<HeaderValue> {
    let location = location.to_str().ok()?;
    let (scheme, rest) = location.split_once("://")?;
    let is_tls = scheme.eq_ignore_ascii_case("https");
    if !is_tls && !scheme.eq_ignore_ascii_case("http") {
        return None;
    }
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (named, path) = rest.split_at_checked(end)?;
    let named: http::uri::Authority = named.parse().ok()?;
    if named.as_str().contains('@') {
        return None;
    }
    let port = named.port_u16();
    let shown_port = port.unwrap_or(if is_tls { 443 } else { 80 });
    let (its_host, its_port) = match server {
        UpstreamServer::Unix(_) => (None, None),
        UpstreamServer::Tcp { host, port } => (Some(host.as_str()), Some(*port)),
    };
    let named_host = named.host().trim_start_matches('[').trim_end_matches(']');
    let by_our_name = named_host.eq_ignore_ascii_case(host.trim_start_matches('[').trim_end_matches(']'))
        && (its_port == Some(shown_port)
            || (!is_tls && (shown_port == 80 || named.as_str().eq_ignore_ascii_case(authority))));
    let by_its_own = its_port == Some(shown_port) && its_host.is_some_and(|its| named_host.eq_ignore_ascii_case(its));
    if !(by_our_name || by_its_own) {
        return None;
    }
    let meant = format!("https://{authority}{path}");
    (meant != location).then(|| HeaderValue::try_from(meant).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn led(location: &str) -> Option<String> {
        let server = UpstreamServer::Tcp { host: "10.0.0.5".into(), port: 9001 };
        let led = at_the_gate(&HeaderValue::from_str(location).unwrap(), "wiki.test", "wiki.test:8443", &server);
        led.map(|led| led.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_redirect_of_an_application_that_knows_only_its_own_door_stays_at_the_gate() {
        for (sent, arrives) in [
            ("http://wiki.test:9001/docs/?a=b", "https://wiki.test:8443/docs/?a=b"),
            ("http://WIKI.test:8443/docs/", "https://wiki.test:8443/docs/"),
            ("http://wiki.test/docs/", "https://wiki.test:8443/docs/"),
            ("https://wiki.test:9001", "https://wiki.test:8443"),
            ("http://10.0.0.5:9001?x", "https://wiki.test:8443?x"),
        ] {
            assert_eq!(led(sent).as_deref(), Some(arrives), "{sent}");
        }
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
            "http://wiki.test.evil.test:9001/",
            "http://wiki.test:9001@evil.test/",
            "http://evil.test:9001/",
            "http://10.0.0.5/",
            "ftp://wiki.test:9001/",
            "http:///docs/",
            "javascript://wiki.test:9001/",
        ] {
            assert_eq!(led(sent), None, "{sent}");
        }
    }

    #[test]
    fn names_of_ipv6_addresses_are_compared_without_their_brackets() {
        let server = UpstreamServer::Tcp { host: "fd00::5".into(), port: 9001 };
        let location = HeaderValue::from_static("http://[fd00::5]:9001/docs/");
        assert_eq!(at_the_gate(&location, "wiki.test", "wiki.test", &server).unwrap(), "https://wiki.test/docs/");
    }
}
