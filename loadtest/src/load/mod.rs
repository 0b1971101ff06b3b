//! One measurement: warm up, measure between two instants, stop or wait for the next. The loops differ in when they send.

mod closed;
mod handshakes;
mod idle;
mod open;

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::connection::{Fault, FaultKind};
use crate::cpu::{self, Group};
use crate::error::{Error, Result};
use crate::outcome::{Busy, Outcome, Resident};
use crate::tally::Tally;
use crate::target::Target;

/// How long requests in flight may still take after the end before they are counted as unanswered.
const GRACE: Duration = Duration::from_secs(5);

/// After a turn, until the last of its requests are answered and nobody is busy for this generator.
const SETTLE: Duration = Duration::from_millis(15);

/// No operation takes that long.
const TOO_LONG: Duration = Duration::from_secs(60);

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
    /// Processes whose CPU time is taken, by the name it gets in the outcome.
    pub processes: Vec<(String, u32)>,
}

/// How long is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Between two instants. What completes between them counts.
    For { warm_up: Duration, duration: Duration },
    /// From the beginning of the first operation to the end of the last of so many.
    Operations(u64),
}

/// Runs the plan on the current thread, for one turn.
pub async fn run(plan: Plan, turn: Turn) -> Result<Outcome> {
    let mut load = Load::start(plan).await?;
    let busy = load.measure(turn).await?;
    load.stop().await;
    load.outcome(busy)
}

/// Callers that wait for their turns, with their connections open: so two servers can be asked in short turns, A B A B,
/// and neither pays for being left alone meanwhile.
pub struct Load {
    run: Arc<Run>,
    callers: JoinSet<()>,
    processes: Vec<(String, u32)>,
    /// Bytes resident of each process before the first connection.
    before: Vec<u64>,
}

impl Load {
    pub async fn start(plan: Plan) -> Result<Self> {
        let before = groups(&plan.processes)?.iter().map(Group::resident).collect::<Result<Vec<_>>>()?;
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
        Ok(Self { run, callers, processes: plan.processes, before })
    }

    /// One turn; the callers wait afterwards.
    pub async fn turn(&mut self, turn: Turn) -> Result<Outcome> {
        let busy = self.measure(turn).await?;
        tokio::time::sleep(SETTLE).await;
        self.outcome(busy)
    }

    async fn measure(&mut self, turn: Turn) -> Result<Busy> {
        // Children come and go: they are looked for anew.
        let (groups, own) = (groups(&self.processes)?, Group::of(std::process::id())?);
        let (begin, end) = match turn {
            Turn::For { warm_up, duration } => {
                self.run.enter(Phase::WarmingUp, u64::MAX);
                tokio::time::sleep(warm_up).await;
                let begin = Usage::now(&groups, &own)?;
                self.run.enter(Phase::Measuring, u64::MAX);
                tokio::time::sleep(duration).await;
                (begin, Usage::now(&groups, &own)?)
            }
            Turn::Operations(count) => {
                let begin = Usage::now(&groups, &own)?;
                self.run.enter(Phase::Measuring, count);
                self.run.ended(count).await;
                (begin, Usage::now(&groups, &own)?)
            }
        };
        self.run.enter(Phase::Waiting, 0);
        let after = groups.iter().map(Group::resident).collect::<Result<Vec<_>>>()?;
        let resident = self.before.iter().zip(after).map(|(before, after)| Resident { before: *before, after });
        let names = self.processes.iter().map(|(name, _)| name.clone());
        Ok(Busy { resident: resident.collect(), ..end.since(&begin, names) })
    }

    /// The callers end; whoever still has no answer after a while has none.
    pub async fn stop(&mut self) {
        self.run.enter(Phase::Over, 0);
        let ended = async { while self.callers.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, ended).await.is_err() {
            for _ in 0..self.callers.len() {
                self.run.unanswered(GRACE);
            }
            self.callers.abort_all();
        }
    }

    /// What was counted since the last one.
    pub fn outcome(&self, busy: Busy) -> Result<Outcome> {
        let counted = std::mem::replace(&mut *self.run.tally(), Tally::new()?);
        Ok(Outcome::new(&counted, busy))
    }
}

fn groups(processes: &[(String, u32)]) -> Result<Vec<Group>> {
    processes.iter().map(|(_, pid)| Group::of(*pid)).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Phase {
    /// Nobody begins anything.
    Waiting = 0,
    WarmingUp = 1,
    Measuring = 2,
    Over = 3,
}

/// What all callers of one measurement share.
#[derive(Debug)]
struct Run {
    target: Target,
    tls: Arc<ClientConfig>,
    phase: AtomicU8,
    /// Operations that may still begin in this phase.
    left: AtomicU64,
    /// Another phase begins.
    changed: Notify,
    /// An operation ended.
    ended: Notify,
    tally: Mutex<Tally>,
}

impl Run {
    fn new(target: Target, tls: Arc<ClientConfig>) -> Result<Self> {
        Ok(Self {
            target,
            tls,
            phase: AtomicU8::new(Phase::Waiting as u8),
            left: AtomicU64::new(0),
            changed: Notify::new(),
            ended: Notify::new(),
            tally: Mutex::new(Tally::new()?),
        })
    }

    fn enter(&self, phase: Phase, operations: u64) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.left.store(operations, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// Waits until another operation may begin. False: none will.
    async fn may_begin(&self) -> bool {
        // One thread: nothing changes between the look and the waiting.
        while !self.over() {
            let left = self.left.load(Ordering::Relaxed);
            if left > 0 {
                self.left.store(left - 1, Ordering::Relaxed);
                return true;
            }
            self.changed.notified().await;
        }
        false
    }

    /// Waits until so many operations ended, well or not.
    async fn ended(&self, count: u64) {
        let enough = async {
            while self.tally().ended() < count {
                self.ended.notified().await;
            }
        };
        if tokio::time::timeout(TOO_LONG, enough).await.is_err() {
            self.unanswered(TOO_LONG);
        }
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
            self.ended.notify_one();
        }
    }

    /// A fault counts whenever it happens, in the warm-up and after the end as well: none is expected.
    async fn fault(&self, fault: Fault) {
        self.tally().fault(fault);
        self.ended.notify_one();
        tokio::time::sleep(AFTER_A_FAULT).await;
    }

    fn unanswered(&self, within: Duration) {
        let detail = format!("no answer within {within:?}");
        self.tally().fault(Fault { kind: FaultKind::Unanswered, detail });
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
    fn now(processes: &[Group], own: &Group) -> Result<Self> {
        let used: Result<Vec<_>> = processes.iter().map(Group::used).collect();
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
