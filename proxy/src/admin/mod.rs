//! How an operator talks to the running process: HTTP over a unix socket that only its owner may open. On the
//! address of `admin.address`, if one is configured, only health and metrics are served.
mod api;
mod certificates;
mod client;
mod devices;
mod enrolments;
mod socket;

pub use api::{
    BreakGlassAnswer, BreakGlassOrder, Caller, CandidateStatus, ClusterStatus, Control, ListenerStatus, ReloadFailed,
    Reloaded, Rollback, Selector, SessionLine, Status,
};
pub use certificates::{CertificateQuery, Certificates, IssueOrder, IssuedAnswer, RevokeOrder, RevokedAnswer};
pub use client::{Client, ClientError};
pub use devices::{ApproveOrder, Devices, ForgetOrder};
pub use enrolments::{EabAnswer, EabEnd, EabOrder, Enrolments};
pub use socket::{BindError, Socket};

use axum::Router;
use std::future::Future;
use std::io;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Name of the socket in the state folder.
pub const SOCKET: &str = "admin.sock";

/// Answers on the socket until `stop` is done, then finishes what it began.
///
/// # Errors
/// The socket stops working.
pub async fn serve(
    socket: Socket,
    control: Arc<dyn Control>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let router: Router = api::everything(control);
    // `socket` is removed from the folder when this ends.
    let (listener, _file) = socket.into_parts();
    axum::serve(listener, router.into_make_service_with_connect_info::<Caller>()).with_graceful_shutdown(stop).await
}

/// Answers `/healthz`, `/readyz` and `/metrics`, and nothing else, on a loopback address, or where the configuration
/// says that it may be another.
///
/// # Errors
/// The address is not loopback and may not be another, or it cannot be bound.
pub async fn serve_health(
    health: torhaus_config::Admin,
    control: Arc<dyn Control>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let address = health.address;
    if !address.ip().is_loopback() && !health.beyond_loopback {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{address} is not a loopback address")));
    }
    let listener = TcpListener::bind(address).await?;
    axum::serve(listener, api::health(control)).with_graceful_shutdown(stop).await
}
