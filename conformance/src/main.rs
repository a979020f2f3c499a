//! `oci-conformance`: judges any of an OCI runtime, a directory of CNI plugins, a caller of plugins
//! and a network hook.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is the executable"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use conformance::report::{self, Format};
use conformance::run::{End, Judged};
use conformance::score::Score;
use conformance::subject::Subject;
use conformance::{Row, Side, mutants, run};

fn main() -> ExitCode {
    let argv: Vec<String> = std::env::args().collect();
    if let [_, word, calls, command @ ..] = argv.as_slice()
        && word == conformance::WITHOUT_CALLS
    {
        let calls: Vec<String> = calls.split(',').map(String::from).collect();
        let error = testbed::older_kernel::exec_without(&calls, command);
        eprintln!("oci-conformance: {error}");
        return ExitCode::from(2);
    }
    if let [_, word, place, command @ ..] = argv.as_slice()
        && word == conformance::MEASURED
    {
        return match testbed::measured::run(Path::new(place), command) {
            Ok(status) => ExitCode::from(testbed::measured::as_a_shell_says(status)),
            Err(error) => {
                eprintln!("oci-conformance: {error}");
                ExitCode::from(2)
            }
        };
    }
    match judge(&arguments().get_matches()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("oci-conformance: {why}");
            ExitCode::from(2)
        }
    }
}

fn arguments() -> Command {
    let value = |name: &'static str, help: &'static str| Arg::new(name).long(name).help(help);
    let flag = |name: &'static str, help| value(name, help).action(ArgAction::SetTrue);
    Command::new("oci-conformance")
        .about("Judges any of an OCI runtime, a directory of CNI plugins, a program that calls them, and a \
                network hook. Needs root.")
        .arg(value(
            "runtime",
            "the runtime's executable (or RUNTIME in the environment)",
        ))
        .arg(
            value("beside", "another runtime to score beside it; repeatable")
                .action(ArgAction::Append),
        )
        .arg(value(
            "cni-path",
            "the directory of plugins (or CNI_PATH in the environment)",
        ))
        .arg(
            value(
                "beside-cni",
                "another directory of plugins to score; repeatable",
            )
            .action(ArgAction::Append),
        )
        .arg(value(
            "caller",
            "a program with cnitool's command line (or CNI_CALLER in the environment)",
        ))
        .arg(
            value("beside-caller", "another caller to score; repeatable")
                .action(ArgAction::Append),
        )
        .arg(value(
            "hook",
            "a program that is called as nerdctl's network hook (or CNI_HOOK in the environment)",
        ))
        .arg(value(
            "subject",
            "the section of known-gaps.toml, instead of one chosen by path",
        ))
        .arg(value("format", "human, tap or json").default_value("human"))
        .arg(value("jobs", "rows at the same time").default_value("2"))
        .arg(flag("list", "print the rows and their clauses"))
        .arg(flag(
            "keep",
            "leave the bundles and configurations where they were made",
        ))
        .arg(flag(
            "deny-skips",
            "a row that this machine cannot judge is a failure",
        ))
        .arg(flag(
            "prove",
            "show that every row fails on a subject that lies",
        ))
        .arg(
            Arg::new("filter")
                .num_args(0..)
                .help("only rows whose name contains one of these"),
        )
}

/// Prints the rows. Who has read enough (`| head`) closes the pipe, and that is no error.
fn listed(rows: &[&Row]) -> Result<(), String> {
    let lines = rows
        .iter()
        .map(|row| format!("{}\n    {}\n", row.name(), row.clause));
    match std::io::stdout().write_all(lines.collect::<String>().as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(format!("print the rows: {error}"))
        }
        _ => Ok(()),
    }
}

fn judge(matches: &ArgMatches) -> Result<bool, String> {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let subject = subject(matches)?;
    let filters: Vec<&String> = matches.get_many("filter").into_iter().flatten().collect();
    let rows = chosen(&subject, &filters, matches.get_flag("list"));
    if matches.get_flag("list") {
        return listed(&rows).map(|()| true);
    }
    if rows.is_empty() {
        return Err(
            "no row to run: give --runtime, --cni-path, --caller or --hook, and a filter that fits"
                .into(),
        );
    }
    let jobs = text("jobs")
        .and_then(|jobs| jobs.parse().ok())
        .ok_or("--jobs takes a number")?;
    let directory = tempfile::Builder::new()
        .prefix("oci-conformance-")
        .tempdir();
    let mut directory = directory.map_err(|error| format!("create a directory: {error}"))?;
    directory.disable_cleanup(matches.get_flag("keep"));
    if matches.get_flag("prove") {
        let proof = mutants::prove(&rows, &subject, directory.path(), jobs)?;
        print!("{}", proof.text);
        return Ok(proof.holds);
    }
    let judged = run::run(&rows, &subject, directory.path(), jobs)?;
    let format = match text("format").as_deref() {
        Some("tap") => Format::Tap,
        Some("json") => Format::Json,
        _ => Format::Human,
    };
    print!("{}", report::written(&judged, format, &again(&subject)));
    let mut peers = peers(matches)?;
    judge_peers(&mut peers, &rows, directory.path(), jobs)?;
    if format == Format::Human {
        for peer in &peers {
            print!("{}", report::trouble(&peer.judged, &again(&peer.subject)));
        }
        print!("{}", sheets(&subject, &judged, &peers, filters.is_empty()));
    }
    if matches.get_flag("keep") {
        eprintln!("kept: {}", directory.path().display());
    }
    let denied = matches.get_flag("deny-skips");
    let fails = |end: &End| end.is_bad() || denied && matches!(end, End::Skipped(_));
    let mut all = judged
        .iter()
        .chain(peers.iter().flat_map(|peer| &peer.judged));
    Ok(!all.any(|one| fails(&one.end)))
}

