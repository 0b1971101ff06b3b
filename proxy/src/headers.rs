//! Header hygiene: what a client may not say to an application, because only the gate may.
//!
//! A name is compared in one normal form: lower case, and whatever is no letter or digit read as `-`. Applications behind
//! CGI, WSGI and the like cannot tell `X_Forwarded_User`, `X.Forwarded.User` or `X~Forwarded~User` from
//! `X-Forwarded-User` (oauth2-proxy CVE-2025-64484), so neither do we.
use ahash::RandomState;
use http::HeaderMap;
use http::header::{CONNECTION, COOKIE, HeaderName, HeaderValue};
use std::borrow::Cow;
use std::collections::HashSet;

/// Cookies of this name and prefix are ours; no application sees them.
pub const COOKIE_PREFIX: &str = "__Host-torhaus";

/// Names that speak of who the caller is, where it comes from, or what it really asks for, in their normal form.
/// Sources: RFC 7239, RFC 9440, and the headers that the peers of this field and the applications behind them read.
fn is_reserved(name: &str) -> bool {
    matches!(
        name,
        "forwarded"
            | "x-forwarded"
            | "x-real-ip"
            | "true-client-ip"
            | "cf-connecting-ip"
            | "fastly-client-ip"
            | "x-client-ip"
            | "x-cluster-client-ip"
            | "x-envoy-external-address"
            | "client-ip"
            | "x-originating-ip"
            | "forwarded-for"
            | "x-forward-for"
            | "x-azure-clientip"
            | "fly-client-ip"
            // Where an application is mounted: gunicorn and others take it off the path that was decided on.
            | "script-name"
            | "path-info"
            | "x-script-name"
            | "client-cert"
            | "x-client-cert"
            | "x-client-dn"
            | "x-client-verify"
            | "x-client-serial"
            | "ssl-cert"
            | "x-rewrite-url"
            | "x-http-method"
            | "x-http-method-override"
            | "x-method-override"
            | "remote-user"
            | "remote-groups"
            | "remote-email"
            | "remote-name"
            | "x-user"
            | "x-email"
            | "x-groups"
            // httpoxy (CVE-2016-5385): CGI programs take it for their own HTTP_PROXY.
            | "proxy"
            | "proxy-authorization"
    ) || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// `Content_Length` and its kin: no field that HTTP knows, and the length of the body to a program that folds names.
fn is_disguised(spelled: &str, name: &str) -> bool {
    !spelled.eq_ignore_ascii_case(name) && DISGUISED.contains(&name)
}

/// What frames or describes a body.
const DISGUISED: [&str; 5] =
    ["content-length", "transfer-encoding", "content-type", "content-encoding", "proxy-connection"];

/// All names that begin so.
const RESERVED_PREFIXES: [&str; 15] = [
    "x-forwarded-",
    "x-torhaus-",
    "client-cert-",
    "x-client-cert-",
    "x-ssl-",
    "ssl-client-",
    "x-original-",
    "x-authentik-",
    "x-webauth-",
    "x-auth-request-",
    "x-pomerium-",
    "x-goog-",
    "cf-access-",
    "x-remote-",
    "impersonate-",
];

/// The names of the list above and those that routes are configured to send.
#[derive(Debug, Default)]
pub struct Reserved {
    configured: HashSet<String, RandomState>,
}

impl Reserved {
    /// `configured`: every header name that any route tells an application by.
    pub fn with<'a>(configured: impl Iterator<Item = &'a str>) -> Self {
        Self { configured: configured.map(|name| normal_form(name).into_owned()).collect() }
    }

    pub fn covers(&self, name: &str) -> bool {
        let spelled = name;
        let name = normal_form(name);
        is_reserved(&name) || self.configured.contains(&*name) || is_disguised(spelled, &name)
    }

    /// A reserved name that is not spelled as we would spell it: nobody sends it in good faith.
    pub fn disguised<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderName> {
        headers.keys().find(|name| *normal_form(name.as_str()) != *name.as_str() && self.covers(name.as_str()))
    }

    /// What has to go before an application sees it: every reserved header, and our cookies.
    pub fn changes(&self, headers: &HeaderMap) -> Changes {
        let reserved = headers.keys().filter(|name| self.covers(name.as_str())).cloned().collect();
        Changes { remove: reserved, replace: without_our_cookies(headers) }
    }
}

/// What to change in a header block.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub remove: Vec<HeaderName>,
    /// All values of a name; none: it goes.
    pub replace: Option<(HeaderName, Vec<HeaderValue>)>,
}

/// Bytes of a header block as HTTP/1.1 writes it: with a colon, a space and a line break for each.
pub fn size_of(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

/// Lower case; whatever is no letter or digit as `-`.
pub fn normal_form(name: &str) -> Cow<'_, str> {
    if name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-')) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect())
}

