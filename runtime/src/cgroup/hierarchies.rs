//! Which cgroup hierarchies this host has, where they are mounted, and where in them we are: read
//! once from `/proc/self/cgroup` and of the usual places, or, where those are not what it says, from
//! `/proc/self/mountinfo` (cgroups(7), proc_pid_mountinfo(5)).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sys::Dir;
use sys::statmount::{Mounted, Place};

use super::Error;

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// The v1 controllers on it (`cpu`, `cpuacct`, `name=systemd`), or those that v2 can enable.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The cgroup of this process, below the mount.
    pub own: PathBuf,
}

impl Hierarchy {
    /// Whether `controller` is here.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|here| here == controller)
    }
}

/// The hierarchies of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hierarchies {
    /// cgroup v1: each controller is on at most one of them.
    pub v1: Vec<Hierarchy>,
    /// cgroup v2; beside v1 hierarchies the host is "hybrid".
    pub v2: Option<Hierarchy>,
}

/// Where hierarchies are mounted, or the one of v2.
const USUAL: &str = "/sys/fs/cgroup";

/// More than any host's table; a longer one is an error, not a reason to use memory.
const LIMIT: u64 = 16 << 20;

impl Hierarchies {
    /// Looks at this process's view of the host.
    pub fn discover() -> Result<Self, Error> {
        let proc = Dir::open("/proc/self")?;
        let own = proc.read("cgroup", LIMIT)?;
        let mut found = match Self::at_usual_places(&own, &sys::statmount::at) {
            Some(found) => found,
            None => Self::parse(&proc.read("mountinfo", LIMIT)?, &own),
        };
        if let Some(v2) = &mut found.v2 {
            v2.controllers = words(&Dir::open(&v2.mount)?.read("cgroup.controllers", LIMIT)?);
        }
        Ok(found)
    }

    /// Whether only cgroup v2 is there.
    pub fn is_unified(&self) -> bool {
        self.v1.is_empty() && self.v2.is_some()
    }

    /// The cgroups at `paths` (controller to directory) as `/proc/<pid>/cgroup` calls them.
    ///
    /// A mount may show only a part of its hierarchy; what is above it, this process's own line
    /// in that file tells.
    pub fn kernel_paths(
        &self,
        paths: &BTreeMap<String, PathBuf>,
    ) -> Result<Vec<(String, PathBuf)>, Error> {
        let own = Dir::open("/proc/self")?.read("cgroup", LIMIT)?;
        let memberships: Vec<Membership> = lines(&own).filter_map(Membership::parse).collect();
        let kernel_path = |(controller, path): (&String, &PathBuf)| {
            let (hierarchy, membership) = if controller.is_empty() {
                let v2 = |membership: &&Membership| membership.controllers.is_empty();
                (self.v2.as_ref()?, memberships.iter().find(v2)?)
            } else {
                let v1 = |membership: &&Membership| membership.controllers.contains(controller);
                let hierarchy = self.v1.iter().find(|known| known.has(controller))?;
                (hierarchy, memberships.iter().find(v1)?)
            };
            let below = path.strip_prefix(&hierarchy.mount).ok()?;
            let above = above_mount(&membership.path, &hierarchy.own);
            Some((controller.clone(), above.join(below)))
        };
        Ok(paths.iter().filter_map(kernel_path).collect())
    }

    /// The hierarchies of `/proc/self/cgroup`, each at the place where every host has it; `None` if
    /// one is not there. A host may have mounted thousands of file systems, and their list takes the
    /// kernel and us milliseconds.
    ///
    /// Beside v1 hierarchies v2 counts where systemd has it, and only there. Not to know is not the same
    /// as to know that it is not there: a container would be without it.
    fn at_usual_places(own: &[u8], at: &dyn Fn(&Path) -> Place) -> Option<Self> {
        let (mut found, mut v2) = (Self::default(), None);
        for membership in lines(own).filter_map(Membership::parse) {
            if membership.controllers.is_empty() {
                v2 = Some(membership);
                continue;
            }
            let name = membership.controllers.join(",");
            let place = Path::new(USUAL).join(name.strip_prefix("name=").unwrap_or(&name));
            found.v1.push(membership.at(place, at).ok()??);
        }
        found.v2 = match v2 {
            Some(v2) if !found.v1.is_empty() => v2.at(Path::new(USUAL).join("unified"), at).ok()?,
            Some(v2) => Some(v2.at(USUAL.into(), at).ok()??),
            None if found.v1.is_empty() => return None,
            None => None,
        };
        Some(found)
    }

