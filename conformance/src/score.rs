//! [`Score`]: one ladder of the suite (the features of a side, or the sentences that bind it), one
//! line each, subjects side by side, and their totals.
//!
//! A line passes when one of its rows passed and none failed, and is skipped when the machine
//! could judge none of its rows. A known gap is a failure here: the list of gaps says what is
//! expected, not what is good.

use std::fmt::{Display, Write};

use crate::caller_features::{CALLER_FEATURES, HOOK_FEATURES};
use crate::clause::{Judge, Level, clauses};
use crate::features::FEATURES;
use crate::plugin_features::{PLUGIN_FEATURES, Reference};
use crate::row::{Row, Side};
use crate::run::{End, Judged};

/// What the lines of a sheet are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ladder {
    /// The sentences of a specification ([`crate::clause`]).
    Sentences,
    /// The features of the tables.
    Features,
}

impl Ladder {
    /// Both, in the order of reports.
    pub const ALL: [Self; 2] = [Self::Sentences, Self::Features];
}

/// The columns: what a subject is called, and what became of its rows.
#[derive(Debug)]
pub struct Score<'a> {
    side: Side,
    ladder: Ladder,
    subjects: Vec<(String, &'a [Judged])>,
}

/// One line of a ladder before anybody is judged.
struct Rung {
    head: &'static str,
    title: String,
    /// What a sentence demands.
    level: Option<Level>,
    /// Its rows: a feature's ID for all of them, or names.
    rows: Vec<&'static str>,
}

/// One line of a sheet.
#[derive(Debug)]
pub struct Line {
    /// The feature's number, or the sentence's.
    pub head: &'static str,
    /// What it is about.
    pub title: String,
    /// What a sentence demands; a feature demands nothing.
    pub level: Option<Level>,
    /// How each subject did.
    pub marks: Vec<Mark>,
}

/// How a subject did in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A row passed and none failed; these rows could not be judged, each with what is lacking.
    Pass(Vec<String>),
    /// These rows failed, each with its reason if that is known.
    Fail(Vec<String>),
    /// The machine lacks what the rows need.
    Skip(String),
    /// No row was run for it.
    Unasked,
}

/// How many lines ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Kept.
    pub passed: usize,
    /// Not kept, or never asked.
    pub failed: usize,
    /// Those of them that are a MUST or a MUST NOT: whoever breaks one is not compliant.
    pub broken: usize,
    /// Not to be judged on this machine.
    pub skipped: usize,
}

impl<'a> Score<'a> {
    /// A sheet of one side, without a column yet.
    pub fn of(side: Side, ladder: Ladder) -> Self {
        let subjects = Vec::new();
        Self {
            side,
            ladder,
            subjects,
        }
    }

    /// Adds a column.
    pub fn add(&mut self, name: &str, judged: &'a [Judged]) {
        self.subjects.push((name.to_owned(), judged));
    }

