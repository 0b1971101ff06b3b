//! A request as the gate sees it, whatever engine or endpoint it came by.
use crate::edge::connection::ConnectionInfo;
use http::header::{AsHeaderName, HeaderMap, HeaderValue};
use http::{Method, Uri, Version};
use std::borrow::Cow;
use std::sync::Arc;

use crate::path::{self, InvalidPath};
use torhaus_authz::Reason;

/// Longest path and query together, in bytes: a sign-in comes back with some KiB of parameters, links have less.
pub const MAX_TARGET: usize = 16 * 1024;

/// Borrowed from the engine for the time of the decision.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub method: &'a Method,
    /// Lower case, without port.
    pub host: &'a str,
    /// As the caller wrote it; browsers leave 443 out.
    pub port: Option<u16>,
    /// Canonical: what routing, policy and application see.
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub headers: &'a HeaderMap,
    pub connection: &'a Arc<ConnectionInfo>,
    /// Of requests to our own pages only; what is forwarded streams past the gate.
    pub body: &'a [u8],
}

/// Host and port as they stand in an address.
pub fn authority(host: &str, port: Option<u16>) -> String {
    match port {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

impl<'a> Request<'a> {
    /// The one value of a header; none if it is absent, repeated, or not text.
    pub fn header(&self, name: impl AsHeaderName) -> Option<&'a str> {
        let mut values = self.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    }

    /// The value of a cookie. None if it is absent, or there twice: a sibling domain may have tossed the other.
    pub fn cookie(&self, name: &str) -> Option<&'a str> {
        let mut found = None;
        let values = self.headers.get_all(http::header::COOKIE).iter().map(HeaderValue::as_bytes);
        for pair in values.flat_map(|value| value.split(|b| *b == b';')) {
            // No name of ours has `=` in it: what comes behind it is the value.
            let Some(rest) = pair.trim_ascii_start().strip_prefix(name.as_bytes()) else { continue };
            let Some(value) = rest.trim_ascii_start().strip_prefix(b"=") else { continue };
            if found.replace(value.trim_ascii()).is_some() {
                return None;
            }
        }
        std::str::from_utf8(found?).ok()
    }

    /// Name and value of each cookie. Bytes: an application's own may be anything, and must not hide ours.
    fn cookies(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let values = self.headers.get_all(http::header::COOKIE).iter().map(HeaderValue::as_bytes);
        values.flat_map(|value| value.split(|b| *b == b';')).filter_map(|pair| {
            let at = pair.iter().position(|b| *b == b'=')?;
            let (name, value) = pair.split_at(at);
            Some((name.trim_ascii(), value.get(1..)?.trim_ascii()))
        })
    }

    /// Path and query, for coming back after a login.
    pub fn path_and_query(&self) -> String {
        match self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.to_owned(),
        }
    }

    /// Names of the cookies that begin so.
    pub fn cookie_names(&self, prefix: &str) -> Vec<&'a str> {
        let names = self.cookies().filter_map(|(name, _)| std::str::from_utf8(name).ok());
        names.filter(|name| name.starts_with(prefix)).collect()
    }

    /// Host and port, as a browser has to write them to come back here.
    pub fn authority(&self) -> String {
        authority(self.host, self.port)
    }

    /// A form sent by a page of this very origin, not by another site. Browsers say it themselves; a caller that says
    /// nothing is no browser, and carries no cookie that somebody else made it send.
    pub fn same_origin(&self) -> bool {
        if let Some(site) = self.header("sec-fetch-site") {
            return matches!(site, "same-origin" | "none");
        }
        match self.header(http::header::ORIGIN) {
            Some(origin) => origin.strip_prefix("https://").is_some_and(|origin| origin == self.authority()),
            None => true,
        }
    }

    /// A WebSocket or another protocol is asked for; such a caller cannot follow a redirect.
    pub fn wants_upgrade(&self) -> bool {
        self.headers.contains_key(http::header::UPGRADE)
    }

    /// A parameter of the query, decoded; none if absent or repeated.
    pub fn query_parameter(&self, name: &str) -> Option<Cow<'a, str>> {
        single(url::form_urlencoded::parse(self.query?.as_bytes()), name)
    }

    /// A field of an urlencoded form, decoded; none if absent or repeated.
    pub fn form_field(&self, name: &str) -> Option<Cow<'a, str>> {
        single(url::form_urlencoded::parse(self.body), name)
    }
}

fn single<'a>(fields: url::form_urlencoded::Parse<'a>, name: &str) -> Option<Cow<'a, str>> {
    let mut values = fields.filter(|(key, _)| key == name).map(|(_, value)| value);
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value),
        _ => None,
    }
}

