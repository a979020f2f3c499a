//! What a container's `/sys/fs/cgroup` shows: one tree (version 2), or one directory a hierarchy
//! as the host has them (version 1).

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::cgroup::{Hierarchies, Hierarchy};

/// The plan for a mount of type `cgroup`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// The host has no cgroups mounted.
    None,
    /// cgroup v2 alone.
    Unified {
        /// What is shown where no namespace does it.
        shown: PathBuf,
        /// Whether a cgroup namespace makes a fresh mount show just that.
        namespaced: bool,
    },
    /// cgroup v1, with v2 beside it or not.
    Hierarchies {
        /// Each hierarchy.
        list: Vec<HierarchyView>,
        /// Whether a cgroup namespace makes a fresh mount show just the container's part.
        namespaced: bool,
    },
}

/// One hierarchy in a version 1 layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HierarchyView {
    /// Directory below `/sys/fs/cgroup`: the host's own name for it.
    pub name: String,
    /// Mount options for a fresh mount.
    pub options: Vec<String>,
    /// The container's cgroup on the host.
    pub own: PathBuf,
    /// Names of the single controllers of a joint hierarchy (`cpu` for `cpu,cpuacct`).
    pub links: Vec<String>,
    /// Whether it is the version 2 part of a hybrid host.
    pub unified: bool,
}

impl View {
    /// The view of a container whose cgroups are at `paths` (controller to directory); without
    /// any it stays in those of the caller. Of version 2 a container in the caller's cgroup
    /// namespace sees the whole tree, so that the path in `/proc/self/cgroup` leads somewhere;
    /// one with a user namespace (`confined`) only its part (CVE-2023-25809).
    pub fn plan(
        hierarchies: &Hierarchies,
        paths: &BTreeMap<String, PathBuf>,
        namespaced: bool,
        confined: bool,
    ) -> Self {
        let v2_own = |hierarchy: &Hierarchy| paths.get("").cloned().or(callers(hierarchy, paths));
        if hierarchies.is_unified() {
            return match hierarchies.v2.as_ref().and_then(v2_own) {
                Some(own) => {
                    let whole = hierarchies.v2.as_ref().map(|v2| v2.mount.clone());
                    let shown = whole.filter(|_| !confined).unwrap_or(own);
                    Self::Unified { shown, namespaced }
                }
                None => Self::None,
            };
        }
        let v1 = hierarchies.v1.iter().filter_map(|hierarchy| {
            let own = hierarchy
                .controllers
                .iter()
                .find_map(|controller| paths.get(controller).cloned())
                .or(callers(hierarchy, paths))?;
            Some(HierarchyView {
                name: name(hierarchy),
                options: options(hierarchy),
                own,
                links: links(hierarchy),
                unified: false,
            })
        });
        let v2 = hierarchies.v2.iter().filter_map(|hierarchy| {
            let own = v2_own(hierarchy)?;
            Some(HierarchyView {
                name: name(hierarchy),
                options: Vec::new(),
                own,
                links: Vec::new(),
                unified: true,
            })
        });
        let list: Vec<_> = v1.chain(v2).collect();
        if list.is_empty() {
            Self::None
        } else {
            Self::Hierarchies { list, namespaced }
        }
    }
}

/// Where the caller is, if the container has no cgroup of its own anywhere.
fn callers(hierarchy: &Hierarchy, paths: &BTreeMap<String, PathBuf>) -> Option<PathBuf> {
    paths
        .is_empty()
        .then(|| hierarchy.mount.join(&hierarchy.own))
}

fn name(hierarchy: &Hierarchy) -> String {
    hierarchy
        .mount
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// A named hierarchy without controllers needs the word `none` (cgroups(7)).
fn options(hierarchy: &Hierarchy) -> Vec<String> {
    let named = hierarchy
        .controllers
        .iter()
        .all(|controller| controller.starts_with("name="));
    let none = named.then(|| "none".to_owned());
    none.into_iter()
        .chain(hierarchy.controllers.iter().cloned())
        .collect()
}

fn links(hierarchy: &Hierarchy) -> Vec<String> {
    let directory = name(hierarchy);
    let single = hierarchy
        .controllers
        .iter()
        .filter(|c| **c != directory && !c.starts_with("name="));
    single.cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn hierarchy(mount: &str, controllers: &[&str]) -> Hierarchy {
        Hierarchy {
            controllers: controllers.iter().map(ToString::to_string).collect(),
            mount: mount.into(),
            own: mount.into(),
        }
    }

    #[test]
    fn joint_controllers_get_links_and_named_hierarchies_none() {
        let host = Hierarchies {
            v1: vec![
                hierarchy("/sys/fs/cgroup/cpu,cpuacct", &["cpu", "cpuacct"]),
                hierarchy("/sys/fs/cgroup/systemd", &["name=systemd"]),
            ],
            v2: None,
        };
        let paths = BTreeMap::from([
            ("cpu".to_owned(), PathBuf::from("/c/cpu")),
            ("name=systemd".to_owned(), PathBuf::from("/c/systemd")),
        ]);
        let View::Hierarchies { list, .. } = View::plan(&host, &paths, true, false) else {
            panic!()
        };
        assert_eq!(list[0].links, ["cpu", "cpuacct"]);
        assert_eq!(list[0].options, ["cpu", "cpuacct"]);
        assert_eq!(list[1].options, ["none", "name=systemd"]);
        assert!(list[1].links.is_empty());
    }

    #[test]
    fn a_container_without_cgroups_sees_those_of_its_caller() {
        let mut v2 = hierarchy("/sys/fs/cgroup", &["pids"]);
        v2.own = "user.slice".into();
        let host = Hierarchies {
            v1: Vec::new(),
            v2: Some(v2),
        };
        let view = |confined| match View::plan(&host, &BTreeMap::new(), false, confined) {
            View::Unified { shown, .. } => shown,
            other => panic!("{other:?}"),
        };
        assert_eq!(view(true), Path::new("/sys/fs/cgroup/user.slice"));
        assert_eq!(view(false), Path::new("/sys/fs/cgroup"));
    }

    #[test]
    fn without_cgroups_there_is_nothing_to_see() {
        let host = Hierarchies {
            v1: Vec::new(),
            v2: None,
        };
        assert_eq!(View::plan(&host, &BTreeMap::new(), true, false), View::None);
    }
}
