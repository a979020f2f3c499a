//! [`Dir`]: an open directory, and the only way davit writes files on the host.
//!
//! Every operation takes one name below the open directory, never a path: a name with a slash,
//! `.` and `..` are refused before the kernel sees them. New files are created exclusively,
//! contents are replaced by a temporary file and a rename, so that a reader or a crash sees the
//! old contents or the new, and locks are `flock(2)` with a deadline.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use libc::{LOCK_EX, LOCK_NB, LOCK_SH};
use nix::errno::Errno;
use nix::fcntl::{
    AT_FDCWD, AtFlags, FallocateFlags, OFlag, OpenHow, ResolveFlag, fallocate, openat, openat2,
    renameat,
};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::error::{Result, SyscallError, SyscallResult};

/// An open directory and the path it was opened by, which only error messages use.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

/// A file of [`Dir::write_pending`]: it has its contents, and not yet its name.
#[derive(Debug)]
pub struct Pending {
    name: OsString,
    temporary: OsString,
}

/// What a first read(2) asks for.
const PAGE: usize = 4096;
/// How long a lock is held by others before the next try; flock(2) itself has no timeout.
const LOCK_POLL: Duration = Duration::from_millis(2);
/// No file takes longer to be written.
const WRITTEN_WITHIN: Duration = Duration::from_secs(60);

