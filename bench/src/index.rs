//! All kept reports as drawings and one page: the newest of each case, and the targets of all.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use crate::chart;
use crate::report::Report;
use crate::series::Series;
use crate::statistics::Ratio;
use crate::target::{TARGETS, Target};

/// A report and the name of its file, without the ending.
type Named = (String, Report);

/// Draws every report of a directory and writes its README.md.
pub fn draw(directory: &Path) -> Result<(), String> {
    let reports = read(directory)?;
    let write = |name: &str, text: String| {
        let path = directory.join(name);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    };
    for (name, drawing) in drawings(&reports) {
        write(&name, drawing)?;
    }
    write("README.md", page(&reports))
}

/// The oldest first.
fn read(directory: &Path) -> Result<Vec<Named>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
    let mut reports = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_none_or(|ending| ending != "json") {
            continue;
        }
        let named = |why: &str| format!("{}: {why}", path.display());
        let text = std::fs::read_to_string(&path).map_err(failed)?;
        let json = serde_json::from_str(&text).map_err(|error| named(&error.to_string()))?;
        let report = Report::parse(&json).ok_or_else(|| named("no report of bench"))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        reports.push((name.into_owned(), report));
    }
    let order = |(name, report): &Named| (report.date.clone(), name.clone());
    reports.sort_by_key(order);
    Ok(reports)
}

/// Of each case that is in any report the newest: its series and where they are from.
fn newest(reports: &[Named]) -> BTreeMap<(&str, &str), (&Named, Vec<&Series>)> {
    let mut newest = BTreeMap::new();
    for named in reports {
        let mut cases: BTreeMap<&str, Vec<&Series>> = BTreeMap::new();
        for series in &named.1.series {
            cases.entry(&series.case).or_default().push(series);
        }
        for (case, series) in cases {
            newest.insert((named.1.what.as_str(), case), (named, series));
        }
    }
    newest
}

fn file_of(what: &str, case: &str) -> String {
    format!("{what}-{case}.svg")
}

fn drawings(reports: &[Named]) -> Vec<(String, String)> {
    let cases = newest(reports).into_iter();
    let mut drawings: Vec<_> = cases
        .map(|((what, case), ((name, report), series))| {
            let source = format!("{name}, {}", machine(report));
            let drawing = chart::of_case(series.into_iter(), &source);
            (file_of(what, case), drawing)
        })
        .collect();
    let names: Vec<&str> = reports.iter().map(|(name, _)| name.as_str()).collect();
    let source = format!(
        "Left edge: 0; dashed: what it shall be at most; right edge: twice that. Each dot is a run, \
         the last one below; line: 95 % interval. Runs: {}",
        names.join(", ")
    );
    let targets = chart::of_targets(&targets(reports), &source);
    drawings.push(("targets.svg".into(), targets));
    drawings
}

/// Each target with what each run that could tell says of it, so that runs of plugins leave no
/// holes among those of runtimes.
fn targets(reports: &[Named]) -> Vec<(Target, Vec<Option<Ratio>>)> {
    let ratios = |target: &Target| {
        let judged = reports
            .iter()
            .map(|(_, report)| target.judge(&report.series));
        let ratios = judged.map(|judged| judged.ratio);
        ratios.filter(Option::is_some).collect()
    };
    let targets = TARGETS.iter();
    targets.map(|target| (*target, ratios(target))).collect()
}

/// In one line.
fn machine(report: &Report) -> String {
    let machine = &report.machine;
    let text = |name: &str| machine[name].as_str().unwrap_or("?").to_owned();
    let kind = match machine["virtual"].as_bool() {
        Some(true) => "virtual processors",
        _ => "processors",
    };
    format!(
        "{} {kind} ({}), Linux {}, cgroups {}",
        machine["processors"],
        text("model"),
        text("kernel"),
        text("cgroups"),
    )
}

fn page(reports: &[Named]) -> String {
    let mut page = String::from(
        "# Runs of the benchmarks\n\nWritten by `make bench-charts` from the files beside it; \
         [bench.md](../bench.md) says what each case is and how to read it.\n\n",
    );
    page += "## Targets\n\nThe median of the rounds' ratios and its 95 % interval.\n\n";
    page += &table_of_targets(reports);
    page += "\n![Ratios of all runs](targets.svg)\n\n## Runs\n\n";
    page += &table_of_runs(reports);
    for (what, title) in [("runtimes", "Runtimes"), ("plugins", "Plugins")] {
        let newest = newest(reports);
        let of_kind = newest.iter().filter(|((kind, _), _)| *kind == what);
        // In the order in which they are measured, which is that of the newest report.
        let mut cases: Vec<_> = of_kind.collect();
        cases.sort_by_key(|((_, case), (named, _))| {
            let series = named.1.series.iter();
            series
                .map(|one| one.case.as_str())
                .position(|one| one == *case)
        });
        if !cases.is_empty() {
            let _ = write!(page, "\n## {title}\n");
        }
        for ((_, case), ((name, _), _)) in cases {
            let file = file_of(what, case);
            let _ = write!(page, "\n### {case}\n\n![{case}, of {name}]({file})\n");
        }
    }
    page
}

