//! The mounts of config.json, one after the other, each put on a descriptor.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::MsFlags;
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, mkdirat};
use nix::sys::statfs::{FsType, PROC_SUPER_MAGIC, SYSFS_MAGIC, fstatfs};
use sys::SyscallError;
use sys::mount::{FsContext, MountAttr, Reach, attr};
use sys::root::{Links, Missing};

use super::Inheritance;
use super::nested;
use super::rootfs::{Rootfs, fetch, is_denied, open_place};
use crate::cgroup_view::View;
use crate::plan::mounts::{AttrChange, Filesystem, Link, What, may_cover_in_proc};
use crate::plan::{Kind, MountStep, Namespaces, Plan};
use crate::procfs::HostProc;
use crate::sync::{Channel, FromInit, ToInit};
use crate::timeline;

/// Mounts that are to become read-only when nothing is made below them any more.
#[derive(Debug, Default)]
#[must_use = "the mounts are still writable until finish()"]
pub struct Mounted {
    readonly: Vec<OwnedFd>,
    /// In a container that lives: every mount that was attached, in order.
    pub attached: Vec<OwnedFd>,
}

impl Mounted {
    /// Makes them read-only.
    pub fn finish(&mut self) -> Result<()> {
        let readonly = MountAttr {
            set: attr::RDONLY,
            ..MountAttr::default()
        };
        for mount in std::mem::take(&mut self.readonly) {
            sys::mount::mount_setattr(&mount, readonly, Reach::One)
                .context("make a mount read-only")?;
        }
        Ok(())
    }
}

/// The file system root at `step`'s destination in a container that lives and may have replaced
/// any directory of its own meanwhile: no link leads there, and it hides nothing of `/proc` and
/// `/sys`, whose masks and read-only parts are mounts, too.
pub fn live_place(root: &Rootfs, step: &MountStep) -> Result<OwnedFd> {
    let destination = &step.destination;
    let refuse = |reason: &str| {
        bail!(
            "config.json {}/destination: {destination:?} {reason}",
            step.pointer
        )
    };
    let guarded = ["/proc", "/sys"];
    if guarded
        .iter()
        .any(|guarded| destination.starts_with(guarded))
    {
        return refuse("is in /proc or /sys, which stay as they were created");
    }
    let place = match root.root().lookup(destination, Links::Refused) {
        Err(error) if error.errno() == Errno::ELOOP => {
            return refuse("is reached by a symbolic link, which the container may have made");
        }
        other => other?,
    };
    if sys::root::is_mount_root(&place)? == Some(false) {
        return refuse("is no mount: nothing is mounted there");
    }
    if is_proc_or_sys(fstatfs(&place)?.filesystem_type()) {
        return refuse("is part of a procfs or sysfs, which stay as they were created");
    }
    Ok(place)
}

fn is_proc_or_sys(found: FsType) -> bool {
    found == PROC_SUPER_MAGIC || found == SYSFS_MAGIC
}

/// Whether the container's `/dev` is a directory of the host, which is left as it is.
pub fn dev_is_bound(plan: &Plan) -> bool {
    let is_dev = |step: &&MountStep| step.destination == Path::new("/dev");
    plan.mounts
        .iter()
        .rfind(is_dev)
        .is_some_and(|step| matches!(step.what, What::Bind { .. }))
}

/// The SELinux context of a new file system: the container's, unless the configuration gives one
/// itself. The kernel labels procfs and sysfs by its policy alone. It goes as one value, so the
/// comma in its categories needs no quotes.
fn label_option<'a>(filesystem: &Filesystem, label: Option<&'a str>) -> Option<&'a str> {
    let labelled = !matches!(filesystem.fs_type.as_str(), "proc" | "sysfs");
    let given = |(key, _): &(String, Option<String>)| key.ends_with("context");
    label.filter(|_| labelled && !filesystem.options.iter().any(given))
}

/// Performs every step of the plan in order.
pub fn mount_all(
    plan: &Plan,
    root: &Rootfs,
    inheritance: &Inheritance,
    proc: &HostProc,
) -> Result<Mounted> {
    let around = Around {
        root,
        channel: &inheritance.channel,
        cgroup_view: &inheritance.cgroup_view,
        namespaces: &plan.namespaces,
        mount_label: plan.mount_label.as_deref(),
        proc,
        sources: Sources::Own,
    };
    let mut mounted = Mounted::default();
    for (index, step) in plan.mounts.iter().enumerate() {
        let _step = timeline::step_of(|| format!("mount {}", step.destination.display()));
        around.perform(index, step, &mut mounted)?;
    }
    Ok(mounted)
}

