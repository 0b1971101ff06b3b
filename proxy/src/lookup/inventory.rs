//! A list of devices, in a file or from a device management: found by client certificate, and by nothing else.
use crate::lookup::data_file::DataFile;
use crate::lookup::devices::{Devices, Evidence, Postures};
use crate::lookup::polled::Polled;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use torhaus_authz::{Device, Fact, Name, Posture, Timestamp, Why, serial};
use torhaus_config::InventoryDevice;

/// 100,000 devices have about 40 MB.
const MAX_BYTES: u64 = 64 << 20;

/// How the facts of the file are attributed.
const SOURCE: &str = "inventory";

pub struct Inventory {
    from: Origin,
    /// Whose certificates name our devices.
    trust_domains: Vec<Name>,
    /// How long the last good list counts when the file cannot be read.
    max_age: Duration,
}

/// Where a list comes from.
pub enum Origin {
    File(File),
    /// A device management.
    Polled(Arc<Polled<Index>>),
}

/// Devices, and how they are found.
#[derive(Default)]
pub struct Index {
    devices: Vec<(Arc<Device>, Option<Arc<Posture>>)>,
    by_id: HashMap<Name, usize>,
    by_fingerprint: HashMap<Name, Slot>,
    /// By id and serial number; not those whose certificates are pinned.
    by_name: HashMap<Name, Slot>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    One(usize),
    /// Two devices of one name: neither.
    Several,
}

/// The file, which outlives a configuration that names it again.
pub type File = Arc<DataFile<Index>>;

pub fn open(path: &Path, now: Timestamp) -> File {
    Arc::new(DataFile::open(path, MAX_BYTES, Index::parse, now))
}

impl Inventory {
    pub fn new(from: Origin, trust_domains: Vec<Name>, max_age: Duration) -> Self {
        Self { from, trust_domains, max_age }
    }

    fn get(&self, now: Timestamp) -> Result<Arc<Index>, Why> {
        match &self.from {
            Origin::File(file) => file.get(self.max_age, now),
            Origin::Polled(polled) => polled.get(now),
        }
    }
}

impl Devices for Inventory {
    fn find(&self, evidence: &Evidence<'_>, now: Timestamp) -> Fact<Option<Arc<Device>>> {
        let found = self.shown(evidence, now);
        found.map(|entry| entry.and_then(|(index, at)| index.devices.get(at).map(|(device, _)| device.clone())))
    }

    fn lists_serial(&self, serial: &str, now: Timestamp) -> bool {
        let has = |device: &Device| device.serial.as_deref() == Some(serial);
        self.get(now).is_ok_and(|index| index.devices.iter().any(|(device, _)| has(device)))
    }
}

impl Postures for Inventory {
    fn report(&self, device: &Device, evidence: &Evidence<'_>, now: Timestamp) -> Fact<Option<Arc<Posture>>> {
        let posture = |index: &Index, at: usize| index.devices.get(at).and_then(|(_, posture)| posture.clone());
        match (self.shown(evidence, now), &device.serial) {
            (Fact::Known(Some((index, at))), _) => Fact::Known(posture(&index, at)),
            // A device that another list found is joined by its serial number.
            (Fact::Known(None) | Fact::Unknown(Why::NotFound), Some(serial)) => match self.get(now) {
                Err(why) => Fact::Unknown(why),
                Ok(index) => match index.by_name.get(serial) {
                    Some(Slot::Several) => Fact::Unknown(Why::Ambiguous),
                    Some(Slot::One(at)) => Fact::Known(posture(&index, *at)),
                    None => Fact::Known(None),
                },
            },
            (Fact::Known(None), None) => Fact::Known(None),
            (Fact::Unknown(why), _) => Fact::Unknown(why),
        }
    }
}

impl Inventory {
    /// The device that the certificate names, by its place in the list.
    fn shown(&self, evidence: &Evidence<'_>, now: Timestamp) -> Fact<Option<(Arc<Index>, usize)>> {
        let certificate = match evidence.certificate {
            Fact::Unknown(why) => return Fact::Unknown(why),
            Fact::Known(Some(found)) if self.trust_domains.contains(&found.trust_domain) => found,
            Fact::Known(_) => return Fact::Unknown(Why::NotFound),
        };
        let index = match self.get(now) {
            Ok(index) => index,
            Err(why) => return Fact::Unknown(why),
        };
        let pinned = index.by_fingerprint.get(&certificate.sha256);
        let named = evidence.names.iter().filter_map(|name| index.by_name.get(name));
        let mut found: Option<Slot> = None;
        for slot in pinned.into_iter().chain(named) {
            found = Some(if found.is_none_or(|other| other == *slot) { *slot } else { Slot::Several });
        }
        match found {
            None => Fact::Known(None),
            Some(Slot::Several) => Fact::Unknown(Why::Ambiguous),
            Some(Slot::One(at)) => Fact::Known(Some((index, at))),
        }
    }
}

