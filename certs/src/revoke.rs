//! What is revoked, for whoever verifies: one look-up in memory, no list to fetch.
use crate::crl::Reason;
use crate::serial::Serial;
use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

/// RFC 5280 s4.1.2.2: at most 20 octets. A fixed size spares an allocation per entry: 100,000 of them are under 5 MB.
const MOST_OCTETS: usize = 20;

/// A serial number of fixed size, for look-ups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SerialKey([u8; MOST_OCTETS]);

impl SerialKey {
    /// From the octets of the certificate's integer, leading zeros or not. None: no serial number of ours is so long.
    pub fn of(octets: &[u8]) -> Option<Self> {
        let start = octets.iter().position(|byte| *byte != 0).unwrap_or(octets.len());
        let octets = octets.get(start..)?;
        let mut key = [0; MOST_OCTETS];
        key.get_mut(MOST_OCTETS.checked_sub(octets.len())?..)?.copy_from_slice(octets);
        Some(Self(key))
    }
}

impl From<&Serial> for Option<SerialKey> {
    fn from(serial: &Serial) -> Self {
        SerialKey::of(serial.as_bytes())
    }
}

/// Revoked serial numbers of our own authorities. Numbers have 128 random bits, so one set serves all of them. Nothing
/// is ever taken out while the process runs.
#[derive(Debug, Default)]
pub struct RevokedSet(RwLock<HashSet<SerialKey>>);

impl RevokedSet {
    pub fn contains(&self, key: &SerialKey) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    /// In force when this returns.
    pub fn insert(&self, serial: &Serial) {
        if let Some(key) = SerialKey::of(serial.as_bytes()) {
            self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key);
        }
    }

    pub fn extend<'a>(&self, serials: impl IntoIterator<Item = &'a Serial>) {
        let keys = serials.into_iter().filter_map(|serial| SerialKey::of(serial.as_bytes()));
        self.0.write().unwrap_or_else(PoisonError::into_inner).extend(keys);
    }

    pub fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Reason {
    /// What may be said about a certificate of ours. `cACompromise` is about authorities, `certificateHold` could be
    /// taken back, and here nothing is; `removeFromCRL` is for delta lists.
    pub const ALL: [Self; 6] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::PrivilegeWithdrawn,
    ];

    /// RFC 5280 s5.3.1.
    pub fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
            Self::PrivilegeWithdrawn => 9,
        }
    }

    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| u64::from(reason.code()) == code)
    }

    /// As RFC 5280 spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "keyCompromise",
            Self::AffiliationChanged => "affiliationChanged",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessationOfOperation",
            Self::PrivilegeWithdrawn => "privilegeWithdrawn",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str().eq_ignore_ascii_case(text))
    }
}
