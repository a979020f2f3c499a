//! Subjects that lie in one way each, and the proof that the rows notice.
//!
//! Two liars serve every row: one that agrees to everything and does nothing, one that refuses
//! everything. The others stand between the suite and a real subject and change one thing with
//! jq: a property of config.json (or of the plugin's stdin) on its way in, or the answer on its
//! way out. They are listed in `mutants/mutants.txt`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::Error;
use crate::gaps::Gaps;
use crate::row::{Row, Side};
use crate::run::{self, End, Manner};
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

impl Mutant {
    /// What it does to its subject.
    fn what(&self) -> String {
        let side = match self.side {
            Side::Runtime => "runtime",
            Side::Cni => "plugin",
            Side::Caller => "caller",
            Side::Hook => "hook",
        };
        format!("({side} {}: {})", self.place, self.filter)
    }
}

const LIST: &str = include_str!("../mutants/mutants.txt");
const RUNTIME_SCRIPT: &str = include_str!("../mutants/runtime.sh");
const PLUGIN_SCRIPT: &str = include_str!("../mutants/plugin.sh");
const CALLER_SCRIPT: &str = include_str!("../mutants/caller.sh");
const HOOK_SCRIPT: &str = include_str!("../mutants/hook.sh");

/// The section of known-gaps.toml that is not there: a liar has no known gaps.
const LIAR: &str = "mutant";

