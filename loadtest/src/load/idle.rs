//! Connections that do nothing: each asks once and then stays open until the run is over.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::Run;
use crate::connection::{Connection, Fault, FaultKind};

/// How many connect at a time: a server may bound the handshakes of one address.
const AT_A_TIME: usize = 32;

const LOOK: Duration = Duration::from_millis(100);

/// Comes back when all are open.
pub(super) async fn start(run: &Arc<Run>, connections: usize, callers: &mut JoinSet<()>) {
    let mut opening = JoinSet::new();
    for caller in 0..AT_A_TIME {
        let count = connections / AT_A_TIME + usize::from(caller < connections % AT_A_TIME);
        opening.spawn(open(Arc::clone(run), count));
    }
    let open: Vec<Connection> = opening.join_all().await.into_iter().flatten().collect();
    callers.spawn(hold(Arc::clone(run), open));
}

async fn open(run: Arc<Run>, count: usize) -> Vec<Connection> {
    let mut open = Vec::with_capacity(count);
    for _ in 0..count {
        let connected = async {
            let mut connection = Connection::open(&run.target, &run.tls).await?;
            connection.exchange(&run.target).await?;
            Ok(connection)
        };
        match connected.await {
            Ok(connection) => {
                run.tally().handshake(connection.handshake);
                open.push(connection);
            }
            Err(fault) => run.fault(fault).await,
        }
    }
    open
}

/// Whoever closes one of them meanwhile has fewer to keep: that is a fault.
async fn hold(run: Arc<Run>, open: Vec<Connection>) {
    while !run.over() {
        tokio::time::sleep(LOOK).await;
    }
    for _ in open.iter().filter(|connection| connection.is_closed()) {
        run.tally()
            .fault(Fault { kind: FaultKind::Http, detail: "the connection was closed while it was idle".into() });
    }
}
