//! Containers of an ordinary user, and user namespaces that somebody else has made.

use std::time::Duration;

use serde_json::{Value, json};
use testbed::{Config, Invocation, Outcome};

use super::idmap::{mapped, opened};
use crate::case::Case;
use crate::container::Container;
use crate::row::{Demand, Failure, Row, Verdict, ensure, ensure_eq, needs, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F097,
        a_user_namespace_of_somebody_else_is_joined,
        "config-linux.md, namespaces: path: the runtime MUST place the container process in the namespace at path"
    ),
    row!(
        Runtime,
        F100,
        subordinate_ids_are_mapped_by_newuidmap,
        "newuidmap(1), subuid(5): an ordinary user maps the ids that an administrator gave to it"
    ),
    row!(
        Runtime,
        F101,
        mappings_that_the_joined_namespace_has_are_accepted,
        "runc: a path and matching mappings together are accepted"
    ),
    row!(
        Runtime,
        F101,
        mappings_that_the_joined_namespace_lacks_are_refused,
        "runc: both namespace path and non-matching mapping specified -- you may only provide one"
    ),
    row!(
        Runtime,
        F102,
        one_id_needs_nobody_s_help,
        "user_namespaces(7): a single id may be mapped without privileges once setgroups is denied"
    ),
    row!(
        Runtime,
        F103,
        a_user_without_a_user_namespace_in_the_configuration_gets_one,
        "crun: a user namespace is made when the runtime is not root and none is configured"
    ),
    row!(
        Runtime,
        F042,
        signals_reach_a_container_without_a_cgroup,
        "runtime.md, Kill: MUST send the specified signal to the container process; a user may have no cgroup"
    ),
    row!(
        Runtime,
        F111,
        original_groups_are_kept_on_request,
        "crun(1): run.oci.keep_original_groups: setgroups is not called"
    ),
    row!(
        Runtime,
        F115,
        a_directory_that_only_the_groups_reach_is_the_working_directory,
        "config.md: cwd: a directory that the process may enter only with its own ids and groups"
    ),
    row!(
        Runtime,
        F120,
        an_oom_score_below_the_caller_s_does_not_stop_a_user,
        "proc_pid_oom_score_adj(5): lowering needs CAP_SYS_RESOURCE, and engines ask for it by default"
    ),
];

const UID: u32 = 12345;
const SUBORDINATE: u32 = 200_000;

/// Makes the user known to the private host, and a place for its containers.
fn register(case: &Case<'_>) -> Verdict {
    let etc = case.path("etc");
    case.sh(&format!(
        "mkdir {etc}; mount -t tmpfs -o mode=755 etc {etc}; cp -a /etc/. {etc}; \
         echo 'tester:x:{UID}:{UID}::/:/bin/sh' >> {etc}/passwd; \
         echo 'tester:x:{UID}:' >> {etc}/group; \
         echo 'tester:{SUBORDINATE}:65536' > {etc}/subuid; cp {etc}/subuid {etc}/subgid; \
         mount --bind {etc} /etc; \
         mkdir -p /run/user/{UID}; chown {UID}:{UID} /run/user/{UID}"
    ))?;
    Ok(())
}

/// Where the user's commands are on a unified host: he may move processes only below what is his, and
/// only from there (cgroups(7), "Cgroups v2 delegation").
fn cgroup_of_commands(case: &Case<'_>) -> String {
    format!("/sys/fs/cgroup/{}-user/own", case.cgroup_prefix())
}

/// A container of the user: its bundle, its state directory, its own cgroups.
fn owned<'a>(case: &'a Case<'_>, config: Config) -> Verdict<Container<'a>> {
    let parent = format!("/{}-user", case.cgroup_prefix());
    case.sh(&format!(
        "for each in $(awk '$(NF-2) ~ /^cgroup/ {{print $5}}' /proc/self/mountinfo); do \
         mkdir -p $each{parent}; \
         for file in cgroup.clone_children cpuset.cpus cpuset.mems; do \
         [ ! -e $each{parent}/$file ] || cat $each/$file > $each{parent}/$file || true; done; \
         [ ! -e $each/cgroup.controllers ] || [ $each != /sys/fs/cgroup ] || mkdir -p {own}; \
         chown -R {UID}:{UID} $each{parent}; done; \
         [ ! -d /sys/fs/cgroup/unified ] || {{ mkdir -p /sys/fs/cgroup/unified{parent}; \
         chown -R {UID}:{UID} /sys/fs/cgroup/unified{parent}; }}",
        own = cgroup_of_commands(case)
    ))?;
    without_cgroup(
        case,
        config.set("/linux/cgroupsPath", format!("{parent}/c")),
    )
}

