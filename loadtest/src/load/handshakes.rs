//! Connections per second: TCP, TLS, one request, close. What TLS really did is counted, full or resumed.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use super::Run;
use crate::connection::{Connection, Fault};

pub(super) fn start(run: &Arc<Run>, count: usize, callers: &mut JoinSet<()>) {
    for _ in 0..count {
        callers.spawn(caller(Arc::clone(run)));
    }
}

async fn caller(run: Arc<Run>) {
    while run.may_begin().await {
        let began = Instant::now();
        match connect_and_ask(&run).await {
            Ok(()) => run.success(began.elapsed()),
            Err(fault) => run.fault(fault).await,
        }
    }
}

async fn connect_and_ask(run: &Run) -> Result<(), Fault> {
    let mut connection = Connection::open(&run.target, &run.tls).await?;
    if run.measuring() {
        run.tally().handshake(connection.handshake);
    }
    // A request as well: in TLS 1.3 the client is done before the server has looked at its certificate
    // (RFC 8446 s4.6.1, E.1), so only an answer proves that the server accepted it.
    connection.exchange(&run.target).await
}
