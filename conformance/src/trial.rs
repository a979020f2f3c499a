//! [`Trial`]: what became of the rows of one side on one subject.

use std::path::Path;
use std::process::Command;

use crate::options;
use crate::row::{Row, Side};
use crate::run::{self, End, Judged};
use crate::subject::Subject;

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
    jobs: usize,
    patient: bool,
) -> Result<(Vec<Trial>, String), String> {
    let mut judged = run::run(rows, subject, place, jobs)?;
    let mut notes = String::new();
    if patient {
        for one in judged.iter_mut().filter(|one| is_failure(&one.end)) {
            let place = place.join(format!("again-{}", one.row.name()));
            std::fs::create_dir(&place).map_err(|error| format!("mkdir {place:?}: {error}"))?;
            let second = run::run(&[one.row], subject, &place, 1)?;
            if let Some(second) = second.into_iter().find(|second| second.end == End::Passed) {
                let (name, row) = (subject.name(one.row.side), one.row.name());
                notes += &format!("again  {row} failed on {name}, and not when it was run alone\n");
                *one = second;
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
    words.extend(subject.targets().map(|(side, path)| {
        let path = testbed::invocation::quoted(&path.to_string_lossy());
        format!("--{} {path}", options::flag(side))
    }));
    words.join(" ")
}

/// The first line that `--version` prints, or the banner of a plugin that is run by hand.
fn version(side: Side, path: &Path) -> String {
    let mut command = match side {
        Side::Cni => Command::new(path.join("loopback")),
        _ => Command::new(path),
    };
    if side != Side::Cni {
        command.arg("--version");
    }
    let said = command
        .stdin(std::process::Stdio::null())
        .env_remove("CNI_COMMAND")
        .output();
    let said = said.map(|said| [said.stdout, said.stderr].concat());
    let said = String::from_utf8_lossy(&said.unwrap_or_default()).into_owned();
    said.lines().next().unwrap_or_default().to_owned()
}
