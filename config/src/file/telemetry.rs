//! `telemetry:` — what is sent to a monitoring, beside what it fetches.
use crate::at::{At, Keyed, List};
use crate::file::route::Sent;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Telemetry {
    pub traces: At<Traces>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Traces {
    pub endpoint: At<String>,
    pub ca_file: Option<At<String>>,
    pub send: Keyed<Sent>,
    pub sample: Option<At<String>>,
    pub service_name: Option<At<String>>,
    pub continue_from: List<String>,
}
