//! Processes: clone3(2), pidfds, waiting, limits, and what a process says about itself.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, SFlag};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use crate::error::{Result, SyscallError, SyscallResult};

const CLONE_PIDFD: u64 = 0x1000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// `CLONE_PARENT`: the child's parent is the caller's parent (clone(2)).
pub const CLONE_PARENT: u64 = 0x8000;
/// `CLONE_NEWTIME`: the children are in a new time namespace (Linux 5.6).
pub const CLONE_NEWTIME: u64 = 0x80;

/// What the child of [`clone3`] is like.
#[derive(Clone, Copy, Debug, Default)]
pub struct CloneArgs<'a> {
    /// `CLONE_NEW*` and [`CLONE_PARENT`].
    pub flags: u64,
    /// The v2 cgroup that the child is born in (Linux 5.7), without a move and its locks.
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// Which side of [`clone3`] returned.
#[derive(Debug)]
pub enum Cloned {
    /// The caller; `pid` is the child's in the caller's pid namespace.
    Parent {
        /// The child.
        pid: Pid,
        /// The child, safe against reuse of its number.
        pidfd: OwnedFd,
    },
    /// The child.
    Child,
}

#[repr(C)]
#[derive(Default)]
struct KernelCloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Of one thread `unshare(CLONE_THREAD)` asks nothing, and to any other it is `EINVAL` (unshare(2)).
/// A filter around us may refuse even to be asked; then the kernel's list of threads tells.
fn has_a_second_thread() -> bool {
    // SAFETY: an integer, and no memory.
    match Errno::result(unsafe { libc::unshare(libc::CLONE_THREAD) }) {
        Ok(_) => false,
        Err(Errno::EINVAL) => true,
        Err(_) => {
            let threads = std::fs::read_dir("/proc/self/task").map(Iterator::count);
            threads.is_ok_and(|count| count != 1)
        }
    }
}

/// Forks with namespaces: the child returns [`Cloned::Child`] on a copy of the caller's stack.
///
/// Refused with `EBUSY` in a process that has a second thread: the child would inherit
/// locks that nobody lets go of. A thread that was joined a moment ago may still count.
/// `SIGCHLD` is sent to the parent when the child ends.
pub fn clone3(args: CloneArgs<'_>) -> Result<Cloned> {
    let describe = || format!("clone3({:#x}, cgroup={:?})", args.flags, args.cgroup);
    if has_a_second_thread() {
        let call = format!("{} in a process with a second thread", describe());
        return Err(SyscallError::new(call, Errno::EBUSY));
    }
    let mut pidfd: RawFd = -1;
    let mut kernel = KernelCloneArgs {
        flags: args.flags | CLONE_PIDFD,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..KernelCloneArgs::default()
    };
    if args.flags & CLONE_PARENT != 0 {
        // The kernel takes the exit signal of the caller then, and refuses another (clone(2)).
        kernel.exit_signal = 0;
    }
    if let Some(cgroup) = args.cgroup {
        kernel.flags |= CLONE_INTO_CGROUP;
        kernel.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: no CLONE_VM, so the child has its own copy of all memory; the process is
    // single-threaded (checked above), so no lock is held by a thread that the child lacks; the
    // struct is the kernel's `struct clone_args` of the size given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut kernel,
            size_of::<KernelCloneArgs>(),
        )
    };
    let result = match Errno::result(result) {
        // No clone3(2), or (E2BIG) one that cannot put the child into a cgroup, before Linux 5.7.
        Err(Errno::ENOSYS | Errno::E2BIG) => clone2(&args, &mut pidfd)?,
        other => other.call(describe)?,
    };
    match result {
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: CLONE_PIDFD stored a new descriptor that only we know.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent {
                pid: Pid::from_raw(pid as libc::pid_t),
                pidfd,
            })
        }
    }
}

