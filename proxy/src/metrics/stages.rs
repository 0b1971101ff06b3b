//! How long each part of the gate's work on a request takes.
use super::Metrics;
use prometheus_client::metrics::histogram::Histogram;
use std::time::Instant;

/// A part of the gate's work on one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Identify,
    Facts,
    Decide,
    Record,
}

impl Stage {
    pub(super) const ALL: [Self; 4] = [Self::Identify, Self::Facts, Self::Decide, Self::Record];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identify => "identify",
            Self::Facts => "facts",
            Self::Decide => "decide",
            Self::Record => "record",
        }
    }
}

/// Measures one stage after the other.
#[derive(Clone, Debug)]
pub struct Stages {
    since: Instant,
    /// By position in `Stage::ALL`; none: the request did not come so far.
    done: [Option<Instant>; Stage::ALL.len()],
}

impl Stages {
    /// The first stage begins.
    pub fn begin() -> Self {
        Self { since: Instant::now(), done: [None; Stage::ALL.len()] }
    }

    /// This stage took the time since the one before, or since the start.
    pub fn done(&mut self, stage: Stage, metrics: &Metrics) {
        let now = Instant::now();
        if let Some(histogram) = metrics.stages.get(stage as usize) {
            histogram.observe(now.duration_since(self.since).as_secs_f64());
        }
        if let Some(done) = self.done.get_mut(stage as usize) {
            *done = Some(now);
        }
        self.since = now;
    }

    /// When each stage was over that was.
    pub fn done_at(&self) -> impl Iterator<Item = (Stage, Instant)> {
        Stage::ALL.into_iter().zip(self.done).filter_map(|(stage, at)| Some((stage, at?)))
    }
}

/// From a decision (microseconds) to a disk that hangs.
pub(super) fn stage_seconds() -> Histogram {
    Histogram::new([0.000_002, 0.000_01, 0.000_05, 0.000_25, 0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0])
}
