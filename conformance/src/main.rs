//! `oci-conformance`: judges any of an OCI runtime, a directory of CNI plugins, a caller of plugins
//! and a network hook.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "this is the executable, and a report that was cut short is made again"
)]

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use conformance::error::Error;
use conformance::options::{self, Options};
use conformance::report::{self, Format};
use conformance::run::{self, End, Manner};
use conformance::trial::{self, Trial};
use conformance::{Row, matrix, mutants};

fn main() -> ExitCode {
    let argv: Vec<String> = std::env::args().collect();
    if let Some(status) = as_a_helper(&argv) {
        return status;
    }
    let options = Options::of(&options::command().get_matches());
    match options.and_then(|options| obey(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("oci-conformance: {why}");
            ExitCode::from(2)
        }
    }
}

/// What rows start this executable for, instead of judging.
fn as_a_helper(argv: &[String]) -> Option<ExitCode> {
    let [_, word, argument, command @ ..] = argv else {
        return None;
    };
    let (status, error) = match word.as_str() {
        conformance::WITHOUT_CALLS => {
            let calls: Vec<String> = argument.split(',').map(String::from).collect();
            let error = testbed::older_kernel::exec_without(&calls, command);
            (None, error.to_string())
        }
        conformance::MEASURED => match testbed::measured::run(Path::new(argument), command) {
            Ok(status) => (
                Some(testbed::measured::as_a_shell_says(status)),
                String::new(),
            ),
            Err(error) => (None, error.to_string()),
        },
        _ => return None,
    };
    Some(match status {
        Some(status) => ExitCode::from(status),
        None => {
            eprintln!("oci-conformance: {error}");
            ExitCode::from(2)
        }
    })
}

/// Whether all is well.
fn obey(options: &Options) -> Result<bool, Error> {
    let mut rows = chosen(options);
    if options.list {
        return printed(&listed(&rows)).map(|()| true);
    }
    if rows.is_empty() {
        let remedy = "give --runtime, --cni-path, --caller or --hook, and a filter that fits";
        return Err(Error::Usage(format!("no row to run: {remedy}")));
    }
    if !testbed::requires::is_root() {
        let why = "namespaces, mounts and cgroups are made for every row";
        return Err(Error::Machine(format!("needs root: {why}")));
    }
    testbed::patience::have(options.patience);
    missing_tool().map_or(Ok(()), |tool| Err(Error::Machine(tool)))?;
    let output = options.output.as_deref().map(opened).transpose()?;
    if let Some(seed) = options.shuffle {
        run::shuffle(&mut rows, seed);
    }
    let directory = tempfile::Builder::new()
        .prefix("oci-conformance-")
        .tempdir();
    let mut directory =
        directory.map_err(Error::of("create a directory in", &std::env::temp_dir()))?;
    directory.disable_cleanup(options.keep);
    let well = match options.prove {
        true => proven(options, &rows, directory.path())?,
        false => judged(options, &rows, directory.path(), output)?,
    };
    if options.keep {
        eprintln!("kept: {}", directory.path().display());
    }
    Ok(well)
}

/// Programs without which no row can be run, and Debian's packages of them.
const TOOLS: [(&str, &str); 5] = [
    ("busybox", "busybox-static"),
    ("ip", "iproute2"),
    ("jq", "jq"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
];

/// Told before the first row, or every subject would be blamed for it.
fn missing_tool() -> Option<String> {
    let mut tools = TOOLS.iter();
    let (program, package) =
        tools.find(|(program, _)| !testbed::requires::is_installed(program))?;
    Some(format!("needs the program {program} (Debian: {package})"))
}

/// The file of the report, before anything is judged: an hour later nobody wants to hear of it.
fn opened(path: &Path) -> Result<File, Error> {
    File::create(path).map_err(Error::of("write", path))
}

fn manner(options: &Options) -> Result<Manner, Error> {
    Ok(Manner {
        jobs: options.jobs,
        ended: testbed::wanted_to_end()?,
        shown: std::io::stderr().is_terminal(),
    })
}

fn proven(options: &Options, rows: &[&'static Row], directory: &Path) -> Result<bool, Error> {
    let proof = mutants::prove(rows, &options.subject, directory, manner(options)?)?;
    printed(&proof.text)?;
    Ok(proof.holds)
}

fn judged(
    options: &Options,
    rows: &[&'static Row],
    directory: &Path,
    output: Option<File>,
) -> Result<bool, Error> {
    let manner = manner(options)?;
    let is_ended = || manner.ended.load(Ordering::Relaxed);
    let (mut trials, _) = trial::judge(rows, &options.subject, directory, manner, false)?;
    let own = trials.len();
    for (number, (side, peer)) in options.beside.iter().enumerate() {
        if is_ended() {
            break;
        }
        let mut rows = rows.to_vec();
        rows.retain(|row| row.side == *side);
        let place = directory.join(format!("beside{number}"));
        std::fs::create_dir(&place).map_err(Error::of("mkdir", &place))?;
        let (beside, notes) = trial::judge(&rows, peer, &place, manner, true)?;
        trials.extend(beside);
        eprint!("{notes}");
    }
    tell(options, &trials, own, output)?;
    if is_ended() {
        return Err(Error::Interrupted);
    }
    if let Some(directory) = &options.matrix {
        matrix::publish(directory, &trials)?;
    }
    Ok(!trials
        .iter()
        .flat_map(|trial| &trial.judged)
        .any(|one| one.end.is_bad() || options.deny_skips && matches!(one.end, End::Skipped(_))))
}

fn tell(
    options: &Options,
    trials: &[Trial],
    own: usize,
    output: Option<File>,
) -> Result<(), Error> {
    let whole = options.filters.is_empty();
    let text = report::written(trials, own, options.format, whole);
    let Some(mut output) = output else {
        return printed(&text);
    };
    if let Err(error) = output.write_all(text.as_bytes()) {
        printed(&text)?;
        let path = options.output.as_deref().unwrap_or(Path::new(""));
        return Err(Error::of("write", path)(error));
    }
    match options.format {
        Format::Human => Ok(()),
        _ => printed(&report::written(trials, own, Format::Human, whole)),
    }
}

/// The rows that the subject can be asked, narrowed by the filters; for a list all others too.
fn chosen(options: &Options) -> Vec<&'static Row> {
    let asked = |row: &&Row| {
        let has = options.list || options.subject.path(row.side).is_some();
        let mut filters = options.filters.iter();
        has && (options.filters.is_empty() || filters.any(|filter| row.fits(filter)))
    };
    conformance::rows().into_iter().filter(asked).collect()
}

fn listed(rows: &[&Row]) -> String {
    let lines = rows
        .iter()
        .map(|row| format!("{}\n    {}\n    {}\n", row.name(), row.topic(), row.clause));
    lines.collect()
}

/// Prints. Who has read enough (`| head`) closes the pipe, and that is no error.
fn printed(text: &str) -> Result<(), Error> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::of("write", Path::new("/dev/stdout"))(error))
        }
        _ => Ok(()),
    }
}