impl Dir {
    /// Opens an existing directory, following symbolic links (`path` is the administrator's).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
        let fd = retry(|| openat(AT_FDCWD, path, flags, Mode::empty()))
            .call(|| format!("open({path:?}, O_DIRECTORY)"))?;
        Ok(Self {
            fd,
            path: path.to_owned(),
        })
    }

    /// Opens an existing directory by an absolute path of which no component is a symbolic link:
    /// one lookup of the kernel (openat2(2), Linux 5.6), or one for each component where the kernel
    /// or a filter that is older than the call refuses it. `EINVAL` for a path with `..` in it.
    pub fn open_without_links(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let call = || format!("openat2({path:?}, RESOLVE_NO_SYMLINKS)");
        if !is_plain(path) {
            return Err(SyscallError::new(call(), Errno::EINVAL));
        }
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_RDONLY | OFlag::O_NOCTTY;
        let how = OpenHow::new()
            .flags(flags)
            .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
        match retry(|| openat2(AT_FDCWD, path, how)) {
            Err(Errno::ENOSYS | Errno::EPERM) => Self::step_by_step(path),
            opened => Ok(Self {
                fd: opened.call(call)?,
                path: path.to_owned(),
            }),
        }
    }

    fn step_by_step(path: &Path) -> Result<Self> {
        let mut dir = Self::open("/")?;
        for component in path.components() {
            if let Component::Normal(name) = component {
                dir = dir.open_dir(name)?;
            }
        }
        Ok(dir)
    }

    /// Opens a directory, creating it and its missing parents with `mode`.
    ///
    /// Somebody else creating the same directory meanwhile is not an error.
    pub fn open_or_create(path: impl AsRef<Path>, mode: u32) -> Result<Self> {
        let path = path.as_ref();
        match Self::open(path) {
            Err(error) if error.errno() == Errno::ENOENT => {}
            other => return other,
        }
        if let Some(parent) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            Self::open_or_create(parent, mode)?;
        }
        match nix::unistd::mkdir(path, Mode::from_bits_truncate(mode)) {
            Ok(()) | Err(Errno::EEXIST) => Self::open(path),
            Err(errno) => Err(SyscallError::new(
                format!("mkdir({path:?}, 0o{mode:o})"),
                errno,
            )),
        }
    }

    /// The path this directory was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the directory `name` below this one; a symbolic link is refused.
    pub fn open_dir(&self, name: impl AsRef<OsStr>) -> Result<Self> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY;
        let fd = self.openat(name.as_ref(), flags, 0)?;
        Ok(Self {
            fd,
            path: self.path.join(name.as_ref()),
        })
    }

    /// Opens the directory that this one is in now. For file systems in which nobody else can move it
    /// elsewhere: cgroups keep their parent.
    pub fn open_parent(&self) -> Result<Self> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let fd = retry(|| openat(&self.fd, "..", flags, Mode::empty()))
            .call(|| format!("openat({}, \"..\")", self.describe()))?;
        let path = self.path.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Self { fd, path })
    }

    /// Creates the directory `name`; `EEXIST` if it is there, which makes this a claim.
    pub fn create_dir(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<()> {
        let name = component(name.as_ref(), "mkdirat")?;
        mkdirat(&self.fd, name, Mode::from_bits_truncate(mode))
            .call(|| format!("mkdirat({}, {name:?}, 0o{mode:o})", self.describe()))
    }

    /// Creates the file `name` for writing; `EEXIST` if it is there, which makes this a claim.
    pub fn create_new(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<File> {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY;
        Ok(self.openat(name.as_ref(), flags, mode)?.into())
    }

    /// Opens the file `name` for reading. `ENOENT` is told by [`SyscallError::errno`].
    pub fn open_file(&self, name: impl AsRef<OsStr>) -> Result<File> {
        // NONBLOCK: a fifo put in our place must not hang us.
        Ok(self
            .openat(name.as_ref(), OFlag::O_RDONLY | OFlag::O_NONBLOCK, 0)?
            .into())
    }

    /// Reads the file `name`, at most `limit` bytes; a longer one is `EFBIG`.
    pub fn read(&self, name: impl AsRef<OsStr>, limit: u64) -> Result<Vec<u8>> {
        let name = name.as_ref();
        let file = self.open_file(name)?;
        let call = || format!("read({}/{})", self.describe(), name.to_string_lossy());
        // Most files are smaller than a page, and one of the kernel does not tell its size.
        let mut contents =
            Vec::with_capacity(usize::try_from(limit + 1).map_or(PAGE, |size| size.min(PAGE)));
        file.take(limit + 1).read_to_end(&mut contents).call(call)?;
        if contents.len() as u64 > limit {
            return Err(SyscallError::new(call(), Errno::EFBIG));
        }
        Ok(contents)
    }

    /// Gives the file `name` new contents in one step, creating it if need be.
    ///
    /// The temporary file is synced before the rename, so that after a power loss the name leads
    /// to the old contents or the new, never to an empty file. On an error it is removed.
    pub fn replace(&self, name: impl AsRef<OsStr>, contents: &[u8], mode: u32) -> Result<()> {
        let (name, temporary) = (name.as_ref(), temporary_name(name.as_ref()));
        self.replace_by_rename(name, &temporary, contents, mode, |file| file.sync_all())
    }

    /// As [`Self::replace`], for what means nothing after a reboot: whoever reads or crashes sees
    /// the old contents or the new, but a power loss may leave neither. A sync of a disk costs
    /// more than a whole container does.
    pub fn replace_volatile(
        &self,
        name: impl AsRef<OsStr>,
        contents: &[u8],
        mode: u32,
    ) -> Result<()> {
        let (name, temporary) = (name.as_ref(), temporary_name(name.as_ref()));
        self.replace_by_rename(name, &temporary, contents, mode, |_| Ok(()))
    }

    /// The first half of [`Self::replace_volatile`]: all that takes time. Nobody sees it until
    /// [`Self::put_in_place`]; if that never comes, it stays beside until the directory goes.
    pub fn write_pending(
        &self,
        name: impl AsRef<OsStr>,
        contents: &[u8],
        mode: u32,
    ) -> Result<Pending> {
        let name = component(name.as_ref(), "renameat")?.to_owned();
        let temporary = temporary_name(&name);
        self.write_new(&temporary, contents, mode, |_| Ok(()))?;
        Ok(Pending { name, temporary })
    }

    /// The second half: a rename.
    pub fn put_in_place(&self, pending: Pending) -> Result<()> {
        self.rename_into_place(&pending.temporary, &pending.name)
    }

    /// As [`Self::replace_volatile`], for a name that nobody else writes to at the same time: what a
    /// killed writer leaves has one name, so that the next writer takes it away, and so does
    /// [`Self::remove_with_rest`], without a look at thousands of neighbours.
    pub fn replace_alone(&self, name: impl AsRef<OsStr>, contents: &[u8], mode: u32) -> Result<()> {
        let (name, temporary) = (name.as_ref(), only_temporary_name(name.as_ref()));
        let write = || self.replace_by_rename(name, &temporary, contents, mode, |_| Ok(()));
        match write() {
            Err(error) if error.errno() == Errno::EEXIST => {
                tolerate(self.remove(&temporary), &[Errno::ENOENT])?;
                write()
            }
            written => written,
        }
    }

    /// Removes the file `name`, and before it what a writer of it has left who was killed in
    /// [`Self::replace_alone`].
    pub fn remove_with_rest(&self, name: impl AsRef<OsStr>) -> Result<()> {
        let temporary = only_temporary_name(name.as_ref());
        tolerate(self.remove(temporary), &[Errno::ENOENT])?;
        self.remove(name)
    }

    /// Removes what processes that were killed in [`Self::replace`] and its like have left. Files of a
    /// process that is there stay, whoever that is; where the name tells no process, so do those of
    /// the last minute.
    pub fn remove_abandoned(&self) -> Result<()> {
        for name in self.names()? {
            let abandoned = match writer_of(&name) {
                Some(pid) => has_ended(pid),
                None => is_of_one_writer(&name) && self.is_older(&name, WRITTEN_WITHIN),
            };
            if abandoned {
                tolerate(self.remove(&name), &[Errno::ENOENT])?;
            }
        }
        Ok(())
    }

    fn is_older(&self, name: &OsStr, age: Duration) -> bool {
        let Ok(stat) = self.stat(name) else {
            return false;
        };
        let seconds = u64::try_from(stat.st_mtime).unwrap_or_default();
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        SystemTime::now()
            .duration_since(changed)
            .is_ok_and(|passed| passed > age)
    }

    fn replace_by_rename(
        &self,
        name: &OsStr,
        temporary: &OsStr,
        contents: &[u8],
        mode: u32,
        sync: impl FnOnce(&File) -> std::io::Result<()>,
    ) -> Result<()> {
        let name = component(name, "renameat")?;
        self.write_new(temporary, contents, mode, sync)
            .and_then(|()| self.rename_into_place(temporary, name))
    }

    fn write_new(
        &self,
        temporary: &OsStr,
        contents: &[u8],
        mode: u32,
        sync: impl FnOnce(&File) -> std::io::Result<()>,
    ) -> Result<()> {
        let mut file = self.create_new(temporary, mode)?;
        let written = file.write_all(contents).and_then(|()| sync(&file));
        let written = written.call(|| {
            let (dir, length) = (self.describe(), contents.len());
            format!("write({dir}/{}, {length} bytes)", temporary.display())
        });
        self.or_without(temporary, written)
    }

    fn rename_into_place(&self, temporary: &OsStr, name: &OsStr) -> Result<()> {
        let renamed = renameat(&self.fd, temporary, &self.fd, name).call(|| {
            let dir = self.describe();
            format!("renameat({dir}, {temporary:?}, {dir}, {name:?})")
        });
        self.or_without(temporary, renamed)
    }

    fn or_without(&self, temporary: &OsStr, done: Result<()>) -> Result<()> {
        if done.is_err() {
            // The first error is the one to report.
            let _ = self.remove(temporary);
        }
        done
    }

    /// Adds a line to the end of the file `name`, which is made if need be, in one write.
    pub fn append(&self, name: impl AsRef<OsStr>, line: &[u8], mode: u32) -> Result<()> {
        let flags = OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_NONBLOCK;
        let mut file = File::from(self.openat(name.as_ref(), flags, mode)?);
        let call = || format!("write({}/{})", self.describe(), name.as_ref().display());
        file.write_all(line).call(call)
    }

    /// Opens the file `name` to change it where it is, as a bind mount of it needs; `None` if it
    /// is not there. For directories that others write into: whatever is no plain file with this
    /// one name (a link, a fifo, a second name of a file elsewhere) is `EINVAL`.
    pub fn open_in_place(&self, name: impl AsRef<OsStr>) -> Result<Option<File>> {
        let name = name.as_ref();
        let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK;
        let file = match self.openat(name, flags, 0) {
            Err(error) if error.errno() == Errno::ENOENT => return Ok(None),
            opened => opened?,
        };
        let call = || format!("fstat({}/{})", self.describe(), name.display());
        let stat = nix::sys::stat::fstat(&file).call(call)?;
        let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
        if kind != SFlag::S_IFREG || stat.st_nlink > 1 {
            return Err(SyscallError::new(call(), Errno::EINVAL));
        }
        Ok(Some(file.into()))
    }

    /// Renames `name` to `new`, which must not be a directory with anything in it.
    pub fn rename(&self, name: impl AsRef<OsStr>, new: impl AsRef<OsStr>) -> Result<()> {
        let name = component(name.as_ref(), "renameat")?;
        let new = component(new.as_ref(), "renameat")?;
        renameat(&self.fd, name, &self.fd, new).call(|| {
            format!(
                "renameat({dir}, {name:?}, {dir}, {new:?})",
                dir = self.describe()
            )
        })
    }

    /// Lets `one` and `other` change places in one step: who looks finds the one or the other and
    /// never nothing. `RENAME_EXCHANGE` exists since Linux 3.15; only glibc has a function for it.
    pub fn exchange(&self, one: impl AsRef<OsStr>, other: impl AsRef<OsStr>) -> Result<()> {
        let call = |one: &OsStr, other: &OsStr| {
            format!(
                "renameat2({dir}, {one:?}, {dir}, {other:?}, RENAME_EXCHANGE)",
                dir = self.describe()
            )
        };
        let (one, other) = (one.as_ref(), other.as_ref());
        let name = |name: &OsStr| {
            let name = component(name, "renameat2")?;
            CString::new(name.as_bytes())
                .map_err(|_| SyscallError::new(call(one, other), Errno::EINVAL))
        };
        let (first, second) = (name(one)?, name(other)?);
        let fd = self.fd.as_raw_fd();
        // SAFETY: both names are NUL-terminated and outlive the call, the descriptor is ours.
        let result = unsafe {
            libc::syscall(
                libc::SYS_renameat2,
                fd,
                first.as_ptr(),
                fd,
                second.as_ptr(),
                libc::RENAME_EXCHANGE,
            )
        };
        Errno::result(result).map(drop).call(|| call(one, other))
    }

    /// Removes the file `name`.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> Result<()> {
        self.unlink(name.as_ref(), UnlinkatFlags::NoRemoveDir)
    }

    /// Removes the empty directory `name`.
    pub fn remove_dir(&self, name: impl AsRef<OsStr>) -> Result<()> {
        self.unlink(name.as_ref(), UnlinkatFlags::RemoveDir)
    }

    /// Removes `name` and everything below it; what is already gone is no error.
    ///
    /// Symbolic links are removed, never followed, and nothing outside this directory is reached
    /// even if somebody swaps a directory for a link meanwhile: each level is opened by
    /// descriptor, with `NOFOLLOW`.
    pub fn remove_all(&self, name: impl AsRef<OsStr>) -> Result<()> {
        let name = name.as_ref();
        match self.open_dir(name) {
            Ok(below) => {
                for child in below.names()? {
                    below.remove_all(&child)?;
                }
                tolerate(self.remove_dir(name), &[Errno::ENOENT])
            }
            Err(error) if error.errno() == Errno::ENOENT => Ok(()),
            Err(_) => tolerate(self.remove(name), &[Errno::ENOENT]),
        }
    }

    fn unlink(&self, name: &OsStr, flag: UnlinkatFlags) -> Result<()> {
        let name = component(name, "unlinkat")?;
        unlinkat(&self.fd, name, flag)
            .call(|| format!("unlinkat({}, {name:?}, {flag:?})", self.describe()))
    }

    /// What `name` is, without following it.
    pub fn stat(&self, name: impl AsRef<OsStr>) -> Result<FileStat> {
        let name = component(name.as_ref(), "fstatat")?;
        fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW)
            .call(|| format!("fstatat({}, {name:?})", self.describe()))
    }

    /// What this directory is.
    pub fn stat_self(&self) -> Result<FileStat> {
        nix::sys::stat::fstat(&self.fd).call(|| format!("fstat({})", self.describe()))
    }

    /// The names in this directory, sorted, without `.` and `..`.
    pub fn names(&self) -> Result<Vec<OsString>> {
        let call = || format!("getdents64({})", self.describe());
        let again = openat(
            &self.fd,
            ".",
            OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .call(call)?;
        let mut names = Vec::new();
        for entry in nix::dir::Dir::from_fd(again).call(call)?.iter() {
            let entry = entry.call(call)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Locks the file `name` (created if missing), waiting at most `patience`.
    ///
    /// `EAGAIN` when the time is over. The lock ends with the value, or with the process. The
    /// file stays: removing a lock file races with whoever has just opened it.
    pub fn lock(
        &self,
        name: impl AsRef<OsStr>,
        kind: LockKind,
        patience: Duration,
    ) -> Result<Lock> {
        let flags = OFlag::O_CREAT | OFlag::O_RDWR;
        let file = File::from(self.openat(name.as_ref(), flags, 0o600)?);
        self.lock_file(file, name.as_ref(), kind, patience)
    }

    /// The same, of a file that is there; `ENOENT` if it is not, so that nothing is made in a
    /// directory that somebody is about to remove.
    pub fn lock_existing(
        &self,
        name: impl AsRef<OsStr>,
        kind: LockKind,
        patience: Duration,
    ) -> Result<Lock> {
        let file = File::from(self.openat(name.as_ref(), OFlag::O_RDWR, 0)?);
        self.lock_file(file, name.as_ref(), kind, patience)
    }

    /// Locks the directory itself, as other programs do; `EAGAIN` when the time is over.
    pub fn lock_self(&self, kind: LockKind, patience: Duration) -> Result<Lock> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let again = openat(&self.fd, ".", flags, Mode::empty());
        let file = File::from(again.call(|| format!("openat({}, \".\")", self.describe()))?);
        self.lock_file(file, OsStr::new("."), kind, patience)
    }

    /// As [`Self::lock`], in the kernel's queue of waiters: a thousand of them take turns and none
    /// of them burns time. While this waits there is a second thread, so it is not for programs
    /// that clone themselves. A file that is there need not be writable.
    pub fn lock_in_turn(
        &self,
        name: impl AsRef<OsStr>,
        kind: LockKind,
        patience: Duration,
    ) -> Result<Lock> {
        let name = name.as_ref();
        let file = match self.open_file(name) {
            Err(error) if error.errno() == Errno::ENOENT => {
                File::from(self.openat(name, OFlag::O_CREAT | OFlag::O_RDWR, 0o600)?)
            }
            other => other?,
        };
        let (at_once, in_turn) = match kind {
            LockKind::Exclusive => (LOCK_EX | LOCK_NB, LOCK_EX),
            LockKind::Shared => (LOCK_SH | LOCK_NB, LOCK_SH),
        };
        let call = || format!("flock({}/{}, {kind:?})", self.describe(), name.display());
        let file = match Lock::take(file, at_once) {
            Ok(lock) => return Ok(lock),
            Err((file, Errno::EAGAIN | Errno::EINTR)) => file,
            Err((_, errno)) => return Err(SyscallError::new(call(), errno)),
        };
        let (sender, receiver) = std::sync::mpsc::channel();
        let waiter = move || {
            let mut file = file;
            let lock = loop {
                match Lock::take(file, in_turn) {
                    Err((same, Errno::EINTR)) => file = same,
                    Ok(lock) => break Ok(lock),
                    Err((_, errno)) => break Err(errno),
                }
            };
            // Nobody listens any more when the time is over: then this lets go of the lock again.
            let _ = sender.send(lock);
        };
        let waiting = std::thread::Builder::new().spawn(waiter);
        let taken = match waiting {
            Ok(_) => receiver
                .recv_timeout(patience)
                .unwrap_or(Err(Errno::EAGAIN)),
            Err(_) => Err(Errno::EAGAIN),
        };
        taken.call(call)
    }

    fn lock_file(
        &self,
        mut file: File,
        name: &OsStr,
        kind: LockKind,
        patience: Duration,
    ) -> Result<Lock> {
        let wanted = match kind {
            LockKind::Exclusive => LOCK_EX | LOCK_NB,
            LockKind::Shared => LOCK_SH | LOCK_NB,
        };
        let deadline = Instant::now() + patience;
        loop {
            file = match Lock::take(file, wanted) {
                Ok(lock) => return Ok(lock),
                Err((file, Errno::EAGAIN | Errno::EINTR)) if Instant::now() < deadline => file,
                Err((_, errno)) => {
                    let call = format!("flock({}/{}, {kind:?})", self.describe(), name.display());
                    return Err(SyscallError::new(call, errno));
                }
            };
            std::thread::sleep(LOCK_POLL);
        }
    }

    /// Whether somebody holds the lock file `name` exclusively. A missing one is nobody's, and
    /// is not made.
    pub fn is_locked(&self, name: impl AsRef<OsStr>) -> Result<bool> {
        let file = match self.open_file(name.as_ref()) {
            Err(error) if error.errno() == Errno::ENOENT => return Ok(false),
            other => other?,
        };
        match Lock::take(file, LOCK_SH | LOCK_NB) {
            Ok(_) => Ok(false),
            Err((_, Errno::EAGAIN)) => Ok(true),
            Err((_, errno)) => Err(SyscallError::new(
                format!("flock({:?})", name.as_ref()),
                errno,
            )),
        }
    }

    fn openat(&self, name: &OsStr, flags: OFlag, mode: u32) -> Result<OwnedFd> {
        let name = component(name, "openat")?;
        let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NOCTTY;
        retry(|| openat(&self.fd, name, flags, Mode::from_bits_truncate(mode))).call(|| {
            format!(
                "openat({}, {name:?}, {flags:?}, 0o{mode:o})",
                self.describe()
            )
        })
    }

    fn describe(&self) -> String {
        format!("[{}]<{}>", self.fd.as_raw_fd(), self.path.display())
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Which others a [`Lock`] keeps out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Everybody.
    Exclusive,
    /// Only those who want it exclusively.
    Shared,
}

/// A held `flock(2)`; dropping it lets go.
#[derive(Debug)]
#[must_use = "the lock ends when this value is dropped"]
pub struct Lock(File);

impl Lock {
    /// By one call; a file that could not be locked is given back.
    fn take(file: File, how: libc::c_int) -> std::result::Result<Self, (File, Errno)> {
        match flock(&file, how) {
            Ok(()) => Ok(Self(file)),
            Err(errno) => Err((file, errno)),
        }
    }
}

impl Drop for Lock {
    /// Duplicates let go as well. Where the call fails, closing the file has to do: nix's own guard,
    /// which panics then, would end a runtime in the middle of its work.
    fn drop(&mut self) {
        let _ = retry(|| flock(&self.0, libc::LOCK_UN));
    }
}

/// Reserves disk space for the first `length` bytes of a file, whose length stays: what is written
/// there later meets no full disk. Where the file system cannot do it, nothing is done.
pub fn reserve(file: &File, length: usize) -> Result<()> {
    let offset = libc::off_t::try_from(length).unwrap_or(libc::off_t::MAX);
    match fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, offset) {
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(()),
        reserved => reserved.call(|| format!("fallocate(KEEP_SIZE, {length})")),
    }
}

fn flock(file: &File, how: libc::c_int) -> nix::Result<()> {
    // SAFETY: an open descriptor and an integer.
    Errno::result(unsafe { libc::flock(file.as_raw_fd(), how) }).map(drop)
}

impl AsFd for Lock {
    /// The open file that is locked: who has a duplicate of it holds the lock too, until the value
    /// is dropped, which unlocks the file for all.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whether a path is absolute and has no `..`.
pub fn is_plain(path: &Path) -> bool {
    let is_plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    path.has_root() && path.components().all(is_plain)
}

/// Refuses a name that is not exactly one path component.
fn component<'a>(name: &'a OsStr, call: &str) -> Result<&'a OsStr> {
    let bytes = name.as_bytes();
    let one = !bytes.is_empty() && bytes != b"." && bytes != b".." && !bytes.contains(&b'/');
    if one {
        Ok(name)
    } else {
        Err(SyscallError::new(
            format!("{call}({name:?})"),
            Errno::EINVAL,
        ))
    }
}

