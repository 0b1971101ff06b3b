//! What people type, field by field: texts, numbers, lists. What it means is the business of `check`.
//!
//! The only `Deserialize` of the configuration. `At<T>` is required, `Option<At<T>>`, `List<T>` and `Keyed<T>` are
//! optional; defaults stand in `check`, so that the mirror says what was typed and nothing else. Every key stands in
//! `reference.rs` too, which a test compares.
pub(crate) mod acme;
pub(crate) mod forward_auth;
pub(crate) mod identity;
pub(crate) mod kubernetes;
pub(crate) mod listener;
pub(crate) mod lookups;
pub(crate) mod policy;
pub(crate) mod route;
pub(crate) mod store;
pub(crate) mod telemetry;

use crate::at::{At, Keyed, List};
use serde::Deserialize;

/// `torhaus.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Torhaus {
    pub version: At<u64>,
    pub state_dir: Option<At<String>>,
    pub store: Option<At<store::Store>>,
    pub policy_file: Option<At<String>>,
    pub policy_candidate_file: Option<At<String>>,
    pub policy_candidate_mode: Option<At<String>>,
    pub policy_signed_by: Option<At<String>>,
    pub listeners: List<listener::Listener>,
    pub portal: At<Portal>,
    pub hsts: Option<At<String>>,
    pub trusted_proxies: List<String>,
    pub forward_auth: Option<At<forward_auth::ForwardAuth>>,
    pub trust_domains: Keyed<TrustDomain>,
    pub ca: Option<At<Ca>>,
    pub acme: Option<At<acme::Acme>>,
    pub identity: At<identity::Identity>,
    pub lookups: Option<At<lookups::Lookups>>,
    pub routes: List<route::Route>,
    pub kubernetes: Option<At<kubernetes::Kubernetes>>,
    pub sessions: Option<At<Sessions>>,
    pub limits: Option<At<Limits>>,
    pub branding: Option<At<Branding>>,
    pub admin: Option<At<Admin>>,
    pub telemetry: Option<At<telemetry::Telemetry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Portal {
    pub url: At<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrustDomain {
    pub own_ca: Option<At<bool>>,
    pub ca_file: Option<At<String>>,
    pub crl_file: Option<At<String>>,
    pub proves: Option<At<String>>,
    pub spiffe_trust_domains: List<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ca {
    pub name: Option<At<String>>,
    pub permitted_dns: List<String>,
    pub crl_url: Option<At<String>>,
    pub key_file: Option<At<String>>,
    pub key_env: Option<At<String>>,
    pub offline_root: Option<At<bool>>,
    pub revocations_file: Option<At<String>>,
    pub lifetimes: Option<At<Lifetimes>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lifetimes {
    pub user: Option<At<String>>,
    pub device: Option<At<String>>,
    pub service: Option<At<String>>,
    pub server: Option<At<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sessions {
    pub idle: Option<At<String>>,
    pub absolute: Option<At<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    pub handshake_timeout: Option<At<String>>,
    pub header_timeout: Option<At<String>>,
    pub max_connections: Option<At<u64>>,
    pub max_connections_per_address: Option<At<u64>>,
    pub max_handshakes: Option<At<u64>>,
    pub max_header_bytes: Option<At<String>>,
    pub max_headers: Option<At<u64>>,
    pub max_body: Option<At<String>>,
    pub min_body_rate: Option<At<String>>,
    pub logins_per_minute: Option<At<u64>>,
    pub reports_per_minute: Option<At<u64>>,
    pub idle_timeout: Option<At<String>>,
    pub drain: Option<At<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Branding {
    pub organisation: Option<At<String>>,
    pub contact: Option<At<String>>,
    pub imprint: Option<At<String>>,
    pub logo_file: Option<At<String>>,
    pub accent: Option<At<Accent>>,
    pub texts: Option<At<BrandingTexts>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Accent {
    pub light: At<String>,
    pub dark: At<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BrandingTexts {
    pub en: Option<At<BrandingWords>>,
    pub de: Option<At<BrandingWords>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BrandingWords {
    pub product: Option<At<String>>,
    pub help: Option<At<String>>,
    pub contact: Option<At<String>>,
    pub imprint: Option<At<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Admin {
    pub address: At<String>,
    pub danger_beyond_loopback: Option<At<bool>>,
}
