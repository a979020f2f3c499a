//! Mounts by file descriptor: open_tree(2), fsopen(2), move_mount(2), mount_setattr(2),
//! pivot_root(2).
//!
//! A mount made here is detached until [`move_mount`] puts it on a descriptor, so no path of a
//! container is ever resolved twice. The calls exist since Linux 5.2, `mount_setattr` since 5.12;
//! where one is missing, `staging` does the same with mount(2), once [`prepare`] was called.

use std::ffi::{CStr, CString};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, open, openat};
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;
use nix::unistd::fchdir;

use crate::error::{Result, SyscallError, SyscallResult};
use crate::staging;

/// Attributes of one mount, with the kernel's `MOUNT_ATTR_*` values (mount_setattr(2)).
pub mod attr {
    /// Read-only.
    pub const RDONLY: u64 = 0x1;
    /// Set-user-id bits and file capabilities have no effect.
    pub const NOSUID: u64 = 0x2;
    /// Device nodes cannot be opened.
    pub const NODEV: u64 = 0x4;
    /// Programs cannot be executed.
    pub const NOEXEC: u64 = 0x8;
    /// All bits of the access-time setting; to change it, clear these first.
    pub const ATIME_MASK: u64 = 0x70;
    /// Access times are updated as `relatime` says. The value is zero.
    pub const RELATIME: u64 = 0x0;
    /// Access times are not updated.
    pub const NOATIME: u64 = 0x10;
    /// Access times are always updated.
    pub const STRICTATIME: u64 = 0x20;
    /// Access times of directories are not updated.
    pub const NODIRATIME: u64 = 0x80;
    /// The mount maps ids as the given user namespace does.
    pub const IDMAP: u64 = 0x10_0000;
    /// Symbolic links are not followed (Linux 5.10).
    pub const NOSYMFOLLOW: u64 = 0x20_0000;
}

