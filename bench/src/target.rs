//! A ratio that is to be reached, and whether it was.

use serde_json::{Value, json};

use crate::measure::Series;
use crate::statistics::{Ratio, ratio};

/// `one` takes at most `at_most` times what `other` takes, in the series of this title.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The series.
    pub title: &'a str,
    /// Whose time.
    pub one: &'a str,
    /// Is compared with whose.
    pub other: &'a str,
    /// The ratio to be reached.
    pub at_most: f64,
}

/// A target that could be measured.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    target: Target<'a>,
    ratio: Ratio,
}

impl<'a> Target<'a> {
    /// What the series say; none when somebody was not there to be measured.
    pub fn judge(self, series: &[Series]) -> Option<Judged<'a>> {
        let series = series.iter().find(|one| one.title == self.title)?;
        let ratio = ratio(series.times(self.one)?, series.times(self.other)?);
        Some(Judged {
            target: self,
            ratio,
        })
    }
}

impl Judged<'_> {
    /// By the median of the rounds' ratios.
    pub fn is_reached(&self) -> bool {
        self.ratio.median <= self.target.at_most
    }

    /// One line.
    pub fn line(&self) -> String {
        let Self { target, ratio } = self;
        let verdict = if self.is_reached() { "pass" } else { "miss" };
        format!(
            "  {verdict}  {:.2} [{:.2}, {:.2}], target {:.2}: {}, {} / {}",
            ratio.median,
            ratio.low,
            ratio.high,
            target.at_most,
            target.title,
            target.one,
            target.other
        )
    }

    /// The same as JSON.
    pub fn json(&self) -> Value {
        let Self { target, ratio } = self;
        json!({
            "title": target.title, "of": target.one, "to": target.other,
            "ratio": { "median": ratio.median, "low": ratio.low, "high": ratio.high },
            "at_most": target.at_most, "reached": self.is_reached(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_judged_pair_by_pair() {
        let series = [Series {
            title: "ADD".into(),
            subjects: vec![
                ("ours".into(), vec![1.0, 20.0, 3.0]),
                ("theirs".into(), vec![10.0, 200.0, 30.0]),
            ],
        }];
        let target = |other, at_most| Target {
            title: "ADD",
            one: "ours",
            other,
            at_most,
        };
        assert!(target("theirs", 0.11).judge(&series).unwrap().is_reached());
        let missed = target("theirs", 0.09).judge(&series).unwrap();
        assert!(!missed.is_reached() && missed.line().starts_with("  miss  0.10"));
        assert!(target("nobody", 1.0).judge(&series).is_none());
    }
}
