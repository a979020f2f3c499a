//! `oci-conformance`: judges an OCI runtime, a directory of CNI plugins, or both.
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
        .about("Judges an OCI runtime, a directory of CNI plugins, or both. Needs root.")
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
    let runtime = path(text("runtime").or_else(|| std::env::var("RUNTIME").ok()))?;
    let cni_path = path(text("cni-path").or_else(|| std::env::var("CNI_PATH").ok()))?;
    let mut subject = Subject::new(runtime, cni_path);
    if let Some(name) = text("subject") {
        (subject.runtime_name, subject.cni_name) = (name.clone(), name);
    }
    let filters: Vec<&String> = matches.get_many("filter").into_iter().flatten().collect();
    let rows = chosen(&subject, &filters, matches.get_flag("list"));
    if matches.get_flag("list") {
        return listed(&rows).map(|()| true);
    }
    if rows.is_empty() {
        return Err("no row to run: give --runtime or --cni-path, and a filter that fits".into());
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

/// A subject that stands beside the first: a runtime, or a directory of plugins.
struct Peer {
    side: Side,
    subject: Subject,
    judged: Vec<Judged>,
}

impl Peer {
    fn name(&self) -> &str {
        match self.side {
            Side::Runtime => &self.subject.runtime_name,
            Side::Cni => &self.subject.cni_name,
        }
    }
}

/// The subjects of `--beside` and `--beside-cni`, not judged yet.
fn peers(matches: &ArgMatches) -> Result<Vec<Peer>, String> {
    let of = |name: &str| -> Vec<String> {
        let all = matches.get_many(name).into_iter().flatten();
        all.cloned().collect()
    };
    let peer = |side, subject| Peer {
        side,
        subject,
        judged: Vec::new(),
    };
    let mut all = Vec::new();
    for given in of("beside") {
        all.push(peer(Side::Runtime, Subject::new(path(Some(given))?, None)));
    }
    for given in of("beside-cni") {
        all.push(peer(Side::Cni, Subject::new(None, path(Some(given))?)));
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
    for side in [Side::Runtime, Side::Cni] {
        let name = match side {
            Side::Runtime => subject.runtime.as_ref().map(|_| &subject.runtime_name),
            Side::Cni => subject.cni_path.as_ref().map(|_| &subject.cni_name),
        };
        let Some(name) = name else { continue };
        let mut score = Score::of(side);
        score.add(name, judged);
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
        let has = match row.side {
            Side::Runtime => subject.runtime.is_some(),
            Side::Cni => subject.cni_path.is_some(),
        };
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
    words.extend(
        subject
            .runtime
            .iter()
            .map(|path| format!("--runtime {}", path.display())),
    );
    words.extend(
        subject
            .cni_path
            .iter()
            .map(|path| format!("--cni-path {}", path.display())),
    );
    words.join(" ")
}
