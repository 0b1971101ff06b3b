//! Facts that neither the request nor the session carries: where an address is, whether the person came from there
//! before, which device it is and in which state, what the directory says of a person. A request finds them in memory.
mod data_file;
pub mod devices;
pub mod directory;
mod geoip;
pub mod health;
pub mod inventory;
pub mod ldap;
pub mod people;
pub mod places;
pub mod poll;
pub mod seen;

#[cfg(test)]
mod people_tests;

use crate::identify::Caller;
use crate::request::Request;
use crate::snapshot::Snapshot;
use devices::{Evidence, Sources};
use inventory::Inventory;
use places::Places;
use seen::SeenPlaces;
use std::sync::Arc;
use torhaus_authz::{Device, Fact, Facts, Posture, Seen, Timestamp, Why};
use torhaus_config::{Config, Route};

/// What further facts are looked up in. Files that a new configuration names again are kept, with what is known of them.
#[derive(Default)]
pub struct Lookups {
    pub places: Places,
    pub sources: Sources,
    /// None: nothing is remembered of anybody, and every place is unknown.
    pub seen: Option<Arc<SeenPlaces>>,
    inventory: Option<inventory::File>,
}

impl Lookups {
    pub fn build(config: &Config, before: Option<&Self>, now: Timestamp) -> Self {
        let posture = &config.posture;
        let inventory = posture.inventory_file.as_ref().map(|path| {
            let kept = before.and_then(|before| before.inventory.clone()).filter(|file| file.path() == path);
            kept.unwrap_or_else(|| inventory::open(path, now))
        });
        let mut sources = Sources { max_age: posture.max_age, ..Sources::default() };
        if let Some(file) = &inventory {
            let listed = Arc::new(Inventory::new(file.clone(), posture.trust_domains.clone(), posture.max_age));
            sources.devices.push(listed.clone());
            sources.postures.push(listed);
        }
        Self {
            places: Places::of(config, before.map(|before| &before.places), now),
            sources,
            seen: before.and_then(|before| before.seen.clone()),
            inventory,
        }
    }

    /// Reads again what was replaced. Blocks on the disk.
    pub fn refresh(&self, now: Timestamp) {
        if let Some(geoip) = self.places.geoip() {
            geoip.refresh(now);
        }
        if let Some(file) = &self.inventory {
            file.refresh(now);
        }
    }

    /// A device of the list, by the name that it has there, and its posture.
    pub fn listed(&self, id: &str, now: Timestamp) -> Option<(Arc<Device>, Option<Arc<Posture>>)> {
        let index = self.inventory.as_ref()?.get(self.sources.max_age, now).ok()?;
        index.device(id).cloned()
    }

    /// Which of them cannot answer, or only with what they knew; the facts are unknown then, and the process is well.
    pub fn problems(&self) -> Vec<String> {
        let geoip = self.places.geoip().and_then(|geoip| geoip.problem());
        let inventory = self.inventory.as_ref().and_then(|file| file.problem());
        let named = |what: &str, problem: Option<String>| problem.map(|problem| format!("{what}: {problem}"));
        [named("countries", geoip), named("devices", inventory)].into_iter().flatten().collect()
    }
}

/// All facts of a request. What is held in memory is always gathered, needed by the row or not, so that a replay can
/// judge rules that today's policy does not have.
pub fn gather<'a>(
    snapshot: &Snapshot,
    request: &Request<'a>,
    route: &'a Route,
    caller: &Caller,
    now: Timestamp,
) -> Facts<'a> {
    Facts { resource: &route.resource, ..about(snapshot, request, caller, now) }
}

/// The same for no particular resource: the caller fills it in.
pub fn about<'a>(snapshot: &Snapshot, request: &Request<'a>, caller: &Caller, now: Timestamp) -> Facts<'a> {
    let lookups = &snapshot.lookups;
    let address = request.connection.client.ip();
    let evidence = Evidence {
        certificate: caller.certificate.as_ref().map(Option::as_deref),
        names: caller.device_names(),
        address,
        listener: &request.connection.listener,
    };
    let country = lookups.places.country(address, now);
    let device = lookups.sources.find(&evidence, now);
    Facts {
        method: request.method.as_str(),
        path: request.path,
        listener: &request.connection.listener,
        address: if address.is_unspecified() { Fact::Unknown(Why::NotGiven) } else { Fact::Known(address) },
        identity: caller.identity.clone(),
        groups: caller.groups.clone(),
        proofs: caller.proofs.clone(),
        certificate: caller.certificate.clone(),
        country,
        posture: lookups.sources.posture(&device, &evidence, now),
        device,
        seen: match &lookups.seen {
            Some(seen) => seen.of(&caller.identity, address, country, &lookups.places, now),
            None => Seen::unknown(Why::NotConfigured),
        },
        ..Facts::unknown(now, "")
    }
}
