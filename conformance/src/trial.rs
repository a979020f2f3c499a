//! [`Trial`]: what became of the rows of one side on one subject.

use std::path::Path;
use std::time::Duration;

use testbed::Invocation;

use crate::error::Error;
use crate::options;
use crate::row::{Row, Side};
use crate::run::{self, End, Judged, Manner};
use crate::subject::Subject;

/// How long a subject may take to tell its version.
const PATIENCE: Duration = Duration::from_secs(5);

/// One column of the sheets of a side.
#[derive(Debug)]
pub struct Trial {
    /// What was judged.
    pub side: Side,
    /// What the subject is called, as in known-gaps.toml.
    pub name: String,
    /// What it says of its version, in a line; empty if it says nothing.
    pub version: String,
    /// A command that repeats a row whose name follows.
    pub again: String,
    /// Its rows.
    pub judged: Vec<Judged>,
}

/// Judges the rows that `subject` can be asked, below the directory `place`: one trial for each of
/// its sides. `patient` gives a row that failed a second attempt, alone: for subjects whose races
/// are not ours to mend. What passes then is told in `notes`.
pub fn judge(
    rows: &[&'static Row],
    subject: &Subject,
    place: &Path,
    manner: Manner,
    patient: bool,
) -> Result<(Vec<Trial>, String), Error> {
    let mut judged = run::run(rows, subject, place, manner)?;
    let mut notes = String::new();
    if patient {
        for one in judged.iter_mut().filter(|one| is_failure(&one.end)) {
            let place = place.join(format!("again-{}", one.row.name()));
            std::fs::create_dir(&place).map_err(Error::of("mkdir", &place))?;
            let second = run::run(&[one.row], subject, &place, manner.alone())?;
            if let Some(second) = second.into_iter().find(|second| second.end == End::Passed) {
                let (name, row) = (subject.name(one.row.side), one.row.name());
                notes += &format!("again  {row} failed on {name}, and not when it was run alone\n");
                *one = Judged {
                    retried: true,
                    ..second
                };
            }
        }
    }
    let trial = |(side, path): (Side, &Path)| Trial {
        side,
        name: subject.name(side).into(),
        version: version(side, path),
        again: again(subject),
        judged: judged
            .iter()
            .filter(|one| one.row.side == side)
            .cloned()
            .collect(),
    };
    Ok((subject.targets().map(trial).collect(), notes))
}

fn is_failure(end: &End) -> bool {
    matches!(end, End::Failed { .. })
}

fn again(subject: &Subject) -> String {
    let mut words = vec!["oci-conformance --keep".to_owned()];
    if let Some(name) = &subject.section {
        words.push(format!("--subject {}", testbed::invocation::quoted(name)));
    }
    words.extend(subject.targets().map(|(side, path)| {
        let path = testbed::invocation::quoted(&path.to_string_lossy());
        format!("--{} {path}", options::flag(side))
    }));
    words.join(" ")
}

/// The first line that `--version` prints, or the banner of a plugin that is run by hand; nothing
/// if that takes longer than it may.
fn version(side: Side, path: &Path) -> String {
    let path = path.to_string_lossy().into_owned();
    let argv = match side {
        Side::Cni => vec![path + "/loopback"],
        _ => vec![path, "--version".into()],
    };
    let said = Invocation::new(argv).deadline(PATIENCE).run();
    let said = said.map(|said| format!("{}\n{}", said.text(), said.complaint()));
    let said = said.unwrap_or_default();
    let lines = said.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty())
        .map(String::from)
        .next()
        .unwrap_or_default()
}
