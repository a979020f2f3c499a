//! The container's terminal, and streams that are the host's `/dev/null`.
//!
//! The pty is made in the container's own devpts and its ends are held by descriptor from the
//! first moment, so that nothing in the container's `/dev/pts` is ever looked up by name
//! (CVE-2025-52565, CVE-2026-88264).

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, SFlag, fstat, makedev};
use nix::sys::statfs::{FsType, fstatfs};
use nix::unistd::{Gid, Uid, fchown};
use sys::mount::Reach;
use sys::root::{Links, Missing, Root};
use sys::terminal;

use super::rootfs::Rootfs;
use crate::plan::{Plan, Process};

const DEVPTS_SUPER_MAGIC: FsType = FsType(0x1cd1);

/// Makes a pty, sends its master over `console`, and makes the other end stdio and
/// `/dev/console`.
pub fn attach(plan: &Plan, root: &Rootfs, console: Option<&OwnedFd>) -> Result<()> {
    let open = |path: &Path, flags| Ok(root.root().open(path, flags, Links::InRoot)?);
    let peer = make(&plan.process, console, open)?;
    let target = root
        .target(Path::new("/dev/console"), Missing::File, Links::Refused)
        .context("/dev/console of the rootfs")?;
    sys::mount::move_mount(sys::mount::open_tree_clone(&peer, Reach::One)?, &target)
        .context("mount the terminal on /dev/console")?;
    take_as_stdio(&peer)
}

/// The same for a process that joins a running container: no `/dev/console`.
pub fn attach_inside(process: &Process, console: Option<&OwnedFd>) -> Result<()> {
    let open = |path: &Path, flags: OFlag| {
        nix::fcntl::open(
            path,
            flags | OFlag::O_CLOEXEC,
            nix::sys::stat::Mode::empty(),
        )
        .with_context(|| format!("open({path:?})"))
    };
    take_as_stdio(&make(process, console, open)?)
}

fn make(
    process: &Process,
    console: Option<&OwnedFd>,
    open: impl FnOnce(&Path, OFlag) -> Result<OwnedFd>,
) -> Result<OwnedFd> {
    let Some(console) = console else {
        bail!("a terminal is wanted, but there is no console socket")
    };
    let master = open(Path::new("/dev/pts/ptmx"), OFlag::O_RDWR | OFlag::O_NOCTTY)
        .context("open the container's /dev/pts/ptmx (is a devpts mounted there?)")?;
    check_ptmx(&master)?;
    let peer = terminal::open_peer(&master)?;
    if let Some(size) = process
        .console_size
        .filter(|size| size.rows > 0 || size.columns > 0)
    {
        terminal::set_window_size(&master, size)?;
    }
    // The group stays what devpts' gid= says, which is tty.
    fchown(&peer, Some(Uid::from_raw(process.uid)), None::<Gid>).context("fchown(terminal)")?;
    let payload = b"/dev/ptmx";
    sys::socket::send(console, payload, &[master.as_fd()])
        .context("send the terminal to the console socket")?;
    Ok(peer)
}

/// Whatever an image has put at the place, only a devpts has this device.
fn check_ptmx(master: &OwnedFd) -> Result<()> {
    let genuine = fstatfs(master)?.filesystem_type() == DEVPTS_SUPER_MAGIC
        && fstat(master)?.st_rdev == makedev(5, 2);
    if !genuine {
        bail!("/dev/pts/ptmx of the container is not on a devpts");
    }
    Ok(())
}

fn take_as_stdio(peer: &OwnedFd) -> Result<()> {
    terminal::set_controlling(peer)?;
    (0..3).try_for_each(|number| Ok(sys::process::dup_onto(peer, number)?))
}

/// Opens the container's own `/dev/null` for each standard stream that is the host's.
pub fn replace_null_streams(root: &Root) -> Result<()> {
    for number in 0..3 {
        if !is_host_null(number) {
            continue;
        }
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY;
        let Ok(null) = root.open(Path::new("/dev/null"), flags, Links::Refused) else {
            // A container without /dev/null keeps the stream it was given.
            continue;
        };
        if !is_null(&fstat(&null)?) {
            bail!("/dev/null of the container is another file");
        }
        sys::process::dup_onto(&null, number)?;
    }
    Ok(())
}

fn is_host_null(number: i32) -> bool {
    sys::process::stat(number).is_ok_and(|stat| is_null(&stat))
}

/// Character device 1:3 (Documentation/admin-guide/devices.txt).
pub fn is_null(stat: &FileStat) -> bool {
    let character =
        SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFCHR;
    character && stat.st_rdev == makedev(1, 3)
}

/// Gives the standard streams to `uid`, so that it can open `/dev/stdout` again.
pub fn give_stdio(uid: u32) -> Result<()> {
    for number in 0..3 {
        let Ok(stat) = sys::process::stat(number) else {
            continue;
        };
        // The host's /dev/null is everybody's; a file keeps the owner who made it.
        let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
        if stat.st_uid == uid || is_null(&stat) || kind == SFlag::S_IFREG {
            continue;
        }
        // A read-only file system, an unmapped id or a stream of somebody else: it stays so.
        let _ = sys::process::chown_stream(number, uid);
    }
    Ok(())
}
