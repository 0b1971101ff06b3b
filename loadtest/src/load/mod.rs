//! One measurement: warm up, measure between two instants, stop. The loops differ in when they send.

mod closed;
mod handshakes;
mod idle;
mod open;

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use tokio::task::JoinSet;

use crate::connection::{Fault, FaultKind};
use crate::cpu::{self, Group};
use crate::error::{Error, Result};
use crate::outcome::{Busy, Outcome, Resident};
use crate::tally::Tally;
use crate::target::Target;

/// How long requests in flight may still take after the end before they are counted as unanswered.
const GRACE: Duration = Duration::from_secs(5);

/// A caller that failed waits this long, so that a dead peer is not hammered in a busy loop.
const AFTER_A_FAULT: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// Each of `connections` x `streams` callers sends its next request when the last one was answered.
    Closed { connections: usize, streams: usize },
    /// Requests are due at a constant rate, whether the peer keeps up or not.
    Open { connections: usize, streams: usize, per_second: u32 },
    /// Each of `callers` opens a connection, sends one request on it, closes it, and begins again.
    Handshakes { callers: usize },
    /// Connections that are open and ask nothing; measuring begins when all of them are there.
    Idle { connections: usize },
}

#[derive(Debug)]
pub struct Plan {
    pub target: Target,
    pub tls: Arc<ClientConfig>,
    pub shape: Shape,
    pub warm_up: Duration,
    pub duration: Duration,
    /// Processes whose CPU time is taken, by the name it gets in the outcome.
    pub processes: Vec<(String, u32)>,
}

/// Runs the plan on the current thread.
pub async fn run(plan: Plan) -> Result<Outcome> {
    let processes =
        plan.processes.iter().map(|(name, pid)| Ok((name.clone(), Group::of(*pid)?))).collect::<Result<Vec<_>>>()?;
    let own = Group::of(std::process::id())?;
    let resident = || processes.iter().map(|(_, group)| group.resident()).collect::<Result<Vec<_>>>();
    let before = resident()?;
    let run = Arc::new(Run::new(plan.target, plan.tls)?);
    let mut callers = JoinSet::new();
    match plan.shape {
        Shape::Closed { connections, streams } => closed::start(&run, connections, streams, &mut callers),
        Shape::Open { connections, streams, per_second } => {
            open::start(&run, connections, streams, per_second, &mut callers).await?;
        }
        Shape::Handshakes { callers: count } => handshakes::start(&run, count, &mut callers),
        Shape::Idle { connections } => idle::start(&run, connections, &mut callers).await,
    }

    tokio::time::sleep(plan.warm_up).await;
    let begin = Usage::now(&processes, &own)?;
    run.enter(Phase::Measuring);
    tokio::time::sleep(plan.duration).await;
    let end = Usage::now(&processes, &own)?;
    let after = resident()?;
    run.enter(Phase::Over);

    let still_running =
        tokio::time::timeout(GRACE, async { while callers.join_next().await.is_some() {} }).await.is_err();
    if still_running {
        let left = callers.len();
        (0..left).for_each(|_| {
            run.tally().fault(Fault { kind: FaultKind::Unanswered, detail: format!("no answer within {GRACE:?}") });
        });
        callers.abort_all();
    }
    let resident = before.into_iter().zip(after).map(|(before, after)| Resident { before, after }).collect();
    let names = processes.into_iter().map(|(name, _)| name);
    Ok(Outcome::new(&run.tally(), Busy { resident, ..end.since(&begin, names) }))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Phase {
    WarmingUp = 0,
    Measuring = 1,
    Over = 2,
}

/// What all callers of one measurement share.
#[derive(Debug)]
struct Run {
    target: Target,
    tls: Arc<ClientConfig>,
    phase: AtomicU8,
    tally: Mutex<Tally>,
}

impl Run {
    fn new(target: Target, tls: Arc<ClientConfig>) -> Result<Self> {
        let phase = AtomicU8::new(Phase::WarmingUp as u8);
        Ok(Self { target, tls, phase, tally: Mutex::new(Tally::new()?) })
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn over(&self) -> bool {
        self.phase.load(Ordering::Relaxed) >= Phase::Over as u8
    }

    fn measuring(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == Phase::Measuring as u8
    }

    /// Counts a success that completed while measuring.
    fn success(&self, latency: Duration) {
        if self.measuring() {
            self.tally().success(latency);
        }
    }

    /// A fault counts whenever it happens, in the warm-up and after the end as well: none is expected.
    async fn fault(&self, fault: Fault) {
        self.tally().fault(fault);
        tokio::time::sleep(AFTER_A_FAULT).await;
    }

    /// One thread, so never contended; the lock only satisfies the types.
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// CPU time at one instant.
struct Usage {
    at: Instant,
    processes: Vec<Duration>,
    own: Duration,
    machine: Duration,
}

impl Usage {
    fn now(processes: &[(String, Group)], own: &Group) -> Result<Self> {
        let used: Result<Vec<_>> = processes.iter().map(|(_, group)| group.used()).collect();
        Ok(Self { processes: used?, own: own.used()?, machine: cpu::machine()?, at: Instant::now() })
    }

    fn since(&self, begin: &Self, names: impl Iterator<Item = String>) -> Busy {
        let between = |end: Duration, begin: Duration| end.saturating_sub(begin);
        let processes = self.processes.iter().zip(&begin.processes).map(|(end, begin)| between(*end, *begin));
        let processes: Vec<_> = names.zip(processes).collect();
        let own = between(self.own, begin.own);
        let ours = processes.iter().map(|(_, used)| *used).sum::<Duration>() + own;
        Busy {
            wall: self.at.duration_since(begin.at),
            foreign: between(between(self.machine, begin.machine), ours),
            processes,
            own,
            resident: Vec::new(),
        }
    }
}

fn at_least_one(what: &str, count: usize) -> Result<()> {
    if count == 0 {
        return Err(Error::new(format!("{what} must be at least 1")));
    }
    Ok(())
}
