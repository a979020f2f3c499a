//! Runs a command with all that it makes under ptrace, and interrupts it at one system call.
//!
//! A point is a process and the ordinal of a call in it: `0` is the command itself, `0.1` its
//! second child, `0.1.0` that one's first; threads count as children. Programs of others (nft,
//! iptables, the container's own) run free: their calls are nobody's points here.

use std::collections::{BTreeMap, HashMap};
use std::ffi::CString;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout, execve};
use sys::process::{CloneArgs, Cloned, clone3};
use sys::trace::{self, Event, Until};

use crate::errnos;

/// What is run.
#[derive(Clone, Debug, Default)]
pub struct Command {
    pub argv: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub stdin: String,
}

/// A place in a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    pub process: String,
    pub ordinal: usize,
}

impl Point {
    /// As it is printed: `0.1:17`.
    pub fn parse(text: &str) -> Option<Self> {
        let (process, ordinal) = text.split_once(':')?;
        let ordinal = ordinal.parse().ok()?;
        let process = process.to_owned();
        Some(Self { process, ordinal })
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.process, self.ordinal)
    }
}

/// What happens there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process that makes the call is killed before it.
    Kill,
    /// All of them are killed at that moment.
    KillAll,
    /// The call is not made, and answers this.
    Fail(Errno),
}

impl Fault {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "kill" => Some(Self::Kill),
            "kill-all" => Some(Self::KillAll),
            other => errnos::by_name(other).map(Self::Fail),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill => f.write_str("kill"),
            Self::KillAll => f.write_str("kill-all"),
            Self::Fail(errno) => write!(f, "{errno:?}"),
        }
    }
}

/// How a run is followed.
#[derive(Clone, Debug)]
pub enum Plan {
    /// Nobody looks.
    Untraced,
    /// Every call of every process is noted.
    Record,
    /// This happens at that point, and nobody looks after it.
    Inject(Point, Fault),
}

/// How the command's own process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Exited(i32),
    Killed(i32),
    /// It had not ended by the deadline, and was killed.
    Hung,
}

/// A call as it was noted: its number and its arguments.
pub type Noted = (u64, [u64; 6]);

/// What came of a run.
#[derive(Debug)]
pub struct Run {
    pub end: End,
    pub stdout: String,
    pub stderr: String,
    /// What each process called, in order.
    pub calls: BTreeMap<String, Vec<Noted>>,
    /// The call that the fault met, if it met one.
    pub met: Option<u64>,
    /// That call as a reader knows it: its name, and of what.
    pub place: String,
}

impl Run {
    pub fn success(&self) -> bool {
        self.end == End::Exited(0)
    }
}

#[derive(Clone, Debug, Default)]
struct Tracee {
    path: String,
    calls: usize,
    children: usize,
    free: bool,
    /// The answer that its call gets when it returns.
    answer: Option<Errno>,
}

/// Follows whatever its process starts. One for each process: it takes every child's events.
#[derive(Debug)]
pub struct Tracer {
    /// Where standard streams of the commands go.
    dir: PathBuf,
    /// How long a command may take.
    pub deadline: Duration,
    tracees: HashMap<Pid, Tracee>,
    /// Stopped before their parent has told of them.
    early: Vec<Pid>,
    plan: Plan,
    met: Option<u64>,
    place: String,
    calls: BTreeMap<String, Vec<Noted>>,
    first: Pid,
    end: Option<End>,
}

/// How long nothing happens before what a command leaves behind it is quiet.
const QUIET: Duration = Duration::from_millis(150);

impl Tracer {
    pub fn new(dir: &Path, deadline: Duration) -> sys::Result<Self> {
        trace::block_child_signal()?;
        Ok(Self {
            dir: dir.to_owned(),
            deadline,
            tracees: HashMap::new(),
            early: Vec::new(),
            plan: Plan::Untraced,
            met: None,
            place: String::new(),
            calls: BTreeMap::new(),
            first: Pid::from_raw(0),
            end: None,
        })
    }

    /// Runs a command to the end of its own process; with a plan that has not met its point yet, to
    /// that point, or until nothing happens any more.
    ///
    /// `beside` are processes that were there before and take part; the first of them is called `1`.
    pub fn run(&mut self, command: &Command, plan: Plan, beside: &[Pid]) -> Result<Run, String> {
        let mut stdout = self.stream("stdout")?;
        let mut stderr = self.stream("stderr")?;
        let mut stdin = self.stream("stdin")?;
        stdin
            .write_all(command.stdin.as_bytes())
            .map_err(|e| format!("stdin: {e}"))?;
        stdin
            .seek(SeekFrom::Start(0))
            .map_err(|e| format!("stdin: {e}"))?;
        self.tracees.clear();
        self.early.clear();
        (self.plan, self.met, self.end) = (plan, None, None);
        self.calls.clear();
        let traced = !matches!(self.plan, Plan::Untraced);
        self.first = self.spawn(command, [&stdin, &stdout, &stderr], traced)?;
        for (index, pid) in beside.iter().enumerate().filter(|_| traced) {
            self.follow(*pid, (index + 1).to_string());
            // It goes on as soon as its stop is told.
            let _ = trace::seize(*pid).and_then(|()| trace::interrupt(*pid));
        }
        self.wait_for_the_end();
        Ok(Run {
            end: self.end.unwrap_or(End::Hung),
            stdout: read_back(&mut stdout),
            stderr: read_back(&mut stderr),
            calls: std::mem::take(&mut self.calls),
            met: self.met,
            place: std::mem::take(&mut self.place),
        })
    }

