//! `forward_auth:` — other reverse proxies that ask this gate.
use crate::at::{At, List};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForwardAuth {
    pub peers: List<Peer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Peer {
    pub proxy: At<Proxy>,
    pub addresses: List<String>,
}

/// What a peer is: it decides which headers are read, so that a client cannot choose.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Proxy {
    Nginx,
    Apache,
    Traefik,
    Caddy,
    Envoy,
}
