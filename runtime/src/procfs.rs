//! The host's `/proc`: what it says of a process, and what init writes to it.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use sys::SyscallResult;
use sys::root::{Links, Root, mount_id};

/// The host's procfs, opened before any mount of the container can cover it.
///
/// Init is inside namespaces of the container already, and the kernel answers by them: a write
/// to `sys/net` changes the container's parameters.
#[derive(Debug)]
pub struct HostProc(OwnedFd);

impl HostProc {
    /// Opens `/proc` and checks that it is one.
    pub fn open() -> Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd =
            openat(AT_FDCWD, "/proc", flags, Mode::empty()).context("open(\"/proc\", O_PATH)")?;
        if fstatfs(&fd)
            .context("fstatfs(\"/proc\")")?
            .filesystem_type()
            != PROC_SUPER_MAGIC
        {
            bail!("/proc on this host is not a procfs");
        }
        Ok(Self(fd))
    }

    /// Opens a file for writing, on this procfs and no mount above it.
    pub fn open_for_writing(&self, path: &Path) -> Result<File> {
        let how = OpenHow::new()
            .flags(OFlag::O_WRONLY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_XDEV);
        let call = || format!("openat2(\"/proc\", {path:?}, O_WRONLY)");
        match openat2(&self.0, path, how) {
            Ok(fd) => Ok(File::from(fd)),
            Err(Errno::ENOSYS) => self.open_by_steps(path),
            Err(errno) => Err(errno).with_context(call),
        }
    }

    /// The same without openat2(2), before Linux 5.6: what was opened must be on the mount that
    /// was checked.
    fn open_by_steps(&self, path: &Path) -> Result<File> {
        let root = Root::new(self.0.try_clone().context("fcntl(F_DUPFD_CLOEXEC)")?);
        let found = root.open(path, OFlag::O_WRONLY, Links::InRoot)?;
        if mount_id(&found)? != mount_id(&self.0)? {
            bail!(
                "{:?} is covered by another mount",
                Path::new("/proc").join(path)
            );
        }
        Ok(File::from(found))
    }

    /// Opens the very file that `place` is open on, which was only looked at (`O_PATH`).
    pub fn reopen(&self, place: &OwnedFd, flags: OFlag) -> Result<OwnedFd> {
        use std::os::fd::AsRawFd;
        let path = format!("self/fd/{}", place.as_raw_fd());
        nix::fcntl::openat(
            &self.0,
            path.as_str(),
            flags | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .with_context(|| format!("open(\"/proc/{path}\", {flags:?})"))
    }

    /// Detaches the mount whose root `place` is open on, of whatever mount namespace this process
    /// is in by now; `EINVAL` if it is the root of none.
    pub fn detach(&self, place: &OwnedFd) -> sys::Result<()> {
        use std::os::fd::AsRawFd;
        let number = place.as_raw_fd();
        nix::unistd::fchdir(&self.0).call(|| "fchdir(\"/proc\")".into())?;
        sys::mount::detach(Path::new(&format!("self/fd/{number}")))
    }

    /// Writes a kernel parameter; `path` is below `sys`.
    pub fn write_parameter(&self, path: &Path, value: &str) -> Result<()> {
        let name = Path::new("sys").join(path);
        let mut file = self.open_for_writing(&name)?;
        file.write_all(value.as_bytes())
            .with_context(|| format!("write(\"/proc/{}\", {value:?})", name.display()))
    }
}

/// State and start time of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// One letter (proc_pid_stat(5)): `R`, `S`, `Z`, ...
    pub state: char,
    /// `PF_*` of the kernel's task.
    pub flags: u64,
    /// How many threads it has, of which one that has ended while others go on is one.
    pub threads: u64,
    /// Clock ticks since boot; with the pid this names one process for ever.
    pub start_time: u64,
    /// Status of wait(2) once it has ended; 0 for those who may not look into it.
    pub exit_code: Option<i32>,
}

