//! Containers in user namespaces that see less of the host than the runtime, and runtimes that
//! are in a container themselves.

use serde_json::json;
use testbed::{Config, Invocation};

use super::idmap::{mapped, opened};
use crate::case::Case;
use crate::container::Container;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F151,
        a_container_starts_below_a_masked_proc,
        "opencontainers/runc#1658: a user namespace below a masked /proc gets no procfs of its own; the masks must hold"
    ),
    row!(
        Runtime,
        F151,
        the_error_names_what_the_outer_container_masks,
        "feature table: an error of procfs in a nested container names what covers the outer one"
    ),
    row!(
        Runtime,
        F151,
        what_it_borrows_of_proc_cannot_be_written,
        "proc_pid_oom_score_adj(5): the file's owner may raise it; an outer process is not the container's to rate"
    ),
    row!(
        Runtime,
        F151,
        root_of_the_host_lends_no_proc,
        "feature table: what covers /proc is named, and no container sees the host's processes for it"
    ),
    row!(
        Runtime,
        F151,
        options_of_proc_are_given_or_refused,
        "proc(5): hidepid= is asked for so that processes are not seen"
    ),
    row!(
        Runtime,
        F152,
        sys_is_bound_where_no_sysfs_can_be_mounted,
        "crun: a user namespace without a network namespace may mount no sysfs; the host's is bound, read-only"
    ),
    row!(
        Runtime,
        F153,
        a_source_that_the_container_s_root_cannot_reach_is_bound,
        "feature table: a bind source below a directory of mode 0700 is opened by the runtime"
    ),
];

/// Runs the container in a user namespace of one id, below a `/proc` part of which is covered.
fn nested(container: &Container<'_>, cover: &str) -> Verdict<Invocation> {
    let dir = container.dir();
    let outer = format!(
        "mount -t tmpfs covered {cover}; \
         exec unshare -U --map-root-user -m --propagation slave -- \"$@\""
    );
    let command = container.command(&["run", "--bundle", &dir])?;
    Ok(command.within(&[
        "unshare",
        "-m",
        "--propagation",
        "private",
        "sh",
        "-ec",
        &outer,
        "sh",
    ]))
}

fn one_id(namespaces: &[&str]) -> Config {
    let mapping = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
    let kinds: Vec<_> = namespaces
        .iter()
        .map(|kind| json!({ "type": kind }))
        .collect();
    Config::new()
        .set("/linux/namespaces", kinds)
        .set("/linux/uidMappings", mapping.clone())
        .set("/linux/gidMappings", mapping)
        .retain("/mounts", |mount| {
            mount["destination"] != "/sys/fs/cgroup" && mount["destination"] != "/dev/pts"
        })
}

fn a_container_starts_below_a_masked_proc(case: &Case<'_>) -> Verdict {
    let config = one_id(&["user", "mount", "pid", "ipc", "uts", "network"])
        .sh("stat -f -c %T /proc; ls /proc/fs | wc -l; cat /proc/self/uid_map | wc -l; hostname");
    let container = case.container(config)?;
    let text = case
        .call(&nested(&container, "/proc/fs")?)?
        .succeeds()?
        .text();
    let words: Vec<_> = text.split_whitespace().collect();
    ensure_eq!(
        words,
        ["proc", "0", "1", "box"],
        "/proc, what is masked, own maps, hostname"
    );
    Ok(())
}

fn the_error_names_what_the_outer_container_masks(case: &Case<'_>) -> Verdict {
    // Of the user namespace around, so that the processes of the procfs around are in its reach.
    let config = one_id(&["mount", "pid", "ipc", "uts", "network"])
        .retain("/linux/uidMappings", |_| false)
        .retain("/linux/gidMappings", |_| false);
    let container = case.container(config)?;
    let outcome = case.call(&nested(&container, "/proc/fs")?)?.refuses()?;
    outcome.says(&["/proc/fs"])?;
    Ok(())
}

