//! What a worker does: an operation at random on a container at random, killed at random.

use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::host::{CONTAINERS, GC, Host, NAMESPACES, NETWORKS, davit, davit_cni, id};
use super::totals::{Ended, Totals};
use crate::world::HOME;

/// How long one operation may take beside all the others.
const PATIENCE: Duration = Duration::from_secs(60);
/// One of so many is killed.
const KILLED: u64 = 6;
/// At most so long after its beginning: some have ended by then.
const LATEST: u64 = 30_000;

/// Numbers of one seed (splitmix64), so that a worker can be repeated.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64, worker: u64) -> Self {
        Self(seed ^ worker.wrapping_mul(0xa076_1d64_78bd_642f))
    }

    /// Below `limit`.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }
}

/// What an operation is done to.
enum To {
    /// A container, whose id comes after these arguments.
    Container(&'static [&'static str]),
    /// A namespace, by this verb of davit-cni.
    Namespace(&'static str),
    /// Nobody in particular: a program and its arguments.
    All(fn(&[&str]) -> Command, &'static [&'static str]),
}
use To::{All, Container, Namespace};

/// Its name in the report, how often it comes beside the others, and what it is.
const DEEDS: [(&str, u64, To); 22] = [
    ("start", 6, Container(&["start"])),
    ("kill", 4, Container(&["kill"])),
    ("kill --all", 1, Container(&["kill", "--all"])),
    ("delete", 4, Container(&["delete"])),
    ("delete --force", 6, Container(&["delete", "--force"])),
    ("pause", 2, Container(&["pause"])),
    ("resume", 3, Container(&["resume"])),
    ("update", 2, Container(&["update", "--pids-limit", "40"])),
    ("state", 4, Container(&["state"])),
    ("ps", 1, Container(&["ps"])),
    (
        "ps --format json",
        1,
        Container(&["ps", "--format", "json"]),
    ),
    ("events --stats", 1, Container(&["events", "--stats"])),
    ("exec", 5, Container(&["exec"])),
    ("exec --detach", 2, Container(&["exec", "--detach"])),
    ("create", 6, Container(&["create", "--bundle"])),
    (
        "run --detach",
        6,
        Container(&["run", "--detach", "--bundle"]),
    ),
    ("list", 2, All(davit, &["list", "--format", "json"])),
    ("davit-cni add", 4, Namespace("add")),
    ("davit-cni del", 4, Namespace("del")),
    ("davit-cni check", 2, Namespace("check")),
    (
        "davit-cni list",
        1,
        All(davit_cni, &["list", "--output", "json"]),
    ),
    ("davit-cni gc", 1, All(davit_cni, &GC)),
];

/// Until `end`.
pub(super) fn work(host: &Host, totals: &Totals, seed: u64, worker: u64, end: Instant) {
    let mut random = Random::new(seed, worker);
    let said = format!("{HOME}/said/{worker}");
    while Instant::now() < end {
        let (name, command) = choose(host, &mut random);
        let what = host.verbose.then(|| format!("{command:?}"));
        let began = sys::clock::since_boot();
        match attempt(command, &said, &mut random) {
            Ok(outcome) => match judge(name, &outcome) {
                Ok(ended) => {
                    totals.done(name, ended);
                    if let Some(what) = what {
                        told(began, &outcome, ended, &what);
                    }
                }
                Err(error) => totals.wrong(format!("{name}: {error}")),
            },
            Err(error) => totals.wrong(format!("{name}: {error}")),
        }
    }
}

/// For whoever looks for a cause: when, who, how it ended, what it was.
fn told(began: Duration, outcome: &Outcome, ended: Ended, what: &str) {
    let now = sys::clock::since_boot();
    let said = outcome.stderr.lines().next().unwrap_or_default();
    println!(
        "{:.6} {:.6} {} {ended:?} {what} {said}",
        began.as_secs_f64(),
        now.as_secs_f64(),
        outcome.pid
    );
}

fn choose(host: &Host, random: &mut Random) -> (&'static str, Command) {
    let (name, to) = drawn(random.below(DEEDS.iter().map(|deed| deed.1).sum()));
    let mut one_of = |number: usize| random.below(number as u64) as usize;
    let command = match to {
        Container(arguments) => of_container(arguments, one_of(CONTAINERS)),
        Namespace(verb) => host.by_hand(verb, one_of(NETWORKS.len()), one_of(NAMESPACES)),
        All(program, arguments) => program(arguments),
    };
    (name, command)
}

/// Each has as many numbers as it comes often.
fn drawn(mut number: u64) -> (&'static str, &'static To) {
    for (name, often, to) in &DEEDS {
        if number < *often {
            return (name, to);
        }
        number -= often;
    }
    unreachable!("drawn below the sum")
}

