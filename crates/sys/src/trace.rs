//! ptrace(2) for a harness that follows a tree of processes, kills one at a system call or makes a
//! call fail. Nothing that is shipped uses it.
//!
//! Calls are seen by `PTRACE_GET_SYSCALL_INFO` (Linux 5.3). A call fails without being executed: at
//! its entry its number becomes -1, which the kernel skips, and at its exit it gets its answer.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;

use crate::error::{Result, SyscallResult};

/// What a traced process, or any other child, came to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is about to make this call: its number and arguments.
    Call(u64, [u64; 6]),
    /// The call has returned.
    Returned,
    /// It has made this process or thread, which is traced too and stops by itself.
    Born(Pid),
    /// It executes another program now.
    Executed,
    /// A new one, before its first instruction.
    Stopped,
    /// A signal of job control has stopped it.
    GroupStopped,
    /// This signal is about to be delivered to it.
    Signalled(i32),
    /// It has exited with this status.
    Exited(i32),
    /// A signal has ended it.
    Killed(i32),
}

/// How a stopped one goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Its next call, or the end of this one.
    NextCall,
    /// The next process, program, signal or end.
    NextEvent,
}

const EVENT_STOP: i32 = 128;
const GET_SYSCALL_INFO: libc::c_uint = 0x420e;
const AT_ENTRY: u8 = 1;

/// `struct ptrace_syscall_info` as it is at an entry (linux/ptrace.h).
#[repr(C)]
#[derive(Default)]
struct SyscallInfo {
    op: u8,
    pad: [u8; 3],
    arch: u32,
    instruction_pointer: u64,
    stack_pointer: u64,
    number: u64,
    arguments: [u64; 6],
    more: [u64; 2],
}

fn ptrace(request: libc::c_uint, pid: Pid, address: usize, data: usize) -> Result<libc::c_long> {
    // SAFETY: the requests of this file take integers, or (GET_SYSCALL_INFO) a buffer whose length
    // is in `address` and which the caller holds.
    let answer = unsafe { libc::ptrace(request as _, pid.as_raw(), address, data) };
    Errno::result(answer).call(|| format!("ptrace({request:#x}, {pid})"))
}

/// From now on `pid` and all that it makes are traced. They end with the caller.
pub fn seize(pid: Pid) -> Result<()> {
    let options = libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_EXITKILL;
    ptrace(libc::PTRACE_SEIZE as _, pid, 0, options as usize).map(drop)
}

/// Stops one that is traced, which comes as [`Event::Stopped`].
pub fn interrupt(pid: Pid) -> Result<()> {
    ptrace(libc::PTRACE_INTERRUPT as _, pid, 0, 0).map(drop)
}

/// Lets a stopped one go on, with a signal or 0.
pub fn resume(pid: Pid, until: Until, signal: i32) -> Result<()> {
    let request = match until {
        Until::NextCall => libc::PTRACE_SYSCALL,
        Until::NextEvent => libc::PTRACE_CONT,
    };
    ptrace(request as _, pid, 0, signal as usize).map(drop)
}

/// Leaves one stopped by job control as it is, until somebody continues it.
pub fn listen(pid: Pid) -> Result<()> {
    ptrace(libc::PTRACE_LISTEN as _, pid, 0, 0).map(drop)
}

/// At its entry: the call will not be executed.
#[cfg(target_arch = "x86_64")]
pub fn skip_call(pid: Pid) -> Result<()> {
    let mut registers = nix::sys::ptrace::getregs(pid).call(|| "ptrace(GETREGS)".into())?;
    registers.orig_rax = u64::MAX;
    nix::sys::ptrace::setregs(pid, registers).call(|| "ptrace(SETREGS)".into())
}