/// clone(2), which every kernel has: the child joins its cgroup as its first act.
fn clone2(args: &CloneArgs<'_>, pidfd: &mut RawFd) -> Result<libc::c_long> {
    let describe = || format!("clone({:#x})", args.flags);
    if args.flags & CLONE_NEWTIME != 0 {
        // The bit means something else to clone(2).
        return Err(SyscallError::new(describe(), Errno::ENOSYS));
    }
    // Opened by the parent: in a new user namespace the child has no right to.
    let join = args.cgroup.map(|cgroup| {
        let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        openat(cgroup, "cgroup.procs", flags, Mode::empty())
            .call(|| "openat(cgroup, \"cgroup.procs\", O_WRONLY)".into())
    });
    let join = join.transpose()?;
    let signal = if args.flags & CLONE_PARENT != 0 {
        0
    } else {
        libc::SIGCHLD as u64
    };
    let flags = (args.flags | CLONE_PIDFD | signal) as libc::c_ulong;
    let (stack, none, pidfd) = (0 as libc::c_ulong, 0 as libc::c_ulong, &raw mut *pidfd);
    // SAFETY: as in `clone3`; a zero stack means a copy of the caller's. The unused arguments
    // after `pidfd` are zero, in whichever order the architecture has them.
    #[cfg(not(target_arch = "s390x"))]
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, stack, pidfd, none, none) };
    // SAFETY: the same, with the first two in the order of s390.
    #[cfg(target_arch = "s390x")]
    let result = unsafe { libc::syscall(libc::SYS_clone, stack, flags, pidfd, none, none) };
    let born = Errno::result(result).call(describe)?;
    if let (0, Some(procs)) = (born, join)
        && nix::unistd::write(&procs, b"0").is_err()
    {
        // Nothing of it may run outside of its limits; the parent sees it end.
        exit_now(1);
    }
    Ok(born)
}

/// A descriptor of the process `pid`; `ESRCH` if there is none (pidfd_open(2), Linux 5.3).
///
/// Where the call is missing it is the directory `/proc/<pid>`, which pidfd_send_signal(2) takes
/// as well; poll(2) does not, so wait with [`wait_for_exit`].
pub fn pidfd_open(pid: Pid) -> Result<OwnedFd> {
    // SAFETY: only integers are passed.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    match Errno::result(result) {
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(fd) => Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }),
        Err(Errno::ENOSYS) => {
            let path = format!("/proc/{pid}");
            let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let opened = nix::fcntl::open(path.as_str(), flags, Mode::empty());
            let gone = |errno| {
                if errno == Errno::ENOENT {
                    Errno::ESRCH
                } else {
                    errno
                }
            };
            opened.map_err(gone).call(|| format!("open({path:?})"))
        }
        // So says the kernel (before 6.15 the first) of a number that leads no thread group: that of
        // a thread, and that of a process which is reaped while the call looks it up.
        Err(Errno::EINVAL | Errno::ENOENT) => Err(SyscallError::new(
            format!("pidfd_open({pid})"),
            Errno::ESRCH,
        )),
        Err(errno) => Err(SyscallError::new(format!("pidfd_open({pid})"), errno)),
    }
}

/// Whether the end of the process can be polled for: not with a directory of procfs.
pub(crate) fn is_pollable(pidfd: impl AsFd) -> bool {
    !matches!(crate::root::kind(pidfd), Ok(SFlag::S_IFDIR))
}

/// A copy of descriptor `number` of another process (pidfd_getfd(2), Linux 5.6). `EPERM` unless
/// the caller may trace it.
pub fn pidfd_getfd(pidfd: impl AsFd, number: RawFd) -> Result<OwnedFd> {
    let fd = pidfd.as_fd().as_raw_fd();
    // SAFETY: only integers are passed.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_getfd, fd, number, 0) };
    let copy = Errno::result(result).call(|| format!("pidfd_getfd({fd}, {number}, 0)"))?;
    // SAFETY: the kernel has just made this descriptor for us, close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(copy as RawFd) })
}

/// Sends a signal to exactly that process; `ESRCH` if it has ended and was reaped.
pub fn pidfd_send_signal(pidfd: impl AsFd, signal: i32) -> Result<()> {
    let fd = pidfd.as_fd().as_raw_fd();
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a NULL siginfo means "as kill(2) does".
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, none, 0) };
    match Errno::result(result) {
        // Only a sandbox hides it; every kernel that we run on has the call.
        Err(Errno::ENOSYS) => kill_by_number(&pidfd, signal),
        result => result
            .map(drop)
            .call(|| format!("pidfd_send_signal({fd}, {signal})")),
    }
}

