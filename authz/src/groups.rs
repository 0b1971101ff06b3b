//! The groups of one person, with a short reference by which a record names the whole set.
use crate::identity::Name;
use sha2::{Digest, Sha256};
use std::fmt;

/// A set of groups, sorted. Made once per login or directory answer and shared by every request after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups {
    names: Box<[Name]>,
    reference: GroupsRef,
}

/// Names a set of groups in records: the first 128 bits of SHA-256 over its sorted names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupsRef([u8; 16]);

impl Groups {
    pub fn contains(&self, name: &str) -> bool {
        self.names.binary_search_by(|own| (**own).cmp(name)).is_ok()
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Name> {
        self.names.iter()
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub fn reference(&self) -> GroupsRef {
        self.reference
    }
}

impl<N: Into<Name>> FromIterator<N> for Groups {
    fn from_iter<I: IntoIterator<Item = N>>(names: I) -> Self {
        let mut names: Vec<Name> = names.into_iter().map(Into::into).collect();
        names.sort_unstable();
        names.dedup();
        let mut hash = Sha256::new();
        for name in &names {
            // The length first, so that no two different sets give the same bytes.
            hash.update((name.len() as u64).to_be_bytes());
            hash.update(name.as_bytes());
        }
        let mut reference = [0; 16];
        for (to, from) in reference.iter_mut().zip(hash.finalize()) {
            *to = from;
        }
        Self { names: names.into(), reference: GroupsRef(reference) }
    }
}

impl Default for Groups {
    fn default() -> Self {
        std::iter::empty::<Name>().collect()
    }
}

impl fmt::Display for GroupsRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl serde::Serialize for GroupsRef {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for GroupsRef {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let value = (text.len() == 32)
            .then(|| u128::from_str_radix(&text, 16).ok())
            .flatten()
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not a group reference")))?;
        Ok(Self(value.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_names_the_set_and_nothing_else() {
        let groups = |names: &[&str]| names.iter().copied().collect::<Groups>();
        assert_eq!(groups(&["hr", "finance", "hr"]), groups(&["finance", "hr"]));
        assert_ne!(groups(&["ab", "c"]).reference(), groups(&["a", "bc"]).reference());
        assert_eq!((groups(&["hr", "finance", "hr"]).len(), groups(&["hr"]).is_empty()), (2, false));
        assert!(Groups::default().is_empty());
        assert!(groups(&["hr", "finance"]).contains("hr") && !groups(&["hr"]).contains("h"));
        let json = serde_json::to_string(&groups(&["hr"]).reference()).unwrap();
        assert_eq!(serde_json::from_str::<GroupsRef>(&json).unwrap(), groups(&["hr"]).reference());
    }
}
