//! The policy table of Torhaus as a pure function: facts in, decision out.
//!
//! ```text
//! PolicyDraft --build--> Policy --decide(&Facts)--> Decision { verdict, reason, trace }
//!                                                      |-- explain   words, from the trace
//!                                                      |-- fingerprint, Entry, Chain   the audit log
//! ```
//!
//! No I/O, no async, no clock: `now` is a fact like any other, so deciding cannot fail. Begin with `policy.rs`.
mod canary;
mod chain;
mod check;
mod condition;
mod continent;
mod decision;
mod device;
mod draft;
mod exception;
mod explain;
mod facts;
mod fingerprint;
mod groups;
mod identity;
mod include;
mod intern;
mod matrix;
mod policy;
mod posture;
mod problems;
mod rbac;
mod reason;
mod recall;
mod record;
mod replay;
mod review;
mod row;
mod sources;
mod spiffe;
mod subject;
mod suite;
mod table;
mod tier;
mod time;
mod trace;
mod warnings;
mod window;
mod zone;

pub use canary::{Candidate, CandidateMode, Compared, Role};
pub use chain::{Broken, BrokenAt, Chain, Line, LineHash, MAX_VALUE_BYTES, Record, Summary, verify};
pub use condition::{Holds, NewPlace, PostureAsk};
pub use continent::Continent;
pub use decision::{Decision, Learns, Permit, RowRef, Verdict, VerdictKind};
pub use device::{Device, serial};
pub use draft::{
    CellDraft, Condition, DeviceDraft, ExceptionDraft, GuardDraft, Located, NetworkDraft, PolicyDraft, PostureDraft,
    Problem, RaiseDraft, RowDraft, TierDraft, ZoneDraft,
};
pub use exception::Exception;
pub use explain::{Answer, ExplainedStep, Explanation, explain};
pub use facts::{Certificate, Country, Fact, Facts, Proof, Seen, Why};
pub use fingerprint::{MethodClass, fingerprint};
pub use groups::{Groups, GroupsRef};
pub use identity::{Identity, Name, Service, User};
pub use include::ProjectDraft;
pub use matrix::{Matrix, MatrixCell, MatrixRow, MatrixSubject};
pub use policy::Policy;
pub use posture::{Edr, Os, OsFamily, OsVersion, Posture, Report, SourceTrust};
pub use reason::{Language, Reason, Words};
pub use record::{CertificateNote, DeviceNote, Entry, Kind, ProofNote, Who};
pub use replay::{Change, Effect, EffectReport, Replay, ReplayReport};
pub use review::{Review, ReviewFinding, Usage};
pub use row::Row;
pub use sources::FileLine;
pub use spiffe::{InvalidSpiffeId, SpiffeId};
pub use suite::{
    Difference, Suite, TestCertificate, TestDevice, TestDraft, TestPosture, TestResult, TestSubject, UntouchedRow,
};
pub use table::{Table, TableCondition, TableException, TableRow, TableTier};
pub use tier::Tier;
pub use time::Timestamp;
pub use trace::Trace;
pub use warnings::{EXPIRES_SOON, LONGEST_EXCEPTION};
pub use window::{Clock, DAYS, InvalidWindow, Window};
pub use zone::EXTERNAL;
