//! Any list of devices in JSON: where each value stands is the configuration's to say.
use super::{Says, bounded, next_page};
use crate::lookup::api::Api;
use crate::lookup::directory::Failure;
use crate::lookup::inventory::Index;
use serde_json::Value;
use std::time::Duration;
use torhaus_authz::{Device, Edr, Fact, Os, OsFamily, OsVersion, Posture, Timestamp, Why, serial};
use torhaus_config::JsonMapping;
use url::Url;

pub(super) async fn devices(
    api: &Api,
    url: &Url,
    header: Option<(&str, &str)>,
    mapping: &JsonMapping,
    says: &Says,
) -> Result<Index, Failure> {
    let mut index = Index::default();
    let mut at = url.clone();
    for page in 1.. {
        bounded(index.count(), page)?;
        let answer: Value = api.get_with(&at, header).await?;
        let list = answer.pointer(&mapping.devices).and_then(Value::as_array);
        let list = list.ok_or_else(|| Failure::Garbage(format!("no list of devices at `{}`", mapping.devices)))?;
        for (n, entry) in list.iter().enumerate() {
            let found = add(&mut index, entry, mapping, says);
            found.map_err(|why| Failure::Garbage(format!("device {} of page {page}: {why}", n + 1)))?;
        }
        match mapping.next.as_deref().and_then(|next| answer.pointer(next)).filter(|next| !next.is_null()) {
            None => break,
            Some(Value::String(next)) if next.is_empty() => break,
            Some(Value::String(next)) => at = next_page(next, &at)?,
            Some(_) => return Err(Failure::Garbage("the address of the next page is no text".to_owned())),
        }
    }
    Ok(index)
}

/// What an entry says at a pointer: nothing if it is not there, or null.
struct Entry<'a>(&'a Value);

impl<'a> Entry<'a> {
    fn at(&self, pointer: Option<&String>) -> Option<&'a Value> {
        self.0.pointer(pointer?).filter(|value| !value.is_null())
    }

    fn read<T>(
        &self,
        pointer: Option<&String>,
        what: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let Some(value) = self.at(pointer) else { return Ok(None) };
        let shown = pointer.map_or("", String::as_str);
        read(value).map(Some).ok_or_else(|| format!("what stands at `{shown}` is not {what}"))
    }

    fn yes_no(&self, pointer: Option<&String>) -> Result<Option<bool>, String> {
        self.read(pointer, "a yes or no", |value| match value {
            Value::Bool(yes) => Some(*yes),
            Value::Number(number) => match number.as_u64() {
                Some(0) => Some(false),
                Some(1) => Some(true),
                _ => None,
            },
            Value::String(text) => match text.to_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Some(true),
                "false" | "no" | "off" | "0" => Some(false),
                _ => None,
            },
            _ => None,
        })
    }

    fn text(&self, pointer: Option<&String>) -> Result<Option<&'a str>, String> {
        let found = self.read(pointer, "a text", Value::as_str)?;
        Ok(found.filter(|text| !text.trim().is_empty()))
    }

    fn time(&self, pointer: Option<&String>) -> Result<Option<Timestamp>, String> {
        self.read(pointer, "a time", |value| match value {
            Value::String(text) => Timestamp::parse(text),
            Value::Number(seconds) => seconds.as_i64().map(Timestamp::from_seconds),
            _ => None,
        })
    }
}

fn add(index: &mut Index, entry: &Value, mapping: &JsonMapping, says: &Says) -> Result<(), String> {
    const DAY: Duration = Duration::from_secs(86_400);
    let entry = Entry(entry);
    let id = entry.text(Some(&mapping.id))?.ok_or_else(|| format!("nothing stands at `{}`", mapping.id))?;
    let owner = match &mapping.owner {
        Some(_) => Fact::Known(entry.text(mapping.owner.as_ref())?.map(Into::into)),
        None => Fact::Unknown(Why::NotFound),
    };
    let device = Device {
        serial: entry.text(mapping.serial.as_ref())?.and_then(serial),
        owner,
        managed: entry.yes_no(mapping.managed.as_ref())?.map_or(Fact::Unknown(Why::NotFound), Fact::Known),
        ..Device::new(id.into(), says.source.clone())
    };
    let at = entry.time(Some(&mapping.observed_at))?;
    let patch_age = entry.read(mapping.patch_age_days.as_ref(), "a number of days", Value::as_u64)?;
    let patch_age = patch_age.map(|days| u32::try_from(days).unwrap_or(u32::MAX));
    let patched = entry.time(mapping.patched_at.as_ref())?;
    let edr = entry.read(mapping.edr.as_ref(), "a state of malware protection", |value| Edr::parse(value.as_str()?))?;
    let family =
        entry.read(mapping.os.as_ref(), "a system", |value| OsFamily::parse(&value.as_str()?.to_lowercase()))?;
    let version = entry.read(mapping.os_version.as_ref(), "a version", |value| OsVersion::parse(value.as_str()?))?;
    let posture = Posture {
        disk_encrypted: says.report(entry.yes_no(mapping.disk_encrypted.as_ref())?, at),
        firewall: says.report(entry.yes_no(mapping.firewall.as_ref())?, at),
        secure_boot: says.report(entry.yes_no(mapping.secure_boot.as_ref())?, at),
        compliant: says.report(entry.yes_no(mapping.compliant.as_ref())?, at),
        edr: says.report(edr, at),
        patched: says.report(patched.or_else(|| Some(at?.minus(DAY.saturating_mul(patch_age?)))), at),
        os: says.report(family.map(|family| Os { family, version }), at),
    };
    index.add(device, Some(posture), &[]);
    Ok(())
}
