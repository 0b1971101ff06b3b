//! Traces: one span per request, for a collector (OTLP), and `traceparent` for the application.
//!
//! Made from what is known when a request is over, so that the way of a request knows nothing of it but its context. A
//! span never waits and never holds anything up: where there is no room for it, it is dropped and counted. It holds no
//! path, no query, no header, and nobody's name; the number of the decision leads to those in the audit log.
mod context;
mod export;
mod metrics;
mod span;

pub use context::TraceContext;
pub use metrics::TraceMetrics;
pub use span::{Span, method};

use crate::login::http_client::{Bounds, HttpClient};
use crate::metrics::Metrics;
use http::HeaderMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use torhaus_config::Traces;

/// Spans that may wait for the collector: about 2 MB.
const QUEUE: usize = 4096;
/// What a collector may take for an answer, and how much of one is read.
const BOUNDS: Bounds = Bounds { total: Duration::from_secs(10), body: 64 * 1024 };

/// Where spans go, by one configuration.
pub struct Tracer {
    config: Arc<Traces>,
    queue: mpsc::Sender<Message>,
    /// Until it is started.
    waiting: Mutex<Option<(HttpClient, mpsc::Receiver<Message>)>>,
}

enum Message {
    Span(Box<Span>),
    /// Send what there is, then say so.
    Flush(oneshot::Sender<()>),
}

impl Tracer {
    /// The same as before where the configuration is the same: spans that wait are not lost by a reload.
    ///
    /// # Errors
    /// The CA file cannot be used.
    pub fn of(config: Option<&Arc<Traces>>, before: Option<&Arc<Self>>) -> Result<Option<Arc<Self>>, String> {
        let Some(config) = config else { return Ok(None) };
        if let Some(before) = before.filter(|before| before.config == *config) {
            return Ok(Some(before.clone()));
        }
        let http = HttpClient::within(&config.endpoint, config.ca_file.as_deref(), BOUNDS);
        let http = http.map_err(|error| format!("telemetry.traces: {error}"))?;
        let (queue, spans) = mpsc::channel(QUEUE);
        Ok(Some(Arc::new(Self { config: config.clone(), queue, waiting: Mutex::new(Some((http, spans))) })))
    }

    /// Begins to send, until the configuration is another one. Once; again does nothing.
    pub fn start(&self, metrics: &Arc<Metrics>) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((http, spans)) = waiting {
            tokio::spawn(export::run(self.config.clone(), http, spans, metrics.clone()));
        }
    }

    /// Of which trace a request is: its caller's, if that is believed, else a new one.
    pub fn begin(&self, caller: IpAddr, headers: &HeaderMap) -> TraceContext {
        let caller = caller.to_canonical();
        let believed = self.config.continue_from.iter().any(|network| network.contains(&caller));
        let parent = believed.then(|| context::parent(headers)).flatten();
        TraceContext::new(parent, self.config.sample)
    }

    /// Never waits.
    pub fn record(&self, span: Span, metrics: &TraceMetrics) {
        if self.queue.try_send(Message::Span(Box::new(span))).is_err() {
            metrics.no_room.inc();
        }
    }

    /// Waits until what there is was sent, but no longer than that.
    pub async fn flush(&self, patience: Duration) {
        let (done, sent) = oneshot::channel();
        if self.queue.try_send(Message::Flush(done)).is_ok() {
            // Whether it came in time or not: the process ends.
            drop(tokio::time::timeout(patience, sent).await);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Stages;
    use std::time::Instant;

    #[test]
    fn what_is_more_than_waits_is_dropped_and_counted() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let config = Arc::new(Traces {
            endpoint: "http://127.0.0.1:9/v1/traces".parse().unwrap(),
            ca_file: None,
            headers: Vec::new(),
            sample: 1.0,
            service_name: "torhaus".to_owned(),
            continue_from: Vec::new(),
        });
        // Nobody takes them: it was not started.
        let tracer = Tracer::of(Some(&config), None).unwrap().unwrap();
        let metrics = TraceMetrics::default();
        let span = || Span {
            context: TraceContext::new(None, 1.0),
            started: Instant::now(),
            ended: Instant::now(),
            stages: Some(Stages::begin()),
            upstream_answered: None,
            method: "GET",
            version: http::Version::HTTP_11,
            status: 200,
            listener: "public".into(),
            route: None,
            decision: None,
            reason: None,
        };
        for _ in 0..QUEUE + 3 {
            tracer.record(span(), &metrics);
        }
        assert_eq!((metrics.no_room.get(), metrics.not_taken.get(), metrics.sent.get()), (3, 0, 0));
        let same = Tracer::of(Some(&Arc::new((*config).clone())), Some(&tracer)).unwrap().unwrap();
        assert!(Arc::ptr_eq(&same, &tracer), "the same configuration keeps what waits");
    }
}
