//! [`Score`]: the features of runtimes, one line each, subjects side by side, and their totals.
//!
//! A feature passes when one of its rows passed and none failed, and is skipped when the machine
//! could judge none of its rows. A known gap is a failure here: the list of gaps says what is
//! expected, not what is good.

use std::fmt::Write;

use crate::features::FEATURES;
use crate::row::Side;
use crate::run::{End, Judged};

/// The columns: what a subject is called, and what became of its rows.
#[derive(Debug, Default)]
pub struct Score<'a> {
    subjects: Vec<(String, &'a [Judged])>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Mark {
    Pass,
    Fail,
    Skip(String),
    /// No row was run for it.
    Unasked,
}

impl<'a> Score<'a> {
    /// Adds a column.
    pub fn add(&mut self, name: &str, judged: &'a [Judged]) {
        self.subjects.push((name.to_owned(), judged));
    }

    /// The sheet. A `whole` one shows features that no row asked about as failures; otherwise
    /// (with a filter) they are left out.
    pub fn written(&self, whole: bool) -> String {
        let mut text = String::new();
        let mut totals = vec![[0_usize; 3]; self.subjects.len()];
        for (feature, title) in FEATURES {
            let marks: Vec<Mark> = self.marks(feature);
            if !whole && marks.iter().all(|mark| *mark == Mark::Unasked) {
                continue;
            }
            // Writing to a String cannot fail.
            let _ = write!(text, "{feature}");
            for (mark, total) in marks.iter().zip(&mut totals) {
                let _ = write!(text, "  {:<8}", mark.word());
                total[mark.place()] += 1;
            }
            let _ = writeln!(text, "  {title}{}", missing(&marks));
        }
        let _ = write!(text, "    ");
        for (name, _) in &self.subjects {
            let _ = write!(text, "  {name:<8}");
        }
        text.push('\n');
        for (place, word) in ["passed", "failed", "skipped"].iter().enumerate() {
            let _ = write!(text, "    ");
            for total in &totals {
                let _ = write!(text, "  {:<8}", total[place]);
            }
            let _ = writeln!(text, "  {word}");
        }
        text
    }

    fn marks(&self, feature: &str) -> Vec<Mark> {
        let of = |judged: &[Judged]| {
            let rows = judged.iter().filter(|one| one.row.side == Side::Runtime);
            mark(rows.filter(|one| one.row.id == feature).map(|one| &one.end))
        };
        self.subjects.iter().map(|(_, judged)| of(judged)).collect()
    }
}

impl Mark {
    fn word(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::Skip(_) => "skip",
            Self::Unasked => "no row",
        }
    }

    fn place(&self) -> usize {
        match self {
            Self::Pass => 0,
            Self::Fail | Self::Unasked => 1,
            Self::Skip(_) => 2,
        }
    }
}

fn mark<'a>(ends: impl Iterator<Item = &'a End>) -> Mark {
    let mut mark = Mark::Unasked;
    for end in ends {
        mark = match (end, mark) {
            (End::Failed { .. } | End::KnownGap(_), _) | (_, Mark::Fail) => Mark::Fail,
            (End::Passed | End::GapClosed(_), _) | (_, Mark::Pass) => Mark::Pass,
            (End::Skipped(what), Mark::Unasked) => Mark::Skip(what.clone()),
            (End::Skipped(_), earlier) => earlier,
        };
    }
    mark
}

/// What the machine lacks, by the first subject that could not be judged.
fn missing(marks: &[Mark]) -> String {
    let what = marks.iter().find_map(|mark| match mark {
        Mark::Skip(what) => Some(what),
        _ => None,
    });
    what.map(|what| format!(" (lacking: {what})"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn judged(id: &str, end: End) -> Judged {
        let row = crate::rows().into_iter().find(|row| row.id == id);
        Judged {
            row: row.expect("the suite has a row of that id"),
            end,
            took: Duration::ZERO,
        }
    }

    fn failed() -> End {
        End::Failed {
            why: "it did not".into(),
            record: String::new(),
        }
    }

    #[test]
    fn one_failing_row_fails_the_feature_and_a_known_gap_is_one() {
        let good = [judged("F049", End::Passed), judged("F049", failed())];
        let gap = [judged("F049", End::KnownGap("old".into()))];
        let mut score = Score::default();
        score.add("one", &good);
        score.add("two", &gap);
        let text = score.written(false);
        assert!(text.starts_with("F049  FAIL      FAIL      "), "{text}");
        assert!(
            text.ends_with("  1         1         failed\n      0         0         skipped\n")
        );
    }

    #[test]
    fn a_skip_beside_a_pass_is_a_pass_and_alone_names_what_is_missing() {
        let ends = [End::Skipped("a bus".into()), End::Passed];
        assert_eq!(mark(ends.iter()), Mark::Pass);
        let alone = [judged("F049", End::Skipped("a bus".into()))];
        let mut score = Score::default();
        score.add("one", &alone);
        assert!(score.written(false).contains("(lacking: a bus)"));
    }

    #[test]
    fn a_whole_sheet_has_every_feature_and_an_unasked_one_is_a_failure() {
        let mut score = Score::default();
        score.add("one", &[]);
        let text = score.written(true);
        assert_eq!(text.lines().count(), FEATURES.len() + 4);
        assert!(text.contains("  246       failed"), "{text}");
        assert_eq!(score.written(false).lines().count(), 4);
    }

    #[test]
    fn every_runtime_row_belongs_to_a_feature() {
        for row in crate::rows() {
            let known = FEATURES.iter().any(|(feature, _)| *feature == row.id);
            assert!(row.side == Side::Cni || known, "{} is no feature", row.id);
        }
    }
}
