//! What Torhaus promises with PostgreSQL: the contracts of every store, and several replicas on one database. A real
//! server is started for each test and ends with it; where there is none, the test fails.
//!
//! `make test` runs it: `cargo test -p torhaus --test postgres`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on says where; helpers stand outside #[test] functions"
)]
#![allow(clippy::large_futures, reason = "a client of a few dozen requests; its futures live on no hot path")]
#[path = "../../src/store/acme_contract.rs"]
mod acme_contract;
mod cluster;
#[path = "../../src/store/contract.rs"]
mod contract;
mod contracts;
#[path = "../../src/store/device_contract.rs"]
mod device_contract;
mod failover;
#[allow(dead_code, reason = "shared with the promises, which use all of it")]
#[path = "../promises/harness/mod.rs"]
mod harness;
mod kills;
#[path = "../../src/store/ledger_contract.rs"]
mod ledger_contract;
mod lost;
mod replicas;
mod restore;
#[path = "../../src/store/seen_contract.rs"]
mod seen_contract;
mod server;
#[path = "../../src/store/shelf_contract.rs"]
mod shelf_contract;

// The contracts are files of the library, and name its modules as it does.
use torhaus::{acme_client, ca, login, lookup};
