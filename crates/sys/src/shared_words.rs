//! Two numbers in memory that two processes share: for a conversation without a system call.
//!
//! A process under a filter that may trap any call can still store and load.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::unistd::ftruncate;

use crate::error::{Result, SyscallError, SyscallResult};

/// The mapping; it ends with the process.
#[derive(Debug)]
pub struct SharedWords(NonNull<[AtomicU32; 2]>);

const LENGTH: usize = size_of::<[AtomicU32; 2]>();

impl SharedWords {
    /// Makes both words, 0, and the file by which another process can map them. Nobody can cut
    /// the file short under the mapping.
    pub fn create() -> Result<(Self, OwnedFd)> {
        let fd = crate::memfd::create(c"words", 0).call(|| "memfd_create(\"words\")".into())?;
        ftruncate(&fd, LENGTH as libc::off_t).call(|| format!("ftruncate(memfd, {LENGTH})"))?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&fd, FcntlArg::F_ADD_SEALS(seals)).call(|| "fcntl(memfd, F_ADD_SEALS)".into())?;
        Ok((Self::map(&fd)?, fd))
    }

    /// Maps the words of a file that [`SharedWords::create`] made.
    pub fn map(fd: impl AsFd) -> Result<Self> {
        let number = fd.as_fd().as_raw_fd();
        let call = || format!("mmap({LENGTH}, PROT_READ|PROT_WRITE, MAP_SHARED, {number})");
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice invalidates nothing.
        let place = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                LENGTH,
                protection,
                libc::MAP_SHARED,
                number,
                0,
            )
        };
        if place == libc::MAP_FAILED {
            return Err(SyscallError::new(call(), Errno::last()));
        }
        let place = NonNull::new(place.cast());
        Ok(Self(
            place.ok_or_else(|| SyscallError::new(call(), Errno::EFAULT))?,
        ))
    }

    /// The words.
    pub fn words(&self) -> &[AtomicU32; 2] {
        // SAFETY: the mapping is page-aligned, LENGTH bytes long, never unmapped, and both
        // processes only use it atomically.
        unsafe { self.0.as_ref() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn what_one_mapping_stores_the_other_loads() {
        let (one, fd) = SharedWords::create().unwrap();
        let other = SharedWords::map(&fd).unwrap();
        one.words()[1].store(7, Ordering::Release);
        assert_eq!(other.words()[1].load(Ordering::Acquire), 7);
        assert_eq!(other.words()[0].load(Ordering::Acquire), 0);
        assert_eq!(ftruncate(&fd, 0), Err(Errno::EPERM));
    }
}
