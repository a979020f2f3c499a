//! The rungs below the mount calls of Linux 5.2 and 5.12, down to what mount(2) alone can do.
//!
//! Without open_tree(2), fsopen(2), move_mount(2) or mount_setattr(2) (an older kernel, or a
//! sandbox that hides them) there are no detached mounts whose attributes can be set. A mount
//! then waits on a stage instead: a tmpfs of this mount namespace that nobody else sees, out of
//! the way of every path. It is held by descriptor there as a detached one would be, changed by
//! remounting, and moved to its place by `MS_MOVE`; a descriptor stays good through all of it.
//! Every place is named as `/proc/self/fd/N`, so no path of a container is resolved here either.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, SFlag, mkdirat};

use crate::error::{Result, SyscallError, SyscallResult};
use crate::mount::{MountAttr, Reach, attr};
use crate::mountinfo::{self, Mount};
use crate::root::{kind, mount_id};

const PATH: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);

/// Where mounts wait, and how many have waited.
struct Stage {
    directory: OwnedFd,
    count: u32,
}

static STAGE: Mutex<Option<Stage>> = Mutex::new(None);

/// Makes the stage at `place`, a directory that something else is about to be mounted on.
///
/// The calling process must be in a mount namespace of its own, and no mount may pass from
/// `place` to others.
pub(crate) fn make(place: &Path) -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("stage"), place, Some("tmpfs"), flags, Some("mode=700"))
        .call(|| format!("mount(\"stage\", {place:?}, \"tmpfs\")"))?;
    // Or a recursive bind of what it covers would take it along.
    crate::mount::set_propagation(place, MsFlags::MS_UNBINDABLE)?;
    let flags = OFlag::O_DIRECTORY | PATH;
    let directory = nix::fcntl::open(place, flags, Mode::empty())
        .call(|| format!("open({place:?}, O_PATH)"))?;
    let mut stage = STAGE.lock().unwrap_or_else(|poison| poison.into_inner());
    *stage = Some(Stage {
        directory,
        count: 0,
    });
    Ok(())
}

/// Whether there is one: then no call for detached mounts is used.
pub(crate) fn is_made() -> bool {
    let stage = STAGE.lock().unwrap_or_else(|poison| poison.into_inner());
    stage.is_some()
}

/// Makes an empty place on the stage, has `fill` mount something on it, and opens that.
fn staged(kind: SFlag, fill: impl FnOnce(&Path) -> Result<()>) -> Result<OwnedFd> {
    let mut stage = STAGE.lock().unwrap_or_else(|poison| poison.into_inner());
    let Some(stage) = stage.as_mut() else {
        return Err(SyscallError::new(
            "open_tree(2) or fsopen(2)",
            Errno::ENOSYS,
        ));
    };
    stage.count += 1;
    let name = stage.count.to_string();
    let name = name.as_str();
    let call = || format!("make {name:?} on the stage");
    if kind == SFlag::S_IFDIR {
        mkdirat(&stage.directory, name, Mode::from_bits_truncate(0o700)).call(call)?;
    } else {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        openat(
            &stage.directory,
            name,
            flags,
            Mode::from_bits_truncate(0o600),
        )
        .call(call)?;
    }
    let open = || {
        openat(
            &stage.directory,
            name,
            PATH | OFlag::O_NOFOLLOW,
            Mode::empty(),
        )
    };
    let place = open().call(call)?;
    fill(&path_of(&place))?;
    // The same name now leads to what covers the place.
    open().call(call)
}

/// A mount of its own of what `source` is open on: `mount(MS_BIND)`.
pub(crate) fn bind(source: impl AsFd, reach: Reach) -> Result<OwnedFd> {
    let from = path_of(&source);
    let mut flags = MsFlags::MS_BIND;
    if reach == Reach::Recursive {
        flags |= MsFlags::MS_REC;
    }
    staged(kind(&source)?, |place| {
        mount(Some(&from), place, None::<&str>, flags, None::<&str>)
            .call(|| format!("mount({from:?}, {place:?}, {flags:?})"))
    })
}

/// A new instance of a file system: mount(2) with its options.
pub(crate) fn file_system(
    fs_type: &str,
    options: &[(String, Option<String>)],
    attributes: u64,
) -> Result<OwnedFd> {
    let mut source = fs_type;
    let mut data = Vec::new();
    let mut flags = MsFlags::empty();
    for (key, value) in options {
        match (key.as_str(), value) {
            ("source", Some(value)) => source = value,
            (name, None) if superblock_flag(name).is_some() => {
                flags |= superblock_flag(name).unwrap_or(MsFlags::empty());
            }
            (key, Some(value)) => data.push(format!("{key}={value}")),
            (key, None) => data.push(key.to_owned()),
        }
    }
    let data = data.join(",");
    let mounted = staged(SFlag::S_IFDIR, |place| {
        mount(
            Some(source),
            place,
            Some(fs_type),
            flags,
            Some(data.as_str()),
        )
        .call(|| format!("mount({source:?}, {place:?}, {fs_type:?}, {flags:?}, {data:?})"))
    })?;
    // Not with the mount(2) above: there read-only would mean the superblock, too.
    let attributes = MountAttr {
        set: attributes,
        clear: attr::ATIME_MASK & !attributes,
        ..MountAttr::default()
    };
    set_attributes(&mounted, attributes, Reach::One)?;
    Ok(mounted)
}