/// kill(2), asking the descriptor for the number as late as can be.
fn kill_by_number(pidfd: impl AsFd, signal: i32) -> Result<()> {
    let fd = pidfd.as_fd().as_raw_fd();
    let number = if is_pollable(&pidfd) {
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Pid:"));
        line.and_then(|pid| pid.trim().parse::<i32>().ok())
    } else {
        let path = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
        let name = path
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok());
        // The directory of a process that is gone stays empty, whoever has its number now.
        name.filter(|_| state(&pidfd).is_some())
    };
    let call = || format!("kill({number:?}, {signal})");
    let Some(pid) = number.filter(|&pid| pid > 0) else {
        return Err(SyscallError::new(call(), Errno::ESRCH));
    };
    // SAFETY: only integers are passed.
    Errno::result(unsafe { libc::kill(pid, signal) })
        .map(drop)
        .call(call)
}

/// The state letter of the process whose directory of procfs this is; `None` once it is reaped.
fn state(directory: impl AsFd) -> Option<u8> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let stat = openat(directory.as_fd(), "stat", flags, Mode::empty()).ok()?;
    let mut text = [0; 512];
    let length = nix::unistd::read(&stat, &mut text).ok()?;
    // The second field is the program's name in parentheses, which may hold anything.
    let end = text[..length].iter().rposition(|&byte| byte == b')')?;
    text.get(end + 2).copied()
}

/// Waits until the process has ended, at most `patience`; false when the time is over.
pub fn wait_for_exit(pidfd: impl AsFd, patience: Duration) -> Result<bool> {
    let deadline = Instant::now() + patience;
    if !is_pollable(&pidfd) {
        while !matches!(state(&pidfd), None | Some(b'Z' | b'X')) {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        return Ok(true);
    }
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(0) if Instant::now() >= deadline => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(SyscallError::new("poll(pidfd)", errno)),
        }
    }
}

/// Waits until the child has ended, at most `patience`, and reaps it; `None` when the time is
/// over: one in a system call that cannot be interrupted does not die, whatever it is sent.
pub fn reap(pid: Pid, pidfd: impl AsFd, patience: Duration) -> Result<Option<WaitStatus>> {
    if !wait_for_exit(pidfd, patience)? {
        return Ok(None);
    }
    let status = nix::sys::wait::waitpid(pid, None);
    status.map(Some).call(|| format!("wait4({pid})"))
}

/// What a child that has ended used, with the children that it waited for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Time on processors, in user programs and in the kernel.
    pub cpu: Duration,
    /// The largest resident set, in bytes. It begins with that of whoever spawned the child.
    pub peak: u64,
}

/// Waits for the child `pid`, reaps it, and tells what it used.
pub fn reap_with_usage(pid: u32) -> Result<(ExitStatus, Usage)> {
    let mut status = 0;
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: both places are ours and large enough for what the kernel writes there.
        let ended =
            unsafe { libc::wait4(pid as libc::pid_t, &raw mut status, 0, usage.as_mut_ptr()) };
        match Errno::result(ended) {
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(SyscallError::new(format!("wait4({pid})"), errno)),
        }
    }
    // SAFETY: all zeroes is a value of this type, and the kernel has filled it.
    let usage = unsafe { usage.assume_init() };
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
    };
    let usage = Usage {
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
        peak: usage.ru_maxrss as u64 * 1024,
    };
    Ok((ExitStatus::from_raw(status), usage))
}

/// `struct pidfd_info` of `<linux/pidfd.h>` in its first version.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

const PIDFD_INFO_EXIT: u64 = 1 << 3;

