//! Facts that neither the request nor the session carries: where an address is, whether the person came from there
//! before, which device it is and in which state, what the directory says of a person. A request finds them in memory.
pub mod api;
mod authentik;
mod data_file;
pub mod devices;
pub mod directory;
mod geoip;
pub mod headscale;
pub mod health;
pub mod inventory;
pub mod ldap;
pub mod management;
pub mod people;
pub mod places;
pub mod poll;
pub mod polled;
pub mod records;
pub mod seen;

#[cfg(test)]
mod people_tests;

use crate::identify::Caller;
use crate::login::device_claim::{self, DeviceClaim};
use crate::request::Request;
use crate::snapshot::Snapshot;
use devices::{Evidence, Sources};
use headscale::api::HeadscaleApi;
use headscale::{Mesh, Nodes};
use health::SourceStatus;
use inventory::{Index, Inventory, Origin};
use management::Management;
use places::Places;
use polled::Polled;
use records::{DeviceRecords, Recorded};
use seen::SeenPlaces;
use std::path::Path;
use std::sync::Arc;
use torhaus_authz::{Decision, Device, Fact, Facts, Name, Posture, Seen, Timestamp, Why};
use torhaus_config::{Config, Headscale, PostureSource, Route};

/// What further facts are looked up in. Files that a new configuration names again are kept, with what is known of them.
#[derive(Default)]
pub struct Lookups {
    pub places: Places,
    pub sources: Sources,
    /// None: nothing is remembered of anybody, and every place is unknown.
    pub seen: Option<Arc<SeenPlaces>>,
    /// None: no device is written down.
    pub records: Option<Arc<DeviceRecords>>,
    /// Whose certificates name our devices.
    trust_domains: Vec<Name>,
    inventory: Option<inventory::File>,
    mesh: Option<Asked<Headscale, Nodes>>,
    managements: Vec<Asked<PostureSource, Index>>,
}

/// A source that is asked over HTTPS. One whose configuration is unchanged is kept, with what it said.
struct Asked<C, T> {
    config: Arc<C>,
    /// The CA file as it was read: another one is another source.
    ca: Option<Vec<u8>>,
    polled: Arc<Polled<T>>,
}

impl<C: PartialEq, T> Asked<C, T> {
    fn of<'a>(
        config: &Arc<C>,
        ca_file: Option<&Path>,
        before: impl IntoIterator<Item = &'a Self>,
        make: impl FnOnce() -> Result<Arc<Polled<T>>, String>,
    ) -> Result<Self, String>
    where
        C: 'a,
        T: 'a,
    {
        let ca = ca_file.map(std::fs::read).transpose().map_err(|error| error.to_string())?;
        let kept = before.into_iter().find(|before| before.config == *config && before.ca == ca);
        let polled = kept.map_or_else(make, |kept| Ok(kept.polled.clone()))?;
        Ok(Self { config: config.clone(), ca, polled })
    }
}

impl Lookups {
    /// # Errors
    /// A CA file cannot be used.
    pub fn build(config: &Config, before: Option<&Self>, now: Timestamp) -> Result<Self, String> {
        let posture = &config.posture;
        let inventory = posture.inventory_file.as_ref().map(|path| {
            let kept = before.and_then(|before| before.inventory.clone()).filter(|file| file.path() == path);
            kept.unwrap_or_else(|| inventory::open(path, now))
        });
        let mut sources = Sources { max_age: posture.max_age, ..Sources::default() };
        let mut list = |from: Origin| {
            let listed = Arc::new(Inventory::new(from, posture.trust_domains.clone(), posture.max_age));
            sources.devices.push(listed.clone());
            sources.postures.push(listed);
        };
        if let Some(file) = &inventory {
            list(Origin::File(file.clone()));
        }
        let mut managements = Vec::new();
        for source in &posture.sources {
            let before = before.iter().flat_map(|before| &before.managements);
            let asked = Asked::of(source, source.polled.ca_file.as_deref(), before, || {
                let api = Box::new(Management::new(source.clone())?);
                Ok(Polled::new(&source.name, source.polled.clone(), api))
            });
            let asked = asked.map_err(|why| format!("lookups.posture.sources `{}`: {why}", source.name))?;
            list(Origin::Polled(asked.polled.clone()));
            managements.push(asked);
        }
        // After those that go by certificate: theirs is the name that counts.
        let mesh = match &config.headscale {
            None => None,
            Some(headscale) => {
                let before = before.iter().filter_map(|before| before.mesh.as_ref());
                let asked = Asked::of(headscale, headscale.polled.ca_file.as_deref(), before, || {
                    let api = Box::new(HeadscaleApi::new(headscale.clone())?);
                    Ok(Polled::new(&headscale::SOURCE.into(), headscale.polled.clone(), api))
                });
                let asked = asked.map_err(|why| format!("lookups.headscale: {why}"))?;
                sources.devices.push(Arc::new(Mesh::new(asked.polled.clone(), config, headscale)));
                Some(asked)
            }
        };
        let mut lookups = Self {
            places: Places::of(config, before.map(|before| &before.places), now),
            sources,
            seen: before.and_then(|before| before.seen.clone()),
            records: None,
            trust_domains: posture.trust_domains.clone(),
            inventory,
            mesh,
            managements,
        };
        if let Some(records) = before.and_then(|before| before.records.clone()) {
            lookups.keep_records(records, config);
        }
        Ok(lookups)
    }

