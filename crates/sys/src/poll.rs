//! Waiting for a descriptor with a deadline: the one way anything here blocks on a socket.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

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

/// Waits until any of `fds` can be read, was hung up or has an error to report, or until `patience`
/// is over; tells of each whether it is the one. A signal may end the wait with none.
pub fn any_readable(fds: &[BorrowedFd<'_>], patience: Option<Duration>) -> Result<Vec<bool>> {
    let timeout = match patience {
        None => PollTimeout::NONE,
        Some(time) => {
            let millis = i32::try_from(time.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
            PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
        }
    };
    let mut entries: Vec<_> = fds
        .iter()
        .map(|fd| PollFd::new(*fd, PollFlags::POLLIN))
        .collect();
    match poll(&mut entries, timeout) {
        Err(Errno::EINTR) => return Ok(vec![false; fds.len()]),
        answer => answer.call(|| format!("poll({} descriptors)", fds.len()))?,
    };
    let is_ready = |entry: &PollFd<'_>| entry.revents().is_none_or(|events| !events.is_empty());
    Ok(entries.iter().map(is_ready).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    #[test]
    fn data_ends_the_wait_and_so_does_the_deadline() {
        let (mut here, there) = UnixStream::pair().unwrap();
        let soon = Instant::now() + Duration::from_millis(20);
        assert!(!readable_until(&there, soon).unwrap());
        assert!(Instant::now() >= soon);
        here.write_all(b"x").unwrap();
        assert!(readable_until(&there, Instant::now()).unwrap());
    }
    #[test]
    fn of_many_those_with_something_to_read_are_told() {
        let (mut here, there) = UnixStream::pair().unwrap();
        let (gone, left) = UnixStream::pair().unwrap();
        let fds = [there.as_fd(), left.as_fd()];
        let none = any_readable(&fds, Some(Duration::ZERO)).unwrap();
        assert_eq!(none, [false, false]);
        here.write_all(b"x").unwrap();
        assert_eq!(any_readable(&fds, None).unwrap(), [true, false]);
        drop(gone);
        assert_eq!(any_readable(&fds, None).unwrap(), [true, true]);
    }
}
