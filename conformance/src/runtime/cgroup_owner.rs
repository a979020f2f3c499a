//! Who owns the container's cgroup: the section "Cgroup ownership" of config-linux.md.
//!
//! All but the first row need a hierarchy of version 2 and no controller: a host of version 1 gets
//! one in the mount namespace of the row, beside which nothing else is mounted.

use serde_json::json;
use testbed::Config;

use super::idmap::{mapped, opened};
use crate::case::Case;
use crate::container::Container;
use crate::row::{Row, Verdict, ensure, ensure_eq, needs, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        S188,
        a_v1_cgroup_keeps_its_owner,
        "config-linux.md, cgroup ownership: SHOULD NOT change the ownership of container cgroups when cgroups v1 is in use"
    ),
    row!(
        Runtime,
        S188,
        without_a_cgroup_namespace_the_owner_stays,
        "config-linux.md, cgroup ownership: SHOULD NOT change the ownership unless it will also create a new cgroup namespace"
    ),
    row!(
        Runtime,
        S188,
        without_a_writable_mount_the_owner_stays,
        "config-linux.md, cgroup ownership: SHOULD NOT change the cgroup ownership without a mount that is read/write"
    ),
    row!(
        Runtime,
        S188,
        with_a_writable_mount_the_owner_changes,
        "config-linux.md, cgroup ownership: SHOULD change the cgroup ownership if and only if the cgroup filesystem is to be mounted read/write"
    ),
    row!(
        Runtime,
        S188,
        no_file_but_the_listed_changes_its_owner,
        "config-linux.md, cgroup ownership: SHOULD only change the ownership of the container's cgroup directory and files that are listed"
    ),
    row!(
        Runtime,
        S188,
        a_listed_file_that_is_missing_is_no_error,
        "config-linux.md, cgroup ownership: not all files listed necessarily exist in every cgroup: MUST NOT fail in this scenario"
    ),
    row!(
        Runtime,
        S188,
        the_listed_files_that_are_there_change_their_owner,
        "config-linux.md, cgroup ownership: SHOULD change the ownership of the listed files that do exist in the cgroup"
    ),
    row!(
        Runtime,
        S188,
        without_a_list_three_files_change_their_owner,
        "config-linux.md, cgroup ownership: if the file does not exist, MUST fall back to using the following list of files"
    ),
];

/// Root of the user namespace, as the host calls it.
const OWNER: &str = "100000";

/// A mapped container with a mount of its cgroups. What a row hides in /sys the kernel would not
/// let it mount anew, and rules of devices want a program that not every machine lets crun load.
fn with_mount(config: Config, option: &str) -> Config {
    let options = ["nosuid", "noexec", "nodev", option];
    config
        .set("/linux/resources", json!({}))
        .retain("/mounts", |mount| {
            mount["destination"] != "/sys/fs/cgroup" && mount["destination"] != "/sys"
        })
        .mount("/sys", "tmpfs", "tmpfs", &["nosuid", "noexec", "nodev"])
        .mount("/sys/fs/cgroup", "cgroup", "cgroup", &options)
        .args(&["sleep", "60"])
}

fn with_cgroup_namespace() -> Config {
    mapped().push("/linux/namespaces", json!({ "type": "cgroup" }))
}

fn a_v1_cgroup_keeps_its_owner(case: &Case<'_>) -> Verdict {
    needs!(
        testbed::requires::has_cgroup_v1("pids"),
        "cgroup v1 controller pids"
    );
    let container = opened(case, with_mount(with_cgroup_namespace(), "rw"))?;
    container.up()?;
    let place = format!("/sys/fs/cgroup/pids{}", container.cgroup);
    let owners = case.sh(&format!(
        "stat -c %u {place} {place}/cgroup.procs {place}/tasks"
    ))?;
    ensure_eq!(owners, "0\n0\n0", "owners of the cgroup and its files");
    Ok(())
}

/// Where the kernel says what may be given away.
const LIST: &str = "/sys/kernel/cgroup/delegate";

/// A hierarchy of version 2 alone, for the runtime too, and the kernel's list.
fn unified(case: &Case<'_>) -> Verdict {
    needs!(case.holds(&format!("test -s {LIST}"))?, "{LIST}");
    if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return Ok(());
    }
    needs!(
        case.holds("grep -qw cgroup2 /proc/filesystems")?,
        "cgroup v2"
    );
    case.sh("umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup")?;
    Ok(())
}

