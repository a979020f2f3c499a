//! The mounts that cross the container's border: which of them CRIU must be told of at a
//! checkpoint, what they are made of at a restore, and that nothing in the rootfs leads astray
//! whoever mounts there by path.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use nix::sys::stat::SFlag;
use sys::Errno;
use sys::mount::Reach;
use sys::root::{Links, Missing, Root};

use super::images::ImageMount;
use crate::cgroup_view::View;
use crate::init::rootfs::open_path;
use crate::plan::Plan;
use crate::plan::mounts::{MountStep, What};

/// Kinds of file system that belong to a namespace: CRIU mounts them anew.
const OF_NAMESPACES: [&str; 4] = ["proc", "sysfs", "mqueue", "devpts"];

/// A line of mountinfo (proc_pid_mountinfo(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountInfo {
    device: String,
    root: PathBuf,
    place: PathBuf,
    fs_type: String,
}

impl MountInfo {
    /// The mounts that process `pid` sees.
    pub fn of(pid: &str) -> Result<Vec<Self>> {
        let path = format!("/proc/{pid}/mountinfo");
        let mounts = sys::mountinfo::read(Path::new(&path))?;
        Ok(mounts.into_iter().map(Self::from).collect())
    }
}

impl From<sys::mountinfo::Mount> for MountInfo {
    fn from(mount: sys::mountinfo::Mount) -> Self {
        Self {
            device: mount.device,
            root: mount.root,
            place: mount.point,
            fs_type: mount.fs_type,
        }
    }
}

/// Where the mounts `inside` a container come from outside, of which `outside` is seen here and
/// `bound` are the places of its bind mounts.
pub fn external<'a>(
    inside: &'a [MountInfo],
    outside: &[MountInfo],
    bound: &[PathBuf],
) -> Vec<&'a Path> {
    let Some(root) = inside.iter().find(|mount| mount.place == Path::new("/")) else {
        return Vec::new();
    };
    let is_external = |mount: &&MountInfo| {
        if mount.place == Path::new("/") {
            return false;
        }
        if mount.fs_type.starts_with("cgroup") {
            return true;
        }
        if bound.iter().any(|place| mount.place.starts_with(place)) {
            return true;
        }
        let within = mount.device == root.device && mount.root.starts_with(&root.root);
        let seen = || outside.iter().any(|other| other.device == mount.device);
        !within && !OF_NAMESPACES.contains(&mount.fs_type.as_str()) && seen()
    };
    inside
        .iter()
        .filter(is_external)
        .map(|mount| mount.place.as_path())
        .collect()
}

/// Where the steps' destinations really are in the root file system `root`, which is at `rootfs`
/// here: a link of the image may lead elsewhere inside. Of a path that is not there yet, that goes
/// for its part that is.
pub fn places(steps: &[MountStep], root: &Root, rootfs: &Path) -> Vec<PathBuf> {
    let place = |step: &MountStep| {
        let mut parents = step.destination.ancestors();
        let found = parents.find_map(|parent| {
            let real = path_of(&root.lookup(parent, Links::InRoot).ok()?)?;
            let below = step.destination.strip_prefix(parent).ok()?;
            Some(
                Path::new("/")
                    .join(real.strip_prefix(rootfs).ok()?)
                    .join(below),
            )
        });
        found.unwrap_or_else(|| step.destination.clone())
    };
    steps.iter().map(place).collect()
}

/// The path of an open file, from the root of the mount namespace that it is in.
fn path_of(fd: &OwnedFd) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()
}

/// The key of an external mount. CRIU reads `mnt[KEY]:VALUE`, so a directory called `x]:` would
/// let an image choose the value: such a place is refused (CVE-2026-115520).
pub fn key(place: &Path) -> Result<&str> {
    match place.to_str() {
        Some(text) if !text.contains(['[', ']']) => Ok(text),
        _ => bail!("a mount at {place:?} cannot be named to CRIU: it has a bracket in its path"),
    }
}

/// What the external mounts of the images are made of here.
pub struct Sources<'a> {
    /// The configuration, decided.
    pub plan: &'a Plan,
    /// Where its mounts really are, from [`places`].
    pub places: Vec<PathBuf>,
    /// What `/sys/fs/cgroup` shows.
    pub view: &'a View,
}

