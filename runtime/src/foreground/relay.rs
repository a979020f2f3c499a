//! The container's terminal, to and from our own streams, without waiting for either: whoever does not
//! read, on either side, holds up nothing but what is meant for him.

use std::io::{Stdin, Stdout};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{read, write};
use sys::terminal;

/// What a pipe takes at once when it is ready at all (`PIPE_BUF`, pipe(7)).
const CHUNK: usize = 4096;

/// The most that is read from the terminal when its program has ended: more than a pty holds, and no
/// more than a moment of somebody who writes on.
const LAST_WORDS: usize = 1 << 20;

/// The terminal's master and what is under way. Without a terminal it has nothing to do.
pub(super) struct Relay {
    master: Option<OwnedFd>,
    /// Its other end, once all others were closed: a master without one answers EIO at once, and a
    /// program may open its terminal again.
    peer: Option<OwnedFd>,
    stdin: Stdin,
    stdout: Stdout,
    stdin_open: bool,
    /// Typed, and not taken by the terminal yet.
    input: Vec<u8>,
    /// Written by the program, and not shown yet.
    output: Vec<u8>,
}

/// What can be done next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    TakeOutput,
    Show,
    TakeInput,
    Type,
}

/// What a read or a write came to.
enum Moved {
    Some(usize),
    NotNow,
    Ended,
}

impl Relay {
    pub(super) fn new(master: Option<OwnedFd>) -> Result<Self> {
        if let Some(master) = &master {
            // Ours alone: nobody else has it open.
            fcntl(master, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK))
                .context("fcntl(terminal, F_SETFL, O_NONBLOCK)")?;
        }
        Ok(Self {
            master,
            peer: None,
            stdin: std::io::stdin(),
            stdout: std::io::stdout(),
            stdin_open: true,
            input: Vec::new(),
            output: Vec::new(),
        })
    }

    /// The steps, and what has to be ready for each.
    pub(super) fn steps(&self) -> Vec<(Step, PollFd<'_>)> {
        let mut steps = Vec::new();
        let mut when = |step, fd, flags| steps.push((step, PollFd::new(fd, flags)));
        match &self.master {
            Some(master) if self.output.is_empty() => {
                when(Step::TakeOutput, master.as_fd(), PollFlags::POLLIN);
            }
            _ => {}
        }
        if !self.output.is_empty() {
            when(Step::Show, self.stdout.as_fd(), PollFlags::POLLOUT);
        }
        if let Some(master) = &self.master {
            if !self.input.is_empty() {
                when(Step::Type, master.as_fd(), PollFlags::POLLOUT);
            } else if self.stdin_open {
                when(Step::TakeInput, self.stdin.as_fd(), PollFlags::POLLIN);
            }
        }
        steps
    }

    /// Does a step that is ready; what turns out not to be is left.
    pub(super) fn step(&mut self, step: Step) {
        match step {
            Step::TakeOutput => self.take_output(),
            Step::Show => self.show(),
            Step::TakeInput => match take(self.stdin.as_fd(), &mut self.input) {
                Moved::Ended => self.stdin_open = false,
                Moved::Some(_) | Moved::NotNow => {}
            },
            Step::Type => self.type_in(),
        }
    }

    fn take_output(&mut self) {
        let Some(master) = &self.master else { return };
        if let Moved::Ended = take(master.as_fd(), &mut self.output) {
            // The last process that had it open has closed it, or hung it up.
            self.peer = None;
            self.peer = terminal::open_peer(master).ok();
            if self.peer.is_none() {
                self.master = None;
            }
        }
    }

    fn show(&mut self) {
        if let Moved::Ended = put(self.stdout.as_fd(), &mut self.output) {
            // Whoever read is gone: the program is hung up, as by a terminal that is closed.
            self.output.clear();
            self.hang_up();
        }
    }

    fn type_in(&mut self) {
        let Some(master) = &self.master else { return };
        if let Moved::Ended = put(master.as_fd(), &mut self.input) {
            self.input.clear();
        }
    }

    fn hang_up(&mut self) {
        (self.master, self.peer) = (None, None);
        self.input.clear();
    }

    /// Gives the container's terminal the size of ours.
    pub(super) fn resize(&self) {
        let Some(master) = &self.master else { return };
        if let Ok(size) = terminal::window_size(&self.stdin) {
            // A terminal that hung up has no size to set.
            let _ = terminal::set_window_size(master, size);
        }
    }

    /// Shows what the program wrote before it ended. As long as nobody reads that, any event of
    /// `interruption` ends it.
    pub(super) fn finish(&mut self, interruption: BorrowedFd<'_>) {
        self.stdin_open = false;
        self.input.clear();
        let mut taken = 0;
        loop {
            if self.output.is_empty() {
                if taken > LAST_WORDS || !self.has_more() {
                    return;
                }
                self.take_output();
                taken += self.output.len();
                continue;
            }
            let mut fds = [
                PollFd::new(self.stdout.as_fd(), PollFlags::POLLOUT),
                PollFd::new(interruption, PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) if fds[0].any() == Some(true) => self.show(),
                Err(Errno::EINTR) => {}
                _ => return,
            }
        }
    }

    /// Whether the terminal holds more of what was written.
    fn has_more(&self) -> bool {
        let Some(master) = &self.master else {
            return false;
        };
        let mut fds = [PollFd::new(master.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut fds, PollTimeout::ZERO).is_ok();
        ready
            && fds[0]
                .revents()
                .is_some_and(|events| events.contains(PollFlags::POLLIN))
    }
}

fn take(from: BorrowedFd<'_>, into: &mut Vec<u8>) -> Moved {
    let mut buffer = [0; CHUNK];
    match moved(read(from, &mut buffer)) {
        Moved::Some(0) => Moved::Ended,
        Moved::Some(length) => {
            into.extend_from_slice(&buffer[..length]);
            Moved::Some(length)
        }
        other => other,
    }
}

fn put(to: BorrowedFd<'_>, from: &mut Vec<u8>) -> Moved {
    let moved = moved(write(to, from));
    if let Moved::Some(length) = moved {
        from.drain(..length);
    }
    moved
}

fn moved(result: nix::Result<usize>) -> Moved {
    match result {
        Ok(length) => Moved::Some(length),
        Err(Errno::EINTR | Errno::EAGAIN) => Moved::NotNow,
        Err(_) => Moved::Ended,
    }
}
