//! Header hygiene: what a client may not say to an application, because only the gate may.
//!
//! A name is compared in one normal form: lower case, `_` and `.` read as `-`. Applications behind CGI, WSGI and the
//! like cannot tell `X_Forwarded_User` from `X-Forwarded-User` (oauth2-proxy CVE-2025-64484), so neither do we.
use http::HeaderMap;
use http::header::{CONNECTION, COOKIE, HeaderName, HeaderValue};
use std::borrow::Cow;
use std::collections::HashSet;

/// Cookies of this name and prefix are ours; no application sees them.
pub const COOKIE_PREFIX: &str = "__Host-torhaus";

/// Names that speak of who the caller is, where it comes from, or what it really asks for. A trailing `-` means: all
/// names that begin so. Sources: RFC 7239, RFC 9440, and the headers that the peers of this field and the
/// applications behind them read (attacks.md 1-6).
const RESERVED: &[&str] = &[
    "forwarded",
    "x-forwarded-",
    "x-forwarded",
    "x-real-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-torhaus-",
    "client-cert",
    "client-cert-",
    "x-client-cert",
    "x-client-cert-",
    "x-client-dn",
    "x-client-verify",
    "x-client-serial",
    "x-ssl-",
    "ssl-client-",
    "ssl-cert",
    "x-original-",
    "x-rewrite-url",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-authentik-",
    "x-webauth-",
    "x-auth-request-",
    "x-pomerium-",
    "x-goog-iap-",
    "x-goog-authenticated-user-",
    "cf-access-",
    "remote-user",
    "remote-groups",
    "remote-email",
    "remote-name",
    "x-remote-",
    "x-user",
    "x-email",
    "x-groups",
    "impersonate-",
    // httpoxy (CVE-2016-5385): CGI programs take it for their own HTTP_PROXY.
    "proxy",
    "proxy-authorization",
];

/// The names of the list above and those that routes are configured to send.
#[derive(Debug, Default)]
pub struct Reserved {
    configured: HashSet<String>,
}

impl Reserved {
    /// `configured`: every header name that any route tells an application by.
    pub fn with<'a>(configured: impl Iterator<Item = &'a str>) -> Self {
        Self { configured: configured.map(|name| normal_form(name).into_owned()).collect() }
    }

    pub fn covers(&self, name: &str) -> bool {
        let name = normal_form(name);
        let listed = |entry: &&str| match entry.strip_suffix('-') {
            Some(_) => name.starts_with(*entry),
            None => name == **entry,
        };
        RESERVED.iter().any(|entry| listed(&entry)) || self.configured.contains(&*name)
    }

    /// Removes every reserved header, and our cookies.
    pub fn strip(&self, headers: &mut HeaderMap) {
        let reserved: Vec<HeaderName> = headers.keys().filter(|name| self.covers(name.as_str())).cloned().collect();
        for name in reserved {
            headers.remove(name);
        }
        strip_cookies(headers);
    }
}

/// Lower case; `_` and `.` as `-`.
fn normal_form(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|b| b == b'_' || b == b'.' || b.is_ascii_uppercase()) {
        Cow::Owned(name.replace(['_', '.'], "-").to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

fn strip_cookies(headers: &mut HeaderMap) {
    if !headers.get_all(COOKIE).iter().any(|value| contains(value.as_bytes(), COOKIE_PREFIX.as_bytes())) {
        return;
    }
    let kept: Vec<HeaderValue> = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| {
            let pairs = value.to_str().ok()?.split(';').map(str::trim).filter(|pair| !pair.starts_with(COOKIE_PREFIX));
            let kept = pairs.collect::<Vec<_>>().join("; ");
            (!kept.is_empty()).then(|| HeaderValue::from_str(&kept).ok()).flatten()
        })
        .collect();
    headers.remove(COOKIE);
    for value in kept {
        headers.append(COOKIE, value);
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window.eq_ignore_ascii_case(needle))
}

/// Takes apart what `Connection` nominates before the engine or an application can act on it: the nominated fields of
/// the client are dropped as RFC 9110 section 7.6.1 asks, and the nominations with them, so that a client cannot have
/// a field of ours removed on the way (Traefik CVE-2024-45410).
pub fn disarm_connection(headers: &mut HeaderMap) {
    let mut kept: Vec<&'static str> = Vec::new();
    let mut nominated: Vec<HeaderName> = Vec::new();
    for value in headers.get_all(CONNECTION) {
        for token in value.as_bytes().split(|b| *b == b',') {
            let token = token.trim_ascii();
            if token.eq_ignore_ascii_case(b"upgrade") {
                kept.push("upgrade");
            } else if token.eq_ignore_ascii_case(b"close") {
                kept.push("close");
            } else if token.eq_ignore_ascii_case(b"keep-alive") {
                kept.push("keep-alive");
            } else if let Ok(name) = HeaderName::from_bytes(token) {
                nominated.push(name);
            }
        }
    }
    for name in nominated {
        // Nominating what frames or routes the message is no reason to lose it; the engine treats those itself.
        if !matches!(name.as_str(), "host" | "content-length" | "transfer-encoding" | "upgrade" | "te") {
            headers.remove(name);
        }
    }
    if headers.contains_key(CONNECTION) {
        headers.remove(CONNECTION);
        if !kept.is_empty() {
            kept.dedup();
            if let Ok(value) = HeaderValue::from_str(&kept.join(", ")) {
                headers.insert(CONNECTION, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_headers_are_reserved_in_every_spelling() {
        let reserved = Reserved::with(["X-Company-Person"].into_iter());
        for name in [
            "X-Forwarded-User",
            "X_Forwarded_User",
            "X.Forwarded.User",
            "x-forwarded_groups",
            "Client-Cert",
            "client_cert_chain",
            "X-Torhaus-Assertion",
            "X-WEBAUTH-USER",
            "Remote_User",
            "x-company-person",
            "X_COMPANY.PERSON",
            "X-Original-URL",
            "Impersonate-User",
            "Proxy",
        ] {
            assert!(reserved.covers(name), "{name}");
        }
        for name in ["Accept", "X-Requested-With", "CSRFPreventionToken", "X-CSRF-Token", "Authorization", "Cookie"] {
            assert!(!reserved.covers(name), "{name}");
        }
    }

    #[test]
    fn our_cookies_are_taken_out_and_the_others_stay() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("PVEAuthCookie=PVE:a; __Host-torhaus=secret; x=\"y\""));
        headers.append(COOKIE, HeaderValue::from_static("__Host-torhaus-nonce=n"));
        Reserved::default().strip(&mut headers);
        let kept: Vec<_> = headers.get_all(COOKIE).iter().collect();
        assert_eq!(kept, ["PVEAuthCookie=PVE:a; x=\"y\""]);
    }

    #[test]
    fn a_nominated_header_goes_and_so_does_the_nomination() {
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, HeaderValue::from_static("close, X-Forwarded-User, X-Trace"));
        headers.insert("x-trace", HeaderValue::from_static("1"));
        disarm_connection(&mut headers);
        assert_eq!(headers.get(CONNECTION), Some(&HeaderValue::from_static("close")));
        assert!(!headers.contains_key("x-trace"));
    }
}
