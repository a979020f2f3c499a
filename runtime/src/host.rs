//! Facts about this host, looked up once.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{getegid, geteuid};

use crate::plan::IdMaps;
use crate::plan::namespaces::IdRange;
use crate::seccomp_cache::Programs;

/// What plans depend on beside the configuration.
#[derive(Clone, Debug)]
pub struct Host {
    /// Whether SELinux is enabled.
    pub selinux: bool,
    /// Whether AppArmor is enabled.
    pub apparmor: bool,
    /// Filters that were compiled before.
    pub programs: Programs,
    /// argv[0].
    pub called_as: String,
    /// Whether this process is root here.
    pub root: bool,
}

impl Host {
    /// One that has everything: what it cannot run is wrong everywhere.
    pub fn able() -> Self {
        Self {
            selinux: true,
            apparmor: true,
            called_as: String::new(),
            root: true,
            programs: Programs::default(),
        }
    }

    /// Looks them up, for a process that may get a filter kept below the state root at `path`.
    pub fn look_with(path: &Path) -> Self {
        Self {
            programs: Programs::below(path),
            ..Self::look()
        }
    }

    /// Looks them up. What cannot be read counts as absent.
    pub fn look() -> Self {
        let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
        Self {
            selinux: fs::metadata(Path::new("/sys/fs/selinux/enforce")).is_ok(),
            programs: Programs::default(),
            called_as: std::env::args().next().unwrap_or_default(),
            root: nix::unistd::geteuid().is_root(),
            apparmor: enabled.is_ok_and(|text| text.starts_with('Y')),
        }
    }
}

/// The id maps of a container that lists none, for an ordinary user: its root is this user, and
/// the ids that an administrator gave to this user follow (subuid(5), subgid(5)). Without any,
/// the one user and the one group of the container's process are this user's.
pub fn own_maps(uid: u32, gid: u32) -> IdMaps {
    let (own_uid, own_gid) = (geteuid().as_raw(), getegid().as_raw());
    let name = user_name(own_uid);
    let given = |file: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        subordinate(&text, name.as_deref(), own_uid)
    };
    let (uids, gids) = (given("/etc/subuid"), given("/etc/subgid"));
    let helpers = ["newuidmap", "newgidmap"].into_iter().all(is_in_path);
    if uids.is_empty() || gids.is_empty() || !helpers {
        return IdMaps {
            uids: vec![one(uid, own_uid)],
            gids: vec![one(gid, own_gid)],
        };
    }
    IdMaps {
        uids: after_root(own_uid, &uids),
        gids: after_root(own_gid, &gids),
    }
}

fn one(inside: u32, outside: u32) -> IdRange {
    IdRange {
        inside,
        outside,
        size: 1,
    }
}

fn after_root(own: u32, given: &[(u32, u32)]) -> Vec<IdRange> {
    let mut ranges = vec![one(0, own)];
    let mut inside = 1u32;
    for &(outside, size) in given {
        ranges.push(IdRange {
            inside,
            outside,
            size,
        });
        inside = inside.saturating_add(size);
    }
    ranges
}

/// The lines `NAME:FIRST:COUNT` of this user, whose name may be its number.
fn subordinate(text: &str, name: Option<&str>, uid: u32) -> Vec<(u32, u32)> {
    let number = uid.to_string();
    let line = |line: &str| {
        let mut fields = line.split(':');
        let whose = fields.next()?;
        let (first, count) = (
            fields.next()?.parse().ok()?,
            fields.next()?.trim().parse().ok()?,
        );
        let ours = Some(whose) == name || whose == number;
        (ours && count > 0).then_some((first, count))
    };
    text.lines().filter_map(line).collect()
}

fn user_name(uid: u32) -> Option<String> {
    let text = fs::read_to_string("/etc/passwd").ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    std::env::split_paths(&path).any(|dir| sys::child::is_executable(&dir.join(program)))
}

/// Whether nothing that we start can make a device node: mknod(2) asks root of the machine.
pub fn makes_no_devices() -> bool {
    !geteuid().is_root() || inside_user_namespace()
}

/// Whether the machine's root is somebody else.
pub fn is_rootless() -> bool {
    !geteuid().is_root() || inside_user_namespace()
}

/// Whether root here is root of the machine: the initial user namespace maps every id to itself.
pub fn inside_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map");
    map.is_ok_and(|map| !map.split_whitespace().eq(["0", "0", "4294967295"]))
}

/// Whether the directory `found` at `path` is the host's root: one look at each tells them apart. Only
/// where they are the same directory does the path have a say, for a bind mount of `/` is none.
pub fn is_root_of_everything(path: &Path, found: &Metadata) -> bool {
    let identity = |found: &Metadata| (found.dev(), found.ino());
    fs::metadata("/").is_ok_and(|root| identity(&root) == identity(found))
        && fs::canonicalize(path).is_ok_and(|path| path.parent().is_none())
}

/// The ids that a subuid(5) gives to a user, and the ranges of a map made of them.
#[cfg(fuzzing)]
pub fn understand_subordinate(text: &str, name: &str, uid: u32) -> Vec<IdRange> {
    after_root(uid, &subordinate(text, Some(name), uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subordinate_ids_are_found_by_name_and_by_number() {
        let text = "alice:100000:65536\nbob:200000:10\n1000:300000:5\nalice:400000:0\nalice:x:1\n";
        assert_eq!(
            subordinate(text, Some("alice"), 1000),
            [(100_000, 65536), (300_000, 5)]
        );
        assert_eq!(subordinate(text, None, 7), []);
    }

    #[test]
    fn given_ids_follow_the_user_that_is_root() {
        let ranges = after_root(1000, &[(100_000, 10), (200_000, 5)]);
        let all: Vec<_> = ranges
            .iter()
            .map(|r| (r.inside, r.outside, r.size))
            .collect();
        assert_eq!(all, [(0, 1000, 1), (1, 100_000, 10), (11, 200_000, 5)]);
    }
}
