//! Names that many sessions have in common: of groups, tiers, providers, hosts; and sets of groups, which colleagues have
//! in common. Each is in memory once.
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use torhaus_authz::{Groups, GroupsRef, Name};

/// More names or sets than that are not looked after; the others are, and nothing else changes.
const MOST: usize = 20_000;

#[derive(Debug, Default)]
pub struct SharedNames {
    known: Mutex<HashSet<Name>>,
    sets: Mutex<HashMap<GroupsRef, Arc<Groups>>>,
}

impl SharedNames {
    /// The one that is known already, or this one from now on.
    pub fn share(&self, name: &str) -> Name {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = known.get(name) {
            return same.clone();
        }
        if known.len() >= MOST {
            // Those that nobody has any more go first.
            known.retain(|name| Arc::strong_count(name) > 1);
        }
        let name = Name::from(name);
        if known.len() < MOST {
            known.insert(name.clone());
        }
        name
    }

    /// The same for a set of groups.
    pub fn share_groups(&self, groups: &Groups) -> Arc<Groups> {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = sets.get(&groups.reference()) {
            return same.clone();
        }
        if sets.len() >= MOST {
            sets.retain(|_, set| Arc::strong_count(set) > 1);
        }
        let set: Arc<Groups> = Arc::new(groups.iter().map(|name| self.share(name)).collect());
        if sets.len() < MOST {
            sets.insert(set.reference(), set.clone());
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_in_memory_once() {
        let names = SharedNames::default();
        assert!(Arc::ptr_eq(&names.share("staff"), &names.share("staff")));
        assert_eq!(&*names.share("other"), "other");
        let staff = |names: &[&str]| names.iter().copied().collect::<Groups>();
        let set = names.share_groups(&staff(&["staff", "it"]));
        assert!(Arc::ptr_eq(&set, &names.share_groups(&staff(&["it", "staff"]))));
        assert!(set.iter().any(|name| Arc::ptr_eq(name, &names.share("staff"))));
        assert_eq!(*names.share_groups(&staff(&["it"])), staff(&["it"]));
    }

    #[test]
    fn names_that_nobody_has_make_room() {
        let names = SharedNames::default();
        let held = names.share("held");
        for number in 0..2 * MOST {
            assert_eq!(*names.share(&number.to_string()), *number.to_string());
        }
        assert!(names.known.lock().unwrap().len() <= MOST);
        assert!(Arc::ptr_eq(&held, &names.share("held")), "somebody has it");
    }
}