/// What all steps have in common.
pub struct Around<'a> {
    /// Where destinations are.
    pub root: &'a Rootfs,
    /// The runtime's ear.
    pub channel: &'a Channel,
    /// What `/sys/fs/cgroup` will show.
    pub cgroup_view: &'a View,
    /// The container's namespaces.
    pub namespaces: &'a Namespaces,
    /// SELinux: label of the mounts.
    pub mount_label: Option<&'a str>,
    /// The host's procfs.
    pub proc: &'a HostProc,
    /// Who opens the sources of bind mounts.
    pub sources: Sources,
}

/// Who opens the sources of bind mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sources {
    /// This process, in whose mount namespace the host still is; else the runtime.
    Own,
    /// The runtime alone.
    Runtime,
}

impl Around<'_> {
    /// Performs one step of the plan; `index` is what the runtime knows it by.
    pub fn perform(&self, index: usize, step: &MountStep, mounted: &mut Mounted) -> Result<()> {
        let mounter = Mounter {
            around: self,
            step,
            index,
        };
        mounter.perform(mounted).with_context(|| {
            let source = describe(&step.what);
            format!(
                "error mounting {source:?} to rootfs at {:?} (config.json {})",
                step.destination, step.pointer
            )
        })
    }
}

fn describe(what: &What) -> PathBuf {
    match what {
        What::Bind { source, .. } => source.clone(),
        What::Symlink(text) => text.clone(),
        What::Filesystem(filesystem) => PathBuf::from(&filesystem.source),
        What::Cgroup => "cgroup".into(),
        What::Remount => "remount".into(),
    }
}

struct Mounter<'a> {
    around: &'a Around<'a>,
    step: &'a MountStep,
    index: usize,
}

