//! Tap devices through `/dev/net/tun` (Documentation/networking/tuntap.rst).
//!
//! A device is made in the network namespace in which `/dev/net/tun` is opened and lives as long
//! as the descriptor, until it is made persistent: so a creator that is killed leaves none.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::error::{Result, SyscallError, SyscallResult};

/// What a tap device shall be like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The user who may attach to it without privilege.
    pub owner: Option<u32>,
    /// The group that may.
    pub group: Option<u32>,
    /// Several programs, or threads, may each have a queue of it.
    pub multi_queue: bool,
}

/// A tap device that ends with this value, unless it is made persistent.
#[derive(Debug)]
#[must_use = "the device is gone when this value is dropped"]
pub struct Tap(OwnedFd);

impl Tap {
    /// Makes a tap device in the calling thread's network namespace. `EBUSY` when the name is
    /// taken by a tun or tap device, `EINVAL` when another kind of link has it.
    pub fn create(name: &str, options: Options) -> Result<Self> {
        let call = || format!("ioctl(/dev/net/tun, TUNSETIFF, {name:?})");
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let fd = open("/dev/net/tun", flags, Mode::empty())
            .call(|| "open(\"/dev/net/tun\", O_RDWR)".into())?;
        // SAFETY: all-zero bytes are a valid ifreq.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // The last byte stays the terminating NUL.
        if name.is_empty() || name.len() >= request.ifr_name.len() {
            return Err(SyscallError::new(call(), Errno::EINVAL));
        }
        for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *place = byte as libc::c_char;
        }
        let queues = if options.multi_queue {
            libc::IFF_MULTI_QUEUE
        } else {
            0
        };
        // EXCL: without it the call attaches to a device of that name that is there.
        let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
        let flags = flags | libc::IFF_TUN_EXCL | queues;
        request.ifr_ifru.ifru_flags = flags as libc::c_short;
        // SAFETY: TUNSETIFF reads and writes one ifreq, which lives past the call.
        let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
        Errno::result(result).call(call)?;
        let tap = Self(fd);
        if let Some(owner) = options.owner {
            tap.set(libc::TUNSETOWNER, owner, "TUNSETOWNER")?;
        }
        if let Some(group) = options.group {
            tap.set(libc::TUNSETGROUP, group, "TUNSETGROUP")?;
        }
        Ok(tap)
    }

    /// Lets the device outlive this value.
    pub fn persist(self) -> Result<()> {
        self.set(libc::TUNSETPERSIST, 1, "TUNSETPERSIST")
    }

    fn set(&self, request: libc::Ioctl, value: u32, name: &str) -> Result<()> {
        let value = libc::c_ulong::from(value);
        // SAFETY: these requests take a number by value and touch no memory of ours.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), request, value) };
        Errno::result(result)
            .map(drop)
            .call(|| format!("ioctl(/dev/net/tun, {name}, {value})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_does_not_fit_is_refused_before_the_kernel_sees_it() {
        let long = "x".repeat(16);
        for name in ["", &long] {
            match Tap::create(name, Options::default()) {
                Err(error) if error.call().starts_with("open(") => {
                    eprintln!("SKIP: no /dev/net/tun");
                }
                other => assert_eq!(other.unwrap_err().errno(), Errno::EINVAL, "{name:?}"),
            }
        }
    }
}