/// What [`mount_setattr`] changes; the kernel's `struct mount_attr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountAttr {
    /// Attributes to set, from [`attr`].
    pub set: u64,
    /// Attributes to clear first, from [`attr`].
    pub clear: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`, or 0 to leave it.
    pub propagation: u64,
    /// The user namespace for [`attr::IDMAP`], as a descriptor number; else 0.
    pub userns_fd: u64,
}

impl MountAttr {
    /// Only a propagation: `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE` or `MS_UNBINDABLE`.
    #[allow(
        clippy::unnecessary_cast,
        reason = "the flags are a long, which has 32 bits on some machines"
    )]
    pub fn propagating(flags: MsFlags) -> Self {
        Self {
            propagation: flags.bits() as u64,
            ..Self::default()
        }
    }
}

/// How far a call reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// This mount alone.
    One,
    /// This mount and all below it.
    Recursive,
}

impl Reach {
    fn at_flag(self) -> libc::c_int {
        match self {
            Self::One => 0,
            Self::Recursive => AT_RECURSIVE,
        }
    }
}

const AT_RECURSIVE: libc::c_int = 0x8000;
const OPEN_TREE_CLONE: libc::c_int = 1;
const OPEN_TREE_CLOEXEC: libc::c_int = libc::O_CLOEXEC;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: libc::c_uint = 0x40;
const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_SET_FLAG: libc::c_uint = 0;
const FSCONFIG_SET_STRING: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;

/// Gets ready for kernels and sandboxes that lack one of these calls; else does nothing.
///
/// `place` is a directory that something is about to be mounted on for good, in a mount
/// namespace of this process's own.
pub fn prepare(place: &Path) -> Result<()> {
    let missing = |number: libc::c_long| {
        // SAFETY: invalid on purpose: no descriptor, no pointer and no size is ever looked at
        // before one of them is refused.
        let result = unsafe { libc::syscall(number, -1, std::ptr::null::<u8>(), -1, 0, 0) };
        result < 0 && Errno::last() == Errno::ENOSYS
    };
    let calls = [
        libc::SYS_mount_setattr,
        libc::SYS_open_tree,
        libc::SYS_move_mount,
        libc::SYS_fsopen,
    ];
    if calls.into_iter().any(missing) {
        return staging::make(place);
    }
    Ok(())
}

/// Whether the kernel, or a sandbox around us, does not know the call at all.
fn is_missing<T>(result: &nix::Result<T>) -> bool {
    matches!(result, Err(Errno::ENOSYS))
}

/// Turns the result of a raw system call into an errno.
fn checked(result: libc::c_long) -> nix::Result<libc::c_long> {
    Errno::result(result)
}

/// Owns a descriptor number that the kernel has just handed out.
fn owned(result: libc::c_long) -> OwnedFd {
    // SAFETY: the callers pass the successful return value of a system call that makes a new
    // descriptor, so it is open, fits a RawFd, and nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(result as RawFd) }
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| SyscallError::new(format!("mount({text:?})"), Errno::EINVAL))
}

/// A detached copy of the mount at `source` (and with [`Reach::Recursive`] of those below).
///
/// `open_tree(source, "", OPEN_TREE_CLONE | AT_EMPTY_PATH)`.
pub fn open_tree_clone(source: impl AsFd, reach: Reach) -> Result<OwnedFd> {
    if staging::is_made() {
        return staging::bind(source, reach);
    }
    let fd = source.as_fd().as_raw_fd();
    let flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH | reach.at_flag();
    // SAFETY: the path is a NUL-terminated constant, the descriptor is borrowed for the call.
    let result = unsafe { libc::syscall(libc::SYS_open_tree, fd, c"".as_ptr(), flags) };
    checked(result)
        .map(owned)
        .call(|| format!("open_tree({fd}, \"\", OPEN_TREE_CLONE|AT_EMPTY_PATH, {reach:?})"))
}

/// The same of what is at `path`, for a source that no container can change: one call instead of three.
pub fn open_tree_clone_at(path: &Path, reach: Reach) -> Result<OwnedFd> {
    if staging::is_made() {
        let place = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
            .call(|| format!("open({path:?}, O_PATH)"))?;
        return staging::bind(place, reach);
    }
    let flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | reach.at_flag();
    let opened = path.with_nix_path(|path| {
        // SAFETY: the path is NUL-terminated and outlives the call.
        checked(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })
    });
    opened
        .and_then(|result| result)
        .map(owned)
        .call(|| format!("open_tree({path:?}, OPEN_TREE_CLONE, {reach:?})"))
}

/// move_mount(2) of the mount that `from` itself is.
fn move_mount_raw(
    from: RawFd,
    to: RawFd,
    path: &CStr,
    flags: libc::c_uint,
) -> nix::Result<libc::c_long> {
    let empty = c"".as_ptr();
    // SAFETY: both paths are NUL-terminated and outlive the call; the callers borrow both descriptors.
    checked(unsafe { libc::syscall(libc::SYS_move_mount, from, empty, to, path.as_ptr(), flags) })
}

/// Puts the detached mount `mount` onto the directory `name` in `directory`, of which `name` must be one
/// component: a symbolic link in its place is not followed.
pub fn move_mount_into(mount: impl AsFd, directory: impl AsFd, name: &str) -> Result<()> {
    let (from, into) = (mount.as_fd().as_raw_fd(), directory.as_fd().as_raw_fd());
    let call = || format!("move_mount({from}, \"\", {into}, {name:?})");
    let to = c_string(name)?;
    if name.contains('/') || name == ".." {
        return Err(SyscallError::new(call(), Errno::EINVAL));
    }
    let result = move_mount_raw(from, into, &to, MOVE_MOUNT_F_EMPTY_PATH);
    if is_missing(&result) {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let target = openat(&directory, name, flags, Mode::empty())
            .call(|| format!("openat({into}, {name:?})"))?;
        return staging::move_to(mount, target);
    }
    result.map(drop).call(call)
}

/// Puts the detached mount `mount` (or moves an attached one) onto the open file `target`.
pub fn move_mount(mount: impl AsFd, target: impl AsFd) -> Result<()> {
    let (from, to) = (mount.as_fd().as_raw_fd(), target.as_fd().as_raw_fd());
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    let result = move_mount_raw(from, to, c"", flags);
    if is_missing(&result) {
        return staging::move_to(mount, target);
    }
    result
        .map(drop)
        .call(|| format!("move_mount({from}, \"\", {to}, \"\")"))
}

/// Changes the attributes of the mount that `mount` is open on.
pub fn mount_setattr(mount: impl AsFd, attr: MountAttr, reach: Reach) -> Result<()> {
    let fd = mount.as_fd().as_raw_fd();
    let flags = libc::AT_EMPTY_PATH | reach.at_flag();
    // SAFETY: `attr` is a live `struct mount_attr` of the size given; the path is a constant.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd,
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    let result = checked(result);
    if is_missing(&result) {
        return staging::set_attributes(mount, attr, reach);
    }
    result
        .map(drop)
        .call(|| format!("mount_setattr({fd}, {attr:x?}, {reach:?})"))
}

/// Sets the propagation (`MS_PRIVATE`, `MS_SLAVE`, ...) of the mount at `path`.
pub fn set_propagation(path: &Path, flags: MsFlags) -> Result<()> {
    nix::mount::mount(None::<&str>, path, None::<&str>, flags, None::<&str>)
        .call(|| format!("mount(NULL, {path:?}, NULL, {flags:?})"))
}

/// Does `body` in a mount namespace of its own, which learns of what is mounted elsewhere and passes
/// nothing back; then this process is where it was.
///
/// What `body` mounts is seen by the processes that it starts, and by nobody else; what it opens
/// belongs to that namespace for ever. Should there be no way back, this process ends: whatever
/// it did next would happen in the wrong place.
pub fn in_private_namespace<T>(body: impl FnOnce() -> T) -> Result<T> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let home = open("/proc/self/ns/mnt", flags, Mode::empty())
        .call(|| "open(\"/proc/self/ns/mnt\")".into())?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory =
        |path: &str| open(path, flags, Mode::empty()).call(|| format!("open({path:?}, O_PATH)"));
    let (root, current) = (directory("/")?, directory(".")?);
    let here = CloneFlags::CLONE_NEWNS;
    unshare(here).call(|| "unshare(CLONE_NEWNS)".into())?;
    let private = set_propagation(Path::new("/"), MsFlags::MS_SLAVE | MsFlags::MS_REC);
    let outcome = private.map(|()| body());
    // setns(2): it sets the root and the current directory too.
    let back = setns(&home, here)
        .and_then(|()| fchdir(&root))
        .and_then(|()| nix::unistd::chroot("."))
        .and_then(|()| fchdir(&current));
    if back.is_err() {
        crate::process::exit_now(1);
    }
    outcome
}

/// A file system being configured: fsopen(2), then options, then [`FsContext::mount`].
#[derive(Debug)]
pub struct FsContext {
    way: Way,
    fs_type: String,
}

#[derive(Debug)]
enum Way {
    /// The configuration is the kernel's.
    Kernel(OwnedFd),
    /// No fsopen(2): the options wait for one mount(2).
    Collected(Vec<(String, Option<String>)>),
}

impl FsContext {
    /// Starts a new instance of the file system `fs_type`; `ENODEV` if the kernel lacks it.
    pub fn open(fs_type: &str) -> Result<Self> {
        let fs_type = fs_type.to_owned();
        if staging::is_made() {
            let way = Way::Collected(Vec::new());
            return Ok(Self { way, fs_type });
        }
        let name = c_string(&fs_type)?;
        // SAFETY: `name` is NUL-terminated and outlives the call.
        let result = unsafe { libc::syscall(libc::SYS_fsopen, name.as_ptr(), FSOPEN_CLOEXEC) };
        let fd = checked(result)
            .map(owned)
            .call(|| format!("fsopen({fs_type:?})"))?;
        let way = Way::Kernel(fd);
        Ok(Self { way, fs_type })
    }

    /// Sets an option: `key=value`, or `key` alone.
    pub fn set(&mut self, key: &str, value: Option<&str>) -> Result<()> {
        if let Way::Collected(options) = &mut self.way {
            options.push((key.to_owned(), value.map(str::to_owned)));
            return Ok(());
        }
        // fsconfig(2) has no word for MS_I_VERSION. File systems that count versions do so unasked
        // wherever there is an fsconfig to use, but for ext4 before Linux 6.1.
        if (key, value) == ("iversion", None) {
            return Ok(());
        }
        let command = if value.is_some() {
            FSCONFIG_SET_STRING
        } else {
            FSCONFIG_SET_FLAG
        };
        self.config(command, Some(key), value)
    }

    fn config(&self, command: libc::c_uint, key: Option<&str>, value: Option<&str>) -> Result<()> {
        let Way::Kernel(fd) = &self.way else {
            return Ok(());
        };
        let (key_c, value_c) = (
            key.map(c_string).transpose()?,
            value.map(c_string).transpose()?,
        );
        let pointer =
            |text: &Option<CString>| text.as_ref().map_or(std::ptr::null(), |t| t.as_ptr());
        // SAFETY: key and value are NULL or NUL-terminated strings that live past the call, and
        // the three commands used here take exactly those (fsconfig(2)).
        let result = unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                fd.as_raw_fd(),
                command,
                pointer(&key_c),
                pointer(&value_c),
                0,
            )
        };
        checked(result).map(drop).map_err(|errno| {
            let what = match (key, value) {
                (Some(key), Some(value)) => format!("{key}={value}"),
                (Some(key), None) => key.to_owned(),
                (None, _) => "CMD_CREATE".to_owned(),
            };
            self.explained(&format!("fsconfig({:?}, {what})", self.fs_type), errno)
        })
    }

    /// Makes the superblock and a detached mount of it with the attributes of [`attr`].
    pub fn mount(self, attributes: u64) -> Result<OwnedFd> {
        let fd = match &self.way {
            Way::Kernel(fd) => fd.as_raw_fd(),
            Way::Collected(options) => {
                return staging::file_system(&self.fs_type, options, attributes);
            }
        };
        self.config(FSCONFIG_CMD_CREATE, None, None)?;
        // SAFETY: only integers are passed.
        let result =
            unsafe { libc::syscall(libc::SYS_fsmount, fd, FSMOUNT_CLOEXEC, attributes as u32) };
        checked(result).map(owned).map_err(|e| {
            self.explained(&format!("fsmount({:?}, {attributes:#x})", self.fs_type), e)
        })
    }

    /// Adds what the file system itself says of the error, which the errno alone hides.
    fn explained(&self, call: &str, errno: Errno) -> SyscallError {
        let mut said = Vec::new();
        if let Way::Kernel(fd) = &self.way
            && let Ok(fd) = fd.try_clone()
        {
            let mut log = std::fs::File::from(fd);
            let mut line = [0; 512];
            // Each read gives one message, "e " before an error; ENODATA ends them.
            while let Ok(length @ 3..) = log.read(&mut line) {
                said.push(String::from_utf8_lossy(&line[2..length]).trim().to_owned());
            }
        }
        let call = if said.is_empty() {
            call.into()
        } else {
            format!("{call} [{}]", said.join("; "))
        };
        SyscallError::new(call, errno)
    }
}

/// What the mounts of an old root have with those of the host, to whom their unmounting must not be
/// passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldRoot {
    /// They are slaves, or private.
    Apart,
    /// They are shared, and are made slaves first: a walk through all of them.
    Shared,
}

/// Makes the mount that `root` is open on the root of this mount namespace and drops the old one.
///
/// `pivot_root(".", ".")` stacks the old root over the new one at the same place, so that no
/// directory of the container is needed for it (pivot_root(2), "pivot_root(".", ".")").
pub fn pivot_into(root: BorrowedFd<'_>, old_root: OldRoot) -> Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let old = openat(AT_FDCWD, "/", flags, Mode::empty()).call(|| "open(\"/\", O_PATH)".into())?;
    fchdir(root).call(|| "fchdir(rootfs)".into())?;
    nix::unistd::pivot_root(".", ".").call(|| "pivot_root(\".\", \".\")".into())?;
    fchdir(&old).call(|| "fchdir(old root)".into())?;
    if old_root == OldRoot::Shared {
        set_propagation(Path::new("."), MsFlags::MS_SLAVE | MsFlags::MS_REC)?;
    }
    umount2(".", MntFlags::MNT_DETACH).call(|| "umount2(\".\", MNT_DETACH)".into())?;
    nix::unistd::chdir("/").call(|| "chdir(\"/\")".into())
}

/// Moves the mount that `root` is open on over `/` and changes the root to it.
///
/// For `--no-pivot` on an initramfs, whose root cannot be pivoted.
pub fn move_root_and_chroot(root: BorrowedFd<'_>) -> Result<()> {
    fchdir(root).call(|| "fchdir(rootfs)".into())?;
    nix::mount::mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)
        .call(|| "mount(\".\", \"/\", MS_MOVE)".into())?;
    nix::unistd::chroot(".").call(|| "chroot(\".\")".into())?;
    nix::unistd::chdir("/").call(|| "chdir(\"/\")".into())
}

/// Detaches the mount at `path`.
pub fn detach(path: &Path) -> Result<()> {
    umount2(path, MntFlags::MNT_DETACH).call(|| format!("umount2({path:?}, MNT_DETACH)"))
}
