//! [`Root`]: the root directory of a container, and the only way to one of its files.
//!
//! The tree below may belong to an attacker who changes it while we look: every lookup is one
//! openat2(2) with `RESOLVE_IN_ROOT`, which the kernel resolves as if the process were inside,
//! and what comes back is a descriptor, so nothing is resolved a second time (the class of
//! CVE-2021-30465, CVE-2024-45310 and a dozen others). openat2 exists since Linux 5.6; without it
//! [`Steps`] goes from descriptor to descriptor, which the same attacker gains nothing against.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use crate::error::{Result, SyscallError, SyscallResult};

/// An open directory that is `/` to everything below it.
#[derive(Debug)]
pub struct Root(OwnedFd);

/// What [`Root::create_target`] makes where nothing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// A directory, mode 0755.
    Directory,
    /// An empty regular file, mode 0644.
    File,
}

/// Which symbolic links a lookup may go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Those of the container's own tree, read as the container would read them.
    InRoot,
    /// None at all: `ELOOP` if a component is one.
    Refused,
}

/// How often a lookup is tried again when a rename elsewhere made the kernel give up (`EAGAIN`).
const LOOKUP_TRIES: u32 = 128;

/// How many missing components, links included, [`Root::create_target`] is ready to make.
const MAX_COMPONENTS: usize = 255;

impl Root {
    /// Takes the open directory `fd` for a container's root.
    pub fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Opens `path` (absolute, as the container means it) for looking: `O_PATH`.
    pub fn lookup(&self, path: &Path, links: Links) -> Result<OwnedFd> {
        self.open(path, OFlag::O_PATH, links)
    }

    /// Opens `path` with `flags`; `O_CLOEXEC` is added.
    pub fn open(&self, path: &Path, flags: OFlag, links: Links) -> Result<OwnedFd> {
        let resolve = match links {
            Links::InRoot => ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS,
            Links::Refused => ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS,
        };
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(resolve);
        let mut tries = 0;
        loop {
            tries += 1;
            match openat2(&self.0, path, how) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if tries < LOOKUP_TRIES => {}
                Err(Errno::ENOSYS) => {
                    return Steps::begin(self, path)?
                        .open(flags, links)
                        .call(|| self.describe(path, flags));
                }
                other => return other.call(|| self.describe(path, flags)),
            }
        }
    }

    /// Opens `path`, making its missing directories and, in the end, what `missing` says.
    ///
    /// Every component is made beneath the descriptor of the one before it. A dangling symbolic
    /// link on the way is followed inside the root, and its target made there.
    pub fn create_target(&self, path: &Path, missing: Missing, links: Links) -> Result<OwnedFd> {
        match self.lookup(path, links) {
            Err(error) if error.errno() == Errno::ENOENT => {}
            other => return other,
        }
        if missing == Missing::Directory
            && let Some(made) = self.create_last(path, links)
        {
            return Ok(made);
        }
        let mut walk = Walk::begin(self, components(path))?;
        while let Some(component) = walk.next(path)? {
            if component == ".." {
                walk.ascend()?;
                continue;
            }
            let last = walk.pending.is_empty() && missing == Missing::File;
            let entry = walk.make(
                &component,
                if last {
                    Missing::File
                } else {
                    Missing::Directory
                },
            )?;
            if kind(&entry)? != SFlag::S_IFLNK {
                walk.descend(&component, entry);
            } else if links == Links::InRoot {
                walk.follow(&component, &entry)?;
            } else {
                return Err(SyscallError::new(
                    self.describe(path, OFlag::O_PATH),
                    Errno::ELOOP,
                ));
            }
        }
        Ok(walk.at)
    }

    /// Makes the directory that nothing but its last component lacks. `None` for whatever else it
    /// is, a dangling link for one: then each component has to be looked at.
    fn create_last(&self, path: &Path, links: Links) -> Option<OwnedFd> {
        let (parent, name) = (path.parent()?, path.file_name()?);
        let place = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let parent = self.open(parent, place, links).ok()?;
        make_directory(&parent, name).ok()?;
        // Whoever puts a link there meanwhile gains an error.
        let flags = place | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(&parent, name, flags, Mode::empty()).ok()
    }

    fn duplicate(&self) -> Result<OwnedFd> {
        self.0.try_clone().call(|| "fcntl(F_DUPFD_CLOEXEC)".into())
    }

    fn describe(&self, path: &Path, flags: OFlag) -> String {
        format!(
            "openat2([{}]<rootfs>, {path:?}, {flags:?}, RESOLVE_IN_ROOT)",
            self.0.as_raw_fd()
        )
    }
}

