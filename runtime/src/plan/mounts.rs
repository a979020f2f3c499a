//! Mount entries as steps: what each option of config.json means, decided before anything is
//! mounted.
//!
//! The meaning of every option is one row of a table (config.md, "Linux mount options"); what no
//! row names is data for the file system.

use std::path::{Component, Path, PathBuf};

use nix::mount::MsFlags;
use oci::Mount;
use sys::mount::{Reach, attr};

use super::IdMaps;
use super::id_map::{self, Asked, IdMapping};
use super::namespaces::IdRange;
use super::refusal::{Refusal, Result};

/// Attributes to clear and to set, in the kernel's `MOUNT_ATTR_*` bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttrChange {
    /// Bits to set.
    pub set: u64,
    /// Bits to clear first.
    pub clear: u64,
}

impl AttrChange {
    /// Whether it changes nothing.
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }

    /// This change and then `later`, which wins where both speak of a bit.
    fn then(self, later: Self) -> Self {
        Self {
            set: self.set & !later.clear | later.set,
            clear: self.clear & !later.set | later.clear,
        }
    }
}

/// One entry of `mounts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountStep {
    /// What is mounted.
    pub what: What,
    /// Where, absolute and cleaned, as the container means it.
    pub destination: PathBuf,
    /// Attributes of the mount itself.
    pub attributes: AttrChange,
    /// Attributes of it and of all mounts below (`rro` and its like).
    pub recursive: AttrChange,
    /// Propagation to set afterwards, in order.
    pub propagation: Vec<MsFlags>,
    /// Ids that it shows in place of those of its files.
    pub id_map: Option<IdMapping>,
    /// What a symbolic link at its destination means.
    pub target_link: Link,
    /// The property, for messages.
    pub pointer: String,
}

/// What a [`MountStep`] puts at its destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A part of the host's tree.
    Bind {
        /// Absolute path in the runtime's mount namespace.
        source: PathBuf,
        /// Whether mounts below come along.
        reach: Reach,
        /// What a symbolic link there means.
        link: Link,
    },
    /// A copy of the symbolic link that the source is: its text.
    Symlink(PathBuf),
    /// A new instance of a file system.
    Filesystem(Filesystem),
    /// The container's view of its cgroups.
    Cgroup,
    /// Nothing: the mount that is there gets other attributes.
    Remount,
}

/// What a symbolic link means at an end of a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// What it leads to.
    #[default]
    Followed,
    /// Itself (`src-nofollow`, `dest-nofollow`).
    Itself,
}

/// Which ids the container has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ids<'a> {
    /// The maps of a user namespace that is made for it.
    pub maps: Option<&'a IdMaps>,
    /// Whether it is in a user namespace that is not the runtime's.
    pub in_namespace: bool,
}

/// A file system to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filesystem {
    /// Its type, as `/proc/filesystems` lists it.
    pub fs_type: String,
    /// The device or the name to show for it.
    pub source: String,
    /// Options for the file system, in order.
    pub options: Vec<(String, Option<String>)>,
    /// Whether what is in the directory below is copied into it (`tmpcopyup`).
    pub copy_up: bool,
}

