//! Read-only and masked paths: what of the host's `/proc` and `/sys` a container may not see or
//! change.
//!
//! Each path is resolved once, in the rootfs, to a descriptor, and everything is done on that:
//! what is put over it comes from a descriptor too, of the host's `/dev/null`, checked, and
//! never of a file that the image brings (CVE-2025-31133, GHSA-3q8j-pf29-vwv8).

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::stat::{SFlag, fstat};
use sys::mount::{FsContext, MountAttr, Reach, attr};
use sys::root::Links;

use super::console::is_null;
use super::rootfs::{Rootfs, open_path};

/// Makes each path that exists read-only, with all that is mounted below it.
pub fn make_readonly(root: &Rootfs, paths: &[PathBuf]) -> Result<()> {
    for path in paths {
        let Some(place) = find(root, path)? else {
            continue;
        };
        let context = || format!("make {path:?} read-only");
        let tree = sys::mount::open_tree_clone(&place, Reach::Recursive).with_context(context)?;
        let readonly = MountAttr {
            set: attr::RDONLY,
            ..MountAttr::default()
        };
        sys::mount::mount_setattr(&tree, readonly, Reach::Recursive).with_context(context)?;
        sys::mount::move_mount(&tree, &place).with_context(context)?;
    }
    Ok(())
}

/// Hides the contents of each path that exists.
pub fn mask(root: &Rootfs, paths: &[PathBuf]) -> Result<()> {
    let mut null = None;
    let mut empty = None;
    for path in paths {
        let Some(place) = find(root, path)? else {
            continue;
        };
        let directory = sys::root::kind(&place)? == SFlag::S_IFDIR;
        let cover = if directory {
            cover(&mut empty, empty_directory)
        } else {
            cover(&mut null, host_null)
        };
        let placed = cover.and_then(|mount| Ok(sys::mount::move_mount(mount, &place)?));
        placed.with_context(|| format!("mask {path:?}"))?;
    }
    Ok(())
}

/// Another mount of the same cover: making a file system for every masked directory costs a
/// superblock each, and engines mask one directory per processor.
fn cover(first: &mut Option<OwnedFd>, make: impl FnOnce() -> Result<OwnedFd>) -> Result<OwnedFd> {
    if let Some(mounted) = first {
        return Ok(sys::mount::open_tree_clone(mounted, Reach::One)?);
    }
    let made = make()?;
    // Stays good once it is mounted: a detached mount cannot be cloned before Linux 6.15.
    *first = Some(made.try_clone().context("fcntl(F_DUPFD_CLOEXEC)")?);
    Ok(made)
}

fn empty_directory() -> Result<OwnedFd> {
    let mut context = FsContext::open("tmpfs")?;
    for (key, value) in [
        ("source", "tmpfs"),
        ("mode", "0755"),
        ("nr_blocks", "1"),
        ("nr_inodes", "1"),
    ] {
        context.set(key, Some(value))?;
    }
    Ok(context.mount(attr::RDONLY)?)
}

fn host_null() -> Result<OwnedFd> {
    let null = open_path(Path::new("/dev/null"))?;
    if !is_null(&fstat(&null)?) {
        bail!("the host's /dev/null is not the null device");
    }
    Ok(sys::mount::open_tree_clone(&null, Reach::One)?)
}

/// The file at `path`; a path that is not there needs no restriction (config-linux.md).
fn find(root: &Rootfs, path: &Path) -> Result<Option<OwnedFd>> {
    match root.root().lookup(path, Links::InRoot) {
        Ok(place) => Ok(Some(place)),
        Err(error) if matches!(error.errno(), Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
