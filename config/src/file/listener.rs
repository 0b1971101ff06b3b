//! `listeners:` — where connections come in.
use crate::at::{Anything, At, List};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listener {
    pub name: At<String>,
    pub address: At<String>,
    pub tls: Option<At<Tls>>,
    pub redirect_to_https: Option<At<bool>>,
    pub proxy_protocol: Option<At<bool>>,
    pub mesh: Option<At<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    pub certificates: List<Certificate>,
    #[expect(dead_code, reason = "known, and refused by `unbuilt`")]
    pub acme: Option<Anything>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Certificate {
    pub cert_file: At<String>,
    pub key_file: At<String>,
    pub ocsp_file: Option<At<String>>,
}