    /// Reads the two files; the controllers of v2 are in neither, so that list stays empty.
    pub fn parse(mountinfo: &[u8], own: &[u8]) -> Self {
        let memberships: Vec<Membership> = lines(own).filter_map(Membership::parse).collect();
        let mut found = Self::default();
        for mount in lines(mountinfo).filter_map(Mount::parse) {
            let matching = memberships
                .iter()
                .find(|membership| mount.shows(membership));
            let Some(membership) = matching else { continue };
            let hierarchy = Hierarchy {
                controllers: membership.controllers.clone(),
                own: below_mount(&membership.path, &mount.root),
                mount: mount.point,
            };
            match mount.version {
                2 => prefer(&mut found.v2, hierarchy),
                _ => add_v1(&mut found.v1, hierarchy),
            }
        }
        found
    }
}

/// A hierarchy may be mounted in several places: the usual one is preferred, then the first.
fn prefer(known: &mut Option<Hierarchy>, new: Hierarchy) {
    let usual = |hierarchy: &Hierarchy| hierarchy.mount.starts_with(USUAL);
    if known
        .as_ref()
        .is_none_or(|known| usual(&new) && !usual(known))
    {
        *known = Some(new);
    }
}

fn add_v1(known: &mut Vec<Hierarchy>, new: Hierarchy) {
    match known
        .iter_mut()
        .find(|known| known.controllers == new.controllers)
    {
        Some(known) => {
            let mut best = Some(known.clone());
            prefer(&mut best, new);
            if let Some(best) = best {
                *known = best;
            }
        }
        None => known.push(new),
    }
}

/// The kernel does not say what is mounted at a place.
struct Untold;

/// A line of `/proc/self/cgroup`.
struct Membership {
    /// Empty for v2.
    controllers: Vec<String>,
    path: PathBuf,
}

impl Membership {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.splitn(3, |byte| *byte == b':').skip(1);
        let controllers = String::from_utf8_lossy(fields.next()?).into_owned();
        let path = PathBuf::from(OsStr::from_bytes(fields.next()?));
        let controllers = controllers.split(',').filter(|name| !name.is_empty());
        Some(Self {
            controllers: controllers.map(str::to_owned).collect(),
            path,
        })
    }

    /// This hierarchy, if it is the one that is mounted at `place`; an error if nobody knows.
    fn at(self, place: PathBuf, at: &dyn Fn(&Path) -> Place) -> Result<Option<Hierarchy>, Untold> {
        match at(&place) {
            Place::Mount(mounted) => Ok(self.shown(place, mounted)),
            Place::Plain => Ok(None),
            Place::Unknown => Err(Untold),
        }
    }

    fn shown(self, place: PathBuf, mounted: Mounted) -> Option<Hierarchy> {
        let mount = Mount {
            version: Mount::version(mounted.fs_type.as_bytes())?,
            root: mounted.root,
            point: place,
            options: mounted.options,
        };
        mount.shows(&self).then(|| Hierarchy {
            own: below_mount(&self.path, &mount.root),
            controllers: self.controllers,
            mount: mount.point,
        })
    }
}

/// A cgroup line of mountinfo.
struct Mount {
    version: u8,
    root: PathBuf,
    point: PathBuf,
    options: Vec<String>,
}

