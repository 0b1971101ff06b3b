//! The state of a device, in one vocabulary for all sources: each value with who reported it, and when.
//!
//! A value that nobody reported is not known; it is never taken for the good one.
use crate::facts::{Fact, Why};
use crate::identity::Name;
use crate::time::{Timestamp, rfc3339};
use std::cmp::Ordering;
use std::hash::Hash;

/// What was reported, by whom, and when.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Report<T> {
    pub value: T,
    pub source: Name,
    pub trust: SourceTrust,
    /// When the device was in this state, not when we heard of it.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// How far a source can be believed, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceTrust {
    /// The device says so itself, and whoever owns it can make it say so.
    #[serde(rename = "self")]
    SelfReported,
    /// An agent on the device.
    Agent,
    /// The company's device management.
    Mdm,
    /// Proven by hardware.
    Attested,
}

/// Protection against malware (endpoint detection and response), worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edr {
    Absent,
    Unhealthy,
    Healthy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OsFamily {
    Windows,
    Macos,
    Linux,
    Ios,
    Android,
    Chromeos,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Os {
    pub family: OsFamily,
    /// As the system says it; none where the source does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<OsVersion>,
}

/// Numbers and dots: `10.0.22631.4460`. Compared number by number; what is missing at the end is zero.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct OsVersion(Box<[u32]>);

/// What sources reported of one device. A field that nobody reported is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Posture {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_encrypted: Option<Report<bool>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firewall: Option<Report<bool>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<Report<bool>>,
    /// The verdict of the device management.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compliant: Option<Report<bool>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edr: Option<Report<Edr>>,
    /// When security updates were last installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patched: Option<Report<Timestamp>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<Report<Os>>,
}

impl Posture {
    /// What was reported, without when: another report of the same state is no news.
    pub(crate) fn values(&self) -> impl Hash + use<'_> {
        (
            self.disk_encrypted.as_ref().map(|r| r.value),
            self.firewall.as_ref().map(|r| r.value),
            self.secure_boot.as_ref().map(|r| r.value),
            self.compliant.as_ref().map(|r| r.value),
            self.edr.as_ref().map(|r| r.value),
            self.patched.as_ref().map(|r| r.value),
            self.os.as_ref().map(|r| &r.value),
        )
    }

    /// When the youngest of its values was reported.
    pub fn newest(&self) -> Option<Timestamp> {
        let Self { disk_encrypted, firewall, secure_boot, compliant, edr, patched, os } = self;
        let yes_no = [disk_encrypted, firewall, secure_boot, compliant].into_iter().flatten().map(|report| report.at);
        let edr = edr.iter().map(|report| report.at);
        let patched = patched.iter().map(|report| report.at);
        yes_no.chain(edr).chain(patched).chain(os.iter().map(|report| report.at)).max()
    }

    /// What two sources say of one device: of two values that are young enough the worse one, else the younger one.
    pub fn worst_of(self, other: Self, young: impl Fn(Timestamp) -> bool) -> Self {
        let young = &young;
        Self {
            disk_encrypted: worse(self.disk_encrypted, other.disk_encrypted, young, bool::cmp),
            firewall: worse(self.firewall, other.firewall, young, bool::cmp),
            secure_boot: worse(self.secure_boot, other.secure_boot, young, bool::cmp),
            compliant: worse(self.compliant, other.compliant, young, bool::cmp),
            edr: worse(self.edr, other.edr, young, Edr::cmp),
            patched: worse(self.patched, other.patched, young, Timestamp::cmp),
            os: worse(self.os, other.os, young, |one, other| one.version.cmp(&other.version)),
        }
    }
}

/// By `order` the worse value is the lesser one.
fn worse<T>(
    one: Option<Report<T>>,
    other: Option<Report<T>>,
    young: &impl Fn(Timestamp) -> bool,
    order: impl Fn(&T, &T) -> Ordering,
) -> Option<Report<T>> {
    match (one, other) {
        (Some(one), Some(other)) => {
            let first = match (young(one.at), young(other.at)) {
                (true, true) => order(&one.value, &other.value).is_le(),
                _ => one.at >= other.at,
            };
            Some(if first { one } else { other })
        }
        (one, other) => one.or(other),
    }
}

