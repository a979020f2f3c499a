//! The loopback interface of a new network namespace (netdevice(7)).

use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::error::{Result, SyscallResult};

/// Another type in musl's ioctl than in glibc's.
const SIOCSIFFLAGS: libc::Ioctl = libc::SIOCSIFFLAGS as libc::Ioctl;

/// Brings `lo` up in the caller's network namespace.
pub fn loopback_up() -> Result<()> {
    let fd = socket(
        AddressFamily::Unix,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .call(|| "socket(AF_UNIX)".into())?;
    // SAFETY: all-zero bytes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which lives past the call.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), SIOCSIFFLAGS, &raw const request) };
    Errno::result(result)
        .map(drop)
        .call(|| "ioctl(SIOCSIFFLAGS, lo, IFF_UP)".into())
}