/// One header without our cookies. HTTP/2 may send the pairs in pieces; they are put together again before they leave it
/// (RFC 9113 section 8.2.3).
fn without_our_cookies(headers: &HeaderMap) -> Option<(HeaderName, Vec<HeaderValue>)> {
    let values = || headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let pairs = || values().flat_map(|value| value.split(|b| *b == b';')).map(<[u8]>::trim_ascii);
    if values().nth(1).is_none() && !pairs().any(is_ours) {
        return None;
    }
    let mut kept = Vec::new();
    for pair in pairs().filter(|pair| !pair.is_empty() && !is_ours(pair)) {
        if !kept.is_empty() {
            kept.extend_from_slice(b"; ");
        }
        kept.extend_from_slice(pair);
    }
    let value = (!kept.is_empty()).then(|| HeaderValue::from_bytes(&kept).ok()).flatten();
    Some((COOKIE, value.into_iter().collect()))
}

/// Browsers take the prefix `__Host-` in any case (RFC 6265bis section 5.7), so do we.
fn is_ours(pair: &[u8]) -> bool {
    pair.get(..COOKIE_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(COOKIE_PREFIX.as_bytes()))
}

/// Takes apart what `Connection` nominates before the engine or an application can act on it: the nominated fields of
/// the client are dropped as RFC 9110 section 7.6.1 asks, and the nominations with them, so that a client cannot have
/// a field of ours removed on the way (Traefik CVE-2024-45410).
pub fn disarmed_connection(headers: &HeaderMap) -> Changes {
    if !headers.contains_key(CONNECTION) {
        return Changes::default();
    }
    let mut kept: Vec<&'static str> = Vec::new();
    let mut remove: Vec<HeaderName> = Vec::new();
    for value in headers.get_all(CONNECTION) {
        for token in value.as_bytes().split(|b| *b == b',') {
            let token = token.trim_ascii();
            let known = KEPT_OPTIONS.iter().find(|option| token.eq_ignore_ascii_case(option.as_bytes()));
            match (known, HeaderName::from_bytes(token)) {
                (Some(option), _) if !kept.contains(option) => kept.push(option),
                // Nominating what frames or routes the message is no reason to lose it.
                (None, Ok(name)) if !NEVER_DROPPED.contains(&name.as_str()) => remove.push(name),
                _ => {}
            }
        }
    }
    let value = (!kept.is_empty()).then(|| HeaderValue::from_str(&kept.join(", ")).ok()).flatten();
    Changes { remove, replace: Some((CONNECTION, value.into_iter().collect())) }
}

/// Connection options that the engine acts on.
const KEPT_OPTIONS: [&str; 3] = ["close", "keep-alive", "upgrade"];
const NEVER_DROPPED: [&str; 5] = ["host", "content-length", "transfer-encoding", "upgrade", "te"];

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
            "X~Forwarded~User",
            "X!Forwarded!User",
            "X'Remote'User",
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
            "Content_Length",
            "transfer.encoding",
            "SCRIPT_NAME",
            "Path-Info",
            "X-Script-Name",
            "Client-IP",
            "X-Originating-IP",
            "Forwarded-For",
            "X-Forward-For",
            "X-Azure-ClientIP",
            "Fly-Client-IP",
        ] {
            assert!(reserved.covers(name), "{name}");
        }
        for name in [
            "Accept",
            "X-Requested-With",
            "CSRFPreventionToken",
            "X-CSRF-Token",
            "Authorization",
            "Cookie",
            "Content-Length",
        ] {
            assert!(!reserved.covers(name), "{name}");
        }
    }

    #[test]
    fn our_cookies_are_taken_out_and_the_others_stay() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("PVEAuthCookie=PVE:a; __Host-torhaus=secret; x=\"y\""));
        headers.append(COOKIE, HeaderValue::from_static("__Host-torhaus-nonce=n"));
        let (_, kept) = Reserved::default().changes(&headers).replace.unwrap();
        assert_eq!(kept, ["PVEAuthCookie=PVE:a; x=\"y\""]);
    }

    #[test]
    fn cookies_in_pieces_become_one_header_and_odd_bytes_stay() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1"));
        headers.append(COOKIE, HeaderValue::from_static("__host-Torhaus=secret"));
        headers.append(COOKIE, HeaderValue::from_bytes(b"town=K\xf6ln").unwrap());
        let (_, kept) = Reserved::default().changes(&headers).replace.unwrap();
        assert_eq!(kept, [HeaderValue::from_bytes(b"a=1; town=K\xf6ln").unwrap()]);
    }

    #[test]
    fn a_nominated_header_goes_and_so_does_the_nomination() {
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, HeaderValue::from_static("close, X-Forwarded-User, X-Trace"));
        let changes = disarmed_connection(&headers);
        assert_eq!(changes.replace, Some((CONNECTION, vec![HeaderValue::from_static("close")])));
        assert_eq!(changes.remove, ["x-forwarded-user", "x-trace"]);
    }
}
