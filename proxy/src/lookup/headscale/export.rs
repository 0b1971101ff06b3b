//! What of our own configuration belongs into Headscale's policy: groups that mirror the directory, and rules by which
//! the gate, and nobody else, reaches the applications.
use super::api::User;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use torhaus_authz::{Groups, Name};
use torhaus_config::{Config, ListenerKind, UpstreamServer};

/// As Headscale's policy names a user: with an `@`, by the address where the provider gave one.
pub fn alias(user: &User) -> String {
    match (user.email.contains('@') && !user.provider.is_empty(), user.name.contains('@')) {
        (true, _) => user.email.clone(),
        (false, true) => user.name.clone(),
        (false, false) => format!("{}@", user.name),
    }
}

/// The `groups` block: who of the mesh's users is in which of the wanted groups. A group without anybody is there too, so
/// that a rule that names it stays valid.
pub fn groups(users: &[(User, Groups)], wanted: &BTreeSet<Name>) -> Value {
    let mut found: BTreeMap<String, BTreeSet<String>> =
        wanted.iter().map(|group| (format!("group:{group}"), BTreeSet::new())).collect();
    for (user, groups) in users {
        for group in groups.iter().filter(|group| wanted.contains(*group)) {
            found.entry(format!("group:{group}")).or_default().insert(alias(user));
        }
    }
    json!({ "groups": found })
}

/// Where the applications are, beside what is on this machine.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Upstreams {
    /// Host as it is configured, and port.
    pub targets: BTreeSet<(String, u16)>,
}

impl Upstreams {
    pub fn of(config: &Config) -> Self {
        let upstreams = config.routes.iter().filter_map(|route| route.upstream.as_ref());
        let servers = upstreams.flat_map(|upstream| upstream.primary.iter().chain(&upstream.standby));
        let targets = servers.filter_map(|server| match server {
            UpstreamServer::Tcp { host, port } if !is_here(host) => Some((host.clone(), *port)),
            _ => None,
        });
        Self { targets: targets.collect() }
    }

    /// Those that need an entry in `hosts`.
    pub fn names(&self) -> BTreeSet<&str> {
        let hosts = self.targets.iter().map(|(host, _)| host.as_str());
        hosts.filter(|host| host.parse::<IpAddr>().is_err()).collect()
    }
}

fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// `hosts`, `tagOwners`, `acls` and `tests`. `gate` is a tag or an address of ours, `addresses` what names resolve to.
pub fn acl(config: &Config, upstreams: &Upstreams, gate: &str, addresses: &BTreeMap<String, Vec<IpAddr>>) -> Value {
    // A name may have several addresses, and an alias of Headscale's stands for one.
    let mut hosts = Map::new();
    let mut to = Vec::new();
    for (host, port) in &upstreams.targets {
        match host.parse::<IpAddr>() {
            Ok(address) => to.push(destination(&address.to_string(), *port)),
            Err(_) => {
                for (n, address) in addresses.get(host).into_iter().flatten().enumerate() {
                    let alias = if n == 0 { host.clone() } else { format!("{host}-{}", n + 1) };
                    hosts.insert(alias.clone(), address.to_string().into());
                    to.push(destination(&alias, *port));
                }
            }
        }
    }
    let on_mesh = config.listeners.iter().filter(|listener| listener.mesh.is_some());
    let own: BTreeSet<u16> = on_mesh
        .filter(|listener| matches!(listener.kind, ListenerKind::Tls { .. }))
        .map(|listener| listener.address.port())
        .collect();
    let own: Vec<String> = own.into_iter().map(|port| destination(gate, port)).collect();
    let mut acls = Vec::new();
    if !own.is_empty() {
        acls.push(
            json!({ "action": "accept", "proto": "tcp", "src": ["autogroup:member", "autogroup:tagged"], "dst": own }),
        );
    }
    let mut policy = Map::new();
    if !hosts.is_empty() {
        policy.insert("hosts".into(), hosts.into());
    }
    if gate.starts_with("tag:") {
        // Nobody but an administrator gives it to a node.
        policy.insert("tagOwners".into(), json!({ gate: [] }));
    }
    if !to.is_empty() {
        acls.push(json!({ "action": "accept", "proto": "tcp", "src": [gate], "dst": to }));
        policy.insert("tests".into(), json!([{ "src": gate, "proto": "tcp", "accept": to }]));
    }
    policy.insert("acls".into(), acls.into());
    policy.into()
}

fn destination(target: &str, port: u16) -> String {
    match target.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]:{port}"),
        _ => format!("{target}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, email: &str, provider: &str) -> User {
        User { name: name.into(), email: email.into(), provider: provider.into() }
    }

    #[test]
    fn groups_of_the_mesh_are_those_of_the_directory() {
        let of = |names: &[&str]| names.iter().copied().collect::<Groups>();
        let users = [
            (user("alice", "alice@example.test", "oidc"), of(&["hr", "it-admins", "printers"])),
            (user("bob", "", ""), of(&["hr"])),
            (user("carol@example.test", "", ""), of(&[])),
        ];
        let wanted = ["hr", "it-admins", "finance"].map(Name::from).into();
        let expected = json!({ "groups": {
            "group:finance": [],
            "group:hr": ["alice@example.test", "bob@"],
            "group:it-admins": ["alice@example.test"],
        } });
        assert_eq!(groups(&users, &wanted), expected);
        assert_eq!(alias(&users[2].0), "carol@example.test");
        assert_eq!(alias(&user("dana", "dana@example.test", "")), "dana@", "an address that no provider vouches for");
    }
}
