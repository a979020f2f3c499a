//! Keeping the container's hands off this program (CVE-2019-5736).
//!
//! A process that enters a container is visible there as `/proc/<pid>/exe`, and a script whose
//! interpreter is `/proc/self/exe` even runs it. If that link leads to the file on the host's
//! disk, a root user without a user namespace can overwrite it and owns the next start on this
//! host. So the operations that enter a container first move over to a mount of that one file which is
//! read-only, belongs to no mount namespace, and so cannot be changed by anybody: in place where the
//! kernel lets them, else by executing it; or, where no mount may be made, from a copy in memory that is
//! sealed against every change. docs/decisions/0001 has the alternatives and their cost.

use std::ffi::{CStr, CString, OsString};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use nix::sys::statvfs::FsFlags;
use sys::mount::{MountAttr, Reach, attr};

use crate::init::rootfs::open_path;
use crate::timeline;

/// The name of the copy, as `/proc/<pid>/maps` shows it.
const NAME: &CStr = c"davit";

/// The operations that enter a container.
const ENTERING: [&str; 4] = ["create", "exec", "mounts", "run"];

/// Set once this program is known to be out of reach.
static PROTECTED: OnceLock<()> = OnceLock::new();

/// Does what [`run_unwritable`] does as the first thing of all, where a word of the command line looks
/// like an operation that will ask for it: what is read before the execve is read twice. What
/// cannot be done now the operation itself will find and tell.
pub fn ahead(began: Duration) {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if words
        .iter()
        .any(|word| ENTERING.iter().any(|name| word == name))
    {
        let timeline = words.iter().any(|word| {
            let word = word.as_bytes();
            word.starts_with(b"--timeline") || word.starts_with(b"-timeline")
        });
        let since = timeline.then(|| u64::try_from(began.as_nanos()).unwrap_or_default());
        let _ = go_on(since);
    }
}

/// Goes on from a form of this program that nobody can write to. Returns if this is one already.
pub fn run_unwritable() -> Result<()> {
    go_on(timeline::since())
}

fn go_on(since: Option<u64>) -> Result<()> {
    if PROTECTED.get().is_some() {
        return Ok(());
    }
    let own = Path::new("/proc/self/exe");
    let program = open_path(own)?;
    let program = match protection(own, &program)? {
        Protection::Enough => None,
        Protection::None => match read_only_mount(&program) {
            Ok(mount) if moved_onto(own, &mount) => None,
            mount => Some(mount.or_else(|_| sealed_copy(own))?),
        },
        Protection::HostMount => Some(sealed_copy(own)?),
    };
    let Some(program) = program else {
        PROTECTED.get_or_init(|| ());
        return Ok(());
    };
    let mut argv: Vec<CString> = std::env::args_os()
        .map(|arg| c_string(arg.into_vec()))
        .collect::<Result<_>>()?;
    if let Some(since) = since {
        let option = format!("--{}={since}", timeline::SINCE);
        argv.insert(1.min(argv.len()), c_string(option.into_bytes())?);
    }
    Err(sys::process::exec_fd(&program, &argv))
        .context("execute this program again, protected (vm.memfd_noexec=2 forbids it)")
}

/// Whether this process runs from `mount` from now on; where the kernel does not let it (`CAP_SYS_RESOURCE`
/// is asked for), another execve does the same.
fn moved_onto(own: &Path, mount: &OwnedFd) -> bool {
    let path = format!("/proc/self/fd/{}", mount.as_raw_fd());
    let moved = File::open(path).is_ok_and(|file| sys::own_program::move_onto(&file).is_ok());
    let is_protected = || {
        let program = open_path(own)?;
        protection(own, &program)
    };
    moved && matches!(is_protected(), Ok(Protection::Enough))
}

/// What keeps a container from writing to this program.
enum Protection {
    /// Nothing.
    None,
    /// A mount of the host happens to be read-only, which an upgrade may change while a
    /// container still holds on to the file.
    HostMount,
    /// Seals, or a read-only mount that is in no namespace.
    Enough,
}

/// How the file `own`, at which `program` looks, is protected.
fn protection(own: &Path, program: &OwnedFd) -> Result<Protection> {
    let around = fstatfs(program).context("fstatfs(\"/proc/self/exe\")")?;
    // A file in memory is the kernel's own tmpfs's. Seals are told of an open file only, not of a
    // place.
    if around.filesystem_type() == TMPFS_MAGIC
        && File::open(own).is_ok_and(|file| sys::memfd::is_sealed(&file))
    {
        return Ok(Protection::Enough);
    }
    if !around.flags().contains(FsFlags::ST_RDONLY) {
        return Ok(Protection::None);
    }
    // The root of a detached mount has no path above it, so the kernel shows its name as "/";
    // no file that is reached through a mount of the host is called so. Should a kernel show it
    // in another way, the sealed copy ends the loop.
    let detached = std::fs::read_link(own).is_ok_and(|path| path == Path::new("/"));
    Ok(if detached {
        Protection::Enough
    } else {
        Protection::HostMount
    })
}

/// The program on a mount of its own, read-only and detached. Once the descriptor is closed by
/// execve the mount is in no namespace, and the kernel lets nobody change, clone or bind it.
fn read_only_mount(program: &OwnedFd) -> Result<OwnedFd> {
    let mount = sys::mount::open_tree_clone(program, Reach::One)?;
    let readonly = MountAttr {
        set: attr::RDONLY,
        ..MountAttr::default()
    };
    sys::mount::mount_setattr(&mount, readonly, Reach::One)?;
    Ok(mount)
}

fn sealed_copy(program: &Path) -> Result<OwnedFd> {
    let mut file = File::open(program).with_context(|| format!("open({program:?})"))?;
    sys::memfd::sealed_copy(NAME, &mut file)
        .context("copy this program into sealed memory (is this cgroup's memory full?)")
}

fn c_string(bytes: Vec<u8>) -> Result<CString> {
    CString::new(bytes).context("a NUL byte in an argument")
}
