//! Microsoft Intune: `GET /v1.0/deviceManagement/managedDevices` of Graph, with a token of our own application.
use super::{Says, bounded, next_page};
use crate::lookup::api::Api;
use crate::lookup::directory::Failure;
use crate::lookup::inventory::Index;
use serde::Deserialize;
use torhaus_authz::{Device, Edr, Fact, Name, Os, OsFamily, OsVersion, Posture, Timestamp, serial};
use torhaus_config::Secret;
use url::Url;

const FIELDS: &str = "id,azureADDeviceId,serialNumber,operatingSystem,osVersion,complianceState,isEncrypted,\
                      lastSyncDateTime,partnerReportedThreatState";
/// Of a device that is not in the tenant's directory.
const NO_DEVICE: &str = "00000000-0000-0000-0000-000000000000";

pub(super) struct Login<'a> {
    pub url: &'a Url,
    pub client_id: &'a str,
    pub client_secret: &'a Secret,
}

#[derive(Deserialize)]
struct Token {
    access_token: String,
}

#[derive(Deserialize)]
struct Answer {
    value: Vec<Managed>,
    #[serde(default, rename = "@odata.nextLink")]
    next: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Managed {
    id: String,
    #[serde(default, rename = "azureADDeviceId")]
    entra_id: Option<String>,
    #[serde(default)]
    serial_number: Option<String>,
    #[serde(default)]
    operating_system: Option<String>,
    #[serde(default)]
    os_version: Option<String>,
    #[serde(default)]
    compliance_state: Option<String>,
    #[serde(default)]
    is_encrypted: Option<bool>,
    #[serde(default)]
    last_sync_date_time: Option<String>,
    #[serde(default)]
    partner_reported_threat_state: Option<String>,
}

pub(super) async fn devices(api: &Api, login: &Login<'_>, graph: &Url, says: &Says) -> Result<Index, Failure> {
    // RFC 6749 section 4.4.
    let scope = format!("{}/.default", graph.origin().ascii_serialization());
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", login.client_id),
        ("client_secret", login.client_secret.expose()),
        ("scope", &scope),
    ];
    let token: Token = api.post(login.url, &form).await?;
    let token = Secret::new(token.access_token);
    let mut at = graph.clone();
    at.set_path("/v1.0/deviceManagement/managedDevices");
    at.query_pairs_mut().append_pair("$select", FIELDS);
    let mut index = Index::default();
    for page in 1.. {
        bounded(index.count(), page)?;
        let answer: Answer = api.get(&at, &token).await?;
        for managed in &answer.value {
            add(&mut index, managed, says);
        }
        match &answer.next {
            Some(next) => at = next_page(next, &at)?,
            None => break,
        }
    }
    Ok(index)
}

fn add(index: &mut Index, managed: &Managed, says: &Says) {
    let own_serial = managed.serial_number.as_deref().and_then(serial);
    let ids = [Some(managed.id.as_str()), managed.entra_id.as_deref().filter(|id| *id != NO_DEVICE)];
    let ids: Vec<Name> = ids.into_iter().flatten().filter_map(serial).collect();
    let device = Device {
        serial: own_serial.clone(),
        managed: Fact::Known(true),
        ..Device::new(own_serial.unwrap_or_else(|| managed.id.as_str().into()), says.source.clone())
    };
    let at = managed.last_sync_date_time.as_deref().and_then(Timestamp::parse);
    let compliant = match managed.compliance_state.as_deref() {
        // Microsoft's own rules let a device in until its grace is over.
        Some("compliant" | "inGracePeriod") => Some(true),
        Some("noncompliant" | "conflict" | "error") => Some(false),
        _ => None,
    };
    let edr = match managed.partner_reported_threat_state.as_deref() {
        Some("activated" | "secured") => Some(Edr::Healthy),
        Some("deactivated") => Some(Edr::Absent),
        Some("lowSeverity" | "mediumSeverity" | "highSeverity" | "unresponsive" | "compromised" | "misconfigured") => {
            Some(Edr::Unhealthy)
        }
        _ => None,
    };
    let posture = Posture {
        disk_encrypted: says.report(managed.is_encrypted, at),
        compliant: says.report(compliant, at),
        edr: says.report(edr, at),
        os: says.report(os(managed), at),
        ..Posture::default()
    };
    index.add(device, Some(posture), &ids);
}

fn os(managed: &Managed) -> Option<Os> {
    let family = match managed.operating_system.as_deref()?.to_lowercase().as_str() {
        "windows" => OsFamily::Windows,
        "macos" => OsFamily::Macos,
        "ios" | "ipados" => OsFamily::Ios,
        "linux" => OsFamily::Linux,
        "chromeos" => OsFamily::Chromeos,
        android if android.starts_with("android") => OsFamily::Android,
        _ => return None,
    };
    // `22.04 (jammy)`.
    let version = managed.os_version.as_deref().and_then(|text| OsVersion::parse(text.split_whitespace().next()?));
    Some(Os { family, version })
}
