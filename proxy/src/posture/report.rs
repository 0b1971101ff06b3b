//! The format of a report (docs/posture-report.md): the names of the list of devices, in JSON. What was not read is left out.
use serde::{Deserialize, Serialize};
use std::time::Duration;
use torhaus_authz::{Edr, Name, Os, OsFamily, OsVersion, Posture, Report, SourceTrust, Timestamp};

/// Where reports are sent, on every host that takes certificates of devices.
pub const PATH: &str = "/.torhaus/posture";

/// How the facts of a device's own report are attributed.
pub const AGENT: &str = "agent";
/// A clock that is further ahead than this is wrong, and its reports would never grow old.
const MOST_AHEAD: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceReport {
    pub version: u64,
    /// RFC 3339.
    pub observed_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_encrypted: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firewall: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edr: Option<Edr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch_age_days: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<OsReport>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OsReport {
    pub family: OsFamily,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl DeviceReport {
    /// One that says nothing yet.
    pub fn at(now: Timestamp) -> Self {
        Self {
            version: 1,
            observed_at: now.to_string(),
            serial: None,
            disk_encrypted: None,
            firewall: None,
            secure_boot: None,
            edr: None,
            patch_age_days: None,
            os: None,
        }
    }

    /// What it says, as the gate goes by it; `source` is who says so.
    ///
    /// # Errors
    /// Its form, time or version is not known; for the log of the device.
    pub fn posture(&self, source: &Name, trust: SourceTrust, now: Timestamp) -> Result<Posture, String> {
        if self.version != 1 {
            return Err(format!("version {} of reports is not known here: write `\"version\": 1`", self.version));
        }
        let at = Timestamp::parse(&self.observed_at)
            .ok_or_else(|| format!("`{}` is not a time: write `2026-11-28T08:00:00Z`", self.observed_at))?;
        if at > now.plus(MOST_AHEAD) {
            return Err(format!("`observed_at` is {at}, and it is {now}: the device's clock is wrong"));
        }
        let version = |text: &String| {
            OsVersion::parse(text).ok_or_else(|| format!("`{text}` is not a version: write numbers and dots"))
        };
        let os = match &self.os {
            None => None,
            Some(os) => Some(Os { family: os.family, version: os.version.as_ref().map(version).transpose()? }),
        };
        fn report<T>(value: Option<T>, of: &Report<()>) -> Option<Report<T>> {
            Some(Report { value: value?, source: of.source.clone(), trust: of.trust, at: of.at })
        }
        let of = Report { value: (), source: source.clone(), trust, at };
        Ok(Posture {
            disk_encrypted: report(self.disk_encrypted, &of),
            firewall: report(self.firewall, &of),
            secure_boot: report(self.secure_boot, &of),
            // A device is no judge of itself.
            compliant: None,
            edr: report(self.edr, &of),
            patched: report(self.patch_age_days.map(|days| at.minus(DAY.saturating_mul(days))), &of),
            os: report(os, &of),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_795_900_000);

    #[test]
    fn a_report_says_what_was_read_and_nothing_of_the_rest() {
        let text = r#"{ "version": 1, "observed_at": "2026-11-28T08:00:00Z", "firewall": false, "secure_boot": null,
            "compliant": true, "patch_age_days": 3, "os": { "family": "linux", "version": "12" }, "hostname": "x" }"#;
        let report: DeviceReport = serde_json::from_str(text).unwrap();
        let now = Timestamp::parse("2026-11-28T08:00:30Z").unwrap();
        let posture = report.posture(&AGENT.into(), SourceTrust::Agent, now).unwrap();
        let firewall = posture.firewall.unwrap();
        assert_eq!((firewall.value, &*firewall.source, firewall.trust), (false, "agent", SourceTrust::Agent));
        assert_eq!(firewall.at, Timestamp::parse("2026-11-28T08:00:00Z").unwrap());
        assert_eq!(posture.patched.map(|r| r.value), Timestamp::parse("2026-11-25T08:00:00Z"));
        assert_eq!((posture.disk_encrypted, posture.secure_boot, posture.compliant), (None, None, None));
    }

    #[test]
    fn a_report_that_cannot_be_believed_says_why() {
        let posture = |report: &DeviceReport| report.posture(&AGENT.into(), SourceTrust::Agent, NOW);
        let says = |change: fn(&mut DeviceReport)| {
            let mut report = DeviceReport::at(NOW);
            change(&mut report);
            posture(&report).unwrap_err()
        };
        assert!(posture(&DeviceReport::at(NOW)).is_ok());
        assert!(says(|report| report.version = 2).contains("version 2"));
        assert!(says(|report| report.observed_at = "yesterday".into()).contains("not a time"));
        assert!(says(|report| report.observed_at = NOW.plus(DAY).to_string()).contains("clock is wrong"));
        let os = |report: &mut DeviceReport| {
            report.os = Some(OsReport { family: OsFamily::Windows, version: Some("22H2".into()) });
        };
        assert!(says(os).contains("not a version"));
    }
}
