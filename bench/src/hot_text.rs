//! The functions that usual commands execute, in the order in which they first do, as scripts for the
//! linker, which puts them side by side (decision 0065).
//!
//! A start maps every page of its program that it touches, with fifteen neighbours each time. Where what is
//! executed lies scattered among what is not, that is the whole program.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::bundles;
use crate::cases::{Ground, attached};
use crate::instructions::{self, Executed};
use crate::runtimes::Container;

/// For each command: some 50,000 steps are a second, and networks take many.
const LIMIT: Duration = Duration::from_secs(1200);
/// Names of instances go on for pages; what has this much in common is taken along.
const LONGEST: usize = 160;
const HEADER: &str = "/* Written by `make hot-text`: the functions that usual commands execute, side by side (decision 0065).
 * A name that is no longer there does no harm. */
SECTIONS
{
  .text.first :
  {
";
const FOOTER: &str = "  }
}
INSERT BEFORE .text;
";

/// Executes them and writes `davit.ld`, `davit-cni.ld` and `davit-cni-plugins.ld` into `directory`. The
/// binaries must have their symbols.
pub fn write(ground: &Ground, directory: &Path) -> Result<(), String> {
    let mut executed = Executed::new();
    let ours = ground.runtimes.iter().find(|one| one.name == "davit");
    let davit = ours.ok_or("there is no davit")?;
    let container = |label: &str, config: testbed::Config| ground.container(davit, label, &config);
    let mut follow = |command: Command| -> Result<(), String> {
        let before = std::mem::take(&mut executed);
        executed = instructions::places(&command, LIMIT, before)?;
        Ok(())
    };

    follow(container("run", bundles::default())?.run_command())?;
    steps(&container("steps", bundles::asleep())?, &mut follow)?;
    let hook = ground.setting.ours.join("bin/davit-cni");
    let networks = attached::ours(&ground.setting, &hook)?;
    follow(container("networks", networks)?.run_command())?;
    let docker = container("docker", bundles::docker_sized(&ground.setting.place)?)?;
    docker.run()?; // keeps the filter (decision 0016), which usual starts find
    follow(docker.run_command())?;

    let bin = ground.setting.ours.join("bin");
    let plugins = ground.setting.ours.join("cni");
    for (name, file, directory_of_links) in [
        ("davit", bin.join("davit"), None),
        ("davit-cni", bin.join("davit-cni"), None),
        (
            "davit-cni-plugins",
            plugins.join("davit-cni-plugins"),
            Some(&plugins),
        ),
    ] {
        let is_it = |path: &Path| match directory_of_links {
            Some(links) => path.parent() == Some(links),
            None => path == file,
        };
        let mut of_it: Vec<_> = executed.iter().filter(|(path, _)| is_it(path)).collect();
        of_it.sort_by_key(|(path, _)| *path); // another time in the same order
        let places: Vec<u64> = of_it
            .into_iter()
            .flat_map(|(_, places)| places.in_order.iter().copied())
            .collect();
        let script = script(&functions(&symbols(&file)?, &places));
        let output = directory.join(format!("{name}.ld"));
        std::fs::write(&output, script)
            .map_err(|error| format!("{}: {error}", output.display()))?;
    }
    Ok(())
}

/// Every operation of an engine, on a container that sleeps.
fn steps(
    container: &Container<'_>,
    follow: &mut impl FnMut(Command) -> Result<(), String>,
) -> Result<(), String> {
    // Init does not outlive the tracer.
    let created = follow(container.create_command());
    container.remove();
    created?;
    container.create()?;
    let all = [
        ("start", &[][..]),
        ("state", &[]),
        ("exec", &["/bin/true"]),
        ("kill", &["KILL"]),
    ];
    let followed = all
        .iter()
        .try_for_each(|(operation, more)| follow(container.command(operation, more)))
        .and_then(|()| container.ended())
        .and_then(|()| follow(container.command("delete", &[])));
    container.remove();
    followed
}

/// A function: from where to where, and its name.
type Symbol = (std::ops::Range<u64>, String);

/// The functions of a program that has not lost their names, by address.
fn symbols(program: &Path) -> Result<Vec<Symbol>, String> {
    let mut nm = Command::new("nm");
    nm.args(["--print-size", "--defined-only"]).arg(program);
    let listed = nm.output().map_err(|error| format!("nm: {error}"))?;
    let mut symbols = parse(&String::from_utf8_lossy(&listed.stdout));
    symbols.sort_by_key(|(range, _)| range.start);
    match symbols.is_empty() {
        true => Err(format!("{}: no symbols", program.display())),
        false => Ok(symbols),
    }
}

/// Lines of nm(1): address, size, kind, name.
fn parse(listed: &str) -> Vec<Symbol> {
    let symbols = listed.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let mut number = || u64::from_str_radix(words.next()?, 16).ok();
        let (address, size) = (number()?, number()?);
        let (kind, name) = (words.next()?, words.next()?);
        let is_text = matches!(kind, "t" | "T" | "w" | "W");
        is_text.then(|| (address..address + size, name.to_owned()))
    });
    symbols.collect()
}