    /// What stands above it.
    pub fn title(&self) -> &'static str {
        match (self.ladder, self.side) {
            // One of the CNI specification is for container runtimes.
            (Ladder::Sentences, Side::Runtime) => "Runtimes: sentences of the specifications",
            (Ladder::Sentences, Side::Cni) => "Plugins: sentences of the CNI specification",
            (Ladder::Sentences, Side::Caller) => "Callers: sentences of the CNI specification",
            (Ladder::Sentences, Side::Hook) => "Hooks: sentences of a specification",
            (Ladder::Features, Side::Runtime) => "Runtimes: features",
            (Ladder::Features, Side::Cni) => "Plugins: features",
            (Ladder::Features, Side::Caller) => "Callers: features",
            (Ladder::Features, Side::Hook) => "Hooks: features",
        }
    }

    /// What the lines are.
    pub fn ladder(&self) -> Ladder {
        self.ladder
    }

    /// What the columns are called.
    pub fn subjects(&self) -> impl Iterator<Item = &str> {
        self.subjects.iter().map(|(name, _)| name.as_str())
    }

    /// The lines. A `whole` sheet has those that no row asked about, as failures; otherwise (with
    /// a filter) they are left out.
    pub fn lines(&self, whole: bool) -> Vec<Line> {
        let line = |rung: Rung| Line {
            marks: self.marks(&rung),
            head: rung.head,
            title: rung.title,
            level: rung.level,
        };
        let mut lines: Vec<Line> = rungs(self.side, self.ladder).map(line).collect();
        lines.retain(|line| whole || line.marks.iter().any(|mark| *mark != Mark::Unasked));
        lines
    }

    /// The totals of each column.
    pub fn totals(&self, lines: &[Line]) -> Vec<Totals> {
        let mut totals = vec![Totals::default(); self.subjects.len()];
        for line in lines {
            for (mark, total) in line.marks.iter().zip(&mut totals) {
                match mark {
                    Mark::Pass(_) => total.passed += 1,
                    Mark::Fail(_) | Mark::Unasked => {
                        total.failed += 1;
                        total.broken += usize::from(line.level.is_some_and(Level::binds));
                    }
                    Mark::Skip(_) => total.skipped += 1,
                }
            }
        }
        totals
    }

    /// The sheet for a terminal; empty if it has no line.
    pub fn written(&self, whole: bool) -> String {
        let lines = self.lines(whole);
        if lines.is_empty() && (whole || self.ladder == Ladder::Sentences) {
            return String::new();
        }
        let width = lines.iter().map(|line| line.head.len()).max().unwrap_or(4);
        let print = |head: &str, cells: Vec<String>, end: &str| self.row(width, head, cells, end);
        let mut text = String::new();
        for line in &lines {
            let cells = line.marks.iter().map(|mark| mark.word().into()).collect();
            text += &print(
                line.head,
                cells,
                &(line.title.clone() + &missing(&line.marks)),
            );
        }
        text += &print(
            "",
            self.subjects().map(String::from).collect(),
            self.title(),
        );
        let totals = self.totals(&lines);
        let told = |of: fn(&Totals) -> usize| totals.iter().map(of).map(|n| n.to_string());
        text += &print("", told(|total| total.passed).collect(), "passed");
        text += &print("", told(|total| total.failed).collect(), "failed");
        if self.ladder == Ladder::Sentences {
            text += &print(
                "",
                told(|total| total.broken).collect(),
                "of them MUST or MUST NOT",
            );
        }
        text += &print("", told(|total| total.skipped).collect(), "skipped");
        text
    }

    /// One line: what it is about, a word for each column, and what that means.
    fn row(&self, head_width: usize, head: &str, cells: Vec<String>, end: impl Display) -> String {
        let width = self
            .subjects()
            .map(str::len)
            .max()
            .unwrap_or_default()
            .max(8);
        let mut line = format!("{head:<head_width$}");
        for cell in cells {
            // Writing to a String cannot fail.
            let _ = write!(line, "  {cell:<width$}");
        }
        format!("{line}  {end}").trim_end().to_owned() + "\n"
    }

    fn marks(&self, rung: &Rung) -> Vec<Mark> {
        let of = |judged: &[Judged]| {
            let rows = judged.iter().filter(|one| one.row.side == self.side);
            mark(rows.filter(|one| rung.has(one.row)))
        };
        self.subjects.iter().map(|(_, judged)| of(judged)).collect()
    }
}

impl Rung {
    fn has(&self, row: &Row) -> bool {
        self.rows.iter().any(|name| row.answers_to(name))
    }
}

/// Every line of a ladder of a side.
fn rungs(side: Side, ladder: Ladder) -> Box<dyn Iterator<Item = Rung>> {
    match ladder {
        Ladder::Sentences => Box::new(sentences(side)),
        Ladder::Features => Box::new(features(side).into_iter().map(|(head, title)| Rung {
            head,
            title,
            level: None,
            rows: vec![head],
        })),
    }
}

/// The sentences that bind a side and that somebody judges.
fn sentences(side: Side) -> impl Iterator<Item = Rung> {
    let bound = clauses().filter(move |clause| clause.side() == Some(side));
    bound.map(|clause| Rung {
        head: clause.id,
        title: format!("{}: {}", clause.level.word(), clause.quotation),
        level: Some(clause.level),
        rows: match clause.judge {
            Judge::Rows(names) => names.to_vec(),
            Judge::Nobody(_) => Vec::new(),
        },
    })
}

/// Number and title of every feature of a side, which says how the reference does if there is one.
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
    /// For a cell.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pass(_) => "pass",
            Self::Fail(_) => "FAIL",
            Self::Skip(_) => "skip",
            Self::Unasked => "no row",
        }
    }

    /// What is behind the word, for whoever asks; empty for a pass of all rows.
    pub fn reason(&self) -> String {
        match self {
            Self::Pass(rows) | Self::Fail(rows) => rows.join("\n"),
            Self::Skip(what) => format!("lacking: {what}"),
            Self::Unasked => "no row was run".into(),
        }
    }
}

fn mark<'a>(rows: impl Iterator<Item = &'a Judged>) -> Mark {
    let (mut passed, mut failures, mut lacks) = (false, Vec::new(), Vec::new());
    for one in rows {
        match &one.end {
            End::Failed { .. } | End::KnownGap(_) => failures.push(failure(one)),
            End::Passed | End::GapClosed(_) => passed = true,
            End::Skipped(what) => lacks.push((one, what)),
        }
    }
    if !failures.is_empty() {
        return Mark::Fail(failures);
    }
    match lacks.first() {
        None if !passed => Mark::Unasked,
        Some((_, what)) if !passed => Mark::Skip((*what).clone()),
        _ => {
            let told = |(one, what): &(&Judged, &String)| {
                format!("{} not judged, lacking: {what}", one.row.name())
            };
            Mark::Pass(lacks.iter().map(told).collect())
        }
    }
}

