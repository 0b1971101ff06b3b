//! Who has a host. The files and the portal have theirs before anybody; of several namespaces, the one whose ingress is
//! oldest. A claim counts whether or not its ingress can be served: a slip of the pen gives no host away.
use super::objects::Key;
use super::rules::Problem;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use torhaus_config::{ClientAuth, Config, HostPattern, Namespace};

pub struct Claims {
    /// Of the configuration.
    taken: HashSet<HostPattern>,
    owners: HashMap<HostPattern, Owner>,
}

struct Owner {
    key: Key,
    client_auth: Option<(ClientAuth, Key)>,
}

impl Claims {
    pub fn beside(config: &Config) -> Self {
        let portal = HostPattern::Exact(config.portal.host.clone());
        let taken = config.routes.iter().map(|route| route.host.clone()).chain([portal]).collect();
        Self { taken, owners: HashMap::new() }
    }

    /// Asked in the order of age.
    ///
    /// # Errors
    /// It is another's, or not for this namespace.
    pub fn claim(&mut self, host: &HostPattern, key: &Key, grant: &Namespace) -> Result<(), Problem> {
        if *host == HostPattern::Any {
            if !grant.any_host {
                let note = format!(
                    "a rule without a host, or a default backend alone, answers for everybody's hosts; \
                     `kubernetes.namespaces.{}.any_host` of torhaus.yaml allows it",
                    key.namespace
                );
                return Err(Problem::new("HostNotGranted", note));
            }
        } else if !is_granted(host, grant) {
            let note = format!("host `{}` is not among those of namespace `{}`", host.shown(), key.namespace);
            return Err(Problem::new("HostNotGranted", note));
        } else if self.is_of_the_configuration(host) {
            let note = format!("host `{}` is one of torhaus.yaml", host.shown());
            return Err(Problem::new("HostTaken", note));
        }
        let above =
            wildcard_above(host).filter(|above| !self.owners.contains_key(host) && self.owners.contains_key(above));
        let asked = above.as_ref().unwrap_or(host);
        match self.owners.get(asked) {
            Some(owner) if owner.key.namespace != key.namespace => {
                let note = format!(
                    "host `{}` belongs to namespace `{}`, which had it first",
                    asked.shown(),
                    owner.key.namespace
                );
                Err(Problem::new("HostTaken", note))
            }
            _ => {
                self.owners.entry(host.clone()).or_insert_with(|| Owner { key: key.clone(), client_auth: None });
                Ok(())
            }
        }
    }

    /// Whether a namespace may show that a host is its own: it has it, or nobody has; or the host is one of the
    /// configuration, which lists it for this namespace.
    pub fn may_prove(&self, host: &HostPattern, key: &Key, grant: &Namespace) -> bool {
        if self.is_of_the_configuration(host) {
            return grant.hosts.contains(host);
        }
        let owner = self.owners.get(host).or_else(|| self.owners.get(&wildcard_above(host)?));
        owner.map_or_else(|| is_granted(host, grant), |owner| owner.key.namespace == key.namespace)
    }

    /// TLS asks for the certificate before it knows the path: the first ingress of a host says how, for all.
    ///
    /// # Errors
    /// It was said otherwise.
    pub fn same_client_auth(&mut self, host: &HostPattern, wanted: &ClientAuth, key: &Key) -> Result<(), Problem> {
        let Some(owner) = self.owners.get_mut(host) else { return Ok(()) };
        let (known, by) = owner.client_auth.get_or_insert_with(|| (wanted.clone(), key.clone()));
        if known == wanted {
            return Ok(());
        }
        let note = format!(
            "host `{}` has another `client-auth` by ingress `{by}`; make it the same on all ingresses of the host",
            host.shown()
        );
        Err(Problem::new("ClientAuthDiffers", note))
    }

    fn is_of_the_configuration(&self, host: &HostPattern) -> bool {
        self.taken.contains(host) || wildcard_above(host).is_some_and(|above| self.taken.contains(&above))
    }
}

fn is_granted(host: &HostPattern, grant: &Namespace) -> bool {
    grant.hosts.is_empty() || grant.hosts.iter().any(|granted| granted.overlaps_into(host))
}

/// The wildcard that a host would be taken from.
fn wildcard_above(host: &HostPattern) -> Option<HostPattern> {
    match host {
        HostPattern::Exact(host) => Some(HostPattern::Wildcard(host.split_once('.')?.1.to_owned())),
        HostPattern::Wildcard(_) | HostPattern::Any => None,
    }
}

/// Names of certificates, to be asked often.
pub struct Covered {
    names: Arc<HashSet<String>>,
}

impl Covered {
    pub fn by<'a>(names: impl Iterator<Item = &'a String>) -> Self {
        Self { names: Arc::new(names.cloned().collect()) }
    }

    /// Whether one of them serves the host (RFC 6125 section 6.4.3: a wildcard is one label).
    pub fn covers(&self, host: &HostPattern) -> bool {
        let wildcard = |parent: &str| self.names.contains(&format!("*.{parent}"));
        match host {
            HostPattern::Any => true,
            HostPattern::Wildcard(domain) => wildcard(domain),
            HostPattern::Exact(host) => {
                self.names.contains(host) || host.split_once('.').is_some_and(|(_, parent)| wildcard(parent))
            }
        }
    }
}
