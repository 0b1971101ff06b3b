//! Routes and certificates from elsewhere than the files, served beside theirs. Knows no cluster.
use crate::edge::tls::HostCertificates;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::sync::Arc;
use torhaus_authz::Timestamp;
use torhaus_config::{Config, Route};

/// What is served beside the files.
#[derive(Default)]
pub struct Added {
    /// Each has a name of its own, or the same upstream as another of its name.
    pub routes: Vec<Arc<Route>>,
    /// By the hosts of these routes.
    pub certificates: Arc<HostCertificates>,
    /// Who answers an ACME http-01 challenge (RFC 8555 section 8.3): host, path, and where.
    pub challenges: Challenges,
    shape: u64,
}

/// By host and path.
pub type Challenges = HashMap<(String, String), Vec<SocketAddr>>;

/// Where such routes come from.
pub trait Source: Send + Sync {
    /// What there is now, every route checked against this configuration. Blocks for a moment.
    fn added(&self, config: &Arc<Config>, now: Timestamp) -> Arc<Added>;
}

impl Added {
    pub fn new(routes: Vec<Arc<Route>>, certificates: HostCertificates, challenges: Challenges) -> Self {
        let mut hasher = DefaultHasher::new();
        for route in &routes {
            (&route.host, &route.path, route.exact, &route.resource, &route.client_auth).hash(&mut hasher);
        }
        Self { routes, certificates: Arc::new(certificates), challenges, shape: hasher.finish() }
    }

    /// Whether open requests have to be judged anew: other hosts and paths, or they lead to other resources, or by
    /// another client authentication. Servers may come and go without.
    pub fn leads_elsewhere(&self, before: &Self) -> bool {
        self.shape != before.shape
    }
}