/// What an option means.
enum Meaning {
    Attr(AttrChange),
    Recursive(AttrChange),
    Propagation(MsFlags),
    Bind(Reach),
    Remount,
    CopyUp,
    IdMap(Reach),
    CopyLink,
    SourceLink,
    TargetLink,
    /// A flag of the superblock, known to the kernel by this name.
    Superblock(&'static str),
    /// Takes such a flag back: of two that exclude each other the last holds (mount(8)).
    NoSuperblock(&'static str),
    Nothing,
}

fn set(bits: u64) -> Meaning {
    Meaning::Attr(AttrChange {
        set: bits,
        clear: 0,
    })
}

fn clear(bits: u64) -> Meaning {
    Meaning::Attr(AttrChange {
        set: 0,
        clear: bits,
    })
}

/// The access-time modes exclude each other: the kernel wants all their bits cleared first.
fn atime(mode: u64) -> Meaning {
    Meaning::Attr(AttrChange {
        set: mode,
        clear: attr::ATIME_MASK,
    })
}

/// The row of `option` in the table of config.md, or `None` if it is data.
fn meaning(option: &str) -> Option<Meaning> {
    if let Some(plain) = option.strip_prefix('r').filter(|plain| is_recursive(plain)) {
        return match meaning(plain)? {
            Meaning::Attr(change) => Some(Meaning::Recursive(change)),
            other => Some(other),
        };
    }
    Some(match option {
        "ro" => set(attr::RDONLY),
        "rw" => clear(attr::RDONLY),
        "nosuid" => set(attr::NOSUID),
        "suid" => clear(attr::NOSUID),
        "nodev" => set(attr::NODEV),
        "dev" => clear(attr::NODEV),
        "noexec" => set(attr::NOEXEC),
        "exec" => clear(attr::NOEXEC),
        "nosymfollow" => set(attr::NOSYMFOLLOW),
        "symfollow" => clear(attr::NOSYMFOLLOW),
        "nodiratime" => set(attr::NODIRATIME),
        "diratime" => clear(attr::NODIRATIME),
        "noatime" => atime(attr::NOATIME),
        "strictatime" => atime(attr::STRICTATIME),
        // relatime is the kernel's default, which clearing the others brings back.
        "relatime" | "atime" | "nostrictatime" => atime(attr::RELATIME),
        "norelatime" | "defaults" | "silent" | "loud" => Meaning::Nothing,
        "async" => Meaning::NoSuperblock("sync"),
        "nomand" => Meaning::NoSuperblock("mand"),
        "nolazytime" => Meaning::NoSuperblock("lazytime"),
        "noiversion" => Meaning::NoSuperblock("iversion"),
        "sync" => Meaning::Superblock("sync"),
        "dirsync" => Meaning::Superblock("dirsync"),
        "mand" => Meaning::Superblock("mand"),
        "lazytime" => Meaning::Superblock("lazytime"),
        "iversion" => Meaning::Superblock("iversion"),
        "bind" => Meaning::Bind(Reach::One),
        "rbind" => Meaning::Bind(Reach::Recursive),
        "remount" => Meaning::Remount,
        "tmpcopyup" => Meaning::CopyUp,
        "idmap" => Meaning::IdMap(Reach::One),
        "ridmap" => Meaning::IdMap(Reach::Recursive),
        "copy-symlink" => Meaning::CopyLink,
        "src-nofollow" => Meaning::SourceLink,
        "dest-nofollow" => Meaning::TargetLink,
        _ => Meaning::Propagation(propagation(option)?),
    })
}

/// Whether `r` in front of the option makes it recursive.
fn is_recursive(plain: &str) -> bool {
    const PLAIN: [&str; 16] = [
        "ro",
        "rw",
        "nosuid",
        "suid",
        "nodev",
        "dev",
        "noexec",
        "exec",
        "nodiratime",
        "diratime",
        "relatime",
        "noatime",
        "atime",
        "strictatime",
        "nosymfollow",
        "symfollow",
    ];
    // nostrictatime and norelatime have recursive forms as well.
    PLAIN.contains(&plain) || matches!(plain, "nostrictatime" | "norelatime")
}

/// `shared`, `rslave` and the like (mount_namespaces(7)).
pub fn propagation(name: &str) -> Option<MsFlags> {
    let (kind, reach) = match name.strip_prefix('r') {
        Some(kind) => (kind, MsFlags::MS_REC),
        None => (name, MsFlags::empty()),
    };
    let kind = match kind {
        "shared" => MsFlags::MS_SHARED,
        "slave" => MsFlags::MS_SLAVE,
        "private" => MsFlags::MS_PRIVATE,
        "unbindable" => MsFlags::MS_UNBINDABLE,
        _ => return None,
    };
    Some(kind | reach)
}

/// The options this runtime knows, sorted, for `features`.
pub fn known_options() -> Vec<String> {
    const PLAIN: [&str; 42] = [
        "async",
        "atime",
        "bind",
        "copy-symlink",
        "defaults",
        "dest-nofollow",
        "dev",
        "diratime",
        "dirsync",
        "exec",
        "idmap",
        "iversion",
        "lazytime",
        "loud",
        "mand",
        "noatime",
        "nodev",
        "nodiratime",
        "noexec",
        "noiversion",
        "nolazytime",
        "nomand",
        "norelatime",
        "nostrictatime",
        "nosuid",
        "nosymfollow",
        "rbind",
        "relatime",
        "remount",
        "ridmap",
        "ro",
        "rw",
        "silent",
        "src-nofollow",
        "strictatime",
        "suid",
        "symfollow",
        "sync",
        "tmpcopyup",
        "private",
        "shared",
        "slave",
    ];
    let more = ["unbindable", "rprivate", "rshared", "rslave", "runbindable"];
    let mut options: Vec<String> = PLAIN.iter().chain(&more).map(ToString::to_string).collect();
    let recursive = PLAIN
        .iter()
        .filter(|plain| is_recursive(plain))
        .map(|plain| format!("r{plain}"));
    options.extend(recursive);
    options.sort();
    options
}

#[derive(Default)]
struct Options<'a> {
    attributes: AttrChange,
    recursive: AttrChange,
    propagation: Vec<MsFlags>,
    bind: Option<Reach>,
    remount: bool,
    filesystem: Filesystem,
    superblock: Vec<&'static str>,
    id_map: Option<Asked<'a>>,
    copy_link: bool,
    source_link: Link,
    target_link: Link,
}

fn read_options(options: &[String]) -> Options<'_> {
    let mut read = Options::default();
    for option in options.iter().filter(|option| !option.is_empty()) {
        let (key, value) = match option.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (option.as_str(), None),
        };
        let word = if matches!(key, "idmap" | "ridmap") {
            key
        } else {
            option
        };
        match meaning(word) {
            Some(Meaning::Attr(change)) => read.attributes = read.attributes.then(change),
            Some(Meaning::Recursive(change)) => read.recursive = read.recursive.then(change),
            Some(Meaning::Propagation(flags)) => read.propagation.push(flags),
            Some(Meaning::Bind(reach)) => read.bind = Some(reach),
            Some(Meaning::Remount) => read.remount = true,
            Some(Meaning::CopyUp) => read.filesystem.copy_up = true,
            Some(Meaning::IdMap(reach)) => read.id_map = Some(Asked { reach, text: value }),
            Some(Meaning::CopyLink) => read.copy_link = true,
            Some(Meaning::SourceLink) => read.source_link = Link::Itself,
            Some(Meaning::TargetLink) => read.target_link = Link::Itself,
            Some(Meaning::Superblock(flag)) => read.superblock.push(flag),
            Some(Meaning::NoSuperblock(flag)) => read.superblock.retain(|set| *set != flag),
            Some(Meaning::Nothing) => {}
            None => {
                let value = value.map(str::to_owned);
                read.filesystem.options.push((key.to_owned(), value));
            }
        }
    }
    read
}

