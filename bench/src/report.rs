//! What a measurement leaves: tables for people, the table of targets, JSON for history.

use serde_json::{Value, json};

use crate::measure::Outcome;
use crate::series::Series;
use crate::target::{Judged, TARGETS};

/// A kept measurement.
#[derive(Clone, Debug)]
pub struct Report {
    /// `runtimes` or `plugins`.
    pub what: String,
    /// When, as YYYY-MM-DD HH:MM, UTC.
    pub date: String,
    /// The rounds that were asked for.
    pub rounds: u64,
    /// Facts of the machine.
    pub machine: Value,
    /// Load averages before and after.
    pub load: [Vec<f64>; 2],
    /// What was measured.
    pub series: Vec<Series>,
    /// What could not be measured, and why.
    pub failures: Vec<String>,
    /// What this machine lacks.
    pub left_out: Vec<String>,
}

impl Report {
    /// The whole table of targets, judged by what was measured.
    pub fn judged(&self) -> Vec<Judged> {
        let series = &self.series;
        TARGETS.iter().map(|target| target.judge(series)).collect()
    }

    /// The table of targets and what is missing.
    pub fn closing(&self) -> String {
        let mut text = String::from("targets: verdict, ratio with its 95 % interval\n");
        for judged in self.judged() {
            text += &format!("{}\n", judged.line());
        }
        for missing in &self.left_out {
            text += &format!("left out: {missing}\n");
        }
        for failure in &self.failures {
            text += &format!("failed: {failure}\n");
        }
        let [before, after] = &self.load;
        let one = |load: &[f64]| load.first().copied().unwrap_or(f64::NAN);
        text += &format!("load before {:.2}, after {:.2}\n", one(before), one(after));
        text
    }

    /// To be kept.
    pub fn json(&self) -> Value {
        json!({
            "what": self.what, "date": self.date, "rounds": self.rounds, "machine": self.machine,
            "load": { "before": self.load[0], "after": self.load[1] },
            "targets": self.judged().iter().map(Judged::json).collect::<Vec<_>>(),
            "series": self.series.iter().map(Series::json).collect::<Vec<_>>(),
            "failures": self.failures, "left_out": self.left_out,
        })
    }

    /// What [`Report::json`] wrote; `None` if it is something else.
    pub fn parse(json: &Value) -> Option<Self> {
        let text = |name: &str| Some(json[name].as_str()?.to_owned());
        let lines = |name: &str| -> Option<Vec<String>> {
            let lines = json[name].as_array()?.iter();
            lines.map(|line| Some(line.as_str()?.to_owned())).collect()
        };
        let load = |name: &str| {
            let numbers = json["load"][name].as_array().into_iter().flatten();
            numbers.filter_map(Value::as_f64).collect()
        };
        let series = json["series"].as_array()?.iter().map(Series::parse);
        Some(Self {
            what: text("what")?,
            date: text("date")?,
            rounds: json["rounds"].as_u64()?,
            machine: json["machine"].clone(),
            load: [load("before"), load("after")],
            series: series.collect::<Option<_>>()?,
            failures: lines("failures")?,
            left_out: lines("left_out")?,
        })
    }

    /// Puts in what was measured.
    #[must_use]
    pub fn with(mut self, outcome: Outcome) -> Self {
        self.series = outcome.series;
        self.failures = outcome.failures;
        self.left_out = outcome.left_out;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Unit;

    fn report() -> Report {
        let series = Series {
            case: "case".into(),
            title: crate::cases::runs::RUN.into(),
            unit: Unit::Milliseconds,
            subjects: vec![("davit".into(), vec![1.0]), ("crun".into(), vec![4.0])],
        };
        Report {
            what: "runtimes".into(),
            date: "2026-01-02 03:04".into(),
            rounds: 1,
            machine: json!({ "processors": 2 }),
            load: [vec![0.5], vec![1.5]],
            series: vec![series],
            failures: vec!["runc: it hangs".into()],
            left_out: Vec::new(),
        }
    }

    #[test]
    fn every_target_has_its_line_measured_or_not() {
        let text = report().closing();
        let lines = text.lines().filter(|line| line.contains(" at most "));
        assert_eq!(lines.count(), TARGETS.len());
        assert!(
            text.contains(
                "  pass  0.25 [0.25, 0.25]        at most 0.4    run, default bundle / crun"
            ),
            "{text}"
        );
        assert!(text.contains("  -     not measured"), "{text}");
        assert!(
            text.contains("failed: runc: it hangs\nload before 0.50, after 1.50\n"),
            "{text}"
        );
    }

    #[test]
    fn what_is_kept_is_read_again() {
        let again = Report::parse(&report().json()).unwrap();
        assert_eq!(again.json(), report().json());
        assert!(Report::parse(&json!({ "series": [] })).is_none());
    }
}
