//! `lookups:` — where further facts come from.
use crate::at::{At, Keyed, List};
use crate::file::identity::OneOrMany;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lookups {
    pub ldap: Option<At<Ldap>>,
    pub authentik: Option<At<Authentik>>,
    pub headscale: Option<At<Headscale>>,
    pub geoip: Option<At<Geoip>>,
    pub posture: Option<At<Posture>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Posture {
    pub inventory_file: Option<At<String>>,
    pub trust_domains: List<String>,
    pub max_age: Option<At<String>>,
    pub agent: Option<At<bool>>,
    pub sources: List<PostureSource>,
}

/// A device management that is asked over HTTPS.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PostureSource {
    pub name: At<String>,
    pub kind: At<String>,
    pub url: Option<At<String>>,
    pub ca_file: Option<At<String>>,
    pub token_file: Option<At<String>>,
    pub header: Option<At<String>>,
    pub tenant: Option<At<String>>,
    pub client_id: Option<At<String>>,
    pub client_secret_file: Option<At<String>>,
    pub mapping: Option<At<Mapping>>,
    pub source_trust: Option<At<String>>,
    pub poll: Option<At<String>>,
    pub max_stale: Option<At<String>>,
    pub timeout: Option<At<String>>,
}

/// Where in an answer each value stands (RFC 6901).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mapping {
    pub devices: Option<At<String>>,
    pub next: Option<At<String>>,
    pub id: At<String>,
    pub serial: Option<At<String>>,
    pub owner: Option<At<String>>,
    pub managed: Option<At<String>>,
    pub observed_at: At<String>,
    pub disk_encrypted: Option<At<String>>,
    pub firewall: Option<At<String>>,
    pub secure_boot: Option<At<String>>,
    pub compliant: Option<At<String>>,
    pub edr: Option<At<String>>,
    pub patched_at: Option<At<String>>,
    pub patch_age_days: Option<At<String>>,
    pub os: Option<At<String>>,
    pub os_version: Option<At<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Headscale {
    pub url: At<String>,
    pub api_key_file: At<String>,
    pub ca_file: Option<At<String>>,
    pub provider: Option<At<String>>,
    pub user_attribute: Option<At<String>>,
    pub networks: List<String>,
    pub poll: Option<At<String>>,
    pub max_stale: Option<At<String>>,
    pub timeout: Option<At<String>>,
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

/// authentik's own users and groups.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Authentik {
    pub url: At<String>,
    pub token_file: At<String>,
    pub ca_file: Option<At<String>>,
    pub provider: Option<At<String>>,
    pub poll: Option<At<String>>,
    pub max_stale: Option<At<String>>,
    pub timeout: Option<At<String>>,
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
