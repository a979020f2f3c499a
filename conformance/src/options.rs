//! [`Options`]: the command line of `oci-conformance`.

use std::num::{NonZeroU32, NonZeroUsize};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::error::Error;
use crate::report::Format;
use crate::row::Side;
use crate::subject::Subject;

/// What is to be judged, and how it is told.
#[derive(Debug)]
pub struct Options {
    /// What has the first column of each sheet.
    pub subject: Subject,
    /// What stands beside it.
    pub beside: Vec<(Side, Subject)>,
    /// Rows whose name or topic contains one of these; all without any.
    pub filters: Vec<String>,
    /// Rows at the same time.
    pub jobs: NonZeroUsize,
    /// How many times as long it waits: an emulated machine is slow.
    pub patience: NonZeroU32,
    /// In an order that this number decides, instead of that of the tables.
    pub shuffle: Option<u64>,
    /// How the report is written.
    pub format: Format,
    /// Where the report goes instead of stdout.
    pub output: Option<PathBuf>,
    /// The directory of the published pages.
    pub matrix: Option<PathBuf>,
    /// Only print the rows and their clauses.
    pub list: bool,
    /// Leave everything where it was made.
    pub keep: bool,
    /// A row that this machine cannot judge is a failure.
    pub deny_skips: bool,
    /// Show that every row fails on a subject that lies.
    pub prove: bool,
}

/// The sides: the flag and the variable that name a subject, and the flag for one beside it.
const SIDES: [(Side, &str, &str, &str); 4] = [
    (Side::Runtime, "runtime", "RUNTIME", "beside"),
    (Side::Cni, "cni-path", "CNI_PATH", "beside-cni"),
    (Side::Caller, "caller", "CNI_CALLER", "beside-caller"),
    (Side::Hook, "hook", "CNI_HOOK", "beside-hook"),
];

/// Rows at the same time unless somebody says.
const TWO: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

/// The flag that names a subject of this side.
pub fn flag(side: Side) -> &'static str {
    let known = SIDES.iter().find(|(one, ..)| *one == side);
    known.map_or("", |(_, flag, ..)| flag)
}

impl Options {
    /// From the words of a command line, and the environment for subjects that it does not name.
    pub fn of(matches: &ArgMatches) -> Result<Self, Error> {
        let text = |name: &str| matches.get_one::<String>(name).cloned();
        let many = |name: &str| -> Vec<String> {
            let all = matches.get_many(name).into_iter().flatten();
            all.cloned().collect()
        };
        let mut options = Self {
            subject: Subject::default(),
            beside: Vec::new(),
            filters: [many("filter"), many("rows")].concat(),
            jobs: matches.get_one("jobs").copied().unwrap_or(TWO),
            patience: matches
                .get_one("patience")
                .copied()
                .unwrap_or(NonZeroU32::MIN),
            shuffle: matches.get_one("shuffle").copied(),
            format: matches.get_one("format").copied().unwrap_or(Format::Human),
            output: text("output").map(PathBuf::from),
            matrix: text("matrix").map(PathBuf::from),
            list: matches.get_flag("list"),
            keep: matches.get_flag("keep"),
            deny_skips: matches.get_flag("deny-skips"),
            prove: matches.get_flag("prove"),
        };
        for (side, flag, variable, beside) in SIDES {
            let given = text(flag).or_else(|| from_environment(variable));
            options.subject = options.subject.with(side, path(side, given)?);
            for other in many(beside) {
                let other = Subject::default().with(side, path(side, Some(other))?);
                options.beside.push((side, other));
            }
        }
        if options.filters.iter().any(String::is_empty) {
            return Err(usage("an empty filter fits every row: leave it out"));
        }
        if options.matrix.is_some() && !options.filters.is_empty() {
            return Err(usage("--matrix is of all rows, and there is a filter"));
        }
        if let Some(name) = text("subject") {
            options.subject = options.subject.renamed(&name);
        }
        Ok(options)
    }
}

/// Callers of plugins take CNI_PATH for a list: the first directory is the one that they look into
/// first.
fn from_environment(variable: &str) -> Option<String> {
    let value = std::env::var(variable).ok()?;
    match variable {
        "CNI_PATH" => value.split(':').next().map(String::from),
        _ => Some(value),
    }
}

/// The command line.
pub fn command() -> Command {
    subjects(Command::new("oci-conformance"))
        .version(env!("CARGO_PKG_VERSION"))
        .about(
            "Judges any of an OCI runtime, a directory of CNI plugins, a program that calls them, \
             and a network hook. Needs root.",
        )
        .arg(one(
            "subject",
            "the section of known-gaps.toml, instead of one chosen by path",
        ))
        .arg(
            one(
                "filter",
                "only rows whose name or topic contains this, or that try the vulnerability of this number; repeatable",
            )
            .action(ArgAction::Append),
        )
        .arg(Arg::new("rows").num_args(0..).help("the same, as words"))
        .arg(one("jobs", "rows at the same time (2)").value_parser(value_parser!(NonZeroUsize)))
        .arg(
            one(
                "patience",
                "wait so many times as long, on a slow machine (1)",
            )
            .value_parser(value_parser!(NonZeroU32)),
        )
        .arg(
            one(
                "shuffle",
                "run the rows in an order that this number decides",
            )
            .value_parser(value_parser!(u64)),
        )
        .arg(one("format", "human, tap, junit or json").value_parser(Format::named))
        .arg(one(
            "output",
            "the file that the report goes to, instead of stdout",
        ))
        .arg(one(
            "matrix",
            "also write matrix.md, matrix.html and spec-conformance.md into this directory",
        ))
        .arg(switch(
            "list",
            "print the rows, their topics and their clauses",
        ))
        .arg(switch(
            "keep",
            "leave the bundles and configurations where they were made",
        ))
        .arg(switch(
            "deny-skips",
            "a row that this machine cannot judge is a failure",
        ))
        .arg(switch(
            "prove",
            "show that every row fails on a subject that lies",
        ))
        .after_help(EXAMPLES)
}

