//! The files people type, and the checked tree that the program runs on.
//!
//! ```text
//! torhaus.yaml + policy.yaml --load(path)--> Config   or   ALL errors, each with file, line, excerpt, hint
//! ```
//!
//! The only crate that knows the file format. Reads files (configuration, policy, secrets, certificates to see
//! that they are there), opens no socket, changes nothing.
mod config;
mod secret;

pub use config::*;
pub use secret::Secret;
