//! The sockets of a caller: where the terminal's master and init's pidfd are sent.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use sys::{Dir, Errno};

use crate::fault::{Code, Fault};
use crate::launch::{Attachment, Request};
use crate::plan::Process;

/// Where the master of the container's terminal goes.
#[derive(Debug)]
pub enum Console {
    /// There is no terminal.
    None,
    /// To the caller's socket.
    Caller(OwnedFd),
    /// To this process, which runs in the foreground: init's end and ours.
    Foreground(OwnedFd, OwnedFd),
}

/// Checks that a terminal and somebody to take it belong together, and connects.
pub fn plan(process: &Process, request: &Request) -> Result<Console> {
    let foreground = request.attachment == Attachment::Foreground;
    for_process(process, request.console_socket.as_deref(), foreground)
}

/// The same for `exec`.
pub fn for_process(process: &Process, path: Option<&Path>, foreground: bool) -> Result<Console> {
    match (process.terminal, path) {
        (true, Some(path)) => Ok(Console::Caller(connect_to(path)?)),
        (true, None) if foreground => {
            // Without one nobody could ever see or end what waits for input there.
            std::fs::File::open("/dev/tty").context(
                "a terminal is wanted (process.terminal), but this process has none: open(\"/dev/tty\")",
            )?;
            let (ours, theirs) = sys::socket::seqpacket_pair()?;
            Ok(Console::Foreground(theirs, ours))
        }
        (true, None) => {
            bail!("cannot allocate tty if davit will detach without setting console socket")
        }
        (false, Some(_)) => {
            bail!("cannot use console socket if davit will not detach or allocate tty")
        }
        (false, None) => Ok(Console::None),
    }
}

impl Console {
    /// Init's end.
    pub fn for_init(&mut self) -> Option<OwnedFd> {
        match std::mem::replace(self, Self::None) {
            Self::None => None,
            Self::Caller(socket) => Some(socket),
            Self::Foreground(theirs, ours) => {
                *self = Self::Caller(ours);
                Some(theirs)
            }
        }
    }

    /// Passes on the master of a restored terminal; in the foreground it stays here.
    pub fn hand_over(&mut self, master: OwnedFd) -> Result<Option<OwnedFd>> {
        match std::mem::replace(self, Self::None) {
            Self::None => {
                bail!("the container has a terminal, and config.json none (/process/terminal)")
            }
            Self::Caller(socket) => sys::socket::send(&socket, b"/dev/ptmx", &[master.as_fd()])
                .context("send the terminal to the console socket")
                .map(|()| None),
            Self::Foreground(..) => Ok(Some(master)),
        }
    }

    /// Takes the master that init has sent to this process.
    pub fn receive_master(&mut self) -> Result<Option<OwnedFd>> {
        match std::mem::replace(self, Self::None) {
            Self::Caller(ours) => {
                let (_, fds) = sys::socket::receive(&ours)?;
                Ok(Some(
                    fds.into_iter().next().context("init sent no terminal")?,
                ))
            }
            Self::None | Self::Foreground(..) => Ok(None),
        }
    }
}

/// How long the owner of a socket may take to accept and to read.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connects to the stream socket at `path`, also one longer than the 108 bytes of unix(7). An
/// owner that does not answer makes this, and every send, fail instead of hang.
pub fn connect_to(path: &Path) -> Result<OwnedFd> {
    connect_within(path, PATIENCE)
}

fn connect_within(path: &Path, patience: Duration) -> Result<OwnedFd> {
    let context = || format!("connect to the socket {path:?}");
    let absolute = std::path::absolute(path)?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        bail!("{path:?} is no socket");
    };
    let parent = Dir::open(parent).with_context(context)?;
    let short = format!(
        "/proc/self/fd/{}/{}",
        parent.as_fd().as_raw_fd(),
        name.to_string_lossy()
    );
    let stream = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    sys::socket::limit_waiting(&stream, patience)?;
    let address = UnixAddr::new(Path::new(&short)).with_context(context)?;
    match connect(stream.as_raw_fd(), &address) {
        Ok(()) => Ok(stream),
        Err(Errno::EAGAIN) => bail!(busy(format!(
            "connect to the socket {path:?}: Resource temporarily unavailable (EAGAIN)"
        ))),
        Err(error) => Err(error).with_context(context),
    }
}

/// EAGAIN of a socket is not that of fork(2).
fn busy(message: String) -> Fault {
    let hint = "its owner accepts no connection: see whether it still runs, or has a backlog";
    Fault::new(Code::Timeout, message).hint(hint)
}

/// Sends `pidfd` to the socket at `path`, with `kind` for its text.
pub fn send_pidfd(path: &Path, pidfd: &OwnedFd, kind: &str) -> Result<()> {
    let socket = connect_to(path)?;
    sys::socket::send(&socket, kind.as_bytes(), &[pidfd.as_fd()]).context("send the pidfd")
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{Backlog, bind, listen};

    #[test]
    fn a_full_backlog_is_no_lack_of_processes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.sock");
        let flags = SockFlag::SOCK_CLOEXEC;
        let owner = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
        bind(owner.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        listen(&owner, Backlog::new(0).unwrap()).unwrap();
        let patience = Duration::from_millis(20);
        let _first = connect_within(&path, patience).unwrap();
        let fault = Fault::of(&connect_within(&path, patience).unwrap_err());
        assert_eq!(fault.code(), Code::Timeout, "{fault}");
        assert!(fault.remedy().contains("accepts no connection"), "{fault}");
    }
}
