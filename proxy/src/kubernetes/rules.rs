//! What an ingress asks for: routes as a file would have them, each with its backend. Looks at nothing but the ingress
//! and the configuration, so it is done once for each change of either.
use super::annotations::{Annotations, SOLVER_LABEL, of_nginx};
use super::endpoints::Port;
use super::objects::{IngressBody, Key};
use crate::acme::solver;
use k8s_openapi::api::networking::v1::{HTTPIngressPath, IngressBackend};
use std::collections::BTreeSet;
use std::sync::Arc;
use torhaus_authz::Timestamp;
use torhaus_config::{AddedRoute, Config, HostPattern, Namespace, Route, added_route, host_pattern};

/// A rule of an ingress that was checked, but for its servers.
#[derive(Debug)]
pub struct Rule {
    pub route: Route,
    pub service: Key,
    pub port: Port,
    /// Takes what no other rule of the host takes: it stands back without a word.
    pub is_default: bool,
}

/// Somebody proves by http-01 that this host is theirs.
#[derive(Clone, Debug)]
pub struct Challenge {
    pub host: HostPattern,
    pub path: String,
    pub service: Key,
    pub port: Port,
}

/// What an ingress asks for.
#[derive(Debug, Default)]
pub struct Rules {
    pub rules: Vec<Rule>,
    pub challenges: Vec<Challenge>,
    /// The secret with the authorities of the pods' certificates.
    pub authority: Option<Key>,
    /// What is served without, and why.
    pub problems: Vec<Problem>,
}

/// Why something of an ingress is not served, or not as it says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// One word of the closed list in docs/kubernetes.md.
    pub reason: &'static str,
    pub note: String,
}

impl Problem {
    pub fn new(reason: &'static str, note: impl Into<String>) -> Self {
        Self { reason, note: note.into() }
    }
}

/// Hosts that an ingress has: of its rules, and of its certificates.
///
/// # Errors
/// One that is no host is left out, and reported.
pub fn hosts(body: &IngressBody) -> (Vec<HostPattern>, Vec<Problem>) {
    let rules = body.spec.rules.iter().flatten();
    let has_rules = body.spec.rules.as_ref().is_some_and(|rules| !rules.is_empty());
    let of_rules = rules.map(|rule| rule.host.as_deref().filter(|host| !host.is_empty()));
    let certificates = body.spec.tls.iter().flatten().flat_map(|tls| tls.hosts.iter().flatten());
    let of_default = (!has_rules && body.spec.default_backend.is_some()).then_some(None);
    let typed: BTreeSet<Option<&str>> =
        of_rules.chain(certificates.map(|host| Some(host.as_str()))).chain(of_default).collect();
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for host in typed {
        match host.map(host_pattern) {
            None => found.push(HostPattern::Any),
            Some(Ok(host)) => found.push(host),
            Some(Err(why)) => problems.push(Problem::new("InvalidHost", why)),
        }
    }
    (found, problems)
}