fn pidfd_info(pidfd: impl AsFd, mask: u64) -> Result<PidfdInfo> {
    let mut info = PidfdInfo {
        mask,
        ..PidfdInfo::default()
    };
    let fd = pidfd.as_fd().as_raw_fd();
    let request = nix::request_code_readwrite!(0xff, 11, size_of::<PidfdInfo>());
    // SAFETY: the structure lives past the call and has the size that the request names.
    let result = unsafe { libc::ioctl(fd, request as _, &raw mut info) };
    Errno::result(result).call(|| format!("ioctl({fd}, PIDFD_GET_INFO, {mask:#x})"))?;
    Ok(info)
}

/// The wait(2) status of a process that was reaped while `pidfd` was open (Linux 6.15); `None` as
/// long as it was not.
pub fn exit_info(pidfd: impl AsFd) -> Result<Option<i32>> {
    let info = pidfd_info(pidfd, PIDFD_INFO_EXIT)?;
    Ok((info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code))
}

/// Whether [`exit_info`] will tell something when the process, which runs, was reaped.
pub fn tells_exit_info(pidfd: impl AsFd) -> bool {
    // Linux 6.13 and 6.14 have the call without the status.
    exit_info(pidfd).is_ok() && kernel_is_at_least(6, 15)
}

fn kernel_is_at_least(major: u32, minor: u32) -> bool {
    let Ok(name) = nix::sys::utsname::uname() else {
        return false;
    };
    let release = name.release().to_string_lossy();
    let mut numbers = release
        .split(['.', '-'])
        .map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}

/// Moves the calling process into `namespace`, checking that it is of the type `kind`, a
/// `CLONE_NEW*` value; `EINVAL` if it is of another (setns(2)).
pub fn setns_raw(namespace: impl AsFd, kind: u64) -> Result<()> {
    let fd = namespace.as_fd().as_raw_fd();
    // SAFETY: only integers are passed.
    let result = unsafe { libc::setns(fd, kind as libc::c_int) };
    Errno::result(result)
        .map(drop)
        .call(|| format!("setns({fd}, {kind:#x})"))
}

/// unshare(2) with raw `CLONE_NEW*` values.
pub fn unshare_raw(flags: u64) -> Result<()> {
    // SAFETY: only an integer is passed; namespaces hold no memory of ours.
    let result = unsafe { libc::unshare(flags as libc::c_int) };
    Errno::result(result)
        .map(drop)
        .call(|| format!("unshare({flags:#x})"))
}

/// Marks every descriptor from `first` on to be closed at execve (close_range(2), Linux 5.11).
pub fn close_on_exec_from(first: RawFd) -> Result<()> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: no descriptor is closed, only flagged, so no owned one is invalidated.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            libc::c_uint::MAX,
            CLOSE_RANGE_CLOEXEC,
        )
    };
    match Errno::result(result) {
        // Before Linux 5.9 there is no such call, before 5.11 no such flag.
        Err(Errno::ENOSYS | Errno::EINVAL) => {
            for number in open_from(first)? {
                // SAFETY: F_SETFD takes an integer and changes only a flag. EBADF: it was the
                // descriptor of the listing itself.
                unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
            }
            Ok(())
        }
        result => result
            .map(drop)
            .call(|| format!("close_range({first}, ~0, CLOEXEC)")),
    }
}

/// The numbers of all descriptors from `first` on.
///
/// Where there is no procfs to list them, as in a container that mounts none, every number that
/// a descriptor may have.
fn open_from(first: RawFd) -> Result<Vec<RawFd>> {
    let number = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.ok()?.file_name().to_str()?.parse::<RawFd>().ok()
    };
    let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let genuine = nix::fcntl::open("/proc/self/fd", flags, Mode::empty())
        .and_then(|fd| nix::sys::statfs::fstatfs(&fd))
        .is_ok_and(|fs| fs.filesystem_type() == nix::sys::statfs::PROC_SUPER_MAGIC);
    if genuine && let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        return Ok(entries
            .filter_map(number)
            .filter(|&number| number >= first)
            .collect());
    }
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a live struct of the kernel's layout.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    Errno::result(result).call(|| "getrlimit(RLIMIT_NOFILE)".into())?;
    let last = limit.rlim_max.min(1 << 20) as RawFd;
    Ok((first..last).filter(|&number| is_open(number)).collect())
}