impl<T> Report<T> {
    /// The value, if it is young enough and its source counts. A report from the future is of a clock that is wrong.
    pub(crate) fn value(&self, asks: ReportAge, now: Timestamp) -> Fact<&T> {
        if self.trust < asks.source {
            return Fact::Unknown(Why::Untrusted);
        }
        let ahead = self.at > now.plus(crate::tier::MAX_CLOCK_AHEAD);
        if ahead || now.since(self.at) > asks.max { Fact::Unknown(Why::Stale) } else { Fact::Known(&self.value) }
    }
}

/// How old a report may be, and how far its source must be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ReportAge {
    pub(crate) max: std::time::Duration,
    pub(crate) source: SourceTrust,
}

impl SourceTrust {
    pub const ALL: [Self; 4] = [Self::SelfReported, Self::Agent, Self::Mdm, Self::Attested];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::SelfReported => "self",
            Self::Agent => "agent",
            Self::Mdm => "mdm",
            Self::Attested => "attested",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|own| own.as_str() == text)
    }
}

impl Edr {
    pub const ALL: [Self; 3] = [Self::Healthy, Self::Unhealthy, Self::Absent];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Unhealthy => "unhealthy",
            Self::Healthy => "healthy",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|own| own.as_str() == text)
    }
}

impl OsFamily {
    pub const ALL: [Self; 6] = [Self::Windows, Self::Macos, Self::Linux, Self::Ios, Self::Android, Self::Chromeos];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Windows => "windows",
            Self::Macos => "macos",
            Self::Linux => "linux",
            Self::Ios => "ios",
            Self::Android => "android",
            Self::Chromeos => "chromeos",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|own| own.as_str() == text)
    }
}

impl OsVersion {
    /// More parts than this no system has.
    const MAX_PARTS: usize = 8;

    pub fn parse(text: &str) -> Option<Self> {
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok()).flatten();
        let parts: Option<Vec<u32>> = text.split('.').map(digits).collect();
        parts.filter(|parts| parts.len() <= Self::MAX_PARTS).map(|parts| Self(parts.into()))
    }
}

impl Ord for OsVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        let padded = |parts: &'_ [u32], n: usize| parts.get(n).copied().unwrap_or(0);
        let longest = self.0.len().max(other.0.len());
        let orders = (0..longest).map(|n| padded(&self.0, n).cmp(&padded(&other.0, n)));
        orders.fold(Ordering::Equal, Ordering::then)
    }
}

impl PartialOrd for OsVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl std::fmt::Display for OsVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts: Vec<String> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&parts.join("."))
    }
}

impl From<OsVersion> for String {
    fn from(version: OsVersion) -> Self {
        version.to_string()
    }
}