/// What the flags name, else the environment.
fn subject(matches: &ArgMatches) -> Result<Subject, String> {
    let mut subject = Subject::default();
    for (side, flag, variable) in [
        (Side::Runtime, "runtime", "RUNTIME"),
        (Side::Cni, "cni-path", "CNI_PATH"),
        (Side::Caller, "caller", "CNI_CALLER"),
        (Side::Hook, "hook", "CNI_HOOK"),
    ] {
        let given = matches.get_one::<String>(flag).cloned();
        subject = subject.with(side, path(given.or_else(|| std::env::var(variable).ok()))?);
    }
    Ok(match matches.get_one::<String>("subject") {
        Some(name) => subject.renamed(name),
        None => subject,
    })
}

/// A subject that stands beside the first: a runtime, a directory of plugins, or a caller.
struct Peer {
    side: Side,
    subject: Subject,
    judged: Vec<Judged>,
}

impl Peer {
    fn name(&self) -> &str {
        self.subject.name(self.side)
    }
}

/// The subjects of `--beside`, `--beside-cni` and `--beside-caller`, not judged yet.
fn peers(matches: &ArgMatches) -> Result<Vec<Peer>, String> {
    let of = |name: &str| -> Vec<String> {
        let all = matches.get_many(name).into_iter().flatten();
        all.cloned().collect()
    };
    let mut all = Vec::new();
    for (side, flag) in [
        (Side::Runtime, "beside"),
        (Side::Cni, "beside-cni"),
        (Side::Caller, "beside-caller"),
    ] {
        for given in of(flag) {
            all.push(Peer {
                side,
                subject: Subject::default().with(side, path(Some(given))?),
                judged: Vec::new(),
            });
        }
    }
    Ok(all)
}

/// The rows of its side once more, for each subject that stands beside the first.
fn judge_peers(
    peers: &mut [Peer],
    rows: &[&'static Row],
    directory: &Path,
    jobs: usize,
) -> Result<(), String> {
    for (number, peer) in peers.iter_mut().enumerate() {
        let mut rows = rows.to_vec();
        rows.retain(|row| row.side == peer.side);
        let place = directory.join(format!("beside{number}"));
        std::fs::create_dir(&place).map_err(|error| format!("mkdir {place:?}: {error}"))?;
        peer.judged = run::run(&rows, &peer.subject, &place, jobs)?;
    }
    Ok(())
}

/// The score sheet of each side that was judged.
fn sheets(subject: &Subject, judged: &[Judged], peers: &[Peer], whole: bool) -> String {
    let mut text = String::new();
    for (side, _) in subject.targets() {
        // With a filter, whole sides may not have been asked.
        if !judged.iter().any(|one| one.row.side == side) {
            continue;
        }
        let mut score = Score::of(side);
        score.add(subject.name(side), judged);
        for peer in peers.iter().filter(|peer| peer.side == side) {
            score.add(peer.name(), &peer.judged);
        }
        text += &score.written(whole);
    }
    text
}

/// The rows that this subject can be asked, narrowed by the filters.
fn chosen(subject: &Subject, filters: &[&String], all: bool) -> Vec<&'static Row> {
    let asked = |row: &&Row| {
        let has = subject.path(row.side).is_some();
        let name = row.name();
        (all || has) && (filters.is_empty() || filters.iter().any(|one| name.contains(*one)))
    };
    conformance::rows().into_iter().filter(asked).collect()
}

/// An absolute path of an executable or directory; a bare name is looked for in PATH.
fn path(given: Option<String>) -> Result<Option<PathBuf>, String> {
    let Some(given) = given.filter(|given| !given.is_empty()) else {
        return Ok(None);
    };
    let directories = match given.contains('/') {
        true => vec![PathBuf::new()],
        false => testbed::invocation::PATH
            .split(':')
            .map(PathBuf::from)
            .collect(),
    };
    let found = directories
        .iter()
        .find_map(|dir| dir.join(&given).canonicalize().ok());
    // A runtime that is a link (crun as runc) keeps the name it was called by.
    let found = found.ok_or_else(|| format!("{given}: no such runtime or directory"))?;
    Ok(Some(found))
}

fn again(subject: &Subject) -> String {
    let mut words = vec!["oci-conformance --keep".to_owned()];
    words.extend(subject.targets().map(|(side, path)| {
        let flag = match side {
            Side::Runtime => "runtime",
            Side::Cni => "cni-path",
            Side::Caller => "caller",
            Side::Hook => "hook",
        };
        format!("--{flag} {}", path.display())
    }));
    words.join(" ")
}