/// A lookup for kernels without openat2(2): one component at a time, each opened with `O_PATH`
/// beneath the descriptor of the one before, so that nothing can be swapped for a link between
/// the look and the step.
///
/// `..` goes back along the descriptors that led here and never through the kernel, so a
/// directory that somebody moves away meanwhile does not lead out of the root.
struct Steps {
    /// The directories from the root to where we are; never empty.
    way: Vec<OwnedFd>,
    /// What is still to be walked, the next last.
    pending: Vec<OsString>,
    links: usize,
}

/// As many links as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

impl Steps {
    fn begin(root: &Root, path: &Path) -> Result<Self> {
        Ok(Self {
            way: vec![root.duplicate()?],
            pending: components(path),
            links: 0,
        })
    }

    fn open(mut self, flags: OFlag, links: Links) -> nix::Result<OwnedFd> {
        let looking = flags.contains(OFlag::O_PATH);
        loop {
            let at = self.way.last().ok_or(Errno::ENOENT)?;
            let Some(name) = self.pending.pop() else {
                return openat(at, ".", flags | OFlag::O_CLOEXEC, Mode::empty());
            };
            if name == ".." {
                if self.way.len() > 1 {
                    self.way.pop();
                }
                continue;
            }
            let place = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let entry = openat(at, name.as_os_str(), place, Mode::empty())?;
            let last = self.pending.is_empty();
            let kind = fstat(&entry)?.st_mode & SFlag::S_IFMT.bits();
            if kind == SFlag::S_IFLNK.bits() {
                if last && flags.contains(OFlag::O_NOFOLLOW) && looking {
                    return Ok(entry);
                }
                self.follow(&entry, links)?;
            } else if last && kind != SFlag::S_IFDIR.bits() {
                if flags.contains(OFlag::O_DIRECTORY) {
                    return Err(Errno::ENOTDIR);
                }
                if looking {
                    return Ok(entry);
                }
                // What was no link a moment ago; if it is one now, that is refused.
                let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                return openat(at, name.as_os_str(), flags, Mode::empty());
            } else if !last && kind != SFlag::S_IFDIR.bits() {
                return Err(Errno::ENOTDIR);
            } else {
                self.way.push(entry);
            }
        }
    }

    /// Goes on with the text of a link. A magic link, whose text is no path to what it stands
    /// for, is refused as `RESOLVE_NO_MAGICLINKS` does.
    fn follow(&mut self, link: &OwnedFd, links: Links) -> nix::Result<()> {
        self.links += 1;
        if links == Links::Refused || self.links > MAX_LINKS {
            return Err(Errno::ELOOP);
        }
        let text = nix::fcntl::readlinkat(link, "")?;
        let target = Path::new(&text);
        let proc = fstatfs(link)?.filesystem_type() == PROC_SUPER_MAGIC;
        if proc && (target.is_absolute() || text.as_bytes().contains(&b':')) {
            return Err(Errno::ELOOP);
        }
        if target.is_absolute() {
            self.way.truncate(1);
        }
        self.pending.extend(components(target));
        Ok(())
    }
}

/// The way of [`Root::create_target`], one component at a time.
struct Walk<'a> {
    root: &'a Root,
    /// The directory reached.
    at: OwnedFd,
    /// Its path, as the container means it.
    reached: PathBuf,
    /// What is still to be walked, the next last.
    pending: Vec<OsString>,
    steps: usize,
}

impl<'a> Walk<'a> {
    fn begin(root: &'a Root, pending: Vec<OsString>) -> Result<Self> {
        Ok(Self {
            root,
            at: root.duplicate()?,
            reached: "/".into(),
            pending,
            steps: 0,
        })
    }

    /// The next component; `ELOOP` after too many, which a loop of links leads to.
    fn next(&mut self, path: &Path) -> Result<Option<OsString>> {
        self.steps += 1;
        if self.steps > MAX_COMPONENTS {
            return Err(SyscallError::new(
                self.root.describe(path, OFlag::O_PATH),
                Errno::ELOOP,
            ));
        }
        Ok(self.pending.pop())
    }

    /// `..`, which at the root stays there.
    fn ascend(&mut self) -> Result<()> {
        self.reached.pop();
        self.at = self.root.lookup(&self.reached, Links::InRoot)?;
        Ok(())
    }