/// Closes every descriptor from 3 on that is not in `keep`.
///
/// Only for a fresh clone that never returns to the frames of its parent: what they own is
/// closed under them. A lock (flock(2)) that the parent holds is thereby the parent's alone.
pub fn close_inherited(keep: &[RawFd]) -> Result<()> {
    close_from(3, keep)
}

/// The same with the standard streams.
pub fn close_all(keep: &[RawFd]) -> Result<()> {
    close_from(0, keep)
}

fn close_from(mut first: RawFd, keep: &[RawFd]) -> Result<()> {
    let is_in_reach = |number: &RawFd| *number >= first;
    let mut keep: Vec<RawFd> = keep.iter().copied().filter(is_in_reach).collect();
    keep.sort_unstable();
    for number in keep {
        close_range(first, number - 1)?;
        first = number + 1;
    }
    close_range(first, RawFd::MAX)
}

fn close_range(first: RawFd, last: RawFd) -> Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: the caller never uses the owners of these descriptors again (see close_inherited).
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    match Errno::result(result) {
        Err(Errno::ENOSYS) => {
            let open = open_from(first)?;
            for number in open.into_iter().filter(|&number| number <= last) {
                // SAFETY: as above. EBADF: it was the descriptor of the listing itself.
                unsafe { libc::close(number) };
            }
            Ok(())
        }
        result => result
            .map(drop)
            .call(|| format!("close_range({first}, {last}, 0)")),
    }
}

/// Clears close-on-exec of the inherited descriptor `number`; `EBADF` if it is not open.
pub fn keep_on_exec(number: RawFd) -> Result<()> {
    // SAFETY: F_SETFD takes an integer and changes only a flag.
    let result = unsafe { libc::fcntl(number, libc::F_SETFD, 0) };
    Errno::result(result)
        .map(drop)
        .call(|| format!("fcntl({number}, F_SETFD, 0)"))
}

/// Whether descriptor `number` is open.
pub fn is_open(number: RawFd) -> bool {
    // SAFETY: F_GETFD only reads a flag.
    unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
}

/// Takes the descriptor `number` over from the caller of this program: it moves to a number of our
/// own and is closed with the value. `EBADF` if it is not open.
pub fn take_inherited(number: RawFd) -> Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes an integer.
    let copy = Errno::result(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) })
        .call(|| format!("fcntl({number}, F_DUPFD_CLOEXEC)"))?;
    // SAFETY: a number that the caller of this program named, which nothing in it owns.
    unsafe { libc::close(number) };
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Makes `fd` known as `number` too, without close-on-exec.
pub fn dup_onto(fd: impl AsFd, number: RawFd) -> Result<()> {
    // SAFETY: used for 0, 1 and 2 only, which nothing in this process owns as an OwnedFd.
    let result = unsafe { libc::dup2(fd.as_fd().as_raw_fd(), number) };
    Errno::result(result)
        .map(drop)
        .call(|| format!("dup2({}, {number})", fd.as_fd().as_raw_fd()))
}

/// Sets one resource limit of process `pid` (prlimit(2)); `resource` is an `RLIMIT_*` number.
pub fn prlimit(pid: Pid, resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    let old = std::ptr::null_mut::<libc::rlimit64>();
    // SAFETY: `limit` lives past the call; a NULL old limit is allowed.
    let result = unsafe { libc::prlimit64(pid.as_raw(), resource as _, &raw const limit, old) };
    Errno::result(result)
        .map(drop)
        .call(|| format!("prlimit({pid}, {resource}, {{{soft}, {hard}}})"))
}

/// Lets this process open as many files as its hard limit allows.
pub fn raise_open_files() -> Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).call(|| "getrlimit(NOFILE)".into())?;
    let call = || format!("setrlimit(NOFILE, {hard})");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).call(call)
}

/// `PR_SET_CHILD_SUBREAPER`: orphans among our descendants become our children.
pub fn become_subreaper() -> Result<()> {
    nix::sys::prctl::set_child_subreaper(true).call(|| "prctl(PR_SET_CHILD_SUBREAPER)".into())
}

