//! The one-command demo: Torhaus with a small OpenID provider and sample applications, all on loopback.
//!
//! ```text
//! run folder -> provider + applications -> torhaus -> stories (printed, or run by --check)
//! ```
mod announce;
pub mod applications;
pub mod arguments;
mod check;
mod clock;
mod gate;
mod ports;
pub mod provider;
mod run;
mod run_folder;
mod stories;

pub use run::run;
