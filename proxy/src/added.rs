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
    pub challenges: HashMap<(String, String), Vec<SocketAddr>>,
}

/// Where such routes come from.
pub trait Source: Send + Sync {
    /// What there is now, every route checked against this configuration. Blocks for a moment.
    fn added(&self, config: &Arc<Config>, now: Timestamp) -> Arc<Added>;
}

impl Added {
    /// Changes when open requests have to be judged anew: which hosts and paths lead to which resource, by which client
    /// authentication. Servers may come and go without.
    pub fn shape(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for route in &self.routes {
            (&route.host, &route.path, route.exact, &route.resource, &route.client_auth).hash(&mut hasher);
        }
        hasher.finish()
    }
}