/// Why a request is not one that two servers would read alike. Always 400, and the connection closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    Path(InvalidPath),
    Host,
    Framing,
    Header,
    Method,
    Target,
    /// Path and query are longer than [`MAX_TARGET`], or the path than [`path`] takes.
    TargetTooLong,
    TooManyHeaders,
}

impl Malformed {
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Path(why) => why.sentence(),
            Self::Host => "exactly one valid host name is needed, the same in every place that names it",
            Self::Framing => "the length of the body is said in more than one way",
            Self::Header => "a header field is malformed, or given twice",
            Self::Method => "the method is not supported",
            Self::Target => "the request target is malformed",
            Self::TargetTooLong => "path and query are too long",
            Self::TooManyHeaders => "there are too many header fields",
        }
    }
}

impl Malformed {
    pub fn reason(self) -> Reason {
        match self {
            Self::TargetTooLong | Self::Path(InvalidPath::TooLong) => Reason::UriTooLong,
            Self::TooManyHeaders => Reason::HeaderTooLarge,
            Self::Path(_) | Self::Host | Self::Framing | Self::Header | Self::Method | Self::Target => {
                Reason::BadRequest
            }
        }
    }
}

/// What [`read`] found: the host, and the path where it had to be rewritten.
#[derive(Debug, PartialEq, Eq)]
pub struct Target {
    pub host: String,
    pub port: Option<u16>,
    /// Canonical path; the same text as the request's where nothing had to change. May hold `%2F`, which a route has to
    /// allow.
    pub path: String,
}

/// Checks a request's head before anything is decided on it.
///
/// # Errors
/// What is malformed.
pub fn read(
    method: &Method,
    uri: &Uri,
    version: Version,
    headers: &HeaderMap,
    max_headers: usize,
) -> Result<Target, Malformed> {
    if *method == Method::CONNECT || *method == Method::TRACE {
        return Err(Malformed::Method);
    }
    // HTTP/2 may name any scheme (`:scheme`); what is behind us is told that it is https.
    if uri.scheme_str().is_some_and(|scheme| !matches!(scheme, "https" | "http")) {
        return Err(Malformed::Target);
    }
    if uri.path().len() + uri.query().map_or(0, str::len) > MAX_TARGET {
        return Err(Malformed::TargetTooLong);
    }
    if headers.len() > max_headers {
        return Err(Malformed::TooManyHeaders);
    }
    // Of two credentials, we would read one and an application the other.
    if headers.get_all(http::header::AUTHORIZATION).iter().count() > 1 {
        return Err(Malformed::Header);
    }
    check_framing(version, headers)?;
    let (host, port) = host_of(uri, headers)?;
    let path = match uri.path() {
        // `OPTIONS *` asks about the server, and ours has nothing to say.
        "" if uri.authority().is_some() => Cow::Borrowed("/"),
        path => path::canonical_with_slashes(path).map_err(Malformed::Path)?,
    };
    if uri.query().is_some_and(|query| query.bytes().any(|b| !(0x21..0x7f).contains(&b) || b == b'#' || b == b'\\')) {
        return Err(Malformed::Target);
    }
    Ok(Target { host, port, path: path.into_owned() })
}

/// RFC 9112 section 6: one way to say how long the body is.
fn check_framing(version: Version, headers: &HeaderMap) -> Result<(), Malformed> {
    let lengths = headers.get_all(http::header::CONTENT_LENGTH).iter().count();
    let mut encodings = headers.get_all(http::header::TRANSFER_ENCODING).iter();
    let encoding = encodings.next();
    let chunked = encoding.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"chunked"));
    let bad_length =
        headers.get(http::header::CONTENT_LENGTH).is_some_and(|value| !value.as_bytes().iter().all(u8::is_ascii_digit));
    let bad = lengths > 1
        || bad_length
        || encodings.next().is_some()
        || (encoding.is_some() && (!chunked || lengths > 0 || version != Version::HTTP_11));
    if bad { Err(Malformed::Framing) } else { Ok(()) }
}

