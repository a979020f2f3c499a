//! Waiting for a descriptor with a deadline: the one way anything here blocks on a socket.

use std::os::fd::AsFd;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{Result, SyscallResult};

/// Waits until `fd` can be read (or has an error to report); false when `deadline` came first.
pub fn readable_until(fd: impl AsFd, deadline: Instant) -> Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up: a wait of 0 ms for the last part of a millisecond would spin.
        let millis = i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], timeout) {
            Err(Errno::EINTR) => continue,
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) => continue,
            answer => {
                return answer
                    .map(|_| true)
                    .call(|| format!("poll(POLLIN, {millis} ms)"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    #[test]
    fn data_ends_the_wait_and_so_does_the_deadline() {
        let (mut here, there) = UnixStream::pair().unwrap();
        let soon = Instant::now() + Duration::from_millis(20);
        assert!(!readable_until(&there, soon).unwrap());
        assert!(Instant::now() >= soon);
        here.write_all(b"x").unwrap();
        assert!(readable_until(&there, Instant::now()).unwrap());
    }
}
