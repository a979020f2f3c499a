//! Where the kernel mounts no new procfs or sysfs: the ones that are there, read-only, with
//! whatever covers them.
//!
//! In a user namespace a new instance may show no more than one that the mount namespace shows
//! already (the kernel's `mount_too_revealing`), so inside a container whose `/proc` is masked
//! there is no new procfs, and without a network namespace of one's own there is no new sysfs.
//! A recursive bind keeps every mask, which the kernel has locked to what it covers.
//!
//! The procfs around lists processes that are none of the container's. What the kernel guards by
//! ptrace(2)'s access check is out of its reach; but files such as `oom_score_adj` and
//! `coredump_filter` of a process whose user is mapped are guarded by their permissions alone.
//! So nothing of the bind can be written: it and all below it are read-only, and a container that
//! could make it writable again gets none.

use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::sys::stat::fstat;
use nix::sys::statfs::{FsType, PROC_SUPER_MAGIC, fstatfs};
use sys::mount::{MountAttr, Reach, attr};

use super::rootfs::open_path;
use crate::plan::process::Capabilities;
use crate::plan::{Kind, Namespaces};
use crate::sync::{Channel, FromInit, ToInit};

const SYSFS_MAGIC: FsType = FsType(0x6265_6572);
/// Inode of the root of every procfs.
const PROC_ROOT_INO: u64 = 1;
/// CAP_SYS_ADMIN of capabilities(7).
const SYS_ADMIN: u32 = 21;

/// What holds for everything that is bound here, whatever the configuration says.
pub const HELD: u64 = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;

/// Why a container with these capabilities must not have the `/proc` around; asked in the
/// runtime, whose own privileges decide.
pub fn refusal(capabilities: &Capabilities, rootless: bool) -> Option<&'static str> {
    // Root of the machine can take the cover away, and is not to show the host's processes.
    if !rootless {
        return Some("and davit runs as root of the host, whose /proc is not lent to containers");
    }
    let sets = &capabilities.sets;
    let all = capabilities.bounding.0 | sets.permitted.0 | sets.effective.0;
    (all & 1 << SYS_ADMIN != 0).then_some(
        "and the one around, which shows other processes, is not lent to a container with \
         CAP_SYS_ADMIN, which could make it writable",
    )
}

/// The `/proc` around us, read-only throughout, if it may be the container's.
///
/// It names the processes of the pid namespace around, which is for two kinds of containers
/// only: one that shares that pid namespace, and one whose user namespace was made for it and
/// holds no process but its own, so that ptrace(2)'s access check keeps it from all others. The
/// runtime has the last word, see [`refusal`]. Everybody else gets an error that says what is
/// covered.
pub fn proc(namespaces: &Namespaces, channel: &Channel) -> Result<OwnedFd> {
    if namespaces.is_private(Kind::Pid) && !namespaces.makes(Kind::User) {
        bail!("{}", covered("and the one around is of other processes"));
    }
    let around = open_path(Path::new("/proc"))?;
    let genuine = fstatfs(&around)?.filesystem_type() == PROC_SUPER_MAGIC
        && fstat(&around)?.st_ino == PROC_ROOT_INO;
    if !genuine {
        bail!("{}", covered("and the one around is no procfs"));
    }
    channel
        .ask(&FromInit::ProcAround, &ToInit::Granted)
        .map_err(|reason| anyhow::Error::msg(covered(&reason.to_string())))?;
    bound(&around).with_context(|| covered("nor can the one around be bound"))
}

/// A copy of the tree at `around` that cannot be written.
fn bound(around: &OwnedFd) -> Result<OwnedFd> {
    let tree = sys::mount::open_tree_clone(around, Reach::Recursive)?;
    let held = MountAttr {
        set: HELD,
        ..MountAttr::default()
    };
    sys::mount::mount_setattr(&tree, held, Reach::Recursive)?;
    Ok(tree)
}

/// What to do about a procfs that cannot be mounted.
fn covered(why: &str) -> String {
    let mounts = sys::mountinfo::own().unwrap_or_default();
    // An empty directory of the kernel's may be covered by anybody.
    let harmless = Path::new("/proc/sys/fs/binfmt_misc");
    let points = mounts.iter().map(|mount| mount.point.as_path());
    let points = points.filter(|point| {
        point.starts_with("/proc") && *point != Path::new("/proc") && *point != harmless
    });
    let points: Vec<_> = points.map(|point| point.display().to_string()).collect();
    if points.is_empty() {
        return format!("no new procfs can be mounted here, {why}");
    }
    format!(
        "no new procfs can be mounted here, {why}: something covers {} (umount it; in an outer \
         container, run that with these unmasked: podman --security-opt unmask=ALL, Docker \
         --security-opt systempaths=unconfined, Kubernetes procMount: Unmasked)",
        points.join(", ")
    )
}

/// The `/sys` around us, read-only throughout: it is not the container's.
pub fn sys(namespaces: &Namespaces) -> Result<OwnedFd> {
    if namespaces.makes(Kind::Network) {
        bail!("no new sysfs can be mounted here");
    }
    let around = open_path(Path::new("/sys"))?;
    if fstatfs(&around)?.filesystem_type() != SYSFS_MAGIC {
        bail!("no new sysfs can be mounted here, and the one around is none");
    }
    bound(&around)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sys::credentials::CapSet;

    #[test]
    fn the_proc_around_is_lent_by_no_root_of_the_host_and_to_no_mounter() {
        let plain = Capabilities::default();
        assert_eq!(refusal(&plain, true), None);
        assert!(refusal(&plain, false).unwrap().contains("root of the host"));
        let mounter = Capabilities {
            bounding: CapSet(1 << SYS_ADMIN),
            ..plain
        };
        assert!(refusal(&mounter, true).unwrap().contains("CAP_SYS_ADMIN"));
    }
}
