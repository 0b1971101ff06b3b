//! The policy table of Torhaus as a pure function: facts in, decision out.
//!
//! ```text
//! PolicyDraft --build--> Policy --decide(&Facts)--> Decision { verdict, reason, trace }
//! ```
//!
//! No I/O, no async, no clock: `now` is a fact like any other, so deciding cannot fail.
mod decision;
mod draft;
mod facts;
mod identity;
mod spiffe;
mod time;

pub use decision::{Decision, Permit, Reason, Verdict};
pub use draft::{
    CellDraft, Condition, ExceptionDraft, GuardDraft, Located, PolicyDraft, Problem, RaiseDraft, RowDraft, TierDraft,
    ZoneDraft,
};
pub use facts::{Certificate, Country, Fact, Facts, Groups, Proof, Why};
pub use identity::{Identity, Name, Service, User};
pub use spiffe::{InvalidSpiffeId, SpiffeId};
pub use time::Timestamp;
