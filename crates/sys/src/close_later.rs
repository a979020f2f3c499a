//! [`CloseLater`]: the last close of a file left to the kernel, where it would wait, or to whoever started
//! us ([`Keeper`]).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::process::Command;
use std::sync::OnceLock;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrLike, UnixAddr, getpeername, getsockopt, socketpair,
    sockopt,
};

use crate::child;
use crate::error::{Result, SyscallResult};
use crate::socket::{send, send_at_once};

/// Names the descriptor of a [`Keeper`] to the programs that are lent it.
const VARIABLE: &str = "DAVIT_CNI_KEEPER";

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
    _pair: Option<(OwnedFd, OwnedFd)>,
}

impl CloseLater {
    /// Takes part in the ownership of an open file. Without it the owner's close is the last.
    pub fn new(file: impl AsFd) -> Result<Self> {
        if let Some(keeper) = lent_keeper()
            && send_at_once(keeper, b"x", &[file.as_fd()]).is_ok()
        {
            return Ok(Self { _pair: None });
        }
        let (kept, sender) = pair(SockType::Datagram)?;
        send(&sender, b"x", &[kept.as_fd(), file.as_fd()])?;
        Ok(Self {
            _pair: Some((kept, sender)),
        })
    }
}

/// Keeps open what the programs that we start close later, until we end.
///
/// The kernel's worker holds a lock while it waits in place of whoever closed the file: of programs in a row
/// each would wait for the file of the one before. All of them together wait once, and nobody for them.
#[derive(Debug)]
pub struct Keeper {
    _kept: OwnedFd,
    sender: OwnedFd,
}

impl Keeper {
    /// One with nothing in it.
    pub fn new() -> Result<Self> {
        // Not datagrams, of which ten may wait (`net.unix.max_dgram_qlen`).
        let (kept, sender) = pair(SockType::SeqPacket)?;
        send(&sender, b"x", &[kept.as_fd()])?;
        Ok(Self {
            _kept: kept,
            sender,
        })
    }

    /// Lends it to the child of `command`, and whoever it starts.
    pub fn lend_to(&self, command: &mut Command) -> Result<()> {
        let lent = self.sender.try_clone();
        let lent = lent.call(|| "fcntl(keeper, F_DUPFD_CLOEXEC)".into())?;
        command.env(VARIABLE, lent.as_raw_fd().to_string());
        child::keep_open(command, lent);
        Ok(())
    }
}

/// The keeper that whoever started us has lent us, if that is what the descriptor leads to.
fn lent_keeper() -> Option<BorrowedFd<'static>> {
    static LENT: OnceLock<Option<RawFd>> = OnceLock::new();
    let number = *LENT.get_or_init(|| std::env::var(VARIABLE).ok()?.parse().ok());
    let number = number.filter(|&number| number > 2)?;
    // SAFETY: it is not closed by us, and the kernel refuses a number that leads nowhere.
    let keeper = unsafe { BorrowedFd::borrow_raw(number) };
    let kind = getsockopt(&keeper, sockopt::SockType).ok()?;
    let family = getpeername::<UnixAddr>(number).ok()?.family();
    (kind == SockType::SeqPacket && family == Some(AddressFamily::Unix)).then_some(keeper)
}

fn pair(kind: SockType) -> Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC)
        .call(|| format!("socketpair(AF_UNIX, {kind:?})"))
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

    #[test]
    fn a_keeper_keeps_what_it_was_sent_until_it_ends() {
        let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        let keeper = Keeper::new().unwrap();
        send_at_once(&keeper.sender, b"x", &[write.as_fd()]).unwrap();
        drop(write);
        let soon = Instant::now() + Duration::from_millis(100);
        assert!(!crate::poll::readable_until(&read, soon).unwrap());
        drop(keeper);
        let deadline = Instant::now() + Duration::from_secs(20);
        assert!(crate::poll::readable_until(&read, deadline).unwrap());
    }

    #[test]
    fn a_keeper_is_lent_by_its_number() {
        let keeper = Keeper::new().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "readlink /proc/self/fd/$DAVIT_CNI_KEEPER"]);
        keeper.lend_to(&mut command).unwrap();
        let told = String::from_utf8(command.output().unwrap().stdout).unwrap();
        assert_eq!(
            told.trim(),
            std::fs::read_link(format!("/proc/self/fd/{}", keeper.sender.as_raw_fd()))
                .unwrap()
                .to_str()
                .unwrap()
        );
    }
}