fn of_container(arguments: &[&'static str], number: usize) -> Command {
    let (id, bundle) = (id(number), format!("{HOME}/bundle/{}", id(number)));
    let mut words: Vec<&str> = arguments.to_vec();
    match arguments.last() {
        Some(&"--bundle") => words.extend([&*bundle, &*id]),
        _ => words.push(&id),
    }
    match arguments.first() {
        Some(&"kill") => words.push("KILL"),
        Some(&"exec") => words.push("/bin/true"),
        _ => {}
    }
    davit(&words)
}

struct Outcome {
    pid: u32,
    status: Option<ExitStatus>,
    killed: bool,
    stdout: String,
    stderr: String,
}

/// Runs it in a process group of its own; what it prints goes to files, for its children may outlive it.
fn attempt(mut command: Command, said: &str, random: &mut Random) -> Result<Outcome, String> {
    let create = |path: &str| File::create(path).map_err(|error| format!("{path}: {error}"));
    let (out, err) = (format!("{said}.out"), format!("{said}.err"));
    let child = command
        .stdout(create(&out)?)
        .stderr(create(&err)?)
        .process_group(0);
    let mut child = child
        .spawn()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let mut killed = false;
    if random.below(KILLED) == 0 {
        let moment = Duration::from_micros(random.below(LATEST));
        if wait(&mut child, moment).is_none() {
            let pid = Pid::from_raw(child.id().cast_signed());
            // It alone, or its hooks and plugins with it.
            let sent = match random.below(2) {
                0 => kill(pid, Signal::SIGKILL),
                _ => killpg(pid, Signal::SIGKILL),
            };
            killed = sent.is_ok();
        }
    }
    let status = wait(&mut child, PATIENCE);
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let read = |path: &str| fs::read(path).map(|text| String::from_utf8_lossy(&text).into_owned());
    Ok(Outcome {
        pid: child.id(),
        status,
        killed,
        stdout: read(&out).unwrap_or_default(),
        stderr: read(&err).unwrap_or_default(),
    })
}

fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + patience;
    let mut pause = Duration::from_micros(200);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) => {}
            Err(_) => return None,
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// An operation may be refused, but says why in a line, and never that it cannot read what it wrote.
fn judge(name: &str, outcome: &Outcome) -> Result<Ended, String> {
    let Outcome {
        status,
        stdout,
        stderr,
        ..
    } = outcome;
    let said = format!("{}{}", stderr.trim(), stdout.trim());
    let Some(status) = status else {
        return Err(format!("not ended after {PATIENCE:?}: {said}"));
    };
    if said.contains("panicked at") {
        return Err(said);
    }
    if outcome.killed && status.signal() == Some(libc::SIGKILL) {
        return Ok(Ended::Killed);
    }
    // Its own container may be killed below an exec that waits for it.
    let exec = name.starts_with("exec");
    match status.code() {
        None => Err(format!("{status}: {said}")),
        Some(0) => speaks(name, stdout).map(|()| Ended::Well),
        Some(137) if exec => Ok(Ended::Refused),
        Some(code) if said.is_empty() => Err(format!("status {code} without a word")),
        Some(code) if UNREADABLE.iter().any(|words| said.contains(words)) => {
            Err(format!("status {code}: {said}"))
        }
        Some(code) if stderr.lines().count() > 6 => {
            Err(format!("status {code}, and more than an error: {said}"))
        }
        Some(_) => Ok(Ended::Refused),
    }
}

/// How readers of JSON complain, ours and serde's.
const UNREADABLE: [&str; 4] = [
    "EOF while parsing",
    "expected value at",
    "is not JSON",
    "unexpected end",
];

/// Whether what engines parse can be parsed.
fn speaks(name: &str, stdout: &str) -> Result<(), String> {
    let json = [
        "list",
        "state",
        "ps --format json",
        "events --stats",
        "davit-cni list",
        "davit-cni add",
    ];
    if !json.contains(&name) {
        return Ok(());
    }
    let parsed: Result<serde_json::Value, _> = serde_json::from_str(stdout);
    parsed
        .map(drop)
        .map_err(|error| format!("a success, but {error}: {stdout:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: i32, killed: bool, stdout: &str, stderr: &str) -> Outcome {
        Outcome {
            pid: 0,
            status: Some(ExitStatus::from_raw(status)),
            killed,
            stdout: stdout.into(),
            stderr: stderr.into(),
        }
    }

    #[test]
    fn what_a_good_operation_says_is_told_from_what_a_bad_one_says() {
        let refused = 1 << 8;
        let judged = |name, status, killed, stdout, stderr| {
            judge(name, &outcome(status, killed, stdout, stderr)).ok()
        };
        assert_eq!(judged("state", 0, false, "{}", ""), Some(Ended::Well));
        assert_eq!(judged("state", 0, false, "{", ""), None);
        assert_eq!(
            judged("kill", refused, false, "", "not running"),
            Some(Ended::Refused)
        );
        assert_eq!(judged("kill", refused, false, "", ""), None);
        assert_eq!(
            judged("kill", refused, false, "", "state.json: EOF while parsing"),
            None
        );
        assert_eq!(judged("kill", 9, true, "", ""), Some(Ended::Killed));
        assert_eq!(judged("kill", 9, false, "", ""), None);
        assert_eq!(judged("kill", 6, true, "", ""), None);
        assert_eq!(judged("kill", 101 << 8, false, "", "panicked at x"), None);
        let hung = Outcome {
            status: None,
            ..outcome(0, false, "", "")
        };
        assert!(judge("kill", &hung).is_err());
    }

    #[test]
    fn every_deed_is_drawn_as_often_as_it_is_to_come_and_a_seed_repeats() {
        let total: u64 = DEEDS.iter().map(|deed| deed.1).sum();
        for (name, often, _) in &DEEDS {
            let times = (0..total)
                .filter(|&number| drawn(number).0 == *name)
                .count();
            assert_eq!(times as u64, *often, "{name}");
        }
        let draw = |seed| {
            let mut random = Random::new(seed, 3);
            (0..64).map(|_| random.below(100)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert!(draw(7).iter().all(|&number| number < 100));
    }
}
