//! `listeners:` — where connections come in.
use crate::at::{At, List};
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
    pub acme: Option<At<Acme>>,
}

/// Certificates that torhaus obtains itself.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Acme {
    pub directory: At<String>,
    pub names: List<String>,
    pub contact: List<String>,
    pub ca_file: Option<At<String>>,
    pub challenge: Option<At<String>>,
    pub profile: Option<At<String>>,
    pub eab: Option<At<Eab>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Eab {
    pub kid: At<String>,
    pub hmac_key_file: At<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Certificate {
    pub cert_file: At<String>,
    pub key_file: At<String>,
    pub ocsp_file: Option<At<String>>,
}
