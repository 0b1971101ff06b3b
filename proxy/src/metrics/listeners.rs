//! Connections of a listener.
use super::labels::ListenerCauseLabels;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

/// Handles of one listener. Causes are words of the code, never text from outside.
#[derive(Clone, Debug)]
pub struct ListenerMetrics {
    pub(super) name: String,
    pub open: Gauge,
    pub accepted: Counter,
    pub(super) refused: Family<ListenerCauseLabels, Counter>,
    pub(super) handshake_failures: Family<ListenerCauseLabels, Counter>,
    pub(super) cut: Family<ListenerCauseLabels, Counter>,
}

impl ListenerMetrics {
    /// A connection was ended for what its client did with it.
    pub fn cut(&self, cause: &'static str) {
        self.cut.get_or_create(&ListenerCauseLabels { listener: self.name.clone(), cause }).inc();
    }

    pub fn refused(&self, cause: &'static str) {
        self.refused.get_or_create(&ListenerCauseLabels { listener: self.name.clone(), cause }).inc();
    }

    pub fn handshake_failed(&self, cause: &'static str) {
        self.handshake_failures.get_or_create(&ListenerCauseLabels { listener: self.name.clone(), cause }).inc();
    }
}

/// One more of something that is open; one less when this is dropped.
#[derive(Debug)]
pub struct Open(Gauge);

impl Open {
    pub fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