/// # Errors
/// Nothing of this ingress can be served.
pub fn of(key: &Key, body: &IngressBody, grant: &Namespace, config: &Config, now: Timestamp) -> Result<Rules, Problem> {
    if body.labels.get(SOLVER_LABEL).is_some_and(|value| value == "true") {
        return challenges(key, body);
    }
    let annotations = Annotations::of(body).map_err(|why| Problem::new("InvalidAnnotation", why))?;
    let resource = resource(key, annotations, grant, config)?;
    let mut typed = template(key, annotations).map_err(|why| Problem::new("InvalidAnnotation", why))?;
    typed.resource = resource;
    let authority = annotations.text("backend-ca-secret");
    let authority = authority.map(|name| Key { namespace: key.namespace.clone(), name: name.into() });
    let mut found = Rules { authority, ..Rules::default() };
    let ignored = of_nginx(body);
    if !ignored.is_empty() {
        let note = format!(
            "annotations of ingress-nginx do nothing here ({}); `torhaus kubernetes migrate` translates them",
            ignored.join(", ")
        );
        found.problems.push(Problem::new("IgnoredAnnotations", note));
    }
    let mut seen = BTreeSet::new();
    for asked in asked(body, &mut found.problems) {
        let (service, port) = match backend(key, asked.backend) {
            Ok(backend) => backend,
            Err(problem) => {
                found.problems.push(problem);
                continue;
            }
        };
        typed.name = format!("{key}/{}:{port}", service.name);
        typed.host = asked.host.map(str::to_owned);
        typed.path = asked.path;
        typed.exact = asked.exact;
        typed.upstream = format!(
            "{}://{}.{}.svc:{}",
            annotations.scheme().unwrap_or("http"),
            service.name,
            key.namespace,
            number(&port)
        );
        if config.routes.iter().any(|route| *route.name == *typed.name) {
            found.problems.push(Problem::new("NameTaken", format!("a route of the file is called `{}`", typed.name)));
            continue;
        }
        // The portal shows each host of an application once.
        typed.listed = annotations.flag("listed").ok().flatten().unwrap_or(true) && seen.insert(typed.host.clone());
        match added_route(config, &typed, now) {
            Err(mistakes) => {
                for why in mistakes {
                    let note = format!("{}{}: {why}", typed.host.as_deref().unwrap_or("*"), typed.path);
                    found.problems.push(Problem::new("InvalidRoute", note));
                }
            }
            Ok(routes) => {
                for route in routes {
                    if let Err(problem) = may_bind(&route.resource, key, grant) {
                        found.problems.push(problem);
                        continue;
                    }
                    let (service, port) = (service.clone(), port.clone());
                    found.rules.push(Rule { route, service, port, is_default: asked.is_default });
                }
            }
        }
    }
    if found.rules.is_empty() {
        let nothing = || Problem::new("InvalidRoute", "it has neither rules nor a default backend");
        return Err(found.problems.pop().unwrap_or_else(nothing));
    }
    Ok(found)
}

/// The row that decides: as it says, or the one that is named after it.
fn resource(key: &Key, annotations: Annotations<'_>, grant: &Namespace, config: &Config) -> Result<String, Problem> {
    if let Some(named) = annotations.resource() {
        may_bind(named, key, grant)?;
        return Ok(named.to_owned());
    }
    let own = key.to_string();
    if config.policy.row(&own).is_some() {
        return Ok(own);
    }
    if config.policy.row(&key.name).is_some() && grant.resources.iter().any(|granted| **granted == *key.name) {
        return Ok(key.name.to_string());
    }
    let note = format!(
        "no row of the policy table decides about it: add a row `{own}`, or name one by `torhaus.dev/resource`"
    );
    Err(Problem::new("NoResource", note))
}

/// A namespace binds to rows of its own name, and to those that the configuration lists for it. Otherwise whoever knows
/// the name of a lax row could open an application by it.
fn may_bind(resource: &str, key: &Key, grant: &Namespace) -> Result<(), Problem> {
    let own = resource.split_once('/').is_some_and(|(namespace, _)| namespace == &*key.namespace);
    if own || grant.resources.iter().any(|granted| **granted == *resource) {
        return Ok(());
    }
    let note = format!(
        "namespace `{0}` may not bind to row `{resource}`: its own begin with `{0}/`; others are listed in \
         `kubernetes.namespaces.{0}.resources` of torhaus.yaml",
        key.namespace
    );
    Err(Problem::new("ResourceNotGranted", note))
}

fn template(key: &Key, annotations: Annotations<'_>) -> Result<AddedRoute, String> {
    let text = |name| annotations.text(name).map(str::to_owned);
    let list = |name| -> Vec<String> {
        let items = annotations.text(name).unwrap_or_default().split(',').map(str::trim);
        items.filter(|item| !item.is_empty()).map(str::to_owned).collect()
    };
    let trust_domains = list("trust-domains");
    if !trust_domains.is_empty() && annotations.text("client-auth").is_none() {
        return Err("`torhaus.dev/trust-domains` needs `torhaus.dev/client-auth`".to_owned());
    }
    annotations.scheme()?;
    annotations.flag("listed")?;
    Ok(AddedRoute {
        balance: text("balance"),
        upstream_server_name: text("backend-server-name"),
        upstream_pin_sha256: text("backend-pin-sha256"),
        connect_timeout: text("connect-timeout"),
        response_timeout: text("response-timeout"),
        max_body: text("max-body"),
        profile: text("profile"),
        client_auth: text("client-auth"),
        trust_domains,
        client_certificate: annotations.flag("pass-client-certificate")? == Some(true),
        cors_origins: list("cors-origins"),
        title: Some(text("title").unwrap_or_else(|| key.name.to_string())),
        description: text("description"),
        sign_in: annotations.flag("sign-in")?,
        ..AddedRoute::default()
    })
}

