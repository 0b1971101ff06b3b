//! What one file says about the other: tiers, resources, listeners and trust domains must exist where they are named.
//! Looks at what was typed, so that a mistake elsewhere hides none of these.
use super::Cx;
use super::condition::ANY_CERTIFICATE;
use super::suite::NO_CERTIFICATE;
use crate::at::{At, Keyed, List};
use crate::config::FORWARD_AUTH_LISTENER;
use crate::file;
use crate::file::policy::{Condition, Policy, Row};
use crate::place::Place;
use crate::suggest;
use crate::units::Mistake;
use std::collections::{HashMap, HashSet};

pub(crate) fn check(tree: &file::Torhaus, policy: &Policy, cx: &mut Cx<'_>) {
    tiers(tree, policy, cx);
    resources(tree, policy, cx);
    listeners(tree, policy, cx);
    trust_domains(tree, policy, cx);
    vouching(tree, policy, cx);
    encoded_slashes(tree, policy, cx);
}

/// Names that could be read, or `None` if some could not: then a missing one may be among those.
struct Known<'a>(Option<Vec<&'a str>>);

impl<'a> Known<'a> {
    fn of_list<T>(list: &'a List<T>, name: fn(&T) -> &At<String>) -> Self {
        if !list.whole {
            return Self(None);
        }
        Self(list.iter().map(|(_, item)| name(item).text()).collect())
    }

    fn of_keys<T>(map: &'a Keyed<T>) -> Self {
        Self(map.whole.then(|| map.iter().map(|(name, ..)| name).collect()))
    }

    fn lacks(&self, name: &str) -> bool {
        self.0.as_ref().is_some_and(|names| !names.contains(&name))
    }

    fn refer(&self, what: &str, name: &str, place: &Place, cx: &mut Cx<'_>) {
        let Some(names) = self.0.as_ref().filter(|names| !names.contains(&name)) else {
            return;
        };
        let hint = suggest::hint(name, names.iter().copied());
        cx.mistake(place, Mistake { message: format!("unknown {what} `{name}`"), hint });
    }
}

fn tiers(tree: &file::Torhaus, policy: &Policy, cx: &mut Cx<'_>) {
    let known = Known::of_list(&policy.tiers, |tier| &tier.name);
    let mut proven: HashSet<&str> = HashSet::new();
    let mut is_whole = tree.trust_domains.whole;
    if let Some(identity) = tree.identity.get() {
        is_whole = is_whole && identity.providers.whole && identity.bearer.whole;
        let providers = identity.providers.iter().map(|(_, provider)| &provider.tiers);
        let bearer = identity.bearer.iter().map(|(_, bearer)| &bearer.tiers);
        for (name, place, _) in providers.chain(bearer).flat_map(Keyed::iter) {
            known.refer("tier", name, place, cx);
            proven.insert(name);
        }
    }
    if let Some(acme) = tree.acme.as_ref().and_then(At::get)
        && let Some(name) = acme.tier.text()
    {
        known.refer("tier", name, &acme.tier.place, cx);
    }
    for (_, _, domain) in tree.trust_domains.iter() {
        let Some(proves) = domain.get().and_then(|domain| domain.proves.as_ref()) else {
            continue;
        };
        let Some(name) = proves.text() else { continue };
        known.refer("tier", name, &proves.place, cx);
        proven.insert(name);
    }
    if !is_whole || known.0.is_none() {
        return;
    }
    // A proof of a higher tier proves the lower ones.
    for (_, tier) in policy.tiers.items.iter().rev().filter_map(|at| Some((&at.place, at.get()?))) {
        let Some(name) = tier.name.text() else { return };
        if proven.contains(name) {
            return;
        }
        cx.warning(
            &tier.name.place,
            format!("nobody can prove tier `{name}`: who needs it is never let in"),
            "say how it is proven, in `tiers` of an identity provider",
        );
    }
}

