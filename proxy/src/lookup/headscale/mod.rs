//! Devices of a mesh that Headscale coordinates: an address of the mesh belongs to one node, and the node to a person, or
//! where it is tagged to nobody.
//!
//! ```text
//! mod.rs     which node an address belongs to, and where that is believed
//! api.rs     what the control server says, of either generation
//! export.rs  what of our configuration belongs into its policy
//! policy.rs  who that policy lets around the gate
//! import.rs  what of it can stand in ours
//! ```
//!
//! WireGuard proves which node a packet of the mesh comes from. That holds on a listener of the mesh alone: elsewhere the
//! same addresses are a carrier's (RFC 6598), and anybody's.
pub mod api;
pub mod export;
pub mod import;
pub mod policy;

use super::devices::{Devices, Evidence, SUBNET_ROUTER};
use super::polled::Polled;
use api::{Node, User};
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use torhaus_authz::{Device, Fact, Name, Timestamp, Why};
use torhaus_config::{Config, HeadscaleUser};

/// How its facts are attributed.
pub const SOURCE: &str = "headscale";

pub struct Mesh {
    nodes: Arc<Polled<Nodes>>,
    /// Listeners that are on it.
    listeners: Vec<Name>,
    networks: Vec<IpNet>,
}

impl Mesh {
    pub fn new(nodes: Arc<Polled<Nodes>>, config: &Config, headscale: &torhaus_config::Headscale) -> Self {
        let listeners = config.listeners.iter().filter(|listener| listener.mesh.is_some());
        Self {
            nodes,
            listeners: listeners.map(|listener| listener.name.clone()).collect(),
            networks: headscale.networks.clone(),
        }
    }
}

impl Devices for Mesh {
    fn find(&self, evidence: &Evidence<'_>, now: Timestamp) -> Fact<Option<Arc<Device>>> {
        let address = evidence.address.to_canonical();
        let on_the_mesh = self.listeners.iter().any(|own| **own == *evidence.listener);
        if !on_the_mesh || !self.networks.iter().any(|network| network.contains(&address)) {
            return Fact::Unknown(Why::NotFound);
        }
        let nodes = match self.nodes.get(now) {
            Ok(nodes) => nodes,
            Err(why) => return Fact::Unknown(why),
        };
        match nodes.by_address.get(&address) {
            None => {
                self.nodes.missed(now);
                Fact::Known(None)
            }
            Some(Slot::Several) => Fact::Unknown(Why::Ambiguous),
            // It keeps its address; nobody vouches for it any more.
            Some(Slot::One(found)) if found.expiry.is_some_and(|expiry| expiry <= now) => {
                self.nodes.missed(now);
                Fact::Known(None)
            }
            Some(Slot::One(found)) => Fact::Known(Some(found.device.clone())),
        }
    }
}

/// All nodes, by address.
#[derive(Default)]
pub struct Nodes {
    by_address: HashMap<IpAddr, Slot>,
}

enum Slot {
    One(Found),
    /// Two nodes of one address: neither.
    Several,
}

#[derive(Clone)]
struct Found {
    device: Arc<Device>,
    expiry: Option<Timestamp>,
}

impl Nodes {
    pub fn of(nodes: Vec<Node>, config: &torhaus_config::Headscale) -> Self {
        let mut by_address = HashMap::new();
        for node in nodes {
            let found = Found { device: Arc::new(device(&node, config)), expiry: node.expiry };
            for address in node.addresses {
                let address = address.to_canonical();
                let slot = match by_address.contains_key(&address) {
                    false => Slot::One(found.clone()),
                    true => Slot::Several,
                };
                by_address.insert(address, slot);
            }
        }
        Self { by_address }
    }
}

/// As the provider's `user_claim` has it.
fn name_of<'a>(user: &'a User, config: &torhaus_config::Headscale) -> &'a str {
    match config.user_attribute {
        HeadscaleUser::Name => &user.name,
        HeadscaleUser::Email => &user.email,
    }
}

/// As `user:` of the policy has it; none where Headscale does not say.
fn policy_name(name: &str, config: &torhaus_config::Headscale) -> Option<Name> {
    (!name.is_empty()).then(|| match config.first {
        true => name.into(),
        false => format!("{}/{name}", config.provider).into(),
    })
}

/// Tagged nodes are nobody's; behind a subnet router may sit anybody.
fn device(node: &Node, config: &torhaus_config::Headscale) -> Device {
    let owner = match &node.user {
        Some(user) if node.tags.is_empty() && !node.routes => Some(name_of(user, config)),
        _ => None,
    };
    let owner = owner.and_then(|name| policy_name(name, config));
    let mut tags: Vec<Name> = node.tags.iter().map(|tag| tag.as_str().into()).collect();
    tags.extend(node.routes.then(|| SUBNET_ROUTER.into()));
    tags.sort_unstable();
    tags.dedup();
    Device { owner: Fact::Known(owner), tags: tags.into(), ..Device::new(node.name.as_str().into(), SOURCE.into()) }
}

#[cfg(test)]
mod tests;
