//! Profiles: what known applications need, as data. `profile: NAME` stands for the settings of a file in `profiles/`,
//! as if they had been typed: what a route says itself counts, and everything is checked alike.
use crate::findings::Findings;
use crate::place::{FileId, Place};
use crate::suggest;
use crate::units::Mistake;
use crate::yaml::{self, Kind, Node};

/// Name and text of every profile, in the order of the alphabet.
const PROFILES: &[(&str, &str)] = &[
    ("authentik", include_str!("profiles/authentik.yaml")),
    ("cockpit", include_str!("profiles/cockpit.yaml")),
    ("grafana", include_str!("profiles/grafana.yaml")),
    ("headscale", include_str!("profiles/headscale.yaml")),
    ("keycloak", include_str!("profiles/keycloak.yaml")),
    ("kubernetes-api", include_str!("profiles/kubernetes-api.yaml")),
    ("ldap-account-manager", include_str!("profiles/ldap-account-manager.yaml")),
    ("printer", include_str!("profiles/printer.yaml")),
    ("proxmox", include_str!("profiles/proxmox.yaml")),
];

/// What a route below takes over from the one that names the profile.
const INHERITED: [&str; 8] =
    ["host", "upstream", "upstream_tls", "client_auth", "connect_timeout", "preserve_host", "send", "title"];

/// Names of all profiles.
pub fn profile_names() -> impl Iterator<Item = &'static str> {
    PROFILES.iter().map(|(name, _)| *name)
}

/// The text of a profile: what it sets and why, and what is to be done at the application.
pub fn profile(name: &str) -> Option<&'static str> {
    PROFILES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// Puts into every route what its profile stands for, and behind the routes those that it adds. What cannot be read is
/// left to the decoder, except for names that no profile has.
pub(crate) fn expand(tree: &mut Node, findings: &mut Findings) {
    let Some(Kind::List(routes)) = entry_mut(tree, "routes").map(|routes| &mut routes.kind) else { return };
    let mut added = Vec::new();
    for (at, route) in routes.iter_mut().enumerate() {
        let Some(named) = entry(route, "profile") else { continue };
        let Kind::Text(name) = &named.kind else { continue };
        let span = named.span;
        let Some(text) = profile(name) else {
            let hint = suggest::hint(name, profile_names());
            let mistake = Mistake { message: format!("there is no profile `{name}`"), hint };
            findings.error(&Place::new(FileId::Main, span, &format!("routes[{at}].profile")), mistake);
            continue;
        };
        // Every profile is parsed by a test.
        let Ok(mut profile) = yaml::parse(text) else { continue };
        // Everything of a profile stands where it was named.
        profile.stand_at(span);
        if let Some(Kind::List(below)) = entry(&profile, "below").map(|below| &below.kind) {
            added.extend(below.iter().filter_map(|more| route_below(route, more)));
        }
        if let Some(own) = entry(&profile, "route") {
            complete(route, own);
        }
    }
    routes.extend(added);
}

/// `NAME-api` at `/api`, with the resource `RESOURCE-api`, at the same application; none where the base path is not
/// the whole host, or something is missing that the decoder reports.
fn route_below(base: &Node, more: &Node) -> Option<Node> {
    let text = |node: &Node| match &node.kind {
        Kind::Text(text) => Some(text.clone()),
        _ => None,
    };
    let suffix = text(entry(more, "name")?)?;
    let resource = entry(more, "resource").and_then(text).unwrap_or_else(|| suffix.clone());
    if entry(base, "path").is_some_and(|path| text(path).as_deref() != Some("/")) {
        return None;
    }
    let span = more.span;
    let node = |kind| Node { span, kind };
    let pair = |key: &str, value: Node| (node(Kind::Text(key.to_owned())), value);
    let mut entries = vec![
        pair("name", node(Kind::Text(format!("{}-{suffix}", text(entry(base, "name")?)?)))),
        pair("resource", node(Kind::Text(format!("{}-{resource}", text(entry(base, "resource")?)?)))),
        pair("path", entry(more, "path")?.clone()),
    ];
    for key in INHERITED {
        entries.extend(entry(base, key).map(|value| pair(key, value.clone())));
    }
    let mut route = node(Kind::Map(entries));
    if let Some(own) = entry(more, "route") {
        complete(&mut route, own);
    }
    Some(route)
}

/// Adds the keys that a mapping does not have, and likewise inside of mappings that both have.
fn complete(typed: &mut Node, own: &Node) {
    let (Kind::Map(typed), Kind::Map(own)) = (&mut typed.kind, &own.kind) else { return };
    for (key, value) in own {
        let Kind::Text(name) = &key.kind else { continue };
        match typed.iter_mut().find(|(known, _)| matches!(&known.kind, Kind::Text(known) if known == name)) {
            Some((_, known)) => complete(known, value),
            None => typed.push((key.clone(), value.clone())),
        }
    }
}

fn entry<'a>(node: &'a Node, name: &str) -> Option<&'a Node> {
    let Kind::Map(entries) = &node.kind else { return None };
    entries.iter().find(|(key, _)| matches!(&key.kind, Kind::Text(key) if key == name)).map(|(_, value)| value)
}

fn entry_mut<'a>(node: &'a mut Node, name: &str) -> Option<&'a mut Node> {
    let Kind::Map(entries) = &mut node.kind else { return None };
    entries.iter_mut().find(|(key, _)| matches!(&key.kind, Kind::Text(key) if key == name)).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_says_what_it_is_for() {
        assert!(PROFILES.is_sorted_by_key(|(name, _)| name));
        for (name, text) in PROFILES {
            let node = yaml::parse(text).unwrap_or_else(|error| panic!("{name}: {}", error.message));
            for key in ["about", "route", "notes"] {
                assert!(entry(&node, key).is_some(), "{name} has no `{key}`");
            }
            assert!(text.starts_with('#'), "{name} names no source");
        }
    }

    #[test]
    fn what_a_route_says_itself_counts() {
        let typed =
            "routes: [{ name: pve, resource: r, host: h, profile: proxmox, keep_alive: 9s, headers: { user: X-A } }]";
        let mut tree = yaml::parse(typed).unwrap();
        expand(&mut tree, &mut Findings::default());
        let Kind::List(routes) = &entry(&tree, "routes").unwrap().kind else { panic!("a list") };
        let text = |node: Option<&Node>| match &node.unwrap().kind {
            Kind::Text(text) => text.clone(),
            other => other.describe(),
        };
        assert_eq!(text(entry(&routes[0], "keep_alive")), "9s");
        let headers = entry(&routes[0], "headers").unwrap();
        assert_eq!((text(entry(headers, "user")), text(entry(headers, "groups"))), ("X-A".into(), "off".into()));
        assert_eq!(text(entry(&routes[0], "response_timeout")), "10m");
    }
}
