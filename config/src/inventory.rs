//! The list of devices (`lookups.posture.inventory_file`): a file that people or another program write, read again
//! whenever it changes. Taken whole or not at all: half a list would let in what the other half refuses.
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use torhaus_authz::{
    Device, Edr, Fact, Name, Os, OsFamily, OsVersion, Posture, Report, SourceTrust, Timestamp, Why, serial,
};

/// A list of devices, and who says so.
#[derive(Debug, Default)]
pub struct Inventory {
    pub devices: Vec<InventoryDevice>,
}

#[derive(Debug)]
pub struct InventoryDevice {
    pub device: Device,
    /// SHA-256 of its client certificates, lower-case hex, where the list pins them.
    pub certificates: Vec<Name>,
    /// Nothing was reported: none.
    pub posture: Option<Posture>,
}

/// Why a list is not used; line and column are in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidInventory(pub String);

impl std::fmt::Display for InvalidInventory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidInventory {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Typed {
    version: u64,
    /// Of all reports of the file.
    #[serde(default = "least")]
    source_trust: SourceTrust,
    #[serde(default)]
    devices: Vec<TypedDevice>,
}

fn least() -> SourceTrust {
    SourceTrust::SelfReported
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TypedDevice {
    id: String,
    serial: Option<String>,
    #[serde(default)]
    certificates: Vec<String>,
    owner: Option<String>,
    managed: Option<bool>,
    #[serde(default)]
    tags: BTreeSet<String>,
    posture: Option<TypedPosture>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TypedPosture {
    observed_at: String,
    disk_encrypted: Option<bool>,
    firewall: Option<bool>,
    secure_boot: Option<bool>,
    compliant: Option<bool>,
    edr: Option<Edr>,
    patch_age_days: Option<u32>,
    os: Option<TypedOs>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TypedOs {
    family: OsFamily,
    version: Option<String>,
}

/// Reads a list. `source` is how its facts are attributed.
///
/// # Errors
/// 1. it is not YAML of this form, or of another version; 2. a device stands twice in it; 3. a serial number, a
///    fingerprint, a time or a version is none.
pub fn inventory(text: &str, source: &str) -> Result<Inventory, InvalidInventory> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        emit_comments: false,
        // Room for 100,000 devices, not for alias bombs.
        budget: serde_saphyr::budget! { max_events: 10_000_000, max_nodes: 5_000_000, max_documents: 1 },
    };
    let typed: Typed = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| InvalidInventory(error.without_snippet().to_string()))?;
    if typed.version != 1 {
        let message = format!("version {} of the list is not known: write `version: 1`", typed.version);
        return Err(InvalidInventory(message));
    }
    let mut seen = BTreeMap::new();
    let mut devices = Vec::with_capacity(typed.devices.len());
    for (index, typed_device) in typed.devices.iter().enumerate() {
        if let Some(first) = seen.insert(typed_device.id.as_str(), index) {
            let (first, second) = (first + 1, index + 1);
            let message = format!("device `{}` stands twice in the list: {first} and {second}", typed_device.id);
            return Err(InvalidInventory(message));
        }
        devices.push(device(typed_device, typed.source_trust, source)?);
    }
    Ok(Inventory { devices })
}

fn device(typed: &TypedDevice, trust: SourceTrust, source: &str) -> Result<InventoryDevice, InvalidInventory> {
    let wrong = |what: String| InvalidInventory(format!("device `{}`: {what}", typed.id));
    if typed.id.trim().is_empty() {
        return Err(wrong("has no name in `id`".to_owned()));
    }
    let own_serial = match &typed.serial {
        None => None,
        Some(text) => {
            let none = || wrong(format!("serial `{text}` is what many devices say; leave it out"));
            Some(serial(text).ok_or_else(none)?)
        }
    };
    let fingerprint = |text: &String| {
        let bare: String = text.chars().filter(|c| *c != ':').flat_map(char::to_lowercase).collect();
        let is_hash = bare.len() == 64 && bare.bytes().all(|b| b.is_ascii_hexdigit());
        is_hash.then(|| Name::from(bare)).ok_or_else(|| wrong(format!("`{text}` is not a SHA-256 of a certificate")))
    };
    let posture = typed.posture.as_ref().map(|typed| posture(typed, trust, source).map_err(wrong)).transpose()?;
    Ok(InventoryDevice {
        device: Device {
            serial: own_serial,
            // A list says of each device whose it is: one without an owner is nobody's in particular.
            owner: Fact::Known(typed.owner.as_deref().map(Name::from)),
            tags: typed.tags.iter().map(|tag| Name::from(tag.as_str())).collect(),
            managed: typed.managed.map_or(Fact::Unknown(Why::NotFound), Fact::Known),
            ..Device::new(typed.id.as_str().into(), source.into())
        },
        certificates: typed.certificates.iter().map(fingerprint).collect::<Result<_, _>>()?,
        posture,
    })
}

fn posture(typed: &TypedPosture, trust: SourceTrust, source: &str) -> Result<Posture, String> {
    const DAY: Duration = Duration::from_secs(86_400);
    let time = || format!("`{}` is not a time: write `observed_at: 2026-11-28T08:00:00Z`", typed.observed_at);
    let at = Timestamp::parse(&typed.observed_at).ok_or_else(time)?;
    let source = Name::from(source);
    fn report<T>(value: Option<T>, source: &Name, trust: SourceTrust, at: Timestamp) -> Option<Report<T>> {
        Some(Report { value: value?, source: source.clone(), trust, at })
    }
    let os = match &typed.os {
        None => None,
        Some(TypedOs { family, version }) => {
            let parse = |text: &String| {
                OsVersion::parse(text).ok_or_else(|| format!("`{text}` is not a version: write numbers and dots"))
            };
            Some(Os { family: *family, version: version.as_ref().map(parse).transpose()? })
        }
    };
    let patched = typed.patch_age_days.map(|days| at.minus(DAY.saturating_mul(days)));
    Ok(Posture {
        disk_encrypted: report(typed.disk_encrypted, &source, trust, at),
        firewall: report(typed.firewall, &source, trust, at),
        secure_boot: report(typed.secure_boot, &source, trust, at),
        compliant: report(typed.compliant, &source, trust, at),
        edr: report(typed.edr, &source, trust, at),
        patched: report(patched, &source, trust, at),
        os: report(os, &source, trust, at),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"
version: 1
source_trust: mdm
devices:
  - id: laptop-17
    serial: " C02 XK1 "
    certificates: ["AB:ABPIN"]
    owner: dana
    managed: true
    tags: [finance, berlin]
    posture:
      observed_at: 2026-11-28T08:00:00Z
      disk_encrypted: true
      firewall: false
      edr: healthy
      patch_age_days: 3
      os: { family: windows, version: "10.0.22631" }
  - id: kiosk
"#;

    fn list() -> String {
        LIST.replace("PIN", &"AB".repeat(30))
    }

    #[test]
    fn a_list_says_who_reported_what_and_when() {
        let list = inventory(&list(), "devices.yaml").unwrap();
        let [laptop, kiosk] = list.devices.as_slice() else { panic!("two devices") };
        assert_eq!(laptop.device.serial.as_deref(), Some("c02xk1"));
        assert_eq!(laptop.device.owner, Fact::Known(Some("dana".into())));
        assert_eq!(&*laptop.device.tags, ["berlin".into(), "finance".into()]);
        assert_eq!(laptop.certificates, [Name::from("ab".repeat(32))]);
        let posture = laptop.posture.as_ref().unwrap();
        let disk = posture.disk_encrypted.as_ref().unwrap();
        assert_eq!((disk.value, &*disk.source, disk.trust), (true, "devices.yaml", SourceTrust::Mdm));
        assert_eq!(disk.at, Timestamp::parse("2026-11-28T08:00:00Z").unwrap());
        assert_eq!(posture.patched.as_ref().map(|r| r.value), Timestamp::parse("2026-11-25T08:00:00Z"));
        assert_eq!((posture.secure_boot.as_ref(), posture.compliant.as_ref()), (None, None));
        assert_eq!((kiosk.device.managed, kiosk.posture.as_ref()), (Fact::Unknown(Why::NotFound), None));
    }

    #[test]
    fn a_list_with_a_mistake_is_none_and_says_where() {
        for (from, to, says) in [
            ("version: 1", "version: 2", "version 2 of the list"),
            ("- id: kiosk", "- id: laptop-17", "stands twice"),
            ("\" C02 XK1 \"", "\"To Be Filled By O.E.M.\"", "what many devices say"),
            ("AB:AB", "XY:AB", "not a SHA-256"),
            ("2026-11-28T08:00:00Z", "yesterday", "not a time"),
            ("\"10.0.22631\"", "\"22H2\"", "not a version"),
            ("edr: healthy", "edr: fine", "line 15"),
            ("firewall: false", "firewal: false", "line 14"),
            ("firewall: false", "firewall: off", "line 14"),
            ("managed: true", "managed: true\n    managed: false", "managed"),
            ("devices:", "devices: [", "line"),
        ] {
            assert!(LIST.contains(from), "{from}");
            let error = inventory(&list().replacen(from, to, 1), "devices.yaml").unwrap_err();
            assert!(error.to_string().contains(says), "{to}: {error}");
        }
    }
}
