//! Medians, percentiles, and the ratio of two series with a bootstrap interval.

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

/// The middle of the values.
pub fn median(values: &[f64]) -> f64 {
    percentile(values, 50)
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

/// The ratio of two series measured in the same rounds.
pub fn ratio(ours: &[f64], theirs: &[f64]) -> Ratio {
    const RESAMPLES: usize = 1000;
    let each: Vec<f64> = ours
        .iter()
        .zip(theirs)
        .map(|(ours, theirs)| ours / theirs)
        .collect();
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
        median: median(&each),
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
    fn percentiles_are_values_of_the_series() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!((median(&values), percentile(&values, 90)), (3.0, 4.0));
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
