//! Which namespaces the container makes, joins by path, or shares with the runtime.

use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;
use oci::{Linux, LinuxIdMapping, LinuxNamespaceType};

use super::refusal::{Refusal, Result};
use sys::process::CLONE_NEWTIME;

/// A kind of namespace (namespaces(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Cgroup root directory.
    Cgroup,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Mount points.
    Mount,
    /// Network devices, stacks, ports.
    Network,
    /// Process ids.
    Pid,
    /// Boot and monotonic clocks.
    Time,
    /// User and group ids.
    User,
    /// Host name and NIS domain name.
    Uts,
}

impl Kind {
    /// All kinds, in the order in which namespaces given by path are joined.
    pub const ALL: [Self; 8] = [
        Self::User,
        Self::Cgroup,
        Self::Ipc,
        Self::Uts,
        Self::Network,
        Self::Pid,
        Self::Time,
        Self::Mount,
    ];

    /// The one that config.json calls `kind`.
    pub fn of(kind: LinuxNamespaceType) -> Self {
        match kind {
            LinuxNamespaceType::Cgroup => Self::Cgroup,
            LinuxNamespaceType::Ipc => Self::Ipc,
            LinuxNamespaceType::Mount => Self::Mount,
            LinuxNamespaceType::Network => Self::Network,
            LinuxNamespaceType::Pid => Self::Pid,
            LinuxNamespaceType::Time => Self::Time,
            LinuxNamespaceType::User => Self::User,
            LinuxNamespaceType::Uts => Self::Uts,
        }
    }

    /// Its `CLONE_NEW*` bit.
    pub fn clone_flag(self) -> u64 {
        let flag = match self {
            Self::Cgroup => CloneFlags::CLONE_NEWCGROUP,
            Self::Ipc => CloneFlags::CLONE_NEWIPC,
            Self::Mount => CloneFlags::CLONE_NEWNS,
            Self::Network => CloneFlags::CLONE_NEWNET,
            Self::Pid => CloneFlags::CLONE_NEWPID,
            Self::Time => return CLONE_NEWTIME,
            Self::User => CloneFlags::CLONE_NEWUSER,
            Self::Uts => CloneFlags::CLONE_NEWUTS,
        };
        u64::from(flag.bits() as u32)
    }

    /// Its name below `/proc/<pid>/ns`.
    pub fn proc_name(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Ipc => "ipc",
            Self::Mount => "mnt",
            Self::Network => "net",
            Self::Pid => "pid",
            Self::Time => "time",
            Self::User => "user",
            Self::Uts => "uts",
        }
    }
}

/// A namespace given by path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// What the path must lead to.
    pub kind: Kind,
    /// The path, absolute, in the runtime's mount namespace.
    pub path: PathBuf,
    /// The property that asked for it.
    pub pointer: String,
}

/// The namespaces of the container: made, joined, or (not listed) those of the runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    made: Vec<Kind>,
    joined: Vec<Join>,
}

impl Namespaces {
    /// Reads `linux.namespaces` (config-linux.md, "Namespaces").
    pub fn plan(linux: Option<&Linux>) -> Result<Self> {
        let mut namespaces = Self::default();
        let listed = linux
            .and_then(|linux| linux.namespaces().as_deref())
            .unwrap_or_default();
        for (index, namespace) in listed.iter().enumerate() {
            let pointer = format!("/linux/namespaces/{index}");
            let kind = Kind::of(namespace.typ());
            if namespaces.is_private(kind) {
                let reason = format!("malformed spec file: duplicated ns {:?}", kind.proc_name());
                return Err(Refusal::new(pointer + "/type", reason));
            }
            match namespace
                .path()
                .as_deref()
                .filter(|path| !path.as_os_str().is_empty())
            {
                None => namespaces.made.push(kind),
                Some(path) => namespaces.joined.push(join(kind, path, pointer + "/path")?),
            }
        }
        namespaces
            .joined
            .sort_by_key(|join| Kind::ALL.iter().position(|&kind| kind == join.kind));
        Ok(namespaces)
    }

    /// Gives the container a user namespace of its own unless it has one: without root nothing
    /// can be made without (crun does it, runc refuses).
    pub fn ensure_user(&mut self) {
        if !self.is_private(Kind::User) {
            self.made.push(Kind::User);
        }
    }

