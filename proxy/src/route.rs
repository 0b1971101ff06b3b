//! Host and path to a route: exact host before wildcard before any; then the path itself, if a route is for it alone,
//! then the longest path prefix on segment borders.
use crate::login::own_pages;
use crate::path;
use ahash::RandomState;
use std::collections::HashMap;
use std::sync::Arc;
use torhaus_config::{HostPattern, Route};

/// All routes of one configuration.
#[derive(Debug, Default)]
pub struct Routes {
    exact: HashMap<String, Paths, RandomState>,
    /// `apps.example.test` for `*.apps.example.test`.
    wildcard: HashMap<String, Paths, RandomState>,
    /// For hosts that no other route is for.
    any: Option<Paths>,
}

/// The routes of one host.
#[derive(Debug, Default)]
struct Paths {
    below: HashMap<String, Arc<Route>, RandomState>,
    exact: HashMap<String, Arc<Route>, RandomState>,
}

impl Routes {
    pub fn of<'a>(routes: impl IntoIterator<Item = &'a Arc<Route>>) -> Self {
        let mut table = Self::default();
        for route in routes {
            let paths = match &route.host {
                HostPattern::Exact(host) => table.exact.entry(host.clone()).or_default(),
                HostPattern::Wildcard(suffix) => table.wildcard.entry(suffix.clone()).or_default(),
                HostPattern::Any => table.any.get_or_insert_default(),
            };
            let paths = if route.exact { &mut paths.exact } else { &mut paths.below };
            // The first one keeps its place: routes of files come before those of others.
            paths.entry(route.path.clone()).or_insert_with(|| route.clone());
        }
        table
    }

    /// Whether a route is for this host, and not only for any.
    pub fn knows(&self, host: &str) -> bool {
        self.paths(host).is_some()
    }

    /// `host` in lower case without port, `path` canonical.
    pub fn find(&self, host: &str, path: &str) -> Option<&Arc<Route>> {
        let paths = self.paths(host).or(self.any.as_ref())?;
        if let Some(route) = paths.exact.get(path) {
            return Some(route);
        }
        // From the whole path up to the root, one segment less each time: the first hit is the longest.
        let mut prefix = path.trim_end_matches('/');
        loop {
            if prefix.is_empty() {
                return paths.below.get("/");
            }
            if let Some(route) = paths.below.get(prefix) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use torhaus_config::{ClientAuth, ClientAuthMode, GroupsAs, IdentityHeaders, Takes};

    fn route(host: HostPattern, path: &str, exact: bool) -> Arc<Route> {
        let headers = IdentityHeaders {
            user: None,
            email: None,
            groups: None,
            name: None,
            groups_as: GroupsAs::default(),
            groups_limited_to: None,
            assertion: false,
            client_certificate: false,
        };
        Arc::new(Route {
            name: format!("{host:?}{path}{exact}").into(),
            host,
            path: path.to_owned(),
            exact,
            upstream: None,
            resource: "r".into(),
            client_auth: ClientAuth { mode: ClientAuthMode::None, trust_domains: Vec::new() },
            headers,
            preserve_host: true,
            cors_origins: Vec::new(),
            title: String::new(),
            description: None,
            listed: false,
            sign_in: true,
            access_token: None,
            takes: Takes::default(),
            upgrades: Vec::new(),
            allow_encoded_slash: false,
            max_body: None,
            min_body_rate: None,
            line: 0,
        })
    }

    #[test]
    fn an_exact_path_is_that_path_and_comes_before_a_prefix_of_the_same_length() {
        let host = || HostPattern::Exact("a.test".into());
        let routes = [
            route(host(), "/foo", true),
            route(host(), "/foo", false),
            route(host(), "/bar/", true),
            route(host(), "/aaa/bbb", false),
            route(HostPattern::Wildcard("b.test".into()), "/", false),
            route(HostPattern::Any, "/", false),
            route(HostPattern::Any, "/only", true),
        ];
        let table = Routes::of(&routes);
        for (host, path, found) in [
            ("a.test", "/foo", Some(0)),
            ("a.test", "/foo/", Some(1)),
            ("a.test", "/foo/x", Some(1)),
            ("a.test", "/FOO", None),
            ("a.test", "/bar/", Some(2)),
            ("a.test", "/bar", None),
            ("a.test", "/aaa/bbb/", Some(3)),
            ("a.test", "/aaa/bbbccc", None),
            ("x.b.test", "/", Some(4)),
            ("x.y.b.test", "/", Some(5)),
            ("b.test", "/only", Some(6)),
            ("b.test", "/only/", Some(5)),
        ] {
            let expected = found.map(|at: usize| &routes[at].name);
            assert_eq!(table.find(host, path).map(|route| &route.name), expected, "{host}{path}");
        }
        assert!(!table.knows("c.test") && table.knows("x.b.test"), "any host is nobody's in particular");
    }
}
