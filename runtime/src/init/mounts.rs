//! The mounts of config.json, one after the other, each put on a descriptor.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::mount::MsFlags;
use nix::sys::stat::{SFlag, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use sys::mount::{FsContext, MountAttr, Reach, attr};
use sys::root::{Links, Missing};

use super::Inheritance;
use super::rootfs::{Rootfs, fetch, is_denied, open_path};
use crate::cgroup_view::View;
use crate::plan::mounts::{AttrChange, Filesystem, What, may_cover_in_proc};
use crate::plan::{MountStep, Plan};
use crate::sync::Channel;

/// Mounts that are to become read-only when nothing is made below them any more.
#[derive(Debug, Default)]
#[must_use = "the mounts are still writable until finish()"]
pub struct Mounted {
    readonly: Vec<OwnedFd>,
}

impl Mounted {
    /// Makes them read-only.
    pub fn finish(self) -> Result<()> {
        let readonly = MountAttr {
            set: attr::RDONLY,
            ..MountAttr::default()
        };
        for mount in self.readonly {
            sys::mount::mount_setattr(&mount, readonly, Reach::One)
                .context("make a mount read-only")?;
        }
        Ok(())
    }
}

/// Whether the container's `/dev` is a directory of the host, which is left as it is.
pub fn dev_is_bound(plan: &Plan) -> bool {
    let is_dev = |step: &&MountStep| step.destination == Path::new("/dev");
    plan.mounts
        .iter()
        .rfind(is_dev)
        .is_some_and(|step| matches!(step.what, What::Bind { .. }))
}

/// Performs every step of the plan in order.
pub fn mount_all(plan: &Plan, root: &Rootfs, inheritance: &Inheritance) -> Result<Mounted> {
    let mut mounted = Mounted::default();
    for (index, step) in plan.mounts.iter().enumerate() {
        let mounter = Mounter {
            plan,
            root,
            inheritance,
            step,
            index,
        };
        mounter.perform(&mut mounted).with_context(|| {
            let source = describe(&step.what);
            format!(
                "error mounting {source:?} to rootfs at {:?} (config.json {})",
                step.destination, step.pointer
            )
        })?;
    }
    Ok(mounted)
}

fn describe(what: &What) -> PathBuf {
    match what {
        What::Bind { source, .. } => source.clone(),
        What::Filesystem(filesystem) => PathBuf::from(&filesystem.source),
        What::Cgroup => "cgroup".into(),
        What::Remount => "remount".into(),
    }
}

struct Mounter<'a> {
    plan: &'a Plan,
    root: &'a Rootfs,
    inheritance: &'a Inheritance,
    step: &'a MountStep,
    index: usize,
}

