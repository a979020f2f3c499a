//! The daemon's socket: made, or handed over by systemd; and the pidfile.
//!
//! ```text
//! /run/cni/               0700 if the daemon makes it
//!     dhcp.sock           a dead daemon's is replaced
//!     dhcp.sock.lock      held as long as the daemon lives: whoever has it owns the socket
//! ```

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cni::{Attempt, Code, Error};
use sys::dir::{Lock, LockKind};
use sys::{Dir, Errno};

use super::flags::Flags;

/// The kernel takes its time to close the sockets of a daemon that was killed, and its lock.
const ENDING: Duration = Duration::from_secs(3);
/// For a connection to somebody who listens.
const OTHERS_PATIENCE: Duration = Duration::from_secs(1);
/// The first descriptor that systemd hands over (sd_listen_fds(3)).
const FIRST_INHERITED: i32 = 3;

/// A listening socket.
pub(super) struct Listening {
    pub(super) listener: UnixListener,
    /// Where it is, which says where the leases are.
    pub(super) path: PathBuf,
    /// The directory and the lock, of a socket that we made and remove.
    own: Option<(Dir, Lock)>,
}

impl Listening {
    /// systemd's socket if it hands one over (`environment` looks up a variable), or our own.
    pub(super) fn start(
        flags: &Flags,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        let listening = match inherited(environment)? {
            Some(listener) => Self {
                path: path_of(&listener)
                    .map_or_else(|| flags.socket(), |path| in_prefix(flags, path)),
                listener,
                own: None,
            },
            None => Self::bind(flags.socket())?,
        };
        let waiting = listening.listener.set_nonblocking(true);
        waiting.attempt(Code::IO, || format!("listen at {:?}", listening.path))?;
        Ok(listening)
    }

    fn bind(path: PathBuf) -> Result<Self, Error> {
        let what = || format!("listen at {path:?}");
        // The flag was refused without either.
        let (parent, name) = (
            path.parent().unwrap_or(Path::new("/")),
            path.file_name().unwrap_or_default(),
        );
        let dir = Dir::open_or_create(parent, 0o700).attempt(Code::IO, what)?;
        let mut lock_name = name.to_owned();
        lock_name.push(".lock");
        let lock = match dir.lock(&lock_name, LockKind::Exclusive, ENDING) {
            Err(error) if error.errno() == Errno::EAGAIN => {
                let msg = format!("another dhcp daemon serves {path:?}");
                return Err(Error::new(Code::TRY_AGAIN, msg));
            }
            lock => lock.attempt(Code::IO, what)?,
        };
        // A daemon of the reference suite takes no lock.
        let other = match sys::socket::connect_stream(&path, OTHERS_PATIENCE) {
            Ok(_) => true,
            Err(error) => error.errno() == Errno::EAGAIN, // so many wait for it
        };
        if other {
            let msg = format!("somebody listens at {path:?} already: address already in use");
            return Err(Error::new(Code::TRY_AGAIN, msg));
        }
        match dir.remove(name) {
            Err(error) if error.errno() != Errno::ENOENT => {
                return Err(Error::new(Code::IO, what()).details(error));
            }
            _ => {}
        }
        let listener = UnixListener::bind(&path).attempt(Code::IO, what)?;
        Ok(Self {
            listener,
            path,
            own: Some((dir, lock)),
        })
    }

    /// The next connection, if one waits.
    pub(super) fn accept(&self) -> io::Result<Option<UnixStream>> {
        match self.listener.accept() {
            Ok((stream, _)) => Ok(Some(stream)),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock
                | io::ErrorKind::Interrupted
                | io::ErrorKind::ConnectionAborted => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// Removes the socket if it is ours; the lock stays held until the file is gone.
    pub(super) fn end(self) {
        if let (Some((dir, _lock)), Some(name)) = (&self.own, self.path.file_name()) {
            let _ = dir.remove(name);
        }
    }
}

fn inherited(environment: impl Fn(&str) -> Option<String>) -> Result<Option<UnixListener>, Error> {
    let for_us = environment("LISTEN_PID").is_none_or(|pid| pid == std::process::id().to_string());
    let count = environment("LISTEN_FDS").and_then(|count| count.parse::<u32>().ok());
    match count.filter(|_| for_us) {
        None | Some(0) => Ok(None),
        Some(1) => {
            let what = || "take the socket that was passed (LISTEN_FDS)".to_owned();
            let fd = sys::process::take_inherited(FIRST_INHERITED).attempt(Code::IO, what)?;
            Ok(Some(fd.into()))
        }
        Some(count) => {
            let msg = format!("Too many ({count}) FDs passed through socket activation");
            Err(Error::config(msg))
        }
    }
}

fn path_of(listener: &UnixListener) -> Option<PathBuf> {
    let address = listener.local_addr().ok()?;
    address.as_pathname().map(Path::to_owned)
}

/// systemd, outside, told it by a path of the host.
fn in_prefix(flags: &Flags, path: PathBuf) -> PathBuf {
    match flags.hostprefix.as_str() {
        "" => path,
        prefix if path.starts_with(prefix) => path,
        _ => flags.on_host(path),
    }
}

/// A file with our process number; removed by [`Pidfile::end`].
pub(super) struct Pidfile(Option<(Dir, std::ffi::OsString)>);

impl Pidfile {
    pub(super) fn write(path: Option<&Path>) -> Result<Self, Error> {
        let Some(path) = path else {
            return Ok(Self(None));
        };
        let what = || format!("Error writing pidfile {path:?}");
        // The flag was refused without either.
        let (parent, name) = (
            path.parent().unwrap_or(Path::new("/")),
            path.file_name().unwrap_or_default(),
        );
        let dir = Dir::open(parent).attempt(Code::IO, what)?;
        let number = std::process::id().to_string();
        dir.replace_volatile(name, number.as_bytes(), 0o644)
            .attempt(Code::IO, what)?;
        Ok(Self(Some((dir, name.to_owned()))))
    }

    pub(super) fn end(self) {
        if let Some((dir, name)) = self.0 {
            let _ = dir.remove(name);
        }
    }
}