/// Every processor that there may be.
const ALL_PROCESSORS: [u64; 1024 / 8] = [!0; 1024 / 8];

/// Lets the calling process run on every processor that its cpuset allows.
pub fn reset_cpu_affinity() -> Result<()> {
    sched_setaffinity(Pid::from_raw(0), &ALL_PROCESSORS).call(|| "sched_setaffinity(0, all)".into())
}

/// Has another process run on any processor but the one that we run on; `EINVAL` if there is none.
pub fn keep_off_our_processor(pid: Pid) -> Result<()> {
    // SAFETY: it takes nothing and answers a number.
    let ours = unsafe { libc::sched_getcpu() };
    let mut mask = ALL_PROCESSORS;
    if let Ok(ours) = usize::try_from(ours)
        && let Some(word) = mask.get_mut(ours / 64)
    {
        *word &= !(1 << (ours % 64));
    }
    sched_setaffinity(pid, &mask).call(|| format!("sched_setaffinity({pid}, all but {ours})"))
}

/// Runs on the processors of `mask` (bit n of word n/64 is processor n).
pub fn set_cpu_affinity(mask: &[u64]) -> Result<()> {
    sched_setaffinity(Pid::from_raw(0), mask).call(|| format!("sched_setaffinity(0, {mask:x?})"))
}

fn sched_setaffinity(pid: Pid, mask: &[u64]) -> std::result::Result<(), Errno> {
    // SAFETY: the mask lives past the call and has the length given (sched_setaffinity(2)).
    let result = unsafe {
        libc::syscall(
            libc::SYS_sched_setaffinity,
            pid.as_raw(),
            size_of_val(mask),
            mask.as_ptr(),
        )
    };
    Errno::result(result).map(drop)
}

/// What sched_setattr(2) takes; the kernel's `struct sched_attr` of 56 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedAttr {
    /// Size of this struct; [`set_scheduler`] fills it in.
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// -20 to 19, for the time-sharing policies.
    pub nice: i32,
    /// 1 to 99, for the real-time policies.
    pub priority: u32,
    /// Nanoseconds, for `SCHED_DEADLINE`.
    pub runtime: u64,
    /// Nanoseconds, for `SCHED_DEADLINE`.
    pub deadline: u64,
    /// Nanoseconds, for `SCHED_DEADLINE`.
    pub period: u64,
    util_min: u32,
    util_max: u32,
}

impl SchedAttr {
    /// An attribute with everything zero: `SCHED_OTHER`, nice 0.
    pub fn new() -> Self {
        Self::default()
    }
}

/// Sets the NIS domain name of the caller's uts namespace (setdomainname(2)).
pub fn set_domain_name(name: &str) -> Result<()> {
    // SAFETY: the bytes live past the call and have the length given.
    let result = unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) };
    Errno::result(result)
        .map(drop)
        .call(|| format!("setdomainname({name:?})"))
}

/// Sets the scheduling policy of the calling process.
pub fn set_scheduler(mut attr: SchedAttr) -> Result<()> {
    attr.size = size_of::<SchedAttr>() as u32;
    // SAFETY: `attr` is a live struct of the size it states.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw mut attr, 0) };
    Errno::result(result)
        .map(drop)
        .call(|| format!("sched_setattr(0, {attr:?})"))
}

/// Sets the I/O priority of the calling process's group: `class` 1 to 3, `priority` 0 to 7.
pub fn set_io_priority(class: u32, priority: u32) -> Result<()> {
    const IOPRIO_WHO_PGRP: libc::c_int = 2;
    let value = class << 13 | priority;
    // SAFETY: only integers are passed.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PGRP, 0, value) };
    Errno::result(result)
        .map(drop)
        .call(|| format!("ioprio_set(PGRP, 0, {class}:{priority})"))
}

/// Sets the execution domain of the calling process (personality(2)).
pub fn set_personality(persona: u64) -> Result<()> {
    // SAFETY: only an integer is passed.
    let result = unsafe { libc::personality(persona as libc::c_ulong) };
    Errno::result(result)
        .map(drop)
        .call(|| format!("personality({persona:#x})"))
}

