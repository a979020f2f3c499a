//! What became of the rows, for people, for TAP and JUnit readers and as JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::clause::{Judge, clauses};
use crate::machine::Machine;
use crate::row::Row;
use crate::run::{End, Judged};
use crate::score::{Ladder, Score};
use crate::trial::Trial;

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Lines for a terminal: failures in full, then the sheets of all subjects side by side.
    Human,
    /// Test Anything Protocol 13.
    Tap,
    /// XML as JUnit's readers take it: a suite for each subject.
    Junit,
    /// One object, with one for each subject and row.
    Json,
}

impl Format {
    /// By its name on the command line.
    pub fn named(word: &str) -> Result<Self, String> {
        match word {
            "human" => Ok(Self::Human),
            "tap" => Ok(Self::Tap),
            "junit" => Ok(Self::Junit),
            "json" => Ok(Self::Json),
            _ => Err("it is human, tap, junit or json".into()),
        }
    }
}

/// The whole report. The first `own` trials are those of the subject itself, whose rows people see
/// one by one; a run that is not `whole` had a filter.
pub fn written(trials: &[Trial], own: usize, format: Format, whole: bool) -> String {
    match format {
        Format::Human => human(trials, own, whole),
        Format::Tap => tap(trials),
        Format::Junit => junit(trials),
        Format::Json => format!("{:#}\n", json(trials)),
    }
}

/// One line: how many rows ended how.
fn summary<'a>(judged: impl Iterator<Item = &'a Judged>) -> String {
    let words: Vec<&str> = judged.map(|one| word(&one.end)).collect();
    let count = |wanted: &str| words.iter().filter(|word| **word == wanted).count();
    format!(
        "{} rows: {} passed, {} failed, {} known gaps, {} gaps closed, {} skipped\n",
        words.len(),
        count("ok"),
        count("FAIL"),
        count("gap"),
        count("CLOSED"),
        count("SKIP"),
    )
}

fn human(trials: &[Trial], own: usize, whole: bool) -> String {
    let mut text = String::new();
    let (ours, beside) = trials.split_at(own);
    for trial in ours {
        trial
            .judged
            .iter()
            .for_each(|one| line(&mut text, one, &trial.again));
    }
    text += &summary(ours.iter().flat_map(|trial| &trial.judged));
    for trial in beside {
        let bad = trial.judged.iter().filter(|one| one.end.is_bad());
        bad.for_each(|one| line(&mut text, one, &trial.again));
        text += &format!("{}: {}", trial.name, summary(trial.judged.iter()));
    }
    scores(trials)
        .iter()
        .fold(text, |text, score| text + &score.written(whole))
}

/// The sheets of every side that was judged, both ladders of each.
pub fn scores(trials: &[Trial]) -> Vec<Score<'_>> {
    let mut scores = Vec::new();
    let mut sides: Vec<_> = trials.iter().map(|trial| trial.side).collect();
    sides.sort();
    sides.dedup();
    for side in sides {
        let of_side = || trials.iter().filter(|trial| trial.side == side);
        // With a filter, whole sides may not have been asked.
        if of_side().all(|trial| trial.judged.is_empty()) {
            continue;
        }
        for ladder in Ladder::ALL {
            let mut score = Score::of(side, ladder);
            of_side().for_each(|trial| score.add(&trial.name, &trial.judged));
            scores.push(score);
        }
    }
    scores
}

fn line(text: &mut String, one: &Judged, again: &str) {
    let (name, clause) = (one.row.name(), one.row.clause);
    // Writing to a String cannot fail.
    let _ = match &one.end {
        End::Passed if !one.told.is_empty() => writeln!(text, "ok     {name} ({})", one.told),
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
            visible(why.trim_end()),
            indented(&visible(record)),
        ),
    };
}

fn tap(trials: &[Trial]) -> String {
    let all = || {
        trials
            .iter()
            .flat_map(|trial| trial.judged.iter().map(move |one| (trial, one)))
    };
    let mut text = format!("TAP version 13\n1..{}\n", all().count());
    for (number, (trial, one)) in (1..).zip(all()) {
        let name = format!("{} {}", trial.name, one.row.name());
        let _ = match &one.end {
            End::Passed => writeln!(text, "ok {number} - {name}"),
            End::Skipped(what) => writeln!(text, "ok {number} - {name} # SKIP {what}"),
            End::KnownGap(reason) => writeln!(text, "not ok {number} - {name} # TODO {reason}"),
            End::GapClosed(reason) => writeln!(text, "not ok {number} - {name} # closed: {reason}"),
            End::Failed { .. } => {
                let mut said = String::new();
                line(&mut said, one, &trial.again);
                let said = said.trim_end().replace('\n', "\n# ");
                writeln!(text, "not ok {number} - {name}\n# {said}")
            }
        };
    }
    text
}

fn junit(trials: &[Trial]) -> String {
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n".to_owned();
    for trial in trials {
        let count = |of: fn(&End) -> bool| trial.judged.iter().filter(|one| of(&one.end)).count();
        let _ = writeln!(
            text,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" time=\"{:.3}\">",
            escaped(&trial.name),
            trial.judged.len(),
            count(End::is_bad),
            count(|end| matches!(end, End::Skipped(_) | End::KnownGap(_))),
            trial
                .judged
                .iter()
                .map(|one| one.took.as_secs_f64())
                .sum::<f64>(),
        );
        trial
            .judged
            .iter()
            .for_each(|one| text += &test_case(one, &trial.again));
        text += "  </testsuite>\n";
    }
    text + "</testsuites>\n"
}