/// The row, and why, where that was looked into: what a fresh failure says is in the report.
fn failure(one: &Judged) -> String {
    match &one.end {
        End::KnownGap(reason) => format!("{}: {reason}", one.row.name()),
        _ => one.row.name(),
    }
}

/// What the machine lacks, by the first subject that could not be judged, wholly or in part.
fn missing(marks: &[Mark]) -> String {
    let told = marks.iter().find_map(|mark| match mark {
        Mark::Skip(what) => Some(format!(" (lacking: {what})")),
        Mark::Pass(rows) if !rows.is_empty() => Some(format!(" ({} not judged)", rows.len())),
        _ => None,
    });
    told.unwrap_or_default()
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
            told: String::new(),
            retried: false,
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
        let mut score = Score::of(Side::Runtime, Ladder::Features);
        score.add("one", &good);
        score.add("two", &gap);
        let text = score.written(false);
        assert!(text.starts_with("F049  FAIL      FAIL      "), "{text}");
        assert!(
            text.ends_with("  1         1         failed\n      0         0         skipped\n")
        );
        let reason = score.lines(false)[0].marks[1].reason();
        assert!(
            reason.starts_with("F049.") && reason.ends_with(": old"),
            "{reason}"
        );
    }

    #[test]
    fn a_skip_beside_a_pass_is_a_pass_and_alone_names_what_is_missing() {
        let both = [
            judged("F049", End::Skipped("a bus".into())),
            judged("F049", End::Passed),
        ];
        let Mark::Pass(unjudged) = mark(both.iter()) else {
            panic!("{:?}", mark(both.iter()));
        };
        assert!(
            unjudged[0].ends_with(" not judged, lacking: a bus"),
            "{unjudged:?}"
        );
        let mut score = Score::of(Side::Runtime, Ladder::Features);
        score.add("one", &both[..1]);
        assert!(score.written(false).contains("(lacking: a bus)"));
    }

    #[test]
    fn a_whole_sheet_has_every_feature_and_an_unasked_one_is_a_failure() {
        let mut score = Score::of(Side::Runtime, Ladder::Features);
        score.add("one", &[]);
        let text = score.written(true);
        assert_eq!(text.lines().count(), FEATURES.len() + 4);
        assert!(text.contains("  246       failed"), "{text}");
        assert_eq!(score.written(false).lines().count(), 4);
    }

    #[test]
    fn a_sentence_is_judged_by_its_rows() {
        let clause = clauses()
            .find(|clause| clause.id == "bundle.container-format.1")
            .expect("the first sentence of all");
        let of = |end: End| Judged {
            row: clause.rows()[0],
            end,
            needs: Vec::new(),
            told: String::new(),
            retried: false,
            took: Duration::ZERO,
        };
        let (good, bad) = ([of(End::Passed)], [of(failed())]);
        let mut score = Score::of(Side::Runtime, Ladder::Sentences);
        score.add("one", &good);
        score.add("two", &bad);
        let lines = score.lines(false);
        let line = lines.iter().find(|line| line.head == clause.id);
        let marks = &line.expect("its line").marks;
        assert_eq!(marks[0], Mark::Pass(Vec::new()));
        assert_eq!(marks[1], Mark::Fail(vec![clause.rows()[0].name()]));
        let all = score.lines(true).len();
        let bound = clauses().filter(|clause| clause.side() == Some(Side::Runtime));
        assert_eq!(all, bound.count());
    }

    /// `S055`, `SBR02` and their like are of no feature: a sentence says more there than the tables
    /// ask.
    #[test]
    fn every_row_belongs_to_a_feature_of_its_side_or_beside_one() {
        for row in crate::rows() {
            let beside = row.id.replacen('S', "F", 1);
            let mut known = features(row.side).into_iter();
            let known = known.any(|(feature, _)| {
                feature == row.id || feature == beside || row.id.strip_prefix('S') == Some(feature)
            });
            assert!(known, "{} is no feature", row.name());
        }
    }

    #[test]
    fn a_sheet_of_plugins_says_how_the_reference_does() {
        let gap = [judged("PR13", End::KnownGap("never".into()))];
        let mut score = Score::of(Side::Cni, Ladder::Features);
        score.add("reference", &gap);
        let text = score.written(false);
        assert!(text.starts_with("PR13  FAIL       (N) "), "{text}");
        assert_eq!(
            score.written(true).lines().count(),
            PLUGIN_FEATURES.len() + 4
        );
    }
}