    /// Makes `name` here unless it is there, and opens it without following it.
    fn make(&self, name: &OsStr, missing: Missing) -> Result<OwnedFd> {
        let made = match missing {
            Missing::File => make_file(&self.at, name),
            Missing::Directory => make_directory(&self.at, name),
        };
        match made {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => {
                let call = format!(
                    "create({:?} in the container's root)",
                    self.reached.join(name)
                );
                return Err(SyscallError::new(call, errno));
            }
        }
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(&self.at, name, flags, Mode::empty())
            .call(|| format!("openat({:?}, {name:?}, O_PATH|O_NOFOLLOW)", self.reached))
    }

    fn descend(&mut self, name: &OsStr, entry: OwnedFd) {
        self.reached.push(name);
        self.at = entry;
    }

    /// Goes on with the target of the link `entry`, read as the container would read it.
    fn follow(&mut self, name: &OsStr, entry: &OwnedFd) -> Result<()> {
        let target = nix::fcntl::readlinkat(entry, "")
            .call(|| format!("readlinkat({:?})", self.reached.join(name)))?;
        let target = Path::new(&target);
        if target.is_absolute() {
            self.reached = "/".into();
            self.at = self.root.duplicate()?;
        }
        self.pending.extend(components(target));
        Ok(())
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The type bits of an open file.
pub fn kind(fd: impl AsFd) -> Result<SFlag> {
    let stat = fstat(fd.as_fd()).call(|| format!("fstat({})", fd.as_fd().as_raw_fd()))?;
    Ok(SFlag::from_bits_truncate(
        stat.st_mode & SFlag::S_IFMT.bits(),
    ))
}

/// The id of the mount that a file was reached through, as `/proc/self/mountinfo` has it.
pub fn mount_id(fd: impl AsFd) -> Result<u64> {
    let number = fd.as_fd().as_raw_fd();
    let path = format!("/proc/self/fdinfo/{number}");
    let text = std::fs::read_to_string(&path).call(|| format!("read({path:?})"))?;
    let id = text.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    id.and_then(|id| id.trim().parse().ok())
        .ok_or_else(|| SyscallError::new(format!("read({path:?})"), Errno::ENODATA))
}

/// The same id without a procfs; `None` before Linux 5.8.
pub fn mount_id_of(fd: impl AsFd) -> Result<Option<u64>> {
    let found = statx(fd)?;
    Ok((found.stx_mask & libc::STATX_MNT_ID != 0).then_some(found.stx_mnt_id))
}

/// Whether the open file is the root of its mount; `None` before Linux 5.8.
pub fn is_mount_root(fd: impl AsFd) -> Result<Option<bool>> {
    let found = statx(fd)?;
    let bit = libc::STATX_ATTR_MOUNT_ROOT as u64;
    let known = found.stx_attributes_mask & bit != 0;
    Ok(known.then_some(found.stx_attributes & bit != 0))
}

fn statx(fd: impl AsFd) -> Result<libc::statx> {
    let number = fd.as_fd().as_raw_fd();
    // SAFETY: a struct of integers, for which zero is a value.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the path is a NUL-terminated constant, the struct outlives the call.
    let result = unsafe {
        libc::statx(
            number,
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_MNT_ID,
            &raw mut found,
        )
    };
    Errno::result(result).call(|| format!("statx({number}, \"\", AT_EMPTY_PATH)"))?;
    Ok(found)
}

/// The names and `..` of a path, last one first.
fn components(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut names: Vec<_> = names.collect();
    names.reverse();
    names
}

fn make_directory(at: &OwnedFd, name: &OsStr) -> nix::Result<()> {
    mkdirat(at, name, Mode::from_bits_truncate(0o755))
}

fn make_file(at: &OwnedFd, name: &OsStr) -> nix::Result<()> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC | OFlag::O_WRONLY;
    openat(at, name, flags, Mode::from_bits_truncate(0o644)).map(drop)
}

/// Splits an absolute path of a container into its parent and its last name.
///
/// `EINVAL` for `/` and for a path that ends in `..`.
pub fn split(path: &Path) -> Result<(&Path, &OsStr)> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if !name.as_bytes().is_empty() => Ok((parent, name)),
        _ => Err(SyscallError::new(format!("split({path:?})"), Errno::EINVAL)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::open(dir.path(), flags, Mode::empty()).unwrap();
        (dir, Root::new(fd))
    }

