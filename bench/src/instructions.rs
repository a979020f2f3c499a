//! Instructions that a command and all its descendants execute in user space, counted by single
//! steps: a figure that the noise of a machine does not touch.
//!
//! A processor's counters would be simpler; virtual machines often have none. valgrind cannot
//! follow clones into namespaces and programs that are executed by descriptor. Steps are
//! seen by ptrace(2) in every process and thread. A string instruction that repeats stops after
//! each repetition and counts once. What the container's program itself executes is nobody's merit
//! and not counted.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::measure::ends;
use crate::setting;

/// What the rootfs's programs are.
const PROGRAM: &str = "/busybox";
/// Not among nix's events: a new or a stopped process.
const EVENT_STOP: i32 = 128;
const MANY_EVENTS: u64 = 1 << 12;

/// How the error of a command begins that took too long.
pub const TOO_LONG: &str = "more than ";

/// Addresses of instructions, each once, in the order in which they were executed first.
#[derive(Debug, Default)]
pub struct Places {
    /// All of them.
    pub in_order: Vec<u64>,
    known: HashSet<u64>,
}

/// Where the files that were executed went, by what `/proc/PID/exe` called them.
pub type Executed = HashMap<Rc<Path>, Places>;

/// Runs `command` (program and arguments) to its end, which must be a success, and counts; what outlives
/// it is ended. A command that takes longer than `limit` is ended, and an error.
pub fn count(command: &Command, limit: Duration) -> Result<u64, String> {
    Ok(followed(command, limit, None)?.count)
}

/// The same, for where they are. Of what was seen in `executed` nothing is told again.
#[cfg(target_arch = "x86_64")]
pub fn places(command: &Command, limit: Duration, executed: Executed) -> Result<Executed, String> {
    let followed = followed(command, limit, Some(executed))?;
    Ok(followed.executed.unwrap_or_default())
}

fn followed(
    command: &Command,
    limit: Duration,
    executed: Option<Executed>,
) -> Result<Tracer, String> {
    let failed = |errno: Errno| format!("ptrace: {errno}");
    // A step is two switches between it and us, which cost least on one processor.
    let all = sched_getaffinity(Pid::from_raw(0)).map_err(failed)?;
    let mut one = CpuSet::new();
    let first = (0..CpuSet::count()).find(|number| all.is_set(*number).unwrap_or(false));
    one.set(first.unwrap_or(0)).map_err(failed)?;
    sched_setaffinity(Pid::from_raw(0), &one).map_err(failed)?;
    let traced = traced(command, limit, executed);
    sched_setaffinity(Pid::from_raw(0), &all).map_err(failed)?;
    traced
}

