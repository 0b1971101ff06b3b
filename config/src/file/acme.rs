//! `acme:` — who may enrol, and what challenges may look at.
use crate::at::{At, List};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Acme {
    pub client_zone: At<String>,
    pub tier: At<String>,
    pub enrolment: Option<At<String>>,
    pub probe: Option<At<Probe>>,
    pub limits: Option<At<AcmeLimits>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Probe {
    pub networks: List<String>,
    pub resolver: Option<At<String>>,
    pub http_port: Option<At<u64>>,
    pub tls_port: Option<At<u64>>,
}

/// Each within an hour.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AcmeLimits {
    pub new_accounts: Option<At<u64>>,
    pub new_orders: Option<At<u64>>,
    pub failed_validations: Option<At<u64>>,
    pub finalizes: Option<At<u64>>,
}
