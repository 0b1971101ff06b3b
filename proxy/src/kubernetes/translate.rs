//! The cluster as it is known -> what is served: routes with their servers, certificates, challenges; and what is not
//! served, and why. What did not change since the last time is taken from there.
use super::annotations;
use super::claims::{Claims, Covered};
use super::endpoints;
use super::objects::{Ingress, IngressBody, Key, Kind};
use super::rules::{self, Challenge, Problem, Rule, Rules};
use super::world::World;
use crate::added::Added;
use crate::edge::tls::HostCertificates;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use torhaus_authz::Timestamp;
use torhaus_config::{Config, HostPattern, Kubernetes, ListenerKind, Namespace, Route, UpstreamServer};

/// What came of it.
#[derive(Clone, Default)]
pub struct Outcome {
    pub added: Arc<Added>,
    /// By ingress: those of our classes only.
    pub ingresses: BTreeMap<Key, Fate>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// Something of it is served.
    pub is_served: bool,
    pub problems: Vec<Problem>,
}

/// What was made before, for as long as it holds.
#[derive(Default)]
pub struct Cache {
    config: Option<Arc<Config>>,
    ingresses: HashMap<Key, Cached>,
}

struct Cached {
    body: Arc<IngressBody>,
    hosts: (Vec<HostPattern>, Vec<Problem>),
    rules: Result<Rules, Problem>,
    /// Of each rule, with the versions of service and authority that it was made of.
    routes: HashMap<usize, ((u64, u64), Built)>,
}

#[derive(Clone)]
struct Built {
    route: Arc<Route>,
    problem: Option<Problem>,
}

pub fn translate(
    world: &World,
    config: &Arc<Config>,
    settings: &Kubernetes,
    cache: &mut Cache,
    now: Timestamp,
) -> Outcome {
    if cache.config.as_ref().is_none_or(|known| !Arc::ptr_eq(known, config)) {
        *cache = Cache { config: Some(config.clone()), ingresses: HashMap::new() };
    }
    let mut ours: Vec<(&Key, &Ingress)> =
        world.ingresses.iter().filter(|(_, ingress)| is_ours(world, &ingress.body, settings)).collect();
    // Oldest first (of the same second, by name): whoever comes later takes nothing away.
    ours.sort_unstable_by(|(a, one), (b, other)| (one.created, a).cmp(&(other.created, b)));
    let mut work = Work::new(world, config, settings, now);
    for (key, ingress) in &ours {
        let fate = work.take_in(key, ingress, cache);
        work.fates.insert((*key).clone(), fate);
    }
    cache.ingresses.retain(|key, _| work.fates.contains_key(key));
    for (key, grant, challenges) in std::mem::take(&mut work.solvers) {
        work.solve(&key, &grant, &challenges);
    }
    work.find_missing_certificates();
    for ((kind, key), why) in &world.broken {
        if *kind == Kind::Ingress && settings.grant(&key.namespace).is_some() {
            let problem = Problem::new("Unreadable", why.clone());
            work.fates.insert(key.clone(), Fate { is_served: false, problems: vec![problem] });
        }
    }
    work.done()
}

/// By its class: the old annotation before the field, as the API says; without either, by the default class.
fn is_ours(world: &World, body: &IngressBody, settings: &Kubernetes) -> bool {
    let old = body.annotations.get(annotations::OLD_CLASS).map(String::as_str);
    let named = old.or(body.spec.ingress_class_name.as_deref());
    let mut classes = world.classes.iter().filter(|(_, class)| class.controller == settings.controller);
    match named {
        Some(named) => classes.any(|(name, _)| **name == *named),
        None => classes.any(|(_, class)| class.is_default),
    }
}

struct Work<'a> {
    world: &'a World,
    config: &'a Arc<Config>,
    settings: &'a Kubernetes,
    now: Timestamp,
    grants: HashMap<Arc<str>, Option<Arc<Namespace>>>,
    claims: Claims,
    /// By files of the configuration.
    covered: Covered,
    paths: HashSet<(HostPattern, String, bool)>,
    routes: Vec<Arc<Route>>,
    certificates: HostCertificates,
    /// Hosts with a certificate of their own.
    certified: HashSet<HostPattern>,
    challenges: HashMap<(String, String), Vec<std::net::SocketAddr>>,
    /// Asked when all hosts have their owners.
    solvers: Vec<(Key, Arc<Namespace>, Vec<Challenge>)>,
    fates: BTreeMap<Key, Fate>,
}

