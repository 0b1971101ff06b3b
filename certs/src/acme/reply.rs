//! Answers on their way out: JSON, a certificate chain, a problem, or nothing.
use super::problem::{Help, Kind, Problem};
use http::{HeaderName, HeaderValue, Response, header};
use serde_json::Value;

/// Rides along in the extensions of every response, for the log and the metrics of whoever listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// `new-order`; `unknown` if nothing stands at the path.
    pub action: &'static str,
    /// Whose signature was verified.
    pub account: Option<String>,
    pub problem: Option<Kind>,
    /// The sentence of the problem.
    pub detail: Option<String>,
}

pub(super) struct Reply {
    status: u16,
    body: Body,
    location: Option<String>,
    links: Vec<(String, &'static str)>,
    retry_after: Option<u64>,
    allow: Option<&'static str>,
}

enum Body {
    Json(Value),
    Problem(Value),
    Chain(String),
    Empty,
}

/// What every answer of one request has in common.
pub(super) struct Common<'a> {
    pub directory: Option<String>,
    pub nonce: Option<String>,
    pub terms: Option<&'a str>,
    pub portal: Option<&'a str>,
}

impl Reply {
    pub fn json(body: Value) -> Self {
        Self::of(200, Body::Json(body))
    }

    pub fn created(body: Value) -> Self {
        Self::of(201, Body::Json(body))
    }

    pub fn chain(pem: String) -> Self {
        Self::of(200, Body::Chain(pem))
    }

    pub fn empty(status: u16) -> Self {
        Self::of(status, Body::Empty)
    }

    #[must_use]
    pub fn at(mut self, location: String) -> Self {
        self.location = Some(location);
        self
    }

    #[must_use]
    pub fn link(mut self, target: String, relation: &'static str) -> Self {
        self.links.push((target, relation));
        self
    }

    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    pub fn problem(problem: &Problem, common: &Common<'_>) -> Self {
        let mut document = problem.document();
        let (target, relation) = match problem.more.help {
            Some(Help::Terms) => (common.terms, "terms-of-service"),
            Some(Help::Portal) => (common.portal, "help"),
            None => (None, "help"),
        };
        let mut reply = Self::of(problem.status, Body::Empty);
        if let Some(target) = target {
            reply.links.push((target.to_owned(), relation));
            if let (Kind::UserActionRequired, Some(members)) = (problem.kind, document.as_object_mut()) {
                // Where a person goes to mend it (RFC 8555 s6.6).
                members.insert("instance".into(), target.into());
            }
        }
        reply.body = Body::Problem(document);
        reply.location.clone_from(&problem.more.location);
        reply.retry_after = problem.more.retry_after;
        reply.allow = problem.more.allow;
        reply
    }

    pub fn into_response(self, common: &Common<'_>) -> Response<Vec<u8>> {
        let (media, body) = match self.body {
            // Exactly these media types: acmez and acme.sh look no further.
            Body::Json(value) => (Some("application/json"), value.to_string().into_bytes()),
            Body::Problem(value) => (Some("application/problem+json"), value.to_string().into_bytes()),
            Body::Chain(pem) => (Some("application/pem-certificate-chain"), pem.into_bytes()),
            Body::Empty => (None, vec![]),
        };
        let mut response = Response::new(body);
        *response.status_mut() =
            http::StatusCode::from_u16(self.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        let mut put = |name: HeaderName, value: &str| {
            // Our own URLs and numbers; a value that is no header value is left out.
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.append(name, value);
            }
        };
        put(header::CACHE_CONTROL, "no-store");
        if let Some(media) = media {
            put(header::CONTENT_TYPE, media);
        }
        if let Some(nonce) = &common.nonce {
            put(HeaderName::from_static("replay-nonce"), nonce);
        }
        if let Some(directory) = &common.directory {
            put(header::LINK, &format!("<{directory}>;rel=\"index\""));
        }
        for (target, relation) in &self.links {
            put(header::LINK, &format!("<{target}>;rel=\"{relation}\""));
        }
        if let Some(location) = &self.location {
            put(header::LOCATION, location);
        }
        if let Some(seconds) = self.retry_after {
            put(header::RETRY_AFTER, &seconds.to_string());
        }
        if let Some(allow) = self.allow {
            put(header::ALLOW, allow);
        }
        response
    }

    fn of(status: u16, body: Body) -> Self {
        Self { status, body, location: None, links: vec![], retry_after: None, allow: None }
    }
}
