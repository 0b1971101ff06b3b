//! The connection layer, in front of the HTTP engine.
//!
//! ```text
//! accept -> [PROXY header] -> ClientHello -> the TLS configuration of that SNI -> GateStream -> engine
//! ```
//!
//! Knows listeners, certificates and client authorities. Knows no policy, no session, no route but the host names
//! that share a client authentication.
pub mod accept;
pub mod backlog;
pub mod client_hello;
pub mod connection;
pub mod control_frames;
mod held;
pub mod keep_alive;
mod linger;
pub mod obtained;
pub mod pace;
pub mod profile;
pub mod proxy_protocol;
pub mod shares;
pub mod stream;
pub mod tls;
pub mod trust;
