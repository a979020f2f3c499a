//! `/dev`: device nodes, the link to the container's own ptmx, and the usual links.
//!
//! Every node is made beneath the descriptor of its directory, which was resolved inside the
//! rootfs: an image whose `/dev` is a link to a directory of the host gets nothing made there
//! (CVE-2026-41579, CVE-2026-47766).

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, makedev, mknodat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, symlinkat, unlinkat};
use sys::mount::Reach;
use sys::root::{Links, Missing};

use super::rootfs::{Rootfs, open_path};
use crate::plan::devices::LINKS;
use crate::plan::{DeviceNode, Plan};

/// Makes the nodes of the plan and the links.
pub fn make_all(plan: &Plan, root: &Rootfs) -> Result<()> {
    let mut directories = Directories { root, last: None };
    for node in &plan.devices {
        make(node, &mut directories).with_context(|| match node.pointer.as_str() {
            "" => format!("default device {:?}", node.path),
            pointer => format!("config.json {pointer}: device {:?}", node.path),
        })?;
    }
    let dev = directories.open(Path::new("/dev"));
    dev.and_then(|dev| make_links(&dev))
        .context("links in /dev")
}

/// The directories of nodes, most of which are neighbours.
struct Directories<'a> {
    root: &'a Rootfs,
    last: Option<(PathBuf, Rc<OwnedFd>)>,
}

impl Directories<'_> {
    fn open(&mut self, path: &Path) -> Result<Rc<OwnedFd>> {
        if let Some((_, open)) = self.last.as_ref().filter(|(last, _)| last == path) {
            return Ok(Rc::clone(open));
        }
        let open = Rc::new(directory(self.root, path)?);
        self.last = Some((path.to_owned(), Rc::clone(&open)));
        Ok(open)
    }
}

fn make(node: &DeviceNode, directories: &mut Directories<'_>) -> Result<()> {
    let (parent, name) = sys::root::split(&node.path)?;
    let directory = directories.open(parent)?;
    let number = makedev(node.major, node.minor);
    let mode = Mode::from_bits_truncate(node.mode);
    match mknodat(&*directory, name, node.kind, mode, number) {
        Ok(()) => give(node, &directory, name),
        Err(Errno::EEXIST) => check_existing(node, &directory, name),
        // Without CAP_MKNOD over the host's devices, as in a user namespace: the host's node.
        Err(Errno::EPERM) => bind_host_node(node, directories.root),
        Err(errno) => {
            Err(errno).with_context(|| format!("mknodat({:?}, {:?})", node.path, node.kind))
        }
    }
}

fn give(node: &DeviceNode, directory: &OwnedFd, name: &OsStr) -> Result<()> {
    if (node.uid, node.gid) == (0, 0) {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
    fchownat(
        directory,
        name,
        Some(uid),
        Some(gid),
        AtFlags::AT_SYMLINK_NOFOLLOW,
    )
    .with_context(|| format!("fchownat({:?}, {uid}, {gid})", node.path))
}

/// config-linux.md, "Devices": a file that is there and is not the device is an error.
fn check_existing(node: &DeviceNode, directory: &OwnedFd, name: &OsStr) -> Result<()> {
    let stat = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)
        .with_context(|| format!("fstatat({:?})", node.path))?;
    if is_node(&stat, node) {
        return Ok(());
    }
    bail!(
        "something else is there already (mode {:o}, device {:#x})",
        stat.st_mode,
        stat.st_rdev
    )
}

fn is_node(stat: &FileStat, node: &DeviceNode) -> bool {
    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    let fifo = node.kind == SFlag::S_IFIFO;
    kind == node.kind && (fifo || stat.st_rdev == makedev(node.major, node.minor))
}

fn bind_host_node(node: &DeviceNode, root: &Rootfs) -> Result<()> {
    let host = open_path(&node.path)?;
    if !is_node(&fstat(&host)?, node) {
        bail!(
            "the host's {:?} is another device, and this user may not make one",
            node.path
        );
    }
    let target = root.target(&node.path, Missing::File, Links::InRoot)?;
    Ok(sys::mount::move_mount(
        sys::mount::open_tree_clone(&host, Reach::One)?,
        target,
    )?)
}

fn make_links(dev: &OwnedFd) -> Result<()> {
    for (name, target) in LINKS {
        link(dev, name, target)?;
    }
    // A kernel without /proc/kcore gets no link that leads nowhere.
    if std::fs::metadata("/proc/kcore").is_ok() {
        link(dev, "core", "/proc/kcore")?;
    }
    match unlinkat(dev, "ptmx", UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno).context("unlinkat(/dev/ptmx)"),
    }
    link(dev, "ptmx", "pts/ptmx")
}

/// What is there already stays: an image may have its own.
fn link(directory: &OwnedFd, name: &str, target: &str) -> Result<()> {
    match symlinkat(target, directory, name) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno).with_context(|| format!("symlinkat({target:?}, /dev/{name})")),
    }
}

fn directory(root: &Rootfs, path: &Path) -> Result<OwnedFd> {
    let place = root.target(path, Missing::Directory, Links::InRoot)?;
    let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    openat(&place, ".", flags, Mode::empty())
        .with_context(|| format!("open {path:?} in the rootfs"))
}
