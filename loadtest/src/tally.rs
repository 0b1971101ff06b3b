//! Counts and latencies of one measurement. Only what completed between two instants is in it.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::connection::{Fault, Handshake};
use crate::error::{Doing, Result};

/// Longest latency kept apart; a longer one is counted as this one, and shows as `max`.
const LONGEST: Duration = Duration::from_secs(120);

/// Three significant digits: a percentile is right to 0.1 %.
const SIGNIFICANT_DIGITS: u8 = 3;

#[derive(Debug)]
pub struct Tally {
    latency: Histogram<u64>,
    /// Open loop only: how long after its intended moment a request was really sent.
    lateness: Histogram<u64>,
    pub completed: u64,
    pub full_handshakes: u64,
    pub resumed_handshakes: u64,
    faults: BTreeMap<String, FaultCount>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct FaultCount {
    pub count: u64,
    /// The first of them, in the words of the library that noticed.
    pub example: String,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Percentiles {
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
}

impl Tally {
    pub fn new() -> Result<Self> {
        let histogram =
            || Histogram::new_with_bounds(1, nanoseconds(LONGEST), SIGNIFICANT_DIGITS).doing("latency histogram");
        Ok(Self {
            latency: histogram()?,
            lateness: histogram()?,
            completed: 0,
            full_handshakes: 0,
            resumed_handshakes: 0,
            faults: BTreeMap::new(),
        })
    }

    pub fn success(&mut self, latency: Duration) {
        self.completed += 1;
        self.latency.saturating_record(nanoseconds(latency).max(1));
    }

    pub fn sent_late(&mut self, by: Duration) {
        self.lateness.saturating_record(nanoseconds(by).max(1));
    }

    pub fn handshake(&mut self, kind: Handshake) {
        match kind {
            Handshake::Full => self.full_handshakes += 1,
            Handshake::Resumed => self.resumed_handshakes += 1,
        }
    }

    pub fn fault(&mut self, fault: Fault) {
        let entry = self.faults.entry(fault.kind.to_string()).or_default();
        if entry.count == 0 {
            entry.example = fault.detail;
        }
        entry.count += 1;
    }

    /// Operations that ended, well or not.
    pub fn ended(&self) -> u64 {
        self.completed + self.faults.values().map(|fault| fault.count).sum::<u64>()
    }

    pub fn faults(&self) -> &BTreeMap<String, FaultCount> {
        &self.faults
    }

    pub fn latency(&self) -> Percentiles {
        percentiles(&self.latency)
    }

    /// Nothing in a closed loop, where no moment is intended.
    pub fn lateness(&self) -> Option<Percentiles> {
        (!self.lateness.is_empty()).then(|| percentiles(&self.lateness))
    }
}

fn percentiles(histogram: &Histogram<u64>) -> Percentiles {
    let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
    Percentiles {
        p50_us: at(0.5),
        p90_us: at(0.9),
        p99_us: at(0.99),
        p999_us: at(0.999),
        max_us: histogram.max() as f64 / 1000.0,
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::FaultKind;

    #[test]
    fn percentiles_are_right_to_a_thousandth() {
        let mut tally = Tally::new().unwrap();
        (1..=1000).for_each(|microseconds| tally.success(Duration::from_micros(microseconds)));
        let found = tally.latency();
        for (got, wanted) in [(found.p50_us, 500.0), (found.p99_us, 990.0), (found.max_us, 1000.0)] {
            assert!((got - wanted).abs() <= wanted * 0.001, "{got} is not {wanted}");
        }
        assert_eq!(tally.completed, 1000);
    }

    #[test]
    fn an_answer_slower_than_the_scale_is_kept_at_its_end() {
        let mut tally = Tally::new().unwrap();
        tally.success(LONGEST * 3);
        assert!(tally.latency().max_us >= LONGEST.as_secs_f64() * 1e6);
    }

    #[test]
    fn faults_are_counted_by_kind_with_the_first_example() {
        let mut tally = Tally::new().unwrap();
        for detail in ["first", "second"] {
            tally.fault(Fault { kind: FaultKind::Status(503), detail: detail.to_owned() });
        }
        let counted = &tally.faults()["status 503"];
        assert_eq!((counted.count, counted.example.as_str()), (2, "first"));
        assert_eq!(tally.completed, 0);
    }
}