fn test_case(one: &Judged, again: &str) -> String {
    let head = format!(
        "    <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
        escaped(&one.row.topic()),
        escaped(&one.row.name()),
        one.took.as_secs_f64(),
    );
    let mut said = String::new();
    line(&mut said, one, again);
    match &one.end {
        End::Passed => format!("{head}/>\n"),
        End::Skipped(what) => skipped(&head, what),
        End::KnownGap(reason) => skipped(&head, &format!("known gap: {reason}")),
        End::GapClosed(why) | End::Failed { why, .. } => format!(
            "{head}>\n      <failure message=\"{}\">{}</failure>\n    </testcase>\n",
            escaped(why.lines().next().unwrap_or_default()),
            escaped(&said),
        ),
    }
}

fn skipped(head: &str, why: &str) -> String {
    format!(
        "{head}>\n      <skipped message=\"{}\"/>\n    </testcase>\n",
        escaped(why)
    )
}

/// Text as XML and HTML take it, without the characters that XML 1.0 has no way to write.
pub(crate) fn escaped(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .map(|c| match c {
            '&' => "&amp;".into(),
            '<' => "&lt;".into(),
            '>' => "&gt;".into(),
            '"' => "&quot;".into(),
            other => other.to_string(),
        })
        .collect()
}

fn json(trials: &[Trial]) -> Value {
    let machine = Machine::here();
    let subject = |trial: &Trial| {
        json!({
            "side": format!("{:?}", trial.side), "name": trial.name, "version": trial.version,
            "rows": trial.judged.iter().map(|one| object(one, &trial.again)).collect::<Vec<_>>(),
        })
    };
    json!({
        "kernel": machine.kernel, "system": machine.system, "cgroups": machine.cgroups,
        "date": machine.date, "subjects": trials.iter().map(subject).collect::<Vec<_>>(),
    })
}

fn object(one: &Judged, again: &str) -> Value {
    let (why, record) = match &one.end {
        End::Failed { why, record } => (why.as_str(), record.as_str()),
        End::KnownGap(why) | End::GapClosed(why) | End::Skipped(why) => (why.as_str(), ""),
        End::Passed => ("", ""),
    };
    json!({
        "row": one.row.name(), "topic": one.row.topic(), "clause": one.row.clause,
        "sentences": sentences(one.row), "needs": one.needs, "told": one.told, "end": word(&one.end), "retried": one.retried, "why": why, "record": record,
        "again": format!("{again} {}", one.row.name()),
        "milliseconds": u64::try_from(one.took.as_millis()).ok(),
    })
}

/// The IDs of the sentences that a row judges.
fn sentences(row: &Row) -> Vec<&'static str> {
    let of_row = clauses().filter(|clause| match clause.judge {
        Judge::Rows(names) => names.iter().any(|name| row.answers_to(name)),
        Judge::Nobody(_) => false,
    });
    of_row.map(|clause| clause.id).collect()
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

/// What a subject printed may drive a terminal, and end a line of TAP.
fn visible(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => c.to_string(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.chars().map(shown).collect()
}

fn indented(text: &str) -> String {
    text.lines()
        .map(|line| format!("    {line}\n"))
        .collect::<String>()
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn trial() -> Trial {
        let ends = [
            End::Passed,
            End::Failed {
                why: "1 < 2 & \"so\"\nmore".into(),
                record: "$ x\u{1b}[0m".into(),
            },
            End::Skipped("a bus".into()),
            End::KnownGap("old".into()),
        ];
        let rows = crate::rows().into_iter();
        let judged = rows.zip(ends).map(|(row, end)| Judged {
            row,
            end,
            needs: vec!["a thing".into()],
            told: "7 tries".into(),
            retried: false,
            took: Duration::from_millis(1500),
        });
        Trial {
            side: crate::Side::Runtime,
            name: "one".into(),
            version: "one 1.0".into(),
            again: "oci-conformance --runtime /one".into(),
            judged: judged.collect(),
        }
    }

    #[test]
    fn a_failure_says_how_to_repeat_it() {
        let trial = [trial()];
        let name = trial[0].judged[1].row.name();
        let text = written(&trial, 1, Format::Human, false);
        assert!(
            text.contains(&format!("again: oci-conformance --runtime /one {name}\n")),
            "{text}"
        );
        assert!(text.contains("$ x\\u{1b}[0m"), "{text}");
        assert!(text.contains(&format!(
            "ok     {} (7 tries)\n",
            trial[0].judged[0].row.name()
        )));
        assert!(
            text.contains("4 rows: 1 passed, 1 failed, 1 known gaps, 0 gaps closed, 1 skipped")
        );
    }

    #[test]
    fn tap_counts_its_lines() {
        let text = written(&[trial()], 1, Format::Tap, false);
        assert!(
            text.starts_with("TAP version 13\n1..4\nok 1 - one "),
            "{text}"
        );
        assert!(text.contains("\nnot ok 2 - one ") && text.contains(" # SKIP a bus\n"));
    }

    #[test]
    fn junit_escapes_what_was_said() {
        let text = written(&[trial()], 1, Format::Junit, false);
        assert!(
            text.contains("tests=\"4\" failures=\"1\" skipped=\"2\" time=\"6.000\""),
            "{text}"
        );
        assert!(
            text.contains("message=\"1 &lt; 2 &amp; &quot;so&quot;\""),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn json_names_subjects_rows_and_needs() {
        let value = json(&[trial()]);
        let row = &value["subjects"][0]["rows"][1];
        assert_eq!(value["subjects"][0]["name"], "one");
        assert_eq!(
            (&row["end"], &row["needs"][0]),
            (&json!("FAIL"), &json!("a thing"))
        );
        assert!(
            row["topic"]
                .as_str()
                .is_some_and(|topic| topic.starts_with("runtime/"))
        );
    }
}