/// Reads `mounts` (config.md, "Mounts"), whose JSON pointer is `at`. `bundle` is where relative
/// sources begin.
pub fn plan(mounts: &[Mount], at: &str, bundle: &Path, ids: Ids<'_>) -> Result<Vec<MountStep>> {
    let steps = mounts.iter().enumerate();
    steps
        .map(|(index, mount)| step(mount, bundle, ids, format!("{at}/{index}")))
        .collect()
}

/// The places alone, of mounts that are to go.
pub fn places(mounts: &[Mount]) -> Result<Vec<MountStep>> {
    let steps = mounts.iter().enumerate().map(|(index, mount)| {
        let pointer = format!("/{index}");
        Ok(MountStep {
            what: What::Remount,
            destination: destination(mount, &pointer)?,
            attributes: AttrChange::default(),
            recursive: AttrChange::default(),
            propagation: Vec::new(),
            id_map: None,
            target_link: Link::Followed,
            pointer,
        })
    });
    steps.collect()
}

fn destination(mount: &Mount, pointer: &str) -> Result<PathBuf> {
    let destination = clean(mount.destination());
    if destination == Path::new("/") {
        let reason = format!(
            "mount destination {:?} is on the top of rootfs",
            mount.destination()
        );
        return Err(Refusal::new(format!("{pointer}/destination"), reason));
    }
    Ok(destination)
}

fn step(mount: &Mount, bundle: &Path, ids: Ids<'_>, pointer: String) -> Result<MountStep> {
    let destination = destination(mount, &pointer)?;
    let given = mount.options().as_deref().unwrap_or_default();
    let options = read_options(given);
    let what = what(mount, &options, bundle, &pointer)?;
    check_proc(&destination, &what, mount.typ().as_deref())
        .map_err(|reason| Refusal::new(format!("{pointer}/destination"), reason))?;
    let id_map = id_map(mount, &options, &what, ids)
        .map_err(|reason| Refusal::new(format!("{pointer}/uidMappings"), reason))?;
    check_owner(&what, ids).map_err(|reason| Refusal::new(format!("{pointer}/options"), reason))?;
    Ok(MountStep {
        what,
        destination,
        id_map,
        target_link: options.target_link,
        attributes: options.attributes,
        recursive: options.recursive,
        propagation: options.propagation,
        pointer,
    })
}

