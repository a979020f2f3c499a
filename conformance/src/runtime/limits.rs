//! Limits of a container as the kernel has them, on whichever version of cgroups the machine is.

use crate::case::Case;
use crate::container::Container;
use crate::row::{Verdict, lacking};

/// A controller of version 1, its file there, and its file on version 2.
pub(crate) type Limit = (&'static str, &'static str, &'static str);

/// Which version a controller is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

/// Where `controller` (as version 1 calls it) is on this machine; a skip if it is nowhere.
pub(crate) fn version(controller: &str) -> Verdict<Version> {
    if testbed::requires::has_cgroup_v1(controller) {
        return Ok(Version::V1);
    }
    let controllers = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers");
    let name = match controller {
        "blkio" => "io",
        // Every group of version 2 has a freezer.
        "freezer" => "",
        other => other,
    };
    let has = |list: &str| name.is_empty() || list.split_whitespace().any(|word| word == name);
    match controllers {
        Ok(list) if has(&list) => Ok(Version::V2),
        _ => Err(lacking(&format!("cgroup controller {controller}"))),
    }
}

/// The container's own directory of a controller.
pub(crate) fn directory(container: &Container<'_>, controller: &str) -> Verdict<String> {
    Ok(match version(controller)? {
        Version::V1 => format!("/sys/fs/cgroup/{controller}{}", container.cgroup),
        Version::V2 => format!("/sys/fs/cgroup{}", container.cgroup),
    })
}

/// Whether the machine has the file of a limit, told by a cgroup of this row's own.
pub(crate) fn offers(case: &Case<'_>, limit: Limit) -> Verdict<bool> {
    of_a_cgroup(case, limit, |file| format!("test -e {file}"))
}

/// Whether this kernel takes `value` in the file of a limit, told by a cgroup of this row's own.
pub(crate) fn takes(case: &Case<'_>, limit: Limit, value: &str) -> Verdict<bool> {
    of_a_cgroup(case, limit, |file| format!("echo '{value}' > {file}"))
}

fn of_a_cgroup(
    case: &Case<'_>,
    (controller, v1, v2): Limit,
    question: impl Fn(&str) -> String,
) -> Verdict<bool> {
    let (mount, file) = match version(controller)? {
        Version::V1 => (format!("/sys/fs/cgroup/{controller}"), v1),
        Version::V2 => ("/sys/fs/cgroup".into(), v2),
    };
    let group = format!("{mount}/{}-probe", case.cgroup_prefix());
    case.sh(&format!("mkdir {group}"))?;
    let answer = case.holds(&question(&format!("{group}/{file}")));
    case.sh(&format!("rmdir {group}"))?;
    answer
}

/// What the kernel has in the file of a limit.
pub(crate) fn limit(container: &Container<'_>, (controller, v1, v2): Limit) -> Verdict<String> {
    let file = match version(controller)? {
        Version::V1 => v1,
        Version::V2 => v2,
    };
    let directory = directory(container, controller)?;
    container.case.sh(&format!("cat {directory}/{file}"))
}