    /// Whether the container gets a new namespace of this kind.
    pub fn makes(&self, kind: Kind) -> bool {
        self.made.contains(&kind)
    }

    /// The namespace of this kind that the container joins.
    pub fn joined(&self, kind: Kind) -> Option<&Join> {
        self.joined.iter().find(|join| join.kind == kind)
    }

    /// All that it joins, in joining order.
    pub fn joins(&self) -> &[Join] {
        &self.joined
    }

    /// Whether it has one of this kind that is not (by configuration) the runtime's.
    pub fn is_private(&self, kind: Kind) -> bool {
        self.makes(kind) || self.joined(kind).is_some()
    }

    /// The `CLONE_NEW*` bits for clone3.
    ///
    /// Without the cgroup namespace: its root is the cgroup that its maker is in, and the child
    /// joins its cgroups only after clone3.
    pub fn clone_flags(&self) -> u64 {
        self.flags(|kind| kind != Kind::Cgroup)
    }

    /// Those of them that init can make by itself as well, while the runtime does something else. None with
    /// a user namespace, to which the others would not belong if it came last.
    pub fn own_flags(&self) -> u64 {
        if self.is_private(Kind::User) {
            return 0;
        }
        self.flags(|kind| matches!(kind, Kind::Ipc | Kind::Mount | Kind::Network | Kind::Uts))
    }

    fn flags(&self, wanted: impl Fn(Kind) -> bool) -> u64 {
        let made = self.made.iter().filter(|&&kind| wanted(kind));
        made.fold(0, |flags, kind| flags | kind.clone_flag())
    }
}

fn join(kind: Kind, path: &Path, pointer: String) -> Result<Join> {
    if !path.is_absolute() {
        return Err(Refusal::new(
            pointer,
            format!("{path:?} is not an absolute path"),
        ));
    }
    Ok(Join {
        kind,
        path: path.to_owned(),
        pointer,
    })
}

/// A contiguous range of ids: `size` of them from `inside` on are those from `outside` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// First id in the container.
    pub inside: u32,
    /// First id in the runtime's user namespace.
    pub outside: u32,
    /// How many.
    pub size: u32,
}

/// The id maps of a new user namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMaps {
    /// Users.
    pub uids: Vec<IdRange>,
    /// Groups.
    pub gids: Vec<IdRange>,
}

/// Refuses what the kernel would (user_namespaces(7)): a range of nothing, two that overlap on
/// either side, more than it takes.
fn sound(at: &str, ranges: &[IdRange]) -> Result<()> {
    const MOST: usize = 340;
    if ranges.len() > MOST {
        return Err(Refusal::new(at, format!("more than {MOST} ranges")));
    }
    let meet = |a: u32, b: u32, one: &IdRange, other: &IdRange| {
        let (a, b) = (u64::from(a), u64::from(b));
        a < b + u64::from(other.size) && b < a + u64::from(one.size)
    };
    for (index, range) in ranges.iter().enumerate() {
        let here = || format!("{at}/{index}");
        if range.size == 0 {
            return Err(Refusal::new(
                format!("{}/size", here()),
                "the range maps no id",
            ));
        }
        for (name, first) in [("containerID", range.inside), ("hostID", range.outside)] {
            // The last number stands for "no id" (setuid(2)).
            if u64::from(first) + u64::from(range.size) > u64::from(u32::MAX) {
                let reason = format!("{} ids from {first} on are more than there are", range.size);
                return Err(Refusal::new(format!("{}/{name}", here()), reason));
            }
        }
        let earlier = ranges[..index].iter().position(|other| {
            meet(range.inside, other.inside, range, other)
                || meet(range.outside, other.outside, range, other)
        });
        if let Some(earlier) = earlier {
            let reason = format!("the range overlaps {at}/{earlier}");
            return Err(Refusal::new(here(), reason));
        }
    }
    Ok(())
}