fn traced(
    command: &Command,
    limit: Duration,
    executed: Option<Executed>,
) -> Result<Tracer, String> {
    let failed = |errno: Errno| format!("ptrace: {errno}");
    // It waits for us before it becomes what is counted.
    let mut stopped = setting::command("/bin/sh");
    stopped
        .args(["-c", "kill -STOP $$; exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args());
    let child = stopped.spawn().map_err(|error| format!("sh: {error}"))?;
    let first = Pid::from_raw(child.id().cast_signed());
    waitpid(first, Some(WaitPidFlag::WUNTRACED)).map_err(failed)?;
    let options = Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    ptrace::seize(first, options).map_err(failed)?;
    kill(first, Signal::SIGCONT).map_err(failed)?;
    Tracer::new(first, limit, executed).follow()
}

/// One process or thread.
#[derive(Clone, Debug)]
struct Tracee {
    /// Not before the command is what it shall be, and not in the container's program.
    free: bool,
    /// What it executes.
    program: Rc<Path>,
    /// Where it stopped last.
    place: u64,
}

impl Tracee {
    fn of(program: &Path) -> Self {
        Self {
            free: program.to_string_lossy().ends_with(PROGRAM),
            program: program.into(),
            place: 0,
        }
    }
}

#[derive(Debug)]
struct Tracer {
    first: Pid,
    tracees: HashMap<Pid, Tracee>,
    count: u64,
    /// Kept if somebody wants to know.
    executed: Option<Executed>,
    started: Instant,
    limit: Duration,
    status: Option<WaitStatus>,
}

impl Tracer {
    fn new(first: Pid, limit: Duration, executed: Option<Executed>) -> Self {
        let free = Tracee {
            free: true,
            ..Tracee::of(Path::new(""))
        };
        Self {
            first,
            tracees: HashMap::from([(first, free)]),
            count: 0,
            executed,
            started: Instant::now(),
            limit,
            status: None,
        }
    }

    fn follow(mut self) -> Result<Self, String> {
        let mut events = 0u64;
        loop {
            let event = match waitpid(None, Some(WaitPidFlag::__WALL)) {
                Ok(event) => event,
                Err(Errno::ECHILD) => break,
                Err(errno) => return Err(format!("waitpid: {errno}")),
            };
            self.take(event);
            events += 1;
            if events.is_multiple_of(MANY_EVENTS) {
                self.bounded()?;
            }
        }
        match self.status {
            Some(WaitStatus::Exited(_, 0)) => Ok(self),
            other => Err(format!("ended with {other:?}")),
        }
    }

    fn take(&mut self, event: WaitStatus) {
        match event {
            WaitStatus::Stopped(pid, Signal::SIGTRAP) => {
                self.stepped(pid);
                self.resume(pid, None);
            }
            WaitStatus::Stopped(pid, signal) => self.resume(pid, Some(signal)),
            WaitStatus::PtraceEvent(pid, _, EVENT_STOP) => self.resume(pid, None),
            WaitStatus::PtraceEvent(pid, _, event) => {
                if event == Event::PTRACE_EVENT_EXEC as i32 {
                    let program = std::fs::read_link(format!("/proc/{pid}/exe"));
                    let mut program = program.unwrap_or_default();
                    if program == Path::new("/") {
                        // davit itself, from a mount that is nowhere (decision 0001).
                        program = self.tracee(pid).program.to_path_buf();
                    }
                    self.tracees.insert(pid, Tracee::of(&program));
                } else if let Ok(child) = ptrace::getevent(pid) {
                    // As its parent; it may have stopped already, and then it is known.
                    let like = self.tracee(pid).clone();
                    let child = Pid::from_raw(i32::try_from(child).unwrap_or_default());
                    self.tracees.entry(child).or_insert(like);
                }
                self.resume(pid, None);
            }
            WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) => {
                self.tracees.remove(&pid);
                if pid == self.first {
                    self.status = Some(event);
                    self.end_all();
                }
            }
            _ => {}
        }
    }

    /// One that stopped before its parent told of it counts as nobody's.
    fn tracee(&mut self, pid: Pid) -> &mut Tracee {
        let unknown = || Tracee::of(Path::new(""));
        self.tracees.entry(pid).or_insert_with(unknown)
    }

    fn stepped(&mut self, pid: Pid) {
        let place = place_of(pid);
        let tracee = self.tracee(pid);
        let moved = !tracee.free && place != Some(tracee.place);
        tracee.place = place.unwrap_or_default();
        if !moved {
            return;
        }
        let program = Rc::clone(&tracee.program);
        self.count += 1;
        let (Some(executed), Some(place)) = (&mut self.executed, place) else {
            return;
        };
        let places = executed.entry(program).or_default();
        if places.known.insert(place) {
            places.in_order.push(place);
        }
    }

    fn resume(&mut self, pid: Pid, signal: Option<Signal>) {
        let free = self.tracee(pid).free;
        // Who has been killed in the meantime is told by the next wait.
        let _ = match free {
            true => ptrace::cont(pid, signal),
            false => ptrace::step(pid, signal),
        };
    }

    fn end_all(&self) {
        for pid in self.tracees.keys() {
            let _ = kill(*pid, Signal::SIGKILL);
        }
    }

    /// Ends everybody when it takes too long, or somebody wants this program to end.
    fn bounded(&self) -> Result<(), String> {
        let seconds = self.limit.as_secs();
        let why = match (ends(), self.started.elapsed() > self.limit) {
            (true, _) => "interrupted".to_owned(),
            (_, true) => format!("{TOO_LONG}{} instructions in {seconds} s", self.count),
            _ => return Ok(()),
        };
        self.end_all();
        while waitpid(None, Some(WaitPidFlag::__WALL)).is_ok() {}
        Err(why)
    }
}

/// Where it goes on. A step that stays where it was is a repetition of a string instruction.
#[cfg(target_arch = "x86_64")]
fn place_of(pid: Pid) -> Option<u64> {
    ptrace::getregs(pid).ok().map(|registers| registers.rip)
}

/// Nowhere else do instructions repeat themselves.
#[cfg(not(target_arch = "x86_64"))]
fn place_of(_: Pid) -> Option<u64> {
    None
}
