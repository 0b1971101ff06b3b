//! What people try against a gate that faces the internet, tried against the real process. A test is a class of attack and
//! its neighbours, not one string: fixes in this field were incomplete again and again.
//!
//! Names of CVEs are those of peers in which the same mistake was found.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on says where; helpers stand outside #[test] functions"
)]
#![allow(clippy::large_futures, reason = "a client of a few dozen requests; its futures live on no hot path")]
mod bounds;
mod credentials;
mod floods;
mod framing;
mod h2;
#[allow(dead_code, reason = "shared with the promises, which use all of it")]
#[path = "../promises/harness/mod.rs"]
mod harness;
mod identity;
mod logs;
mod mutations;
mod paths;
mod proxy_protocol;
mod tls;
mod upstream;

use harness::{Setup, World};

/// More than one test in this file may want it: a gate whose limits are small enough to reach.
async fn gate_with(limits: &str) -> World {
    let mut setup = Setup::new().await;
    setup.config = setup.config.replace("limits: { drain: 1s }", &format!("limits: {{ drain: 1s, {limits} }}"));
    setup.start().await
}