impl Stat {
    /// Reads `/proc/<pid>/stat`; `None` if there is no such process. Whoever cannot look (no
    /// descriptor is left, no memory) does not know: that is an error, not a process that has gone.
    pub fn of(pid: i32) -> Result<Option<Self>> {
        match sys::kernel_file::read_text(format!("/proc/{pid}/stat")) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read /proc/{pid}/stat")),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, which may hold anything.
        let (_, after_name) = text.rsplit_once(") ")?;
        let mut fields = after_name.split(' ');
        let state = fields.next()?.chars().next()?;
        // The state is field 3, the flags are field 9, the threads 20, the start time 22, the status 52.
        let flags = fields.nth(5)?.parse().ok()?;
        let threads = fields.nth(10)?.parse().ok()?;
        let start_time = fields.nth(1)?.parse().ok()?;
        let exit_code = fields.nth(29).and_then(|text| text.trim().parse().ok());
        Some(Self {
            state,
            flags,
            threads,
            start_time,
            exit_code,
        })
    }

    /// Whether `pid` is, or was until it died, a clone that has never executed a program
    /// (`PF_FORKNOEXEC`). One that is gone altogether counts as having done so.
    pub fn never_executed(pid: i32) -> bool {
        const PF_FORKNOEXEC: u64 = 0x40;
        Self::of(pid).is_ok_and(|stat| stat.is_some_and(|stat| stat.flags & PF_FORKNOEXEC != 0))
    }

    /// Whether it has ended and waits to be reaped. A first thread that has ended is a zombie as well,
    /// long before the process is dead (pthread_exit(3) in `main`).
    pub fn is_dead(self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x') && self.threads <= 1
    }
}

fn is_gone(error: &std::io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::ENOENT | Errno::ESRCH))
}

/// Whether the kernel shows us all of `pid` (`PTRACE_MODE_ATTACH_FSCREDS`, proc(5)).
pub fn may_look_into(pid: i32) -> bool {
    fs::read(format!("/proc/{pid}/personality")).is_ok()
}

/// Whether this process is in a user namespace below the host's.
pub fn in_user_namespace() -> bool {
    let map = sys::kernel_file::read_text("/proc/self/uid_map").unwrap_or_default();
    // The host's own maps every id to itself (user_namespaces(7)).
    !map.is_empty() && map.split_whitespace().ne(["0", "0", "4294967295"])
}

/// Whether what was written down in the boot of this id may still be there. If one of the two is
/// not known, a pid and its start time have to do: better than to take who lives for dead.
pub fn is_of_this_boot(id: &str) -> bool {
    let now = boot_id();
    id.is_empty() || now.is_empty() || id == now
}

/// This boot's id; empty if the kernel does not tell.
pub fn boot_id() -> String {
    static ID: OnceLock<String> = OnceLock::new();
    let read = || {
        let id = sys::kernel_file::read_text("/proc/sys/kernel/random/boot_id");
        id.unwrap_or_default().trim().to_owned()
    };
    ID.get_or_init(read).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_thread_that_has_ended_is_no_dead_process() {
        let parse = |threads: &str| {
            let mut fields = vec!["Z", "1", "1", "1", "0", "-1", "4194304"];
            fields.extend(["0"; 10]);
            fields.extend([threads, "0", "4242", "0"]);
            Stat::parse(&format!("7 (a) {}", fields.join(" "))).unwrap()
        };
        assert!(!parse("2").is_dead());
        assert!(parse("1").is_dead());
        assert!(parse("0").is_dead());
    }

    #[test]
    fn a_name_full_of_parentheses_is_passed_over() {
        let mut fields = vec!["S", "1", "1", "1", "0", "-1", "4194304"];
        fields.extend(["0"; 10]);
        fields.extend(["1", "0", "4242", "0"]);
        let text = format!("7 (a) Z (b)) {}", fields.join(" "));
        assert_eq!(
            Stat::parse(&text),
            Some(Stat {
                state: 'S',
                flags: 4_194_304,
                threads: 1,
                start_time: 4242,
                exit_code: None
            })
        );
    }

    #[test]
    fn this_process_lives() {
        let stat = Stat::of(std::process::id() as i32).unwrap().unwrap();
        assert!(!stat.is_dead());
        assert!(stat.start_time > 0);
        assert_eq!(Stat::of(i32::MAX).unwrap(), None);
    }
}
