//! `ps`: the processes of a container, as pids for shims or as ps(1) shows them.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sys::child::{Excess, StandardError, Terms};

use crate::container::Container;
use crate::container_id::ContainerId;
use crate::state_dir::StateRoot;

/// How the processes are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// The pids as a JSON array, `null` if there are none, as runc prints it.
    Json,
    /// The lines that the host's ps(1) prints of them, called with these arguments.
    Table(Vec<String>),
}

/// The processes of the container `id`, as the host numbers them.
pub fn run(root: &StateRoot, id: &str, format: &Format) -> Result<String> {
    let container = Container::open(root, &ContainerId::parse(id)?)?;
    let pids = container
        .cgroup()?
        .processes()
        .with_context(|| format!("list the processes of {id:?}"))?;
    match format {
        Format::Json if pids.is_empty() => Ok("null\n".into()),
        Format::Json => Ok(serde_json::to_string(&pids).context("encode the pids")? + "\n"),
        Format::Table(arguments) => rows(&ps(arguments)?, &pids),
    }
}

/// What the host's ps says of everybody.
fn ps(arguments: &[String]) -> Result<String> {
    let mut command = Command::new("ps");
    match arguments {
        [] => command.arg("-ef"),
        given => command.args(given),
    };
    let terms = Terms {
        stderr: StandardError::Collected,
        time: Duration::from_secs(30),
        output: 64 << 20,
        excess: Excess::Kills,
    };
    let finished = sys::child::run(&mut command, b"", terms).context("run ps")?;
    if !finished.status.success() {
        let said = String::from_utf8_lossy(&finished.stderr);
        bail!(
            "ps {}: {}: {}",
            arguments.join(" "),
            finished.status,
            said.trim()
        );
    }
    Ok(String::from_utf8_lossy(&finished.stdout).into_owned())
}

/// The head and the lines of `pids`, sorted.
fn rows(table: &str, pids: &[i32]) -> Result<String> {
    let mut lines = table.lines();
    let head = lines.next().unwrap_or_default();
    let starts = head.match_indices("PID").map(|(start, _)| start);
    let mut alone = starts.filter(|start| is_word(head, *start, start + 3));
    let start = alone
        .next()
        .context("couldn't find PID field in ps output")?;
    let (column, end) = (head[..start].split_whitespace().count(), start + 3);
    let is_ours = |line: &&str| pid(line, column, end).is_some_and(|pid| pids.contains(&pid));
    let ours = lines.filter(is_ours);
    Ok(std::iter::once(head)
        .chain(ours)
        .map(|line| format!("{line}\n"))
        .collect())
}

/// The pid in a line: ps puts numbers flush right below their head, and where a long name has
/// moved it, it is the word at the same place as the head's, unless that has blanks before it.
fn pid(line: &str, column: usize, end: usize) -> Option<i32> {
    let below = line.get(..end).filter(|_| {
        let next = line.as_bytes().get(end);
        next.is_none_or(u8::is_ascii_whitespace)
    });
    let below = below.and_then(|text| text.rsplit(' ').next()?.parse().ok());
    below.or_else(|| line.split_whitespace().nth(column)?.parse().ok())
}

/// Whether a range is a whole word, unlike the PID in PPID.
fn is_word(line: &str, start: usize, end: usize) -> bool {
    let blank = |byte: &u8| byte.is_ascii_whitespace();
    let bytes = line.as_bytes();
    (start == 0 || blank(&bytes[start - 1])) && bytes.get(end).is_none_or(blank)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_container_are_found_by_the_head() {
        let table = "USER   PID CMD\nroot    12 a 99\nroot    99 b\nroot     x c\n";
        assert_eq!(
            rows(table, &[12]).unwrap(),
            "USER   PID CMD\nroot    12 a 99\n"
        );
        assert_eq!(rows(table, &[]).unwrap(), "USER   PID CMD\n");
        let blanks = "COMMAND      PID S\nsleep 99      12 S\nsh -c 12      99 S\n";
        assert_eq!(
            rows(blanks, &[99]).unwrap().lines().nth(1),
            Some("sh -c 12      99 S")
        );
        assert_eq!(rows(blanks, &[12]).unwrap().lines().count(), 2);
        let error = rows("COMMAND\nsh\n", &[1]).unwrap_err().to_string();
        assert_eq!(error, "couldn't find PID field in ps output");
    }
}
