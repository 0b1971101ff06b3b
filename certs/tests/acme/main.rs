//! The ACME server, asked as bytes: what it refuses and with which RFC 8555 error, and the way of a good client.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]
mod accounts;
mod certificates;
mod challenges;
mod envelope;
mod finalize;
mod fuzz;
mod harness;
mod instant;
mod issuer;
mod listener;
mod orders;