/// With a process of the outer namespace whose owner is the container's root.
fn what_it_borrows_of_proc_cannot_be_written(case: &Case<'_>) -> Verdict {
    let config = one_id(&["user", "mount", "pid", "ipc", "uts", "network"])
        .sh("n=0; for score in /proc/[0-9]*/oom_score_adj; do \
         { echo 1000 > $score; } 2>/dev/null && n=$((n + 1)); done; echo wrote $n");
    let container = case.container(config)?;
    let outcome = case.call(&nested(&container, "/proc/fs")?)?;
    // A runtime that starts nothing here lets nothing be written either.
    if outcome.clone().succeeds().is_ok() {
        ensure_eq!(outcome.text(), "wrote 0", "outer processes changed");
    }
    Ok(())
}

/// Of a container with a user namespace of its own, started by root of the host.
fn below_a_cover(case: &Case<'_>, config: Config) -> Verdict<Invocation> {
    let container = opened(case, config)?;
    let dir = container.dir();
    let command = container.command(&["run", "--bundle", &dir])?;
    Ok(command.within(&[
        "unshare",
        "-m",
        "--propagation",
        "private",
        "sh",
        "-ec",
        "mount --bind /dev/null /proc/version; exec \"$@\"",
        "sh",
    ]))
}

fn root_of_the_host_lends_no_proc(case: &Case<'_>) -> Verdict {
    let call = below_a_cover(case, mapped().sh("ls -d /proc/[0-9]*"))?;
    case.call(&call)?.refuses()?.says(&["/proc/version"])?;
    Ok(())
}

fn options_of_proc_are_given_or_refused(case: &Case<'_>) -> Verdict {
    let config = one_id(&["user", "mount", "pid", "ipc", "uts", "network"])
        .retain("/mounts", |mount| mount["type"] != "proc")
        .mount("/proc", "proc", "proc", &["hidepid=2"])
        .sh("grep ' /proc ' /proc/self/mountinfo");
    let container = case.container(config)?;
    let outcome = case.call(&nested(&container, "/proc/fs")?)?;
    if outcome.clone().succeeds().is_ok() {
        ensure!(outcome.text().contains("hidepid"), "dropped in\n{outcome}");
    }
    Ok(())
}

fn sys_is_bound_where_no_sysfs_can_be_mounted(case: &Case<'_>) -> Verdict {
    let config = mapped().share("network").sh(
        "ls -d /sys/class/net/lo /sys/kernel; awk '$5 ~ \"^/sys\" {print $6}' /proc/self/mountinfo \
         | grep -vc '^ro'",
    );
    let container = opened(case, config)?;
    let outcome = container.run()?;
    let text = outcome.text();
    let words: Vec<_> = text.split_whitespace().collect();
    // grep ends with 1 when every line is read-only.
    ensure_eq!(
        words,
        ["/sys/class/net/lo", "/sys/kernel", "0"],
        "/sys in\n{outcome}"
    );
    Ok(())
}

fn a_source_that_the_container_s_root_cannot_reach_is_bound(case: &Case<'_>) -> Verdict {
    let secret = case.path("secret");
    case.sh(&format!(
        "mkdir -m 700 {secret}; mkdir {secret}/shared; echo from-host > {secret}/shared/file; \
         echo file > {secret}/single; chmod 755 {secret}/shared"
    ))?;
    let config = mapped()
        .mount(
            "/data",
            "bind",
            &format!("{secret}/shared"),
            &["rbind", "ro"],
        )
        .mount("/single", "bind", &format!("{secret}/single"), &["bind"])
        .sh("cat /data/file /single; touch /data/new 2>/dev/null && echo written; ls /data");
    let output = opened(case, config)?.output()?;
    let words: Vec<_> = output.split_whitespace().collect();
    ensure_eq!(words, ["from-host", "file", "file"], "what is bound");
    ensure!(
        case.holds(&format!("[ ! -e {secret}/shared/new ]"))?,
        "written through ro"
    );
    Ok(())
}
