//! `lookups:` countries of addresses, and the state of devices.
//!
//! Their files are data that other programs write: they come and go while we run. One that cannot be read is a warning
//! here, and its facts are unknown until it can.
use super::settings::{country, default, network, positive};
use super::trust::TrustDomains;
use super::{Cx, posture_sources, resolve};
use crate::at::At;
use crate::config::{NamedNetwork, PostureLookup};
use crate::file;
use crate::inventory::inventory;
use std::path::PathBuf;

#[derive(Default)]
pub(crate) struct Geoip {
    pub named_networks: Vec<NamedNetwork>,
    pub database: Option<PathBuf>,
}

pub(crate) fn geoip(lookups: Option<&At<file::lookups::Lookups>>, cx: &mut Cx<'_>) -> Geoip {
    let mut found = Geoip::default();
    let geoip = lookups.and_then(At::get).and_then(|lookups| lookups.geoip.as_ref()).and_then(At::get);
    let Some(geoip) = geoip else { return found };
    found.database = geoip.database_file.as_ref().and_then(|at| data_file(at, "the database of countries", cx));
    for (name, place, at) in geoip.named_networks.iter() {
        let Some(named) = at.get() else { continue };
        if named.networks.items.is_empty() && named.networks.whole {
            cx.error(place, format!("`{name}` has no networks"), "add `networks: [10.0.0.0/8]`, or remove it");
        }
        let networks = named.networks.items.iter().filter_map(|item| cx.parse(item, network)).collect();
        let country = named.country.as_ref().and_then(|at| cx.parse(at, country));
        found.named_networks.push(NamedNetwork { name: name.into(), networks, country });
    }
    found
}

pub(crate) fn posture(
    lookups: Option<&At<file::lookups::Lookups>>,
    known: &TrustDomains,
    cx: &mut Cx<'_>,
) -> Option<PostureLookup> {
    let nothing = PostureLookup {
        inventory_file: None,
        trust_domains: Vec::new(),
        max_age: default::POSTURE_MAX_AGE,
        agent: false,
        sources: Vec::new(),
    };
    let Some(at) = lookups.and_then(At::get).and_then(|lookups| lookups.posture.as_ref()) else { return Some(nothing) };
    let typed = at.get()?;
    let max_age = positive(typed.max_age.as_ref(), default::POSTURE_MAX_AGE, cx);
    let inventory_file = typed.inventory_file.as_ref().and_then(|at| inventory_file(at, cx));
    let agent = typed.agent.as_ref().and_then(At::get).copied().unwrap_or(false);
    let sources = posture_sources::check(&typed.sources, cx);
    if typed.inventory_file.is_none() && typed.agent.is_none() && typed.sources.place.is_none() {
        let hint = "add `inventory_file: devices.yaml`, `agent: true` or `sources: […]`, or remove `posture`";
        cx.error(&at.place, "`posture` names no source", hint);
    }
    if agent && known.names.is_empty() && known.whole {
        cx.error(
            &at.place,
            "devices report with their client certificate, and there is no trust domain",
            "add `trust_domains: { devices: { ca_file: … } }`, or remove `agent`",
        );
    }
    let mut trust_domains = Vec::new();
    for item in &typed.trust_domains.items {
        let Some(name) = item.text() else { continue };
        match known.checked.get(name) {
            Some(domain) => trust_domains.push(domain.name.clone()),
            None if known.whole && !known.names.contains(name) => {
                let hint = crate::suggest::hint(name, known.names.iter().map(String::as_str));
                let message = format!("unknown trust domain `{name}`");
                cx.mistake(&item.place, crate::units::Mistake { message, hint });
            }
            None => {}
        }
    }
    if typed.trust_domains.place.is_none() {
        // A partner's authority could name its laptop after one of ours.
        match known.names.len() {
            0 | 1 => trust_domains.extend(known.checked.values().map(|domain| domain.name.clone())),
            _ => cx.error(
                &at.place,
                "there are several trust domains, and `posture` does not say whose certificates name our devices",
                "add `trust_domains: [devices]`",
            ),
        }
    }
    Some(PostureLookup { inventory_file, trust_domains, max_age: max_age?, agent, sources: sources? })
}

fn inventory_file(at: &At<String>, cx: &mut Cx<'_>) -> Option<PathBuf> {
    let path = data_file(at, "the list of devices", cx)?;
    if let Ok(text) = std::fs::read_to_string(&path)
        && let Err(error) = inventory(&text, "")
    {
        let message = format!("the list of devices `{}` is not usable: {error}", path.display());
        cx.warning(&at.place, message, "correct it; until then nobody's device is known");
    }
    Some(path)
}

fn data_file(at: &At<String>, what: &str, cx: &mut Cx<'_>) -> Option<PathBuf> {
    let path = resolve(cx.base, at.text()?);
    if let Err(error) = std::fs::File::open(&path) {
        let message = format!("{what} `{}` cannot be read: {error}", path.display());
        cx.warning(&at.place, message, "torhaus runs without it and reads it when it is there");
    }
    Some(path)
}
