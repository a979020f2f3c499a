//! Pseudo terminals (pty(7), ioctl_tty(2)) and the raw mode of our own.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::error::{Result, SyscallResult};

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

/// Unlocks the pty whose master `master` is and opens its other end.
///
/// The kernel gives the peer by descriptor (`TIOCGPTPEER`, Linux 4.13): no path below a `/dev`
/// that the container may have prepared is looked up (CVE-2025-52565).
pub fn open_peer(master: impl AsFd) -> Result<OwnedFd> {
    let fd = master.as_fd().as_raw_fd();
    let unlocked: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int, which lives past the call.
    let result = unsafe { libc::ioctl(fd, libc::TIOCSPTLCK, &raw const unlocked) };
    Errno::result(result).call(|| format!("ioctl({fd}, TIOCSPTLCK)"))?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes open(2)'s flags and returns a new descriptor.
    let result = unsafe { libc::ioctl(fd, libc::TIOCGPTPEER, flags) };
    let peer = Errno::result(result).call(|| format!("ioctl({fd}, TIOCGPTPEER)"))?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(peer) })
}

/// Sets the size of the terminal.
pub fn set_window_size(terminal: impl AsFd, size: WindowSize) -> Result<()> {
    let fd = terminal.as_fd().as_raw_fd();
    let size = libc::winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCSWINSZ reads one winsize, which lives past the call.
    let result = unsafe { libc::ioctl(fd, libc::TIOCSWINSZ, &raw const size) };
    Errno::result(result)
        .map(drop)
        .call(|| format!("ioctl({fd}, TIOCSWINSZ)"))
}

/// The size of the terminal; `ENOTTY` if it is none.
pub fn window_size(terminal: impl AsFd) -> Result<WindowSize> {
    let fd = terminal.as_fd().as_raw_fd();
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ writes one winsize, which lives past the call.
    let result = unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &raw mut size) };
    Errno::result(result).call(|| format!("ioctl({fd}, TIOCGWINSZ)"))?;
    Ok(WindowSize {
        rows: size.ws_row,
        columns: size.ws_col,
    })
}

/// Makes `terminal` the controlling terminal of this session, whose leader must be the caller.
pub fn set_controlling(terminal: impl AsFd) -> Result<()> {
    let fd = terminal.as_fd().as_raw_fd();
    // SAFETY: TIOCSCTTY takes an integer.
    let result = unsafe { libc::ioctl(fd, libc::TIOCSCTTY, 0) };
    Errno::result(result)
        .map(drop)
        .call(|| format!("ioctl({fd}, TIOCSCTTY)"))
}

/// A terminal in raw mode; dropping it restores what was.
#[derive(Debug)]
pub struct RawMode<'fd> {
    terminal: BorrowedFd<'fd>,
    before: Termios,
}

impl<'fd> RawMode<'fd> {
    /// Switches `terminal` to raw mode; `ENOTTY` if it is none.
    pub fn enter(terminal: BorrowedFd<'fd>) -> Result<Self> {
        let before = tcgetattr(terminal).call(|| "tcgetattr()".into())?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(terminal, SetArg::TCSANOW, &raw).call(|| "tcsetattr(raw)".into())?;
        Ok(Self { terminal, before })
    }
}

impl Drop for RawMode<'_> {
    fn drop(&mut self) {
        // A terminal that hung up needs no restoring.
        let _ = tcsetattr(self.terminal, SetArg::TCSANOW, &self.before);
    }
}
