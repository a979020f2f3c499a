//! `storm`: many workers do at random what operators and engines do, to the same few containers and
//! networks, and are killed at random; meanwhile others look whether what has to hold holds.
//!
//! It is one private host: its first process takes the orphans, the second one has the workers as
//! threads. What they do is [`deeds`]; what must hold at every moment is [`looks`], and at the end the
//! host has to be what it was.

mod deeds;
mod host;
mod looks;
mod totals;

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::wait::{WaitStatus, waitpid};

use host::Host;
use totals::Totals;

const USAGE: &str =
    "usage: storm [--programs DIRECTORY] [--seconds N] [--workers N] [--seed N] [--verbose]";

#[derive(Clone, Debug)]
struct Arguments {
    programs: PathBuf,
    seconds: u64,
    workers: u64,
    seed: u64,
    role: Role,
    cgroup: String,
    verbose: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// On the machine.
    Outside,
    /// The first process of the private host.
    Reaper,
    /// Who does everything.
    Host,
}

/// The whole program.
pub fn run(typed: impl Iterator<Item = String>) -> ExitCode {
    let arguments = match parse(typed) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("storm: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let done = match arguments.role {
        Role::Outside => outside(&arguments),
        Role::Reaper => reaper(),
        Role::Host => storm(&arguments),
    };
    crate::ended("storm", done)
}

fn parse(mut typed: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments {
        programs: PathBuf::from("out"),
        seconds: 600,
        workers: 16,
        seed: u64::from(std::process::id()),
        role: Role::Outside,
        cgroup: format!("storm-{}", std::process::id()),
        verbose: false,
    };
    let number = |text: String| text.parse().map_err(|_| format!("{text:?} is no number"));
    while let Some(flag) = typed.next() {
        let mut value = || typed.next().ok_or(format!("{flag} needs a value"));
        match flag.as_str() {
            "--programs" => arguments.programs = PathBuf::from(value()?),
            "--seconds" => arguments.seconds = number(value()?)?,
            "--workers" => arguments.workers = number(value()?)?.max(1),
            "--seed" => arguments.seed = number(value()?)?,
            "--verbose" => arguments.verbose = true,
            // How this program calls itself.
            "--reaper" => arguments.role = Role::Reaper,
            "--host" => arguments.role = Role::Host,
            "--cgroup" => arguments.cgroup = value()?,
            other => return Err(format!("{other:?} is no flag")),
        }
    }
    Ok(arguments)
}

fn outside(arguments: &Arguments) -> Result<bool, String> {
    println!(
        "storm: {} workers, {} s, seed {}",
        arguments.workers, arguments.seconds, arguments.seed
    );
    let mut command = crate::report::in_private_host()?;
    command.args(std::env::args_os().skip(1));
    // After what was typed, so that all say the same.
    command.args(["--seed", &arguments.seed.to_string()]);
    command.args(["--cgroup", &arguments.cgroup, "--reaper"]);
    command.stdin(Stdio::null()).env_remove("RUST_BACKTRACE");
    let status = command.status();
    crate::world::forget_cgroups(&arguments.cgroup);
    let status = status.map_err(|error| format!("setpriv (util-linux): {error}"))?;
    match status.code() {
        Some(code @ (0 | 1)) => Ok(code == 0),
        _ => Err(format!("the private host ended: {status}")),
    }
}

/// Orphans are its children; its own says how it was.
fn reaper() -> Result<bool, String> {
    let this = std::env::current_exe().map_err(|error| format!("own path: {error}"))?;
    let mut host = Command::new(this);
    host.args(std::env::args_os().skip(1)).arg("--host");
    let host = host.spawn().map_err(|error| format!("host: {error}"))?;
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, status)) if pid.as_raw() == host.id().cast_signed() => {
                return match status {
                    0 | 1 => Ok(status == 0),
                    _ => Err(format!("the host ended with {status}")),
                };
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid.as_raw() == host.id().cast_signed() => {
                return Err(format!("the host was ended by {signal}"));
            }
            _ => {}
        }
    }
}

fn storm(arguments: &Arguments) -> Result<bool, String> {
    let host = Host::make(&arguments.programs, &arguments.cgroup, arguments.verbose)?;
    let totals = Totals::default();
    // What the first one makes for all that follow, such as chains, is no leftover.
    host.exercise()?;
    host.exercise()?;
    let before = host.at_rest();
    host.exercise()?;
    let left = host.since(&before);
    if !left.is_empty() {
        return Err(format!("left without a storm: {}", left.join("; ")));
    }
    let end = Instant::now() + Duration::from_secs(arguments.seconds);
    std::thread::scope(|scope| {
        for worker in 0..arguments.workers {
            let (host, totals) = (&host, &totals);
            scope.spawn(move || deeds::work(host, totals, arguments.seed, worker, end));
        }
        scope.spawn(|| looks::look(&totals, end));
        for _ in 0..looks::STRANGERS {
            scope.spawn(|| looks::be_a_stranger(&totals, end));
        }
    });
    host.calm(&totals);
    for thing in host.since(&before) {
        totals.wrong(format!("left: {thing}"));
    }
    println!("{}", totals.table());
    println!("{}", totals.line());
    Ok(totals.is_well())
}