impl TryFrom<String> for OsVersion {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("`{text}` is not a version"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::from_seconds(1_000_000);

    fn report<T>(value: T, age: u64) -> Option<Report<T>> {
        let at = NOW.minus(Duration::from_secs(age));
        Some(Report { value, source: "test".into(), trust: SourceTrust::Mdm, at })
    }

    #[test]
    fn versions_are_compared_by_number() {
        let version = |text: &str| OsVersion::parse(text).unwrap();
        assert!(version("10.0.22631") > version("10.0.9999") && version("14") < version("14.0.1"));
        assert_eq!(version("14.0").cmp(&version("14")), Ordering::Equal);
        for wrong in ["", "14.", ".1", "1.2b", "-1", "1 2", "99999999999", "1.2.3.4.5.6.7.8.9"] {
            assert_eq!(OsVersion::parse(wrong), None, "{wrong}");
        }
        let written = serde_json::to_string(&version("10.0.22631")).unwrap();
        assert_eq!((written.as_str(), version("10.0.22631").to_string().as_str()), (r#""10.0.22631""#, "10.0.22631"));
        assert_eq!(serde_json::from_str::<OsVersion>(&written).unwrap(), version("10.0.22631"));
        assert!(serde_json::from_str::<OsVersion>(r#""ten""#).is_err());
    }

    #[test]
    fn words_of_the_policy_and_of_the_record_are_the_same() {
        fn each<T: Copy + PartialEq + std::fmt::Debug + serde::Serialize>(
            all: &[T],
            word: impl Fn(T) -> &'static str,
            parse: impl Fn(&str) -> Option<T>,
        ) {
            for one in all {
                assert_eq!(serde_json::to_value(one).unwrap(), word(*one));
                assert_eq!(parse(word(*one)), Some(*one));
            }
            assert_eq!(parse("xyzzy"), None);
        }
        each(&SourceTrust::ALL, SourceTrust::as_str, SourceTrust::parse);
        each(&Edr::ALL, Edr::as_str, Edr::parse);
        each(&OsFamily::ALL, OsFamily::as_str, OsFamily::parse);
    }

    #[test]
    fn the_newest_value_is_the_youngest_report_of_any() {
        assert_eq!(Posture::default().newest(), None);
        let posture = Posture { firewall: report(true, 9), edr: report(Edr::Healthy, 5), ..Posture::default() };
        assert_eq!(posture.newest(), Some(NOW.minus(Duration::from_secs(5))));
        let os = Os { family: OsFamily::Linux, version: None };
        let posture = Posture { os: report(os, 3), patched: report(NOW, 4), ..posture };
        assert_eq!(posture.newest(), Some(NOW.minus(Duration::from_secs(3))));
    }

    #[test]
    fn of_two_young_reports_the_worse_one_counts_and_an_old_one_does_not_beat_a_young_one() {
        let young = |at: Timestamp| NOW.since(at) <= Duration::from_secs(60);
        let disk = |value, age| Posture { disk_encrypted: report(value, age), ..Posture::default() };
        let both = |one: Posture, other: Posture| {
            let turned = other.clone().worst_of(one.clone(), young).disk_encrypted.map(|r| r.value);
            let value = one.worst_of(other, young).disk_encrypted.map(|r| r.value);
            assert_eq!(value, turned);
            value
        };
        assert_eq!(both(disk(true, 1), disk(false, 30)), Some(false));
        assert_eq!(both(disk(true, 1), disk(false, 90)), Some(true));
        assert_eq!(both(disk(true, 90), disk(false, 100)), Some(true));
        assert_eq!(both(disk(true, 90), Posture::default()), Some(true));
        let edr = |value| Posture { edr: report(value, 1), ..Posture::default() };
        let worst = edr(Edr::Healthy).worst_of(edr(Edr::Unhealthy), young).edr.map(|r| r.value);
        assert_eq!(worst, Some(Edr::Unhealthy));
        let patched = |age| Posture { patched: report(NOW.minus(Duration::from_secs(age)), 1), ..Posture::default() };
        let worst = patched(5).worst_of(patched(7), young).patched.map(|r| r.value);
        assert_eq!(worst, Some(NOW.minus(Duration::from_secs(7))));
    }

    #[test]
    fn a_report_counts_while_it_is_young_from_now_and_from_who_is_believed() {
        let asks = |source| ReportAge { max: Duration::from_secs(60), source };
        let at = |age| report(true, age).unwrap();
        assert_eq!(at(60).value(asks(SourceTrust::Mdm), NOW), Fact::Known(&true));
        assert_eq!(at(61).value(asks(SourceTrust::Mdm), NOW), Fact::Unknown(Why::Stale));
        assert_eq!(at(1).value(asks(SourceTrust::Attested), NOW), Fact::Unknown(Why::Untrusted));
        let early = |ahead| Report { at: NOW.plus(Duration::from_secs(ahead)), ..at(0) };
        assert_eq!(early(60).value(asks(SourceTrust::Mdm), NOW), Fact::Known(&true));
        assert_eq!(early(61).value(asks(SourceTrust::Mdm), NOW), Fact::Unknown(Why::Stale));
    }
}