impl IdMaps {
    /// Reads the mappings (config-linux.md, "User namespace mappings"); none without a new
    /// user namespace. `own` are those of an ordinary user who lists none.
    pub fn plan(
        linux: Option<&Linux>,
        namespaces: &Namespaces,
        own: impl FnOnce() -> Option<Self>,
    ) -> Result<Option<Self>> {
        let maps = Self::listed(linux);
        let given = !maps.uids.is_empty() || !maps.gids.is_empty();
        if let Some(join) = namespaces.joined(Kind::User) {
            // The joined namespace has its maps already; listing them again only repeats it.
            return if given {
                maps.check_against(&join.path).map(|()| None)
            } else {
                Ok(None)
            };
        }
        if namespaces.makes(Kind::User)
            && !given
            && let Some(own) = own()
        {
            return Ok(Some(own));
        }
        match (namespaces.makes(Kind::User), given) {
            (false, true) => Err(Refusal::new(
                "/linux/uidMappings",
                "user namespace mappings specified, but user namespace isn't enabled in the config",
            )),
            (false, false) => Ok(None),
            (true, _) if maps.uids.is_empty() || maps.gids.is_empty() => Err(Refusal::new(
                if maps.uids.is_empty() {
                    "/linux/uidMappings"
                } else {
                    "/linux/gidMappings"
                },
                "user namespaces enabled, but no namespace path to join nor mappings to apply specified",
            )),
            (true, _) => {
                sound("/linux/uidMappings", &maps.uids)?;
                sound("/linux/gidMappings", &maps.gids)?;
                Ok(Some(maps))
            }
        }
    }

    /// The mappings as they are listed.
    pub fn listed(linux: Option<&Linux>) -> Self {
        let list = |mappings: Option<&Option<Vec<LinuxIdMapping>>>| -> Vec<IdRange> {
            mappings
                .and_then(Option::as_ref)
                .into_iter()
                .flatten()
                .map(IdRange::from)
                .collect()
        };
        Self {
            uids: list(linux.map(Linux::uid_mappings)),
            gids: list(linux.map(Linux::gid_mappings)),
        }
    }

    /// Refuses maps that differ from those of the user namespace at `path`.
    fn check_against(&self, path: &Path) -> Result<()> {
        // Only /proc/<pid>/ns/user leads to the maps; `launch` looks into any other.
        let Some(process) = path.to_str().and_then(|path| path.strip_suffix("/ns/user")) else {
            return Ok(());
        };
        let same = |name: &str, ranges: &[IdRange]| {
            std::fs::read_to_string(format!("{process}/{name}"))
                .map_or(true, |text| Self::is_same(&text, ranges))
        };
        if same("uid_map", &self.uids) && same("gid_map", &self.gids) {
            return Ok(());
        }
        Err(Self::mismatch())
    }

    /// The refusal of mappings that the joined user namespace does not have.
    pub fn mismatch() -> Refusal {
        Refusal::new(
            "/linux/uidMappings",
            "user namespaces enabled, but both namespace path and non-matching mapping specified \
             -- you may only provide one",
        )
    }

    /// Whether `text`, as the kernel shows maps, says the same as `ranges`, in whatever order.
    pub fn is_same(text: &str, ranges: &[IdRange]) -> bool {
        let sorted = |mut ranges: Vec<IdRange>| {
            ranges.sort_by_key(|range| range.inside);
            ranges
        };
        sorted(parse_map(text)) == sorted(ranges.to_vec())
    }

    /// Whether it maps one user and one group, which needs nobody's help.
    pub fn is_single(&self) -> bool {
        let single = |ranges: &[IdRange]| matches!(ranges, [only] if only.size == 1);
        single(&self.uids) && single(&self.gids)
    }

    /// The id outside that `inside` stands for.
    pub fn outside(ranges: &[IdRange], inside: u32) -> Option<u32> {
        ranges
            .iter()
            .find(|range| inside >= range.inside && inside - range.inside < range.size)
            .map(|range| range.outside + (inside - range.inside))
    }

    /// The text for `/proc/<pid>/uid_map` or `gid_map` (user_namespaces(7)).
    pub fn text(ranges: &[IdRange]) -> String {
        ranges
            .iter()
            .map(|r| format!("{} {} {}\n", r.inside, r.outside, r.size))
            .collect()
    }
}

impl From<&LinuxIdMapping> for IdRange {
    fn from(mapping: &LinuxIdMapping) -> Self {
        Self {
            inside: mapping.container_id(),
            outside: mapping.host_id(),
            size: mapping.size(),
        }
    }
}

