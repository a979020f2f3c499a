//! Waiting for a program in the foreground: signals on to it, its terminal back and forth.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, read, write};
use sys::terminal::{self, RawMode};

use crate::notify_socket::Proxy;
use crate::timeline;

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
        master,
        stdin_open: true,
        service,
    };
    session.resize();
    let status = session.run();
    drop(raw);
    status
}

struct Session<'a> {
    pid: Pid,
    pidfd: &'a OwnedFd,
    signals: &'a Signals,
    master: Option<OwnedFd>,
    stdin_open: bool,
    /// Until it has said that it is ready.
    service: Option<Proxy>,
}

impl Session<'_> {
    fn run(&mut self) -> Result<ExitStatus> {
        let stdin = std::io::stdin();
        loop {
            let mut fds = vec![PollFd::new(self.signals.0.as_fd(), PollFlags::POLLIN)];
            if let Some(master) = &self.master {
                fds.push(PollFd::new(master.as_fd(), PollFlags::POLLIN));
                if self.stdin_open {
                    fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
                }
            }
            let place = fds.len();
            fds.extend(
                self.service
                    .iter()
                    .map(|proxy| PollFd::new(proxy.as_fd(), PollFlags::POLLIN)),
            );
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("poll()"),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
            if place > 1 && ready[1] {
                self.copy_out();
            }
            if place > 2 && ready[2] {
                self.copy_in(stdin.as_fd());
            }
            if ready.get(place) == Some(&true) {
                self.pass_on();
            }
            if ready[0]
                && let Some(status) = self.take_signals()?
            {
                self.drain();
                return Ok(status);
            }
        }
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
                Ok(Signal::SIGWINCH) => self.resize(),
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

    /// Gives the container's terminal the size of ours.
    fn resize(&self) {
        let Some(master) = &self.master else { return };
        if let Ok(size) = terminal::window_size(std::io::stdin()) {
            // A terminal that hung up has no size to set.
            let _ = terminal::set_window_size(master, size);
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

    fn copy_out(&mut self) {
        let copied = self
            .master
            .as_ref()
            .is_some_and(|master| copy(master.as_fd(), std::io::stdout().as_fd()));
        if !copied {
            // EIO: the last process that had the terminal closed it.
            self.master = None;
        }
    }

    fn copy_in(&mut self, stdin: BorrowedFd<'_>) {
        self.stdin_open = self
            .master
            .as_ref()
            .is_some_and(|master| copy(stdin, master.as_fd()));
    }

    /// Copies what the program wrote just before it ended.
    fn drain(&mut self) {
        while let Some(master) = &self.master {
            let mut fds = [PollFd::new(master.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::ZERO) {
                Ok(1..) => self.copy_out(),
                _ => return,
            }
        }
    }
}

/// Copies what is there; false when the source has ended.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    let mut buffer = [0; 8192];
    let length = match read(from, &mut buffer) {
        Ok(0) => return false,
        Ok(length) => length,
        Err(Errno::EINTR | Errno::EAGAIN) => return true,
        Err(_) => return false,
    };
    let mut rest = &buffer[..length];
    while !rest.is_empty() {
        match write(to, rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
    true
}
