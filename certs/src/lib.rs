//! A certificate authority that can be tested in memory: no sockets, no files, no clock (`now` is an argument).
//!
//! ```text
//! LeafRequest --Authority::issue(now)--> Issued        CrlRequest --Authority::crl--> Crl
//! ```
//!
//! A certificate is always built from the request's profile, never copied from what a client sent.
//! [`odd`] is test material: certificates that no client may get, for tests that a gate refuses them.
pub mod acme;
mod authority;
mod crl;
mod error;
mod leaf;
pub mod odd;
mod serial;

pub use authority::Authority;
pub use crl::{Crl, CrlRequest, Reason, Revoked};
pub use error::Error;
pub use leaf::{Issued, LeafRequest, Profile};
pub use serial::Serial;
