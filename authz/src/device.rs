//! The device of a caller, as the lists of devices that the company keeps know it.
//!
//! Only what binds a device to the connection (a client certificate, a mesh address) makes one known; what a browser
//! says of itself never does.
use crate::facts::{Fact, Why};
use crate::identity::{Identity, Name};

/// One device. A device that is in no list is `Known(None)` among the facts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Device {
    /// As its list calls it.
    pub id: Name,
    /// Of the hardware, as [`serial`] writes it: joins what several sources say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<Name>,
    /// As in `user:alice`. `Known(None)`: it belongs to nobody in particular.
    pub owner: Fact<Option<Name>>,
    /// Sorted.
    #[serde(default, skip_serializing_if = "<[Name]>::is_empty")]
    pub tags: Box<[Name]>,
    /// Whether the company administers it.
    pub managed: Fact<bool>,
    /// The lists that know it, joined by a comma.
    pub source: Name,
}

impl Device {
    /// One of which nothing but its name is known.
    pub fn new(id: Name, source: Name) -> Self {
        let not_found = Why::NotFound;
        Self {
            id,
            serial: None,
            owner: Fact::Unknown(not_found),
            tags: Box::default(),
            managed: Fact::Unknown(not_found),
            source,
        }
    }

    pub(crate) fn belongs_to(&self, identity: &Identity) -> Fact<bool> {
        let owner = self.owner.as_ref();
        owner.map(|owner| match (owner, identity) {
            (Some(owner), Identity::User(user)) => *owner == user.name,
            _ => false,
        })
    }
}

/// Manufacturers ship these instead of a number: they are many devices, and so none.
const PLACEHOLDERS: [&str; 9] = [
    "tobefilledbyo.e.m.",
    "defaultstring",
    "systemserialnumber",
    "notspecified",
    "notapplicable",
    "none",
    "unknown",
    "invalid",
    "na",
];

/// A serial number in the one spelling by which sources are joined: no spaces, no upper case. `None` for one that names
/// no single device.
pub fn serial(text: &str) -> Option<Name> {
    let bare: String = text.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect();
    // `0`, `0000000`, `-`, `xxxx`: one character over and over counts nothing.
    let mut chars = bare.chars();
    let first = chars.next()?;
    let uniform = chars.all(|c| c == first);
    (!uniform && !PLACEHOLDERS.contains(&bare.as_str())).then(|| bare.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_has_one_spelling_and_a_placeholder_is_none() {
        assert_eq!(serial(" C02 xk1 ").as_deref(), Some("c02xk1"));
        assert_eq!(serial("C02XK1"), serial("c02xk1"));
        for text in ["", " ", "0", "0000", "None", "To Be Filled By O.E.M.", "Default string", "System Serial Number"] {
            assert_eq!(serial(text), None, "{text}");
        }
    }
}
