//! `lookups:` — where further facts come from.
use crate::at::{Anything, At, Keyed, List};
use crate::file::identity::OneOrMany;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lookups {
    pub ldap: Option<At<Ldap>>,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ldap {
    pub url: At<OneOrMany>,
    pub ca_file: At<String>,
    pub bind_dn: At<String>,
    pub bind_password_file: At<String>,
    pub base_dn: At<String>,
    pub group_base_dn: Option<At<String>>,
    pub schema: Option<At<String>>,
    pub user_attribute: Option<At<String>>,
    pub user_filter: Option<At<String>>,
    pub group_filter: Option<At<String>>,
    pub group_name: Option<At<String>>,
    pub member_attribute: Option<At<String>>,
    pub groups_by: Option<At<String>>,
    pub nested_groups: Option<At<bool>>,
    pub provider: Option<At<String>>,
    pub poll: Option<At<String>>,
    pub max_stale: Option<At<String>>,
    pub timeout: Option<At<String>>,
}
