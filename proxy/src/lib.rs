//! The binary `torhaus` as a library, so that tests and the bare edge of `make bench` can use its parts.
//! Read `gate.rs` first: the way of a request from arrival to answer.
pub mod admin;
pub mod audit;
pub mod clock;
pub mod identify;
pub mod logging;
pub mod login;
pub mod metrics;
pub mod store;
