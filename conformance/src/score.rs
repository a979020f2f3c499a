//! [`Score`]: the features of runtimes, plugins, callers or hooks, one line each, subjects side by
//! side, and their totals.
//!
//! A feature passes when one of its rows passed and none failed, and is skipped when the machine
//! could judge none of its rows. A known gap is a failure here: the list of gaps says what is
//! expected, not what is good.

use std::fmt::{Display, Write};

use crate::caller_features::{CALLER_FEATURES, HOOK_FEATURES};
use crate::features::FEATURES;
use crate::plugin_features::{PLUGIN_FEATURES, Reference};
use crate::row::Side;
use crate::run::{End, Judged};

/// The columns: what a subject is called, and what became of its rows.
#[derive(Debug)]
pub struct Score<'a> {
    side: Side,
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
    /// A sheet of one side, without a column yet.
    pub fn of(side: Side) -> Self {
        let subjects = Vec::new();
        Self { side, subjects }
    }

    /// Adds a column.
    pub fn add(&mut self, name: &str, judged: &'a [Judged]) {
        self.subjects.push((name.to_owned(), judged));
    }

    /// The sheet. A `whole` one shows features that no row asked about as failures; otherwise
    /// (with a filter) they are left out.
    pub fn written(&self, whole: bool) -> String {
        let mut text = String::new();
        let mut totals = vec![[0_usize; 3]; self.subjects.len()];
        for (feature, title) in features(self.side) {
            let marks: Vec<Mark> = self.marks(feature);
            if !whole && marks.iter().all(|mark| *mark == Mark::Unasked) {
                continue;
            }
            for (mark, total) in marks.iter().zip(&mut totals) {
                total[mark.place()] += 1;
            }
            let title = title + &missing(&marks);
            text += &self.line(feature, marks.iter().map(Mark::word), &title);
        }
        text += &self.line("", self.subjects.iter().map(|(name, _)| name), "");
        for (place, word) in ["passed", "failed", "skipped"].iter().enumerate() {
            let numbers = totals.iter().map(|total| total[place]);
            text += &self.line("", numbers, word);
        }
        text
    }

    /// One line: what it is about, a word for each column, and what that means.
    fn line(&self, head: &str, cells: impl Iterator<Item = impl Display>, end: &str) -> String {
        let names = self.subjects.iter().map(|(name, _)| name.len());
        let width = names.max().unwrap_or_default().max(8);
        let mut line = format!("{head:<4}");
        for cell in cells {
            // Writing to a String cannot fail.
            let _ = write!(line, "  {cell:<width$}");
        }
        format!("{line}  {end}").trim_end().to_owned() + "\n"
    }

    fn marks(&self, feature: &str) -> Vec<Mark> {
        let of = |judged: &[Judged]| {
            let rows = judged.iter().filter(|one| one.row.side == self.side);
            mark(rows.filter(|one| one.row.id == feature).map(|one| &one.end))
        };
        self.subjects.iter().map(|(_, judged)| of(judged)).collect()
    }
}

/// Number and title of every feature of a sheet, which says how the reference does if there is one.
fn features(side: Side) -> Vec<(&'static str, String)> {
    let beside = |(feature, state, title): &(&'static str, Reference, &str)| match state {
        Reference::Unasked => (*feature, format!("(-) {title}")),
        state => (*feature, format!("({state:?}) {title}")),
    };
    match side {
        Side::Runtime => FEATURES
            .iter()
            .map(|(feature, title)| (*feature, (*title).to_owned()))
            .collect(),
        Side::Cni => PLUGIN_FEATURES.iter().map(beside).collect(),
        Side::Caller => CALLER_FEATURES.iter().map(beside).collect(),
        Side::Hook => HOOK_FEATURES.iter().map(beside).collect(),
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
            needs: Vec::new(),
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
        let mut score = Score::of(Side::Runtime);
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
        let mut score = Score::of(Side::Runtime);
        score.add("one", &alone);
        assert!(score.written(false).contains("(lacking: a bus)"));
    }

    #[test]
    fn a_whole_sheet_has_every_feature_and_an_unasked_one_is_a_failure() {
        let mut score = Score::of(Side::Runtime);
        score.add("one", &[]);
        let text = score.written(true);
        assert_eq!(text.lines().count(), FEATURES.len() + 4);
        assert!(text.contains("  246       failed"), "{text}");
        assert_eq!(score.written(false).lines().count(), 4);
    }

    #[test]
    fn every_row_belongs_to_a_feature_of_its_side() {
        for row in crate::rows() {
            let mut known = features(row.side).into_iter();
            let known = known.any(|(feature, _)| feature == row.id);
            assert!(known, "{} is no feature", row.name());
        }
    }

    #[test]
    fn a_sheet_of_plugins_says_how_the_reference_does() {
        let gap = [judged("PR13", End::KnownGap("never".into()))];
        let mut score = Score::of(Side::Cni);
        score.add("reference", &gap);
        let text = score.written(false);
        assert!(text.starts_with("PR13  FAIL       (N) "), "{text}");
        assert_eq!(
            score.written(true).lines().count(),
            PLUGIN_FEATURES.len() + 4
        );
    }
}
