//! Waiting for a program in the foreground: signals on to it, its terminal back and forth.

mod relay;

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use sys::terminal::RawMode;

use crate::notify_socket::Proxy;
use crate::timeline;
use relay::{Relay, Step};

/// Signals that reach this process only through a descriptor, from before there is a program:
/// one that came earlier must not be lost.
#[derive(Debug)]
pub struct Signals(SignalFd);

/// Those that say something about this process, not the container.
const KEPT: [Signal; 10] = [
    Signal::SIGKILL,
    Signal::SIGSTOP,
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGABRT,
    Signal::SIGTRAP,
    Signal::SIGURG,
    Signal::SIGPIPE,
];

impl Signals {
    /// Blocks all others and opens the descriptor.
    pub fn block() -> Result<Self> {
        let mut set = sys::signal::every();
        KEPT.iter().for_each(|&signal| set.remove(signal));
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&set), None).context("sigprocmask()")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self(
            SignalFd::with_flags(&set, flags).context("signalfd()")?,
        ))
    }
}

/// How a program ended, as a shell counts: its status, or 128 and the signal.
pub type ExitStatus = u8;

/// Waits until `pid` ends. Everything else that becomes a child of this process is reaped.
pub fn supervise(
    pid: Pid,
    pidfd: &OwnedFd,
    signals: &Signals,
    master: Option<OwnedFd>,
    service: Option<Proxy>,
) -> Result<ExitStatus> {
    let _step = timeline::step(timeline::PROGRAM_RUNS);
    let stdin = std::io::stdin();
    let raw = master.as_ref().map(|_| RawMode::enter(stdin.as_fd()));
    // Without a terminal of our own there is nothing to switch.
    let raw = raw.and_then(Result::ok);
    let mut session = Session {
        pid,
        pidfd,
        signals,
        relay: Relay::new(master)?,
        service,
    };
    session.relay.resize();
    let status = session.run();
    drop(raw);
    status
}

struct Session<'a> {
    pid: Pid,
    pidfd: &'a OwnedFd,
    signals: &'a Signals,
    relay: Relay,
    /// Until it has said that it is ready.
    service: Option<Proxy>,
}

/// What may be ready.
#[derive(Clone, Copy)]
enum Source {
    Signals,
    Service,
    Terminal(Step),
}

impl Session<'_> {
    fn run(&mut self) -> Result<ExitStatus> {
        loop {
            for source in self.wait()? {
                match source {
                    Source::Terminal(step) => self.relay.step(step),
                    Source::Service => self.pass_on(),
                    Source::Signals => {
                        if let Some(status) = self.take_signals()? {
                            self.relay.finish(self.signals.0.as_fd());
                            return Ok(status);
                        }
                    }
                }
            }
        }
    }

    /// What is ready, signals last: what was written before an end is taken before it.
    fn wait(&self) -> Result<Vec<Source>> {
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let (mut sources, mut fds) = (Vec::new(), Vec::new());
        for (step, fd) in self.relay.steps() {
            sources.push(Source::Terminal(step));
            fds.push(fd);
        }
        if let Some(proxy) = &self.service {
            sources.push(Source::Service);
            fds.push(readable(proxy.as_fd()));
        }
        sources.push(Source::Signals);
        fds.push(readable(self.signals.0.as_fd()));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Vec::new()),
            Err(errno) => return Err(errno).context("poll()"),
        }
        let ready = sources.into_iter().zip(&fds);
        Ok(ready
            .filter(|(_, fd)| fd.any().unwrap_or(false))
            .map(|(source, _)| source)
            .collect())
    }

    /// Handles every pending signal; the status if one told of the program's end.
    fn take_signals(&mut self) -> Result<Option<ExitStatus>> {
        while let Some(info) = self.signals.0.read_signal().context("read(signalfd)")? {
            match Signal::try_from(info.ssi_signo as i32) {
                Ok(Signal::SIGCHLD) => {
                    if let Some(status) = self.reap()? {
                        return Ok(Some(status));
                    }
                }
                Ok(Signal::SIGWINCH) => self.relay.resize(),
                // A real-time signal is no nix Signal, but a number all the same. The program
                // may have ended meanwhile; its SIGCHLD follows.
                _ => drop(sys::process::pidfd_send_signal(
                    self.pidfd,
                    info.ssi_signo as i32,
                )),
            }
        }
        Ok(None)
    }

    fn reap(&self) -> Result<Option<ExitStatus>> {
        let mut ended = None;
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, status)) if pid == self.pid => {
                    ended = Some(status as u8)
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == self.pid => {
                    ended = Some(128 + signal as u8);
                }
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(ended),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("waitpid(-1)"),
            }
        }
    }

    /// Tells the service manager what the service says, until it is ready.
    fn pass_on(&mut self) {
        match self.service.as_ref().map(|proxy| proxy.pass_on(self.pid)) {
            // This process stays, so nobody needs to wait until the manager has read it.
            Some(Ok(Some(_))) => self.service = None,
            Some(Err(error)) => {
                crate::log::warn(&format!("{error:#}"));
                self.service = None;
            }
            Some(Ok(None)) | None => {}
        }
    }
}