fn id_map(
    mount: &Mount,
    options: &Options<'_>,
    what: &What,
    ids: Ids<'_>,
) -> std::result::Result<Option<IdMapping>, String> {
    let list = |mappings: &Option<Vec<oci::LinuxIdMapping>>| {
        mappings.iter().flatten().map(IdRange::from).collect()
    };
    let listed = IdMaps {
        uids: list(mount.uid_mappings()),
        gids: list(mount.gid_mappings()),
    };
    let mapping = id_map::plan(options.id_map, listed, ids.maps, ids.in_namespace)?;
    match what {
        What::Bind { .. } | What::Filesystem(_) => Ok(mapping),
        _ if mapping.is_none() => Ok(None),
        _ => Err("only a bind mount or a new file system can be id-mapped".into()),
    }
}

/// Refuses an owner that a new user namespace does not map; the kernel would only say EINVAL.
fn check_owner(what: &What, ids: Ids<'_>) -> std::result::Result<(), String> {
    let (What::Filesystem(filesystem), Some(maps)) = (what, ids.maps) else {
        return Ok(());
    };
    for (key, value) in &filesystem.options {
        let ranges = match key.as_str() {
            "uid" => &maps.uids,
            "gid" => &maps.gids,
            _ => continue,
        };
        let id = value.as_deref().and_then(|value| value.parse().ok());
        if id.is_some_and(|id| IdMaps::outside(ranges, id).is_none()) {
            return Err(format!(
                "{key}={} is not mapped into the container's user namespace",
                value.as_deref().unwrap_or_default()
            ));
        }
    }
    Ok(())
}

fn what(mount: &Mount, options: &Options<'_>, bundle: &Path, pointer: &str) -> Result<What> {
    let fs_type = mount.typ().as_deref().unwrap_or("");
    if options.remount {
        return Ok(What::Remount);
    }
    if fs_type == "bind" || options.bind.is_some() {
        return bind(mount, options, bundle, pointer);
    }
    match fs_type {
        "cgroup" | "cgroup2" => Ok(What::Cgroup),
        "" => Err(Refusal::new(
            format!("{pointer}/type"),
            "a mount that is not a bind needs a type",
        )),
        _ => {
            let source = mount
                .source()
                .as_deref()
                .map_or(fs_type.into(), Path::to_string_lossy);
            let flags = options
                .superblock
                .iter()
                .map(|flag| (flag.to_string(), None));
            let mut filesystem = options.filesystem.clone();
            filesystem.options.splice(0..0, flags);
            Ok(What::Filesystem(Filesystem {
                fs_type: fs_type.to_owned(),
                source: source.into_owned(),
                ..filesystem
            }))
        }
    }
}

fn bind(mount: &Mount, options: &Options<'_>, bundle: &Path, pointer: &str) -> Result<What> {
    if let Some((key, _)) = options.filesystem.options.first() {
        let reason = format!(
            "bind mounts cannot have any filesystem-specific options applied, and {key:?} is one"
        );
        return Err(Refusal::new(format!("{pointer}/options"), reason));
    }
    let Some(source) = mount
        .source()
        .as_deref()
        .filter(|source| !source.as_os_str().is_empty())
    else {
        return Err(Refusal::new(
            format!("{pointer}/source"),
            "a bind mount needs a source",
        ));
    };
    // A `type: bind` without the option counts as `bind` for runc and its callers.
    let reach = options.bind.unwrap_or(Reach::One);
    let source = bundle.join(source);
    if options.copy_link
        && let Ok(text) = std::fs::read_link(&source)
    {
        return Ok(What::Symlink(text));
    }
    Ok(What::Bind {
        source,
        reach,
        link: options.source_link,
    })
}

/// The files below `/proc` that something else may be mounted on: lxcfs and podman do.
const MOUNTABLE_IN_PROC: [&str; 10] = [
    "cpuinfo",
    "diskstats",
    "meminfo",
    "stat",
    "swaps",
    "uptime",
    "loadavg",
    "slabinfo",
    "sys/kernel/ns_last_pid",
    "sys/crypto/fips_enabled",
];

/// Whether something that is not a procfs may be mounted at `below`, a path relative to `/proc`.
///
/// A container that can put its own files below `/proc` can feed a fake `self/attr/exec` to
/// whoever writes security labels there (CVE-2019-16884).
pub fn may_cover_in_proc(below: &Path) -> bool {
    MOUNTABLE_IN_PROC
        .iter()
        .any(|allowed| below == Path::new(allowed))
}

