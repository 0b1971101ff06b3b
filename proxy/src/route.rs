//! Host and path to a route: exact host before wildcard, then the longest path prefix on segment borders.
use crate::login::own_pages;
use crate::path;
use std::collections::HashMap;
use std::sync::Arc;
use torhaus_config::{HostPattern, Route};

/// All routes of one configuration.
#[derive(Debug, Default)]
pub struct Routes {
    exact: HashMap<String, Paths>,
    /// `apps.example.test` for `*.apps.example.test`.
    wildcard: HashMap<String, Paths>,
}

/// The routes of one host by path prefix.
type Paths = HashMap<String, Arc<Route>>;

impl Routes {
    pub fn of(routes: &[Arc<Route>]) -> Self {
        let mut table = Self::default();
        for route in routes {
            let paths = match &route.host {
                HostPattern::Exact(host) => table.exact.entry(host.clone()).or_default(),
                HostPattern::Wildcard(suffix) => table.wildcard.entry(suffix.clone()).or_default(),
            };
            paths.insert(route.path.clone(), route.clone());
        }
        table
    }

    /// Whether any route is for this host.
    pub fn knows(&self, host: &str) -> bool {
        self.paths(host).is_some()
    }

    /// `host` in lower case without port, `path` canonical.
    pub fn find(&self, host: &str, path: &str) -> Option<&Arc<Route>> {
        let paths = self.paths(host)?;
        // From the whole path up to the root, one segment less each time: the first hit is the longest.
        let mut prefix = path.trim_end_matches('/');
        loop {
            if prefix.is_empty() {
                return paths.get("/");
            }
            if let Some(route) = paths.get(prefix) {
                return Some(route);
            }
            prefix = prefix.rsplit_once('/').map_or("", |(before, _)| before);
        }
    }

    /// Whether a canonical path with `%2F` in it may go on: its route says so, and an application that takes them for
    /// slashes would read a path of the same route.
    pub fn takes_encoded_slash(&self, host: &str, path: &str) -> bool {
        let Some(route) = self.find(host, path).filter(|route| route.allow_encoded_slash) else { return false };
        let Ok(decoded) = path::slashes_decoded(path) else { return false };
        !own_pages::is_on_every_host(&decoded)
            && self.find(host, &decoded).is_some_and(|other| Arc::ptr_eq(route, other))
    }

    fn paths(&self, host: &str) -> Option<&Paths> {
        let wildcard = || self.wildcard.get(host.split_once('.')?.1);
        self.exact.get(host).or_else(wildcard)
    }
}
