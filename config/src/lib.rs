//! The files people type, and the checked tree that the program runs on.
//!
//! ```text
//! torhaus.yaml + policy.yaml --load(path)--> Config   or   ALL errors, each with file, line, excerpt, hint
//!
//! text --yaml--> tree with places --decode--> file:: (what was typed) --check--> Config (what runs)
//! ```
//!
//! The only crate that knows the file format. Reads files (configuration, policy, secrets, certificates to see
//! that they are there), opens no socket, changes nothing.
mod added;
mod at;
mod branding;
mod check;
mod config;
mod decode;
mod file;
mod findings;
mod inventory;
mod load;
mod mask;
mod pattern;
mod place;
mod policy_files;
mod profile;
mod read;
mod reference;
mod report;
mod secret;
mod signature;
mod source;
mod suggest;
mod units;
mod yaml;

pub use added::{AddedRoute, added_route, host_pattern};
pub use branding::{Accent, Branding, Colour, Logo, LogoKind, PAGE_DARK, PAGE_LIGHT, Texts, Words};
pub use config::*;
pub use inventory::{InvalidInventory, Inventory, InventoryDevice, inventory};
pub use load::{load, load_with_policy, run_policy_tests, state_dir};
pub use profile::{profile, profile_names};
pub use reference::reference;
pub use report::{Errors, Excerpt, Mistake};
pub use secret::Secret;
