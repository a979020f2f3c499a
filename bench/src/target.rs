//! A ratio that is to be reached, and whether it was: the table of what davit promises.

use serde_json::{Value, json};

use crate::cases::{attached, costs, crowded, runs, suites};
use crate::runtimes::{FLOOR, FLOOR_AND_BUNDLE, FLOOR_AND_CGROUPS, FLOOR_AND_FILTER};
use crate::series::Series;
use crate::statistics::{Ratio, added, ratio};

/// What is compared, by the names of a series and of its subjects.
#[derive(Clone, Copy, Debug)]
pub enum Comparison {
    /// What `.1` takes by what `.2` takes.
    Pair(&'static str, &'static str, &'static str),
    /// What `.1` takes more than `.2`, by what `.3` takes.
    Added(&'static str, &'static str, &'static str, &'static str),
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// What is measured.
    pub case: &'static str,
    /// With whom it is compared.
    pub against: &'static str,
    /// The ratio to be reached.
    pub at_most: f64,
    comparison: Comparison,
    /// The same of programs that do nothing but ask the kernel: whoever is below that has found another
    /// way, and where it is above the target, that cannot be reached on this machine.
    kernel_alone: Option<Comparison>,
}

const fn pair(
    case: &'static str,
    against: &'static str,
    at_most: f64,
    (series, one, other): (&'static str, &'static str, &'static str),
) -> Target {
    Target {
        case,
        against,
        at_most,
        comparison: Comparison::Pair(series, one, other),
        kernel_alone: None,
    }
}

/// With what the kernel alone comes to.
const fn beside(target: Target, kernel_alone: Comparison) -> Target {
    Target {
        kernel_alone: Some(kernel_alone),
        ..target
    }
}

/// A run of davit beside somebody's.
const fn davit(series: &'static str, other: &'static str, at_most: f64) -> Target {
    pair(series, other, at_most, (series, "davit", other))
}

/// Of the issue of speed, in its order, and two of the plugins' own.
pub const TARGETS: [Target; 17] = [
    beside(
        davit(runs::RUN, FLOOR_AND_CGROUPS, 1.5),
        Comparison::Pair(runs::RUN, FLOOR_AND_BUNDLE, FLOOR_AND_CGROUPS),
    ),
    davit(runs::RUN, "crun", 0.4),
    davit(runs::RUN, "runc", 0.2),
    davit(runs::DOCKER, "crun", 0.4),
    davit(runs::EXEC, "crun", 0.4),
    beside(
        davit(crowded::MANY[2].1, "crun", 0.5),
        Comparison::Pair(crowded::MANY[2].1, FLOOR_AND_BUNDLE, "crun"),
    ),
    davit(costs::PEAK, "crun", 0.75),
    pair(
        "start with 500 live containers",
        "with none",
        1.1,
        (crowded::LIVE, "davit, 500 live", "davit, none live"),
    ),
    davit(costs::INSTRUCTIONS, "crun", 0.5),
    Target {
        case: "seccomp, 350 calls, warm cache: added time",
        against: "floor",
        at_most: 0.05,
        comparison: Comparison::Added(
            runs::SECCOMP,
            runs::WITH_FILTER,
            runs::WITHOUT_FILTER,
            FLOOR,
        ),
        kernel_alone: Some(Comparison::Added(
            runs::SECCOMP,
            FLOOR_AND_FILTER,
            FLOOR,
            FLOOR,
        )),
    },
    pair(
        suites::CHAIN[0],
        "reference",
        0.1,
        (suites::CHAIN[0], suites::OURS, suites::THEIRS),
    ),
    pair(
        suites::CHAIN[1],
        "reference",
        0.1,
        (suites::CHAIN[1], suites::OURS, suites::THEIRS),
    ),
    pair(
        "host-local ADD at 60,000",
        "at 0",
        1.5,
        (
            suites::POOL[0],
            "davit, 60000 reserved",
            "davit, 0 reserved",
        ),
    ),
    beside(
        pair(
            "100 ADDs at once",
            "one",
            12.0,
            (suites::CROWD[0], suites::AT_ONCE, suites::OURS),
        ),
        Comparison::Pair(suites::CROWD[0], suites::NOTHING[1], suites::NOTHING[0]),
    ),
    pair(
        "run with two networks by davit-cni",
        "runc + chain of reference plugins",
        0.15,
        (attached::TITLE, attached::OURS, attached::THEIRS),
    ),
    pair(
        "host-local DEL at 60,000",
        "at 0",
        1.5,
        (
            suites::POOL[1],
            "davit, 60000 reserved",
            "davit, 0 reserved",
        ),
    ),
    pair(
        "100 create-runtime hooks at once",
        "one",
        15.0,
        (suites::HOOK[0], "100 at once", "one"),
    ),
];

/// A target and what the series say of it; nothing when somebody was not there to be measured.
#[derive(Clone, Copy, Debug)]
pub struct Judged {
    /// What was to be reached.
    pub target: Target,
    /// What was.
    pub ratio: Option<Ratio>,
    /// What the kernel alone comes to.
    pub kernel_alone: Option<Ratio>,
}

impl Target {
    /// What the series say.
    pub fn judge(self, all: &[Series]) -> Judged {
        let ratio = |comparison: Comparison| {
            let ratio = comparison.ratio(all);
            ratio.filter(|ratio| !ratio.median.is_nan())
        };
        Judged {
            target: self,
            ratio: ratio(self.comparison),
            kernel_alone: self.kernel_alone.and_then(ratio),
        }
    }
}

impl Comparison {
    fn ratio(self, all: &[Series]) -> Option<Ratio> {
        let values = |series: &str, name: &str| {
            let series = all.iter().find(|one| one.title == series)?;
            series.values(name)
        };
        match self {
            Comparison::Pair(series, one, other) => {
                Some(ratio(values(series, one)?, values(series, other)?))
            }
            Comparison::Added(series, with, without, whole) => Some(added(
                values(series, with)?,
                values(series, without)?,
                values(series, whole)?,
            )),
        }
    }
}

impl Judged {
    /// By the median of the rounds' ratios.
    pub fn verdict(&self) -> &'static str {
        match self.ratio {
            Some(ratio) if ratio.median <= self.target.at_most => "pass",
            Some(_) => "miss",
            None => "-",
        }
    }

    /// One line of the table.
    pub fn line(&self) -> String {
        let Target {
            case,
            against,
            at_most,
            ..
        } = self.target;
        let measured = match self.ratio {
            Some(ratio) => ratio.to_string(),
            None => "not measured".into(),
        };
        let verdict = self.verdict();
        let alone = self.kernel_alone();
        format!("  {verdict:4}  {measured:24} at most {at_most:<5}  {case} / {against}{alone}")
    }

    /// What the kernel alone comes to, in words; nothing if it was not measured.
    pub fn kernel_alone(&self) -> String {
        let alone = self
            .kernel_alone
            .map(|ratio| format!(" (kernel alone: {ratio})"));
        alone.unwrap_or_default()
    }

    /// The same as JSON.
    pub fn json(&self) -> Value {
        json!({
            "case": self.target.case, "against": self.target.against,
            "at_most": self.target.at_most, "ratio": self.ratio.map(Ratio::json),
            "kernel_alone": self.kernel_alone.map(Ratio::json),
            "verdict": self.verdict(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Unit;

    fn series(title: &str, subjects: &[(&str, &[f64])]) -> Series {
        let subjects = subjects.iter();
        Series {
            case: "case".into(),
            title: title.into(),
            unit: Unit::Milliseconds,
            subjects: subjects
                .map(|(name, values)| ((*name).into(), values.to_vec()))
                .collect(),
        }
    }

    #[test]
    fn a_target_is_judged_pair_by_pair() {
        let all = [series(
            "ADD",
            &[
                ("ours", &[1.0, 20.0, 3.0]),
                ("theirs", &[10.0, 200.0, 30.0]),
            ],
        )];
        let target = |other, at_most| pair("ADD", "them", at_most, ("ADD", "ours", other));
        let reached = target("theirs", 0.11).judge(&all);
        assert_eq!(
            reached.line(),
            "  pass  0.10 [0.10, 0.10]        at most 0.11   ADD / them"
        );
        assert_eq!(target("theirs", 0.09).judge(&all).verdict(), "miss");
        let nobody = target("nobody", 1.0).judge(&all);
        assert_eq!(
            nobody.line(),
            "  -     not measured             at most 1      ADD / them"
        );
        assert_eq!(nobody.json()["ratio"], Value::Null);
    }

    #[test]
    fn the_ratio_itself_is_reached() {
        let all = [series("run", &[("davit", &[4.0]), ("crun", &[10.0])])];
        assert_eq!(davit("run", "crun", 0.4).judge(&all).verdict(), "pass");
    }

    #[test]
    fn what_a_filter_adds_is_judged_by_the_floor() {
        let all = [series(
            runs::SECCOMP,
            &[
                (runs::WITH_FILTER, &[10.3, 20.1, 30.4]),
                (runs::WITHOUT_FILTER, &[10.0, 20.0, 30.0]),
                (FLOOR, &[4.0, 4.0, 4.0]),
                (FLOOR_AND_FILTER, &[4.2, 4.2, 4.2]),
            ],
        )];
        let filter = TARGETS.iter().find(|target| target.against == FLOOR);
        let judged = filter.unwrap().judge(&all);
        assert_eq!(judged.verdict(), "miss");
        assert!((judged.ratio.unwrap().median - 0.075).abs() < 1e-9);
        assert_eq!(
            judged.kernel_alone(),
            " (kernel alone: 0.050 [0.050, 0.050])"
        );
        assert!(
            judged
                .line()
                .ends_with("/ floor (kernel alone: 0.050 [0.050, 0.050])")
        );
    }

    #[test]
    fn a_series_of_nothing_is_not_measured() {
        let all = [series(runs::RUN, &[("davit", &[]), ("crun", &[])])];
        assert_eq!(TARGETS[1].judge(&all).verdict(), "-");
    }
}
