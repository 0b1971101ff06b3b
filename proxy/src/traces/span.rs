//! One request as a span of OTLP, in its JSON encoding (opentelemetry-proto, `trace.proto`; ids in hex, as the
//! specification of OTLP/HTTP asks).
use super::context::{Hex, TraceContext};
use crate::metrics::Stages;
use http::{Method, Version};
use serde_json::{Map, Value, json};
use std::time::Instant;
use torhaus_authz::{Name, Reason};

/// What is known of a request when it is over.
#[derive(Debug)]
pub struct Span {
    pub context: TraceContext,
    pub started: Instant,
    pub ended: Instant,
    pub stages: Option<Stages>,
    /// The application's first byte.
    pub upstream_answered: Option<Instant>,
    /// One of those that are known, or `_OTHER`: no text of a client's.
    pub method: &'static str,
    pub version: Version,
    pub status: u16,
    pub listener: Name,
    pub route: Option<Name>,
    pub decision: Option<Name>,
    pub reason: Option<Reason>,
}

/// `SPAN_KIND_SERVER`.
const SERVER: u8 = 2;
/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;
/// Methods that have a name there; of any other a client could write what it likes into a trace.
static KNOWN: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::CONNECT,
    Method::TRACE,
];

/// As the semantic conventions of OpenTelemetry name it.
pub fn method(method: &Method) -> &'static str {
    KNOWN.iter().find(|known| *known == method).map_or("_OTHER", Method::as_str)
}

impl Span {
    /// `clock` is the time of day at an instant, in nanoseconds since 1970.
    pub fn json(&self, clock: (Instant, u128)) -> Value {
        let nanos = |at: Instant| {
            let (now, of_day) = clock;
            of_day.saturating_sub(now.saturating_duration_since(at).as_nanos()).to_string()
        };
        let method = self.method;
        let name = self.route.as_ref().map_or_else(|| method.to_owned(), |route| format!("{method} {route}"));
        let version = match self.version {
            Version::HTTP_2 => "2",
            Version::HTTP_10 => "1.0",
            _ => "1.1",
        };
        let mut attributes = vec![
            text("http.request.method", method),
            text("url.scheme", "https"),
            text("network.protocol.version", version),
            text("torhaus.listener", &self.listener),
            json!({ "key": "http.response.status_code", "value": { "intValue": self.status.to_string() } }),
        ];
        attributes.extend(self.route.as_ref().map(|route| text("torhaus.route", route)));
        attributes.extend(self.decision.as_ref().map(|decision| text("torhaus.decision", decision)));
        attributes.extend(self.reason.map(|reason| text("torhaus.reason", reason.as_str())));
        let stages = self.stages.iter().flat_map(Stages::done_at).map(|(stage, at)| (stage.as_str(), at));
        let answered = self.upstream_answered.map(|at| ("upstream answered", at));
        let events: Vec<Value> =
            stages.chain(answered).map(|(name, at)| json!({ "timeUnixNano": nanos(at), "name": name })).collect();
        let mut span = Map::from_iter([
            ("traceId".to_owned(), Hex(&self.context.trace).to_string().into()),
            ("spanId".to_owned(), Hex(&self.context.span).to_string().into()),
            ("name".to_owned(), name.into()),
            ("kind".to_owned(), SERVER.into()),
            ("startTimeUnixNano".to_owned(), nanos(self.started).into()),
            ("endTimeUnixNano".to_owned(), nanos(self.ended).into()),
            ("attributes".to_owned(), attributes.into()),
            ("events".to_owned(), events.into()),
        ]);
        if let Some(parent) = self.context.parent {
            span.insert("parentSpanId".to_owned(), Hex(&parent).to_string().into());
        }
        if self.status >= 500 {
            span.insert("status".to_owned(), json!({ "code": ERROR }));
        }
        span.into()
    }
}

/// One attribute.
pub fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}
