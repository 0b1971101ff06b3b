//! Everything a rule may look at, `now` included; each fact is known, or unknown for a reason.
use crate::device::Device;
use crate::groups::Groups;
use crate::identity::{Identity, Name};
use crate::posture::Posture;
use crate::time::Timestamp;
use std::net::IpAddr;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fact<T> {
    Known(T),
    Unknown(Why),
}

impl<T> Fact<T> {
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }

    pub fn as_ref(&self) -> Fact<&T> {
        match self {
            Self::Known(value) => Fact::Known(value),
            Self::Unknown(why) => Fact::Unknown(*why),
        }
    }

    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Fact<U> {
        match self {
            Self::Known(value) => Fact::Known(f(value)),
            Self::Unknown(why) => Fact::Unknown(why),
        }
    }
}

/// Why a fact is not known. An unknown never opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Nobody said (policy tests, explain) or the token had no such claim.
    NotGiven,
    /// No source for this fact is configured.
    NotConfigured,
    /// The source could not be asked.
    SourceDown,
    /// The last answer is older than it may be.
    Stale,
    /// The source answered and does not know (an address in no country).
    NotFound,
    /// Several answers fit, and they are not one (two devices of one serial number).
    Ambiguous,
    /// Who said it is not believed in this (a device about itself).
    Untrusted,
    /// Its source said something, and not in a form that can be read.
    Malformed,
}

impl Why {
    /// Completes "unknown: ...".
    pub fn describe(self) -> &'static str {
        match self {
            Self::NotGiven => "nobody said",
            Self::NotConfigured => "no source for it is configured",
            Self::SourceDown => "its source could not be asked",
            Self::Stale => "the last answer is too old",
            Self::NotFound => "its source does not know",
            Self::Ambiguous => "its sources know several, and cannot tell which",
            Self::Untrusted => "who reported it does not count here",
            Self::Malformed => "what its source said cannot be read",
        }
    }
}

/// Facts of one request. What a request carries itself is borrowed; what sessions and lookups hold is shared.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    pub now: Timestamp,
    pub resource: &'a str,
    /// Empty: not known.
    pub method: &'a str,
    /// The canonical path, as the application will see it. Empty: not known.
    pub path: &'a str,
    /// Name of the listener that the connection came in by.
    pub listener: &'a str,
    pub address: Fact<IpAddr>,
    pub identity: Identity,
    pub groups: Fact<Arc<Groups>>,
    /// What was proven, at most one entry per (tier, provider), the newest.
    pub proofs: Arc<[Proof]>,
    /// The verified client certificate of the connection; `Known(None)` when none was presented.
    pub certificate: Fact<Option<Arc<Certificate>>>,
    pub country: Fact<Country>,
    /// The device that the connection is bound to; `Known(None)` when it is in no list.
    pub device: Fact<Option<Arc<Device>>>,
    /// The state of that device.
    pub posture: Fact<Arc<Posture>>,
    pub seen: Seen,
}

/// Whether the person came from here before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Seen {
    /// From this country.
    pub country: Fact<bool>,
    /// From this network: the /24 of an IPv4 address, the /48 of an IPv6 address.
    pub network: Fact<bool>,
}

impl Seen {
    pub fn unknown(why: Why) -> Self {
        Self { country: Fact::Unknown(why), network: Fact::Unknown(why) }
    }
}

impl<'a> Facts<'a> {
    /// Everything unknown, nobody identified: the start for the gate, `explain` and tests, which then set the fields
    /// they know. Code that begins here keeps compiling when facts are added.
    pub fn unknown(now: Timestamp, resource: &'a str) -> Self {
        Self {
            now,
            resource,
            method: "",
            path: "",
            listener: "",
            address: Fact::Unknown(Why::NotGiven),
            identity: Identity::Anonymous,
            groups: Fact::Unknown(Why::NotGiven),
            proofs: Arc::default(),
            certificate: Fact::Unknown(Why::NotGiven),
            country: Fact::Unknown(Why::NotGiven),
            device: Fact::Unknown(Why::NotGiven),
            posture: Fact::Unknown(Why::NotGiven),
            seen: Seen::unknown(Why::NotGiven),
        }
    }

    /// These facts without what the request alone knew (resource, method, path, listener), to be kept longer than it.
    pub fn without_request(&self) -> Facts<'static> {
        // Spelled out: whoever adds a fact has to say here whether it stays.
        let Self {
            now,
            resource: _,
            method: _,
            path: _,
            listener: _,
            address,
            identity,
            groups,
            proofs,
            certificate,
            country,
            device,
            posture,
            seen,
        } = self.clone();
        Facts {
            now,
            resource: "",
            method: "",
            path: "",
            listener: "",
            address,
            identity,
            groups,
            proofs,
            certificate,
            country,
            device,
            posture,
            seen,
        }
    }
}

/// A tier, when it was proven, and by which provider (or `trust domain`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    pub tier: Name,
    pub proven_at: Timestamp,
    pub provider: Name,
}

/// A verified client certificate, as rules see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The configured trust domain whose authority signed it.
    pub trust_domain: Name,
    /// SHA-256 of the DER, lower-case hex.
    pub sha256: Name,
    /// Serial number, lower-case hex.
    pub serial: Name,
    pub not_after: Timestamp,
    /// The user it names, if it names one; must be the session's user.
    pub user: Option<Name>,
}

/// ISO 3166-1 alpha-2, upper case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Country([u8; 2]);

impl Country {
    pub fn parse(text: &str) -> Option<Self> {
        match text.as_bytes() {
            [a, b] if a.is_ascii_uppercase() && b.is_ascii_uppercase() => Some(Self([*a, *b])),
            _ => None,
        }
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("??")
    }
}

impl std::fmt::Display for Country {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for Country {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for Country {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not a country")))
    }
}

/// In records: the value itself, or `{"unknown": "source_down"}`.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
enum FactJson<T> {
    Unknown { unknown: Why },
    Known(T),
}

impl<T: serde::Serialize> serde::Serialize for Fact<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Known(value) => FactJson::Known(value).serialize(serializer),
            Self::Unknown(why) => FactJson::<&T>::Unknown { unknown: *why }.serialize(serializer),
        }
    }
}

impl<'de, T: serde::Deserialize<'de>> serde::Deserialize<'de> for Fact<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match FactJson::deserialize(deserializer)? {
            FactJson::Known(value) => Self::Known(value),
            FactJson::Unknown { unknown } => Self::Unknown(unknown),
        })
    }
}
