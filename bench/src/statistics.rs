//! Medians, percentiles, and the ratio of two series with a bootstrap interval.

use std::fmt;

use serde_json::{Value, json};

/// A small deterministic generator: a benchmark needs shuffles, not secrets.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// A generator with this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below `bound` (xorshift64*).
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(high).unwrap_or_default() % bound.max(1)
    }

    /// Puts a list into random order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for index in (1..list.len()).rev() {
            list.swap(index, self.below(index + 1));
        }
    }
}

/// The value that `percent` of the values do not exceed; NaN when there are none.
pub fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

/// The middle of the values: between the two in the middle, if they are even in number.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match (sorted.get(half), sorted.len() % 2) {
        (None, _) => f64::NAN,
        (Some(middle), 1) => *middle,
        (Some(upper), _) => (sorted[half - 1] + upper) / 2.0,
    }
}

/// A ratio and the interval that holds it with 95 % confidence.
#[derive(Clone, Copy, Debug)]
pub struct Ratio {
    /// The median of the rounds' ratios.
    pub median: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Ratio {
    /// As it is kept.
    pub fn json(self) -> Value {
        json!({ "median": self.median, "low": self.low, "high": self.high })
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A ratio of a hundredth is not told by two digits behind the point.
        let digits = if self.median.abs() < 0.1 { 3 } else { 2 };
        let Self { median, low, high } = self;
        write!(f, "{median:.digits$} [{low:.digits$}, {high:.digits$}]")
    }
}

/// The ratio of two series measured in the same rounds.
pub fn ratio(ours: &[f64], theirs: &[f64]) -> Ratio {
    let pairs = ours.iter().zip(theirs);
    interval(
        &pairs
            .map(|(ours, theirs)| ours / theirs)
            .collect::<Vec<_>>(),
    )
}

/// What `with` takes more than `without`, as a part of `whole`, all of the same rounds.
pub fn added(with: &[f64], without: &[f64], whole: &[f64]) -> Ratio {
    let rounds = with.iter().zip(without).zip(whole);
    let part = |((with, without), whole): ((&f64, &f64), &f64)| (with - without) / whole;
    interval(&rounds.map(part).collect::<Vec<_>>())
}

/// The median of the rounds' ratios, and its interval by drawing rounds again and again.
fn interval(each: &[f64]) -> Ratio {
    const RESAMPLES: usize = 1000;
    let mut random = Random::new(7);
    let resample = |random: &mut Random| -> f64 {
        let drawn: Vec<f64> = each
            .iter()
            .map(|_| each[random.below(each.len())])
            .collect();
        median(&drawn)
    };
    let medians: Vec<f64> = (0..RESAMPLES).map(|_| resample(&mut random)).collect();
    Ratio {
        median: median(each),
        low: percentile(&medians, 2),
        high: percentile(&medians, 97),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_holds_the_ratio() {
        let theirs: Vec<f64> = (1..=50).map(f64::from).collect();
        let ours: Vec<f64> = theirs.iter().map(|value| value / 2.0).collect();
        let ratio = ratio(&ours, &theirs);
        assert!((ratio.median - 0.5).abs() < 1e-9 && ratio.low <= 0.5 && ratio.high >= 0.5);
    }

    #[test]
    fn what_is_added_is_a_part_of_the_whole() {
        let (without, whole) = ([10.0, 20.0, 30.0], [4.0, 8.0, 12.0]);
        let part = added(&[11.0, 22.0, 33.0], &without, &whole);
        assert_eq!((part.median, part.low, part.high), (0.25, 0.25, 0.25));
        assert_eq!(
            added(&[9.0], &[10.0], &[4.0]).to_string(),
            "-0.25 [-0.25, -0.25]"
        );
    }

    #[test]
    fn the_interval_is_as_wide_as_the_rounds_disagree() {
        let ours: Vec<f64> = (0..40).map(|round| f64::from(1 + round % 4)).collect();
        let wide = ratio(&ours, &[1.0; 40]);
        assert!(
            wide.low < wide.high && wide.low >= 1.0 && wide.high <= 4.0,
            "{wide}"
        );
        assert!(ratio(&[], &[]).median.is_nan());
    }

    #[test]
    fn the_middle_may_be_between_values_and_percentiles_are_some_of_them() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!((median(&values), percentile(&values, 90)), (2.5, 4.0));
        assert_eq!((median(&values[..3]), percentile(&values, 0)), (3.0, 1.0));
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_shuffle_keeps_every_element() {
        let mut list: Vec<usize> = (0..20).collect();
        Random::new(3).shuffle(&mut list);
        assert_ne!(list, (0..20).collect::<Vec<_>>());
        list.sort_unstable();
        assert_eq!(list, (0..20).collect::<Vec<_>>());
    }
}