impl Mounter<'_> {
    fn perform(&self, mounted: &mut Mounted) -> Result<()> {
        match &self.step.what {
            What::Bind {
                source,
                reach,
                link,
            } => self.bind(source, *reach, *link, mounted),
            What::Symlink(text) => self.symlink(text),
            What::Filesystem(filesystem) => self.filesystem(filesystem, mounted),
            What::Cgroup => self.cgroup(mounted),
            What::Remount => self.remount(),
        }
    }

    fn bind(&self, source: &Path, reach: Reach, link: Link, mounted: &mut Mounted) -> Result<()> {
        let tree = self.source_tree(source, reach, link)?;
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
        self.map_ids(&tree)?;
        self.place(&tree, &target, mounted)
    }

    /// A detached copy of the source, by this process or, where its user may not look, by the
    /// runtime.
    fn source_tree(&self, source: &Path, reach: Reach, link: Link) -> Result<OwnedFd> {
        let fetch = || fetch(self.around.channel, self.index + 1);
        if self.around.sources == Sources::Runtime {
            return fetch();
        }
        let place = match open_place(source, link) {
            Err(error) if is_denied(&error) => return fetch(),
            other => other?,
        };
        match sys::mount::open_tree_clone(&place, reach) {
            // What is mounted below belongs to a more privileged namespace and is locked there:
            // the runtime may leave it out, a container's root may not.
            Err(error)
                if error.errno() == Errno::EINVAL
                    && self.around.namespaces.is_private(Kind::User) =>
            {
                fetch()
            }
            other => Ok(other?),
        }
    }

    /// A link like the one at the source; one that is there already must be the same.
    fn symlink(&self, text: &Path) -> Result<()> {
        let (parent, name) = sys::root::split(&self.step.destination)?;
        let parent = self
            .around
            .root
            .target(parent, Missing::Directory, Links::InRoot)?;
        match nix::unistd::symlinkat(text, &parent, name) {
            Err(Errno::EEXIST) => {}
            other => return Ok(other?),
        }
        let there = nix::fcntl::readlinkat(&parent, name).unwrap_or_default();
        if Path::new(&there) != text {
            bail!("something else is there already, and no link to {text:?}");
        }
        Ok(())
    }

    /// Has the runtime map the ids of a mount that is not attached yet: that needs power over
    /// the file system, which a container's root lacks.
    fn map_ids(&self, tree: &OwnedFd) -> Result<()> {
        if self.step.id_map.is_none() {
            return Ok(());
        }
        let channel = self.around.channel;
        channel.hand_over(&FromInit::MapMount(self.index), tree)?;
        // Heard before the mount is attached: afterwards the kernel refuses.
        channel.expect(&ToInit::Mapped).map(drop)
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
        let (attributes, later) = self.split_readonly(filesystem);
        let mount = self
            .new_instance(filesystem, &target, attributes)
            .or_else(|error| self.instead_of(filesystem, error, attributes))?;
        if filesystem.copy_up {
            super::copy_up::copy(self.around.proc, &target, &mount)?;
        }
        self.change(&mount, self.step.recursive, Reach::Recursive)?;
        self.map_ids(&mount)?;
        self.place(&mount, &target, mounted)?;
        if later {
            mounted.readonly.push(mount);
        }
        Ok(())
    }

    fn new_instance(
        &self,
        filesystem: &Filesystem,
        target: &OwnedFd,
        attributes: u64,
    ) -> Result<OwnedFd> {
        let mut context = FsContext::open(&filesystem.fs_type)?;
        context.set("source", Some(&filesystem.source))?;
        for (key, value) in &filesystem.options {
            context.set(key, value.as_deref())?;
        }
        self.complete_options(filesystem, &mut context, target)?;
        Ok(context.mount(attributes)?)
    }

    /// What stands in for a file system that the kernel makes no new instance of.
    fn instead_of(
        &self,
        filesystem: &Filesystem,
        error: anyhow::Error,
        attributes: u64,
    ) -> Result<OwnedFd> {
        let errno = error
            .downcast_ref::<SyscallError>()
            .map(SyscallError::errno);
        let namespaces = self.around.namespaces;
        let instead = match (filesystem.fs_type.as_str(), errno) {
            ("proc", Some(Errno::EPERM)) => self
                .is_as_bound(filesystem)
                .and_then(|()| nested::proc(namespaces, self.around.channel)),
            ("sysfs", Some(Errno::EPERM)) => self
                .is_as_bound(filesystem)
                .and_then(|()| nested::sys(namespaces)),
            ("devpts", Some(Errno::EINVAL)) => {
                return Err(error)
                    .context("is the group of option gid= mapped into the user namespace?");
            }
            _ => return Err(error),
        };
        let tree = instead.with_context(|| format!("{error:#}"))?;
        let attributes = AttrChange {
            set: attributes,
            clear: 0,
        };
        self.change(&tree, attributes, Reach::One)?;
        Ok(tree)
    }

    /// Whether a read-only bind of the one around has all that is asked for.
    fn is_as_bound(&self, filesystem: &Filesystem) -> Result<()> {
        let name = &filesystem.fs_type;
        if let Some((key, _)) = filesystem.options.first() {
            bail!("no new {name} can be mounted here, and the one around cannot be given {key:?}");
        }
        if self.step.recursive.clear & nested::HELD != 0 {
            bail!(
                "no new {name} can be mounted here, and the one around is bound read-only, nosuid, \
                 nodev and noexec with all below it, which the recursive options would undo"
            );
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
        match label_option(filesystem, self.around.mount_label) {
            Some(label) => Ok(context.set("context", Some(label))?),
            None => Ok(()),
        }
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
        match self.around.cgroup_view {
            View::None => bail!("no cgroup file system is mounted on this host"),
            View::Unified { shown, namespaced } => {
                let mount = if *namespaced {
                    FsContext::open("cgroup2")?.mount(attributes)?
                } else {
                    self.bound(shown, attributes)?
                };
                self.place(&mount, &target, mounted)
            }
            View::Hierarchies { list, namespaced } => {
                let mut context = FsContext::open("tmpfs")?;
                context.set("mode", Some("755"))?;
                context.set("source", Some("tmpfs"))?;
                let mount = context.mount(attributes & !attr::RDONLY)?;
                self.place(&mount, &target, mounted)?;
                for hierarchy in list {
                    self.hierarchy(&mount, hierarchy, *namespaced, attributes)?;
                }
                if !namespaced {
                    self.set_all_but_writable(&mount, attributes)?;
                }
                if attributes & attr::RDONLY != 0 {
                    mounted.readonly.push(mount);
                }
                Ok(())
            }
        }
    }

    /// One hierarchy of version 1 below `/sys/fs/cgroup`, which is the new `tmpfs`, and a link for
    /// each controller in it.
    fn hierarchy(
        &self,
        tmpfs: &OwnedFd,
        hierarchy: &crate::cgroup_view::HierarchyView,
        namespaced: bool,
        attributes: u64,
    ) -> Result<()> {
        let name = hierarchy.name.as_str();
        let below = || self.step.destination.join(name);
        // Nobody but us has seen this file system: a name in it leads nowhere else.
        match mkdirat(tmpfs, name, Mode::from_bits_truncate(0o755)) {
            // Two hierarchies whose places on the host end alike.
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno).with_context(|| format!("mkdirat({:?})", below())),
        }
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
            sys::mount::open_tree_clone_at(&hierarchy.own, Reach::One)?
        };
        sys::mount::move_mount_into(&mount, tmpfs, name)
            .with_context(|| format!("mount {:?}", below()))?;
        for link in &hierarchy.links {
            nix::unistd::symlinkat(name, tmpfs, link.as_str())
                .with_context(|| format!("symlinkat({name:?}, {link:?})"))?;
        }
        Ok(())
    }

    /// Gives every hierarchy on `tmpfs` its attributes by one call. It is still to be written to
    /// itself, whatever they are.
    fn set_all_but_writable(&self, tmpfs: &OwnedFd, attributes: u64) -> Result<()> {
        let all = AttrChange {
            set: attributes,
            clear: 0,
        };
        let writable = AttrChange {
            set: 0,
            clear: attributes & attr::RDONLY,
        };
        self.change(tmpfs, all, Reach::Recursive)?;
        self.change(tmpfs, writable, Reach::One)
    }

    fn bound(&self, source: &Path, attributes: u64) -> Result<OwnedFd> {
        let tree = sys::mount::open_tree_clone_at(source, Reach::One)?;
        let attr = MountAttr {
            set: attributes,
            ..MountAttr::default()
        };
        sys::mount::mount_setattr(&tree, attr, Reach::One)?;
        Ok(tree)
    }

    fn remount(&self) -> Result<()> {
        let root = self.around.root;
        let mount = match self.around.sources {
            Sources::Own => root.root().lookup(&self.step.destination, Links::InRoot)?,
            Sources::Runtime => live_place(root, self.step)?,
        };
        self.change(&mount, self.step.attributes, Reach::One)?;
        self.change(&mount, self.step.recursive, Reach::Recursive)?;
        self.propagate(&mount)
    }

    fn target(&self, missing: Missing, links: Links) -> Result<OwnedFd> {
        let destination = &self.step.destination;
        let target = match self.step.target_link {
            Link::Followed => self.around.root.target(destination, missing, links)?,
            Link::Itself => {
                let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
                match self.around.root.root().open(destination, flags, links) {
                    Err(error) if error.errno() == Errno::ENOENT => {
                        self.around.root.target(destination, missing, links)?
                    }
                    other => other?,
                }
            }
        };
        self.refuse_root(&target)?;
        self.refuse_inside_proc(&target)?;
        Ok(target)
    }

    /// Refuses a destination that a link has led to the container's root: what is mounted there
    /// covers everything, and the container goes on in what is covered.
    fn refuse_root(&self, target: &OwnedFd) -> Result<()> {
        let root = self.around.root.root();
        let identity = |stat: FileStat| (stat.st_dev, stat.st_ino);
        if identity(fstat(target)?) != identity(fstat(root)?)
            || sys::root::mount_id_of(target)? != sys::root::mount_id_of(root)?
        {
            return Ok(());
        }
        bail!(
            "config.json {}/destination: {:?} leads to the container's root",
            self.step.pointer,
            self.step.destination
        )
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
        sys::mount::mount_setattr(mount, attr, reach).map_err(|error| {
            let what = match error.errno() {
                Errno::EPERM if change.clear & attr::ATIME_MASK != 0 => {
                    "cannot change locked atime flags: the source belongs to a more privileged \
                     mount namespace"
                }
                Errno::EPERM => {
                    "cannot clear locked flags: the source belongs to a more privileged mount \
                     namespace"
                }
                _ => "change its flags",
            };
            anyhow::Error::from(error).context(what)
        })
    }

    fn place(&self, mount: &OwnedFd, target: &OwnedFd, mounted: &mut Mounted) -> Result<()> {
        if self.around.sources == Sources::Runtime {
            // Before, so that a failure leaves nothing that cannot be undone.
            let kept = mount.try_clone().context("fcntl(F_DUPFD_CLOEXEC)")?;
            sys::mount::move_mount(mount, target)?;
            mounted.attached.push(kept);
        } else {
            sys::mount::move_mount(mount, target)?;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_label_gives_way_to_one_of_the_configuration() {
        let label = "system_u:object_r:container_file_t:s0:c1,c2";
        let filesystem = |fs_type: &str, options: &[(&str, &str)]| Filesystem {
            fs_type: fs_type.into(),
            options: options
                .iter()
                .map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned())))
                .collect(),
            ..Filesystem::default()
        };
        let of = |fs_type, options| label_option(&filesystem(fs_type, options), Some(label));
        assert_eq!(of("tmpfs", &[("mode", "755")]), Some(label));
        assert_eq!(of("tmpfs", &[("context", "x")]), None);
        assert_eq!(of("tmpfs", &[("rootcontext", "x")]), None);
        assert_eq!((of("proc", &[]), of("sysfs", &[])), (None, None));
        assert_eq!(label_option(&filesystem("tmpfs", &[]), None), None);
    }
}
