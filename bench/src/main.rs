//! `bench`: run beside its peers, inside the private host that bench/run.sh makes.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is the executable"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "writes one report where it was told to"
)]

use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitCode};

use bench::cases::{Ground, PLUGINS, RUNTIMES, measure};
use bench::measure::{Outcome, ends};
use bench::report::Report;
use bench::series::Series;
use bench::setting::Setting;
use bench::{hook_chain, index, machine};
use serde_json::Value;

const USAGE: &str = "usage: bench runtimes OURS ROUNDS OUTPUT.json PREFIX [CASE...]
       bench plugins OURS ROUNDS OUTPUT.json PREFIX [CASE...]
       bench hot-text OURS 1 DIRECTORY PREFIX
       bench chart DIRECTORY
       bench oci-hook createRuntime|postStop
OURS is the directory with bin/davit and cni/. IDs and cgroups begin with PREFIX.
hot-text writes davit.ld and so on: the functions of binaries with symbols that usual commands execute.
chart draws every report of a directory and writes its README.md.";
/// Containers that live in the case of many.
const LIVE: usize = 500;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let ended = match args.as_slice() {
        [
            what @ ("runtimes" | "plugins"),
            ours,
            rounds,
            output,
            prefix,
            wanted @ ..,
        ] => measured(what, ours, rounds, output, prefix, wanted),
        ["hot-text", ours, _, directory, prefix] => {
            hot(ours, directory, prefix).map(|()| ExitCode::SUCCESS)
        }
        ["chart", directory] => index::draw(Path::new(directory)).map(|()| ExitCode::SUCCESS),
        ["oci-hook", event @ ("createRuntime" | "postStop")] => {
            hooked(event).map(|()| ExitCode::SUCCESS)
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    ended.unwrap_or_else(|why| {
        eprintln!("bench: {why}");
        ExitCode::FAILURE
    })
}

/// Where things are, for as long as its directory is held.
fn setting(
    ours: &str,
    rounds: usize,
    prefix: &str,
) -> Result<(Setting, tempfile::TempDir), String> {
    // From here on an interrupt is asked for between two subjects.
    ends();
    let place = tempfile::tempdir_in("/run").map_err(|error| format!("/run: {error}"))?;
    let ours = std::path::absolute(ours).map_err(|error| format!("{ours}: {error}"))?;
    let live = std::env::var("BENCH_LIVE").ok();
    let live = live.and_then(|count| count.parse().ok());
    let setting = Setting {
        ours,
        place: place.path().into(),
        rounds,
        prefix: prefix.into(),
        live: live.unwrap_or(LIVE),
    };
    Ok((setting, place))
}

#[cfg(target_arch = "x86_64")]
fn hot(ours: &str, directory: &str, prefix: &str) -> Result<(), String> {
    let (setting, _place) = setting(ours, 1, prefix)?;
    bench::hot_text::write(&Ground::new(setting)?, Path::new(directory))
}

#[cfg(not(target_arch = "x86_64"))]
fn hot(_: &str, _: &str, _: &str) -> Result<(), String> {
    Err(
        "hot-text: names are the same on every processor; single steps are followed on x86_64 only"
            .into(),
    )
}

fn hooked(event: &str) -> Result<(), String> {
    let mut state = String::new();
    let read = std::io::stdin().read_to_string(&mut state);
    read.map_err(|error| format!("read the state: {error}"))?;
    hook_chain::run(event, &state)
}

/// Measures, prints and keeps; a failure of a subject is one of the whole, a missed target is not.
fn measured(
    what: &str,
    ours: &str,
    rounds: &str,
    output: &str,
    prefix: &str,
    wanted: &[&str],
) -> Result<ExitCode, String> {
    let rounds = rounds.parse().map_err(|_| format!("rounds: {rounds:?}"))?;
    let (setting, _place) = setting(ours, rounds, prefix)?;
    let mut report = Report {
        what: what.into(),
        date: now()?,
        rounds: setting.rounds as u64,
        machine: machine::facts(&setting),
        load: [machine::load(), Vec::new()],
        series: Vec::new(),
        failures: Vec::new(),
        left_out: Vec::new(),
    };
    let outcome = match what {
        "runtimes" => measure(RUNTIMES, wanted, &Ground::new(setting)?, tell)?,
        _ => measure(PLUGINS, wanted, &setting, tell)?,
    };
    report = report.with(outcome);
    report.load[1] = machine::load();
    print!("{}", report.closing());
    keep(&report.json(), output)?;
    Ok(match report.failures.as_slice() {
        [] => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn tell(_: &str, outcome: &Outcome) {
    let tables = outcome.series.iter().map(Series::table);
    tables.for_each(|table| println!("{table}"));
    outcome
        .failures
        .iter()
        .for_each(|why| println!("failed: {why}\n"));
}

fn keep(report: &Value, output: &str) -> Result<(), String> {
    std::fs::write(output, format!("{report:#}\n")).map_err(|error| format!("{output}: {error}"))
}

/// The clock, without a library of calendars.
fn now() -> Result<String, String> {
    let date = Command::new("date").args(["-u", "+%F %H:%M"]).output();
    let date = date.map_err(|error| format!("date: {error}"))?;
    Ok(String::from_utf8_lossy(&date.stdout).trim().into())
}
