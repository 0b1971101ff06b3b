//! An answer of our own, whatever engine sends it.
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, SET_COOKIE};
use http::{HeaderMap, StatusCode};

#[derive(Clone, Debug)]
pub struct Response {
    pub status: StatusCode,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
    /// Sent after the body, on HTTP/2 alone: gRPC.
    pub trailers: HeaderMap,
    /// The caller's framing cannot be relied on: end the connection after this.
    pub close: bool,
}

impl Response {
    pub fn empty(status: StatusCode) -> Self {
        let headers = vec![(CACHE_CONTROL, HeaderValue::from_static("no-store"))];
        Self { status, headers, body: Bytes::new(), trailers: HeaderMap::new(), close: false }
    }

    /// 303: whatever the method was, the next request is a GET (RFC 9110 section 15.4.4).
    pub fn redirect(to: &str) -> Self {
        match HeaderValue::from_str(to) {
            Ok(location) => Self::empty(StatusCode::SEE_OTHER)
                .with(LOCATION, location)
                .with(http::header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            // Our own addresses always are header values; what is not is none of ours.
            Err(_) => Self::empty(StatusCode::BAD_REQUEST),
        }
    }

    pub fn json(status: StatusCode, body: &impl serde::Serialize) -> Self {
        Self::bytes(status, "application/json", serde_json::to_vec(body).unwrap_or_default().into())
    }

    pub fn bytes(status: StatusCode, content_type: &'static str, body: Bytes) -> Self {
        let mut response = Self::empty(status).with(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response.body = body;
        response
    }

    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    #[must_use]
    pub fn with_cookie(self, cookie: &str) -> Self {
        match HeaderValue::from_str(cookie) {
            Ok(mut value) => {
                value.set_sensitive(true);
                self.with(SET_COOKIE, value)
            }
            Err(_) => self,
        }
    }

    #[must_use]
    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }
}
