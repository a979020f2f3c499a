//! Readiness of a service in the container, passed on to the service manager (sd_notify(3)).
//!
//! A program in the container cannot use the manager's socket: it is not mounted there, and the
//! manager would not believe a process that it does not know. It gets one of ours, below
//! `/run/notify`, and whoever starts the container passes on what concerns the manager: that it is
//! ready, and which process is the main one.
//!
//! `create` makes the directory and mounts it; the socket in it is made by whoever starts, so that
//! there is one exactly while somebody listens.

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::unistd::{Pid, pipe2};
use sys::Errno;
use sys::mount::{Reach, attr};

use crate::plan::mounts::{AttrChange, Link, MountStep, What};
use crate::plan::{Kind, Plan};
use crate::state_dir::StateDir;

const VARIABLE: &str = "NOTIFY_SOCKET";
const INSIDE: &str = "/run/notify";

/// How long the manager may take to have read what it was sent.
const BARRIER: Duration = Duration::from_secs(30);

/// The manager's socket, if there is one.
fn manager() -> Option<OsString> {
    std::env::var_os(VARIABLE).filter(|path| {
        path.as_bytes()
            .first()
            .is_some_and(|&byte| byte == b'/' || byte == b'@')
    })
}

/// If a manager waits for this container: makes the directory of its socket and adds it to `plan`.
pub fn prepare(plan: &mut Plan, state: &StateDir) -> Result<()> {
    if manager().is_none() || !plan.namespaces.is_private(Kind::Mount) {
        return Ok(());
    }
    plan.mounts.push(step(state.make_notify_directory()?));
    let prefix = format!("{VARIABLE}=");
    plan.process
        .env
        .retain(|entry| !entry.as_bytes().starts_with(prefix.as_bytes()));
    plan.process
        .env
        .push(CString::new(format!("{prefix}{INSIDE}/notify.sock"))?);
    Ok(())
}

fn step(source: PathBuf) -> MountStep {
    MountStep {
        id_map: None,
        target_link: Link::Followed,
        what: What::Bind {
            source,
            reach: Reach::One,
            link: Link::Followed,
        },
        destination: INSIDE.into(),
        attributes: AttrChange {
            set: attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC,
            clear: 0,
        },
        recursive: AttrChange::default(),
        propagation: Vec::new(),
        pointer: format!("${VARIABLE}"),
    }
}

/// The container's socket, and the way to the manager.
#[derive(Debug)]
pub struct Proxy {
    container: OwnedFd,
    manager: OwnedFd,
}

impl Proxy {
    /// Listens for the container `state`, which has not been started yet; `None` if no manager
    /// waits for it.
    pub fn listen(state: &StateDir) -> Result<Option<Self>> {
        let Some(path) = manager() else {
            return Ok(None);
        };
        let Some(container) = state.make_notify_socket()? else {
            return Ok(None);
        };
        let context = || format!("connect to ${VARIABLE} ({path:?})");
        Ok(Some(Self {
            manager: connect_to(&path).with_context(context)?,
            container,
        }))
    }

    /// Waits until the service is ready, or has ended, and the manager knows it.
    pub fn wait(&self, pid: Pid, pidfd: &OwnedFd) -> Result<()> {
        loop {
            let mut fds =
                [self.as_fd(), pidfd.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("poll(notify socket)"),
            }
            if fds[0].any() == Some(true) {
                if let Some(barrier) = self.pass_on(pid)? {
                    // A manager that does not know barriers closes the descriptor, too.
                    sys::poll::readable_until(&barrier, Instant::now() + BARRIER)?;
                    return Ok(());
                }
            } else if fds[1].any() == Some(true) {
                return Ok(());
            }
        }
    }

    /// Reads one message; if it says that the service is ready, so is the manager told. What is
    /// returned becomes readable when the manager has read that.
    pub fn pass_on(&self, pid: Pid) -> Result<Option<OwnedFd>> {
        let message = match sys::socket::receive(&self.container) {
            Ok((message, _)) => message,
            // Nothing that sd_notify(3) sends is that large.
            Err(error) if error.errno() == Errno::EMSGSIZE => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let ready = message
            .split(|&byte| byte == b'\n')
            .find(|line| line.starts_with(b"READY="));
        let Some(ready) = ready else { return Ok(None) };
        let context = || format!("tell ${VARIABLE}");
        // In one message: ready is the process that is named beside it.
        let main = format!("\nMAINPID={pid}");
        let message = [ready, main.as_bytes()].concat();
        sys::socket::send(&self.manager, &message, &[]).with_context(context)?;
        let (ours, theirs) = pipe2(OFlag::O_CLOEXEC).context("pipe2()")?;
        sys::socket::send(&self.manager, b"BARRIER=1", &[theirs.as_fd()]).with_context(context)?;
        Ok(Some(ours))
    }
}

impl AsFd for Proxy {
    /// Readable when the container has sent something.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.container.as_fd()
    }
}

/// A datagram socket to `path`, where `@` begins an abstract address (unix(7)).
fn connect_to(path: &OsStr) -> Result<OwnedFd> {
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => UnixAddr::new_abstract(name)?,
        None => UnixAddr::new(Path::new(path))?,
    };
    let datagrams = socket(
        AddressFamily::Unix,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    sys::socket::limit_waiting(&datagrams, Duration::from_secs(10))?;
    connect(datagrams.as_raw_fd(), &address)?;
    Ok(datagrams)
}
