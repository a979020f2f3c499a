//! What was measured: the values of each subject, round by round, as a table and as JSON.

use serde_json::{Value, json};

use crate::statistics::{median, percentile, ratio};

/// What values count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Time on the clock.
    Milliseconds,
    /// Memory.
    Kibibytes,
    /// Instructions in user space.
    Instructions,
}

impl Unit {
    const ALL: [Self; 3] = [Self::Milliseconds, Self::Kibibytes, Self::Instructions];

    /// As tables and charts write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Kibibytes => "KiB",
            Self::Instructions => "instructions",
        }
    }

    /// The unit of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|unit| unit.name() == name)
    }

    /// A value as people read it.
    pub fn spoken(self, value: f64) -> String {
        match self {
            Self::Instructions if value >= 1e6 => format!("{:.2} M", value / 1e6),
            Self::Instructions if value >= 1e4 => format!("{:.0} k", value / 1e3),
            Self::Milliseconds if value < 100.0 => format!("{value:.2}"),
            _ => format!("{value:.0}"),
        }
    }
}

/// Values by subject, in the order of the rounds.
#[derive(Clone, Debug)]
pub struct Series {
    /// The case that it is of.
    pub case: String,
    /// What was measured.
    pub title: String,
    /// What the values count.
    pub unit: Unit,
    /// Name and values of each subject.
    pub subjects: Vec<(String, Vec<f64>)>,
}

impl Series {
    /// Nothing measured yet.
    pub fn empty(title: &str, unit: Unit, subjects: &[String]) -> Self {
        Self {
            case: String::new(),
            title: title.into(),
            unit,
            subjects: subjects
                .iter()
                .map(|name| (name.clone(), Vec::new()))
                .collect(),
        }
    }

    /// One more value of a subject.
    pub fn note(&mut self, subject: &str, value: f64) {
        let known = self.subjects.iter_mut().find(|(name, _)| name == subject);
        if let Some((_, values)) = known {
            values.push(value);
        }
    }

    /// The values of the subject of this name.
    pub fn values(&self, name: &str) -> Option<&[f64]> {
        let subject = self.subjects.iter().find(|(known, _)| known == name);
        subject.map(|(_, values)| values.as_slice())
    }

    /// A table: each subject's values, and the first one's ratio to each other.
    pub fn table(&self) -> String {
        let mut text = format!("{} ({})\n", self.title, self.unit.name());
        text += &format!(
            "  {:36} {:>8} {:>8} {:>8}   ratio of the first to this one\n",
            "", "min", "p50", "p90"
        );
        for (index, (name, values)) in self.subjects.iter().enumerate() {
            text += &format!("  {name:36}");
            for value in [
                percentile(values, 0),
                median(values),
                percentile(values, 90),
            ] {
                text += &format!(" {:>8}", self.unit.spoken(value));
            }
            if index > 0 {
                text += &format!("   {}", ratio(&self.subjects[0].1, values));
            }
            text.push('\n');
        }
        text
    }

    /// The same as JSON, with every value.
    pub fn json(&self) -> Value {
        let subject = |(name, values): &(String, Vec<f64>)| {
            let ratio = ratio(&self.subjects[0].1, values);
            let values: Vec<f64> = values.iter().map(|value| rounded(*value)).collect();
            json!({
                "name": name, "p50": median(&values), "p90": percentile(&values, 90),
                "ratio_of_first": ratio.json(), "values": values,
            })
        };
        let subjects: Vec<Value> = self.subjects.iter().map(subject).collect();
        json!({
            "case": self.case, "title": self.title, "unit": self.unit.name(), "subjects": subjects
        })
    }

    /// What [`Series::json`] wrote; `None` if it is something else.
    pub fn parse(json: &Value) -> Option<Self> {
        let subject = |json: &Value| {
            let values = json["values"].as_array()?.iter().map(Value::as_f64);
            Some((
                json["name"].as_str()?.to_owned(),
                values.collect::<Option<_>>()?,
            ))
        };
        let subjects = json["subjects"].as_array()?.iter().map(subject);
        Some(Self {
            case: json["case"].as_str()?.into(),
            title: json["title"].as_str()?.into(),
            unit: Unit::named(json["unit"].as_str()?)?,
            subjects: subjects.collect::<Option<_>>()?,
        })
    }
}

/// No more digits than a clock tells apart: files are read by people, too.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series() -> Series {
        Series {
            case: "run".into(),
            title: "run".into(),
            unit: Unit::Milliseconds,
            subjects: vec![
                ("davit".into(), vec![1.0, 2.0, 3.0]),
                ("crun".into(), vec![2.0, 4.0, 6.0]),
            ],
        }
    }

    #[test]
    fn a_table_has_the_ratio_pair_by_pair() {
        let table = series().table();
        assert!(table.starts_with("run (ms)\n"), "{table}");
        assert!(table.contains("0.50 [0.50, 0.50]"), "{table}");
    }

    #[test]
    fn what_was_written_is_read_again() {
        let again = Series::parse(&series().json()).unwrap();
        assert_eq!(again.subjects, series().subjects);
        assert_eq!(
            (again.title.as_str(), again.unit),
            ("run", Unit::Milliseconds)
        );
        assert!(Series::parse(&json!({ "title": "run" })).is_none());
    }

    #[test]
    fn values_are_as_long_as_they_need_to_be() {
        let spoken = [
            Unit::Milliseconds.spoken(1.234),
            Unit::Milliseconds.spoken(1234.5),
            Unit::Instructions.spoken(1_234_567.0),
            Unit::Kibibytes.spoken(2048.0),
        ];
        assert_eq!(spoken, ["1.23", "1234", "1.23 M", "2048"]);
    }
}
