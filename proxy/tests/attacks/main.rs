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
mod asking;
mod bombs;
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
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use torhaus::admin::SOCKET;

/// More than one test in this file may want it: a gate whose limits are small enough to reach.
async fn gate_with(limits: &str) -> World {
    let mut setup = Setup::new().await;
    setup.limit(limits);
    setup.start().await
}

/// What only these tests ask a gate.
trait Watch {
    /// Where a listener is that the test added.
    async fn listener(&self, name: &str) -> SocketAddr;

    /// The value of a metric with these labels, 0 if it is not there.
    async fn metric(&self, line: &str) -> u64;
}

impl Watch for World {
    async fn listener(&self, name: &str) -> SocketAddr {
        let status = self.status().await;
        let found = status.listeners.iter().find(|listener| listener.name == name);
        found.unwrap().address.parse().unwrap()
    }

    async fn metric(&self, line: &str) -> u64 {
        let mut socket = UnixStream::connect(self.path("state").join(SOCKET)).await.unwrap();
        let get = b"GET /metrics HTTP/1.1\r\nHost: torhaus\r\nConnection: close\r\n\r\n";
        socket.write_all(get).await.unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).await.unwrap();
        let found = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' ')?.trim().parse().ok());
        found.unwrap_or(0)
    }
}
