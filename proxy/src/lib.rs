//! The binary `torhaus` as a library, so that tests and the bare edge of `make bench` can use its parts.
//! Read `gate.rs` first: the way of a request from arrival to answer.
pub mod assertion;
pub mod audit;
pub mod clock;
pub mod edge;
pub mod engine;
pub mod forward;
pub mod gate;
pub mod headers;
pub mod identify;
pub mod logging;
pub mod login;
pub mod lookup;
pub mod metrics;
pub mod path;
pub mod portal;
pub mod recording;
pub mod refusal;
pub mod reload;
pub mod request;
pub mod response;
pub mod route;
pub mod server;
pub mod snapshot;
pub mod store;
pub mod streams;
