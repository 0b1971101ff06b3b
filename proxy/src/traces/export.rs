//! Sends spans in batches. A collector that is down, slow or does not tell the truth costs spans and nothing else.
use super::span::text;
use super::{Message, Span};
use crate::clock;
use crate::login::http_client::HttpClient;
use crate::metrics::Metrics;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Receiver;
use torhaus_config::Traces;

/// Spans in one message: about half a MiB.
const MOST: usize = 512;
/// A span waits this long for others.
const EVERY: Duration = Duration::from_secs(1);
/// After a message that was not taken.
const PAUSE: Duration = Duration::from_secs(1);

/// Until nobody can record any more.
pub async fn run(config: Arc<Traces>, http: HttpClient, mut queue: Receiver<Message>, metrics: Arc<Metrics>) {
    let mut failing = false;
    let mut batch: Vec<Box<Span>> = Vec::with_capacity(MOST);
    let mut open = true;
    while open {
        let mut flushed = None;
        let mut until = None;
        while batch.len() < MOST && flushed.is_none() {
            let next = match until {
                None => queue.recv().await,
                Some(until) => match tokio::time::timeout_at(until, queue.recv()).await {
                    Ok(next) => next,
                    Err(_) => break,
                },
            };
            match next {
                Some(Message::Span(span)) => batch.push(span),
                Some(Message::Flush(done)) => flushed = Some(done),
                None => {
                    open = false;
                    break;
                }
            }
            until.get_or_insert_with(|| tokio::time::Instant::now() + EVERY);
        }
        if !batch.is_empty() {
            let failed = send(&config, &http, &batch, &metrics).await;
            batch.clear();
            match &failed {
                Some(why) if !failing => tracing::warn!("spans are lost: {why}"),
                None if failing => tracing::info!("the collector takes spans again"),
                _ => {}
            }
            failing = failed.is_some();
        }
        if let Some(done) = flushed {
            // Whoever asked may have given up.
            let _ = done.send(());
        } else if failing && open {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Why spans of the batch were lost.
async fn send(config: &Traces, http: &HttpClient, batch: &[Box<Span>], metrics: &Metrics) -> Option<String> {
    let headers = config.headers.iter().map(|header| (header.name.as_str(), header.value.expose()));
    let all = u64::try_from(batch.len()).unwrap_or(u64::MAX);
    let answer = http.post_json(&config.endpoint, &message(config, batch), headers).await;
    let (lost, why) = match answer.and_then(|answer| answer.success(&config.endpoint)) {
        Err(error) => (all, Some(error.to_string())),
        // What is no such document rejects nothing: a collector may answer in words of its own.
        Ok(answer) => match answer.json::<Answer>(&config.endpoint).unwrap_or_default().rejected() {
            0 => (0, None),
            rejected => (rejected.min(all), Some(format!("the collector rejected {rejected} of {all}"))),
        },
    };
    metrics.traces.sent.inc_by(all - lost);
    metrics.traces.not_taken.inc_by(lost);
    why
}

/// `ExportTraceServiceRequest`.
fn message(config: &Traces, batch: &[Box<Span>]) -> Value {
    let clock = (Instant::now(), clock::unix_nanos());
    let spans: Vec<Value> = batch.iter().map(|span| span.json(clock)).collect();
    let version = env!("CARGO_PKG_VERSION");
    json!({ "resourceSpans": [{
        "resource": { "attributes": [text("service.name", &config.service_name), text("service.version", version)] },
        "scopeSpans": [{ "scope": { "name": "torhaus", "version": version }, "spans": spans }],
    }] })
}

/// `ExportTraceServiceResponse`, as far as it matters here.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Answer {
    partial_success: Option<PartialSuccess>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PartialSuccess {
    /// 64 bits are text in this encoding; some write a number.
    rejected_spans: Value,
}

impl Answer {
    fn rejected(&self) -> u64 {
        let said = self.partial_success.as_ref().map(|partial| &partial.rejected_spans);
        said.and_then(|said| said.as_u64().or_else(|| said.as_str()?.parse().ok())).unwrap_or(0)
    }
}