/// Of a user who may make no cgroups.
fn without_cgroup<'a>(case: &'a Case<'_>, config: Config) -> Verdict<Container<'a>> {
    let config = config.retain("/mounts", |mount| mount["destination"] != "/sys/fs/cgroup");
    let container = case.container(without_tty_group(config))?;
    case.sh(&format!(
        "mkdir -p {1}; chown {UID}:{UID} {1}; chmod 755 {0} {0}/..; chmod a+x {0}/../..; \
         chown -hR {UID}:{UID} {0}",
        container.dir(),
        case.path("state"),
    ))?;
    Ok(container)
}

/// devpts' `gid=5` is an error where group 5 is not mapped.
fn without_tty_group(config: Config) -> Config {
    let mounts = config.value()["mounts"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let index = mounts
        .iter()
        .position(|mount| mount["destination"] == "/dev/pts");
    match index {
        Some(index) => config.retain(&format!("/mounts/{index}/options"), |word| word != "gid=5"),
        None => config,
    }
}

/// A configuration as `spec --rootless` writes it, with these mappings.
fn rootless(mappings: &[(u32, u32, u32)]) -> Config {
    let list = mappings.iter().map(
        |(inside, outside, size)| json!({ "containerID": inside, "hostID": outside, "size": size }),
    );
    let list: Vec<Value> = list.collect();
    plain()
        .push("/linux/namespaces", json!({ "type": "user" }))
        .set("/linux/uidMappings", list.clone())
        .set("/linux/gidMappings", list)
}

fn plain() -> Config {
    Config::new()
        .set("/linux/resources", json!({}))
        .set("/process/rlimits", json!([]))
}

/// Runs it as the user, with `groups` as supplementary ones.
fn run_as_user(container: &Container<'_>, groups: &str) -> Verdict<Outcome> {
    let command = container.command(&["run", "--bundle", &container.dir()])?;
    as_user(container.case, command, groups)
}

fn needs_newuidmap() -> Verdict {
    let is_installed = testbed::requires::is_installed("newuidmap");
    needs!(is_installed, "newuidmap (package uidmap)");
    Ok(())
}

fn as_user(case: &Case<'_>, command: Invocation, groups: &str) -> Verdict<Outcome> {
    let (uid, groups) = (UID.to_string(), format!("--groups={groups}"));
    let groups = if groups == "--groups=" {
        "--clear-groups"
    } else {
        &groups
    };
    let own = cgroup_of_commands(case);
    let enter = format!("[ ! -d {own} ] || echo $$ >{own}/cgroup.procs; exec \"$@\"");
    let command = command
        .within(&["setpriv", "--reuid", &uid, "--regid", &uid, groups])
        .within(&["sh", "-c", &enter, "sh"])
        .env("XDG_RUNTIME_DIR", format!("/run/user/{UID}"))
        .env("HOME", "/");
    case.call(&command)
}

const MAPS: &str = "cat /proc/self/uid_map /proc/self/gid_map";

fn words(outcome: &Outcome) -> Vec<String> {
    outcome
        .text()
        .split_whitespace()
        .map(String::from)
        .collect()
}

fn subordinate_ids_are_mapped_by_newuidmap(case: &Case<'_>) -> Verdict {
    needs_newuidmap()?;
    register(case)?;
    let mappings = [(0, UID, 1), (1, SUBORDINATE, 65536)];
    let config = rootless(&mappings).set("/process/user/uid", 7);
    let container = owned(case, config.sh(&format!("{MAPS}; id -u")))?;
    let outcome = run_as_user(&container, "")?.succeeds()?;
    let lines = ["0", "12345", "1", "1", "200000", "65536"];
    let expected = [&lines[..], &lines, &["7"]].concat();
    ensure_eq!(words(&outcome), expected, "maps, and who it is");
    // Ids that nobody gave to the user stay out of reach.
    let config = rootless(&[(0, UID, 1), (1, SUBORDINATE + 65536, 10)]);
    run_as_user(&owned(case, config)?, "")?.refuses()?;
    Ok(())
}

fn one_id_needs_nobody_s_help(case: &Case<'_>) -> Verdict {
    register(case)?;
    let script = format!("{MAPS} /proc/self/setgroups; id -u; id -g; echo x > /tmp/made");
    let container = owned(case, rootless(&[(0, UID, 1)]).sh(&script))?;
    let outcome = run_as_user(&container, "")?.succeeds()?;
    let expected = ["0", "12345", "1", "0", "12345", "1", "deny", "0", "0"];
    ensure_eq!(words(&outcome), expected, "maps, setgroups, own ids");
    let owner = case.sh(&format!("stat -c %u {}/rootfs/tmp/made", container.dir()))?;
    ensure_eq!(owner, UID.to_string(), "owner of what its root made");
    Ok(())
}

fn a_user_without_a_user_namespace_in_the_configuration_gets_one(case: &Case<'_>) -> Verdict {
    register(case)?;
    let script = "readlink /proc/self/ns/user; id -u; head -n 1 /proc/self/uid_map";
    let container = owned(case, plain().sh(script))?;
    let outcome = run_as_user(&container, "")?.succeeds()?;
    let found = words(&outcome);
    let host = case.sh("readlink /proc/self/ns/user")?;
    ensure!(
        found
            .first()
            .is_some_and(|name| name.starts_with("user:") && *name != host),
        "the user namespace is the host's: {found:?}"
    );
    ensure_eq!(
        found.get(1..),
        Some(&["0", "0", "12345", "1"].map(String::from)[..]),
        "root, and who it is outside"
    );
    Ok(())
}

fn signals_reach_a_container_without_a_cgroup(case: &Case<'_>) -> Verdict {
    register(case)?;
    let script =
        "trap 'echo usr1 >> /tmp/got' USR1; touch /tmp/ready; while :; do sleep 0.05; done";
    let config = rootless(&[(0, UID, 1)]).sh(script);
    let container = without_cgroup(case, config.set("/linux/cgroupsPath", Value::Null))?;
    let run = container.command(&["run", "--detach", "--bundle", &container.dir()])?;
    as_user(case, run, "")?.succeeds()?;
    container.makes("/tmp/ready")?;
    for (signal, options) in [("USR1", &["kill"][..]), ("USR1", &["kill", "--all"])] {
        let args = [options, &[&container.id, signal]].concat();
        as_user(case, case.runtime(&args)?, "")?.succeeds()?;
        std::thread::sleep(Duration::from_millis(300));
    }
    ensure_eq!(container.left("/tmp/got")?, "usr1\nusr1", "what init noted");
    let args = ["kill", "--all", &container.id, "KILL"];
    as_user(case, case.runtime(&args)?, "")?.succeeds()?;
    container.reaches("stopped")?;
    Ok(())
}

fn original_groups_are_kept_on_request(case: &Case<'_>) -> Verdict {
    needs_newuidmap()?;
    register(case)?;
    let shared = case.path("shared");
    case.sh(&format!(
        "mkdir {shared}; echo of-the-group > {shared}/file; chown -R 0:777 {shared}; chmod 750 {shared}; \
         chmod a+x {shared}/.. {shared}/../.."
    ))?;
    let config = rootless(&[(0, UID, 1), (1, SUBORDINATE, 65536)])
        .mount("/data", "bind", &shared, &["bind"])
        .args(&["cat", "/data/file"]);
    // An ordinary container has none but its own groups.
    run_as_user(&owned(case, config.clone())?, "777")?.refuses()?;
    let kept = config.set(
        "/annotations",
        json!({ "run.oci.keep_original_groups": "1" }),
    );
    let outcome = run_as_user(&owned(case, kept)?, "777")?.succeeds()?;
    ensure_eq!(
        outcome.text(),
        "of-the-group",
        "a file that only the group may read"
    );
    Ok(())
}

fn a_directory_that_only_the_groups_reach_is_the_working_directory(case: &Case<'_>) -> Verdict {
    // Its owner is not mapped, so not even the container's root may enter it; its group is.
    let config = mapped()
        .set(
            "/process/user",
            json!({ "uid": 5, "gid": 5, "additionalGids": [50] }),
        )
        .set("/process/cwd", "/var/work")
        .sh("pwd; ls");
    let container = opened(case, config)?;
    case.sh(&format!(
        "cd {}/rootfs/var; mkdir work; touch work/file; chown 0:100050 work; chmod 750 work",
        container.dir()
    ))?;
    let output = container.output()?;
    let found: Vec<_> = output.split_whitespace().collect();
    ensure_eq!(
        found,
        ["/var/work", "file"],
        "working directory, and what is in it"
    );
    Ok(())
}

fn an_oom_score_below_the_caller_s_does_not_stop_a_user(case: &Case<'_>) -> Verdict {
    register(case)?;
    let script = "cat /proc/self/oom_score_adj";
    let lower = rootless(&[(0, UID, 1)])
        .set("/process/oomScoreAdj", -500)
        .sh(script);
    let outcome = run_as_user(&owned(case, lower)?, "")?.succeeds()?;
    let score: i32 = outcome
        .text()
        .parse()
        .map_err(|_| Failure(outcome.to_string()))?;
    ensure!(score >= 0, "a user lowered the score to {score}");
    let higher = rootless(&[(0, UID, 1)])
        .set("/process/oomScoreAdj", 600)
        .sh(script);
    let outcome = run_as_user(&owned(case, higher)?, "")?.succeeds()?;
    ensure_eq!(outcome.text(), "600", "a score that everybody may set");
    Ok(())
}

/// A user namespace that user 12345 has made and root has mapped, bound to a file.
fn foreign_namespace(case: &Case<'_>) -> Verdict<String> {
    let file = case.path("user-namespace");
    case.sh(&format!(
        "touch {file}; \
         setpriv --reuid {UID} --regid {UID} --clear-groups unshare -U sleep 60 & pid=$!; \
         until [ \"$(readlink /proc/$pid/ns/user)\" != \"$(readlink /proc/self/ns/user)\" ]; \
         do sleep 0.01; done; \
         echo '0 100000 65536' > /proc/$pid/uid_map; echo '0 100000 65536' > /proc/$pid/gid_map; \
         mount --bind /proc/$pid/ns/user {file}; kill $pid"
    ))?;
    Ok(file)
}

fn joining(path: &str) -> Config {
    Config::new().push("/linux/namespaces", json!({ "type": "user", "path": path }))
}

fn a_user_namespace_of_somebody_else_is_joined(case: &Case<'_>) -> Verdict {
    let file = foreign_namespace(case)?;
    let config = joining(&file)
        .sh("stat -L -c %i /proc/self/ns/user; cat /proc/self/uid_map; id -u; hostname");
    let output = opened(case, config)?.output()?;
    let found: Vec<_> = output.split_whitespace().collect();
    let inode = case.sh(&format!("stat -c %i {file}"))?;
    let expected = [inode.as_str(), "0", "100000", "65536", "0", "box"];
    ensure_eq!(found, expected, "namespace, map, own id, hostname");
    Ok(())
}

fn listing(config: Config, first: u32) -> Config {
    let mapping = json!([{ "containerID": 0, "hostID": first, "size": 65536 }]);
    config
        .set("/linux/uidMappings", mapping.clone())
        .set("/linux/gidMappings", mapping)
}

fn mappings_that_the_joined_namespace_has_are_accepted(case: &Case<'_>) -> Verdict {
    let running = opened(case, mapped().args(&["sleep", "60"]))?;
    running.up()?;
    let path = format!("/proc/{}/ns/user", running.pid()?);
    let config = listing(joining(&path), 100_000).sh("stat -L -c %i /proc/self/ns/user");
    let inode = case.sh(&format!("stat -L -c %i {path}"))?;
    ensure_eq!(opened(case, config)?.output()?, inode, "the user namespace");
    Ok(())
}

fn mappings_that_the_joined_namespace_lacks_are_refused(case: &Case<'_>) -> Verdict {
    let running = opened(case, mapped().args(&["sleep", "60"]))?;
    running.up()?;
    let path = format!("/proc/{}/ns/user", running.pid()?);
    for path in [path, foreign_namespace(case)?] {
        let container = opened(case, listing(joining(&path), 300_000))?;
        container.run()?.refuses()?;
        // Without the mappings the same namespace is joined.
        opened(case, joining(&path))?.run()?.succeeds()?;
    }
    Ok(())
}
