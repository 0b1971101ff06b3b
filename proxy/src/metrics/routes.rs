//! Handles of routes: resolved when first used, and plain atomics from then on.
use super::Metrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use std::sync::Arc;
use std::time::Duration;
use torhaus_authz::Name;

/// Handles of one route behind one listener.
#[derive(Clone, Debug)]
pub struct RouteMetrics {
    pub(super) classes: [Counter; CLASSES.len()],
    pub(super) seconds: Histogram,
}

pub(super) const CLASSES: [&str; 6] = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];

impl RouteMetrics {
    pub fn answered(&self, status: u16, duration: Duration) {
        let class = self.classes.get(usize::from(status / 100)).or(self.classes.first());
        if let Some(counter) = class {
            counter.inc();
        }
        self.seconds.observe(duration.as_secs_f64());
    }
}

/// The handles of routes, resolved when first used.
#[derive(Debug)]
pub struct RouteHandles(moka::sync::Cache<(Name, Option<Name>), Arc<RouteMetrics>, ahash::RandomState>);

impl Default for RouteHandles {
    fn default() -> Self {
        let cache = moka::sync::Cache::builder().max_capacity(MOST_ROUTES);
        Self(cache.build_with_hasher(ahash::RandomState::new()))
    }
}

impl RouteHandles {
    pub fn of(&self, metrics: &Metrics, listener: &Name, route: Option<&Name>) -> Arc<RouteMetrics> {
        let key = (listener.clone(), route.cloned());
        self.0.get_with(key, || Arc::new(metrics.route(listener, route.map_or("-", |route| route))))
    }
}

/// Routes times listeners whose handles are kept; more than that are resolved anew.
const MOST_ROUTES: u64 = 50_000;

/// From what the gate alone takes to what makes people leave.
pub(super) fn request_seconds() -> Histogram {
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0])
}
