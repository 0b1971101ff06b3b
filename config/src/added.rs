//! Routes that do not stand in the files, but in objects of a cluster. They become the same tree that a file becomes,
//! and pass the same checks. They name no file: whoever writes such an object must not have ours read.
use crate::at::At;
use crate::check::{self, Cx, Tests};
use crate::config::{ClientAuthMode, Config, HostPattern, Route};
use crate::decode::decode;
use crate::file::route::Routes;
use crate::findings::{Finding, Findings};
use crate::place::{FileId, Span};
use crate::profile;
use crate::yaml::{Kind, Node};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use torhaus_authz::Timestamp;

/// A route as somebody wrote it. What is `None` or empty has the default of a route in a file.
#[derive(Clone, Debug, Default)]
pub struct AddedRoute {
    pub name: String,
    /// None: any host that has no route of its own.
    pub host: Option<String>,
    pub path: String,
    /// Only this path, and nothing below it.
    pub exact: bool,
    pub resource: String,
    /// `https://NAME:PORT`: where and how; whoever asks puts the servers in its place.
    pub upstream: String,
    pub balance: Option<String>,
    pub upstream_server_name: Option<String>,
    pub upstream_pin_sha256: Option<String>,
    pub connect_timeout: Option<String>,
    pub response_timeout: Option<String>,
    pub max_body: Option<String>,
    pub profile: Option<String>,
    pub client_auth: Option<String>,
    pub trust_domains: Vec<String>,
    /// The application is told the client certificate (RFC 9440).
    pub client_certificate: bool,
    pub cors_origins: Vec<String>,
    pub title: Option<String>,
    pub description: Option<String>,
    pub listed: bool,
    pub sign_in: Option<bool>,
}

/// The checked route, and those that its profile adds.
///
/// # Errors
/// Every mistake, in words.
pub fn added_route(config: &Config, typed: &AddedRoute, now: Timestamp) -> Result<Vec<Route>, Vec<String>> {
    let mut findings = Findings::default();
    let mut tree = map(vec![("routes", Some(node(Kind::List(vec![as_typed(typed)]))))]);
    profile::expand(&mut tree, &mut findings);
    let tree: Option<At<Routes>> = decode(&tree, FileId::Main, &mut findings);
    let domains = check::TrustDomains::of(&config.trust_domains);
    let mut cx = Cx {
        base: config.file.parent().unwrap_or(Path::new("")),
        now,
        findings: &mut findings,
        files: BTreeSet::new(),
        named_networks: Vec::new(),
        posture_max_age: config.posture.max_age,
        knows_devices: true,
        knows_posture: true,
        projects: Vec::new(),
        tests: Tests::AreAskedFor,
        suite: None,
    };
    let mut found = Vec::new();
    for (place, route) in tree.iter().filter_map(At::get).flat_map(|tree| tree.routes.iter()) {
        found.extend(check::route(place, route, &domains, &mut cx));
    }
    for (at, route) in found.iter_mut().enumerate() {
        if typed.host.is_none() {
            route.host = HostPattern::Any;
        }
        // Those that a profile adds stand for all below them.
        route.exact = typed.exact && at == 0;
        if route.exact {
            route.path.clone_from(&typed.path);
        }
    }
    let mut mistakes: Vec<String> = findings.errors.iter().map(words).collect();
    for route in &found {
        if config.policy.row(&route.resource).is_none() {
            mistakes.push(format!("resource `{}` has no row in the policy table", route.resource));
        }
        if route.allow_encoded_slash {
            mistakes.push("`allow_encoded_slash` of this profile is for routes of the file only".to_owned());
        }
        // The handshake asks by the name in the ClientHello: for names that nobody knows beforehand it cannot.
        if route.host == HostPattern::Any && route.client_auth.mode != ClientAuthMode::None {
            mistakes
                .push("client_auth: a rule without a host cannot ask for a client certificate; name its host".into());
        }
    }
    mistakes.dedup();
    if mistakes.is_empty() && !found.is_empty() { Ok(found) } else { Err(mistakes) }
}

/// A host as it is written in a route: `wiki.example.test` or `*.apps.example.test`.
///
/// # Errors
/// It is none; in words.
pub fn host_pattern(text: &str) -> Result<HostPattern, String> {
    check::host(text).map_err(|mistake| match mistake.hint {
        Some(hint) => format!("{}; {hint}", mistake.message),
        None => mistake.message,
    })
}

fn words(finding: &Finding) -> String {
    // `routes[0].client_auth.mode`: whoever wrote an annotation knows of no routes.
    let key = finding.place.path.split_once('.').map(|(_, key)| format!("{key}: ")).unwrap_or_default();
    match &finding.hint {
        Some(hint) => format!("{key}{}; {hint}", finding.message),
        None => format!("{key}{}", finding.message),
    }
}

