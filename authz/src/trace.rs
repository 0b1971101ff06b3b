//! Every step of one decision, noted while it is taken. Small copies, no allocation for common rows.
use crate::condition::Holds;
use crate::tier::Proven;
use crate::zone::{Because, ZoneId};
use std::fmt;
use std::time::Duration;

/// The steps of a decision, for [`crate::explain`], which renders them together with the policy and the facts.
#[derive(Clone)]
pub struct Trace {
    first: [Step; INLINE],
    len: usize,
    more: Vec<Step>,
}

/// Steps kept without allocating: a row with eight conditions fits.
const INLINE: usize = 14;

/// Numbers are positions in the policy's own lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Place {
        zone: ZoneId,
        because: Because,
    },
    /// Position of the row, if there is one.
    Row(Option<usize>),
    /// Whether the row's cell for the zone is open.
    Cell {
        open: bool,
    },
    LiveExceptions(usize),
    Anonymous,
    Identified(bool),
    Exception {
        index: usize,
        member: Holds,
    },
    Allow(Holds),
    Deny {
        index: usize,
        holds: Holds,
    },
    Require {
        index: usize,
        holds: Holds,
    },
    Raise {
        index: usize,
        holds: Holds,
    },
    Proof {
        rank: u8,
        max_age: Duration,
        proven: Proven,
    },
}

impl Trace {
    pub(crate) fn new() -> Self {
        Self { first: [Step::Anonymous; INLINE], len: 0, more: Vec::new() }
    }

    pub(crate) fn note(&mut self, step: Step) {
        match self.first.get_mut(self.len) {
            Some(slot) => *slot = step,
            None => self.more.push(step),
        }
        self.len += 1;
    }

    pub(crate) fn steps(&self) -> impl Iterator<Item = Step> {
        self.first.iter().take(self.len).chain(&self.more).copied()
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.steps()).finish()
    }
}
