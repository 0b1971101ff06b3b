//! The messages of `envoy.service.auth.v3` that are read and written here: the fields that matter, by their numbers in
//! Envoy's published API. What else a proxy says is passed over.
use prost::Message;
use std::collections::HashMap;
use std::fmt;

/// `CheckRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct CheckRequest {
    #[prost(message, optional, tag = "1")]
    pub attributes: Option<Attributes>,
}

/// `AttributeContext`.
#[derive(Clone, PartialEq, Message)]
pub struct Attributes {
    #[prost(message, optional, tag = "1")]
    pub source: Option<Peer>,
    #[prost(message, optional, tag = "4")]
    pub request: Option<Asked>,
}

/// `AttributeContext.Peer`.
#[derive(Clone, PartialEq, Message)]
pub struct Peer {
    #[prost(message, optional, tag = "1")]
    pub address: Option<Address>,
}

/// `config.core.v3.Address`.
#[derive(Clone, PartialEq, Message)]
pub struct Address {
    #[prost(message, optional, tag = "1")]
    pub socket_address: Option<SocketAddress>,
}

/// `config.core.v3.SocketAddress`.
#[derive(Clone, PartialEq, Message)]
pub struct SocketAddress {
    #[prost(string, tag = "2")]
    pub address: String,
}

/// `AttributeContext.Request`.
#[derive(Clone, PartialEq, Message)]
pub struct Asked {
    #[prost(message, optional, tag = "2")]
    pub http: Option<HttpRequest>,
}

/// `AttributeContext.HttpRequest`. Several headers of one name are one here, joined by Envoy.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct HttpRequest {
    #[prost(string, tag = "2")]
    pub method: String,
    #[prost(map = "string, string", tag = "3")]
    pub headers: HashMap<String, String>,
    /// With the query.
    #[prost(string, tag = "4")]
    pub path: String,
    #[prost(string, tag = "5")]
    pub host: String,
    #[prost(string, tag = "6")]
    pub scheme: String,
}

/// `CheckResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct CheckResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    #[prost(message, optional, tag = "2")]
    pub denied: Option<Denied>,
    #[prost(message, optional, tag = "3")]
    pub allowed: Option<Allowed>,
}

/// `google.rpc.Status`: 0 lets the request through, anything else does not.
#[derive(Clone, PartialEq, Message)]
pub struct Status {
    #[prost(int32, tag = "1")]
    pub code: i32,
}

/// `DeniedHttpResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct Denied {
    #[prost(message, optional, tag = "1")]
    pub status: Option<HttpStatus>,
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderOption>,
    #[prost(string, tag = "3")]
    pub body: String,
}

/// `type.v3.HttpStatus`.
#[derive(Clone, PartialEq, Message)]
pub struct HttpStatus {
    #[prost(int32, tag = "1")]
    pub code: i32,
}

/// `OkHttpResponse`. What is to be removed is removed after what is to be set was set.
#[derive(Clone, PartialEq, Message)]
pub struct Allowed {
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderOption>,
    #[prost(string, repeated, tag = "5")]
    pub headers_to_remove: Vec<String>,
}

/// `config.core.v3.HeaderValueOption`.
#[derive(Clone, PartialEq, Message)]
pub struct HeaderOption {
    #[prost(message, optional, tag = "1")]
    pub header: Option<HeaderValue>,
    #[prost(int32, tag = "3")]
    pub append_action: i32,
}

/// `config.core.v3.HeaderValue`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct HeaderValue {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

/// Headers carry cookies and tokens, paths codes: nothing of them gets into a log.
impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRequest").field("method", &self.method).field("host", &self.host).finish_non_exhaustive()
    }
}

impl fmt::Debug for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeaderValue").field("key", &self.key).finish_non_exhaustive()
    }
}

impl HeaderOption {
    /// In the place of what is there (`OVERWRITE_IF_EXISTS_OR_ADD`). None: the value is not text.
    pub fn set(name: &str, value: &[u8]) -> Option<Self> {
        Self::of(name, value, 2)
    }

    /// Beside others of its name (`APPEND_IF_EXISTS_OR_ADD`): cookies.
    pub fn add(name: &str, value: &[u8]) -> Option<Self> {
        Self::of(name, value, 0)
    }

    fn of(name: &str, value: &[u8], append_action: i32) -> Option<Self> {
        let value = std::str::from_utf8(value).ok()?.to_owned();
        Some(Self { header: Some(HeaderValue { key: name.to_owned(), value }), append_action })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_shown_tells_no_header_and_no_path() {
        let asked = HttpRequest {
            method: "GET".to_owned(),
            headers: [("cookie".to_owned(), "marked".to_owned())].into(),
            path: "/?code=marked".to_owned(),
            ..HttpRequest::default()
        };
        let headers = vec![HeaderOption::add("set-cookie", b"marked").unwrap()];
        let denied = Denied { headers, ..Denied::default() };
        let shown = format!("{asked:?} {:?}", CheckResponse { denied: Some(denied), ..CheckResponse::default() });
        assert!(shown.contains("GET") && shown.contains("set-cookie") && !shown.contains("marked"), "{shown}");
    }
}