fn check_proc(
    destination: &Path,
    what: &What,
    fs_type: Option<&str>,
) -> std::result::Result<(), String> {
    let Ok(below) = destination.strip_prefix("/proc") else {
        return Ok(());
    };
    let allowed = if below == Path::new("") {
        // Whether a bind brings a real procfs is seen when its source is open.
        fs_type == Some("proc") || matches!(what, What::Bind { .. } | What::Remount)
    } else {
        may_cover_in_proc(below) || matches!(what, What::Remount)
    };
    if allowed {
        Ok(())
    } else {
        Err(format!(
            "{destination:?} cannot be mounted because it is inside /proc"
        ))
    }
}

/// An absolute path without `.`, `..` and doubled slashes; a relative one begins at `/`.
pub fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Result<MountStep> {
        step(
            &oci::from_str(json).unwrap(),
            Path::new("/b"),
            Ids::default(),
            "/mounts/0".into(),
        )
    }

    fn attributes(options: &[&str]) -> AttrChange {
        read_options(&options.iter().map(ToString::to_string).collect::<Vec<_>>()).attributes
    }

    #[test]
    fn the_later_option_of_a_pair_wins() {
        assert_eq!(
            attributes(&["ro", "rw"]),
            AttrChange {
                set: 0,
                clear: attr::RDONLY
            }
        );
        assert_eq!(
            attributes(&["rw", "ro"]),
            AttrChange {
                set: attr::RDONLY,
                clear: 0
            }
        );
        let strict = attributes(&["noatime", "strictatime"]);
        assert_eq!(
            strict,
            AttrChange {
                set: attr::STRICTATIME,
                clear: attr::ATIME_MASK
            }
        );
    }

    #[test]
    fn a_recursive_option_does_not_touch_the_plain_set() {
        let step =
            check(r#"{"destination":"/d","source":"s","options":["rbind","ro","rro","rnoatime"]}"#)
                .unwrap();
        assert_eq!(
            step.attributes,
            AttrChange {
                set: attr::RDONLY,
                clear: 0
            }
        );
        let recursive = AttrChange {
            set: attr::RDONLY | attr::NOATIME,
            clear: attr::ATIME_MASK,
        };
        assert_eq!(step.recursive, recursive);
        assert_eq!(
            step.what,
            What::Bind {
                source: "/b/s".into(),
                reach: Reach::Recursive,
                link: Link::Followed,
            }
        );
    }

    #[test]
    fn words_that_begin_with_r_and_are_no_recursive_form_keep_their_meaning() {
        let step =
            check(r#"{"destination":"/d","source":"/s","options":["rbind","rslave","relatime"]}"#)
                .unwrap();
        assert_eq!(step.propagation, [MsFlags::MS_SLAVE | MsFlags::MS_REC]);
        assert_eq!(
            step.attributes,
            AttrChange {
                set: 0,
                clear: attr::ATIME_MASK
            }
        );
        assert!(step.recursive.is_nothing());
    }

    #[test]
    fn unknown_words_are_data_of_the_file_system_and_refused_for_a_bind() {
        let step =
            check(r#"{"destination":"/d","type":"tmpfs","options":["size=1k","nosuid","x"]}"#)
                .unwrap();
        let What::Filesystem(filesystem) = step.what else {
            panic!("{step:?}")
        };
        assert_eq!(
            filesystem.options,
            [("size".into(), Some("1k".into())), ("x".into(), None)]
        );
        let error = check(r#"{"destination":"/d","source":"/s","options":["bind","size=1k"]}"#);
        assert_eq!(error.unwrap_err().pointer, "/mounts/0/options");
    }

    #[test]
    fn proc_takes_a_procfs_and_a_few_files() {
        assert!(check(r#"{"destination":"/proc","type":"proc"}"#).is_ok());
        assert!(
            check(r#"{"destination":"/proc/uptime","source":"/u","options":["bind"]}"#).is_ok()
        );
        for destination in ["/proc", "/proc/self", "/x/../proc/sys", "/proc/uptime/x"] {
            let json = format!(r#"{{"destination":"{destination}","type":"tmpfs"}}"#);
            assert!(
                check(&json).unwrap_err().reason.contains("inside /proc"),
                "{destination}"
            );
        }
    }

    #[test]
    fn the_root_is_no_destination() {
        for destination in ["/", "//", "/a/..", ""] {
            assert!(
                check(&format!(
                    r#"{{"destination":"{destination}","type":"tmpfs"}}"#
                ))
                .is_err()
            );
        }
    }

    #[test]
    fn every_listed_option_is_known() {
        for option in known_options() {
            assert!(meaning(&option).is_some(), "{option}");
        }
    }
}
