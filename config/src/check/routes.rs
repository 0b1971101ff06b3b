//! All routes together: names, what shadows what, certificates, agreement within a host.
use super::client_auth::OfHost;
use super::listeners::{Listeners, once};
use super::settings::listed;
use super::trust::TrustDomains;
use super::{Cx, host, route};
use crate::config::{HostPattern, Portal, Route, UpstreamServer};
use crate::file;
use crate::place::{FileId, Place};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

pub(crate) fn check(
    tree: &file::Torhaus,
    listeners: &Listeners,
    portal: Option<&Portal>,
    domains: &TrustDomains,
    cx: &mut Cx<'_>,
) -> Vec<Arc<Route>> {
    let mut found = Vec::with_capacity(tree.routes.items.len());
    let mut names = HashMap::new();
    let mut paths: HashMap<(HostPattern, String), u32> = HashMap::new();
    let mut hosts = OfHost::default();
    let mut uncovered: HashSet<HostPattern> = HashSet::new();
    for (place, typed) in tree.routes.iter() {
        once(&typed.name, "route", &mut names, cx);
        let Some(route) = route::check(place, typed, domains, cx) else {
            continue;
        };
        reachable(&route, &mut paths, typed, cx);
        // Once per host is enough.
        let here = route.upstream.is_some();
        if here && listeners.covers(&route.host) == Some(false) && uncovered.insert(route.host.clone()) {
            let names = listeners.certificate_names();
            cx.error(
                &typed.host.place,
                format!("no listener has a certificate for `{}`", host::shown(&route.host)),
                format!("have one issued that names it; the certificates name {}", listed(&names)),
            );
        }
        if let Some(portal) = portal.filter(|portal| route.host == HostPattern::Exact(portal.host.clone())) {
            cx.error(
                &typed.host.place,
                format!("`{}` is the portal's host; nothing behind it would be reached", portal.host),
                "give the application a host of its own",
            );
        }
        let auth_place = typed.client_auth.as_ref().map_or(place, |at| &at.place);
        hosts.same(&route.host, &route.client_auth, auth_place, cx);
        leads_back(&route, typed, listeners, cx);
        found.push(Arc::new(route));
    }
    if tree.routes.items.is_empty() && tree.routes.whole && tree.kubernetes.is_none() {
        let file = Place::file(FileId::Main);
        let place = tree.routes.place.as_ref().unwrap_or(&file);
        cx.warning(place, "there are no routes: nothing is behind this gate", "add one to `routes`");
    }
    found
}

fn reachable(
    route: &Route,
    seen: &mut HashMap<(HostPattern, String), u32>,
    typed: &file::route::Route,
    cx: &mut Cx<'_>,
) {
    let key = (route.host.clone(), route.path.clone());
    if let Some(line) = seen.get(&key) {
        let place = typed.path.as_ref().map_or(&typed.host.place, |path| &path.place);
        cx.error(
            place,
            format!(
                "`{}{}` leads to the route on line {line} already; this one is never reached",
                host::shown(&key.0),
                key.1
            ),
            "give it another host or `path`, or remove one of the two",
        );
    } else {
        seen.insert(key, route.line);
    }
}

/// A route to one of our own listeners turns in circles.
fn leads_back(route: &Route, typed: &file::route::Route, listeners: &Listeners, cx: &mut Cx<'_>) {
    let servers = route.upstream.iter().flat_map(|upstream| upstream.primary.iter().chain(&upstream.standby));
    let hit = servers.filter_map(local).find_map(|(local, port)| {
        listeners.checked.iter().find(|listener| {
            let ours = listener.address;
            let any = ours.ip().is_unspecified() && local.is_loopback();
            ours.port() == port && (ours.ip() == local || any)
        })
    });
    if let Some(listener) = hit {
        let name = listener.name.clone();
        cx.error(
            &typed.upstream.place,
            format!("this upstream is listener `{name}` of this gate: requests would turn in circles"),
            "name the address of the application itself",
        );
    }
}

fn local(server: &UpstreamServer) -> Option<(IpAddr, u16)> {
    match server {
        UpstreamServer::Tcp { host, port } if host == "localhost" => Some((IpAddr::from([127, 0, 0, 1]), *port)),
        UpstreamServer::Tcp { host, port } => Some((host.parse().ok()?, *port)),
        UpstreamServer::Unix(_) => None,
    }
}