/// The process in the name of a file on its way to another, `.NAME.PID.COUNT.tmp`.
fn writer_of(name: &OsStr) -> Option<u32> {
    let rest = name.to_str()?.strip_prefix('.')?.strip_suffix(".tmp")?;
    let (rest, count) = rest.rsplit_once('.')?;
    count.parse::<u32>().ok()?;
    rest.rsplit_once('.')?.1.parse().ok()
}

/// Whether a process is gone, or dead and not waited for: then it has no executable any more.
fn has_ended(pid: u32) -> bool {
    let executable = std::fs::read_link(format!("/proc/{pid}/exe"));
    let errno = executable.err().and_then(|error| error.raw_os_error());
    [Errno::ENOENT, Errno::ESRCH]
        .map(|errno| Some(errno as i32))
        .contains(&errno)
}

/// A name that no other thread or process of ours uses at the same time.
fn temporary_name(name: &OsStr) -> OsString {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let mut temporary = OsString::from(".");
    temporary.push(name);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    temporary.push(format!(".{}.{count}.tmp", std::process::id()));
    temporary
}

/// That of a name with one writer at a time.
fn only_temporary_name(name: &OsStr) -> OsString {
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(".tmp");
    temporary
}

/// Whether [`only_temporary_name`] may have made it.
fn is_of_one_writer(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.len() > "..tmp".len() && name.starts_with(b".") && name.ends_with(b".tmp")
}

