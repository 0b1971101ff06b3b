//! `lookups:` — where further facts come from.
use crate::at::{Anything, At, Keyed, List};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lookups {
    #[expect(dead_code, reason = "known, and refused by `unbuilt`")]
    pub ldap: Option<Anything>,
    #[expect(dead_code, reason = "known, and refused by `unbuilt`")]
    pub headscale: Option<Anything>,
    pub geoip: Option<At<Geoip>>,
    pub posture: Option<At<Posture>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Posture {
    pub inventory_file: Option<At<String>>,
    pub trust_domains: List<String>,
    pub max_age: Option<At<String>>,
    #[expect(dead_code, reason = "known, and refused by `unbuilt`")]
    pub agent: Option<Anything>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Geoip {
    pub database_file: Option<At<String>>,
    pub named_networks: Keyed<NamedNetwork>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NamedNetwork {
    pub networks: List<String>,
    pub country: Option<At<String>>,
}
