//! Runs rows against a subject and tells what became of each.

use std::io::Write;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use testbed::Rootfs;

use crate::case::Case;
use crate::error::Error;
use crate::gaps::Gaps;
use crate::row::{self, Failure, Row, Verdict};
use crate::subject::Subject;

/// How the reason of a gap begins that is a race in the subject, and so passes now and then.
const SOMETIMES: &str = "sometimes";

/// What became of one row.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The row.
    pub row: &'static Row,
    /// How it ended.
    pub end: End,
    /// What it asked of the machine besides root, as far as it came.
    pub needs: Vec<String>,
    /// What it has told beside: how often an attack was tried.
    pub told: String,
    /// Whether it failed at first, and passed when it was run once more, alone.
    pub retried: bool,
    /// How long it took.
    pub took: Duration,
}

/// How a row ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The promise is kept.
    Passed,
    /// It is not: why, and everything that was run.
    Failed {
        /// What was expected and what came.
        why: String,
        /// The commands, as in a terminal.
        record: String,
    },
    /// It is not, as known-gaps.toml says.
    KnownGap(String),
    /// known-gaps.toml says that it fails here, and it does not.
    GapClosed(String),
    /// The machine cannot tell.
    Skipped(String),
}

impl End {
    /// Whether this end makes the whole run fail.
    pub fn is_bad(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::GapClosed(_))
    }
}

/// How rows are run.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Rows at the same time; at least one.
    pub jobs: NonZeroUsize,
    /// Set when somebody wants the run to end: no further row begins, and those that were
    /// under way do not count.
    pub ended: &'static AtomicBool,
    /// Whether stderr is told of each row that ends.
    pub shown: bool,
}

impl Manner {
    /// The same, one row after the other.
    #[must_use]
    pub fn alone(self) -> Self {
        Self {
            jobs: NonZeroUsize::MIN,
            ..self
        }
    }
}

/// Runs `rows` below the directory `run`, as they come; answers in the order of the tables.
pub fn run(
    rows: &[&'static Row],
    subject: &Subject,
    run: &Path,
    manner: Manner,
) -> Result<Vec<Judged>, Error> {
    let rootfs = Rootfs::prepare(run)?;
    let (next, judged) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let is_ended = || manner.ended.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        for _ in 0..manner.jobs.get() {
            scope.spawn(|| {
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let started = Instant::now();
                    let end = judge(row, subject, &rootfs, run);
                    if is_ended() {
                        break;
                    }
                    let one = Judged {
                        row,
                        end,
                        needs: row::asked_of_the_machine(),
                        told: row::told(),
                        retried: false,
                        took: started.elapsed(),
                    };
                    let mut judged = judged.lock().unwrap_or_else(PoisonError::into_inner);
                    judged.push(one);
                    if manner.shown {
                        show(subject.name(row.side), judged.len(), rows.len());
                    }
                }
            });
        }
    });
    let mut judged = judged.into_inner().unwrap_or_else(PoisonError::into_inner);
    let tables = crate::rows();
    judged.sort_by_key(|one| tables.iter().position(|row| std::ptr::eq(*row, one.row)));
    Ok(judged)
}

/// One line of a terminal, written over again and again, and cleared at the end.
fn show(name: &str, done: usize, all: usize) {
    let line = match done == all {
        true => "\r\x1b[K".to_owned(),
        false => format!("\r\x1b[K{name}: {done} of {all} rows"),
    };
    // Whoever closed stderr reads nothing.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Puts rows into an order that `seed` decides: the same each time, on every machine.
pub fn shuffle(rows: &mut [&'static Row], seed: u64) {
    let mut state = seed;
    for last in (1..rows.len()).rev() {
        // SplitMix64: nothing here needs a better generator, and the order must never change.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        rows.swap(last, (mixed % (last as u64 + 1)) as usize);
    }
}

fn judge(row: &'static Row, subject: &Subject, rootfs: &Rootfs, run: &Path) -> End {
    let name = subject.name(row.side);
    let gap = Gaps::shipped().reason(name, &row.name()).map(String::from);
    match (attempt(row, subject, rootfs, run), gap) {
        (End::Passed, Some(reason)) if reason.starts_with(SOMETIMES) => End::Passed,
        (End::Passed, Some(reason)) => End::GapClosed(reason),
        (End::Failed { .. }, Some(reason)) => End::KnownGap(reason),
        (end, _) => end,
    }
}

/// Runs the body on a fresh host. A body that panics is a failed row and not the end of the run.
fn attempt(row: &'static Row, subject: &Subject, rootfs: &Rootfs, run: &Path) -> End {
    let case = match Case::new(subject, rootfs, run) {
        Ok(case) => case,
        Err(Failure(why)) => {
            return End::Failed {
                why,
                record: String::new(),
            };
        }
    };
    let verdict: Verdict = catch_unwind(AssertUnwindSafe(|| (row.body)(&case)))
        .unwrap_or_else(|_| Err(Failure("the body of the row panicked".into())));
    match verdict {
        Ok(()) => End::Passed,
        Err(failure) => match failure.lack() {
            Some(what) => End::Skipped(what.into()),
            None => End::Failed {
                why: failure.0,
                record: case.record(),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_order_and_loses_no_row() {
        let order = |seed| {
            let mut rows = crate::rows();
            shuffle(&mut rows, seed);
            rows.iter().map(|row| row.name()).collect::<Vec<_>>()
        };
        assert_eq!(order(7), order(7));
        assert_ne!(order(7), order(8));
        let (mut shuffled, mut rows) = (order(7), order(8));
        shuffled.sort();
        rows.sort();
        assert_eq!(shuffled, rows);
    }
}
