//! What a handful of repeated measurements say: the median, how far they lie apart, and the ratio of two of them.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub median: f64,
    pub lowest: f64,
    pub highest: f64,
}

impl Summary {
    /// Nothing for no values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (lowest, highest) = (*sorted.first()?, *sorted.last()?);
        let (below, above) = (sorted.get((sorted.len() - 1) / 2)?, sorted.get(sorted.len() / 2)?);
        Some(Self { median: f64::midpoint(*below, *above), lowest, highest })
    }

    /// Distance of the extremes, as a share of the median.
    pub fn spread(&self) -> f64 {
        if self.median == 0.0 { 0.0 } else { (self.highest - self.lowest) / self.median }
    }
}

/// The ratio of two series that were measured turn by turn (A B A B): the median of the turns' own ratios, and the
/// extremes. Within one turn both sides met the same weather, so their ratio moves less than either of them; on a virtual
/// machine whose speed changes by a third within seconds, less than the ratio of the medians, too.
pub fn ratio(above: &[f64], below: &[f64]) -> Option<Summary> {
    let by_turn = Summary::of(above.iter().zip(below).map(|(a, b)| a / b))?;
    by_turn.median.is_finite().then_some(by_turn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_order_and_one_outlier() {
        assert_eq!(Summary::of([3.0, 1.0, 1000.0]).unwrap().median, 3.0);
        assert_eq!(Summary::of([4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(Summary::of([]), None);
    }

    #[test]
    fn the_spread_is_a_share_of_the_median() {
        let summary = Summary::of([90.0, 100.0, 115.0]).unwrap();
        assert!((summary.spread() - 0.25).abs() < 1e-9);
        assert_eq!(Summary::of([0.0]).unwrap().spread(), 0.0);
    }

    #[test]
    fn a_ratio_is_one_of_turns() {
        // The second turn was slow for both: each series spreads by half, the ratio does not.
        let found = ratio(&[200.0, 100.0, 210.0], &[100.0, 50.0, 105.0]).unwrap();
        assert_eq!((found.median, found.lowest, found.highest), (2.0, 2.0, 2.0));
        assert_eq!(ratio(&[1.0], &[0.0]), None);
        assert_eq!(ratio(&[], &[]), None);
    }
}
