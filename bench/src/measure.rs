//! Rounds: every subject once, in random order, with a gap before each.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use crate::series::{Series, Unit};
use crate::statistics::Random;

/// One thing to measure. `run` answers a value for each series, without its own preparation.
pub struct Subject<'a> {
    /// How tables call it.
    pub name: String,
    /// Runs it once.
    pub run: Box<dyn FnMut() -> Result<Vec<f64>, String> + 'a>,
}

impl<'a> Subject<'a> {
    /// A subject of one or more times.
    pub fn timed(
        name: impl Into<String>,
        mut run: impl FnMut() -> Result<Vec<Duration>, String> + 'a,
    ) -> Self {
        Self::valued(name, move || {
            Ok(run()?.into_iter().map(milliseconds).collect())
        })
    }

    /// A subject of other values than times.
    pub fn valued(
        name: impl Into<String>,
        run: impl FnMut() -> Result<Vec<f64>, String> + 'a,
    ) -> Self {
        Self {
            name: name.into(),
            run: Box::new(run),
        }
    }
}

/// What is measured in the same rounds.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// A series each.
    pub titles: &'a [&'a str],
    /// Of all of them.
    pub unit: Unit,
    /// Rounds that count.
    pub rounds: usize,
    /// Before each subject.
    pub gap: Duration,
}

/// What came of it: a subject that failed is in no series, and told.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What was measured.
    pub series: Vec<Series>,
    /// What could not be, and why.
    pub failures: Vec<String>,
    /// What this machine lacks.
    pub left_out: Vec<String>,
}

impl Outcome {
    /// Takes in what came of another case.
    pub fn join(&mut self, other: Self) {
        self.series.extend(other.series);
        self.failures.extend(other.failures);
        self.left_out.extend(other.left_out);
    }

    fn leave_out(&mut self, subject: &str) {
        for series in &mut self.series {
            series.subjects.retain(|(name, _)| name != subject);
        }
    }
}

/// Measures the rounds of a plan after one that is not counted. Only who wants this program to
/// end is an error.
pub fn rounds(plan: &Plan<'_>, mut subjects: Vec<Subject<'_>>) -> Result<Outcome, String> {
    let seed = SystemTime::UNIX_EPOCH.elapsed();
    let seed = seed.map_or(0, |since| u64::from(since.subsec_nanos()));
    let mut random = Random::new(seed + 0x9E37_79B9);
    let names: Vec<String> = subjects.iter().map(|one| one.name.clone()).collect();
    let empty = |title: &&str| Series::empty(title, plan.unit, &names);
    let mut outcome = Outcome {
        series: plan.titles.iter().map(empty).collect(),
        ..Outcome::default()
    };
    for round in 0..=plan.rounds {
        random.shuffle(&mut subjects);
        let mut failed = Vec::new();
        for subject in &mut subjects {
            std::thread::sleep(plan.gap);
            go_on()?;
            match (subject.run)() {
                Ok(values) if round > 0 => {
                    for (series, value) in outcome.series.iter_mut().zip(values) {
                        series.note(&subject.name, value);
                    }
                }
                Ok(_) => {}
                Err(why) => {
                    // What an interrupt of the whole group ended is no failure of the subject.
                    go_on()?;
                    outcome.failures.push(format!("{}: {why}", subject.name));
                    failed.push(subject.name.clone());
                }
            }
        }
        // Its rounds would no longer be those of the others.
        failed.iter().for_each(|name| outcome.leave_out(name));
        subjects.retain(|subject| !failed.contains(&subject.name));
    }
    Ok(outcome)
}

/// An error once somebody wants this program to end: what was made is then taken away.
pub fn go_on() -> Result<(), String> {
    match ends() {
        true => Err("interrupted".into()),
        false => Ok(()),
    }
}

/// Whether somebody wants this program to end.
pub fn ends() -> bool {
    static WANTED: OnceLock<Option<&AtomicBool>> = OnceLock::new();
    let wanted = WANTED.get_or_init(|| testbed::wanted_to_end().ok());
    wanted.is_some_and(|wanted| wanted.load(Ordering::Relaxed))
}

/// A time as a value.
pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(rounds: usize) -> Plan<'static> {
        Plan {
            titles: &["first", "second"],
            unit: Unit::Milliseconds,
            rounds,
            gap: Duration::ZERO,
        }
    }

    #[test]
    fn the_first_round_is_not_counted() {
        let mut calls = 0.0;
        let subject = Subject::valued("it", || {
            calls += 1.0;
            Ok(vec![calls, -calls])
        });
        let outcome = rounds(&plan(3), vec![subject]).unwrap();
        assert_eq!(outcome.series[0].values("it"), Some(&[2.0, 3.0, 4.0][..]));
        assert_eq!(
            outcome.series[1].values("it"),
            Some(&[-2.0, -3.0, -4.0][..])
        );
        assert!(outcome.failures.is_empty());
    }

    #[test]
    fn who_fails_is_told_and_left_out_and_the_others_go_on() {
        let mut calls = 0;
        let broken = Subject::valued("broken", || {
            calls += 1;
            match calls {
                3 => Err("no more".into()),
                _ => Ok(vec![1.0, 1.0]),
            }
        });
        let sound = Subject::valued("sound", || Ok(vec![2.0, 2.0]));
        let outcome = rounds(&plan(4), vec![broken, sound]).unwrap();
        assert_eq!(outcome.failures, ["broken: no more"]);
        assert_eq!(outcome.series[0].values("broken"), None);
        assert_eq!(outcome.series[0].values("sound"), Some(&[2.0; 4][..]));
    }
}