impl<'a> Work<'a> {
    fn new(world: &'a World, config: &'a Arc<Config>, settings: &'a Kubernetes, now: Timestamp) -> Self {
        let with_tls = config.listeners.iter().filter_map(|listener| match &listener.kind {
            ListenerKind::Tls { certificates, acme } => Some((certificates, acme)),
            ListenerKind::RedirectToHttps => None,
        });
        let names = with_tls.flat_map(|(files, acme)| {
            files.iter().flat_map(|files| &files.names).chain(acme.iter().flat_map(|acme| &acme.names))
        });
        Self {
            world,
            config,
            settings,
            now,
            grants: HashMap::new(),
            claims: Claims::beside(config),
            covered: Covered::by(names),
            paths: HashSet::new(),
            routes: Vec::new(),
            certificates: HostCertificates::default(),
            certified: HashSet::new(),
            challenges: HashMap::new(),
            solvers: Vec::new(),
            fates: BTreeMap::new(),
        }
    }

    fn take_in(&mut self, key: &Key, ingress: &Ingress, cache: &mut Cache) -> Fate {
        let mut fate = Fate::default();
        let settings = self.settings;
        let grant = self.grants.entry(key.namespace.clone());
        let grant = grant.or_insert_with(|| settings.grant(&key.namespace).map(Arc::new));
        let Some(grant) = grant.clone() else {
            let note =
                format!("namespace `{}` is not listed in `kubernetes.namespaces` of torhaus.yaml", key.namespace);
            fate.problems.push(Problem::new("NamespaceNotGranted", note));
            return fate;
        };
        if self.asks_for_parameters(&ingress.body) {
            fate.problems
                .push(Problem::new("ClassParameters", "its class has `parameters`, and there are none to read"));
            return fate;
        }
        let known = cache.ingresses.remove(key).filter(|known| Arc::ptr_eq(&known.body, &ingress.body));
        let mut known = known.unwrap_or_else(|| Cached {
            body: ingress.body.clone(),
            hosts: rules::hosts(&ingress.body),
            rules: rules::of(key, &ingress.body, &grant, self.config, self.now),
            routes: HashMap::new(),
        });
        self.serve(key, &mut known, &grant, &mut fate);
        cache.ingresses.insert(key.clone(), known);
        fate
    }

    fn asks_for_parameters(&self, body: &IngressBody) -> bool {
        let named = body.annotations.get(annotations::OLD_CLASS).or(body.spec.ingress_class_name.as_ref());
        named.and_then(|name| self.world.classes.get(name.as_str())).is_some_and(|class| class.has_parameters)
    }

    fn serve(&mut self, key: &Key, known: &mut Cached, grant: &Arc<Namespace>, fate: &mut Fate) {
        let Cached { body, hosts: (hosts, of_hosts), rules, routes } = known;
        if let Ok(Rules { challenges, .. }) = rules
            && !challenges.is_empty()
        {
            self.solvers.push((key.clone(), grant.clone(), challenges.clone()));
            return;
        }
        fate.problems.extend(of_hosts.iter().cloned());
        let mut own = HashSet::new();
        for host in &*hosts {
            match self.claims.claim(host, key, grant) {
                Ok(()) => drop(own.insert(host.clone())),
                Err(problem) => fate.problems.push(problem),
            }
        }
        let rules = match rules {
            Ok(rules) => rules,
            Err(problem) => {
                fate.problems.push(problem.clone());
                return;
            }
        };
        fate.problems.extend(rules.problems.iter().cloned());
        for (at, rule) in rules.rules.iter().enumerate() {
            self.route(key, at, rule, rules.authority.as_ref(), &own, routes, fate);
        }
        self.certify(key, body, &own, fate);
    }

    #[expect(clippy::too_many_arguments, reason = "one rule and all that it depends on")]
    fn route(
        &mut self,
        key: &Key,
        at: usize,
        rule: &Rule,
        authority: Option<&Key>,
        own: &HashSet<HostPattern>,
        routes: &mut HashMap<usize, ((u64, u64), Built)>,
        fate: &mut Fate,
    ) {
        let (route, host) = (&rule.route, &rule.route.host);
        // Why it has not is said already.
        if !own.contains(host) {
            return;
        }
        if let Err(problem) = self.claims.same_client_auth(host, &route.client_auth, key) {
            fate.problems.push(problem);
            return;
        }
        if !self.paths.insert((host.clone(), route.path.clone(), route.exact)) {
            if !rule.is_default {
                let note = format!("`{}{}` is a rule of an older ingress already", host.shown(), route.path);
                fate.problems.push(Problem::new("PathTaken", note));
            }
            return;
        }
        let secret = authority;
        let of_secret = secret.map_or(0, |secret| self.world.version(Kind::Secret, secret));
        let versions = (self.world.version(Kind::Service, &rule.service), of_secret);
        let built = match routes.get(&at) {
            Some((known, built)) if *known == versions => built.clone(),
            _ => {
                let built = self.build(rule, secret);
                routes.insert(at, (versions, built.clone()));
                built
            }
        };
        fate.is_served = true;
        fate.problems.extend(built.problem);
        self.routes.push(built.route);
    }