const EXAMPLES: &str = "\
Examples:
  oci-conformance --runtime $(command -v runc) --filter runtime/hooks
  oci-conformance --runtime ./my-runtime --beside runc --beside crun
  oci-conformance --cni-path /opt/cni/bin --format junit --output report.xml
  oci-conformance --list --filter cni/portmap";

fn subjects(command: Command) -> Command {
    let more = |name, help| one(name, help).action(ArgAction::Append);
    command
        .arg(one(
            "runtime",
            "the runtime's executable (or RUNTIME in the environment)",
        ))
        .arg(more(
            "beside",
            "another runtime to score beside it; repeatable",
        ))
        .arg(one(
            "cni-path",
            "the directory of plugins (or the first of CNI_PATH in the environment)",
        ))
        .arg(more(
            "beside-cni",
            "another directory of plugins to score; repeatable",
        ))
        .arg(one(
            "caller",
            "a program with cnitool's command line (or CNI_CALLER in the environment)",
        ))
        .arg(more("beside-caller", "another caller to score; repeatable"))
        .arg(one(
            "hook",
            "a program that is called as nerdctl's network hook (or CNI_HOOK in the environment)",
        ))
        .arg(more("beside-hook", "another hook to score; repeatable"))
}

fn one(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).help(help)
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    one(name, help).action(ArgAction::SetTrue)
}

/// An absolute path; a bare name is looked for in PATH. It must be what its side is judged as, or
/// every promise would seem broken.
fn path(side: Side, given: Option<String>) -> Result<Option<PathBuf>, Error> {
    let Some(given) = given.filter(|given| !given.is_empty()) else {
        return Ok(None);
    };
    // A runtime that is a link is what it leads to: crun as runc has crun's gaps.
    let mut places = places(side, &given).into_iter();
    let found = places.find_map(|place| place.canonicalize().ok());
    let found = found.ok_or_else(|| usage(format!("{given}: no such {}", kind(side))))?;
    match is_fit(side, &found) {
        true => Ok(Some(found)),
        false => Err(usage(format!("{given}: {found:?} is no {}", kind(side)))),
    }
}

fn usage(why: impl Into<String>) -> Error {
    Error::Usage(why.into())
}

fn kind(side: Side) -> &'static str {
    match side {
        Side::Cni => "directory of plugins",
        Side::Runtime | Side::Caller | Side::Hook => "executable file",
    }
}

fn places(side: Side, given: &str) -> Vec<PathBuf> {
    let here = PathBuf::from(given);
    if side == Side::Cni || given.contains('/') {
        return vec![here];
    }
    let directories = testbed::invocation::PATH.split(':');
    directories.map(|dir| Path::new(dir).join(given)).collect()
}

fn is_fit(side: Side, path: &Path) -> bool {
    let Ok(metadata) = path.metadata() else {
        return false;
    };
    match side {
        Side::Cni => metadata.is_dir(),
        _ => metadata.is_file() && metadata.permissions().mode() & 0o111 != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Options, Error> {
        let words = [&["oci-conformance"], words].concat();
        let matches = command().try_get_matches_from(words);
        Options::of(&matches.map_err(|error| usage(error.to_string()))?)
    }

    #[test]
    fn filters_are_flags_and_words() {
        let options = read(&["--filter", "hooks", "F001", "F002"]).expect("a good line");
        assert_eq!(options.filters, ["hooks", "F001", "F002"]);
        assert_eq!((options.jobs, options.shuffle), (TWO, None));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for words in [
            &["--matrix", "/tmp", "F001"],
            &["--jobs", "many"][..],
            &["--jobs", "0"],
            &["--filter", ""],
            &["--runtime", "/"],
            &["--runtime", "/etc/passwd"],
            &["--cni-path", "/bin/sh"],
            &["--format", "moon"],
            &["--beside", "/no/such"],
        ] {
            assert!(read(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn every_side_has_its_flags() {
        for (side, flag, _, beside) in SIDES {
            let subject = if side == Side::Cni { "/bin" } else { "/bin/sh" };
            let options = read(&[
                &format!("--{flag}"),
                subject,
                &format!("--{beside}"),
                subject,
            ]);
            let options = options.expect("a good line");
            assert_eq!(options.subject.targets().count(), 1, "{flag}");
            assert_eq!(options.beside.len(), 1, "{beside}");
        }
    }
}
