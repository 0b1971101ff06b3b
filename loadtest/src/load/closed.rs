//! Closed loop: as many requests at a time as there are callers. Finds capacity.
//!
//! Its latencies say little about users: when the peer stalls, the callers stop asking (coordinated omission). The
//! open loop is for latency.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use super::Run;
use crate::connection::Connection;

pub(super) fn start(run: &Arc<Run>, connections: usize, streams: usize, callers: &mut JoinSet<()>) {
    for _ in 0..connections {
        callers.spawn(connection(Arc::clone(run), streams));
    }
}

/// Opens a connection, works on it, and opens the next one should it fail.
async fn connection(run: Arc<Run>, streams: usize) {
    while !run.over() {
        match Connection::open(&run.target, &run.tls).await {
            Ok(first) => {
                run.tally().handshake(first.handshake);
                let mut others = JoinSet::new();
                for other in (1..streams).filter_map(|_| first.another_stream()) {
                    others.spawn(caller(Arc::clone(&run), other));
                }
                caller(Arc::clone(&run), first).await;
                while others.join_next().await.is_some() {}
            }
            Err(fault) => run.fault(fault).await,
        }
    }
}

/// Asks again and again; ends at the first fault, because the connection may be gone.
async fn caller(run: Arc<Run>, mut connection: Connection) {
    while run.may_begin().await {
        let sent = Instant::now();
        match connection.exchange(&run.target).await {
            Ok(()) => run.success(sent.elapsed()),
            Err(fault) => return run.fault(fault).await,
        }
    }
}
