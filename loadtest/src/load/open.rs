//! Open loop: request n is due at start + n / rate, whatever became of those before it.
//!
//! Latency counts from the moment a request was due, so time that it waited for a free connection is part of it: a
//! stall of the peer shows with its full weight (no coordinated omission). How late the generator itself was is
//! recorded beside it.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::{Run, at_least_one};
use crate::connection::Connection;
use crate::error::{Doing, Error, Result};

/// The kernel may wake a sleeper this much later to save energy (default 50 us); we ask for less.
const TIMER_SLACK_NANOSECONDS: &str = "1000";

type Due = Arc<Mutex<mpsc::UnboundedReceiver<Instant>>>;

/// Opens every connection first, so that the schedule does not begin with a pile of handshakes.
pub(super) async fn start(
    run: &Arc<Run>,
    connections: usize,
    streams: usize,
    per_second: u32,
    callers: &mut JoinSet<()>,
) -> Result<()> {
    at_least_one("the rate", usize::try_from(per_second).unwrap_or(usize::MAX))?;
    let (sender, due) = mpsc::unbounded_channel();
    let due = Arc::new(Mutex::new(due));
    for _ in 0..connections {
        let first = Connection::open(&run.target, &run.tls)
            .await
            .map_err(|fault| Error::new(format!("{}: {}", fault.kind, fault.detail)))?;
        run.tally().handshake(first.handshake);
        for other in (1..streams).filter_map(|_| first.another_stream()) {
            callers.spawn(caller(Arc::clone(run), other, Arc::clone(&due)));
        }
        callers.spawn(caller(Arc::clone(run), first, Arc::clone(&due)));
    }
    let run = Arc::clone(run);
    thread::Builder::new()
        .name("schedule".to_owned())
        .spawn(move || schedule(&run, per_second, &sender))
        .doing("scheduler's thread")?;
    Ok(())
}

/// On a thread of its own, because tokio's timer rounds to a millisecond.
fn schedule(run: &Run, per_second: u32, due: &mpsc::UnboundedSender<Instant>) {
    // Best effort: without it the lateness is larger, and the report shows it.
    let _ = std::fs::write("/proc/thread-self/timerslack_ns", TIMER_SLACK_NANOSECONDS);
    let start = Instant::now();
    for n in 0u64.. {
        let moment = start + Duration::from_nanos(n.saturating_mul(1_000_000_000) / u64::from(per_second));
        // Those already due are released together: sleeping shorter than a wake-up takes would only fall behind.
        if let Some(early) = moment.checked_duration_since(Instant::now()) {
            thread::sleep(early);
        }
        if run.over() || due.send(moment).is_err() {
            return;
        }
    }
}

/// Takes the next request that is due. After a fault it connects again, and the schedule goes on meanwhile.
async fn caller(run: Arc<Run>, mut connection: Connection, due: Due) {
    while let Some(moment) = next(&run, &due).await {
        if run.measuring() {
            run.tally().sent_late(moment.elapsed());
        }
        match connection.exchange(&run.target).await {
            Ok(()) => run.success(moment.elapsed()),
            Err(fault) => {
                run.fault(fault).await;
                match Connection::open(&run.target, &run.tls).await {
                    Ok(fresh) => connection = fresh,
                    Err(fault) => run.fault(fault).await,
                }
            }
        }
    }
}

/// Nothing more once the run is over: what is still waiting then was never sent and is no answer.
async fn next(run: &Run, due: &Due) -> Option<Instant> {
    let moment = due.lock().await.recv().await?;
    (!run.over()).then_some(moment)
}