fn tolerate(result: Result<()>, expected: &[Errno]) -> Result<()> {
    match result {
        Err(error) if expected.contains(&error.errno()) => Ok(()),
        other => other,
    }
}

/// Calls again whenever a signal came first.
pub(crate) fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_through_a_link_is_refused_with_and_without_openat2() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().canonicalize().unwrap();
        std::fs::create_dir_all(path.join("a/b")).unwrap();
        std::os::unix::fs::symlink("a", path.join("link")).unwrap();
        for nowhere in ["a", "/a/../b"] {
            let refused = Dir::open_without_links(nowhere).unwrap_err();
            assert_eq!(refused.errno(), Errno::EINVAL);
        }
        for open in [
            |path: PathBuf| Dir::open_without_links(path),
            |path: PathBuf| Dir::step_by_step(&path),
        ] {
            let opened = open(path.join("a/b")).unwrap();
            assert_eq!(opened.path(), path.join("a/b"));
            assert!(opened.names().unwrap().is_empty());
            let missing = open(path.join("a/c")).unwrap_err();
            assert_eq!(missing.errno(), Errno::ENOENT);
            for through in ["link/b", "link"] {
                let refused = open(path.join(through)).unwrap_err().errno();
                assert!(
                    matches!(refused, Errno::ELOOP | Errno::ENOTDIR),
                    "{refused}"
                );
            }
        }
    }

    fn temporary() -> (tempfile::TempDir, Dir) {
        let root = tempfile::tempdir().unwrap();
        let dir = Dir::open(root.path()).unwrap();
        (root, dir)
    }

    #[test]
    fn what_killed_writers_have_left_is_removed_and_nothing_else() {
        let (_root, dir) = temporary();
        let mut kept = [
            format!(".mine.{}.0.tmp", std::process::id()),
            ".tmp".to_owned(),
            "a.2000000000.0.tmp".to_owned(),
            ".a.2000000000.x.tmp".to_owned(),
        ];
        for name in kept
            .iter()
            .map(String::as_str)
            .chain([".a.2000000000.0.tmp", ".b.json.2000000000.7.tmp"])
        {
            dir.create_new(name, 0o600).unwrap();
        }
        dir.remove_abandoned().unwrap();
        let mut names = dir.names().unwrap();
        names.sort();
        kept.sort();
        assert_eq!(names, kept.map(OsString::from));
    }

    #[test]
    fn what_the_only_writer_has_left_goes_with_the_file() {
        let (_root, dir) = temporary();
        // Killed, twice.
        dir.create_new(".state.tmp", 0o600).unwrap();
        dir.replace_alone("state", b"one", 0o600).unwrap();
        assert_eq!(dir.read("state", 64).unwrap(), b"one");
        assert_eq!(dir.names().unwrap(), ["state"]);
        dir.create_new(".state.tmp", 0o600).unwrap();
        // Somebody may be writing it.
        dir.remove_abandoned().unwrap();
        assert_eq!(dir.names().unwrap().len(), 2);
        dir.remove_with_rest("state").unwrap();
        assert!(dir.names().unwrap().is_empty());
        let gone = dir.remove_with_rest("state").unwrap_err();
        assert_eq!(gone.errno(), Errno::ENOENT);
        // Of a file that was never there nobody knows the name, but that it is old.
        let file = dir.create_new(".other.json.tmp", 0o600).unwrap();
        file.set_modified(SystemTime::now() - WRITTEN_WITHIN * 2)
            .unwrap();
        dir.remove_abandoned().unwrap();
        assert!(dir.names().unwrap().is_empty());
    }

    #[test]
    fn a_lock_that_is_not_there_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Dir::open(dir.path()).unwrap();
        let existing = || dir.lock_existing("lock", LockKind::Exclusive, Duration::ZERO);
        assert_eq!(existing().unwrap_err().errno(), Errno::ENOENT);
        assert!(dir.names().unwrap().is_empty());
        drop(
            dir.lock("lock", LockKind::Exclusive, Duration::ZERO)
                .unwrap(),
        );
        let held = existing().unwrap();
        assert_eq!(existing().unwrap_err().errno(), Errno::EAGAIN);
        drop(held);
    }

    #[test]
    fn a_name_is_one_component() {
        let (_root, dir) = temporary();
        for name in ["", ".", "..", "a/b", "/etc/passwd", "../x"] {
            assert_eq!(
                dir.create_new(name, 0o600).unwrap_err().errno(),
                Errno::EINVAL,
                "{name:?}"
            );
            assert_eq!(
                dir.replace(name, b"x", 0o600).unwrap_err().errno(),
                Errno::EINVAL
            );
            assert_eq!(
                dir.remove_all(name).unwrap_err().errno(),
                Errno::EINVAL,
                "{name:?}"
            );
        }
    }

    #[test]
    fn a_second_claim_is_refused() {
        let (_root, dir) = temporary();
        dir.create_new("claim", 0o600).unwrap();
        assert_eq!(
            dir.create_new("claim", 0o600).unwrap_err().errno(),
            Errno::EEXIST
        );
        dir.create_dir("box", 0o700).unwrap();
        assert_eq!(
            dir.create_dir("box", 0o700).unwrap_err().errno(),
            Errno::EEXIST
        );
    }

    #[test]
    fn replace_leaves_no_temporary_file() {
        let (_root, dir) = temporary();
        dir.replace("state", b"one", 0o600).unwrap();
        dir.replace("state", b"two", 0o600).unwrap();
        assert_eq!(dir.read("state", 64).unwrap(), b"two");
        assert_eq!(dir.names().unwrap(), ["state"]);
    }

    #[test]
    fn a_failed_replace_keeps_the_old_contents_and_nothing_else() {
        let (_root, dir) = temporary();
        dir.create_dir("state", 0o700).unwrap();
        dir.open_dir("state")
            .unwrap()
            .replace("inner", b"x", 0o600)
            .unwrap();
        assert!(
            dir.replace("state", b"one", 0o600).is_err(),
            "a file cannot replace a directory"
        );
        assert_eq!(dir.names().unwrap(), ["state"]);
    }

    #[test]
    fn what_is_pending_is_not_seen_before_it_is_in_place() {
        let (_root, dir) = temporary();
        dir.replace("state", b"one", 0o600).unwrap();
        let pending = dir.write_pending("state", b"two", 0o600).unwrap();
        assert_eq!(dir.read("state", 10).unwrap(), b"one");
        dir.put_in_place(pending).unwrap();
        assert_eq!(dir.read("state", 10).unwrap(), b"two");
        assert_eq!(dir.names().unwrap(), ["state"]);
        let error = dir.write_pending("../state", b"", 0o600).unwrap_err();
        assert_eq!(error.errno(), Errno::EINVAL);
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let (root, dir) = temporary();
        std::os::unix::fs::symlink("/etc/hostname", root.path().join("link")).unwrap();
        assert_eq!(dir.open_file("link").unwrap_err().errno(), Errno::ELOOP);
    }

    #[test]
    fn remove_all_removes_a_link_and_not_its_target() {
        let (root, dir) = temporary();
        let (target, inside) = temporary();
        inside.replace("precious", b"x", 0o600).unwrap();
        dir.create_dir("tree", 0o700).unwrap();
        std::os::unix::fs::symlink(target.path(), root.path().join("tree/link")).unwrap();
        dir.remove_all("tree").unwrap();
        assert!(dir.names().unwrap().is_empty());
        assert_eq!(inside.names().unwrap(), ["precious"]);
        dir.remove_all("tree").expect("what is gone is no error");
    }

    #[test]
    fn read_refuses_more_than_its_limit() {
        let (_root, dir) = temporary();
        dir.replace("big", &[b'x'; 65], 0o600).unwrap();
        assert_eq!(dir.read("big", 64).unwrap_err().errno(), Errno::EFBIG);
        assert_eq!(dir.read("big", 65).unwrap().len(), 65);
    }

    #[test]
    fn a_lock_is_waited_for_in_turn_and_not_for_ever() {
        let (_temporary, dir) = temporary();
        let in_turn = |patience| dir.lock_in_turn("lock", LockKind::Exclusive, patience);
        let first = in_turn(Duration::ZERO).unwrap();
        let late = in_turn(Duration::from_millis(50)).unwrap_err();
        assert_eq!(late.errno(), Errno::EAGAIN);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| in_turn(Duration::from_secs(30)).map(drop));
            std::thread::sleep(Duration::from_millis(50));
            drop(first);
            second.join().unwrap().unwrap();
        });
        // Who gave up has let go too.
        drop(in_turn(Duration::from_secs(30)).unwrap());
    }

    #[test]
    fn an_exclusive_lock_keeps_others_out_until_dropped() {
        let (_root, dir) = temporary();
        let held = dir
            .lock("lock", LockKind::Exclusive, Duration::ZERO)
            .unwrap();
        let refused = dir
            .lock("lock", LockKind::Shared, Duration::from_millis(10))
            .unwrap_err();
        assert_eq!(refused.errno(), Errno::EAGAIN);
        drop(held);
        let _one = dir.lock("lock", LockKind::Shared, Duration::ZERO).unwrap();
        let _two = dir.lock("lock", LockKind::Shared, Duration::ZERO).unwrap();
    }
}