/// The names of those that were executed, each once. `symbols` are sorted.
fn functions<'a>(symbols: &'a [Symbol], places: &[u64]) -> Vec<&'a str> {
    let mut known = HashSet::new();
    let of = |place: &u64| {
        let after = symbols.partition_point(|(range, _)| range.start <= *place);
        let (range, name) = symbols.get(after.checked_sub(1)?)?;
        range.contains(place).then_some(name.as_str())
    };
    let names = places.iter().filter_map(of);
    names.filter(|name| known.insert(*name)).collect()
}

/// A script that is added to the linker's own.
fn script(functions: &[&str]) -> String {
    let mut known = HashSet::new();
    let mut script = HEADER.to_owned();
    for name in functions.iter().map(|name| pattern(name)) {
        if known.insert(name.clone()) {
            // What the compiler is told to be cold it puts into `.text.unlikely.NAME`.
            let _ = writeln!(script, "    *(.text.*{name})");
        }
    }
    script + FOOTER
}

/// A name without what changes from one build to the next: the marks of crates (`Cs...._`, "Symbol name
/// mangling" of the rustc book) and of what link-time optimization has made public; of names by the older
/// scheme, as the standard library comes with, the number at the end.
fn pattern(name: &str) -> String {
    let (name, suffix) = match name.split_once(".llvm.") {
        Some((name, _)) => (name, "*"),
        None => (name, ""),
    };
    if let Some((path, hash)) = name.rsplit_once("17h")
        && name.starts_with("_ZN")
        && hash.len() == "0123456789abcdefE".len()
    {
        return format!("{path}17h*E{suffix}");
    }
    let mut pattern = String::new();
    let mut rest = name;
    while let Some(at) = rest.find("Cs") {
        let (before, mark) = rest.split_at(at + 2);
        pattern.push_str(before);
        let end = mark.find(|letter: char| !letter.is_ascii_alphanumeric());
        rest = match end.and_then(|end| mark.split_at_checked(end)) {
            Some((letters, after)) if !letters.is_empty() && after.starts_with('_') => {
                pattern.push('*');
                after
            }
            _ => mark,
        };
    }
    pattern.push_str(rest);
    pattern.push_str(suffix);
    if let Some(long) = pattern.get(..LONGEST) {
        return format!("{long}*");
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executed_functions_are_named_once_in_their_order() {
        let listed = "0000000000000020 0000000000000010 t b\n0000000000000010 0000000000000010 T a\n\
                      0000000000000040 0000000000000008 d data\n                 U elsewhere\n";
        let mut symbols = parse(listed);
        symbols.sort_by_key(|(range, _)| range.start);
        assert_eq!(
            functions(&symbols, &[0x2f, 0x10, 0x20, 0x30, 0x44, 0x5]),
            ["b", "a"]
        );
    }

    #[test]
    fn marks_of_a_build_are_left_open() {
        assert_eq!(pattern("memcpy"), "memcpy");
        assert_eq!(
            pattern("_RNvNtCs6fNpP9Yt3lX_7runtime4main3run"),
            "_RNvNtCs*_7runtime4main3run"
        );
        assert_eq!(pattern("_RNvCs1_3std3abc.llvm.123"), "_RNvCs*_3std3abc*");
        assert_eq!(pattern("_RNvC3std2Cs"), "_RNvC3std2Cs");
        assert_eq!(
            pattern("_ZN3std2rt4init17h0123456789abcdefE.llvm.1"),
            "_ZN3std2rt4init17h*E*"
        );
        let long = format!("_R{}", "x".repeat(LONGEST));
        assert_eq!(pattern(&long), format!("{}*", &long[..LONGEST]));
    }

    #[test]
    fn a_script_has_each_pattern_once() {
        let script = script(&["_RNvCs1_3std3abc", "_RNvCs2_3std3abc", "main"]);
        assert_eq!(script.matches(".text.*_RNvCs*_3std3abc)").count(), 1);
        assert!(
            script.starts_with(HEADER) && script.ends_with(FOOTER),
            "{script}"
        );
    }
}