fn superblock_flag(name: &str) -> Option<MsFlags> {
    Some(match name {
        "sync" => MsFlags::MS_SYNCHRONOUS,
        "dirsync" => MsFlags::MS_DIRSYNC,
        "mand" => MsFlags::MS_MANDLOCK,
        "lazytime" => MsFlags::MS_LAZYTIME,
        "iversion" => MsFlags::MS_I_VERSION,
        _ => return None,
    })
}

/// Moves the mount that `tree` is open on: `mount(MS_MOVE)`.
pub(crate) fn move_to(tree: impl AsFd, target: impl AsFd) -> Result<()> {
    let (from, to) = (path_of(&tree), path_of(&target));
    mount(
        Some(&from),
        &to,
        None::<&str>,
        MsFlags::MS_MOVE,
        None::<&str>,
    )
    .call(|| format!("mount({from:?}, {to:?}, MS_MOVE)"))
}

/// What mount_setattr(2) does, by remounting each mount with its other flags kept.
pub(crate) fn set_attributes(tree: impl AsFd, change: MountAttr, reach: Reach) -> Result<()> {
    if change.set & attr::IDMAP != 0 {
        let call = "mount_setattr(MOUNT_ATTR_IDMAP), which no older call can stand for";
        return Err(SyscallError::new(call, Errno::ENOSYS));
    }
    let tree = tree.as_fd();
    let id = mount_id(tree)?;
    let mut table = mountinfo::own()?;
    if table.iter().all(|mount| mount.id != id) {
        // mount(2) changes nothing that is detached.
        staged(kind(tree)?, |place| {
            let place = nix::fcntl::open(place, PATH, Mode::empty())
                .call(|| format!("open({place:?}, O_PATH)"))?;
            crate::mount::move_mount(tree, place)
        })?;
        table = mountinfo::own()?;
    }
    change_one(tree, change)?;
    if reach == Reach::One {
        return Ok(());
    }
    let below = below(&table, id);
    let top = table.iter().find(|mount| mount.id == id);
    let top = top
        .map(|mount| mount.point.as_path())
        .unwrap_or(Path::new("/"));
    for mount in &below {
        let relative = mount.point.strip_prefix(top).unwrap_or(&mount.point);
        let found = descend(tree, relative)?;
        let reached = mount_id(&found)?;
        if reached == mount.id {
            change_one(&found, change)?;
        } else if below.iter().all(|other| other.id != reached) {
            // One that is covered by another of the tree cannot be reached by anybody.
            return Err(SyscallError::new(
                format!("remount({relative:?})"),
                Errno::EAGAIN,
            ));
        }
    }
    Ok(())
}

fn change_one(tree: impl AsFd, change: MountAttr) -> Result<()> {
    let path = path_of(&tree);
    let none = None::<&str>;
    if change.propagation != 0 {
        let flags = MsFlags::from_bits_truncate(change.propagation as _);
        mount(none, &path, none, flags, none)
            .call(|| format!("mount(NULL, {path:?}, {flags:?})"))?;
    }
    let now = attributes_of(&tree)?;
    let wanted = now & !change.clear | change.set;
    if wanted == now {
        return Ok(());
    }
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | flags_of(wanted);
    mount(none, &path, none, flags, none).call(|| format!("mount(NULL, {path:?}, {flags:?})"))
}

/// `ST_NOSYMFOLLOW` of statvfs(2), and `MS_NOSYMFOLLOW` of mount(2) (Linux 5.10).
const ST_NOSYMFOLLOW: libc::c_ulong = 0x2000;
/// `ST_RELATIME` of statvfs(2), which musl has no name for.
const ST_RELATIME: libc::c_ulong = 0x1000;
const MS_NOSYMFOLLOW: u64 = 0x100;

const PAIRS: [(libc::c_ulong, u64); 7] = [
    (libc::ST_RDONLY, attr::RDONLY),
    (libc::ST_NOSUID, attr::NOSUID),
    (libc::ST_NODEV, attr::NODEV),
    (libc::ST_NOEXEC, attr::NOEXEC),
    (libc::ST_NOATIME, attr::NOATIME),
    (libc::ST_NODIRATIME, attr::NODIRATIME),
    (ST_NOSYMFOLLOW, attr::NOSYMFOLLOW),
];