    /// From now on devices are written down, and those that were approved are known.
    pub fn keep_records(&mut self, records: Arc<DeviceRecords>, config: &Config) {
        if !self.trust_domains.is_empty() {
            let recorded = Recorded::new(records.clone(), self.trust_domains.clone(), config.posture.agent);
            let recorded = Arc::new(recorded);
            // Before the mesh, which knows devices by another name.
            let at = self.sources.devices.len().saturating_sub(usize::from(self.mesh.is_some()));
            self.sources.devices.insert(at, recorded.clone());
            self.sources.postures.push(recorded);
        }
        self.records = Some(records);
    }

    /// Whether devices are told apart at all.
    pub fn know_devices(&self) -> bool {
        !self.sources.devices.is_empty()
    }

    /// Writes down what a decision teaches of places, and which device it was about. Makes no request wait.
    pub fn learn(&self, facts: &Facts<'_>, caller: &Caller, decision: &Decision) {
        if let Some(seen) = &self.seen {
            seen.learn(facts, decision.learns);
        }
        if let Some(records) = &self.records {
            records.learn(facts, caller.device_names(), &self.trust_domains);
        }
    }

    /// Asks whom it is time to ask.
    pub fn tick(&self, now: Timestamp) {
        if let Some(mesh) = &self.mesh {
            mesh.polled.tick(now);
        }
        for management in &self.managements {
            management.polled.tick(now);
        }
    }

    /// How those are doing that are asked.
    pub fn statuses(&self) -> Vec<SourceStatus> {
        let mesh = self.mesh.iter().map(|mesh| mesh.polled.health.status());
        mesh.chain(self.managements.iter().map(|management| management.polled.health.status())).collect()
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

/// The names by which the device of a request is known: our record's, those of its certificate, and the certificate's
/// SHA-256.
pub fn device_names(facts: &Facts<'_>, caller: &Caller) -> impl Iterator<Item = Name> {
    let record = facts.device.known().and_then(Option::as_ref).map(|device| records::id_of(device));
    let shown = facts.certificate.known().and_then(Option::as_ref);
    let names = shown.map(|_| caller.device_names()).unwrap_or_default();
    record.into_iter().chain(names.iter().cloned()).chain(shown.map(|shown| shown.sha256.clone()))
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
    let posture = lookups.sources.posture(&device, &evidence, now);
    let posture = match claim_of(snapshot, caller) {
        None => posture,
        Some(claim) => {
            let young = |at: Timestamp| now.since(at) <= lookups.sources.max_age;
            device_claim::joined(posture, &device, &evidence, claim, young)
        }
    };
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
        posture,
        device,
        seen: match &lookups.seen {
            Some(seen) => seen.of(&caller.identity, address, country, &lookups.places, now),
            None => Seen::unknown(Why::NotConfigured),
        },
        ..Facts::unknown(now, "")
    }
}

/// What the caller's session knows of a device, while its provider is still believed in this.
fn claim_of<'a>(snapshot: &Snapshot, caller: &'a Caller) -> Option<&'a DeviceClaim> {
    let session = caller.session.as_ref()?;
    let provider = snapshot.providers.named(&session.user.provider)?;
    provider.reports_devices().then_some(&session.device)
}