impl Mounter<'_> {
    fn perform(&self, mounted: &mut Mounted) -> Result<()> {
        match &self.step.what {
            What::Bind { source, reach } => self.bind(source, *reach),
            What::Filesystem(filesystem) => self.filesystem(filesystem, mounted),
            What::Cgroup => self.cgroup(mounted),
            What::Remount => self.remount(),
        }
    }

    fn bind(&self, source: &Path, reach: Reach) -> Result<()> {
        let tree = source_tree(source, reach, self.index, &self.inheritance.channel)?;
        let directory = sys::root::kind(&tree)? == SFlag::S_IFDIR;
        let missing = if directory {
            Missing::Directory
        } else {
            Missing::File
        };
        let on_proc = self.step.destination == Path::new("/proc");
        if on_proc && fstatfs(&tree)?.filesystem_type() != PROC_SUPER_MAGIC {
            bail!(
                "{:?} cannot be mounted because it is inside /proc",
                self.step.destination
            );
        }
        let links = if on_proc {
            Links::Refused
        } else {
            Links::InRoot
        };
        let target = self.target(missing, links)?;
        self.change(&tree, self.step.attributes, Reach::One)?;
        self.change(&tree, self.step.recursive, Reach::Recursive)?;
        self.place(&tree, &target)
    }

    fn filesystem(&self, filesystem: &Filesystem, mounted: &mut Mounted) -> Result<()> {
        let ordinary = matches!(filesystem.fs_type.as_str(), "proc" | "sysfs");
        let links = if ordinary {
            Links::Refused
        } else {
            Links::InRoot
        };
        let target = self
            .target(Missing::Directory, links)
            .map_err(|error| match ordinary {
                true => error.context(format!(
                    "filesystem {:?} must be mounted on ordinary directory",
                    filesystem.fs_type
                )),
                false => error,
            })?;
        let mut context = FsContext::open(&filesystem.fs_type)?;
        context.set("source", Some(&filesystem.source))?;
        for (key, value) in &filesystem.options {
            context.set(key, value.as_deref())?;
        }
        self.complete_options(filesystem, &mut context, &target)?;
        let (attributes, later) = self.split_readonly(filesystem);
        let mount = context
            .mount(attributes)
            .map_err(|error| explain(filesystem, error))?;
        if filesystem.copy_up {
            super::copy_up::copy(&target, &mount)?;
        }
        self.change(&mount, self.step.recursive, Reach::Recursive)?;
        self.place(&mount, &target)?;
        if later {
            mounted.readonly.push(mount);
        }
        Ok(())
    }

    /// Options that the configuration leaves to the runtime.
    fn complete_options(
        &self,
        filesystem: &Filesystem,
        context: &mut FsContext,
        target: &OwnedFd,
    ) -> Result<()> {
        let given = |name: &str| filesystem.options.iter().any(|(key, _)| key == name);
        if filesystem.fs_type == "tmpfs" && !given("mode") {
            // What is mounted over keeps its permissions, sticky bit and all.
            let mode = fstat(target)?.st_mode & 0o7777;
            context.set("mode", Some(&format!("{mode:o}")))?;
        }
        let labelled = !matches!(filesystem.fs_type.as_str(), "proc" | "sysfs");
        if let Some(label) = self
            .plan
            .mount_label
            .as_ref()
            .filter(|_| labelled && !given("context"))
        {
            context.set("context", Some(label))?;
        }
        Ok(())
    }

    /// The attributes for fsmount, and whether read-only has to wait: a tmpfs (as `/dev` is) is
    /// still to be filled.
    fn split_readonly(&self, filesystem: &Filesystem) -> (u64, bool) {
        let wanted = self.step.attributes.set;
        if filesystem.fs_type == "tmpfs" && wanted & attr::RDONLY != 0 {
            (wanted & !attr::RDONLY, true)
        } else {
            (wanted, false)
        }
    }

    fn cgroup(&self, mounted: &mut Mounted) -> Result<()> {
        let target = self.target(Missing::Directory, Links::Refused)?;
        let attributes = self.step.attributes.set;
        match &self.inheritance.cgroup_view {
            View::None => bail!("no cgroup file system is mounted on this host"),
            View::Unified { own, namespaced } => {
                let mount = if *namespaced {
                    FsContext::open("cgroup2")?.mount(attributes)?
                } else {
                    self.bound(own, attributes)?
                };
                self.place(&mount, &target)
            }
            View::Hierarchies { list, namespaced } => {
                let mut context = FsContext::open("tmpfs")?;
                context.set("mode", Some("755"))?;
                context.set("source", Some("tmpfs"))?;
                let mount = context.mount(attributes & !attr::RDONLY)?;
                self.place(&mount, &target)?;
                for hierarchy in list {
                    self.hierarchy(hierarchy, *namespaced, attributes)?;
                }
                if attributes & attr::RDONLY != 0 {
                    mounted.readonly.push(mount);
                }
                Ok(())
            }
        }
    }

    /// One hierarchy of version 1 below `/sys/fs/cgroup`, and a link for each controller in it.
    fn hierarchy(
        &self,
        hierarchy: &crate::cgroup_view::HierarchyView,
        namespaced: bool,
        attributes: u64,
    ) -> Result<()> {
        let place = self.step.destination.join(&hierarchy.name);
        let target = self
            .root
            .target(&place, Missing::Directory, Links::Refused)?;
        let mount = if namespaced {
            let mut context = FsContext::open(if hierarchy.unified {
                "cgroup2"
            } else {
                "cgroup"
            })?;
            for option in &hierarchy.options {
                let (key, value) = option
                    .split_once('=')
                    .map_or((option.as_str(), None), |(k, v)| (k, Some(v)));
                context.set(key, value)?;
            }
            context.mount(attributes)?
        } else {
            self.bound(&hierarchy.own, attributes)?
        };
        sys::mount::move_mount(&mount, &target)?;
        for link in &hierarchy.links {
            let at =
                self.root
                    .target(&self.step.destination, Missing::Directory, Links::Refused)?;
            nix::unistd::symlinkat(
                hierarchy.name.as_str(),
                reopened(&at)?.as_fd(),
                link.as_str(),
            )
            .with_context(|| format!("symlinkat({:?}, {link:?})", hierarchy.name))?;
        }
        Ok(())
    }

    fn bound(&self, source: &Path, attributes: u64) -> Result<OwnedFd> {
        let tree = sys::mount::open_tree_clone(open_path(source)?, Reach::One)?;
        let attr = MountAttr {
            set: attributes,
            ..MountAttr::default()
        };
        sys::mount::mount_setattr(&tree, attr, Reach::One)?;
        Ok(tree)
    }

    fn remount(&self) -> Result<()> {
        let mount = self
            .root
            .root()
            .lookup(&self.step.destination, Links::InRoot)?;
        self.change(&mount, self.step.attributes, Reach::One)?;
        self.change(&mount, self.step.recursive, Reach::Recursive)?;
        self.propagate(&mount)
    }

    fn target(&self, missing: Missing, links: Links) -> Result<OwnedFd> {
        let target = self.root.target(&self.step.destination, missing, links)?;
        self.refuse_inside_proc(&target)?;
        Ok(target)
    }

    /// Refuses a destination that a link of the image has led into `/proc`.
    fn refuse_inside_proc(&self, target: &OwnedFd) -> Result<()> {
        if fstatfs(target)?.filesystem_type() != PROC_SUPER_MAGIC {
            return Ok(());
        }
        let below = self.step.destination.strip_prefix("/proc");
        let allowed = below.is_ok_and(|below| below == Path::new("") || may_cover_in_proc(below));
        if allowed {
            return Ok(());
        }
        bail!(
            "{:?} cannot be mounted because it is inside /proc",
            self.step.destination
        )
    }

    fn change(&self, mount: &OwnedFd, change: AttrChange, reach: Reach) -> Result<()> {
        if change.is_nothing() {
            return Ok(());
        }
        let attr = MountAttr {
            set: change.set,
            clear: change.clear,
            ..MountAttr::default()
        };
        sys::mount::mount_setattr(mount, attr, reach).context(
            "change its flags (EPERM: a flag that the source's more privileged owner has locked)",
        )
    }

    fn place(&self, mount: &OwnedFd, target: &OwnedFd) -> Result<()> {
        sys::mount::move_mount(mount, target)?;
        self.propagate(mount)
    }

    fn propagate(&self, mount: &OwnedFd) -> Result<()> {
        for flags in &self.step.propagation {
            let reach = if flags.contains(MsFlags::MS_REC) {
                Reach::Recursive
            } else {
                Reach::One
            };
            let attr = MountAttr::propagating(*flags & !MsFlags::MS_REC);
            sys::mount::mount_setattr(mount, attr, reach)?;
        }
        Ok(())
    }
}

