//! What operators watch of the database's standbys.
use crate::store::Standbys;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;

/// Part of [`crate::metrics::Metrics`].
#[derive(Debug, Default)]
pub struct ReplicationMetrics {
    streaming: Gauge,
    synchronous: Gauge,
    lag: Gauge<f64, AtomicU64>,
}

impl ReplicationMetrics {
    pub fn register(&self, r: &mut Registry) {
        r.register("store_standbys", "Standbys that the database sends to; -1: not known.", self.streaming.clone());
        r.register(
            "store_synchronous_standbys",
            "Of these, how many a commit waits for, or may wait for; -1: not known.",
            self.synchronous.clone(),
        );
        r.register(
            "store_replication_lag_seconds",
            "How far the slowest standby is behind with writing down.",
            self.lag.clone(),
        );
    }

    /// None: not known.
    pub fn show(&self, standbys: Option<Standbys>) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.streaming.set(standbys.map_or(-1, |all| number(all.streaming)));
        self.synchronous.set(standbys.map_or(-1, |all| number(all.synchronous)));
        let lag = standbys.map_or(0, |all| all.lag_ms);
        self.lag.set(std::time::Duration::from_millis(lag).as_secs_f64());
    }
}
