//! The one-command demo: Torhaus with a small OpenID provider and sample applications, all on loopback.
mod clock;
pub mod provider;