impl Sources<'_> {
    /// The path on this host for the external mount `key`.
    pub fn path(&self, key: &Path) -> Result<PathBuf> {
        let steps = self.plan.mounts.iter().zip(&self.places);
        let covering =
            steps.filter_map(|(step, place)| Some((step, key.strip_prefix(place).ok()?)));
        // The nearest; of those at one place the last, which covers the others.
        let nearest = covering.min_by_key(|(_, below)| below.components().count());
        let source = nearest.and_then(|(step, below)| match &step.what {
            What::Bind { source, .. } if below == Path::new("") => Some(source.clone()),
            What::Bind { source, reach, .. } if *reach == Reach::Recursive => {
                Some(source.join(below))
            }
            What::Cgroup => self.cgroup(below),
            _ => None,
        });
        if let Some(source) = source {
            return Ok(source);
        }
        let is_key = |path: &PathBuf| path == key;
        if self.plan.rootfs.masked_paths.iter().any(is_key) {
            return Ok("/dev/null".into());
        }
        if self.plan.devices.iter().any(|node| is_key(&node.path)) {
            return Ok(key.to_owned());
        }
        bail!("the images have a mount from outside at {key:?}, and config.json none (/mounts)")
    }

    fn cgroup(&self, below: &Path) -> Option<PathBuf> {
        match self.view {
            View::Unified { shown, .. } => Some(shown.join(below)),
            View::Hierarchies { list, .. } => {
                let mut parts = below.components();
                let first = parts.next()?;
                let hierarchy = list
                    .iter()
                    .find(|hierarchy| Path::new(&hierarchy.name) == Path::new(&first))?;
                Some(hierarchy.own.join(parts.as_path()))
            }
            View::None => None,
        }
    }
}

/// Makes what the mounts of the images are put on, where it is missing, and refuses a symbolic
/// link on the way: CRIU mounts by path, and would follow it to the host (CVE-2026-119101).
///
/// A mount on another one is looked for in what that one will show: the rootfs, or a directory of
/// the host; what is on a file system that CRIU fills itself is as it was.
pub fn prepare(mounts: &[ImageMount], rootfs: &Path, sources: &Sources<'_>) -> Result<()> {
    for mount in mounts {
        let parent = mounts.iter().find(|other| other.id == mount.parent);
        // The root itself.
        let Some(parent) = parent.filter(|_| mount.place != Path::new("/")) else {
            continue;
        };
        let Ok(below) = mount.place.strip_prefix(&parent.place) else {
            bail!(
                "the images have a mount at {:?} on one elsewhere",
                mount.place
            );
        };
        let base = match &parent.key {
            None if parent.place == Path::new("/") => rootfs.to_owned(),
            None => continue,
            Some(key) => sources.path(Path::new(key))?,
        };
        let file = match &mount.key {
            Some(key) => is_file(&sources.path(Path::new(key))?)?,
            None => false,
        };
        let missing = if file {
            Missing::File
        } else {
            Missing::Directory
        };
        let place = Path::new("/").join(below);
        let root = Root::new(open_path(&base)?);
        let made = root.create_target(&place, missing, Links::Refused);
        made.map_err(|error| explain(error, &mount.place, &base))?;
    }
    Ok(())
}

fn is_file(path: &Path) -> Result<bool> {
    Ok(sys::root::kind(&open_path(path)?)? != SFlag::S_IFDIR)
}

fn explain(error: sys::SyscallError, place: &Path, base: &Path) -> anyhow::Error {
    let text = match error.errno() {
        Errno::ELOOP => format!(
            "the images have a mount at {place:?}, and there is a symbolic link on the way in \
             {base:?}: CRIU would follow it out of the container"
        ),
        _ => format!("the place of a mount at {place:?}"),
    };
    anyhow::Error::from(error).context(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Vec<MountInfo> {
        let mounts = sys::mountinfo::parse(text.as_bytes());
        mounts.into_iter().map(MountInfo::from).collect()
    }

    const INSIDE: &str = "\
60 50 8:1 /b/rootfs / rw - ext4 /dev/sda rw
61 60 0:40 / /proc rw - proc proc rw
62 60 0:41 / /dev rw - tmpfs tmpfs rw
63 62 0:42 / /dev/pts rw - devpts devpts rw
64 60 8:1 /srv/a\\040b /data rw - ext4 /dev/sda rw
65 61 0:5 /null /proc/kcore rw - devtmpfs udev rw
66 60 8:1 /b/rootfs/etc /etc ro - ext4 /dev/sda rw
67 60 0:30 /x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
68 61 0:50 / /proc/acpi ro - tmpfs tmpfs ro";
    const OUTSIDE: &str = "\
20 1 8:1 / / rw - ext4 /dev/sda rw
21 20 0:5 / /dev rw - devtmpfs udev rw
22 20 0:6 / /dev/pts rw - devpts devpts rw";

    #[test]
    fn what_comes_from_outside_is_told_from_what_was_made_inside() {
        let (inside, outside) = (parse(INSIDE), parse(OUTSIDE));
        let found = external(&inside, &outside, &[]);
        let wanted = ["/data", "/proc/kcore", "/sys/fs/cgroup/memory"].map(Path::new);
        assert_eq!(found, wanted);
        // Of another mount namespace, so not seen here.
        let found = external(&inside, &[], &["/data".into()]);
        assert_eq!(
            found,
            [Path::new("/data"), Path::new("/sys/fs/cgroup/memory")]
        );
        assert_eq!(inside[4].root, Path::new("/srv/a b"));
    }

    #[test]
    fn a_place_with_a_bracket_is_refused() {
        assert_eq!(key(Path::new("/a b")).unwrap(), "/a b");
        assert!(key(Path::new("/x]:/etc")).is_err());
    }
}