/// Sets the NUMA policy of the calling process: `mode` with its flags, `nodes` one bit a node.
pub fn set_memory_policy(mode: u32, nodes: &[u64]) -> Result<()> {
    let bits = nodes.len() * 64;
    // The kernel reads maxnode - 1 bits (set_mempolicy(2)), and only NULL means that there are
    // none: 0 - 1 is a very large number of them.
    let (mask, maxnode) = if nodes.is_empty() {
        (std::ptr::null(), 0)
    } else {
        (nodes.as_ptr(), bits + 1)
    };
    // SAFETY: the mask is NULL, or lives past the call and holds `bits` bits.
    let result = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, maxnode) };
    Errno::result(result)
        .map(drop)
        .call(|| format!("set_mempolicy({mode:#x}, {nodes:x?})"))
}

unsafe extern "C" {
    /// environ(7)
    static environ: *const *const libc::c_char;
}

/// Replaces the program by the one `fd` is open on, with the environment that this one has:
/// `execveat(fd, "", .., AT_EMPTY_PATH)`.
pub fn exec_fd(fd: impl AsFd, argv: &[CString]) -> SyscallError {
    let fd = fd.as_fd().as_raw_fd();
    let argv: Vec<*const libc::c_char> = (argv.iter().map(|word| word.as_ptr()))
        .chain([std::ptr::null()])
        .collect();
    // SAFETY: `argv` is a list of strings that live, with NULL at its end; so is the environment, which
    // nobody here ever changes.
    unsafe {
        let (empty, flags) = (c"".as_ptr(), libc::AT_EMPTY_PATH);
        libc::syscall(libc::SYS_execveat, fd, empty, argv.as_ptr(), environ, flags);
    }
    let errno = Errno::last();
    SyscallError::new(format!("execveat({fd}, \"\", AT_EMPTY_PATH)"), errno)
}

/// Ends the process at once: no destructor, no exit handler, which a forked child must not run.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit(2) touches no memory of ours.
    unsafe { libc::_exit(status) }
}

/// What the standard stream `number` (0, 1 or 2) is; `EBADF` if it is closed.
pub fn stat(number: RawFd) -> Result<nix::sys::stat::FileStat> {
    nix::sys::stat::fstat(stream(number)?).call(|| format!("fstat({number})"))
}

/// Gives the standard stream `number` (0, 1 or 2) to the user `uid`.
pub fn chown_stream(number: RawFd, uid: u32) -> Result<()> {
    let uid = nix::unistd::Uid::from_raw(uid);
    nix::unistd::fchown(stream(number)?, Some(uid), None)
        .call(|| format!("fchown({number}, {uid})"))
}

/// Borrows a descriptor that was inherited and that nothing here owns.
fn stream(number: RawFd) -> Result<BorrowedFd<'static>> {
    if !(0..3).contains(&number) || !is_open(number) {
        return Err(SyscallError::new(format!("fstat({number})"), Errno::EBADF));
    }
    // SAFETY: it is open (checked), and the standard streams are never closed by this process,
    // only replaced in place by dup2.
    Ok(unsafe { BorrowedFd::borrow_raw(number) })
}

/// The highest signal of Linux (signal(7)).
const LAST_SIGNAL: i32 = 64;

/// Unblocks all signals and gives each its default action back. A program inherits both through
/// execve: Rust's start-up ignores `SIGPIPE`, and whoever called us may ignore others, as nohup(1)
/// does `SIGHUP`.
pub fn reset_signals() -> Result<()> {
    use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
    (1..=LAST_SIGNAL).for_each(crate::signal::default_action);
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
        .call(|| "sigprocmask(SIG_SETMASK, {})".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_no_process_to_open() {
        let (send, receive) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            send.send(nix::unistd::gettid()).unwrap();
            let _ = ended.recv();
        });
        let error = pidfd_open(receive.recv().unwrap()).unwrap_err();
        assert_eq!(error.errno(), Errno::ESRCH);
        drop(end);
        thread.join().unwrap();
    }
}
