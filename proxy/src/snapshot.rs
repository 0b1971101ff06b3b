//! Everything derived from one configuration. A request reads it once, at the top, and finishes on it.
use crate::added::Added;
use crate::edge::accept::EdgeSettings;
use crate::edge::obtained::{Obtained, acme_of, order_id};
use crate::edge::shares::Bounds;
use crate::edge::tls::{Groups, build_table, renew_table};
use crate::edge::trust::{self, OwnAuthorities, TrustDomains, TrustError};
use crate::engine::upstream::{UpstreamError, Upstreams};
use crate::headers::Reserved;
use crate::identify::bearer::BearerVerifier;
use crate::login::providers::Providers;
use crate::lookup::Lookups;
use crate::lookup::people::People;
use crate::path;
use crate::path::InvalidPath;
use crate::policies::Pinned;
use crate::portal::pages::Brand;
use crate::reload::config_hash;
use crate::request::{self, Malformed, Request, Target};
use crate::route::Routes;
use crate::traces::Tracer;
use http::{HeaderMap, HeaderValue, Method, Uri, Version};
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use torhaus_authz::{Decision, Facts, Name, Policy, Timestamp};
use torhaus_config::{AskingProxy, Config, FORWARD_AUTH_LISTENER, ListenerAcme, ListenerKind, Route};

#[derive(Clone)]
pub struct Snapshot {
    pub config: Arc<Config>,
    /// SHA-256 over the files that it was made from, lower-case hex.
    pub hash: String,
    pub policy: Arc<Policy>,
    /// The rollback by which this policy runs, and not the file in place.
    pub pinned: Option<Pinned>,
    pub routes: Arc<Routes>,
    /// What is served beside the routes of the files.
    pub added: Arc<Added>,
    /// Hosts by client authentication.
    pub groups: Arc<Groups>,
    pub trust: Arc<TrustDomains>,
    /// Header names that only we may send to an application.
    pub reserved: Arc<Reserved>,
    /// `Strict-Transport-Security` of answers over TLS that have none.
    pub hsts: Option<HeaderValue>,
    pub providers: Arc<Providers>,
    pub bearer: Arc<BearerVerifier>,
    pub lookups: Arc<Lookups>,
    /// What the directory says, where one is configured.
    pub people: Option<Arc<People>>,
    pub upstreams: Arc<Upstreams>,
    /// Where spans of requests go.
    pub traces: Option<Arc<Tracer>>,
    /// What our own pages look like.
    pub brand: Arc<Brand>,
    /// Our own certificates of files by their first name, and when each ends.
    certificate_ends: Vec<(String, Timestamp)>,
    /// Our own certificates by ACME.
    pub obtained: Obtained,
}

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error("identity provider: {0}")]
    Provider(String),
    /// Of the directory's key, which the text names.
    #[error("{0}")]
    Directory(String),
    #[error("{0}")]
    Lookups(String),
    #[error("{0}")]
    Traces(String),
}

impl Snapshot {
    /// Builds all of it or nothing. What the snapshot before learned from the network (provider metadata, keys,
    /// addresses) is taken over where its configuration is unchanged.
    ///
    /// # Errors
    /// A file changed between the check and now, or cannot be used.
    pub fn build(
        config: Arc<Config>,
        own: &OwnAuthorities,
        added: Arc<Added>,
        before: Option<&Self>,
    ) -> Result<Self, SnapshotError> {
        let groups = Arc::new(Groups::of(&config, &added.routes));
        let trust = Arc::new(TrustDomains::load(&config.trust_domains, own)?);
        let providers = Providers::build(&config, before.map(|b| &*b.providers)).map_err(SnapshotError::Provider)?;
        let bearer = BearerVerifier::new(&config.bearer, providers.names(), before.map(|b| &*b.bearer))
            .map_err(|error| SnapshotError::Provider(error.to_string()))?;
        let upstreams = Upstreams::build(&config.routes, before.map(|b| &*b.upstreams))?;
        Ok(Self {
            hash: config_hash(&config),
            policy: config.policy.clone(),
            pinned: None,
            routes: Arc::new(Routes::of(config.routes.iter().chain(&added.routes))),
            groups,
            trust,
            reserved: Arc::new(reserved(&config, &added)),
            hsts: config.hsts.and_then(|age| HeaderValue::try_from(format!("max-age={}", age.as_secs())).ok()),
            providers: Arc::new(providers),
            bearer: Arc::new(bearer),
            lookups: Arc::new(
                Lookups::build(&config, before.map(|b| &*b.lookups), crate::clock::now())
                    .map_err(SnapshotError::Lookups)?,
            ),
            people: People::of(config.directory.as_ref(), before.and_then(|b| b.people.as_ref()))
                .map_err(SnapshotError::Directory)?,
            traces: Tracer::of(config.traces.as_ref(), before.and_then(|b| b.traces.as_ref()))
                .map_err(SnapshotError::Traces)?,
            upstreams: Arc::new(upstreams.with(&added.routes, before.map(|b| &*b.upstreams))),
            brand: Arc::new(Brand::of(&config.branding)),
            certificate_ends: certificate_ends(&config),
            obtained: before.map(|b| b.obtained.clone()).unwrap_or_default(),
            added,
            config,
        })
    }

