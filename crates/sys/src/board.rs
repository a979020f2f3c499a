//! [`Board`]: numbers that a process shares with the clones it makes afterwards.

use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use nix::errno::Errno;

use crate::error::{Result, SyscallError};

/// Anonymous shared memory; it ends with the last process that has it.
#[derive(Debug)]
pub struct Board {
    first: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: the memory is never unmapped, and it is only used atomically.
unsafe impl Send for Board {}
// SAFETY: as above.
unsafe impl Sync for Board {}

impl Board {
    /// `count` numbers, 0 each. The kernel backs them when they are used.
    pub fn new(count: usize) -> Result<Self> {
        let length = count.saturating_mul(size_of::<AtomicU64>());
        let call = || format!("mmap({length}, PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS)");
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at an address of the kernel's choice invalidates nothing.
        let place = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0) };
        if place == libc::MAP_FAILED {
            return Err(SyscallError::new(call(), Errno::last()));
        }
        let first = NonNull::new(place.cast());
        let first = first.ok_or_else(|| SyscallError::new(call(), Errno::EFAULT))?;
        Ok(Self { first, count })
    }

    /// The numbers.
    pub fn numbers(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, zeroed, `count` numbers long and never unmapped,
        // and every process that has it only uses it atomically.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.count) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn a_clone_writes_what_its_maker_reads() {
        let board = Board::new(3).unwrap();
        assert_eq!(board.numbers().len(), 3);
        // SAFETY: the child makes one store and ends, without a lock and without memory of its own.
        match unsafe { libc::fork() } {
            0 => {
                board.numbers()[2].store(7, Ordering::Release);
                crate::process::exit_now(0)
            }
            pid => {
                let pid = nix::unistd::Pid::from_raw(pid);
                nix::sys::wait::waitpid(pid, None).unwrap();
            }
        }
        assert_eq!(board.numbers()[2].load(Ordering::Acquire), 7);
        assert_eq!(board.numbers()[0].load(Ordering::Acquire), 0);
    }
}