fn as_typed(typed: &AddedRoute) -> Node {
    // A path that ends with `/` is another one only where it is meant exactly.
    let path = if typed.path.len() > 1 { typed.path.trim_end_matches('/') } else { &typed.path };
    let path = if path.is_empty() { "/" } else { path };
    let tls = [
        ("server_name", typed.upstream_server_name.as_deref().map(text)),
        ("pin_sha256", typed.upstream_pin_sha256.as_deref().map(text)),
    ];
    let tls = tls.iter().any(|(_, value)| value.is_some()).then(|| map(tls.to_vec()));
    let balance = typed.balance.as_deref().map(text);
    let upstream = match balance {
        None => text(&typed.upstream),
        Some(balance) => {
            let primary = node(Kind::List(vec![text(&typed.upstream)]));
            map(vec![("primary", Some(primary)), ("balance", Some(balance))])
        }
    };
    let texts = |of: &[String]| node(Kind::List(of.iter().map(|name| text(name)).collect()));
    let headers = typed.client_certificate.then(|| map(vec![("client_certificate", Some(node(Kind::Bool(true))))]));
    let client_auth = typed
        .client_auth
        .as_deref()
        .map(|mode| map(vec![("mode", Some(text(mode))), ("trust_domains", Some(texts(&typed.trust_domains)))]));
    map(vec![
        ("name", Some(text(&typed.name))),
        // It is replaced; what is checked is the rest.
        ("host", Some(text(typed.host.as_deref().unwrap_or("any.invalid")))),
        ("path", Some(text(path))),
        ("resource", Some(text(&typed.resource))),
        ("upstream", Some(upstream)),
        ("upstream_tls", tls),
        ("connect_timeout", typed.connect_timeout.as_deref().map(text)),
        ("response_timeout", typed.response_timeout.as_deref().map(text)),
        ("max_body", typed.max_body.as_deref().map(text)),
        ("profile", typed.profile.as_deref().map(text)),
        ("client_auth", client_auth),
        ("headers", headers),
        ("cors_origins", (!typed.cors_origins.is_empty()).then(|| texts(&typed.cors_origins))),
        ("title", typed.title.as_deref().map(text)),
        ("description", typed.description.as_deref().map(text)),
        ("listed", Some(node(Kind::Bool(typed.listed)))),
        ("sign_in", typed.sign_in.map(|yes| node(Kind::Bool(yes)))),
    ])
}

fn node(kind: Kind) -> Node {
    Node { span: Span::START, kind }
}

fn text(value: &str) -> Node {
    node(Kind::Text(value.to_owned()))
}

fn map(entries: Vec<(&str, Option<Node>)>) -> Node {
    let entries = entries.into_iter().filter_map(|(key, value)| Some((text(key), value?)));
    node(Kind::Map(entries.collect()))
}

impl Config {
    /// Whether a route of the files, or the portal, has this host: no object of a cluster may take it.
    pub fn has_host(&self, host: &HostPattern) -> bool {
        let portal = HostPattern::Exact(self.portal.host.clone());
        portal.overlaps_into(host) || self.routes.iter().any(|route| route.host.overlaps_into(host))
    }
}

impl HostPattern {
    /// Whether requests that this pattern has now would go to `other` if that had routes: the same pattern, or an exact
    /// host below this wildcard.
    pub fn overlaps_into(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Wildcard(domain), Self::Exact(host)) => {
                host.split_once('.').is_some_and(|(_, parent)| parent == domain)
            }
            (own, other) => own == other,
        }
    }

    /// As it is written.
    pub fn shown(&self) -> String {
        check::shown(self)
    }
}

impl Route {
    /// The same route with these servers in place of the name that it was written with, believed by these authorities.
    /// None: another proxy serves it.
    pub fn served_by(&self, servers: Vec<crate::UpstreamServer>, authority: Option<&Arc<str>>) -> Option<Self> {
        let mut upstream = self.upstream.clone()?;
        if let (Some(tls), Some(pem)) = (&mut upstream.tls, authority)
            && matches!(tls.verify, crate::UpstreamVerify::System)
        {
            tls.verify = crate::UpstreamVerify::CaPem(pem.clone());
        }
        if let Some(tls) = &mut upstream.tls
            && tls.server_name.is_none()
        {
            // Servers are addresses from here on; the name that their certificate has is that of the service.
            tls.server_name = upstream.primary.first().and_then(|server| match server {
                crate::UpstreamServer::Tcp { host, .. } => Some(host.clone()),
                crate::UpstreamServer::Unix(_) => None,
            });
        }
        upstream.primary = servers;
        Some(Self { upstream: Some(upstream), ..self.clone() })
    }
}
