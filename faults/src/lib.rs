//! Every operation of davit, its plugins and davit-cni, killed or failed at every system call in turn.
//!
//! `faults` starts workers, each in a private host ([`world`]), and adds up what they find. What is
//! done there and when it is wrong is [`campaign`]; docs/faults.md tells how to repeat one point.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "its output is the report"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "writes only into file systems that it has just mounted"
)]
#![allow(missing_docs, reason = "a program of its own: only its tests link it")]

mod campaign;
pub mod errnos;
mod leftovers;
mod operations;
mod protection;
mod report;
pub mod storm;
pub mod tracer;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use campaign::{Campaign, Choice};
use tracer::{Fault, Point};
use world::World;

const USAGE: &str = "usage: faults [--programs DIRECTORY] [--workers N] [--quick | --every N] [--kills | --errnos]
              [--only OPERATION] [--point PROCESS:ORDINAL] [--errno ERRNO | --kill | --kill-all] [--deadline SECONDS] [--list]";

/// `--quick`: every how manieth injection.
const QUICK: usize = 23;
/// How long one command may take.
const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
pub(crate) struct Arguments {
    programs: PathBuf,
    choice: Choice,
    only: Option<String>,
    list: bool,
    is_worker: bool,
    cgroup: String,
    deadline: Duration,
}

/// The whole program.
pub fn run(typed: impl Iterator<Item = String>) -> ExitCode {
    let arguments = match parse(typed) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("faults: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let done = match arguments.is_worker {
        true => work(&arguments),
        false => report::direct(&arguments),
    };
    ended("faults", done)
}

/// Whether nothing was wrong, as a status; 2 is a harness that could not do its work.
fn ended(program: &str, done: Result<bool, String>) -> ExitCode {
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{program}: {error}");
            ExitCode::from(2)
        }
    }
}

fn parse(mut typed: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let choice = Choice {
        every: 1,
        worker: 0,
        // Half of the time goes by while the kernel takes namespaces and links apart.
        workers: 2 * std::thread::available_parallelism().map_or(1, usize::from),
        point: None,
        fault: None,
        only_kills: false,
        only_errnos: false,
    };
    let mut arguments = Arguments {
        programs: PathBuf::from("out"),
        choice,
        only: None,
        list: false,
        is_worker: false,
        cgroup: String::new(),
        deadline: DEADLINE,
    };
    while let Some(flag) = typed.next() {
        let mut value = || typed.next().ok_or(format!("{flag} needs a value"));
        let choice = &mut arguments.choice;
        match flag.as_str() {
            "--programs" => arguments.programs = PathBuf::from(value()?),
            "--workers" => choice.workers = number(&value()?)?.max(1),
            "--every" => choice.every = number(&value()?)?.max(1),
            "--quick" => choice.every = QUICK,
            "--kills" => choice.only_kills = true,
            "--errnos" => choice.only_errnos = true,
            "--only" => arguments.only = Some(value()?),
            "--point" => {
                choice.point = Some(Point::parse(&value()?).ok_or("--point PROCESS:ORDINAL")?)
            }
            "--errno" => {
                choice.fault = Some(Fault::parse(&value()?).ok_or("--errno: none of the six")?)
            }
            "--kill" => choice.fault = Some(Fault::Kill),
            "--kill-all" => choice.fault = Some(Fault::KillAll),
            "--list" => arguments.list = true,
            // How this program calls itself.
            "--worker" => (arguments.is_worker, choice.worker) = (true, number(&value()?)?),
            "--deadline" => arguments.deadline = Duration::from_secs(number(&value()?)? as u64),
            "--cgroup" => arguments.cgroup = value()?,
            other => return Err(format!("{other:?} is no flag")),
        }
    }
    if arguments.choice.point.is_some() && !arguments.is_worker {
        arguments.choice.workers = 1;
    }
    Ok(arguments)
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

/// In a private host, as its pid 1: lines for [`report`].
fn work(arguments: &Arguments) -> Result<bool, String> {
    let mut world = World::make(&arguments.programs, &arguments.cgroup, arguments.deadline)?;
    for mut operation in operations::wanted(arguments.only.as_deref()) {
        let started = Instant::now();
        let name = operation.name.clone();
        let mut campaign = match Campaign::new(&mut world, &mut operation) {
            Ok(campaign) => campaign,
            Err(error) => {
                report::tell(&["skip", &name, &error]);
                continue;
            }
        };
        for call in campaign.unknown_calls() {
            report::tell(&["unknown", &name, &call]);
        }
        let sums = campaign.run(&arguments.choice, &mut |point, fault, finding| {
            report::tell(&[
                "found",
                &name,
                &point.to_string(),
                &fault.to_string(),
                &finding.kind.to_string(),
                &finding.text,
            ]);
        });
        let numbers = [sums.points, sums.injections, sums.missed].map(|number| number.to_string());
        let seconds = campaign::seconds(started).to_string();
        report::tell(&[
            "done",
            &name,
            &numbers[0],
            &numbers[1],
            &numbers[2],
            &seconds,
        ]);
    }
    Ok(true)
}
