//! A certificate authority that can be tested in memory: no sockets, no files, no clock (`now` is an argument).
//!
//! ```text
//! the product     Csr, Profile, Enrolment --IssuingCa::sign(now)--> Signed --Ledger--> handed out
//!                 RevokedRecord --Ledger, RevokedSet--> refused at once    CrlRequest --IssuingCa::crl--> Crl
//! for tests       LeafRequest --Authority::issue(now)--> Issued            CrlRequest --Authority::crl--> Crl
//! ```
//!
//! A certificate is always built from a profile, never copied from what a client sent.
//! [`odd`] is test material: certificates that no client may get, for tests that a gate refuses them.
pub mod acme;
mod authority;
mod ca;
mod crl;
mod csr;
mod error;
mod key;
mod leaf;
mod lint;
pub mod odd;
mod profile;
mod revoke;
mod serial;
mod store;

pub use authority::Authority;
pub use ca::{AuthorityRequest, IssuingCa, KeyAlgorithm, Signed, SigningRequest, new_root};
pub use crl::{Crl, CrlRequest, Reason, Revoked};
pub use csr::Csr;
pub use error::Error;
pub use key::{AllowedKey, KeyKind};
pub use leaf::{Issued, LeafRequest};
pub use profile::{Enrolment, Profile, Purpose};
pub use revoke::{RevokedSet, SerialKey};
pub use serial::Serial;
pub use store::{Counts, IssuedRecord, Ledger, LedgerError, Listed, MemoryLedger, Query, RevokedRecord};