fn parse_map(text: &str) -> Vec<IdRange> {
    let range = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse::<u32>);
        let mut next = || numbers.next()?.ok();
        Some(IdRange {
            inside: next()?,
            outside: next()?,
            size: next()?,
        })
    };
    text.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(json: &str) -> Result<Namespaces> {
        Namespaces::plan(Some(&oci::from_str(json).unwrap()))
    }

    #[test]
    fn an_empty_path_means_a_new_namespace() {
        let namespaces = plan(r#"{"namespaces":[{"type":"network","path":""}]}"#).unwrap();
        assert!(namespaces.makes(Kind::Network));
    }

    #[test]
    fn the_same_kind_twice_is_refused_with_its_pointer() {
        let error = plan(r#"{"namespaces":[{"type":"pid"},{"type":"pid","path":"/x"}]}"#);
        assert_eq!(error.unwrap_err().pointer, "/linux/namespaces/1/type");
    }

    #[test]
    fn a_relative_path_is_refused() {
        let error = plan(r#"{"namespaces":[{"type":"pid","path":"proc/1/ns/pid"}]}"#).unwrap_err();
        assert_eq!(error.pointer, "/linux/namespaces/0/path");
    }

    #[test]
    fn the_cgroup_namespace_is_not_made_by_clone() {
        let namespaces = plan(r#"{"namespaces":[{"type":"cgroup"},{"type":"uts"}]}"#).unwrap();
        assert_eq!(namespaces.clone_flags(), Kind::Uts.clone_flag());
    }

    #[test]
    fn an_id_outside_of_every_range_has_no_mapping() {
        let ranges = [
            IdRange {
                inside: 0,
                outside: 1000,
                size: 1,
            },
            IdRange {
                inside: 10,
                outside: 5,
                size: 2,
            },
        ];
        assert_eq!(IdMaps::outside(&ranges, 11), Some(6));
        assert_eq!(IdMaps::outside(&ranges, 1), None);
        assert_eq!(IdMaps::outside(&ranges, 12), None);
    }

    #[test]
    fn mappings_and_the_namespace_need_each_other() {
        let linux: Linux =
            oci::from_str(r#"{"uidMappings":[{"containerID":0,"hostID":1000,"size":1}]}"#).unwrap();
        let namespaces = Namespaces::plan(Some(&linux)).unwrap();
        assert!(IdMaps::plan(Some(&linux), &namespaces, || None).is_err());
        let linux: Linux = oci::from_str(r#"{"namespaces":[{"type":"user"}]}"#).unwrap();
        let namespaces = Namespaces::plan(Some(&linux)).unwrap();
        assert!(IdMaps::plan(Some(&linux), &namespaces, || None).is_err());
        let own = || Some(IdMaps::default());
        assert_eq!(IdMaps::plan(Some(&linux), &namespaces, own), Ok(own()));
    }

    #[test]
    fn ranges_that_the_kernel_would_not_take_are_refused_by_their_place() {
        let range = |inside, outside, size| IdRange {
            inside,
            outside,
            size,
        };
        let place = |ranges: &[IdRange]| sound("/m", ranges).map_err(|refused| refused.pointer);
        assert_eq!(place(&[range(0, 1000, 10), range(10, 2000, 10)]), Ok(()));
        assert_eq!(place(&[range(0, 0, u32::MAX)]), Ok(()));
        let inside = [range(0, 1000, 10), range(5, 3000, 10)];
        assert_eq!(place(&inside), Err("/m/1".into()));
        let outside = [range(0, 1000, 10), range(100, 1009, 1)];
        assert_eq!(place(&outside), Err("/m/1".into()));
        assert_eq!(place(&[range(0, 1000, 0)]), Err("/m/0/size".into()));
        let (wraps, runs_out) = (range(0, u32::MAX, 2), range(u32::MAX - 1, 0, 2));
        assert_eq!(place(&[wraps]), Err("/m/0/hostID".into()));
        assert_eq!(place(&[runs_out]), Err("/m/0/containerID".into()));
        let many: Vec<IdRange> = (0..341).map(|id| range(id, id, 1)).collect();
        assert_eq!(place(&many), Err("/m".into()));
    }

    #[test]
    fn the_order_of_ranges_makes_no_other_map() {
        let range = |inside, outside| IdRange {
            inside,
            outside,
            size: 1,
        };
        let text = "         0       1000          1\n         1       2000          1\n";
        assert!(IdMaps::is_same(text, &[range(1, 2000), range(0, 1000)]));
        assert!(!IdMaps::is_same(text, &[range(0, 1000)]));
    }
}