/// Runs `rows` on the two liars and each mutant's row on that mutant.
pub fn prove(
    rows: &[&'static Row],
    honest: &Subject,
    directory: &Path,
    manner: Manner,
) -> Result<Proof, Error> {
    let (mut caught, unjudged) = seen_to_lie(rows, honest, directory, manner)?;
    // A known gap is a row that was seen to fail on a real peer.
    let mut seen: BTreeSet<String> = Gaps::shipped()
        .names()
        .into_iter()
        .map(|(_, row)| row)
        .collect();
    let fates = fates(rows, honest, directory, manner)?;
    let mut text = String::new();
    for (mutant, fate) in &fates {
        text += &format!("{:<8} {} {}\n", fate.word(), mutant.row, mutant.what());
        if *fate == Fate::Killed {
            seen.insert(mutant.row.into());
        }
    }
    caught.extend(seen.iter().cloned());
    let blind: Vec<String> = rows
        .iter()
        .map(|row| row.name())
        .filter(|name| !caught.contains(name) && !unjudged.contains_key(name))
        .collect();
    let unseen = unjudged.iter().filter(|(name, _)| !caught.contains(*name));
    for (name, lack) in unseen.clone() {
        text += &format!("SKIP: {lack} ({name})\n");
    }
    for name in &blind {
        text += &format!("BLIND    {name} failed on no liar\n");
    }
    let count = |wanted: Fate| fates.iter().filter(|(_, fate)| *fate == wanted).count();
    text += &format!(
        "{} rows: {} seen to fail, {} blind, {} skipped; {} mutants: {} killed, {} survived, {} skipped\n",
        rows.len(),
        rows.len() - blind.len() - unseen.clone().count(),
        blind.len(),
        unseen.count(),
        fates.len(),
        count(Fate::Killed),
        count(Fate::Survived),
        count(Fate::Unjudged),
    );
    text += &unseen_sentences(rows, &seen);
    Ok(Proof {
        holds: count(Fate::Survived) == 0 && blind.is_empty(),
        text,
    })
}

/// The sentences about `rows` of which no row failed on a subject that does nearly everything
/// right, a peer or a mutant: a liar fails whatever the row asks, and proves little.
fn unseen_sentences(rows: &[&'static Row], seen: &BTreeSet<String>) -> String {
    let asked = |row: &&Row| rows.iter().any(|one| std::ptr::eq(*one, *row));
    let mut text = String::new();
    let mut number = 0;
    for clause in crate::clause::clauses() {
        let judges = clause.rows();
        if !judges.iter().any(asked) || judges.iter().any(|row| seen.contains(&row.name())) {
            continue;
        }
        number += 1;
        let names: Vec<String> = judges.iter().map(|row| row.name()).collect();
        text += &format!("UNSEEN   {}: {}\n", clause.id, names.join(", "));
    }
    format!("{text}rows never seen to fail on a peer or a mutant: those of {number} sentences\n")
}

/// The names of the rows that fail on one of the two liars, and those that this machine cannot
/// judge, with what it lacks.
fn seen_to_lie(
    rows: &[&'static Row],
    honest: &Subject,
    directory: &Path,
    manner: Manner,
) -> Result<(BTreeSet<String>, BTreeMap<String, String>), Error> {
    let (mut caught, mut unjudged) = (BTreeSet::new(), BTreeMap::new());
    for script in ["exit 0", "exit 1"] {
        let liar = liar(script, honest, directory)?;
        let judged = run::run(rows, &liar, &fresh(directory)?, manner)?;
        for one in &judged {
            match &one.end {
                End::Failed { .. } => _ = caught.insert(one.row.name()),
                End::Skipped(lack) => _ = unjudged.insert(one.row.name(), lack.clone()),
                _ => {}
            }
        }
    }
    Ok((caught, unjudged))
}

/// What became of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Its row failed.
    Killed,
    /// Its row passed: a failure of the suite.
    Survived,
    /// This machine cannot judge its row.
    Unjudged,
}

impl Fate {
    fn word(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Survived => "SURVIVED",
            Self::Unjudged => "SKIP:",
        }
    }
}

/// Runs the row of every mutant that is about one of `rows`, several at a time.
fn fates(
    rows: &[&'static Row],
    honest: &Subject,
    directory: &Path,
    manner: Manner,
) -> Result<Vec<(Mutant, Fate)>, Error> {
    let row_of = |mutant: &Mutant| rows.iter().copied().find(|row| row.name() == mutant.row);
    let asked: Vec<(Mutant, &Row)> = list()
        .into_iter()
        .filter_map(|mutant| row_of(&mutant).map(|row| (mutant, row)))
        .collect();
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..manner.jobs.get() {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some((mutant, row)) = asked.get(number) else {
                        break;
                    };
                    let fate = fate(mutant, row, honest, directory, manner.alone());
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    found.push((number, fate));
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_by_key(|(number, _)| *number);
    let found = found.into_iter().zip(asked);
    found
        .map(|((_, fate), (mutant, _))| Ok((mutant, fate?)))
        .collect()
}

fn fate(
    mutant: &Mutant,
    row: &'static Row,
    honest: &Subject,
    directory: &Path,
    manner: Manner,
) -> Result<Fate, Error> {
    let subject = installed(mutant, honest, directory)?;
    let judged = run::run(&[row], &subject, &fresh(directory)?, manner)?;
    Ok(match judged.first().map(|one| &one.end) {
        Some(End::Failed { .. }) => Fate::Killed,
        Some(End::Skipped(_)) => Fate::Unjudged,
        _ => Fate::Survived,
    })
}

fn list() -> Vec<Mutant> {
    let lines = LIST
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let parse = |line: &'static str| {
        let mut fields = line.split(" ; ").map(str::trim);
        let side = match fields.next()? {
            "runtime" => Side::Runtime,
            "caller" => Side::Caller,
            "hook" => Side::Hook,
            "cni" => Side::Cni,
            _ => return None,
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
fn liar(script: &str, honest: &Subject, directory: &Path) -> Result<Subject, Error> {
    let place = fresh(directory)?;
    for name in crate::cni::plugins().chain(["runtime"]) {
        written(&place.join(name), script)?;
    }
    let lying = |side| match side {
        Side::Cni => place.clone(),
        _ => place.join("runtime"),
    };
    let liar = honest
        .targets()
        .fold(Subject::default(), |liar, (side, _)| {
            liar.with(side, Some(lying(side)))
        });
    Ok(liar.renamed(LIAR))
}

/// The honest subject behind a script that changes one thing.
fn installed(mutant: &Mutant, honest: &Subject, directory: &Path) -> Result<Subject, Error> {
    let place = fresh(directory)?;
    let shim = match mutant.side {
        Side::Cni => {
            for name in crate::cni::plugins() {
                written(&place.join(name), PLUGIN_SCRIPT)?;
            }
            place
        }
        side => {
            let script = match side {
                Side::Runtime => RUNTIME_SCRIPT,
                Side::Hook => HOOK_SCRIPT,
                _ => CALLER_SCRIPT,
            };
            written(&place.join("runtime"), script)?;
            place.join("runtime")
        }
    };
    let real = honest.path(mutant.side).unwrap_or(Path::new(""));
    let mut subject = honest.clone().with(mutant.side, Some(shim)).renamed(LIAR);
    let env = [
        ("MUTANT_FILTER", mutant.filter),
        ("MUTANT_PLACE", mutant.place),
        ("MUTANT_REAL", &real.to_string_lossy()),
    ];
    subject.env = env.map(|(name, value)| (name.into(), value.into())).into();
    Ok(subject)
}

fn written(path: &Path, script: &str) -> Result<(), Error> {
    Ok(testbed::bundle::script(path, "/bin/sh", script)?)
}

/// A directory that no other run uses.
fn fresh(directory: &Path) -> Result<PathBuf, Error> {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = directory.join(format!("mutant{number}"));
    std::fs::create_dir(&path).map_err(Error::of("mkdir", &path))?;
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
        assert_eq!(
            list().len(),
            lines.count(),
            "a line has not four fields, or an unknown side"
        );
        let rows: Vec<String> = crate::rows().iter().map(|row| row.name()).collect();
        for mutant in list() {
            assert!(
                rows.iter().any(|name| name == mutant.row),
                "{mutant:?} names no row"
            );
        }
    }
}
