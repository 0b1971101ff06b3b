//! What a rule may ask of a device and of its state.
use super::Holds;
use crate::device::Device;
use crate::facts::{Fact, Facts, Why};
use crate::identity::{Identity, Name};
use crate::posture::{Edr, OsFamily, OsVersion, Posture, Report, ReportAge};
use crate::problems::listed;
use crate::time::{Timestamp, short};
use std::fmt;
use std::time::Duration;

/// One question about the device itself. A device that is in no list is not managed, is nobody's and has no tag.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum DeviceAsk {
    Known(bool),
    Managed(bool),
    /// It belongs to the person who asks.
    Own,
    Owners(Box<[Name]>),
    /// One of these.
    Tags(Box<[Name]>),
}

/// One question about the state of the device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PostureAsk {
    DiskEncrypted(bool),
    Firewall(bool),
    SecureBoot(bool),
    /// As its device management judges it.
    Compliant(bool),
    /// One of these.
    Edr(Vec<Edr>),
    /// Security updates were installed since.
    PatchedWithin(Duration),
    /// One of these.
    Os(Vec<OsFamily>),
    OsVersionAtLeast(OsVersion),
}

impl DeviceAsk {
    pub(crate) fn holds(&self, facts: &Facts<'_>) -> Holds {
        if self.asks_person() && facts.identity == Identity::Anonymous {
            return Holds::Pending;
        }
        match &facts.device {
            Fact::Unknown(why) => Holds::Unknown(*why),
            Fact::Known(None) => matches!(self, Self::Known(false) | Self::Managed(false)).into(),
            Fact::Known(Some(device)) => self.of(device, &facts.identity),
        }
    }

    fn of(&self, device: &Device, identity: &Identity) -> Holds {
        let answer = match self {
            Self::Known(known) => Fact::Known(*known),
            Self::Managed(wanted) => device.managed.map(|managed| managed == *wanted),
            Self::Own => device.belongs_to(identity),
            Self::Owners(names) => {
                device.owner.as_ref().map(|owner| owner.as_ref().is_some_and(|own| names.contains(own)))
            }
            Self::Tags(tags) => Fact::Known(tags.iter().any(|tag| device.tags.binary_search(tag).is_ok())),
        };
        answer.into()
    }

    pub(crate) fn asks_person(&self) -> bool {
        matches!(self, Self::Own)
    }
}

impl PostureAsk {
    pub(crate) fn holds(&self, posture: &Posture, asks: ReportAge, now: Timestamp) -> Holds {
        let when = (asks, now);
        let is = |wanted: bool| move |found: &bool| Fact::Known(*found == wanted);
        match self {
            Self::DiskEncrypted(wanted) => reported(&posture.disk_encrypted, when, is(*wanted)),
            Self::Firewall(wanted) => reported(&posture.firewall, when, is(*wanted)),
            Self::SecureBoot(wanted) => reported(&posture.secure_boot, when, is(*wanted)),
            Self::Compliant(wanted) => reported(&posture.compliant, when, is(*wanted)),
            Self::Edr(states) => reported(&posture.edr, when, |found| Fact::Known(states.contains(found))),
            Self::PatchedWithin(within) => {
                reported(&posture.patched, when, |at| Fact::Known(now.since(*at) <= *within))
            }
            Self::Os(families) => reported(&posture.os, when, |os| Fact::Known(families.contains(&os.family))),
            Self::OsVersionAtLeast(least) => reported(&posture.os, when, |os| match &os.version {
                Some(version) => Fact::Known(version >= least),
                None => Fact::Unknown(Why::NotFound),
            }),
        }
    }
}

fn reported<T>(
    report: &Option<Report<T>>,
    (asks, now): (ReportAge, Timestamp),
    holds: impl FnOnce(&T) -> Fact<bool>,
) -> Holds {
    let Some(report) = report else { return Holds::Unknown(Why::NotFound) };
    match report.value(asks, now) {
        Fact::Known(value) => holds(value).into(),
        Fact::Unknown(why) => Holds::Unknown(why),
    }
}

impl fmt::Display for DeviceAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(true) => f.write_str("the device is in a list"),
            Self::Known(false) => f.write_str("the device is in no list"),
            Self::Managed(true) => f.write_str("the device is managed"),
            Self::Managed(false) => f.write_str("the device is not managed"),
            Self::Own => f.write_str("the device is the person's own"),
            Self::Owners(names) => write!(f, "the device is of {}", listed(names)),
            Self::Tags(tags) => write!(f, "the device has tag {}", listed(tags)),
        }
    }
}

impl fmt::Display for PostureAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = |on: bool| if on { "on" } else { "off" };
        match self {
            Self::DiskEncrypted(true) => f.write_str("its disk is encrypted"),
            Self::DiskEncrypted(false) => f.write_str("its disk is not encrypted"),
            Self::Firewall(wanted) => write!(f, "its firewall is {}", on(*wanted)),
            Self::SecureBoot(wanted) => write!(f, "its secure boot is {}", on(*wanted)),
            Self::Compliant(true) => f.write_str("its management calls it compliant"),
            Self::Compliant(false) => f.write_str("its management does not call it compliant"),
            Self::Edr(states) => {
                let states: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
                write!(f, "its malware protection is {}", listed(&states))
            }
            Self::PatchedWithin(within) => write!(f, "it was patched within {}", short(*within)),
            Self::Os(families) => {
                let families: Vec<&str> = families.iter().map(|family| family.as_str()).collect();
                write!(f, "its system is {}", listed(&families))
            }
            Self::OsVersionAtLeast(version) => write!(f, "its system is of version {version} or later"),
        }
    }
}
