//! Instructions that a command and all its descendants execute in user space, counted by single
//! steps: a figure that the noise of a machine does not touch.
//!
//! A processor's counters would be simpler; virtual machines often have none. valgrind cannot
//! follow clones into namespaces and programs that are executed by descriptor. Steps are
//! seen by ptrace(2) in every process and thread. A string instruction that repeats stops after
//! each repetition and counts once. What the container's program itself executes is nobody's merit
//! and not counted.

use std::collections::HashMap;
use std::process::Command;
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

/// Runs `command` (program and arguments) to its end, which must be a success, and counts. A
/// command that takes longer than `limit` is ended, and an error.
pub fn count(command: &Command, limit: Duration) -> Result<u64, String> {
    let failed = |errno: Errno| format!("ptrace: {errno}");
    // A step is two switches between it and us, which cost least on one processor.
    let all = sched_getaffinity(Pid::from_raw(0)).map_err(failed)?;
    let mut one = CpuSet::new();
    let first = (0..CpuSet::count()).find(|number| all.is_set(*number).unwrap_or(false));
    one.set(first.unwrap_or(0)).map_err(failed)?;
    sched_setaffinity(Pid::from_raw(0), &one).map_err(failed)?;
    let counted = counted(command, limit);
    sched_setaffinity(Pid::from_raw(0), &all).map_err(failed)?;
    counted
}

fn counted(command: &Command, limit: Duration) -> Result<u64, String> {
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
    Tracer::new(first, limit).follow()
}

/// One process or thread.
#[derive(Clone, Copy, Debug, Default)]
struct Tracee {
    /// Not before the command is what it shall be, and not in the container's program.
    free: bool,
    /// Where it stopped last.
    place: u64,
}

#[derive(Debug)]
struct Tracer {
    first: Pid,
    tracees: HashMap<Pid, Tracee>,
    count: u64,
    started: Instant,
    limit: Duration,
    status: Option<WaitStatus>,
}

impl Tracer {
    fn new(first: Pid, limit: Duration) -> Self {
        let free = Tracee {
            free: true,
            place: 0,
        };
        Self {
            first,
            tracees: HashMap::from([(first, free)]),
            count: 0,
            started: Instant::now(),
            limit,
            status: None,
        }
    }

    fn follow(mut self) -> Result<u64, String> {
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
            Some(WaitStatus::Exited(_, 0)) => Ok(self.count),
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
                    let program = program.unwrap_or_default();
                    let free = program.to_string_lossy().ends_with(PROGRAM);
                    self.tracees.insert(pid, Tracee { free, place: 0 });
                } else if let Ok(child) = ptrace::getevent(pid) {
                    // As its parent; it may have stopped already, and then it is known.
                    let like = self.tracees.get(&pid).copied().unwrap_or_default();
                    let child = Pid::from_raw(i32::try_from(child).unwrap_or_default());
                    self.tracees.entry(child).or_insert(like);
                }
                self.resume(pid, None);
            }
            WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) => {
                self.tracees.remove(&pid);
                if pid == self.first {
                    self.status = Some(event);
                }
            }
            _ => {}
        }
    }

    fn stepped(&mut self, pid: Pid) {
        let tracee = self.tracees.entry(pid).or_default();
        let place = place_of(pid);
        if !tracee.free && place != Some(tracee.place) {
            self.count += 1;
        }
        tracee.place = place.unwrap_or_default();
    }

    fn resume(&mut self, pid: Pid, signal: Option<Signal>) {
        let free = self.tracees.entry(pid).or_default().free;
        // Who has been killed in the meantime is told by the next wait.
        let _ = match free {
            true => ptrace::cont(pid, signal),
            false => ptrace::step(pid, signal),
        };
    }

    /// Ends everybody when it takes too long, or somebody wants this program to end.
    fn bounded(&self) -> Result<(), String> {
        let seconds = self.limit.as_secs();
        let why = match (ends(), self.started.elapsed() > self.limit) {
            (true, _) => "interrupted".to_owned(),
            (_, true) => format!("{TOO_LONG}{} instructions in {seconds} s", self.count),
            _ => return Ok(()),
        };
        for pid in self.tracees.keys() {
            let _ = kill(*pid, Signal::SIGKILL);
        }
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
