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

/// A mean, and how far off it may be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The mean of the middle half of all values: what a virtual machine's hiccups do to a quarter of the turns on either
    /// side does not matter, and the rest is averaged.
    pub value: f64,
    /// Two standard errors of it: another run's value lies within this and its own, nineteen times of twenty.
    pub within: f64,
}

impl Estimate {
    /// Nothing for no values. The standard error is that of a trimmed mean (Tukey and McLaughlin 1963): from the values
    /// with both outer quarters drawn in to the quartiles.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let quarter = sorted.len() / 4;
        let middle = sorted.get(quarter..sorted.len() - quarter)?;
        let (first, last) = (*middle.first()?, *middle.last()?);
        let value = mean(middle.iter().copied())?;
        let drawn_in = || sorted.iter().map(|value| value.clamp(first, last));
        let centre = mean(drawn_in())?;
        let count = sorted.len() as f64;
        let squares: f64 = drawn_in().map(|value| (value - centre).powi(2)).sum();
        let deviation = (squares / (count - 1.0).max(1.0)).sqrt();
        let within = 2.0 * deviation / (middle.len() as f64 / count) / count.sqrt();
        value.is_finite().then_some(Self { value, within })
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> Option<f64> {
    let count = values.len();
    (count > 0).then(|| values.sum::<f64>() / count as f64)
}

/// The ratio of two series that were measured turn by turn (A B A B), from the turns' own ratios. Within one turn both
/// sides met the same weather, so their ratio moves less than either of them; on a virtual machine whose speed changes by
/// a third within seconds, less than the ratio of the medians, too.
pub fn ratio(above: &[f64], below: &[f64]) -> Option<Estimate> {
    Estimate::of(above.iter().zip(below).map(|(a, b)| a / b))
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
        assert_eq!((found.value, found.within), (2.0, 0.0));
        assert_eq!(ratio(&[1.0], &[0.0]), None);
        assert_eq!(ratio(&[], &[]), None);
    }

    #[test]
    fn a_quarter_of_wild_values_changes_nothing_and_the_rest_is_averaged() {
        let calm = Estimate::of([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]).unwrap();
        assert_eq!(calm.value, 4.5, "of 3, 4, 5 and 6");
        // Drawn in: 3 3 3 4 5 6 6 6, whose deviation is 1.414; half of the values are in the middle.
        assert!((calm.within - 2.0 * 1.414 / 0.5 / 8f64.sqrt()).abs() < 0.001, "{}", calm.within);
        let wild = Estimate::of([-1e9, 2.0, 3.0, 4.0, 5.0, 6.0, 1e9, f64::INFINITY]).unwrap();
        assert_eq!(wild, calm);
        assert_eq!(Estimate::of([7.0]).unwrap(), Estimate { value: 7.0, within: 0.0 });
    }
}