    /// The route with its servers. One without any answers 503, and says so: its host is not another's for that.
    fn build(&self, rule: &Rule, secret: Option<&Key>) -> Built {
        let authority = match secret {
            None => Ok(None),
            Some(key) => match self.world.secrets.get(key).and_then(|secret| secret.authority.as_ref()) {
                Some(pem) => Ok(Some(pem)),
                None => Err(format!("there is no TLS secret `{}` with authorities in `ca.crt`", key.name)),
            },
        };
        let servers = endpoints::of(self.world, &rule.service, &rule.port, self.settings.loopback_endpoints);
        let (authority, servers, why) = match (authority, servers) {
            (Ok(authority), Ok(servers)) => (authority, servers, None),
            (Err(why), _) | (_, Err(why)) => (None, Vec::new(), Some(why)),
        };
        let server = |address: &std::net::SocketAddr| UpstreamServer::Tcp {
            host: address.ip().to_string(),
            port: address.port(),
        };
        let route = rule.route.served_by(servers.iter().map(server).collect(), authority);
        Built {
            route: Arc::new(route.unwrap_or_else(|| rule.route.clone())),
            problem: why.map(|why| Problem::new("InvalidBackend", why)),
        }
    }

    /// Certificates of its own secrets, for hosts that it has.
    fn certify(&mut self, key: &Key, body: &IngressBody, own: &HashSet<HostPattern>, fate: &mut Fate) {
        for tls in body.spec.tls.iter().flatten() {
            let Some(name) = tls.secret_name.as_deref().filter(|name| !name.is_empty()) else { continue };
            let secret = Key { namespace: key.namespace.clone(), name: name.into() };
            if let Some(why) = self.world.broken.get(&(Kind::Secret, secret.clone())) {
                fate.problems.push(Problem::new("InvalidSecret", format!("secret `{name}`: {why}")));
            }
            let Some(found) = self.world.secrets.get(&secret) else {
                let note =
                    format!("there is no secret `{name}` of type kubernetes.io/tls in namespace `{}`", key.namespace);
                fate.problems.push(Problem::new("SecretMissing", note));
                continue;
            };
            let certified = match &found.key {
                Ok(certified) => certified,
                Err(why) => {
                    fate.problems.push(Problem::new("InvalidSecret", format!("secret `{name}`: {why}")));
                    continue;
                }
            };
            let covered = Covered::by(found.names.iter());
            let listed: Vec<HostPattern> =
                tls.hosts.iter().flatten().filter_map(|host| torhaus_config::host_pattern(host).ok()).collect();
            let explicit = !listed.is_empty();
            let hosts = if explicit { listed } else { own.iter().cloned().collect() };
            for host in hosts.into_iter().filter(|host| own.contains(host) && *host != HostPattern::Any) {
                if covered.covers(&host) {
                    self.certificates.add(&host, certified.clone());
                    self.certified.insert(host);
                } else if explicit {
                    let note = format!("the certificate in secret `{name}` is not for `{}`", host.shown());
                    fate.problems.push(Problem::new("CertificateMismatch", note));
                }
            }
        }
    }

    fn solve(&mut self, key: &Key, grant: &Namespace, challenges: &[Challenge]) {
        let Some(fate) = self.fates.get_mut(key) else { return };
        for challenge in challenges {
            let HostPattern::Exact(host) = &challenge.host else { continue };
            if !self.claims.may_prove(&challenge.host, key, grant) {
                let note = format!("host `{host}` is not one of namespace `{}`", key.namespace);
                fate.problems.push(Problem::new("HostTaken", note));
                continue;
            }
            match endpoints::of(self.world, &challenge.service, &challenge.port, self.settings.loopback_endpoints) {
                Ok(servers) => {
                    fate.is_served = true;
                    self.challenges.entry((host.clone(), challenge.path.clone())).or_insert(servers);
                }
                Err(why) => fate.problems.push(Problem::new("InvalidBackend", why)),
            }
        }
    }

    /// Hosts that no handshake can be made for.
    fn find_missing_certificates(&mut self) {
        let lacks = |host: &HostPattern| !self.certified.contains(host) && !self.covered.covers(host);
        for route in &self.routes {
            let above = match &route.host {
                HostPattern::Exact(host) => {
                    host.split_once('.').map(|(_, parent)| HostPattern::Wildcard(parent.to_owned()))
                }
                _ => None,
            };
            if !lacks(&route.host) || above.is_some_and(|above| self.certified.contains(&above)) {
                continue;
            }
            let mut parts = route.name.splitn(3, '/');
            let (Some(namespace), Some(name)) = (parts.next(), parts.next()) else { continue };
            let Some(fate) = self.fates.get_mut(&Key::new(namespace, name)) else { continue };
            let problem = Problem::new("NoCertificate", format!("no certificate is for host `{}`", route.host.shown()));
            if !fate.problems.contains(&problem) {
                fate.problems.push(problem);
            }
        }
    }

    fn done(self) -> Outcome {
        let added = Added::new(self.routes, self.certificates, self.challenges);
        Outcome { added: Arc::new(added), ingresses: self.fates }
    }
}
