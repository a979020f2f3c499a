//! Help, manuals, completion, and the spellings of options that callers use.

use std::path::{Path, PathBuf};

use testbed::Config;

use crate::case::Case;
use crate::row::{Demand, Failure, Row, Side, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F007,
        long_options_may_have_one_dash,
        "go-runc passes -no-subreaper to restore; Go's flag package takes one dash or two"
    ),
    row!(
        Runtime,
        F007,
        a_flag_takes_a_value,
        "Go's flag package: -flag=false; go-runc passes --rootless=false"
    ),
    row!(
        Runtime,
        F020,
        the_state_names_the_version_that_the_runtime_supports,
        "runtime.md, State: ociVersion is the version that the state complies with"
    ),
    row!(
        Runtime,
        F039,
        kill_and_delete_take_a_regular_expression,
        "crun(1): --regex: the id is interpreted as a regular expression"
    ),
    row!(
        Runtime,
        F044,
        help_is_laid_out_as_scripts_expect,
        "runc: NAME: on the first line, the program and the command on the second"
    ),
    row!(
        Runtime,
        F044,
        a_missing_argument_is_answered_with_help,
        "runc: Incorrect Usage, the command's help, and how many arguments it requires"
    ),
    row!(
        Runtime,
        F044,
        an_unknown_command_has_no_help,
        "runc: No help topic for 'foo'"
    ),
    row!(
        Runtime,
        F045,
        a_manual_and_a_completion_come_along,
        "the packages of runc: man pages of section 8, and completion for bash"
    ),
];

fn long_options_may_have_one_dash(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().sh("exit 3"))?;
    let run = ["run", "-no-subreaper", "-bundle", &container.dir()];
    let outcome = case.call(&container.command(&run)?)?;
    ensure_eq!(outcome.code(), Some(3), "status of\n{outcome}");
    Ok(())
}

fn a_flag_takes_a_value(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    container.up()?;
    let kept = container.command(&["delete", "--force=false"])?;
    case.call(&kept)?.refuses()?;
    ensure_eq!(container.state()?["status"], "running", "status");
    case.call(&container.command(&["delete", "-f=true"])?)?
        .succeeds()?;
    Ok(())
}

fn the_state_names_the_version_that_the_runtime_supports(case: &Case<'_>) -> Verdict {
    let version = case.call(&case.bare_runtime(&["--version"])?)?;
    let version = version.succeeds()?.text();
    let supported = version.lines().find_map(|line| line.strip_prefix("spec: "));
    let supported = supported.ok_or_else(|| Failure(format!("no `spec: ` in {version:?}")))?;
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    container.create()?.succeeds()?;
    let state = container.state()?;
    ensure_eq!(state["ociVersion"], supported, "ociVersion in the state");
    let numbers = |text: &str| -> Vec<u32> {
        let plain = text.split('-').next().unwrap_or_default();
        plain
            .split('.')
            .filter_map(|part| part.parse().ok())
            .collect()
    };
    let bundle = Config::new().value()["ociVersion"].clone();
    let bundle = bundle.as_str().unwrap_or_default();
    ensure!(
        numbers(supported) >= numbers(bundle),
        "it runs a bundle of {bundle} and says that it supports {supported}"
    );
    Ok(())
}

fn kill_and_delete_take_a_regular_expression(case: &Case<'_>) -> Verdict {
    let mut all = Vec::new();
    for _ in 0..3 {
        let container = case.container(Config::new().args(&["sleep", "60"]))?;
        container.up()?;
        all.push(container);
    }
    // Only the extended syntax has alternatives.
    let two = format!("^({}|c[1])$", all[0].id);
    case.call(&case.runtime(&["kill", "--regex", &two, "KILL"])?)?
        .succeeds()?;
    all[0].reaches("stopped")?;
    all[1].reaches("stopped")?;
    ensure_eq!(all[2].state()?["status"], "running", "the third");
    case.call(&case.runtime(&["delete", "--regex", &two])?)?
        .succeeds()?;
    let left = case
        .call(&case.runtime(&["list", "-q"])?)?
        .succeeds()?
        .text();
    ensure_eq!(left, all[2].id, "what is left");
    Ok(())
}

/// The name by which the runtime calls itself.
fn name(case: &Case<'_>) -> String {
    case.subject.name(Side::Runtime).to_owned()
}

fn help_is_laid_out_as_scripts_expect(case: &Case<'_>) -> Verdict {
    for command in ["create", "kill", "exec", "list"] {
        for words in [["help", command], [command, "-h"], [command, "--help"]] {
            let help = case.call(&case.bare_runtime(&words)?)?.succeeds()?.text();
            let mut lines = help.lines();
            ensure_eq!(lines.next(), Some("NAME:"), "first line of {words:?}");
            let second = lines.next().unwrap_or_default();
            let wanted = format!("{} {command}", name(case));
            ensure!(second.contains(&wanted), "no {wanted:?} in {second:?}");
        }
    }
    Ok(())
}

fn a_missing_argument_is_answered_with_help(case: &Case<'_>) -> Verdict {
    for (command, how) in [("start", "exactly 1"), ("kill", "a minimum of 1")] {
        let refused = case.call(&case.runtime(&[command])?)?.refuses()?;
        ensure!(refused.text().starts_with("Incorrect Usage"), "{refused}");
        ensure!(refused.text().contains("NAME:"), "{refused}");
        let wanted = format!("\"{command}\" requires {how} argument");
        // Within a record the quotes have backslashes.
        let said = refused.complaint().replace('\\', "");
        ensure!(said.contains(&wanted), "no {wanted:?} in\n{refused}");
    }
    Ok(())
}

fn an_unknown_command_has_no_help(case: &Case<'_>) -> Verdict {
    for words in [&["foo"][..], &["foo", "-h"], &["help", "foo"]] {
        let refused = case.call(&case.bare_runtime(words)?)?.refuses()?;
        refused.says(&["No help topic for 'foo'"])?;
    }
    Ok(())
}

/// Where the files of a program may be: beside it, and in the system's directories.
fn shares(program: &Path) -> Vec<PathBuf> {
    let beside = program.parent().map(|bin| bin.join("../share"));
    let system = ["/usr/share", "/usr/local/share"].map(PathBuf::from);
    beside.into_iter().chain(system).collect()
}

fn a_manual_and_a_completion_come_along(case: &Case<'_>) -> Verdict {
    let program = case.target(Side::Runtime)?;
    let name = name(case);
    let shares = shares(program);
    let has = |paths: &[String]| {
        let mut files = shares
            .iter()
            .flat_map(|share| paths.iter().map(|path| share.join(path)));
        files.any(|file| std::fs::metadata(file).is_ok_and(|file| file.len() > 100))
    };
    let pages = |section: u8| {
        let file = format!("man/man{section}/{name}.{section}");
        [format!("{file}.gz"), file]
    };
    let manual = has(&pages(8)) || has(&pages(1));
    let completion = has(&[
        format!("bash-completion/completions/{name}"),
        format!("bash-completion/completions/{name}.bash"),
    ]);
    ensure!(manual, "no manual of {name} in {shares:?}");
    ensure!(completion, "no completion of {name} in {shares:?}");
    Ok(())
}