    /// Takes what has happened to children and to tracees that an earlier run left behind.
    pub fn reap(&mut self, patience: Duration) {
        let mut wait = patience;
        while let Ok(Some((pid, event))) = trace::next(wait) {
            self.take(pid, event);
            wait = Duration::ZERO;
        }
    }

    fn stream(&self, name: &str) -> Result<File, String> {
        let path = self.dir.join(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        options
            .open(&path)
            .map_err(|error| format!("{}: {error}", path.display()))
    }

    fn spawn(
        &mut self,
        command: &Command,
        streams: [&File; 3],
        traced: bool,
    ) -> Result<Pid, String> {
        let text = |text: &str| CString::new(text).map_err(|error| format!("{text:?}: {error}"));
        let argv: Vec<CString> = command
            .argv
            .iter()
            .map(|t| text(t))
            .collect::<Result<_, _>>()?;
        let named = |(name, value): &(String, String)| text(&format!("{name}={value}"));
        let environment: Vec<CString> = command
            .environment
            .iter()
            .map(named)
            .collect::<Result<_, _>>()?;
        let (go, gone) = nix::unistd::pipe().map_err(|errno| format!("pipe: {errno}"))?;
        match clone3(CloneArgs::default()).map_err(|error| error.to_string())? {
            Cloned::Child => {
                drop(gone);
                // The end of the pipe is the word to go.
                let _ = File::from(go).read(&mut [0]);
                let _ = become_program(&argv, &environment, streams);
                nix::sys::signal::raise(Signal::SIGKILL).ok();
                unreachable!("SIGKILL cannot be refused")
            }
            Cloned::Parent { pid, .. } => {
                if traced {
                    trace::seize(pid).map_err(|error| error.to_string())?;
                    // Free until it has executed: what comes before is ours.
                    self.follow(pid, "0".into());
                    self.tracees.entry(pid).or_default().free = true;
                }
                drop((go, gone));
                Ok(pid)
            }
        }
    }

    fn follow(&mut self, pid: Pid, path: String) {
        self.calls.entry(path.clone()).or_default();
        let tracee = Tracee {
            path,
            ..Tracee::default()
        };
        self.tracees.insert(pid, tracee);
    }

    fn wait_for_the_end(&mut self) {
        let started = Instant::now();
        loop {
            let left = self.deadline.saturating_sub(started.elapsed());
            let patience = if self.end.is_some() {
                QUIET.min(left)
            } else {
                left
            };
            match trace::next(patience) {
                Ok(Some((pid, event))) => self.take(pid, event),
                Ok(None) if self.end.is_some() => return,
                // The deadline: it and whatever it made.
                Ok(None) => {
                    self.end = Some(End::Hung);
                    let _ = kill(self.first, Signal::SIGKILL);
                    self.kill_all();
                    self.reap(QUIET);
                    return;
                }
                Err(_) => return,
            }
            // Nobody looks any more: what still runs is the cleaner's business.
            if self.end.is_some() && !self.looks() {
                return;
            }
        }
    }

    fn looks(&self) -> bool {
        match self.plan {
            Plan::Untraced => false,
            Plan::Record => true,
            Plan::Inject(..) => {
                let waits = self.tracees.values().any(|tracee| tracee.answer.is_some());
                self.met.is_none() && !self.tracees.is_empty() || waits
            }
        }
    }

    fn take(&mut self, pid: Pid, event: Event) {
        match event {
            Event::Exited(_) | Event::Killed(_) => {
                self.tracees.remove(&pid);
                if pid == self.first && self.end.is_none() {
                    self.end = Some(match event {
                        Event::Exited(status) => End::Exited(status),
                        Event::Killed(signal) => End::Killed(signal),
                        _ => End::Hung,
                    });
                }
            }
            Event::GroupStopped => drop(trace::listen(pid)),
            Event::Signalled(signal) => self.go_on(pid, signal),
            Event::Born(child) => {
                self.born(pid, child);
                self.go_on(pid, 0);
            }
            Event::Stopped if !self.tracees.contains_key(&pid) && self.looks() => {
                self.early.push(pid)
            }
            Event::Executed => {
                let foreign = is_foreign(pid);
                if let Some(tracee) = self.tracees.get_mut(&pid) {
                    tracee.free = foreign;
                }
                self.go_on(pid, 0);
            }
            Event::Call(number, arguments) => {
                self.called(pid, (number, arguments));
                self.go_on(pid, 0);
            }
            Event::Returned => {
                if let Some(errno) = self.tracees.get_mut(&pid).and_then(|t| t.answer.take()) {
                    let _ = trace::set_answer(pid, errno);
                }
                self.go_on(pid, 0);
            }
            Event::Stopped => self.go_on(pid, 0),
        }
    }

    fn born(&mut self, parent: Pid, child: Pid) {
        let Some(tracee) = self.tracees.get_mut(&parent) else {
            return;
        };
        let path = format!("{}.{}", tracee.path, tracee.children);
        tracee.children += 1;
        let free = tracee.free;
        self.follow(child, path);
        self.tracees.entry(child).or_default().free = free;
        if let Some(index) = self.early.iter().position(|pid| *pid == child) {
            self.early.swap_remove(index);
            self.go_on(child, 0);
        }
    }

    fn called(&mut self, pid: Pid, noted: Noted) {
        let Some(tracee) = self.tracees.get_mut(&pid).filter(|tracee| !tracee.free) else {
            return;
        };
        tracee.calls += 1;
        let (path, ordinal) = (&tracee.path, tracee.calls);
        let (point, fault) = match &self.plan {
            Plan::Untraced => return,
            Plan::Record => {
                self.calls.entry(path.clone()).or_default().push(noted);
                return;
            }
            Plan::Inject(point, fault) => (point, *fault),
        };
        if self.met.is_some() || point.ordinal != ordinal || point.process != *path {
            return;
        }
        self.met = Some(noted.0);
        self.place = place(pid, &noted);
        match fault {
            Fault::Kill => drop(kill(pid, Signal::SIGKILL)),
            Fault::KillAll => self.kill_all(),
            // The run may have gone another way than the recorded one.
            Fault::Fail(errno) if errnos::possible(noted.0, &noted.1).contains(&errno) => {
                tracee.answer = Some(errno);
                if !errnos::happens_all_the_same(noted.0) {
                    let _ = trace::skip_call(pid);
                }
            }
            Fault::Fail(_) => self.met = None,
        }
    }

    /// Of the operation, that is: what was there before lives on, as does the container's program.
    fn kill_all(&self) {
        for (pid, tracee) in &self.tracees {
            if tracee.path.starts_with('0') && !tracee.free {
                let _ = kill(*pid, Signal::SIGKILL);
            }
        }
    }

    fn go_on(&self, pid: Pid, signal: i32) {
        let tracee = self.tracees.get(&pid);
        let watched = tracee
            .is_some_and(|tracee| !tracee.free && (tracee.answer.is_some() || self.met.is_none()));
        let until = match watched && !matches!(self.plan, Plan::Untraced) {
            true => Until::NextCall,
            false => Until::NextEvent,
        };
        // Who has been killed in the meantime is told by the next wait.
        let _ = trace::resume(pid, until, signal);
    }
}

fn become_program(
    argv: &[CString],
    environment: &[CString],
    streams: [&File; 3],
) -> nix::Result<()> {
    let [stdin, stdout, stderr] = streams;
    dup2_stdin(stdin.as_fd())?;
    dup2_stdout(stdout.as_fd())?;
    dup2_stderr(stderr.as_fd())?;
    let _ = trace::unblock_child_signal();
    let program = argv.first().ok_or(Errno::EINVAL)?;
    execve(program, argv, environment).map(drop)
}

/// Whether its program is none of ours, which lie below /mnt and in memory.
fn is_foreign(pid: Pid) -> bool {
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let program = program.to_string_lossy();
    program.ends_with("/busybox")
        || ["/usr/", "/bin/", "/sbin/"]
            .iter()
            .any(|home| program.starts_with(home))
}

/// The name of a call, and of what it is: a descriptor's file, a path, the first words of a text.
fn place(pid: Pid, noted: &Noted) -> String {
    let mut text = errnos::name(noted.0);
    for argument in noted.1.iter().take(2) {
        if *argument < 1024 {
            if let Ok(target) = std::fs::read_link(format!("/proc/{pid}/fd/{argument}")) {
                text = format!("{text} {}", target.display());
            }
        } else if let Some(found) = text_at(pid, *argument) {
            text = format!("{text} {found:?}");
        }
    }
    text
}

fn text_at(pid: Pid, address: u64) -> Option<String> {
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut bytes = [0; 80];
    let length = memory.read_at(&mut bytes, address).ok()?;
    let end = bytes[..length].iter().position(|byte| *byte == 0)?;
    let text = std::str::from_utf8(&bytes[..end]).ok()?;
    let printable = !text.is_empty() && text.chars().all(|c| !c.is_control());
    printable.then(|| text.to_owned())
}

fn read_back(stream: &mut File) -> String {
    let mut bytes = Vec::new();
    let _ = stream.seek(SeekFrom::Start(0));
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}
