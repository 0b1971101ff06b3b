//! Fleet: `GET /api/v1/fleet/hosts`, page by page.
use super::{Says, bounded};
use crate::lookup::api::Api;
use crate::lookup::directory::Failure;
use crate::lookup::inventory::Index;
use serde::Deserialize;
use torhaus_authz::{Device, Fact, Name, Os, OsFamily, OsVersion, Posture, Timestamp, Why, serial};
use torhaus_config::Secret;
use url::Url;

const PER_PAGE: usize = 100;

#[derive(Deserialize)]
struct Answer {
    hosts: Vec<Host>,
}

#[derive(Deserialize)]
struct Host {
    id: u64,
    #[serde(default)]
    uuid: Option<String>,
    #[serde(default)]
    hardware_serial: Option<String>,
    #[serde(default)]
    platform: Option<String>,
    #[serde(default)]
    os_version: Option<String>,
    #[serde(default)]
    disk_encryption_enabled: Option<bool>,
    /// When the host told what it is; `seen_time` says only that it was there.
    #[serde(default)]
    detail_updated_at: Option<String>,
    #[serde(default)]
    policy_updated_at: Option<String>,
    #[serde(default)]
    mdm: Option<Mdm>,
    #[serde(default)]
    policies: Option<Vec<Policy>>,
    #[serde(default)]
    issues: Option<Issues>,
}

#[derive(Deserialize)]
struct Mdm {
    #[serde(default)]
    enrollment_status: Option<String>,
}

#[derive(Deserialize)]
struct Policy {
    /// `pass`, `fail`, or empty for one that did not run yet.
    #[serde(default)]
    response: String,
}

#[derive(Deserialize)]
struct Issues {
    #[serde(default)]
    failing_policies_count: u64,
}

pub(super) async fn devices(api: &Api, url: &Url, token: &Secret, says: &Says) -> Result<Index, Failure> {
    let mut index = Index::default();
    for page in 0.. {
        bounded(index.count(), page)?;
        let mut at = url.clone();
        at.set_path("/api/v1/fleet/hosts");
        at.query_pairs_mut()
            .append_pair("page", &page.to_string())
            .append_pair("per_page", &PER_PAGE.to_string())
            .append_pair("order_key", "id")
            .append_pair("populate_policies", "true");
        let answer: Answer = api.get(&at, token).await?;
        let last = answer.hosts.len() < PER_PAGE;
        for host in answer.hosts {
            add(&mut index, &host, says);
        }
        if last {
            break;
        }
    }
    Ok(index)
}

fn add(index: &mut Index, host: &Host, says: &Says) {
    let own_serial = host.hardware_serial.as_deref().and_then(serial);
    let uuid = host.uuid.as_deref().and_then(serial);
    let id: Name = own_serial.clone().or_else(|| uuid.clone()).unwrap_or_else(|| format!("fleet-{}", host.id).into());
    let enrolled = host.mdm.as_ref().and_then(|mdm| mdm.enrollment_status.as_deref());
    let device = Device {
        serial: own_serial,
        managed: enrolled.map_or(Fact::Unknown(Why::NotFound), |status| Fact::Known(status.starts_with("On"))),
        ..Device::new(id, says.source.clone())
    };
    let time = |text: &Option<String>| text.as_deref().and_then(Timestamp::parse);
    let (told, judged) = (time(&host.detail_updated_at), time(&host.policy_updated_at));
    let posture = Posture {
        disk_encrypted: says.report(host.disk_encryption_enabled, told),
        compliant: says.report(compliant(host), judged),
        os: says.report(os(host), told),
        ..Posture::default()
    };
    index.add(device, Some(posture), uuid.as_slice());
}

/// One failing policy is enough; one that did not run yet leaves the rest undecided.
fn compliant(host: &Host) -> Option<bool> {
    if host.issues.as_ref().is_some_and(|issues| issues.failing_policies_count > 0) {
        return Some(false);
    }
    let policies = host.policies.as_ref().filter(|policies| !policies.is_empty())?;
    if policies.iter().any(|policy| policy.response == "fail") {
        return Some(false);
    }
    policies.iter().all(|policy| policy.response == "pass").then_some(true)
}

fn os(host: &Host) -> Option<Os> {
    let family = match host.platform.as_deref()? {
        "darwin" => OsFamily::Macos,
        "windows" => OsFamily::Windows,
        "ios" | "ipados" => OsFamily::Ios,
        "android" => OsFamily::Android,
        "chrome" => OsFamily::Chromeos,
        // What osquery calls distributions of Linux.
        "linux"
        | "ubuntu"
        | "debian"
        | "rhel"
        | "centos"
        | "fedora"
        | "amzn"
        | "arch"
        | "sles"
        | "opensuse"
        | "opensuse-leap"
        | "opensuse-tumbleweed"
        | "kali"
        | "manjaro"
        | "gentoo"
        | "pop"
        | "linuxmint"
        | "nixos"
        | "tuxedo"
        | "neon"
        | "zorin" => OsFamily::Linux,
        _ => return None,
    };
    // `Microsoft Windows 11 Pro 23H2 10.0.22631.2861`, `macOS 14.2.1`, `Ubuntu 22.04.3 LTS`.
    let words = host.os_version.as_deref().unwrap_or_default().split_whitespace().rev();
    let version = words.filter(|word| word.contains('.')).find_map(OsVersion::parse);
    Some(Os { family, version })
}