impl Mount {
    fn parse(line: &[u8]) -> Option<Self> {
        // Most lines are of something else, and are not looked at more closely.
        let end = (3..line.len()).find(|&end| line[end - 3..end] == *b" - ")?;
        let (place, mut source) = (&line[..end - 3], line[end..].split(|byte| *byte == b' '));
        let version = Self::version(source.next()?)?;
        let options = String::from_utf8_lossy(source.nth(1)?).into_owned();
        let mut place = place.split(|byte| *byte == b' ').skip(3);
        Some(Self {
            version,
            root: sys::mountinfo::unescape(place.next()?),
            point: sys::mountinfo::unescape(place.next()?),
            options: options.split(',').map(str::to_owned).collect(),
        })
    }

    /// Of the file system that is mounted; `None` if it is no hierarchy.
    fn version(fs_type: &[u8]) -> Option<u8> {
        match fs_type {
            b"cgroup" => Some(1),
            b"cgroup2" => Some(2),
            _ => None,
        }
    }

    fn shows(&self, membership: &Membership) -> bool {
        let controllers = &membership.controllers;
        match self.version {
            2 => controllers.is_empty(),
            // Some kernels list the mount options in another order than the controllers.
            _ => !controllers.is_empty() && controllers.iter().all(|c| self.options.contains(c)),
        }
    }
}

/// Our cgroup as seen below a mount that may show only a part of the hierarchy.
fn below_mount(path: &Path, root: &Path) -> PathBuf {
    let inside = path
        .strip_prefix(root)
        .or_else(|_| path.strip_prefix("/"))
        .unwrap_or(path);
    // A cgroup namespace shows what is outside as `/..`, which cannot be reached.
    let reachable = inside
        .components()
        .all(|part| matches!(part, std::path::Component::Normal(_)));
    if reachable {
        inside.to_owned()
    } else {
        PathBuf::new()
    }
}

/// What of `path`, which a mount shows as `own`, is above that mount.
fn above_mount(path: &Path, own: &Path) -> PathBuf {
    let mut above = path.to_owned();
    if path.ends_with(own) {
        for _ in own.components() {
            above.pop();
        }
    }
    above
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
}