fn attributes_of(tree: impl AsFd) -> Result<u64> {
    let flags = mount_flags(tree)?;
    let set = PAIRS.iter().filter(|(flag, _)| flags & flag != 0);
    let mut attributes = set.fold(0, |all, (_, bit)| all | bit);
    if flags & (libc::ST_NOATIME | ST_RELATIME) == 0 {
        attributes |= attr::STRICTATIME;
    }
    Ok(attributes)
}

/// Every bit that the kernel tells; nix keeps those that the C library has a name for.
fn mount_flags(tree: impl AsFd) -> Result<libc::c_ulong> {
    // SAFETY: all-zero bytes are a valid statvfs, and fstatvfs writes one.
    let (status, stat) = unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        let status = libc::fstatvfs(tree.as_fd().as_raw_fd(), &raw mut stat);
        (status, stat)
    };
    Errno::result(status).call(|| "fstatvfs(a mount)".into())?;
    Ok(stat.f_flag)
}

fn flags_of(attributes: u64) -> MsFlags {
    // The first four and the two of access times have other numbers in mount(2).
    let numbers = [
        (attr::RDONLY, MsFlags::MS_RDONLY),
        (attr::NOSUID, MsFlags::MS_NOSUID),
        (attr::NODEV, MsFlags::MS_NODEV),
        (attr::NOEXEC, MsFlags::MS_NOEXEC),
        (attr::NOATIME, MsFlags::MS_NOATIME),
        (attr::STRICTATIME, MsFlags::MS_STRICTATIME),
        (attr::NODIRATIME, MsFlags::MS_NODIRATIME),
    ];
    let set = numbers.iter().filter(|(bit, _)| attributes & bit != 0);
    let mut flags = set.fold(MsFlags::empty(), |all, (_, flag)| all | *flag);
    if attributes & attr::ATIME_MASK == attr::RELATIME {
        flags |= MsFlags::MS_RELATIME;
    }
    if attributes & attr::NOSYMFOLLOW != 0 {
        flags |= MsFlags::from_bits_retain(MS_NOSYMFOLLOW as _);
    }
    flags
}

/// Everything that is mounted on the mount `top` or below it.
fn below(table: &[Mount], top: u64) -> Vec<&Mount> {
    let mut found: Vec<&Mount> = Vec::new();
    let mut parents = vec![top];
    while let Some(parent) = parents.pop() {
        for mount in table
            .iter()
            .filter(|mount| mount.parent == parent && mount.id != top)
        {
            parents.push(mount.id);
            found.push(mount);
        }
    }
    found
}

/// Opens what is mounted at `path` below `top`, through no symbolic link.
fn descend(top: impl AsFd, path: &Path) -> Result<OwnedFd> {
    let mut at = top
        .as_fd()
        .try_clone_to_owned()
        .call(|| "fcntl(F_DUPFD_CLOEXEC)".into())?;
    for name in path.iter() {
        at = openat(&at, name, PATH | OFlag::O_NOFOLLOW, Mode::empty())
            .call(|| format!("openat({name:?}, O_PATH|O_NOFOLLOW)"))?;
    }
    Ok(at)
}

fn path_of(fd: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mounts_below_one_are_found_at_any_depth() {
        let mount = |id, parent| Mount {
            id,
            parent,
            device: String::new(),
            root: PathBuf::new(),
            point: PathBuf::new(),
            fs_type: String::new(),
        };
        let table = [
            mount(1, 1),
            mount(2, 1),
            mount(3, 2),
            mount(4, 3),
            mount(5, 1),
        ];
        let mut ids: Vec<u64> = below(&table, 2).iter().map(|mount| mount.id).collect();
        ids.sort_unstable();
        assert_eq!(ids, [3, 4]);
    }

    #[test]
    fn attributes_survive_the_way_through_mount_2() {
        let flags = flags_of(attr::RDONLY | attr::NODIRATIME | attr::NOSYMFOLLOW);
        assert!(flags.contains(MsFlags::MS_RDONLY | MsFlags::MS_NODIRATIME | MsFlags::MS_RELATIME));
        assert_eq!(flags.bits() & MS_NOSYMFOLLOW, MS_NOSYMFOLLOW);
        assert!(flags_of(attr::NOATIME).contains(MsFlags::MS_NOATIME));
        assert!(!flags_of(attr::NOATIME).contains(MsFlags::MS_RELATIME));
    }

    #[test]
    fn without_a_stage_the_error_is_that_of_the_missing_call() {
        let root = tempfile::tempdir().unwrap();
        let fd = nix::fcntl::open(root.path(), PATH, Mode::empty()).unwrap();
        assert_eq!(bind(&fd, Reach::One).unwrap_err().errno(), Errno::ENOSYS);
    }
}
