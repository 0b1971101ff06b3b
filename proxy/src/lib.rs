//! The binary `torhaus` as a library, so that tests and the bare edge of `make bench` can use its parts.
//! Read `gate.rs` first: the way of a request from arrival to answer.
pub mod clock;
pub mod login;
pub mod portal;