/// The host of `Host` and of `:authority` or an absolute target; where both are there they must agree.
fn host_of(uri: &Uri, headers: &HeaderMap) -> Result<(String, Option<u16>), Malformed> {
    let mut hosts = headers.get_all(http::header::HOST).iter();
    let header = match (hosts.next(), hosts.next()) {
        (None, _) => None,
        (Some(one), None) => Some(one.to_str().map_err(|_| Malformed::Host)?),
        (Some(_), Some(_)) => return Err(Malformed::Host),
    };
    let authority = uri.authority().map(http::uri::Authority::as_str);
    if let (Some(header), Some(authority)) = (header, authority)
        && !header.eq_ignore_ascii_case(authority)
    {
        return Err(Malformed::Host);
    }
    let text = header.or(authority).ok_or(Malformed::Host)?;
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => {
            (host, Some(port.parse().map_err(|_| Malformed::Host)?))
        }
        Some(_) => return Err(Malformed::Host),
        None => (text, None),
    };
    // A name, in the alphabet of DNS: no userinfo, no address literal, no trailing dot, no percent sign.
    let name_byte = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    let name = !host.is_empty()
        && host.len() <= 253
        && host.bytes().all(name_byte)
        && host.split('.').all(|label| !label.is_empty());
    if name { Ok((host.to_ascii_lowercase(), port)) } else { Err(Malformed::Host) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(target: &str, headers: &[(&'static str, &str)]) -> Result<Target, Malformed> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        read(&Method::GET, &target.parse().unwrap(), Version::HTTP_11, &map, 100)
    }

    #[test]
    fn host_and_target_have_one_reading() {
        let good = |target, headers: &[_]| head(target, headers).map(|t| (t.host, t.path));
        let wiki = |path: &str| Ok(("wiki.test".to_owned(), path.to_owned()));
        assert_eq!(good("/a/../b", &[("host", "Wiki.test")]), wiki("/b"));
        assert_eq!(good("/", &[("host", "wiki.test:8443")]), wiki("/"));
        assert_eq!(good("https://wiki.test/a", &[("host", "wiki.test")]), wiki("/a"));
        assert_eq!(good("https://wiki.test/a", &[]), wiki("/a"));
        for (target, headers) in [
            ("/", vec![]),
            ("/", vec![("host", "")]),
            ("/", vec![("host", "a.test"), ("host", "a.test")]),
            ("/", vec![("host", "a.test"), ("host", "b.test")]),
            ("https://b.test/", vec![("host", "a.test")]),
            ("/", vec![("host", "a.test.")]),
            ("/", vec![("host", "u@a.test")]),
            ("/", vec![("host", "a.test:")]),
            ("/", vec![("host", "a.test:x")]),
            ("/", vec![("host", "a.test:443:443")]),
            ("/", vec![("host", "[::1]")]),
            ("/", vec![("host", "a..test")]),
            ("/", vec![("host", "a%2etest")]),
            ("/", vec![("host", "a.test, b.test")]),
        ] {
            assert_eq!(head(target, &headers), Err(Malformed::Host), "{target} {headers:?}");
        }
    }

    #[test]
    fn the_length_of_a_body_is_said_once() {
        for headers in [
            vec![("content-length", "1"), ("content-length", "1")],
            vec![("content-length", "1"), ("transfer-encoding", "chunked")],
            vec![("content-length", "+1")],
            vec![("content-length", "1, 1")],
            vec![("transfer-encoding", "chunked, identity")],
            vec![("transfer-encoding", "identity")],
            vec![("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
        ] {
            let with_host: Vec<_> = headers.iter().copied().chain([("host", "a.test")]).collect();
            assert_eq!(head("/", &with_host), Err(Malformed::Framing), "{headers:?}");
        }
        assert!(head("/", &[("host", "a.test"), ("transfer-encoding", "Chunked")]).is_ok());
    }

    #[test]
    fn two_credentials_are_none() {
        let twice = [("host", "a.test"), ("authorization", "Bearer a"), ("authorization", "Bearer b")];
        assert_eq!(head("/", &twice), Err(Malformed::Header));
        assert!(head("/", &twice[..2]).is_ok());
    }

    #[test]
    fn a_cookie_that_is_there_twice_is_not_there() {
        let info = crate::edge::connection::tests::plain_connection();
        let mut headers = HeaderMap::new();
        headers.append("cookie", HeaderValue::from_static("a=1; __Host-torhaus=x; b=2"));
        let method = Method::GET;
        fn request<'a>(method: &'a Method, headers: &'a HeaderMap, connection: &'a Arc<ConnectionInfo>) -> Request<'a> {
            Request { method, host: "a.test", port: None, path: "/", query: None, headers, connection, body: &[] }
        }
        let cookie = |headers: &HeaderMap| request(&method, headers, &info).cookie("__Host-torhaus").map(str::to_owned);
        assert_eq!(cookie(&headers).as_deref(), Some("x"));
        headers.append("cookie", HeaderValue::from_bytes(b"x=\xe4; y=\xff").unwrap());
        assert_eq!(cookie(&headers).as_deref(), Some("x"), "other cookies cannot hide it");
        let mut tossed = headers.clone();
        tossed.append("cookie", HeaderValue::from_static("__Host-torhaus=y"));
        assert_eq!(cookie(&tossed), None);
    }
}
