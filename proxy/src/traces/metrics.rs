//! What becomes of spans.
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Part of [`crate::metrics::Metrics`]. All 0 where nothing is traced.
#[derive(Debug)]
pub struct TraceMetrics {
    pub sent: Counter,
    dropped: Family<CauseLabel, Counter>,
    /// Dropped because too many waited.
    pub no_room: Counter,
    /// Dropped because the collector did not take them.
    pub not_taken: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

impl Default for TraceMetrics {
    fn default() -> Self {
        let dropped: Family<CauseLabel, Counter> = Family::default();
        let of = |cause| dropped.get_or_create_owned(&CauseLabel { cause });
        let (no_room, not_taken) = (of("queue"), of("collector"));
        Self { sent: Counter::default(), dropped, no_room, not_taken }
    }
}

impl TraceMetrics {
    pub fn register(&self, r: &mut Registry) {
        r.register("trace_spans_sent", "Spans that the collector took.", self.sent.clone());
        r.register("trace_spans_dropped", "Spans that were lost, by cause.", self.dropped.clone());
    }
}
