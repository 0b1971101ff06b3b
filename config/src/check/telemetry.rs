//! `telemetry.traces`: where spans go, how many, and whose traces are continued.
use super::settings::network;
use super::{Cx, polled, takes, trust};
use crate::at::At;
use crate::config::Traces;
use crate::file;
use crate::units::{self, Mistake};
use ipnet::IpNet;
use std::sync::Arc;
use url::Url;

/// Defaults; their reasons stand in `reference`, and so in `docs/config.md`.
pub(crate) mod default {
    pub(crate) const SAMPLE: f64 = 0.1;
    pub(crate) const SERVICE_NAME: &str = "torhaus";
}

/// The outer `None` is a mistake that was reported.
pub(crate) fn traces(at: Option<&At<file::telemetry::Telemetry>>, cx: &mut Cx<'_>) -> Option<Option<Arc<Traces>>> {
    let Some(at) = at else { return Some(None) };
    let typed = at.get()?.traces.get()?;
    let endpoint = cx.parse(&typed.endpoint, endpoint);
    let ca_file = match &typed.ca_file {
        Some(at) => trust::ca_file(at, cx).map(Some),
        None => Some(None),
    };
    let headers = takes::sent(&typed.send, cx);
    let sample = cx.parse_or(typed.sample.as_ref(), default::SAMPLE, units::share);
    let service_name = typed.service_name.as_ref().and_then(At::text).unwrap_or(default::SERVICE_NAME).to_owned();
    let continue_from: Vec<IpNet> =
        typed.continue_from.items.iter().filter_map(|item| cx.parse(item, network)).collect();
    if !typed.continue_from.whole || continue_from.len() < typed.continue_from.items.len() {
        return None;
    }
    Some(Some(Arc::new(Traces {
        endpoint: endpoint?,
        ca_file: ca_file?,
        headers: headers?,
        sample: sample?,
        service_name,
        continue_from,
    })))
}

/// The whole URL, as the specification of OTLP has it for one kind of signal.
fn endpoint(text: &str) -> Result<Url, Mistake> {
    let url = polled::url(text)?;
    match url.path() {
        "" | "/" => Err(Mistake::new(format!("`{text}` is a server, and spans go to a path of it"))
            .hint(format!("write `{}/v1/traces`", url.origin().ascii_serialization()))),
        _ => Ok(url),
    }
}
