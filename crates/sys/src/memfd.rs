//! Anonymous files: a sealed copy of a program (memfd_create(2)).

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};

use crate::error::{Result, SyscallResult};

const MFD_CLOEXEC: libc::c_uint = 1;
const MFD_ALLOW_SEALING: libc::c_uint = 2;
/// Linux 6.3: says that the file is meant to be executed, against `vm.memfd_noexec=1`.
const MFD_EXEC: libc::c_uint = 0x10;

/// The seals after which nobody, not even root, can change the file.
const SEALS: SealFlag = SealFlag::F_SEAL_SEAL
    .union(SealFlag::F_SEAL_SHRINK)
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_WRITE);

/// Copies `source` into an executable anonymous file that cannot be changed any more.
pub fn sealed_copy(name: &CStr, source: &mut File) -> Result<OwnedFd> {
    let fd = create(name, MFD_EXEC)
        .or_else(|errno| {
            if errno == Errno::EINVAL {
                create(name, 0)
            } else {
                Err(errno)
            }
        })
        .call(|| format!("memfd_create({name:?})"))?;
    let mut copy = File::from(fd);
    // sendfile(2) inside: the bytes do not pass through this process.
    io::copy(source, &mut copy).call(|| format!("sendfile(memfd {name:?})"))?;
    let fd = OwnedFd::from(copy);
    fcntl(&fd, FcntlArg::F_ADD_SEALS(SEALS)).call(|| format!("fcntl({name:?}, F_ADD_SEALS)"))?;
    Ok(fd)
}

pub(crate) fn create(name: &CStr, extra: libc::c_uint) -> nix::Result<OwnedFd> {
    let flags = MFD_CLOEXEC | MFD_ALLOW_SEALING | extra;
    // SAFETY: `name` is NUL-terminated.
    let result = unsafe { libc::syscall(libc::SYS_memfd_create, name.as_ptr(), flags) };
    // SAFETY: the kernel has just made this descriptor for us.
    Errno::result(result).map(|fd| unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Whether `file` is sealed as [`sealed_copy`] does it. A file that knows no seals is not.
pub fn is_sealed(file: impl AsFd) -> bool {
    // SAFETY: F_GET_SEALS only reads.
    let seals = unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_GET_SEALS) };
    seals >= 0 && SealFlag::from_bits_truncate(seals).contains(SEALS)
}