fn table_of_targets(reports: &[Named]) -> String {
    let names: String = reports
        .iter()
        .map(|(name, _)| format!(" {name} |"))
        .collect();
    let rule = "---|".repeat(reports.len());
    let mut table = format!("| case | against | at most |{names}\n|---|---|---|{rule}\n");
    for target in TARGETS {
        let _ = write!(
            table,
            "| {} | {} | {} |",
            target.case, target.against, target.at_most
        );
        for (_, report) in reports {
            let judged = target.judge(&report.series);
            let _ = match judged.ratio {
                Some(ratio) => {
                    let alone = judged.kernel_alone();
                    write!(table, " {ratio} {}{alone} |", judged.verdict())
                }
                None => write!(table, " |"),
            };
        }
        table.push('\n');
    }
    table
}

fn table_of_runs(reports: &[Named]) -> String {
    let mut table = String::from(
        "| run | when (UTC) | rounds | load | machine | versions |\n|---|---|---|---|---|---|\n",
    );
    for (name, report) in reports {
        let versions = report.machine["versions"].as_object().into_iter().flatten();
        let versions = versions.map(|(_, version)| version.as_str().unwrap_or("?").to_owned());
        let [before, after] = report.load.each_ref().map(|load| load.first().copied());
        let load = [before, after].map(|load| load.map_or("?".into(), |load| format!("{load:.1}")));
        let _ = writeln!(
            table,
            "| [{name}]({name}.json) | {} | {} | {} to {} | {} | {} |",
            report.date,
            report.rounds,
            load[0],
            load[1],
            machine(report),
            versions.collect::<Vec<_>>().join("; "),
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::runs;
    use crate::series::Unit;
    use serde_json::json;

    fn report(date: &str, case: &str, ours: f64) -> Report {
        let series = Series {
            case: case.into(),
            title: runs::RUN.into(),
            unit: Unit::Milliseconds,
            subjects: vec![("davit".into(), vec![ours]), ("crun".into(), vec![10.0])],
        };
        Report {
            what: "runtimes".into(),
            date: date.into(),
            rounds: 1,
            machine: json!({
                "processors": 2, "model": "m", "virtual": true, "kernel": "6", "cgroups": "version 1",
                "versions": { "davit": "davit 1", "crun": "crun 2" }
            }),
            load: [vec![0.5], vec![1.5]],
            series: vec![series],
            failures: Vec::new(),
            left_out: Vec::new(),
        }
    }

    #[test]
    fn a_directory_of_reports_becomes_drawings_and_a_page() {
        let place = tempfile::tempdir().unwrap();
        let keep = |name: &str, report: &Report| {
            std::fs::write(place.path().join(name), report.json().to_string()).unwrap();
        };
        keep("b.json", &report("2026-01-01 10:00", "run", 3.0));
        keep("a.json", &report("2026-01-02 10:00", "run", 5.0));
        draw(place.path()).unwrap();
        let read = |name: &str| std::fs::read_to_string(place.path().join(name)).unwrap();
        let page = read("README.md");
        let row = "| run, default bundle | crun | 0.4 | 0.30 [0.30, 0.30] pass | 0.50 [0.50, 0.50] miss |";
        assert!(page.contains(row), "{page}");
        assert!(
            page.contains("| [b](b.json) | 2026-01-01 10:00 | 1 | 0.5 to 1.5 |"),
            "{page}"
        );
        assert!(
            page.contains("### run\n\n![run, of a](runtimes-run.svg)"),
            "{page}"
        );
        assert!(read("runtimes-run.svg").contains("5.00  [5.00 to 5.00]"));
        assert_eq!(read("targets.svg").matches("<circle").count(), 2);
    }

    #[test]
    fn a_case_is_drawn_from_the_newest_report_that_has_it() {
        let reports = [
            ("old".to_owned(), report("1", "exec", 1.0)),
            ("new".to_owned(), report("2", "run", 1.0)),
        ];
        let newest = newest(&reports);
        assert_eq!(newest[&("runtimes", "exec")].0.0, "old");
        assert_eq!(newest[&("runtimes", "run")].0.0, "new");
    }

    #[test]
    fn what_is_no_report_is_told() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("x.json"), "{}").unwrap();
        assert!(
            draw(place.path())
                .unwrap_err()
                .ends_with("x.json: no report of bench")
        );
    }
}
