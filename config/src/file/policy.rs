//! `policy.yaml`: zones, tiers, the table, exceptions, tests; and the project files that it includes.
use crate::at::{Anything, At, Keyed, List};
use crate::findings::Findings;
use crate::units::Mistake;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Policy {
    pub version: At<u64>,
    pub include: List<String>,
    pub longest_exception: Option<At<String>>,
    pub zones: Keyed<Zone>,
    pub tiers: List<Tier>,
    pub table: List<Row>,
    pub exceptions: List<Exception>,
    pub tests: List<Test>,
    /// What the project files say, until it is absorbed.
    #[serde(skip)]
    pub projects: Vec<Project>,
}

/// A project file: rows, their exceptions, their tests. Zones and tiers are the base's words.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Project {
    pub version: At<u64>,
    pub zones: Option<At<Anything>>,
    pub tiers: Option<At<Anything>>,
    pub include: Option<At<Anything>>,
    pub longest_exception: Option<At<Anything>>,
    pub table: List<Row>,
    pub exceptions: List<Exception>,
    pub tests: List<Test>,
}

impl Policy {
    /// Puts the rows, exceptions and tests of the projects behind those of the base. Whose they are, their lines tell.
    pub fn absorb_projects(&mut self, findings: &mut Findings) {
        for project in std::mem::take(&mut self.projects) {
            if let Some(number) = project.version.get().filter(|number| **number != 1) {
                let mistake = Mistake::new(format!("version {number} of the file format is not known"));
                findings.error(&project.version.place, mistake.hint("this torhaus reads `version: 1`"));
            }
            let of_base = [
                ("zones", &project.zones),
                ("tiers", &project.tiers),
                ("include", &project.include),
                ("longest_exception", &project.longest_exception),
            ];
            for (key, at) in of_base {
                if let Some(at) = at {
                    let mistake = Mistake::new(format!("`{key}` belongs to the base policy, not to a project file"));
                    findings.error(&at.place, mistake.hint("remove it, or ask who owns the base policy"));
                }
            }
            self.table.append(project.table);
            self.exceptions.append(project.exceptions);
            self.tests.append(project.tests);
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Zone {
    pub networks: List<String>,
    pub listeners: List<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tier {
    pub name: At<String>,
    pub max_age: At<String>,
    pub factors: Option<At<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    pub resource: At<String>,
    pub sensitivity: Option<At<String>>,
    pub description: Option<At<String>>,
    pub owner: Option<At<String>>,
    pub review_by: Option<At<String>>,
    pub allow: List<String>,
    pub zones: Keyed<String>,
    pub require: List<Condition>,
    pub deny: List<Condition>,
    pub raise: List<Raise>,
    pub max_age: Option<At<String>>,
    pub record: Option<At<Record>>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Record {
    /// Once per fact fingerprint within 15 minutes.
    Changes,
    Every,
}

/// What a rule asks. With a name in `require` and `deny`: `{ name: company-device, client_certificate: devices }`.
/// Several keys in one: all of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Condition {
    pub name: Option<At<String>>,
    pub client_certificate: Option<At<String>>,
    pub country_in: Option<At<Vec<At<String>>>>,
    pub country_not_in: Option<At<Vec<At<String>>>>,
    pub continent_in: Option<At<Vec<At<String>>>>,
    pub continent_not_in: Option<At<Vec<At<String>>>>,
    pub networks: Option<At<Vec<At<String>>>>,
    pub groups: Option<At<Vec<At<String>>>>,
    pub users: Option<At<Vec<At<String>>>>,
    pub services: Option<At<Vec<At<String>>>>,
    pub zones: Option<At<Vec<At<String>>>>,
    pub methods: Option<At<Vec<At<String>>>>,
    pub paths: Option<At<Vec<At<String>>>>,
    pub proof: Option<At<Proof>>,
    pub time: Option<At<Time>>,
    pub device: Option<At<Device>>,
    pub posture: Option<At<Posture>>,
    pub new_place: Option<At<String>>,
    pub all: Option<At<Vec<At<Condition>>>>,
    pub any: Option<At<Vec<At<Condition>>>>,
    pub not: Option<Box<At<Condition>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Proof {
    pub tier: At<String>,
    pub newer_than: At<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Device {
    pub known: Option<At<bool>>,
    pub managed: Option<At<bool>>,
    pub owner: Option<At<Owner>>,
    pub tags: Option<At<Vec<At<String>>>>,
}

/// `self`, a user, or several. The decoder picks by what was typed.
#[derive(Deserialize)]
pub(crate) enum Owner {
    #[serde(rename = "$text")]
    One(At<String>),
    #[serde(rename = "$list")]
    OneOf(List<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Posture {
    pub disk_encrypted: Option<At<bool>>,
    pub firewall: Option<At<bool>>,
    pub secure_boot: Option<At<bool>>,
    pub compliant: Option<At<bool>>,
    pub edr: Option<At<Vec<At<String>>>>,
    pub patched_within: Option<At<String>>,
    pub os: Option<At<Vec<At<String>>>>,
    pub min_os_version: Option<At<String>>,
    pub max_report_age: Option<At<String>>,
    pub source_trust: Option<At<String>>,
}

/// `{ days: [mon, fri], from: "08:00", to: "18:00", zone: Europe/Berlin }`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Time {
    pub days: Option<At<Vec<At<String>>>>,
    pub from: Option<At<String>>,
    pub to: Option<At<String>>,
    pub zone: Option<At<String>>,
    pub utc_offset: Option<At<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raise {
    pub name: At<String>,
    pub when: At<Condition>,
    pub to: At<String>,
    pub on_unknown: Option<At<OnUnknown>>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnUnknown {
    Raise,
    Ignore,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exception {
    pub id: At<String>,
    pub resource: At<String>,
    pub allow: List<String>,
    pub zone: At<String>,
    pub tier: At<String>,
    pub owner: At<String>,
    pub reason: At<String>,
    pub expires: At<String>,
}

/// A promise about the table. A fact that is not given is unknown.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Test {
    pub name: At<String>,
    pub user: Option<At<String>>,
    pub service: Option<At<String>>,
    pub groups: Option<At<Vec<At<String>>>>,
    pub ip: Option<At<String>>,
    pub listener: Option<At<String>>,
    pub country: Option<At<String>>,
    pub proven: Option<At<Proven>>,
    pub client_certificate: Option<At<String>>,
    pub device: Option<At<TestDevice>>,
    pub posture: Option<At<TestPosture>>,
    pub new_place: Option<At<String>>,
    pub resource: At<String>,
    pub method: Option<At<String>>,
    pub path: Option<At<String>>,
    pub now: Option<At<String>>,
    pub expect: At<Expect>,
    pub reason: Option<At<String>>,
    pub tier: Option<At<String>>,
}

/// `none`, or what is known of it. The decoder picks by what was typed.
#[derive(Deserialize)]
pub(crate) enum TestDevice {
    #[serde(rename = "$text")]
    Word(At<String>),
    #[serde(rename = "$map")]
    Is(KnownDevice),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KnownDevice {
    pub owner: Option<At<String>>,
    pub managed: Option<At<bool>>,
    pub tags: List<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestPosture {
    pub disk_encrypted: Option<At<bool>>,
    pub firewall: Option<At<bool>>,
    pub secure_boot: Option<At<bool>>,
    pub compliant: Option<At<bool>>,
    pub edr: Option<At<String>>,
    pub patched: Option<At<String>>,
    pub os: Option<At<String>>,
    pub os_version: Option<At<String>>,
    pub reported: Option<At<String>>,
    pub source_trust: Option<At<String>>,
}

/// `mfa`: just now. `{ mfa: 2h, hardware: 50m }`: how long ago. The decoder picks by what was typed.
#[derive(Deserialize)]
pub(crate) enum Proven {
    #[serde(rename = "$text")]
    JustNow(At<String>),
    #[serde(rename = "$map")]
    Ago(Keyed<String>),
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Expect {
    Allow,
    Login,
    StepUp,
    Deny,
}