    /// The same configuration with other routes beside those of its files. What of them is the same is taken over.
    #[must_use]
    pub fn with_added(&self, added: Arc<Added>) -> Self {
        Self {
            routes: Arc::new(Routes::of(self.config.routes.iter().chain(&added.routes))),
            groups: Arc::new(Groups::of(&self.config, &added.routes)),
            reserved: Arc::new(reserved(&self.config, &added)),
            upstreams: Arc::new(self.upstreams.with(&added.routes, Some(&self.upstreams))),
            added,
            ..self.clone()
        }
    }

    /// Every route that is served, those of the files first.
    pub fn all_routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.config.routes.iter().chain(&self.added.routes)
    }

    /// Checks a request's head before anything is decided on it, whoever forwards it: [`request::read`], and `%2F` only
    /// where a route takes it.
    ///
    /// # Errors
    /// What is malformed.
    pub fn read(&self, method: &Method, uri: &Uri, version: Version, headers: &HeaderMap) -> Result<Target, Malformed> {
        let target = request::read(method, uri, version, headers, self.config.limits.max_headers)?;
        if path::has_encoded_slash(&target.path) && !self.routes.takes_encoded_slash(&target.host, &target.path) {
            return Err(Malformed::Path(InvalidPath::Encoding));
        }
        Ok(target)
    }

    /// The one decision of this configuration: by its policy, and where there is one by the candidate beside it.
    pub fn decide(&self, facts: &Facts<'_>) -> Decision {
        match &self.config.candidate {
            None => self.policy.decide(facts),
            Some(candidate) => candidate.decide(&self.policy, facts),
        }
    }

    /// What the connection layer needs of it.
    ///
    /// # Errors
    /// A certificate or key cannot be used.
    pub fn edge_settings(&self) -> Result<EdgeSettings, SnapshotError> {
        Ok(EdgeSettings {
            tls: build_table(&self.config, &self.groups, &self.trust, &self.obtained.keys, &self.added)?,
            // Where nothing is obtained, nobody has a reason to look.
            challenges: self.obtains().next().and(self.obtained.challenges.clone()),
            trusted_proxies: self.config.trusted_proxies.clone(),
            handshake_timeout: self.config.limits.handshake_timeout,
            max_connections: self.config.limits.max_connections,
            shares: Bounds {
                connections_per_address: self.config.limits.max_connections_per_address,
                handshakes: self.config.limits.max_handshakes,
            },
            idle_timeout: self.config.limits.idle_timeout,
            header_timeout: self.config.limits.header_timeout,
            max_header_bytes: self.config.limits.max_header_bytes,
        })
    }

    /// What listeners obtain by ACME.
    pub fn obtains(&self) -> impl Iterator<Item = &ListenerAcme> {
        self.config.listeners.iter().filter_map(|listener| acme_of(&listener.kind))
    }

    /// What listeners would obtain, and have not, or not any more.
    pub fn without_certificate(&self, now: Timestamp) -> impl Iterator<Item = &ListenerAcme> {
        self.obtains().filter(move |acme| self.obtained.keys.end_of(&order_id(acme)).is_none_or(|end| end <= now))
    }

    /// Our own certificates by their first name, and when each ends.
    pub fn certificate_ends(&self) -> impl Iterator<Item = (&str, Timestamp)> {
        let of_files = self.certificate_ends.iter().map(|(name, end)| (name.as_str(), *end));
        of_files.chain(
            self.obtains()
                .filter_map(|acme| Some((acme.names.first()?.as_str(), self.obtained.keys.end_of(&order_id(acme))?))),
        )
    }

    /// The same after [`Self::with_added`]: sessions that clients have are still resumed.
    ///
    /// # Errors
    /// No randomness.
    pub fn renewed_edge_settings(&self, settings: &EdgeSettings) -> Result<EdgeSettings, SnapshotError> {
        Ok(EdgeSettings {
            tls: renew_table(&settings.tls, &self.groups, &self.trust, &self.added)?,
            ..settings.clone()
        })
    }

    /// Whether a request's host is one of ours, on the connection it came by: else 421 (RFC 9110 section 15.5.20). A port
    /// is that of the portal, as browsers reach us, or the one that was connected to; none means 443, and a router may
    /// lead from there to here. A proxy that may ask sends our own pages to us under its own port.
    pub fn belongs(&self, request: &Request<'_>) -> bool {
        let Some(tls) = &request.connection.tls else { return false };
        let portal = self.config.portal.url.port_or_known_default();
        let ours = |port| Some(port) == portal || port == request.connection.local_port;
        let relayed = || self.asking_proxy(request.connection.client.ip().to_canonical()).is_some();
        if request.port.is_some_and(|port| !ours(port)) && !relayed() {
            return false;
        }
        match self.groups.find(request.host) {
            Some(group) => **group == *tls.group,
            // A host without routes can only be the one that the handshake named.
            None => request.host == tls.server_name,
        }
    }

    /// The route of a request. What another proxy serves is asked about only, and never reached through us.
    pub fn route_of(&self, request: &Request<'_>) -> Option<&Arc<Route>> {
        let route = self.routes.find(request.host, request.path)?;
        (route.upstream.is_some() || *request.connection.listener == *FORWARD_AUTH_LISTENER).then_some(route)
    }

    /// The proxy at this address that may ask about requests of its own.
    pub fn asking_proxy(&self, peer: IpAddr) -> Option<&AskingProxy> {
        self.config.forward_auth.iter().find(|asking| asking.addresses.iter().any(|net| net.contains(&peer)))
    }

    /// Some application gets the access tokens of people.
    pub fn hands_on_access_tokens(&self) -> bool {
        self.all_routes().any(|route| route.access_token.is_some())
    }

    pub fn is_portal(&self, host: &str) -> bool {
        self.config.portal.host == host
    }

    /// Version of the policy, for records.
    pub fn policy_version(&self) -> Name {
        self.policy.version().clone()
    }
}

fn certificate_ends(config: &Config) -> Vec<(String, Timestamp)> {
    let files = config.listeners.iter().flat_map(|listener| match &listener.kind {
        ListenerKind::Tls { certificates, .. } => certificates.as_slice(),
        ListenerKind::RedirectToHttps => &[],
    });
    files.filter_map(|files| Some((files.names.first()?.clone(), trust::end_of(&files.cert_file)?))).collect()
}

fn reserved(config: &Config, added: &Added) -> Reserved {
    // Thousands of routes name the same few headers.
    let names: HashSet<&str> =
        config.routes.iter().chain(&added.routes).flat_map(|route| header_names(route)).collect();
    Reserved::with(names.into_iter())
}

fn header_names(route: &Route) -> impl Iterator<Item = &str> {
    let headers = &route.headers;
    let told = [&headers.user, &headers.email, &headers.groups, &headers.name, &route.access_token];
    // `Authorization` is the client's own wherever nothing of ours takes its place.
    told.into_iter().filter_map(|name| name.as_deref()).filter(|name| !name.eq_ignore_ascii_case("authorization"))
}
