//! What is measured: an address on this machine, and the request that is sent to it over and over.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::header::{AUTHORIZATION, COOKIE, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};

use crate::body::Zeros;
use crate::error::{Doing, Error, Result};

/// An address of this machine. The only constructor refuses everything else: a load generator that
/// accepts any address is a weapon, and a figure taken over a network measures the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loopback(SocketAddr);

impl Loopback {
    pub fn new(address: SocketAddr) -> Result<Self> {
        if !address.ip().is_loopback() {
            return Err(Error::new(format!("`{address}` is not a loopback address; only this machine can be loaded")));
        }
        Ok(Self(address))
    }

    pub fn port(port: u16) -> Self {
        Self(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    pub fn address(self) -> SocketAddr {
        self.0
    }
}

impl FromStr for Loopback {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text.parse().doing(format!("`{text}` is not an address such as 127.0.0.1:8443"))?)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Http1,
    Http2,
}

impl Version {
    pub fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }
}

/// What the caller shows beside (or instead of) a client certificate.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// Values of the Cookie header; each request shows the next.
    pub cookies: Vec<String>,
    pub bearer: Option<String>,
}

/// What a right answer looks like. Everything else is counted as an error.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    pub status: u16,
    pub body_bytes: Option<u64>,
}

/// One request, built once and cloned for each send.
#[derive(Debug, Clone)]
pub struct Target {
    pub address: Loopback,
    pub host: String,
    pub version: Version,
    pub expected: Expected,
    /// Bytes of the request's body; 0: a GET without one.
    pub upload: u64,
    uri: Uri,
    headers: HeaderMap,
    /// More than one; a single one stands in `headers`.
    cookies: Arc<[HeaderValue]>,
    next_cookie: Arc<AtomicUsize>,
}

impl Target {
    pub fn new(
        address: Loopback,
        host: &str,
        path: &str,
        version: Version,
        credentials: &Credentials,
        expected: Expected,
    ) -> Result<Self> {
        let authority = format!("{host}:{}", address.address().port());
        let mut headers = HeaderMap::new();
        // h1 names the host in a header, h2 in `:authority`; sending both invites a comparison that is not measured.
        let uri = match version {
            Version::Http1 => {
                headers.insert(HOST, HeaderValue::from_str(&authority).doing("host")?);
                path.to_owned()
            }
            Version::Http2 => format!("https://{authority}{path}"),
        };
        let mut cookies =
            credentials.cookies.iter().map(|cookie| secret(cookie, "cookie")).collect::<Result<Vec<_>>>()?;
        if cookies.len() == 1 {
            headers.extend(cookies.pop().map(|cookie| (COOKIE, cookie)));
        }
        if let Some(bearer) = &credentials.bearer {
            headers.insert(AUTHORIZATION, secret(&format!("Bearer {bearer}"), "bearer token")?);
        }
        let uri = uri.parse().doing(format!("`{uri}` is not a request target"))?;
        Ok(Self {
            address,
            host: host.to_owned(),
            version,
            expected,
            upload: 0,
            uri,
            headers,
            cookies: cookies.into(),
            next_cookie: Arc::default(),
        })
    }

    pub fn request(&self) -> Request<Zeros> {
        let mut request = Request::new(Zeros::new(self.upload));
        if self.upload > 0 {
            *request.method_mut() = Method::POST;
        }
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        if !self.cookies.is_empty() {
            let next = self.next_cookie.fetch_add(1, Ordering::Relaxed) % self.cookies.len();
            request.headers_mut().extend(self.cookies.get(next).map(|cookie| (COOKIE, cookie.clone())));
        }
        request
    }
}

fn secret(value: &str, name: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(value.trim()).doing(format!("{name} is not a header value"))?;
    value.set_sensitive(true); // hidden in Debug, never indexed by HPACK's dynamic table
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_can_be_loaded() {
        assert!("127.0.0.1:1".parse::<Loopback>().is_ok());
        assert!("[::1]:1".parse::<Loopback>().is_ok());
        for other in ["10.0.0.1:1", "0.0.0.0:1", "[2001:db8::1]:1", "localhost:1"] {
            assert!(other.parse::<Loopback>().is_err(), "{other}");
        }
    }

    #[test]
    fn the_host_is_named_once() {
        let expected = Expected { status: 200, body_bytes: None };
        let build = |version| {
            Target::new(Loopback::port(8443), "a.test", "/x", version, &Credentials::default(), expected).unwrap()
        };
        let one = build(Version::Http1).request();
        assert_eq!((one.uri().to_string().as_str(), one.headers()["host"].to_str().unwrap()), ("/x", "a.test:8443"));
        let two = build(Version::Http2).request();
        assert_eq!(two.uri(), "https://a.test:8443/x");
        assert!(two.headers().get("host").is_none());
    }

    #[test]
    fn each_request_shows_the_next_cookie() {
        let cookies = ["id=1", "id=2"].map(str::to_owned).to_vec();
        let expected = Expected { status: 200, body_bytes: None };
        let show = |cookies, count| -> Vec<String> {
            let credentials = Credentials { cookies, bearer: None };
            let port = Loopback::port(8443);
            let target = Target::new(port, "a.test", "/x", Version::Http1, &credentials, expected).unwrap();
            (0..count).map(|_| target.request().headers()[COOKIE].to_str().unwrap().to_owned()).collect()
        };
        assert_eq!(show(cookies, 3), ["id=1", "id=2", "id=1"]);
        assert_eq!(show(vec!["id=1".to_owned()], 2), ["id=1", "id=1"]);
    }
}
