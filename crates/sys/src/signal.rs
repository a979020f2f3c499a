//! Signals as events of a descriptor (signalfd(2)), for programs with one loop.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::error::{Result, SyscallResult};

/// Gives a signal its default action back, asking the kernel: a C library refuses the signals that it
/// keeps to itself, and musl has 34 among them.
///
/// `SIGKILL` and `SIGSTOP` are left alone, which have no other.
pub(crate) fn default_action(number: i32) {
    // The kernel's struct is zero for SIG_DFL on every machine, and no longer than this.
    let default = [0_u64; 4];
    // SAFETY: the kernel reads one struct, and SIG_DFL is no function of ours, so nothing can run in
    // a signal handler.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            number,
            default.as_ptr(),
            std::ptr::null_mut::<u64>(),
            size_of::<u64>(),
        );
    }
}

/// Lets the kernel tell of children that have ended, whatever the caller has inherited: with SIGCHLD
/// ignored it reaps them itself, and whoever waits for one gets `ECHILD` (wait(2)).
pub fn hear_of_children() {
    default_action(libc::SIGCHLD);
}

/// Every signal, those that a C library keeps to itself as well: musl has 34 among them, which is
/// `SIGRTMIN` to everybody else. (glibc leaves its own two out again where it is given this.)
pub fn every() -> SigSet {
    // SAFETY: any bits are a valid set.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        std::ptr::write_bytes(&raw mut set, 0xff, 1);
        SigSet::from_sigset_t_unchecked(set)
    }
}

/// SIGINT and SIGTERM, which no longer end the process.
#[derive(Debug)]
pub struct Termination(SignalFd);

impl Termination {
    /// From now on. Threads made later leave the signals to this descriptor as well.
    pub fn catch() -> Result<Self> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGINT);
        set.add(Signal::SIGTERM);
        set.thread_block()
            .call(|| "sigprocmask(SIG_BLOCK, INT TERM)".into())?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        SignalFd::with_flags(&set, flags)
            .map(Self)
            .call(|| "signalfd(INT TERM)".into())
    }

    /// The signal that has come, by its name.
    pub fn received(&self) -> Result<Option<&'static str>> {
        match self.0.read_signal() {
            Ok(told) => Ok(told.map(
                |told| match Signal::try_from(told.ssi_signo.cast_signed()) {
                    Ok(signal) => signal.as_str(),
                    Err(_) => "a signal",
                },
            )),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Err(errno) => Err(errno).call(|| "read(signalfd)".into()),
        }
    }
}

impl AsFd for Termination {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whether SIGINT or SIGTERM has come since [`note_termination`].
static TOLD: AtomicBool = AtomicBool::new(false);

/// From now on the first SIGINT or SIGTERM only sets the answer, for a program that looks at it
/// between two steps; a second one ends it at once with status 130. Started programs have the
/// default again (execve(2)), and no signal is blocked for them.
pub fn note_termination() -> Result<&'static AtomicBool> {
    let action = SigAction::new(
        SigHandler::Handler(told),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler does nothing but an atomic exchange and _exit(2).
        unsafe { sigaction(signal, &action) }.call(|| format!("sigaction({signal})"))?;
    }
    Ok(&TOLD)
}

extern "C" fn told(_: libc::c_int) {
    if TOLD.swap(true, Ordering::Relaxed) {
        // SAFETY: may be called from a handler (signal-safety(7)) and does not return.
        unsafe { libc::_exit(130) }
    }
}