/// The owners of the directory (`.`) and of files of the container's cgroup, by name.
fn owners(container: &Container<'_>, files: &[&str]) -> Verdict<String> {
    let script = format!(
        "cd /sys/fs/cgroup{}; stat -c '%n %u' . {}",
        container.cgroup,
        files.join(" ")
    );
    container.case.sh(&script)
}

/// What [`owners`] tells if all of them are given away.
fn given(files: &[&str]) -> String {
    let files = std::iter::once(&".").chain(files);
    let lines: Vec<String> = files.map(|file| format!("{file} {OWNER}")).collect();
    lines.join("\n")
}

fn owner_stays(case: &Case<'_>, config: Config, option: &str) -> Verdict {
    unified(case)?;
    let container = opened(case, with_mount(config, option))?;
    container.up()?;
    let owners = owners(&container, &["cgroup.procs"])?;
    ensure_eq!(
        owners,
        ". 0\ncgroup.procs 0",
        "owners of the cgroup and its files"
    );
    Ok(())
}

fn without_a_cgroup_namespace_the_owner_stays(case: &Case<'_>) -> Verdict {
    owner_stays(case, mapped(), "rw")
}

fn without_a_writable_mount_the_owner_stays(case: &Case<'_>) -> Verdict {
    owner_stays(case, with_cgroup_namespace(), "ro")
}

/// A running container that may write to its cgroups.
fn up<'a>(case: &'a Case<'a>) -> Verdict<Container<'a>> {
    let container = opened(case, with_mount(with_cgroup_namespace(), "rw"))?;
    container.up()?;
    Ok(container)
}

/// Whether the runtime gives cgroups away, as it may: only then are the sentences about files its.
fn gives(container: &Container<'_>) -> Verdict<bool> {
    Ok(owners(container, &[])? != ". 0")
}

/// These files are the container's and no other, if it was given any.
fn none_but_these_are_given(container: &Container<'_>, listed: &[&str]) -> Verdict {
    let owners = owners(container, &["*"])?;
    for line in owners.lines().skip(1) {
        let (file, owner) = line.rsplit_once(' ').unwrap_or((line, ""));
        ensure!(
            owner == "0" || listed.contains(&file),
            "{file} is not on the list and is given to {owner}"
        );
    }
    Ok(())
}

fn with_a_writable_mount_the_owner_changes(case: &Case<'_>) -> Verdict {
    unified(case)?;
    let owners = owners(&up(case)?, &["cgroup.procs"])?;
    ensure_eq!(owners, given(&["cgroup.procs"]), "owners");
    Ok(())
}

fn no_file_but_the_listed_changes_its_owner(case: &Case<'_>) -> Verdict {
    unified(case)?;
    let listed = case.sh(&format!("cat {LIST}"))?;
    let listed: Vec<&str> = listed.lines().collect();
    none_but_these_are_given(&up(case)?, &listed)
}

/// A list of the kernel in which what is missing stands before, between and after what is there.
fn of_tomorrow(case: &Case<'_>) -> Verdict {
    unified(case)?;
    case.sh(&format!(
        "printf '%s\\n' new.first cgroup.procs new.second cgroup.threads new.last > {0}; \
         mount --bind {0} {LIST}",
        case.path("delegate")
    ))?;
    Ok(())
}

fn a_listed_file_that_is_missing_is_no_error(case: &Case<'_>) -> Verdict {
    of_tomorrow(case)?;
    up(case).map(drop)
}

fn the_listed_files_that_are_there_change_their_owner(case: &Case<'_>) -> Verdict {
    of_tomorrow(case)?;
    let container = up(case)?;
    let wanted = ["cgroup.procs", "cgroup.threads"];
    if gives(&container)? {
        ensure_eq!(owners(&container, &wanted)?, given(&wanted), "owners");
    }
    none_but_these_are_given(&container, &wanted)
}

fn without_a_list_three_files_change_their_owner(case: &Case<'_>) -> Verdict {
    unified(case)?;
    case.sh("mount -t tmpfs none /sys/kernel/cgroup")?;
    let container = up(case)?;
    let wanted = ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"];
    if gives(&container)? {
        ensure_eq!(owners(&container, &wanted)?, given(&wanted), "owners");
    }
    none_but_these_are_given(&container, &wanted)
}
