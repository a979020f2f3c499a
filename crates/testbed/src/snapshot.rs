//! [`Snapshot`]: what a host carries at one moment, and the difference of two moments.
//!
//! Links, addresses, routes, packet filter rules of all three tools, mounts, cgroups whose name
//! starts as the caller's do, and the files below given directories. Counters, handles and numbers that
//! the kernel chose are left out.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::{Error, Host, IoContext, Result};

/// Cgroups of tests start like this; the machine's other cgroups are nobody's business.
pub const CGROUP_PREFIX: &str = "dvt-";

/// Where cgroup hierarchies of both versions are mounted, as this process sees it: each at a place
/// of its own, or one as the root of all.
pub fn hierarchies() -> Result<Vec<PathBuf>> {
    let path = "/proc/self/mountinfo";
    let text = std::fs::read_to_string(path).because(|| format!("read {path}"))?;
    let place = |line: &str| {
        let (mount, kind) = line.split_once(" - ")?;
        let kind = kind.split(' ').next()?;
        let place = mount.split(' ').nth(4)?;
        ["cgroup", "cgroup2"].contains(&kind).then(|| place.into())
    };
    Ok(text.lines().filter_map(place).collect())
}

/// What a host carries, by kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<String, Vec<String>>);

/// One shell, so that a snapshot costs one process tree. Sections start with `== name`.
const LOOK: &str = include_str!("snapshot.sh");

impl Snapshot {
    pub(crate) fn take(host: &Host, cgroups: &str, directories: &[&str]) -> Result<Self> {
        let argv = ["sh", "-c", LOOK, "sh", cgroups].into_iter();
        let argv = argv.chain(directories.iter().copied());
        let outcome = host.command(argv).run()?;
        if !outcome.success() {
            return Err(Error::Host(outcome.complaint()));
        }
        let text = outcome.text();
        let mut sections = BTreeMap::new();
        let mut current = String::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            match line.strip_prefix("== ") {
                Some(name) => current = name.into(),
                None => sections
                    .entry(current.clone())
                    .or_insert_with(Vec::new)
                    .push(line.into()),
            }
        }
        Ok(Self(sections))
    }

    /// What `later` has more (`+`) or less (`-`) than this one; empty when they are equal.
    pub fn difference(&self, later: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        let names = self
            .0
            .keys()
            .chain(later.0.keys())
            .collect::<std::collections::BTreeSet<_>>();
        for name in names {
            let of = |snapshot: &Self| snapshot.0.get(name).cloned().unwrap_or_default();
            let (before, after) = (of(self), of(later));
            lines.extend(missing(&before, &after).map(|line| format!("- {name}: {line}")));
            lines.extend(missing(&after, &before).map(|line| format!("+ {name}: {line}")));
        }
        lines
    }
}

/// The lines that `from` holds more often than `to`.
fn missing<'a>(from: &'a [String], to: &[String]) -> impl Iterator<Item = &'a String> {
    let mut left = to.to_vec();
    from.iter().filter(
        move |line| match left.iter().position(|other| other == *line) {
            Some(index) => {
                left.swap_remove(index);
                false
            }
            None => true,
        },
    )
}
