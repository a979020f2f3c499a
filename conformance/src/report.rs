//! What became of the rows, for people, for TAP readers and as JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::run::{End, Judged};

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Lines for a terminal, failures in full.
    Human,
    /// Test Anything Protocol 13.
    Tap,
    /// One object per row.
    Json,
}

/// The whole report. `again` is the start of a command that repeats one row.
pub fn written(judged: &[Judged], format: Format, again: &str) -> String {
    match format {
        Format::Human => human(judged, again),
        Format::Tap => tap(judged),
        Format::Json => format!("{:#}\n", Value::Array(judged.iter().map(object).collect())),
    }
}

/// One line: how many rows ended how.
pub fn summary(judged: &[Judged]) -> String {
    let count = |wanted: &str| judged.iter().filter(|one| word(&one.end) == wanted).count();
    format!(
        "{} rows: {} passed, {} failed, {} known gaps, {} gaps closed, {} skipped",
        judged.len(),
        count("ok"),
        count("FAIL"),
        count("gap"),
        count("CLOSED"),
        count("SKIP"),
    )
}

/// What must be looked at, and the summary: for a subject that stands beside another.
pub fn trouble(judged: &[Judged], again: &str) -> String {
    let bad: Vec<Judged> = judged
        .iter()
        .filter(|one| one.end.is_bad())
        .cloned()
        .collect();
    lines(&bad, again) + &summary(judged) + "\n"
}

fn human(judged: &[Judged], again: &str) -> String {
    lines(judged, again) + &summary(judged) + "\n"
}

fn lines(judged: &[Judged], again: &str) -> String {
    let mut text = String::new();
    for one in judged {
        let (name, clause) = (one.row.name(), one.row.clause);
        // Writing to a String cannot fail.
        let _ = match &one.end {
            End::Passed => writeln!(text, "ok     {name}"),
            End::Skipped(what) => writeln!(text, "SKIP: {what} ({name})"),
            End::KnownGap(reason) => writeln!(text, "gap    {name}: {reason}"),
            End::GapClosed(reason) => writeln!(
                text,
                "CLOSED {name} holds now; take it out of known-gaps.toml (was: {reason})"
            ),
            End::Failed { why, record } => writeln!(
                text,
                "FAIL   {name}\n  clause: {clause}\n  why: {}\n  record:\n{}\n  again: {again} {name}",
                why.trim_end(),
                indented(record),
            ),
        };
    }
    text
}

fn tap(judged: &[Judged]) -> String {
    let mut text = format!("TAP version 13\n1..{}\n", judged.len());
    for (number, one) in (1..).zip(judged) {
        let name = one.row.name();
        let _ = match &one.end {
            End::Passed => writeln!(text, "ok {number} - {name}"),
            End::Skipped(what) => writeln!(text, "ok {number} - {name} # SKIP {what}"),
            End::KnownGap(reason) => writeln!(text, "not ok {number} - {name} # TODO {reason}"),
            End::GapClosed(reason) => writeln!(text, "not ok {number} - {name} # closed: {reason}"),
            End::Failed { why, .. } => {
                writeln!(
                    text,
                    "not ok {number} - {name}\n# {}",
                    why.replace('\n', "\n# ")
                )
            }
        };
    }
    text
}

fn object(one: &Judged) -> Value {
    let (why, record) = match &one.end {
        End::Failed { why, record } => (why.as_str(), record.as_str()),
        End::KnownGap(why) | End::GapClosed(why) | End::Skipped(why) => (why.as_str(), ""),
        End::Passed => ("", ""),
    };
    json!({
        "row": one.row.name(), "clause": one.row.clause, "needs": one.needs, "end": word(&one.end),
        "why": why, "record": record, "milliseconds": u64::try_from(one.took.as_millis()).ok(),
    })
}

fn word(end: &End) -> &'static str {
    match end {
        End::Passed => "ok",
        End::Failed { .. } => "FAIL",
        End::KnownGap(_) => "gap",
        End::GapClosed(_) => "CLOSED",
        End::Skipped(_) => "SKIP",
    }
}

fn indented(text: &str) -> String {
    text.lines()
        .map(|line| format!("    {line}\n"))
        .collect::<String>()
        .trim_end()
        .to_owned()
}