impl Index {
    fn parse(bytes: Vec<u8>) -> Result<Self, String> {
        let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())?;
        let list = torhaus_config::inventory(&text, SOURCE).map_err(|error| error.to_string())?;
        let mut index = Self::default();
        for InventoryDevice { device, certificates, posture } in list.devices {
            match certificates.is_empty() {
                true => index.add(device, posture, &[]),
                false => index.add_pinned(device, posture, &certificates),
            }
        }
        Ok(index)
    }

    /// One that is found by its name and serial number, and by `further` names as [`serial`] writes them.
    pub fn add(&mut self, device: Device, posture: Option<Posture>, further: &[Name]) {
        let names: Vec<Name> =
            serial(&device.id).into_iter().chain(device.serial.clone()).chain(further.iter().cloned()).collect();
        let at = self.push(device, posture);
        note(&mut self.by_name, &names, at);
    }

    /// One that is found by its certificates alone.
    fn add_pinned(&mut self, device: Device, posture: Option<Posture>, certificates: &[Name]) {
        let at = self.push(device, posture);
        note(&mut self.by_fingerprint, certificates, at);
    }

    fn push(&mut self, device: Device, posture: Option<Posture>) -> usize {
        let at = self.devices.len();
        self.by_id.insert(device.id.clone(), at);
        self.devices.push((Arc::new(device), posture.map(Arc::new)));
        at
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.devices.len()
    }

    /// A device by the name that the list gives it, for the command line.
    pub fn device(&self, id: &str) -> Option<&(Arc<Device>, Option<Arc<Posture>>)> {
        self.by_id.get(id).and_then(|at| self.devices.get(*at))
    }
}

fn note(map: &mut HashMap<Name, Slot>, keys: &[Name], at: usize) {
    for key in keys {
        let slot = map.entry(key.clone()).or_insert(Slot::One(at));
        if *slot != Slot::One(at) {
            *slot = Slot::Several;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use torhaus_authz::Certificate;

    const NOW: Timestamp = Timestamp::from_seconds(1_795_900_000);
    const HOUR: Duration = Duration::from_secs(3600);
    const LIST: &str = "
version: 1
source_trust: mdm
devices:
  - { id: laptop-17, serial: C02XK1, managed: true, posture: { observed_at: 2026-11-28T08:00:00Z, firewall: true } }
  - { id: pinned, serial: P1, certificates: [PIN], managed: true }
  - { id: vm-1, serial: TWIN }
  - { id: vm-2, serial: TWIN }
";

    fn inventory(folder: &Path) -> (std::path::PathBuf, File, Inventory) {
        let path = folder.join("devices.yaml");
        std::fs::write(&path, LIST.replace("PIN", &"ab".repeat(32))).unwrap();
        let file = open(&path, NOW);
        let from = Origin::File(file.clone());
        (path, file, Inventory::new(from, vec!["devices".into()], HOUR))
    }

    fn find(inventory: &Inventory, domain: &str, names: &[&str], now: Timestamp) -> Fact<Option<Arc<Device>>> {
        let sha256 = if names.contains(&"PINNED") { "ab".repeat(32) } else { "cd".repeat(32) };
        let certificate = Certificate {
            trust_domain: domain.into(),
            sha256: sha256.into(),
            serial: "01".into(),
            not_after: NOW.plus(HOUR),
            user: None,
        };
        let names: Vec<Name> = names.iter().filter_map(|name| serial(name)).collect();
        let address = "10.0.0.1".parse().unwrap();
        let certificate = Fact::Known(Some(&certificate));
        inventory.find(&Evidence { certificate, names: &names, address, listener: "" }, now)
    }

    fn id(found: Fact<Option<Arc<Device>>>) -> Fact<Option<String>> {
        found.map(|device| device.map(|device| device.id.to_string()))
    }

    #[test]
    fn a_certificate_of_ours_finds_its_device_and_one_of_a_partner_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let (_, _, inventory) = inventory(folder.path());
        let is = |name: &str| Fact::Known(Some(name.to_owned()));
        for (domain, names, found) in [
            ("devices", vec!["laptop-17"], is("laptop-17")),
            ("devices", vec!["c02 xk1"], is("laptop-17")),
            ("devices", vec!["laptop-17", "C02XK1"], is("laptop-17")),
            ("devices", vec!["other"], Fact::Known(None)),
            ("devices", vec![], Fact::Known(None)),
            ("partner", vec!["laptop-17"], Fact::Unknown(Why::NotFound)),
            ("devices", vec!["twin"], Fact::Unknown(Why::Ambiguous)),
            ("devices", vec!["laptop-17", "vm-1"], Fact::Unknown(Why::Ambiguous)),
            // A device whose certificates are listed is found by these alone.
            ("devices", vec!["pinned"], Fact::Known(None)),
            ("devices", vec!["p1"], Fact::Known(None)),
            ("devices", vec!["PINNED"], is("pinned")),
        ] {
            assert_eq!(id(find(&inventory, domain, &names, NOW)), found, "{domain} {names:?}");
        }
    }

    #[test]
    fn a_broken_list_keeps_the_last_good_one_until_it_is_too_old() {
        let folder = tempfile::tempdir().unwrap();
        let (path, file, inventory) = inventory(folder.path());
        std::fs::write(&path, "devices: [").unwrap();
        file.refresh(NOW);
        file.refresh(NOW);
        assert!(file.problem().unwrap().contains("devices.yaml"));
        let found = |now| id(find(&inventory, "devices", &["laptop-17"], now));
        assert_eq!(found(NOW), Fact::Known(Some("laptop-17".to_owned())));
        assert_eq!(found(NOW.plus(HOUR)), Fact::Unknown(Why::Stale));
        std::fs::write(&path, "version: 1\ndevices: []\n").unwrap();
        file.refresh(NOW);
        file.refresh(NOW);
        assert_eq!((found(NOW.plus(HOUR)), file.problem()), (Fact::Known(None), None));
    }
}
