//! The root of the container: a mount of its own, and the change into it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::mount::MsFlags;
use nix::sys::stat::Mode;
use sys::mount::{MountAttr, OldRoot, Reach, attr};
use sys::root::{Links, Missing, Root};

use crate::plan::Entry;
use crate::plan::Plan;
use crate::plan::mounts::Link;
use crate::sync::{Channel, FromInit, ToInit};

/// The mounted root file system, which init has not entered yet.
#[derive(Debug)]
pub struct Rootfs {
    root: Root,
}

impl Rootfs {
    /// Cuts this mount namespace off from the host's and puts the rootfs on itself as a mount.
    pub fn mount(plan: &Plan, channel: &Channel) -> Result<Self> {
        let rootfs = &plan.rootfs;
        let shared = shared(rootfs.propagation);
        // A slave still learns of the host's unmounts, so that it does not keep its disks busy,
        // and passes nothing back.
        let flags = shared.unwrap_or(MsFlags::MS_SLAVE) | MsFlags::MS_REC;
        sys::mount::set_propagation(Path::new("/"), flags)?;
        if shared.is_some() {
            // pivot_root(2) refuses a root whose parent is shared.
            make_private_below(&rootfs.path)?;
        }
        let source = open_path(&rootfs.path);
        sys::mount::prepare(&rootfs.path)?;
        let tree = Self::tree(source, channel)?;
        let place = open_path(&rootfs.path)?;
        sys::mount::move_mount(&tree, &place)
            .with_context(|| format!("mount the rootfs {:?} on itself", rootfs.path))?;
        Ok(Self {
            root: Root::new(tree),
        })
    }

    fn tree(source: Result<OwnedFd>, channel: &Channel) -> Result<OwnedFd> {
        match source {
            Ok(fd) => Ok(sys::mount::open_tree_clone(&fd, Reach::Recursive)?),
            // A directory that the container's root may not pass: the runtime may.
            Err(error) if is_denied(&error) => fetch(channel, 0),
            Err(error) => Err(error),
        }
    }

    /// The root of a container that runs already.
    pub fn entered(root: Root) -> Self {
        Self { root }
    }

    /// The directory, for everything that looks below it.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Opens what a mount goes on, making it if it is missing.
    pub fn target(&self, path: &Path, missing: Missing, links: Links) -> Result<OwnedFd> {
        Ok(self.root.create_target(path, missing, links)?)
    }

    /// Makes the directory `path` and its parents if they are missing.
    pub fn make_directory(&self, path: &Path) -> Result<()> {
        match self
            .root
            .create_target(path, Missing::Directory, Links::InRoot)
        {
            // On a read-only file system, or below a magic link, it is for chdir(2) to judge.
            Ok(_) => Ok(()),
            Err(error) if matches!(error.errno(), Errno::EROFS | Errno::ELOOP | Errno::EACCES) => {
                Ok(())
            }
            Err(error) => {
                Err(error).with_context(|| format!("config.json /process/cwd: mkdir {path:?}"))
            }
        }
    }

    /// Makes `/` read-only if asked for, then the root of this process.
    pub fn enter(self, plan: &Plan) -> Result<()> {
        let rootfs = &plan.rootfs;
        if rootfs.readonly {
            let readonly = MountAttr {
                set: attr::RDONLY,
                ..MountAttr::default()
            };
            sys::mount::mount_setattr(&self.root, readonly, Reach::One)
                .context("config.json /root/readonly")?;
        }
        match rootfs.entry {
            Entry::Pivot => {
                // Rootfs::mount has made slaves of all, unless they shall be shared.
                let old_root = match shared(rootfs.propagation) {
                    Some(_) => OldRoot::Shared,
                    None => OldRoot::Apart,
                };
                sys::mount::pivot_into(self.root.as_fd(), old_root)?;
            }
            Entry::Move => {
                detach_host_file_systems(&rootfs.path)?;
                sys::mount::move_root_and_chroot(self.root.as_fd())?;
            }
        }
        if let Some(flags) = rootfs.propagation {
            sys::mount::set_propagation(Path::new("/"), flags)
                .context("config.json /linux/rootfsPropagation")?;
        }
        Ok(())
    }
}

fn shared(propagation: Option<MsFlags>) -> Option<MsFlags> {
    propagation.filter(|flags| flags.contains(MsFlags::MS_SHARED))
}

/// Makes `path` the root in the host's own mount namespace, where nothing may be mounted.
pub fn change_root_only(path: &Path) -> Result<()> {
    nix::unistd::chroot(path).with_context(|| format!("chroot({path:?})"))?;
    nix::unistd::chdir("/").context("chdir(\"/\")")
}

/// Detaches every proc and sysfs of the host, before the rootfs is moved over them.
///
/// After MS_MOVE the old tree is out of sight but still mounted; a later user namespace could
/// mount a fresh, unmasked procfs as long as it sees a full one (the kernel's
/// `mount_too_revealing`).
fn detach_host_file_systems(rootfs: &Path) -> Result<()> {
    let reveals = |mount: &sys::mountinfo::Mount| {
        mount.root == Path::new("/") && matches!(mount.fs_type.as_str(), "proc" | "sysfs")
    };
    let mut points = sys::mountinfo::own()?;
    points.retain(|mount| reveals(mount) && !mount.point.starts_with(rootfs));
    // The last mounted is on top.
    for mount in points.iter().rev() {
        sys::mount::detach(&mount.point).context("hide a procfs of the host for --no-pivot")?;
    }
    Ok(())
}

/// What the rootfs will be mounted on: a mount of its own, as an overlay of containerd is, or else
/// the one that it lies in.
fn make_private_below(rootfs: &Path) -> Result<()> {
    for place in rootfs.ancestors() {
        match sys::mount::set_propagation(place, MsFlags::MS_PRIVATE) {
            // Not a mount point: its parent is on the same mount.
            Err(error) if error.errno() == Errno::EINVAL => {}
            other => return other.context("make the mount below the rootfs private"),
        }
    }
    Ok(())
}

/// A file of the host, for looking.
pub fn open_path(path: &Path) -> Result<OwnedFd> {
    open_place(path, Link::Followed)
}

/// The same, of a symbolic link itself if asked for.
pub fn open_place(path: &Path, link: Link) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let flags = match link {
        Link::Followed => flags,
        Link::Itself => flags | OFlag::O_NOFOLLOW,
    };
    // musl's open(2) sets close-on-exec a second time.
    openat(AT_FDCWD, path, flags, Mode::empty()).with_context(|| format!("open({path:?}, O_PATH)"))
}

/// Whether the reason is that init's user may not look there.
pub fn is_denied(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref::<Errno>(),
        Some(Errno::EACCES | Errno::EPERM)
    )
}

/// Asks the runtime for a mount tree: number 0 is the rootfs, n + 1 is `mounts[n]`.
pub fn fetch(channel: &Channel, number: usize) -> Result<OwnedFd> {
    let fds = channel.ask(&FromInit::OpenMount(number), &ToInit::Opened)?;
    fds.into_iter().next().context("the runtime sent no mount")
}
