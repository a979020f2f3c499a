//! Rounds: every subject once, in random order, with a gap before each.

use std::time::Duration;

use serde_json::{Value, json};

use crate::statistics::{Random, median, percentile, ratio};

/// One thing to measure. `run` answers how long its parts took, one for each series, without its
/// own preparation.
pub struct Subject<'a> {
    /// How tables call it.
    pub name: String,
    /// Runs it once.
    pub run: Box<dyn FnMut() -> Result<Vec<Duration>, String> + 'a>,
}

/// What was measured: milliseconds by subject, in the order of the rounds.
#[derive(Debug)]
pub struct Series {
    /// What was measured.
    pub title: String,
    /// Name and milliseconds of each subject.
    pub subjects: Vec<(String, Vec<f64>)>,
}

/// Measures `rounds` rounds after one that is not counted: a series for each title.
pub fn rounds(
    titles: &[&str],
    mut subjects: Vec<Subject<'_>>,
    rounds: usize,
    gap: Duration,
) -> Result<Vec<Series>, String> {
    let seed = std::time::SystemTime::UNIX_EPOCH.elapsed();
    let seed = seed.map_or(0, |since| u64::from(since.subsec_nanos()));
    let mut random = Random::new(seed + 0x9E37_79B9);
    let mut series: Vec<_> = titles
        .iter()
        .map(|title| Series::of(title, &subjects))
        .collect();
    for round in 0..=rounds {
        let mut order: Vec<usize> = (0..subjects.len()).collect();
        random.shuffle(&mut order);
        for index in order {
            std::thread::sleep(gap);
            let subject = &mut subjects[index];
            let took = (subject.run)().map_err(|why| format!("{}: {why}", subject.name))?;
            if round > 0 {
                for (one, took) in series.iter_mut().zip(took) {
                    one.subjects[index].1.push(took.as_secs_f64() * 1000.0);
                }
            }
        }
    }
    Ok(series)
}

impl Series {
    fn of(title: &str, subjects: &[Subject<'_>]) -> Self {
        let names = subjects.iter().map(|subject| subject.name.clone());
        Self {
            title: title.into(),
            subjects: names.map(|name| (name, Vec::new())).collect(),
        }
    }

    /// The milliseconds of the subject of this name.
    pub fn times(&self, name: &str) -> Option<&[f64]> {
        let subject = self.subjects.iter().find(|(known, _)| known == name);
        subject.map(|(_, times)| times.as_slice())
    }

    /// A table: each subject's times, and the first one's ratio to each other.
    pub fn table(&self) -> String {
        let mut text = format!("{} (ms)\n", self.title);
        text += &format!(
            "  {:28} {:>8} {:>8} {:>8}   ratio of the first to this one\n",
            "", "min", "p50", "p90"
        );
        for (index, (name, times)) in self.subjects.iter().enumerate() {
            let least = percentile(times, 0);
            text += &format!(
                "  {name:28} {least:8.2} {:8.2} {:8.2}",
                median(times),
                percentile(times, 90)
            );
            if index > 0 {
                let ratio = ratio(&self.subjects[0].1, times);
                text += &format!(
                    "   {:.2} [{:.2}, {:.2}]",
                    ratio.median, ratio.low, ratio.high
                );
            }
            text.push('\n');
        }
        text
    }

    /// The same as JSON, with every time.
    pub fn json(&self) -> Value {
        let subjects: Vec<Value> = self.subjects.iter().map(|(name, times)| {
            let ratio = ratio(&self.subjects[0].1, times);
            json!({
                "name": name, "p50": median(times), "p90": percentile(times, 90),
                "ratio_of_first": { "median": ratio.median, "low": ratio.low, "high": ratio.high },
                "milliseconds": times,
            })
        }).collect();
        json!({ "title": self.title, "subjects": subjects })
    }
}
