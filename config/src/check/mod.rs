//! File tree -> checked tree. Reports everything that is wrong, one area per file; a part that could not be read was
//! reported by the decoder and is passed over here.
mod acme;
mod branding;
mod ca;
mod candidate;
mod certificate;
mod client_auth;
mod condition;
mod cross;
mod device;
mod directory;
mod forward_auth;
mod headers;
mod headscale;
mod host;
mod identity;
mod kubernetes;
mod listener_acme;
mod listeners;
mod lookups;
mod paths;
mod policy;
mod polled;
mod posture_sources;
mod route;
mod routes;
mod settings;
pub(crate) mod store;
mod suite;
mod takes;
pub(crate) mod telemetry;
mod trust;
mod upstream;
mod upstream_tls;

use crate::at::At;
use crate::config::{Config, NamedNetwork};
use crate::file;
use crate::findings::Findings;
use crate::place::Place;
use crate::units::Mistake;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use torhaus_authz::{Suite, Timestamp};

pub(crate) use candidate::{CandidateFile, check as candidate, unlike};
pub(crate) use host::{pattern as host, shown};
pub(crate) use kubernetes::EVERY;
pub(crate) use paths::resolve;
pub(crate) use policy::PolicySource;
pub(crate) use route::check as route;
pub(crate) use settings::default;
pub(crate) use trust::TrustDomains;

/// What every check needs: where relative paths begin, the moment, and where to report.
pub(crate) struct Cx<'a> {
    pub base: &'a Path,
    pub now: Timestamp,
    pub findings: &'a mut Findings,
    /// Everything read so far.
    pub files: BTreeSet<PathBuf>,
    /// What `networks` of a condition may name.
    pub named_networks: Vec<NamedNetwork>,
    /// Name of each project file of the policy, and the number of the line before its first one.
    pub projects: Vec<(String, u32)>,
    /// How old a report about a device may be where a condition does not say.
    pub posture_max_age: Duration,
    /// Some source of devices is configured.
    pub knows_devices: bool,
    /// The same for the state of a device, which a provider may report as well.
    pub knows_posture: bool,
    pub tests: Tests,
    /// What came of the policy's tests, if they could be run.
    pub suite: Option<Suite>,
}

/// What a failing policy test is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tests {
    /// A mistake of the policy: nothing is loaded.
    MustPass,
    /// A result like any other, for those who asked for the results only.
    AreAskedFor,
}

