//! Subjects that lie in one way each, and the proof that the rows notice.
//!
//! Two liars serve every row: one that agrees to everything and does nothing, one that refuses
//! everything. The others stand between the suite and a real subject and change one thing with
//! jq: a property of config.json (or of the plugin's stdin) on its way in, or the answer on its
//! way out. They are listed in `mutants/mutants.txt`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::gaps::Gaps;
use crate::row::{Row, Side};
use crate::run::{self, End};
use crate::subject::Subject;

/// Whether every row was seen to fail, and the story.
#[derive(Debug)]
pub struct Proof {
    /// Every row failed on a liar, and every mutant was caught where its line says.
    pub holds: bool,
    /// One line per finding.
    pub text: String,
}

/// One line of the list: `side | place | jq filter | row that catches it`.
#[derive(Debug)]
struct Mutant {
    side: Side,
    place: &'static str,
    filter: &'static str,
    row: &'static str,
}

const LIST: &str = include_str!("../mutants/mutants.txt");
const RUNTIME_SCRIPT: &str = include_str!("../mutants/runtime.sh");
const PLUGIN_SCRIPT: &str = include_str!("../mutants/plugin.sh");

/// Runs `rows` on the two liars and each mutant's row on that mutant.
pub fn prove(
    rows: &[&'static Row],
    honest: &Subject,
    directory: &Path,
    jobs: usize,
) -> Result<Proof, String> {
    let mut text = String::new();
    let mut caught = BTreeSet::new();
    for script in ["exit 0", "exit 1"] {
        let liar = liar(script, honest, directory)?;
        let judged = run::run(rows, &liar, &fresh(directory)?, jobs)?;
        let failed = judged
            .iter()
            .filter(|one| matches!(one.end, End::Failed { .. }));
        caught.extend(failed.map(|one| one.row.name()));
    }
    let mut blind: Vec<_> = rows
        .iter()
        .map(|row| row.name())
        .filter(|name| !caught.contains(name))
        .collect();
    // A known gap is a row that was seen to fail on a real peer.
    let gaps = Gaps::shipped().names();
    blind.retain(|name| !gaps.iter().any(|(_, row)| row == name));
    let (mut seen, mut missed) = (0, 0);
    for mutant in list() {
        let asked: Vec<_> = rows
            .iter()
            .copied()
            .filter(|row| row.name() == mutant.row)
            .collect();
        if asked.is_empty() {
            continue;
        }
        let subject = installed(&mutant, honest, directory)?;
        let judged = run::run(&asked, &subject, &fresh(directory)?, jobs)?;
        let noticed = judged
            .iter()
            .any(|one| matches!(one.end, End::Failed { .. }));
        let skipped = judged.iter().any(|one| matches!(one.end, End::Skipped(_)));
        if noticed {
            seen += 1;
            blind.retain(|name| name != mutant.row);
        } else if !skipped {
            missed += 1;
            text += &format!(
                "MISSED {}: {} {}\n",
                mutant.row, mutant.place, mutant.filter
            );
        }
    }
    text += &blind
        .iter()
        .map(|name| format!("BLIND  {name} failed on no liar\n"))
        .collect::<String>();
    text += &format!(
        "{} rows, {} of them seen to fail on a liar; {seen} mutants caught, {missed} missed\n",
        rows.len(),
        rows.len() - blind.len(),
    );
    Ok(Proof {
        holds: missed == 0 && blind.is_empty(),
        text,
    })
}

fn list() -> Vec<Mutant> {
    let lines = LIST
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let parse = |line: &'static str| {
        let mut fields = line.split(" ; ").map(str::trim);
        let side = if fields.next()? == "runtime" {
            Side::Runtime
        } else {
            Side::Cni
        };
        Some(Mutant {
            side,
            place: fields.next()?,
            filter: fields.next()?,
            row: fields.next()?,
        })
    };
    lines.filter_map(parse).collect()
}

/// A subject whose runtime and every plugin are the same script.
fn liar(script: &str, honest: &Subject, directory: &Path) -> Result<Subject, String> {
    let place = fresh(directory)?;
    for name in crate::cni::plugins().chain(["runtime"]) {
        written(&place.join(name), script)?;
    }
    let runtime = honest.runtime.as_ref().map(|_| place.join("runtime"));
    Ok(renamed(Subject::new(
        runtime,
        honest.cni_path.as_ref().map(|_| place.clone()),
    )))
}

/// The honest subject behind a script that changes one thing.
fn installed(mutant: &Mutant, honest: &Subject, directory: &Path) -> Result<Subject, String> {
    let place = fresh(directory)?;
    let (mut runtime, mut cni_path) = (honest.runtime.clone(), honest.cni_path.clone());
    let mut env = vec![("MUTANT_FILTER".to_owned(), mutant.filter.to_owned())];
    env.push(("MUTANT_PLACE".into(), mutant.place.into()));
    let real = match mutant.side {
        Side::Runtime => {
            written(&place.join("runtime"), RUNTIME_SCRIPT)?;
            runtime.replace(place.join("runtime"))
        }
        Side::Cni => {
            for name in crate::cni::plugins() {
                written(&place.join(name), PLUGIN_SCRIPT)?;
            }
            cni_path.replace(place)
        }
    };
    env.push((
        "MUTANT_REAL".into(),
        real.unwrap_or_default().to_string_lossy().into_owned(),
    ));
    Ok(Subject {
        env,
        ..renamed(Subject::new(runtime, cni_path))
    })
}

/// A liar has no known gaps.
fn renamed(mut subject: Subject) -> Subject {
    subject.runtime_name = "mutant".into();
    subject.cni_name = "mutant".into();
    subject
}

fn written(path: &Path, script: &str) -> Result<(), String> {
    testbed::bundle::script(path, "/bin/sh", script).map_err(|error| error.to_string())
}

/// A directory that no other run uses.
fn fresh(directory: &Path) -> Result<PathBuf, String> {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = directory.join(format!("mutant{number}"));
    std::fs::create_dir(&path).map_err(|error| format!("mkdir {path:?}: {error}"))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_is_whole_and_names_a_row() {
        let lines = LIST
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        assert_eq!(list().len(), lines.count(), "a line has not four fields");
        let rows: Vec<String> = crate::rows().iter().map(|row| row.name()).collect();
        for mutant in list() {
            assert!(
                rows.iter().any(|name| name == mutant.row),
                "{mutant:?} names no row"
            );
        }
    }
}
