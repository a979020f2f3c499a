//! [`CloseLater`]: the last close of a file left to the kernel, where it would wait.

use std::os::fd::{AsFd, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use crate::error::{Result, SyscallResult};
use crate::socket::send;

/// Keeps a file open when its owner closes it, and has the kernel close it soon.
///
/// The last close of some sockets waits for grace periods of milliseconds. So the file goes into
/// a message to a socket that is itself in the message. Nobody can ever read it once both sockets
/// are closed, and the kernel's collector of such messages closes what is in them: on a worker of
/// its own since Linux 6.9, and in our close before that, so nothing is lost where nothing can be
/// won. No process stays.
///
/// To be dropped after the file. In this order, which is also that of their numbers, should we be
/// killed: the sender's close calls the collector, which must find the other end closed.
#[derive(Debug)]
pub struct CloseLater {
    _kept: OwnedFd,
    _sender: OwnedFd,
}

impl CloseLater {
    /// Takes part in the ownership of an open file. Without it the owner's close is the last.
    pub fn new(file: impl AsFd) -> Result<Self> {
        let (kept, sender) = socketpair(
            AddressFamily::Unix,
            SockType::Datagram,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .call(|| "socketpair(AF_UNIX, SOCK_DGRAM)".into())?;
        send(&sender, b"x", &[kept.as_fd(), file.as_fd()])?;
        Ok(Self {
            _kept: kept,
            _sender: sender,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_is_closed_later_is_closed_soon() {
        let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        let later = CloseLater::new(&write).unwrap();
        nix::unistd::write(&write, b"still open").unwrap();
        drop(write);
        drop(later);
        // The end of file comes when the collector has closed the other end.
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut text = String::new();
        assert!(crate::poll::readable_until(&read, deadline).unwrap());
        std::fs::File::from(read).read_to_string(&mut text).unwrap();
        assert_eq!(text, "still open");
    }
}