fn resources(tree: &file::Torhaus, policy: &Policy, cx: &mut Cx<'_>) {
    let rows = Known::of_list(&policy.table, |row| &row.resource);
    let row_names: HashSet<&str> = rows.0.iter().flatten().copied().collect();
    let mut used: HashSet<&str> = HashSet::new();
    for (_, route) in tree.routes.iter() {
        let Some(resource) = route.resource.text() else {
            continue;
        };
        used.insert(resource);
        if rows.0.is_some() && !row_names.contains(resource) {
            let near = suggest::nearest(resource, row_names.iter().copied());
            let hint = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => "add a row to `table`; without one nobody gets in".to_owned(),
            };
            let message = format!("resource `{resource}` has no row in the policy table");
            cx.error(&route.resource.place, message, hint);
        }
    }
    // Rows may be there for ingresses.
    if !tree.routes.whole || tree.kubernetes.is_some() {
        return;
    }
    for (_, row) in policy.table.iter() {
        let Some(resource) = row.resource.text().filter(|resource| !used.contains(resource)) else {
            continue;
        };
        cx.warning(
            &row.resource.place,
            format!("no route leads to resource `{resource}`"),
            "add `resource` to a route, or remove the row",
        );
    }
}

fn listeners(tree: &file::Torhaus, policy: &Policy, cx: &mut Cx<'_>) {
    let known = Known::of_list(&tree.listeners, |listener| &listener.name);
    for (_, _, zone) in policy.zones.iter() {
        let Some(zone) = zone.get() else { continue };
        for (place, name) in zone.listeners.iter().filter(|(_, name)| !is_forward_auth(tree, name)) {
            known.refer("listener", name, place, cx);
        }
    }
    for (_, test) in policy.tests.iter() {
        let Some(at) = &test.listener else { continue };
        if let Some(name) = at.text().filter(|name| !is_forward_auth(tree, name)) {
            known.refer("listener", name, &at.place, cx);
        }
    }
}

/// Requests that another proxy asks about come by this one.
fn is_forward_auth(tree: &file::Torhaus, name: &str) -> bool {
    tree.forward_auth.is_some() && name == FORWARD_AUTH_LISTENER
}

fn trust_domains(tree: &file::Torhaus, policy: &Policy, cx: &mut Cx<'_>) {
    let known = Known::of_keys(&tree.trust_domains);
    let asked = asked_of(tree);
    for (_, row) in policy.table.iter() {
        let mut named = Vec::new();
        conditions(row, &mut |condition| named.extend(&condition.client_certificate));
        let domains = row.resource.text().and_then(|resource| asked.get(resource));
        for at in named {
            let Some(name) = at.text() else { continue };
            // Any certificate, or none: of no domain in particular.
            if [ANY_CERTIFICATE, NO_CERTIFICATE].contains(&name) {
                continue;
            }
            known.refer("trust domain", name, &at.place, cx);
            if domains.is_some_and(|domains| !domains.contains(name)) && !known.lacks(name) {
                let resource = row.resource.text().unwrap_or_default();
                cx.warning(
                    &at.place,
                    format!("no route of `{resource}` asks for a certificate of `{name}`, so this is never met"),
                    format!("add `client_auth: {{ mode: optional, trust_domains: [{name}] }}` to the route"),
                );
            }
        }
    }
    for (_, test) in policy.tests.iter() {
        let Some(at) = &test.client_certificate else { continue };
        if let Some(name) = at.text().filter(|name| *name != NO_CERTIFICATE) {
            known.refer("trust domain", name, &at.place, cx);
        }
    }
}

