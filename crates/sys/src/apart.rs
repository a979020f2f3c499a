//! [`Apart`]: a system call that waits long for the kernel, made by a process of its own.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, chdir, fork, pipe2, read, write};

#[cfg(target_env = "musl")]
use crate::allocator::between_allocations;
use crate::error::{Result, SyscallError, SyscallResult};
use crate::poll::readable_until;
use crate::process::{close_all, exit_now};

/// Inode number of the first pid namespace in `/proc/<pid>/ns` (`PROC_PID_INIT_INO`, Linux 3.8).
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// A child that makes one call, and may be left to end by itself.
///
/// It holds nothing that anybody could wait for: no standard stream, no descriptor but the one it
/// needs, no directory but the root. Dropped, it is left, but its parent must reap it by ending.
#[derive(Debug)]
pub struct Apart {
    child: Pid,
    answer: OwnedFd,
}

impl Apart {
    /// Starts `work` in a child in which only `keep` is open. Its answer is 0 or an errno.
    ///
    /// `work` takes no lock: other threads do not exist in the child, but what they locked does.
    /// (The allocator is an exception: it is left usable.)
    pub fn start(keep: RawFd, work: impl FnOnce() -> i32) -> Result<Self> {
        let (answer, told) = pipe2(OFlag::O_CLOEXEC).call(|| "pipe2(O_CLOEXEC)".into())?;
        // SAFETY: the child takes no lock but the allocator's, by the promise of the caller, and
        // ends without returning to frames of its parent.
        let forked = between_allocations(|| unsafe { fork() });
        match forked.call(|| "fork()".into())? {
            ForkResult::Parent { child } => Ok(Self { child, answer }),
            ForkResult::Child => {
                let _ = close_all(&[keep, told.as_raw_fd()]);
                let _ = chdir("/");
                let errno = work();
                // Nobody may be left to hear it.
                let _ = write(&told, &errno.to_ne_bytes());
                exit_now(0);
            }
        }
    }

    /// Whether the call has been answered, or the child has died.
    pub fn is_over(&self) -> bool {
        readable_until(&self.answer, Instant::now()).unwrap_or(true)
    }

    /// Waits for the answer: 0 or an errno; `ECHILD` if the child died without one.
    pub fn join(self) -> Result<i32> {
        let mut bytes = [0; 4];
        let answered = loop {
            match read(self.answer.as_fd(), &mut bytes) {
                Err(Errno::EINTR) => {}
                other => break other.call(|| "read(pipe)".into())?,
            }
        };
        while waitpid(self.child, None) == Err(Errno::EINTR) {}
        if answered == bytes.len() {
            Ok(i32::from_ne_bytes(bytes))
        } else {
            Err(SyscallError::new("read(pipe)", Errno::ECHILD))
        }
    }

    /// Lets the child end when it can, if whoever inherits it reaps it; else waits for its end.
    ///
    /// In the first pid namespace that is init, or a process that asked for orphans (`prctl(2)`,
    /// `PR_SET_CHILD_SUBREAPER`). In others the first process may be anything, a daemon in a pod
    /// for one that waits for its own children only: there every orphan would stay, as a zombie.
    pub fn leave(self) {
        if !is_first_pid_namespace() {
            while waitpid(self.child, None) == Err(Errno::EINTR) {}
        }
    }
}

/// The allocator of other libraries is their fork(3)'s to look after.
#[cfg(not(target_env = "musl"))]
fn between_allocations<T>(fork: impl FnOnce() -> T) -> T {
    fork()
}

fn is_first_pid_namespace() -> bool {
    let namespace = std::fs::metadata("/proc/self/ns/pid");
    namespace.is_ok_and(|meta| meta.ino() == FIRST_PID_NAMESPACE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use nix::sys::signal::{Signal, kill};

    #[test]
    fn the_answer_is_that_of_the_child() {
        let apart = Apart::start(2, || Errno::ENODEV as i32).unwrap();
        assert_eq!(apart.join().unwrap(), Errno::ENODEV as i32);
        let apart = Apart::start(2, || exit_now(0)).unwrap();
        assert_eq!(apart.join().unwrap_err().errno(), Errno::ECHILD);
    }

    #[test]
    fn a_child_can_allocate_whatever_other_threads_did() {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    drop(vec![0_u8; 4096]);
                }
            });
            let stuck = (0..200).find(|_| {
                let work = || i32::from(std::hint::black_box(vec![1_u8; 4096])[0]);
                let apart = Apart::start(2, work).unwrap();
                let deadline = Instant::now() + Duration::from_secs(10);
                let answered = readable_until(&apart.answer, deadline).unwrap();
                if !answered {
                    kill(apart.child, Signal::SIGKILL).unwrap();
                }
                waitpid(apart.child, None).unwrap();
                !answered
            });
            over.store(true, Ordering::Relaxed);
            assert_eq!(stuck, None, "a child found the allocator locked");
        });
    }

    #[test]
    fn nobody_waits_for_a_child_that_is_left_and_it_holds_nothing() {
        let (gate, opens) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let (held, holds) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let apart = Apart::start(gate.as_raw_fd(), || {
            let _ = read(gate.as_fd(), &mut [0]);
            0
        });
        let apart = apart.unwrap();
        let child = apart.child;
        drop(holds);
        // The end of file: the child has closed its copy, while it waits for us.
        assert_eq!(read(held.as_fd(), &mut [0]), Ok(0));
        assert!(!apart.is_over());
        let leaving = std::thread::spawn(move || apart.leave());
        if is_first_pid_namespace() {
            let deadline = Instant::now() + Duration::from_secs(10);
            while !leaving.is_finished() {
                assert!(Instant::now() < deadline, "the child was waited for");
                std::thread::sleep(Duration::from_millis(1));
            }
            drop(opens);
            while waitpid(child, None) == Err(Errno::EINTR) {}
        } else {
            // Where nobody waits for orphans, `leave` does, and no zombie stays.
            drop(opens);
            leaving.join().unwrap();
            assert_eq!(waitpid(child, None), Err(Errno::ECHILD));
        }
    }
}
