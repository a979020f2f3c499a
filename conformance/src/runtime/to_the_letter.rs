//! Sentences of config-linux.md that no feature of the tables is about.
//!
//! The IDs with S stand beside the feature of that number, as in `operations`.

use serde_json::json;
use testbed::Config;

use super::configuration::refused;
use super::idmap::{mapped, opened};
use crate::case::Case;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, needs, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        S098,
        a_relative_path_of_a_namespace_is_refused,
        "config-linux.md, namespaces: path: this value MUST be an absolute path"
    ),
    row!(
        Runtime,
        S100,
        mappings_leave_the_owners_of_files_alone,
        "config-linux.md, user namespace mappings: SHOULD NOT modify the ownership of referenced filesystems"
    ),
    row!(
        Runtime,
        S167,
        a_moved_device_stays_in_its_namespace,
        "config-linux.md, network devices: MUST NOT attempt to move the interface out of the namespace before deletion"
    ),
    row!(
        Runtime,
        S173,
        the_same_cgroups_path_is_the_same_place,
        "config-linux.md, cgroups path: MUST consistently attach to the same place given the same value"
    ),
    row!(
        Runtime,
        S179,
        a_limit_of_no_task_is_a_limit,
        "config-linux.md, pids: 0 is a valid limit value and SHOULD be treated as such"
    ),
    row!(
        Runtime,
        S205,
        a_rule_of_seccomp_without_a_name_is_refused,
        "config-linux.md, seccomp: names MUST contain at least one entry"
    ),
    row!(
        Runtime,
        S209,
        a_default_errno_for_another_action_is_refused,
        "config-linux.md, seccomp: defaultErrnoRet: when the action doesn't support an errno, the runtime MUST fail"
    ),
    row!(
        Runtime,
        S142,
        a_relative_masked_path_is_refused,
        "config-linux.md, masked paths: the values MUST be absolute paths"
    ),
    row!(
        Runtime,
        S144,
        a_relative_read_only_path_is_refused,
        "config-linux.md, readonly paths: the values MUST be absolute paths"
    ),
];

fn a_relative_path_of_a_namespace_is_refused(case: &Case<'_>) -> Verdict {
    let relative = json!({ "type": "network", "path": "proc/self/ns/net" });
    let config = Config::new()
        .share("network")
        .push("/linux/namespaces", relative);
    let container = case.container(config)?;
    let run = container.command(&["run", "--bundle", &container.dir()])?;
    // Where the words would lead to a namespace of that type.
    let run = run.within(&["sh", "-c", "cd / && exec \"$@\"", "sh"]);
    case.call(&run)?.refuses()?;
    Ok(())
}

fn mappings_leave_the_owners_of_files_alone(case: &Case<'_>) -> Verdict {
    let container = opened(case, mapped().sh("true"))?;
    let source = format!("{}/rootfs", container.dir());
    case.sh(&format!(
        "touch {source}/a {source}/b; chown 5:6 {source}/a; chown 100005:100006 {source}/b"
    ))?;
    let look =
        format!("cd {source} && stat -c '%n %u:%g' . a b bin bin/busybox etc etc/passwd tmp");
    let before = case.sh(&look)?;
    container.output()?;
    ensure_eq!(case.sh(&look)?, before, "owners in the rootfs");
    Ok(())
}

fn a_moved_device_stays_in_its_namespace(case: &Case<'_>) -> Verdict {
    let netns = case.host.netns("lent")?;
    case.sh("ip link add dvtM type veth peer name dvtN")?;
    let config = Config::new()
        .share("network")
        .push(
            "/linux/namespaces",
            json!({ "type": "network", "path": netns }),
        )
        .set("/linux/netDevices", json!({ "dvtM": {} }))
        .args(&["sleep", "60"]);
    let container = case.container(config)?;
    container.up()?;
    let there = format!("nsenter --net={netns} ip link show dvtM");
    ensure!(case.holds(&there)?, "it was never moved");
    container.stop()?;
    container.delete()?.succeeds()?;
    ensure!(case.holds(&there)?, "delete took it out of the namespace");
    Ok(())
}

fn the_same_cgroups_path_is_the_same_place(case: &Case<'_>) -> Verdict {
    for path in [
        format!("/{}-same", case.cgroup_prefix()),
        format!("{}-relative", case.cgroup_prefix()),
    ] {
        let config = Config::new()
            .set("/linux/cgroupsPath", path.as_str())
            .args(&["cat", "/proc/self/cgroup"]);
        let first = case.container(config.clone())?.output()?;
        let second = case.container(config)?.output()?;
        ensure!(
            first.contains(path.trim_start_matches('/')),
            "{path} is not in\n{first}"
        );
        ensure_eq!(second, first, "cgroups of another container with {path}");
    }
    Ok(())
}

fn a_limit_of_no_task_is_a_limit(case: &Case<'_>) -> Verdict {
    needs!(
        testbed::requires::has_cgroup_v1("pids"),
        "cgroup v1 controller pids"
    );
    // The one task that there is may be all: a second one is what the limit is about.
    let config = Config::new()
        .set("/linux/resources/pids", json!({ "limit": 0 }))
        .sh("(true; echo second > /second); :");
    let container = case.container(config)?;
    container.run()?;
    ensure!(container.left("/second").is_err(), "a second task ran");
    let unlimited = case.container(Config::new().sh("(true; echo second > /second); :"))?;
    unlimited.run()?.succeeds()?;
    ensure_eq!(unlimited.left("/second")?, "second", "without a limit");
    Ok(())
}

fn a_rule_of_seccomp_without_a_name_is_refused(case: &Case<'_>) -> Verdict {
    let rule = json!([{ "names": [], "action": "SCMP_ACT_ERRNO" }]);
    refused(
        case,
        "/linux/seccomp",
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule }),
    )
}

fn a_default_errno_for_another_action_is_refused(case: &Case<'_>) -> Verdict {
    refused(
        case,
        "/linux/seccomp",
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 28 }),
    )
}

fn a_relative_masked_path_is_refused(case: &Case<'_>) -> Verdict {
    refused(case, "/linux/maskedPaths", json!(["proc/kcore"]))
}

fn a_relative_read_only_path_is_refused(case: &Case<'_>) -> Verdict {
    refused(case, "/linux/readonlyPaths", json!(["proc/sys"]))
}