/// With one authority there is no doubt about who names services; with several, each has to say which it may name.
fn vouching(tree: &file::Torhaus, policy: &Policy, cx: &mut Cx<'_>) {
    let Some((at, text)) = first_service(policy).filter(|_| tree.trust_domains.entries.len() > 1) else {
        return;
    };
    let spiffe = text.strip_prefix("spiffe://").and_then(|rest| rest.split('/').next()).unwrap_or("example.test");
    for (name, place, domain) in tree.trust_domains.iter() {
        let Some(domain) = domain.get().filter(|domain| domain.spiffe_trust_domains.place.is_none()) else {
            continue;
        };
        // One without `ca_file` is reported already, and signs nothing.
        if domain.ca_file.is_some() || domain.own_ca.is_some() {
            cx.error(
                place,
                format!(
                    "trust domain `{name}` does not say which services it may vouch for, and the policy names `{text}` \
                     ({})",
                    cx.policy_line(at.line())
                ),
                format!("add `spiffe_trust_domains: [{spiffe}]` if its certificates name them, else `[]`"),
            );
        }
    }
}

/// A condition on paths reads `%2F` as part of a name. Where an application may read a slash, it would see another path
/// than the policy.
fn encoded_slashes(tree: &file::Torhaus, policy: &Policy, cx: &mut Cx<'_>) {
    let mut by_path: HashMap<&str, u32> = HashMap::new();
    for (_, row) in policy.table.iter() {
        let Some(resource) = row.resource.text() else { continue };
        conditions(row, &mut |condition| {
            if let Some(paths) = &condition.paths {
                by_path.insert(resource, paths.line());
            }
        });
    }
    for (_, route) in tree.routes.iter() {
        let Some(at) = route.allow_encoded_slash.as_ref().filter(|at| at.get() == Some(&true)) else { continue };
        if let Some((resource, line)) = route.resource.text().and_then(|text| by_path.get_key_value(text)) {
            cx.error(
                &at.place,
                format!("row `{resource}` goes by paths (line {line} of the policy), and an application may read `%2F` in another way"),
                "give the paths routes and rows of their own, or remove `allow_encoded_slash`",
            );
        }
    }
}

/// The first SPIFFE ID that the policy names.
fn first_service(policy: &Policy) -> Option<(&At<String>, &str)> {
    let allow = policy.table.iter().map(|(_, row)| &row.allow);
    let allow = allow.chain(policy.exceptions.iter().map(|(_, exception)| &exception.allow));
    let subjects = allow.flat_map(|list| &list.items);
    let subjects = subjects.filter_map(|at| Some((at, at.text()?.strip_prefix("service:")?)));
    let mut services = Vec::new();
    for (_, row) in policy.table.iter() {
        conditions(row, &mut |condition| {
            services.extend(condition.services.iter().filter_map(At::get).flatten());
        });
    }
    let conditions = services.into_iter().filter_map(|at| Some((at, at.text()?)));
    subjects.chain(conditions).min_by_key(|(at, _)| at.line())
}

/// For each resource the trust domains that its routes ask for.
fn asked_of(tree: &file::Torhaus) -> HashMap<&str, HashSet<&str>> {
    let mut asked: HashMap<&str, HashSet<&str>> = HashMap::new();
    for (_, route) in tree.routes.iter() {
        let Some(resource) = route.resource.text() else {
            continue;
        };
        let domains = asked.entry(resource).or_default();
        if let Some(auth) = route.client_auth.as_ref().and_then(At::get) {
            domains.extend(auth.trust_domains.iter().map(|(_, name)| name.as_str()));
        }
    }
    asked
}

/// Every condition of a row, with those inside of `all`, `any` and `not`.
fn conditions<'a>(row: &'a Row, visit: &mut impl FnMut(&'a Condition)) {
    let guards = row.require.iter().chain(row.deny.iter()).map(|(_, guard)| guard);
    let mut open: Vec<&Condition> = guards.chain(row.raise.iter().filter_map(|(_, raise)| raise.when.get())).collect();
    while let Some(condition) = open.pop() {
        visit(condition);
        let lists = [&condition.all, &condition.any].into_iter().flatten().filter_map(At::get).flatten();
        open.extend(lists.chain(condition.not.as_deref()).filter_map(At::get));
    }
}
