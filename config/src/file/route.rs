//! `routes:` — which host and path lead to which application.
use crate::at::{At, Keyed, List};
use serde::Deserialize;

/// Routes from elsewhere than a file: only these.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Routes {
    pub routes: List<Route>,
}

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
    #[expect(dead_code, reason = "what it stands for was put in before: `profile::expand`")]
    pub profile: Option<At<String>>,
    pub request: Option<At<Request>>,
    pub send: Keyed<Sent>,
    pub keep_alive: Option<At<String>>,
    pub sign_in: Option<At<bool>>,
    pub access_token: Option<At<String>>,
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

/// What the application's server can take.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    pub max_headers: Option<At<u64>>,
    pub max_header_bytes: Option<At<String>>,
    pub content_length: Option<At<bool>>,
    pub strip: List<String>,
}

/// A header's value, from a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sent {
    pub file: At<String>,
    pub prefix: Option<At<String>>,
    pub basic_user: Option<At<String>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum GroupsAs {
    Commas,
    Pipes,
    Lines,
}

/// `http://127.0.0.1:9001`, `forward_auth`, or several servers. The decoder picks by what was typed.
#[derive(Deserialize)]
pub(crate) enum Upstream {
    #[serde(rename = "$text")]
    Url(String),
    #[serde(rename = "$map")]
    Servers(Box<Servers>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Servers {
    pub primary: List<String>,
    pub standby: List<String>,
    pub balance: Option<At<Balance>>,
    pub health: Option<At<Health>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Balance {
    RoundRobin,
    LeastConnections,
    Sticky,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Health {
    pub probe: At<Probe>,
    pub path: Option<At<String>>,
    pub service: Option<At<String>>,
    pub every: Option<At<String>>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Probe {
    Tcp,
    Http,
    Grpc,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpstreamTls {
    pub ca_file: Option<At<String>>,
    pub server_name: Option<At<String>>,
    pub pin_sha256: Option<At<String>>,
    pub client_cert_file: Option<At<String>>,
    pub client_key_file: Option<At<String>>,
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
    pub groups_as: Option<At<GroupsAs>>,
    pub groups_limited_to: Option<At<Vec<At<String>>>>,
    pub assertion: Option<At<bool>>,
    pub client_certificate: Option<At<bool>>,
}
