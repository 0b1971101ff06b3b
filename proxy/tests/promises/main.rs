//! What Torhaus promises, kept by the real process: each test is a sentence that a user would care about. The names of
//! the invariants are those of docs/architecture.md.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on says where; helpers stand outside #[test] functions"
)]
#![expect(clippy::large_futures, reason = "a client of a few dozen requests; its futures live on no hot path")]
mod access_token;
mod acme;
mod answers;
mod authentik;
mod backup;
mod branding;
mod break_glass;
mod certificates;
mod cors;
mod dependencies;
mod device_claims;
mod devices;
mod durability;
mod examples;
mod explain;
mod harness;
mod headers;
mod health;
mod idle;
mod login;
mod logout;
mod lookups;
mod managements;
mod mesh;
mod names;
mod network_change;
mod own_ca;
mod own_ca_books;
mod paths;
mod policy_life;
mod profiles;
mod record;
mod reload;
mod return_addresses;
mod revocation;
mod secrets;
mod sessions;
mod signals;
mod sources;
mod streams;
mod strict;
mod systemd;
mod table;
mod traces;
mod upstreams;