/// Where a request may go, as it is written.
struct Asked<'a> {
    host: Option<&'a str>,
    path: String,
    exact: bool,
    backend: &'a IngressBackend,
    is_default: bool,
}

fn asked<'a>(body: &'a IngressBody, problems: &mut Vec<Problem>) -> Vec<Asked<'a>> {
    let mut found = Vec::new();
    let default = body.spec.default_backend.as_ref();
    let by_default = |host, backend| Asked { host, path: "/".to_owned(), exact: false, backend, is_default: true };
    let mut hosts = BTreeSet::new();
    for rule in body.spec.rules.iter().flatten() {
        let host = rule.host.as_deref().filter(|host| !host.is_empty());
        for path in rule.http.iter().flat_map(|http| &http.paths) {
            match path_of(path) {
                Ok((typed, exact)) => {
                    found.push(Asked { host, path: typed, exact, backend: &path.backend, is_default: false });
                }
                Err(why) => problems.push(Problem::new("InvalidRoute", why)),
            }
        }
        // Without paths, all of the host goes to the default backend; with some, what they leave.
        if let Some(backend) = default
            && hosts.insert(host)
        {
            found.push(by_default(host, backend));
        }
    }
    if let (Some(backend), true) = (default, found.is_empty() && hosts.is_empty()) {
        found.push(by_default(None, backend));
    }
    found
}

/// The path, and whether it is meant exactly. `ImplementationSpecific` is `Prefix` here; no path is `/`.
fn path_of(path: &HTTPIngressPath) -> Result<(String, bool), String> {
    let typed = path.path.as_deref().filter(|typed| !typed.is_empty()).unwrap_or("/");
    match path.path_type.as_str() {
        "Exact" => Ok((typed.to_owned(), true)),
        "Prefix" | "ImplementationSpecific" => Ok((typed.to_owned(), false)),
        other => Err(format!("`{typed}`: there is no path type `{other}`")),
    }
}

fn backend(key: &Key, backend: &IngressBackend) -> Result<(Key, Port), Problem> {
    let Some(service) = &backend.service else {
        return Err(Problem::new("UnsupportedBackend", "a backend is a service here; `resource` leads nowhere"));
    };
    let port = Port::of(service.port.as_ref()).map_err(|why| Problem::new("InvalidBackend", why))?;
    // It stands in a URL and in a name from here on.
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if service.name.is_empty() || !service.name.bytes().all(plain) {
        return Err(Problem::new("InvalidBackend", "the name of a service has small letters, digits and `-`"));
    }
    Ok((Key { namespace: key.namespace.clone(), name: Arc::from(service.name.as_str()) }, port))
}

/// A port for the URL that the servers replace.
fn number(port: &Port) -> u16 {
    match port {
        Port::Number(number) => *number,
        Port::Name(_) => 80,
    }
}

/// A solver of cert-manager: single paths below the well-known one, for everybody, and nothing else.
fn challenges(key: &Key, body: &IngressBody) -> Result<Rules, Problem> {
    let mut found = Rules::default();
    for rule in body.spec.rules.iter().flatten() {
        let host = rule.host.as_deref().unwrap_or_default();
        let host = host_pattern(host).map_err(|why| Problem::new("InvalidHost", why))?;
        for path in rule.http.iter().flat_map(|http| &http.paths) {
            let typed = path.path.as_deref().unwrap_or_default();
            let token = typed.strip_prefix(solver::PREFIX).unwrap_or_default();
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            if token.is_empty()
                || token.len() > 128
                || !token.bytes().all(plain)
                || matches!(host, HostPattern::Any | HostPattern::Wildcard(_))
            {
                let note = format!("a solver answers for one path below `{}` of one host", solver::PREFIX);
                return Err(Problem::new("InvalidSolver", note));
            }
            let (service, port) = backend(key, &path.backend)?;
            found.challenges.push(Challenge { host: host.clone(), path: typed.to_owned(), service, port });
        }
    }
    if found.challenges.is_empty() {
        return Err(Problem::new("InvalidSolver", "it has no path"));
    }
    Ok(found)
}
