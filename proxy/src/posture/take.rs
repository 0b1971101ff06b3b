//! The gate's address for reports. Whoever sends one shows the certificate of its device, and speaks for that alone.
use super::report::{AGENT, DeviceReport};
use crate::gate::Gate;
use crate::identify;
use crate::login::attempts::{self, Attempts};
use crate::lookup::{self, records};
use crate::metrics::ReportResult;
use crate::refusal;
use crate::request::Request;
use crate::response::Response;
use crate::snapshot::Snapshot;
use http::header::{CONTENT_TYPE, ORIGIN, RETRY_AFTER};
use http::{HeaderValue, Method, StatusCode};
use torhaus_authz::{Fact, Name, Posture, Reason, SourceTrust, Timestamp, serial};

/// One address may send as many reports as this many devices: an office, where hundreds send one each hour.
const DEVICES_OF_AN_ADDRESS: u32 = 50;

/// Who sent reports lately.
#[derive(Default)]
pub struct ReportAttempts {
    /// Whoever it is that asks, before anything is looked at.
    of_addresses: Attempts,
    of_devices: Attempts<Name>,
}

/// # Errors
/// 1. devices may not report; 2. it is no POST of a program; 3. the certificate is none of a device of ours; 4. the
///    store did not take it.
pub async fn take(gate: &Gate, snapshot: &Snapshot, request: &Request<'_>, now: Timestamp) -> Result<Response, Reason> {
    if !snapshot.config.posture.agent {
        return Err(Reason::NoRoute);
    }
    if *request.method != Method::POST {
        return Err(Reason::MethodNotAllowed);
    }
    let answer = judge(gate, snapshot, request, now).await;
    gate.metrics.report(match &answer {
        Ok(response) if response.status == StatusCode::NO_CONTENT => ReportResult::Taken,
        Ok(response) if response.status == StatusCode::TOO_MANY_REQUESTS => ReportResult::RateLimited,
        Err(Reason::StoreUnavailable) => ReportResult::Unavailable,
        _ => ReportResult::Refused,
    });
    answer
}

async fn judge(gate: &Gate, snapshot: &Snapshot, request: &Request<'_>, now: Timestamp) -> Result<Response, Reason> {
    let of_device = snapshot.config.limits.reports_per_minute;
    let of_address = of_device.saturating_mul(DEVICES_OF_AN_ADDRESS);
    if !gate.reports.of_addresses.one_more(request.connection.client.ip(), of_address, now) {
        return Ok(too_many("this address sent too many reports within a minute"));
    }
    // A page elsewhere can make a browser send things with the device's certificate, but none of this type unasked.
    let json = request.header(CONTENT_TYPE).is_some_and(|kind| kind.split(';').next().is_some_and(is_json));
    if request.header(ORIGIN).is_some() || request.header("sec-fetch-site").is_some() || !json {
        return Err(Reason::CrossOrigin);
    }
    let caller = identify::identify(gate, snapshot, request, now).await?;
    let domains = &snapshot.config.posture.trust_domains;
    match &caller.certificate {
        Fact::Known(Some(shown)) if domains.contains(&shown.trust_domain) => {}
        Fact::Known(None) => return Err(Reason::CertificateMissing),
        _ => return Err(caller.certificate_refusal.map_or(Reason::CertificateInvalid, |refusal| refusal.reason())),
    }
    let facts = lookup::about(snapshot, request, &caller, now);
    let records = snapshot.lookups.records.as_ref().ok_or(Reason::InternalError)?;
    let Some(seen) = records::seen(&facts, caller.device_names(), domains) else {
        return Ok(refused(Reason::NotAllowed, "the certificate names no single device of the lists"));
    };
    if !gate.reports.of_devices.one_more(seen.id.clone(), of_device, now) {
        return Ok(too_many("this device sent too many reports within a minute"));
    }
    let report: DeviceReport = match serde_json::from_slice(request.body) {
        Ok(report) => report,
        Err(error) => return Ok(refused(Reason::BadRequest, &format!("the report is not of this form: {error}"))),
    };
    if let Some(of_another) = speaks_for_another(snapshot, &report, seen.serial.as_deref(), now) {
        tracing::warn!(device = &*seen.id, "a report was refused: {of_another}");
        return Ok(refused(Reason::NotAllowed, &of_another));
    }
    let posture = match report.posture(&AGENT.into(), SourceTrust::Agent, now) {
        Ok(posture) => posture,
        Err(why) => return Ok(refused(Reason::BadRequest, &why)),
    };
    // One that was kept back, by whoever could, takes nothing back.
    let before = records.get(&seen.id).and_then(|record| record.report.clone());
    let at = |posture: &Posture| posture.newest();
    if let Some(before) = &before
        && at(before) > at(&posture)
    {
        return Ok(refused(Reason::BadRequest, "a younger report of this device is known already"));
    }
    // What was sent twice is written once.
    if before.as_deref() != Some(&posture) {
        records.report(&seen, posture).await.map_err(|_| Reason::StoreUnavailable)?;
    }
    Ok(Response::empty(StatusCode::NO_CONTENT))
}

/// Why a report is not its sender's, if so: it names the serial number of another device.
fn speaks_for_another(snapshot: &Snapshot, report: &DeviceReport, own: Option<&str>, now: Timestamp) -> Option<String> {
    let said = serial(report.serial.as_deref()?)?;
    let lists = || snapshot.lookups.sources.devices.iter().any(|list| list.lists_serial(&said, now));
    let of_another = match own {
        Some(own) => *own != *said,
        None => lists(),
    };
    of_another.then(|| format!("the report is about the device with serial number `{said}`, and another one sent it"))
}

fn is_json(kind: &str) -> bool {
    kind.trim().eq_ignore_ascii_case("application/json")
}

fn refused(reason: Reason, detail: &str) -> Response {
    refusal::bare(reason, Some(detail))
}

fn too_many(detail: &str) -> Response {
    refused(Reason::RateLimited, detail).with(RETRY_AFTER, HeaderValue::from(attempts::WINDOW.as_secs()))
}
