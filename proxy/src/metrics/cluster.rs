//! What operators watch of a cluster whose ingresses are served.
use crate::admin::ClusterStatus;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Part of [`crate::metrics::Metrics`]. All 0 where no cluster is looked at.
#[derive(Debug, Default)]
pub struct ClusterMetrics {
    synced: Gauge,
    leader: Gauge,
    ingresses: Gauge,
    not_served: Gauge,
    problems: Gauge,
    routes: Gauge,
    failing: Gauge,
}

impl ClusterMetrics {
    pub fn register(&self, r: &mut Registry) {
        r.register("kubernetes_synced", "1 once all of the cluster was read.", self.synced.clone());
        r.register("kubernetes_leader", "1 for the replica that writes status and events.", self.leader.clone());
        r.register("kubernetes_ingresses", "Ingresses of our classes.", self.ingresses.clone());
        r.register("kubernetes_ingresses_not_served", "Ingresses of which nothing is served.", self.not_served.clone());
        r.register(
            "kubernetes_ingresses_with_problems",
            "Ingresses that are not served as they say.",
            self.problems.clone(),
        );
        r.register("kubernetes_routes", "Routes by ingresses.", self.routes.clone());
        r.register(
            "kubernetes_api_failing",
            "Questions that the API server does not answer now.",
            self.failing.clone(),
        );
    }

    pub fn show(&self, status: &ClusterStatus) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.synced.set(i64::from(status.synced));
        self.leader.set(i64::from(status.leader));
        self.ingresses.set(number(status.ingresses));
        self.not_served.set(number(status.not_served));
        self.problems.set(number(status.problems.len()));
        self.routes.set(number(status.routes));
        self.failing.set(number(status.failing.len()));
    }
}