/// A descriptor on which directory operations work, of one that is only a place (`O_PATH`).
fn reopened(at: &OwnedFd) -> Result<OwnedFd> {
    let flags = nix::fcntl::OFlag::O_DIRECTORY | nix::fcntl::OFlag::O_CLOEXEC;
    nix::fcntl::openat(at, ".", flags, nix::sys::stat::Mode::empty())
        .context("openat(., O_DIRECTORY)")
}

/// A detached copy of the source of a bind mount, by init itself or, where its user may not
/// look, by the runtime.
fn source_tree(source: &Path, reach: Reach, index: usize, channel: &Channel) -> Result<OwnedFd> {
    match open_path(source) {
        Ok(fd) => Ok(sys::mount::open_tree_clone(&fd, reach)?),
        Err(error) if is_denied(&error) => fetch(channel, index + 1),
        Err(error) => Err(error),
    }
}

/// Adds the usual reason to an error that names none.
fn explain(filesystem: &Filesystem, error: sys::SyscallError) -> anyhow::Error {
    let errno = error.errno();
    let hint = match (filesystem.fs_type.as_str(), errno) {
        ("proc", sys::Errno::EPERM) => {
            "the /proc that this user namespace sees is partly covered, and the kernel shows no more of it"
        }
        ("sysfs", sys::Errno::EPERM) => {
            "a sysfs needs a network namespace made by the same user namespace"
        }
        ("devpts", sys::Errno::EINVAL) => {
            "is the group of option gid= mapped into the user namespace?"
        }
        _ => return error.into(),
    };
    anyhow::Error::from(error).context(hint)
}