/// At its exit: what the call answers.
#[cfg(target_arch = "x86_64")]
pub fn set_answer(pid: Pid, answer: Errno) -> Result<()> {
    let mut registers = nix::sys::ptrace::getregs(pid).call(|| "ptrace(GETREGS)".into())?;
    registers.rax = (-i64::from(answer as i32)).cast_unsigned();
    nix::sys::ptrace::setregs(pid, registers).call(|| "ptrace(SETREGS)".into())
}

/// Nobody has needed it elsewhere.
#[cfg(not(target_arch = "x86_64"))]
pub fn skip_call(_: Pid) -> Result<()> {
    Err(crate::SyscallError::new("ptrace(SETREGS)", Errno::ENOSYS))
}

/// Nobody has needed it elsewhere.
#[cfg(not(target_arch = "x86_64"))]
pub fn set_answer(_: Pid, _: Errno) -> Result<()> {
    Err(crate::SyscallError::new("ptrace(SETREGS)", Errno::ENOSYS))
}

/// Blocks SIGCHLD, for which [`next`] waits; a child has to unblock it before it executes.
pub fn block_child_signal() -> Result<()> {
    child_signal()
        .thread_block()
        .call(|| "sigprocmask(SIG_BLOCK, CHLD)".into())
}

/// Undoes [`block_child_signal`] in a child.
pub fn unblock_child_signal() -> Result<()> {
    child_signal()
        .thread_unblock()
        .call(|| "sigprocmask(SIG_UNBLOCK, CHLD)".into())
}

fn child_signal() -> SigSet {
    let mut set = SigSet::empty();
    set.add(Signal::SIGCHLD);
    set
}

/// The next event of any child or traced process, or none within `patience`. An
/// error is `ECHILD`: there is nobody left.
pub fn next(patience: Duration) -> Result<Option<(Pid, Event)>> {
    loop {
        let mut status = 0;
        // SAFETY: one integer to write to.
        let found = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::WNOHANG) };
        match Errno::result(found).call(|| "waitpid(-1)".into())? {
            0 => {}
            pid => {
                let pid = Pid::from_raw(pid);
                return Ok(Some((pid, event(pid, status))));
            }
        }
        if patience.is_zero() || !child_signal_within(patience) {
            return Ok(None);
        }
    }
}

/// A signal that came before the look above is pending still, so none is missed.
fn child_signal_within(patience: Duration) -> bool {
    let limit = libc::timespec {
        tv_sec: patience.as_secs() as _,
        tv_nsec: patience.subsec_nanos() as _,
    };
    let set = child_signal();
    // SAFETY: a set and a limit that live throughout; nothing is asked about the signal.
    let signal =
        unsafe { libc::sigtimedwait(set.as_ref(), std::ptr::null_mut(), &raw const limit) };
    signal == libc::SIGCHLD || Errno::last() == Errno::EINTR
}

fn event(pid: Pid, status: libc::c_int) -> Event {
    if libc::WIFEXITED(status) {
        return Event::Exited(libc::WEXITSTATUS(status));
    }
    if libc::WIFSIGNALED(status) {
        return Event::Killed(libc::WTERMSIG(status));
    }
    let signal = libc::WSTOPSIG(status);
    match status >> 16 {
        EVENT_STOP if signal == libc::SIGTRAP => Event::Stopped,
        EVENT_STOP => Event::GroupStopped,
        libc::PTRACE_EVENT_EXEC => Event::Executed,
        libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
            let born = nix::sys::ptrace::getevent(pid).unwrap_or_default();
            Event::Born(Pid::from_raw(born as libc::pid_t))
        }
        _ if signal == libc::SIGTRAP | 0x80 => call(pid),
        _ => Event::Signalled(signal),
    }
}

fn call(pid: Pid) -> Event {
    let mut told = SyscallInfo::default();
    let buffer = (&raw mut told) as usize;
    match ptrace(GET_SYSCALL_INFO, pid, size_of::<SyscallInfo>(), buffer) {
        Ok(_) if told.op == AT_ENTRY => Event::Call(told.number, told.arguments),
        _ => Event::Returned,
    }
}
