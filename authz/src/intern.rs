//! Shares between rows what they say alike: a large table repeats the same few cells, groups and conditions, and what is
//! shared stays in the processor's cache, so that 10,000 rows answer about as fast as ten.
use crate::condition::Term;
use crate::identity::Name;
use crate::row::{Cell, Guard, Raise, Row};
use crate::subject::Subjects;
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

#[derive(Default)]
pub(crate) struct Interner {
    names: HashSet<Name>,
    subjects: HashSet<Arc<Subjects>>,
    cells: HashSet<Arc<[Cell]>>,
    terms: HashSet<Arc<Term>>,
    guards: HashSet<Arc<[Guard]>>,
    raises: HashSet<Arc<[Raise]>>,
}

impl Interner {
    /// Call it on a fresh row: the insides of what is already shared stay as they are.
    pub(crate) fn share(&mut self, row: &mut Row) {
        self.subjects(&mut row.allow);
        for exception in &mut row.exceptions {
            self.subjects(&mut exception.allow);
        }
        share(&mut self.cells, &mut row.cells);
        for guards in [&mut row.deny, &mut row.require] {
            let own = Arc::get_mut(guards).unwrap_or_default();
            own.iter_mut().for_each(|guard| self.guard(guard));
            share(&mut self.guards, guards);
        }
        let own = Arc::get_mut(&mut row.raise).unwrap_or_default();
        own.iter_mut().for_each(|raise| self.guard(&mut raise.guard));
        share(&mut self.raises, &mut row.raise);
    }

    fn subjects(&mut self, subjects: &mut Arc<Subjects>) {
        if let Some(own) = Arc::get_mut(subjects) {
            own.names_mut().for_each(|name| share(&mut self.names, name));
        }
        share(&mut self.subjects, subjects);
    }

    fn guard(&mut self, guard: &mut Guard) {
        share(&mut self.names, &mut guard.name);
        share(&mut self.terms, &mut guard.term);
    }
}

/// Puts the first equal value in its place.
fn share<T: ?Sized + Hash + Eq>(known: &mut HashSet<Arc<T>>, value: &mut Arc<T>) {
    match known.get(value) {
        Some(first) => *value = first.clone(),
        None => {
            known.insert(value.clone());
        }
    }
}
