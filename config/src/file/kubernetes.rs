//! `kubernetes:` — ingresses of a cluster, beside the routes of the file.
use crate::at::{At, Keyed, List};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kubernetes {
    pub controller: Option<At<String>>,
    pub lease: Option<At<String>>,
    pub kubeconfig_file: Option<At<String>>,
    pub publish_service: Option<At<String>>,
    pub publish_addresses: List<String>,
    pub namespaces: Keyed<Namespace>,
    pub danger_loopback_endpoints: Option<At<bool>>,
}

/// What the ingresses of a namespace may do.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Namespace {
    pub resources: List<String>,
    pub hosts: List<String>,
    pub any_host: Option<At<bool>>,
}
