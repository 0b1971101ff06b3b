//! `routes:` — which host and path lead to which application.
use crate::at::{Anything, At, List};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    pub name: At<String>,
    pub host: At<String>,
    pub path: Option<At<String>>,
    pub upstream: At<Upstream>,
    pub upstream_tls: Option<At<UpstreamTls>>,
    pub connect_timeout: Option<At<String>>,
    pub response_timeout: Option<At<String>>,
    #[expect(dead_code, reason = "known, and refused by `unbuilt`")]
    pub profile: Option<Anything>,
    pub resource: At<String>,
    pub client_auth: Option<At<ClientAuth>>,
    pub headers: Option<At<Headers>>,
    pub preserve_host: Option<At<bool>>,
    pub cors_origins: List<String>,
    pub title: Option<At<String>>,
    pub description: Option<At<String>>,
    pub listed: Option<At<bool>>,
    pub upgrades: List<String>,
    pub allow_encoded_slash: Option<At<bool>>,
    pub max_body: Option<At<String>>,
    pub min_body_rate: Option<At<String>>,
}

/// `http://127.0.0.1:9001`, or several servers. The decoder picks by what was typed.
#[derive(Deserialize)]
pub(crate) enum Upstream {
    #[serde(rename = "$text")]
    Url(String),
    #[serde(rename = "$map")]
    Servers(#[expect(dead_code, reason = "known, and refused by `unbuilt`")] Servers),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Servers {
    #[expect(dead_code, reason = "known, and refused by `unbuilt`")]
    pub primary: Option<Anything>,
    #[expect(dead_code, reason = "known, and refused by `unbuilt`")]
    pub standby: Option<Anything>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpstreamTls {
    pub ca_file: Option<At<String>>,
    pub server_name: Option<At<String>>,
    pub pin_sha256: Option<At<String>>,
    pub danger_skip_verification: Option<At<bool>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientAuth {
    pub mode: At<Mode>,
    pub trust_domains: List<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    None,
    Optional,
    Required,
}

/// Names of the headers that tell the application who it is; `off` for none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Headers {
    pub user: Option<At<String>>,
    pub email: Option<At<String>>,
    pub groups: Option<At<String>>,
    pub name: Option<At<String>>,
    pub groups_limited_to: Option<At<Vec<At<String>>>>,
    pub assertion: Option<At<bool>>,
    pub client_certificate: Option<At<bool>>,
}
