//! Everything derived from one configuration. A request reads it once, at the top, and finishes on it.
use crate::edge::accept::EdgeSettings;
use crate::edge::tls::{Groups, build_table};
use crate::edge::trust::{OwnAuthorities, TrustDomains, TrustError};
use crate::engine::upstream::{UpstreamError, Upstreams};
use crate::headers::Reserved;
use crate::identify::bearer::BearerVerifier;
use crate::login::providers::Providers;
use crate::lookup::Lookups;
use crate::reload::config_hash;
use crate::route::Routes;
use std::sync::Arc;
use torhaus_authz::{Name, Policy};
use torhaus_config::Config;

pub struct Snapshot {
    pub config: Arc<Config>,
    /// SHA-256 over the files that it was made from, lower-case hex.
    pub hash: String,
    pub policy: Arc<Policy>,
    pub routes: Routes,
    /// Hosts by client authentication.
    pub groups: Arc<Groups>,
    pub trust: Arc<TrustDomains>,
    /// Header names that only we may send to an application.
    pub reserved: Reserved,
    pub providers: Providers,
    pub bearer: BearerVerifier,
    pub lookups: Lookups,
    pub upstreams: Upstreams,
}

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error("identity provider: {0}")]
    Provider(String),
}

impl Snapshot {
    /// Builds all of it or nothing. What the snapshot before learned from the network (provider metadata, keys,
    /// addresses) is taken over where its configuration is unchanged.
    ///
    /// # Errors
    /// A file changed between the check and now, or cannot be used.
    pub fn build(config: Arc<Config>, own: &OwnAuthorities, before: Option<&Self>) -> Result<Self, SnapshotError> {
        let groups = Arc::new(Groups::of(&config));
        let trust = Arc::new(TrustDomains::load(&config.trust_domains, own)?);
        let providers = Providers::build(&config, before.map(|b| &b.providers)).map_err(SnapshotError::Provider)?;
        let bearer = BearerVerifier::new(&config.bearer, providers.names(), before.map(|b| &b.bearer))
            .map_err(|error| SnapshotError::Provider(error.to_string()))?;
        Ok(Self {
            hash: config_hash(&config),
            policy: config.policy.clone(),
            routes: Routes::of(&config.routes),
            groups,
            trust,
            reserved: Reserved::with(config.routes.iter().flat_map(|route| header_names(route))),
            providers,
            bearer,
            lookups: Lookups::build(&config, before.map(|b| &b.lookups), crate::clock::now()),
            upstreams: Upstreams::build(&config.routes)?,
            config,
        })
    }

    /// What the connection layer needs of it.
    ///
    /// # Errors
    /// A certificate or key cannot be used.
    pub fn edge_settings(&self) -> Result<EdgeSettings, SnapshotError> {
        Ok(EdgeSettings {
            tls: build_table(&self.config, &self.groups, &self.trust)?,
            trusted_proxies: self.config.trusted_proxies.clone(),
            handshake_timeout: self.config.limits.handshake_timeout,
            max_connections: self.config.limits.max_connections,
        })
    }

    /// Whether a request's host is one of ours, on the connection it came by: else 421 (RFC 9110 section 15.5.20).
    pub fn belongs(&self, request: &crate::request::Request<'_>) -> bool {
        let Some(tls) = &request.connection.tls else { return false };
        match self.groups.find(request.host) {
            Some(group) => **group == *tls.group,
            // A host without routes can only be the one that the handshake named.
            None => request.host == tls.server_name,
        }
    }

    pub fn is_portal(&self, host: &str) -> bool {
        self.config.portal.host == host
    }

    /// Version of the policy, for records.
    pub fn policy_version(&self) -> Name {
        self.policy.version().clone()
    }
}

fn header_names(route: &torhaus_config::Route) -> impl Iterator<Item = &str> {
    let headers = &route.headers;
    [&headers.user, &headers.email, &headers.groups, &headers.name].into_iter().filter_map(|name| name.as_deref())
}