    /// Both ways must answer the same: the inode, or the errno.
    fn both_ways(root: &Root, path: &str, flags: OFlag, links: Links) -> nix::Result<(u64, u64)> {
        let path = Path::new(path);
        let seen = |fd: OwnedFd| fstat(&fd).map(|stat| (stat.st_dev, stat.st_ino));
        let kernel = root.open(path, flags, links).map_err(|error| error.errno());
        let kernel = kernel.and_then(seen);
        let steps = Steps::begin(root, path).unwrap().open(flags, links);
        assert_eq!(steps.and_then(seen), kernel, "{path:?} {flags:?} {links:?}");
        kernel
    }

    #[test]
    fn without_openat2_every_lookup_ends_at_the_same_place() {
        let (dir, root) = root();
        for name in ["a/b/c", "etc"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let file = Missing::File;
        root.create_target(Path::new("/a/file"), file, Links::Refused)
            .unwrap();
        for (target, name) in [
            ("/a/b", "absolute"),
            ("../../../etc", "a/b/up"),
            ("/../../etc", "above"),
            ("file", "a/link"),
            ("loop", "loop"),
            ("nowhere", "dangling"),
            ("/", "slash"),
        ] {
            symlink(target, dir.path().join(name)).unwrap();
        }
        let paths = [
            "/",
            "/a",
            "/a/b/..",
            "/a/b/../../..",
            "/absolute/c",
            "/absolute/..",
            "/a/b/up",
            "/above",
            "/a/link",
            "/a/link/x",
            "/a/file/x",
            "/a/file/..",
            "/loop",
            "/loop/x",
            "/dangling",
            "/dangling/x",
            "/slash/a/b",
            "/missing",
            "/a/missing/x",
            "",
        ];
        let mut reached = 0;
        for path in paths {
            for links in [Links::InRoot, Links::Refused] {
                let dir_only = OFlag::O_PATH | OFlag::O_DIRECTORY;
                let link_itself = OFlag::O_PATH | OFlag::O_NOFOLLOW;
                for flags in [OFlag::O_PATH, OFlag::O_RDONLY, dir_only, link_itself] {
                    // RESOLVE_NO_SYMLINKS lets nobody open a link itself either way but by
                    // O_NOFOLLOW, and an empty path is no file to the kernel.
                    if path.is_empty() {
                        continue;
                    }
                    reached += usize::from(both_ways(&root, path, flags, links).is_ok());
                }
            }
        }
        assert!(reached > 40, "{reached}");
    }

    #[test]
    fn without_openat2_a_magic_link_is_refused_and_a_plain_one_of_procfs_is_not() {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = Root::new(nix::fcntl::open("/proc", flags, Mode::empty()).unwrap());
        for path in [
            "/self/cwd",
            "/self/root",
            "/self/exe",
            "/self/ns/net",
            "/self/fd/0",
        ] {
            let found = both_ways(&root, path, OFlag::O_PATH, Links::InRoot);
            assert_eq!(found, Err(Errno::ELOOP), "{path}");
        }
        assert!(both_ways(&root, "/self/status", OFlag::O_PATH, Links::InRoot).is_ok());
    }

    #[test]
    fn dot_dot_stays_inside() {
        let (dir, root) = root();
        root.create_target(Path::new("/../../a/../b/c"), Missing::File, Links::InRoot)
            .unwrap();
        assert!(dir.path().join("b/c").is_file());
    }

    #[test]
    fn an_absolute_link_leads_into_the_root_and_its_target_is_made_there() {
        let (dir, root) = root();
        symlink("/nowhere/deep", dir.path().join("link")).unwrap();
        root.create_target(Path::new("/link/x"), Missing::Directory, Links::InRoot)
            .unwrap();
        assert!(dir.path().join("nowhere/deep/x").is_dir());
    }

    #[test]
    fn a_link_is_refused_where_none_may_be() {
        let (dir, root) = root();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        symlink("real", dir.path().join("proc")).unwrap();
        let refused = root.create_target(Path::new("/proc"), Missing::Directory, Links::Refused);
        assert_eq!(refused.unwrap_err().errno(), Errno::ELOOP);
        let refused =
            root.create_target(Path::new("/proc/a/b"), Missing::Directory, Links::Refused);
        assert_eq!(refused.unwrap_err().errno(), Errno::ELOOP);
        assert!(
            std::fs::read_dir(dir.path().join("real"))
                .unwrap()
                .next()
                .is_none()
        );
    }

    #[test]
    fn a_loop_of_links_ends() {
        let (dir, root) = root();
        symlink("b", dir.path().join("a")).unwrap();
        symlink("a", dir.path().join("b")).unwrap();
        let error = root
            .create_target(Path::new("/a/x"), Missing::File, Links::InRoot)
            .unwrap_err();
        assert_eq!(error.errno(), Errno::ELOOP);
    }
}
