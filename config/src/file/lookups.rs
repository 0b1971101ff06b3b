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
    #[expect(dead_code, reason = "known, and refused by `unbuilt`")]
    pub posture: Option<Anything>,
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