pub(super) fn words(text: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(text)
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_above_a_mount_is_told_from_our_own_cgroup() {
        let above = |path: &str, own: &str| above_mount(Path::new(path), Path::new(own));
        assert_eq!(above("/a/b", "a/b"), Path::new("/"));
        assert_eq!(above("/docker/x/a", "a"), Path::new("/docker/x"));
        assert_eq!(above("/docker/x", ""), Path::new("/docker/x"));
        assert_eq!(above("/", ""), Path::new("/"));
    }

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpuacct,cpu
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
35 31 0:32 / /mnt/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
    const OWN: &str = "9:name=systemd:/\n4:memory:/a/b\n1:cpu,cpuacct:/\n0::/\n";

    #[test]
    fn a_hybrid_host_has_every_hierarchy_once() {
        let found = Hierarchies::parse(HYBRID.as_bytes(), OWN.as_bytes());
        let mounts: Vec<_> = found
            .v1
            .iter()
            .map(|h| (h.controllers.join(","), &h.mount))
            .collect();
        assert_eq!(
            mounts,
            [
                (
                    "cpu,cpuacct".into(),
                    &PathBuf::from("/sys/fs/cgroup/cpu,cpuacct")
                ),
                ("memory".into(), &PathBuf::from("/sys/fs/cgroup/memory")),
                (
                    "name=systemd".into(),
                    &PathBuf::from("/sys/fs/cgroup/systemd")
                ),
            ]
        );
        assert_eq!(found.v1[1].own, Path::new("a/b"));
        assert_eq!(
            found.v2.as_ref().unwrap().mount,
            Path::new("/sys/fs/cgroup/unified")
        );
        assert!(!found.is_unified());
    }

    /// What statmount(2) says on a host with these mounts.
    fn told(mountinfo: &str) -> impl Fn(&Path) -> Place {
        let mounts: Vec<Mount> = (lines(mountinfo.as_bytes()).filter_map(Mount::parse)).collect();
        move |place| {
            let mount = mounts.iter().find(|mount| mount.point == place);
            mount.map_or(Place::Plain, |mount| {
                Place::Mount(Mounted {
                    fs_type: ["cgroup", "cgroup2"][usize::from(mount.version - 1)].into(),
                    root: mount.root.clone(),
                    options: mount.options.clone(),
                })
            })
        }
    }

    #[test]
    fn the_usual_places_say_what_the_list_of_mounts_says() {
        let nested = "31 23 0:26 /docker/x /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        for (mounts, own) in [(HYBRID, OWN), (nested, "0::/docker/x/y\n")] {
            let usual = Hierarchies::at_usual_places(own.as_bytes(), &told(mounts)).unwrap();
            let mut listed = Hierarchies::parse(mounts.as_bytes(), own.as_bytes());
            listed
                .v1
                .sort_by_key(|hierarchy| !hierarchy.has("name=systemd"));
            assert_eq!(usual.v2, listed.v2);
            assert_eq!(usual.v1.len(), listed.v1.len());
            assert!(
                usual
                    .v1
                    .iter()
                    .all(|hierarchy| listed.v1.contains(hierarchy))
            );
        }
    }

    #[test]
    fn what_is_not_at_its_usual_place_is_looked_for_in_the_list() {
        let usual = |mounts: &str, own: &str| {
            Hierarchies::at_usual_places(own.as_bytes(), &told(mounts)).is_some()
        };
        assert!(usual(HYBRID, OWN));
        // Another hierarchy has the name, or the name is another one.
        assert!(!usual(
            &HYBRID.replace("cgroup rw,memory", "cgroup rw,pids"),
            OWN
        ));
        assert!(!usual(&HYBRID.replace("cgroup/memory", "cgroup/mem"), OWN));
        assert!(!usual(
            &HYBRID.replace("- cgroup cgroup rw,memory", "- cgroup2 cgroup2 rw"),
            OWN
        ));
        assert!(!usual("", "0::/\n") && !usual("", ""));
        // Beside version 1, version 2 is in its one place or nowhere.
        let elsewhere = HYBRID.replace("cgroup/unified", "cgroup2");
        let found = Hierarchies::at_usual_places(OWN.as_bytes(), &told(&elsewhere)).unwrap();
        assert_eq!(found.v2, None);
        // What cannot be looked at may be there.
        let (told, unified) = (told(HYBRID), Path::new("/sys/fs/cgroup/unified"));
        let unsure = |place: &Path| match place == unified {
            true => Place::Unknown,
            false => told(place),
        };
        assert_eq!(Hierarchies::at_usual_places(OWN.as_bytes(), &unsure), None);
    }

    #[test]
    fn a_unified_host_is_told_from_a_hybrid_one() {
        let mounts = b"30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = Hierarchies::parse(mounts, b"0::/user.slice/session\n");
        assert!(found.is_unified());
        assert_eq!(found.v2.unwrap().own, Path::new("user.slice/session"));
    }

    #[test]
    fn a_mount_of_a_part_shortens_our_path() {
        let mounts = b"30 23 0:26 /docker/x /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let own = |text: &[u8]| Hierarchies::parse(mounts, text).v2.unwrap().own;
        assert_eq!(own(b"0::/docker/x/y\n"), Path::new("y"));
        assert_eq!(own(b"0::/docker/x\n"), Path::new(""));
        assert_eq!(own(b"0::/../z\n"), Path::new(""));
    }

    #[test]
    fn escaped_blanks_are_read() {
        assert_eq!(
            sys::mountinfo::unescape(br"/a\040b\134c\9"),
            Path::new(r"/a b\c\9")
        );
    }

    #[test]
    fn this_host_is_found() {
        match Hierarchies::discover() {
            Ok(found) if found == Hierarchies::default() => eprintln!("SKIP: no cgroups here"),
            Ok(found) => assert!(found.v2.is_some() || !found.v1.is_empty()),
            Err(error) => panic!("{error}"),
        }
    }
}
