//! Where the kernel mounts no new procfs or sysfs: the ones that are there, with whatever covers
//! them.
//!
//! In a user namespace a new instance may show no more than one that the mount namespace shows
//! already (the kernel's `mount_too_revealing`), so inside a container whose `/proc` is masked
//! there is no new procfs, and without a network namespace of one's own there is no new sysfs.
//! A recursive bind keeps every mask, which the kernel has locked to what it covers.

use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::sys::stat::fstat;
use nix::sys::statfs::{FsType, PROC_SUPER_MAGIC, fstatfs};
use sys::mount::{MountAttr, Reach, attr};

use super::rootfs::open_path;
use crate::plan::{Kind, Namespaces};

const SYSFS_MAGIC: FsType = FsType(0x6265_6572);
/// Inode of the root of every procfs.
const PROC_ROOT_INO: u64 = 1;

/// The `/proc` around us, if nothing of it is the container's to misuse.
///
/// It names the processes of the pid namespace around, and that is safe for two kinds of
/// containers: one that shares that pid namespace, and one whose user namespace was made for it
/// and holds no process but its own. Access to any other process is checked against that one's
/// user namespace, where the container has no capability (ptrace(2), "Ptrace access mode
/// checking"). Everybody else gets an error that says what is covered.
pub fn proc(namespaces: &Namespaces) -> Result<OwnedFd> {
    if namespaces.is_private(Kind::Pid) && !namespaces.makes(Kind::User) {
        bail!("{}", covered("and the one around is of other processes"));
    }
    let around = open_path(Path::new("/proc"))?;
    let genuine = fstatfs(&around)?.filesystem_type() == PROC_SUPER_MAGIC
        && fstat(&around)?.st_ino == PROC_ROOT_INO;
    if !genuine {
        bail!("{}", covered("and the one around is no procfs"));
    }
    sys::mount::open_tree_clone(&around, Reach::Recursive)
        .with_context(|| covered("nor bind the one around"))
}

/// What to do about a procfs that cannot be mounted.
fn covered(why: &str) -> String {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = text.lines().filter_map(|line| line.split(' ').nth(4));
    // An empty directory of the kernel's may be covered by anybody.
    let points =
        points.filter(|point| point.starts_with("/proc/") && *point != "/proc/sys/fs/binfmt_misc");
    let points: Vec<&str> = points.collect();
    if points.is_empty() {
        return format!("no new procfs can be mounted here, {why}");
    }
    format!(
        "no new procfs can be mounted here, {why}: the outer container covers {} (run it with \
         these unmasked: podman --security-opt unmask=ALL, Docker --security-opt \
         systempaths=unconfined, Kubernetes procMount: Unmasked)",
        points.join(", ")
    )
}

/// The `/sys` around us, read-only throughout: it is not the container's.
pub fn sys(namespaces: &Namespaces, attributes: u64) -> Result<OwnedFd> {
    if namespaces.makes(Kind::Network) {
        bail!("no new sysfs can be mounted here");
    }
    let around = open_path(Path::new("/sys"))?;
    if fstatfs(&around)?.filesystem_type() != SYSFS_MAGIC {
        bail!("no new sysfs can be mounted here, and the one around is none");
    }
    let tree = sys::mount::open_tree_clone(&around, Reach::Recursive)?;
    let readonly = MountAttr {
        set: attr::RDONLY | attributes & (attr::NOSUID | attr::NODEV | attr::NOEXEC),
        ..MountAttr::default()
    };
    sys::mount::mount_setattr(&tree, readonly, Reach::Recursive)?;
    Ok(tree)
}
