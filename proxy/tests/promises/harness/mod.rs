//! A gate as it really runs: the binary, a real OpenID provider, an application that says what it got, and clients
//! that can misbehave.
//!
//! ```text
//! Setup (folder, certificates, files) -> World (provider, application, gate) <- Browser | Connection | raw bytes
//! ```
pub mod api;
pub mod app;
pub mod browser;
pub mod client;
pub mod echo;
pub mod files;
pub mod idp;
pub mod mmdb;
pub mod pki;
pub mod raw;
pub mod world;

pub use browser::Browser;
pub use client::{Answer, Call, Connection};
pub use world::{Door, Setup, World};

use std::time::{Duration, Instant};

/// Longest wait for anything that should come: a debug build on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until a condition holds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
}