impl Cx<'_> {
    /// A line of the policy, in words: "line 12", and of which project file if it is one's.
    pub fn policy_line(&self, line: u32) -> String {
        match self.projects.iter().rfind(|(_, before)| *before < line) {
            Some((file, before)) => format!("line {} of `{file}`", line - before),
            None => format!("line {line}"),
        }
    }

    pub fn error(&mut self, place: &Place, message: impl Into<String>, hint: impl Into<String>) {
        self.findings.error(place, Mistake::new(message).hint(hint));
    }

    pub fn warning(&mut self, place: &Place, message: impl Into<String>, hint: impl Into<String>) {
        self.findings.warning(place, Mistake::new(message).hint(hint));
    }

    /// A condition asks of a device what nobody could answer.
    pub fn asks_device(&mut self, place: &Place) {
        self.asks_where(self.knows_devices, place);
    }

    /// The same for its state.
    pub fn asks_posture(&mut self, place: &Place) {
        self.asks_where(self.knows_posture, place);
    }

    fn asks_where(&mut self, known: bool, place: &Place) {
        if !known {
            let hint = "name one: `lookups: { posture: { inventory_file: devices.yaml } }` in torhaus.yaml";
            self.warning(place, "no source of devices is configured, so the answer is always unknown", hint);
        }
    }

    /// Something at this place, or inside of it, was reported: what follows from it is no second mistake.
    pub fn is_reported(&self, place: &Place) -> bool {
        let path: &str = &place.path;
        self.findings.errors.iter().any(|error| {
            let inside = error.place.path.strip_prefix(path);
            error.place.file == place.file && inside.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    pub fn mistake(&mut self, place: &Place, mistake: Mistake) {
        self.findings.error(place, mistake);
    }

    /// The value of a text, or a report of why it is none.
    pub fn parse<T>(&mut self, at: &At<String>, parse: impl FnOnce(&str) -> Result<T, Mistake>) -> Option<T> {
        match parse(at.text()?) {
            Ok(value) => Some(value),
            Err(mistake) => {
                self.mistake(&at.place, mistake);
                None
            }
        }
    }

    /// The same for a value that may be absent. The outer `None` is a value that was there and wrong.
    pub fn parse_or<T>(
        &mut self,
        at: Option<&At<String>>,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, Mistake>,
    ) -> Option<T> {
        at.map_or(Some(default), |at| self.parse(at, parse))
    }
}

/// The whole configuration, or `None` when `cx.findings` has errors.
pub(crate) fn check(
    tree: &file::Torhaus,
    policy: Option<(&file::policy::Policy, PolicySource)>,
    file: &Path,
    mut cx: Cx<'_>,
) -> Option<(Config, Option<Suite>)> {
    version(&tree.version, &mut cx);
    let mut listeners = listeners::check(&tree.listeners, &mut cx);
    let portal = settings::portal(&tree.portal, &listeners, &mut cx);
    let hsts = settings::hsts(tree.hsts.as_ref(), &mut cx);
    let trusted_proxies = settings::trusted_proxies(&tree.trusted_proxies, &mut cx);
    listeners::proxy_protocol(&tree.listeners, &tree.trusted_proxies, &mut cx);
    let forward_auth = forward_auth::check(tree.forward_auth.as_ref(), &mut cx);
    let trust_domains = trust::check(&tree.trust_domains, &mut cx);
    let providers = identity::providers(&tree.identity, &mut cx);
    let bearer = identity::bearer(&tree.identity, providers.as_deref().unwrap_or_default(), &mut cx);
    let geoip = lookups::geoip(tree.lookups.as_ref(), &mut cx);
    cx.named_networks.clone_from(&geoip.named_networks);
    let directory = directory::directory(tree.lookups.as_ref(), providers.as_deref(), &mut cx);
    let posture = lookups::posture(tree.lookups.as_ref(), &trust_domains, &mut cx);
    cx.posture_max_age = posture.as_ref().map_or(default::POSTURE_MAX_AGE, |posture| posture.max_age);
    let headscale = headscale::check(tree, providers.as_deref(), &mut cx);
    let lookups = tree.lookups.as_ref().and_then(At::get);
    let by_claim = providers.iter().flatten().any(|provider| provider.posture.is_some());
    cx.knows_devices = lookups.is_some_and(|lookups| lookups.posture.is_some() || lookups.headscale.is_some());
    cx.knows_posture = cx.knows_devices || by_claim;
    let routes = routes::check(tree, &listeners, portal.as_ref(), &trust_domains, &mut cx);
    if listeners.whole {
        listener_acme::fill_in(&mut listeners.checked, tree, portal.as_ref(), &routes, &mut cx);
    }
    let kubernetes = kubernetes::check(tree, &mut cx);
    let sessions = settings::sessions(tree.sessions.as_ref(), &mut cx);
    let limits = settings::limits(tree.limits.as_ref(), &mut cx);
    let branding = branding::check(tree.branding.as_ref(), &mut cx);
    let admin = settings::admin(tree.admin.as_ref(), &listeners, &mut cx);
    let traces = telemetry::traces(tree.telemetry.as_ref(), &mut cx);
    let ca = ca::check(tree, portal.as_ref(), &listeners, &mut cx);
    let acme = acme::check(tree, &mut cx);
    let state_dir = settings::state_dir(tree.state_dir.as_ref(), &mut cx);
    let postgres = store::postgres(tree.store.as_ref(), &mut cx);
    if let Some((policy, _)) = &policy {
        cross::check(tree, policy, &mut cx);
    }
    let policy = policy.and_then(|(policy, source)| policy::check(policy, source, tree, &mut cx));

    let config = Config {
        file: file.to_owned(),
        state_dir: state_dir?,
        postgres: postgres?,
        listeners: listeners.checked,
        portal: portal?,
        hsts: hsts?,
        trusted_proxies,
        forward_auth,
        trust_domains: trust_domains.checked,
        ca: ca?,
        acme: acme?,
        providers: providers?,
        bearer: bearer?,
        named_networks: geoip.named_networks,
        geoip_database: geoip.database,
        directory: directory?.map(Arc::new),
        headscale: headscale?.map(Arc::new),
        posture: posture?,
        routes,
        kubernetes: kubernetes?,
        sessions: sessions?,
        limits: limits?,
        branding: branding?,
        admin: admin?,
        traces: traces?,
        policy: policy?,
        policy_file: resolve(cx.base, tree.policy_file.as_ref().and_then(At::text).unwrap_or(default::POLICY_FILE)),
        candidate: None,
        policy_texts: Vec::new(),
        warnings: Vec::new(),
        files: cx.files.into_iter().collect(),
    };
    Some((config, cx.suite))
}

fn version(version: &At<u64>, cx: &mut Cx<'_>) {
    if let Some(number) = version.get().filter(|number| **number != 1) {
        cx.error(
            &version.place,
            format!("version {number} of the file format is not known"),
            "this torhaus reads `version: 1`; a newer file needs a newer torhaus",
        );
    }
}
