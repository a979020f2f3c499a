//! Namespaces by file descriptor, and running code inside a network namespace.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

use crate::error::{Result, SyscallError, SyscallResult};

/// An open network namespace.
#[derive(Debug)]
pub struct NetNs(OwnedFd);

impl NetNs {
    /// Opens the namespace at `path` (`/proc/<pid>/ns/net`, `/run/netns/<name>`, ...).
    ///
    /// `ENOENT` when there is nothing at `path` (or it is empty), `EINVAL` when what is there is
    /// not a namespace any more: a bind mount that is gone leaves a plain file behind.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let call = || format!("open({path:?}, O_RDONLY)");
        // NONBLOCK: a fifo at the path must not hang us.
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let fd = open(path, flags, Mode::empty()).call(call)?;
        let magic = fstatfs(&fd)
            .call(|| format!("fstatfs({path:?})"))?
            .filesystem_type();
        if magic != NSFS_MAGIC {
            return Err(SyscallError::new(
                format!("setns({path:?}, CLONE_NEWNET)"),
                Errno::EINVAL,
            ));
        }
        Ok(Self(fd))
    }

    /// As [`NetNs::open`]; `None` when `path` does not lead to a namespace, any more or ever.
    ///
    /// Every other error (no descriptor left, no right) says nothing about what is there.
    pub fn find(path: impl AsRef<Path>) -> Result<Option<Self>> {
        match Self::open(path) {
            Ok(netns) => Ok(Some(netns)),
            Err(error) => match error.errno() {
                Errno::ENOENT | Errno::EINVAL | Errno::ENOTDIR => Ok(None),
                // A loop of links, a name that no file can have, a socket.
                Errno::ELOOP | Errno::ENAMETOOLONG | Errno::ENXIO => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// The namespace that the calling thread is in.
    pub fn current() -> Result<Self> {
        Self::open("/proc/thread-self/ns/net")
    }

    /// A new, empty namespace (its `lo` is down), kept alive by this value alone.
    pub fn new() -> Result<Self> {
        on_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).call(|| "unshare(CLONE_NEWNET)".into())?;
            Self::current()
        })
    }

    /// Whether both are the same namespace.
    pub fn is_same(&self, other: &Self) -> Result<bool> {
        Ok(self.identity()? == other.identity()?)
    }

    /// Device and inode, which tell it from every other living namespace (namespaces(7)).
    pub fn identity(&self) -> Result<(u64, u64)> {
        let fd = self
            .0
            .try_clone()
            .call(|| "fcntl(F_DUPFD_CLOEXEC)".into())?;
        let stat = File::from(fd).metadata().call(|| "fstat(netns)".into())?;
        Ok((stat.dev(), stat.ino()))
    }

    /// Runs `body` inside this namespace, on a thread that dies afterwards.
    ///
    /// Namespace membership belongs to the thread. A thread that never comes back needs no code
    /// to come back, so no early return can leave the caller in the wrong namespace.
    pub fn run<T, E>(
        &self,
        body: impl FnOnce() -> std::result::Result<T, E> + Send,
    ) -> std::result::Result<T, E>
    where
        T: Send,
        E: From<SyscallError> + Send,
    {
        on_thread(|| {
            setns(self.as_fd(), CloneFlags::CLONE_NEWNET)
                .call(|| "setns(netns, CLONE_NEWNET)".into())?;
            body()
        })
    }
}

/// Runs `body` on a thread of its own; `EAGAIN` when the host has no room for one.
fn on_thread<T, E>(
    body: impl FnOnce() -> std::result::Result<T, E> + Send,
) -> std::result::Result<T, E>
where
    T: Send,
    E: From<SyscallError> + Send,
{
    thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, body);
        let thread = thread.call(|| "clone(CLONE_VM|CLONE_THREAD)".into())?;
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_no_namespace_is_told_from_a_missing_one() {
        let plain = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(
            NetNs::open(plain.path()).unwrap_err().errno(),
            Errno::EINVAL
        );
        assert_eq!(
            NetNs::open("/nonexistent").unwrap_err().errno(),
            Errno::ENOENT
        );
        assert_eq!(NetNs::open("").unwrap_err().errno(), Errno::ENOENT);
    }

    #[test]
    fn what_cannot_be_a_namespace_is_not_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let plain = tempfile::NamedTempFile::new_in(&dir).unwrap();
        let plain = plain.path().to_str().unwrap();
        std::os::unix::fs::symlink("loop", path("loop")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        let long = "x".repeat(300);
        let below = format!("{plain}/x");
        for name in ["none", plain, &below, "loop", "socket", &long, "."] {
            assert!(NetNs::find(path(name)).unwrap().is_none(), "{name}");
        }
        assert!(NetNs::find("/proc/self/ns/net").unwrap().is_some());
    }

    #[test]
    fn the_current_namespace_is_itself() {
        let (one, two) = (NetNs::current().unwrap(), NetNs::current().unwrap());
        assert!(one.is_same(&two).unwrap());
    }

    #[test]
    fn an_early_return_leaves_the_caller_where_it_was() {
        let before = NetNs::current().unwrap();
        let Ok(other) = NetNs::new() else {
            return eprintln!("SKIP: no right to unshare(NEWNET)");
        };
        assert!(!before.is_same(&other).unwrap());
        let inside = other.run(|| -> Result<()> {
            assert!(NetNs::current()?.is_same(&other)?);
            Err(SyscallError::new("early return", Errno::EIO))
        });
        assert_eq!(inside.unwrap_err().errno(), Errno::EIO);
        assert!(NetNs::current().unwrap().is_same(&before).unwrap());
    }
}
