//! What a policy file says, before it is checked. `config` fills these from YAML; [`crate::Policy::build`] checks
//! names, duplicates and contradictions and reports ALL problems, each with the line it stands on.
use crate::condition::{NewPlace, PostureAsk};
use crate::continent::Continent;
use crate::facts::Country;
use crate::posture::SourceTrust;
use crate::time::Timestamp;
use crate::window::Window;
use ipnet::IpNet;
use std::time::Duration;

/// A value and the line of the policy file it stands on (from 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    pub value: T,
    pub line: u32,
}

/// One mistake: where, what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub line: u32,
    pub message: String,
    pub hint: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub struct PolicyDraft {
    /// Name of the file, for explanations: `policy.yaml`.
    pub file: String,
    /// SHA-256 of the text, lower-case hex: the policy version of every record.
    pub version: String,
    pub zones: Vec<ZoneDraft>,
    /// Lowest first.
    pub tiers: Vec<TierDraft>,
    pub rows: Vec<RowDraft>,
    pub exceptions: Vec<ExceptionDraft>,
}

/// `internal: { networks: [...], listeners: [...] }`. `external` is everything else and cannot be defined.
#[derive(Clone, Debug)]
pub struct ZoneDraft {
    pub name: Located<String>,
    pub networks: Vec<Located<IpNet>>,
    pub listeners: Vec<Located<String>>,
}

#[derive(Clone, Debug)]
pub struct TierDraft {
    pub name: Located<String>,
    /// How old a proof of this tier may be.
    pub max_age: Duration,
    /// For people: "password + hardware key".
    pub factors: String,
}

#[derive(Clone, Debug)]
pub struct RowDraft {
    pub resource: Located<String>,
    pub sensitivity: Option<String>,
    pub description: Option<String>,
    pub owner: Option<String>,
    pub review_by: Option<Timestamp>,
    /// `group:NAME`, `user:NAME`, `service:SPIFFE-ID`, `authenticated`, `anyone`; parsed by `Policy::build`.
    pub allow: Vec<Located<String>>,
    /// Zone name and its cell.
    pub zones: Vec<(Located<String>, Located<CellDraft>)>,
    pub require: Vec<GuardDraft>,
    pub deny: Vec<GuardDraft>,
    pub raise: Vec<RaiseDraft>,
    /// Overrides the tier's `max_age` for this row.
    pub max_age: Option<Duration>,
    /// `record: every`.
    pub record_every: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CellDraft {
    Deny,
    Anonymous,
    /// The name of a tier.
    Tier(String),
}

/// A named condition of `require` or `deny`.
#[derive(Clone, Debug)]
pub struct GuardDraft {
    pub name: Located<String>,
    pub condition: Condition,
}

#[derive(Clone, Debug)]
pub struct RaiseDraft {
    pub name: Located<String>,
    pub when: Condition,
    pub to: Located<String>,
    /// `on_unknown: ignore`; otherwise unknown raises.
    pub ignore_unknown: bool,
}

/// What a rule may ask. One enum, one `holds(&Facts)`.
#[derive(Clone, Debug)]
pub enum Condition {
    /// A verified client certificate of this trust domain.
    ClientCertificate(Located<String>),
    /// A verified client certificate of whatever trust domain; `Not` of it is none at all.
    AnyClientCertificate,
    /// In one of these groups. Depends on the person, like `Users` and `Services`.
    Groups(Vec<Located<String>>),
    Users(Vec<Located<String>>),
    /// One of these SPIFFE IDs.
    Services(Vec<Located<String>>),
    /// In one of these zones, `external` included.
    Zones(Vec<Located<String>>),
    CountryIn(Vec<Country>),
    CountryNotIn(Vec<Country>),
    /// Follows from the country.
    ContinentIn(Vec<Continent>),
    /// The address is in one of these. What a name means stands in the configuration.
    Networks(Vec<NetworkDraft>),
    /// A proof of `tier` or a higher one that is not older than this. Depends on the person.
    Proof {
        tier: Located<String>,
        newer_than: Duration,
    },
    Time(Window),
    Device(DeviceDraft),
    Posture(PostureDraft),
    /// The person never came from here before. Depends on the person.
    NewPlace(NewPlace),
    /// One of these methods, as HTTP writes them.
    Methods(Vec<Located<String>>),
    /// The path is one of these or below one of them: `/admin` is `/admin` and `/admin/x`, never `/administration`.
    Paths(Vec<Located<String>>),
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
}

/// One question about the device of the connection. `Own` depends on the person.
#[derive(Clone, Debug)]
pub enum DeviceDraft {
    /// It is in a list of devices, or in none.
    Known(bool),
    Managed(bool),
    /// It belongs to the person who asks.
    Own,
    Owners(Vec<Located<String>>),
    /// One of these.
    Tags(Vec<Located<String>>),
}

/// What must hold of the state of the device, all of it.
#[derive(Clone, Debug)]
pub struct PostureDraft {
    pub asks: Vec<PostureAsk>,
    /// An older report is as good as none.
    pub max_report_age: Duration,
    /// Who must have reported it, at least.
    pub source: SourceTrust,
}

/// A named network with what it stands for.
#[derive(Clone, Debug)]
pub struct NetworkDraft {
    pub name: Located<String>,
    pub networks: Vec<IpNet>,
}

/// Owner, reason and expiry are all required; an expired one is inert.
#[derive(Clone, Debug)]
pub struct ExceptionDraft {
    pub id: Located<String>,
    pub resource: Located<String>,
    pub allow: Vec<Located<String>>,
    pub zone: Located<String>,
    pub tier: Located<String>,
    pub owner: String,
    pub reason: String,
    pub expires: Timestamp,
}
