//! `lookups.headscale`: the control server of the mesh.
use super::directory::{one_of, provider};
use super::settings::network;
use super::{Cx, polled};
use crate::at::At;
use crate::config::{Headscale, HeadscaleUser, Provider};
use crate::file;
use ipnet::IpNet;
use std::sync::Arc;

/// Defaults; their reasons stand in `reference`, and so in `docs/config.md`.
mod default {
    use super::super::polled::Defaults;
    use std::time::Duration;

    pub(super) const POLLED: Defaults = Defaults {
        poll: Duration::from_secs(30),
        max_stale: Duration::from_secs(5 * 60),
        timeout: Duration::from_secs(5),
    };
    /// What Headscale gives out (`prefixes`), and nobody else does on a listener of the mesh.
    pub(super) const NETWORKS: [&str; 2] = ["100.64.0.0/10", "fd7a:115c:a1e0::/48"];
}

const USER: [(&str, HeadscaleUser); 2] = [("name", HeadscaleUser::Name), ("email", HeadscaleUser::Email)];

/// The outer `None` is a mistake that was reported.
pub(crate) fn check(
    tree: &file::Torhaus,
    providers: Option<&[Arc<Provider>]>,
    cx: &mut Cx<'_>,
) -> Option<Option<Headscale>> {
    let lookups = tree.lookups.as_ref().and_then(At::get);
    let Some(at) = lookups.and_then(|lookups| lookups.headscale.as_ref()) else { return Some(None) };
    let typed = at.get()?;
    let url = cx.parse(&typed.url, polled::server);
    let api_key = cx.secret(&typed.api_key_file, "secret file");
    let provider = provider(typed.provider.as_ref(), providers, cx);
    let user_attribute = cx.parse_or(typed.user_attribute.as_ref(), HeadscaleUser::Name, |text| one_of(text, &USER));
    let networks: Option<Vec<IpNet>> = match typed.networks.place.is_some() {
        true => typed.networks.items.iter().map(|item| cx.parse(item, network)).collect(),
        false => Some(default::NETWORKS.iter().filter_map(|text| text.parse().ok()).collect()),
    };
    let of_api = polled::Typed {
        ca_file: typed.ca_file.as_ref(),
        poll: typed.poll.as_ref(),
        max_stale: typed.max_stale.as_ref(),
        timeout: typed.timeout.as_ref(),
    };
    let polled = polled::check(&of_api, &default::POLLED, &at.place, cx);
    if tree.listeners.iter().all(|(_, listener)| listener.mesh.is_none()) {
        cx.warning(
            &at.place,
            "no listener is on the mesh, so no node is ever recognised",
            "add `mesh: headscale` to the listener whose address is one of the mesh",
        );
    }
    let provider = provider?;
    Some(Some(Headscale {
        url: url?,
        api_key: api_key?,
        provider: provider.name.clone(),
        first: provider.first,
        user_attribute: user_attribute?,
        networks: networks?,
        polled: polled?,
    }))
}
