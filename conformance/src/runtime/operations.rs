//! What runtime.md demands of every operation, beside what the feature tables are about.
//!
//! The IDs with S stand beside the feature of that number, which the score sheet judges without
//! them: sentences where every runtime of the field goes its own way.

use serde_json::{Value, json};
use testbed::Config;

use super::lifecycle::sleeper;
use crate::case::Case;
use crate::container::Container;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F019,
        the_state_fits_the_schema,
        "runtime.md, state: when serialized in JSON, the format MUST adhere to schema/state-schema.json"
    ),
    row!(
        Runtime,
        F047,
        create_makes_what_the_configuration_asks_for,
        "runtime.md, create: all of the properties except for process MUST be applied"
    ),
    row!(
        Runtime,
        F047,
        a_container_without_a_process_is_never_started,
        "runtime.md, start: MUST generate an error if process was not set"
    ),
    row!(
        Runtime,
        F051,
        create_wants_a_bundle,
        "runtime.md, create: MUST generate an error if it is not provided a path to the bundle"
    ),
    row!(
        Runtime,
        F052,
        a_refused_start_runs_nothing,
        "runtime.md, start: of a container that is not created MUST have no effect on the container"
    ),
    row!(
        Runtime,
        F056,
        every_operation_wants_an_id,
        "runtime.md, operations: MUST generate an error if it is not provided the container ID"
    ),
    row!(
        Runtime,
        F042,
        kill_sends_the_signal_asked_for,
        "runtime.md, kill: MUST send the specified signal to the container process"
    ),
    row!(
        Runtime,
        S055,
        delete_of_a_running_container_has_no_effect,
        "runtime.md, delete: of a container that is not stopped MUST have no effect on it and MUST generate an error"
    ),
    row!(
        Runtime,
        S055,
        delete_of_a_created_container_is_an_error,
        "runtime.md, delete: of a container that is not stopped MUST have no effect on it and MUST generate an error"
    ),
    row!(
        Runtime,
        S061,
        delete_leaves_what_the_container_only_used,
        "runtime.md, delete: resources not created by this container MUST NOT be deleted"
    ),
    row!(
        Runtime,
        S061,
        delete_leaves_a_cgroup_that_was_there_before,
        "runtime.md, delete: resources not created by this container MUST NOT be deleted"
    ),
    row!(
        Runtime,
        F081,
        a_failing_start_container_hook_ends_the_container_and_runs_poststop,
        "runtime.md, lifecycle: if any startContainer hook fails MUST generate an error, stop the container, continue at step 12"
    ),
];

/// What schema/state-schema.json and the tables of the section say of a state.
fn fits(state: &Value, status: &str) -> Verdict {
    for name in ["ociVersion", "id", "status", "bundle"] {
        ensure!(state[name].is_string(), "{name} is no string in {state}");
    }
    ensure_eq!(state["status"], status, "status");
    let bundle = state["bundle"].as_str().unwrap_or_default();
    ensure!(bundle.starts_with('/'), "bundle is not absolute in {state}");
    let pid = &state["pid"];
    ensure!(pid.is_null() || pid.is_u64(), "pid is no number in {state}");
    let alive = matches!(status, "created" | "running");
    ensure!(
        !alive || pid.as_u64().is_some_and(|pid| pid > 0),
        "no pid while {status}: {state}"
    );
    let annotations = &state["annotations"];
    let texts = |map: &serde_json::Map<String, Value>| map.values().all(Value::is_string);
    ensure!(
        annotations.is_null() || annotations.as_object().is_some_and(texts),
        "annotations are no map of strings in {state}"
    );
    Ok(())
}

fn the_state_fits_the_schema(case: &Case<'_>) -> Verdict {
    let annotated = sleeper().set(
        "/annotations",
        json!({ "org.example.key": "", "other": "1" }),
    );
    for config in [sleeper(), annotated] {
        let container = case.container(config)?;
        container.create()?.succeeds()?;
        fits(&container.state()?, "created")?;
        container.start()?.succeeds()?;
        fits(&container.state()?, "running")?;
        container.stop()?;
        fits(&container.state()?, "stopped")?;
    }
    Ok(())
}

fn create_makes_what_the_configuration_asks_for(case: &Case<'_>) -> Verdict {
    let config = sleeper()
        .set("/linux/sysctl", json!({ "kernel.msgmax": "4096" }))
        .mount("/asked", "tmpfs", "asked-for", &["ro"]);
    let container = case.container(config)?;
    container.create()?.succeeds()?;
    let pid = container.pid()?;
    for kind in ["pid", "net", "ipc", "uts", "mnt"] {
        let own = case.sh(&format!("readlink /proc/{pid}/ns/{kind}"))?;
        let host = case.sh(&format!("readlink /proc/self/ns/{kind}"))?;
        ensure!(
            own != host,
            "the {kind} namespace is the host's after create"
        );
    }
    let mounts = case.sh(&format!("cat /proc/{pid}/mountinfo"))?;
    ensure!(mounts.contains(" /asked ro"), "no mount yet in\n{mounts}");
    // Inside a root of its own, the whole of the host's is out of sight.
    ensure!(
        !mounts.contains(&case.path("state")),
        "the host's mounts in\n{mounts}"
    );
    let inside = format!("nsenter -t {pid} -i -u sh -c 'hostname; cat /proc/sys/kernel/msgmax'");
    let told = case.sh(&inside)?;
    ensure_eq!(told, "box\n4096", "host name and kernel.msgmax");
    let groups = case.sh(&format!("cat /proc/{pid}/cgroup"))?;
    let name = container.cgroup.trim_start_matches('/');
    ensure!(groups.contains(name), "not yet in its cgroup:\n{groups}");
    Ok(())
}

fn a_container_without_a_process_is_never_started(case: &Case<'_>) -> Verdict {
    let container = case.container(sleeper())?;
    let config = container.bundle.dir().join("config.json");
    let whole: Value = serde_json::from_slice(&std::fs::read(&config)?)?;
    let mut without = whole.clone();
    if let Some(properties) = without.as_object_mut() {
        properties.remove("process");
    }
    std::fs::write(&config, without.to_string())?;
    // A runtime may refuse such a configuration at once: then there is nothing to start.
    container.create()?;
    container.start()?.refuses()?;
    container.delete_force()?;
    std::fs::write(&config, whole.to_string())?;
    // And it was the missing process.
    container.up()
}

fn create_wants_a_bundle(case: &Case<'_>) -> Verdict {
    let healthy = case.container(sleeper())?;
    healthy.create()?.succeeds()?;
    healthy.delete_force()?.succeeds()?;
    let empty = case.path("empty");
    std::fs::create_dir(&empty)?;
    let before = case.snapshot()?;
    let nowhere = case.path("nowhere");
    for words in [&["create", "x"][..], &["create", "--bundle", &nowhere, "x"]] {
        // Without the option the runtime looks where it is: a directory that is no bundle.
        let there = format!("cd {empty} && exec \"$@\"");
        let create = case.runtime(words)?.within(&["sh", "-c", &there, "sh"]);
        case.call(&create)?.refuses()?;
        case.call(&case.runtime(&["state", "x"])?)?.refuses()?;
    }
    case.has_nothing_since(&before)
}

/// A line for every time that the program ran.
fn counting(then: &str) -> Config {
    Config::new().sh(&format!("echo ran >> /ran; {then}"))
}

fn runs(container: &Container<'_>) -> Verdict<usize> {
    Ok(container.left("/ran")?.lines().count())
}

fn a_refused_start_runs_nothing(case: &Case<'_>) -> Verdict {
    let running = case.container(counting("sleep 60"))?;
    running.up()?;
    let ran = format!(
        "until [ -s {}/rootfs/ran ]; do sleep 0.02; done",
        running.dir()
    );
    case.sh(&format!("timeout 5 sh -c '{ran}'"))?;
    let pid = running.pid()?;
    running.start()?.refuses()?;
    ensure_eq!(running.state()?["status"], "running", "status");
    ensure_eq!(running.pid()?, pid, "pid");
    let stopped = case.container(counting("exit 0"))?;
    stopped.up()?;
    stopped.reaches("stopped")?;
    stopped.start()?.refuses()?;
    ensure_eq!(stopped.state()?["status"], "stopped", "status");
    for container in [running, stopped] {
        ensure_eq!(runs(&container)?, 1, "times that {} ran", container.id);
    }
    case.call(&case.runtime(&["start", "nobody"])?)?.refuses()?;
    Ok(())
}

fn every_operation_wants_an_id(case: &Case<'_>) -> Verdict {
    let container = case.container(counting("sleep 60"))?;
    container.create()?.succeeds()?;
    for operation in ["state", "start", "kill", "delete"] {
        // The only container there is is not meant.
        case.call(&case.runtime(&[operation])?)?.refuses()?;
        ensure_eq!(container.state()?["status"], "created", "after {operation}");
    }
    let other = case.container(sleeper())?;
    let before = case.snapshot()?;
    let create = case.runtime(&["create", "--bundle", &other.dir()])?;
    case.call(&create)?.refuses()?;
    let difference = before.difference(&case.snapshot()?);
    ensure!(
        difference.is_empty(),
        "made without a name:\n{}",
        difference.join("\n")
    );
    Ok(())
}

fn kill_sends_the_signal_asked_for(case: &Case<'_>) -> Verdict {
    let script = "for s in HUP USR1 USR2 TERM; do trap \"echo $s >> /got\" $s; done; touch /ready
        while :; do sleep 0.05; done";
    let container = case.container(Config::new().sh(script))?;
    container.up()?;
    let rootfs = format!("{}/rootfs", container.dir());
    case.sh(&format!(
        "timeout 5 sh -c 'until [ -e {rootfs}/ready ]; do sleep 0.02; done'"
    ))?;
    // A shell may lose a signal that comes while it sees to another: each is sent until it is seen.
    for (name, signal) in [
        ("USR1", "USR1"),
        ("TERM", "15"),
        ("HUP", "HUP"),
        ("USR2", "12"),
    ] {
        let arrived =
            format!("timeout 2 sh -c 'until grep -q {name} {rootfs}/got; do sleep 0.02; done'");
        let mut sent = 0;
        while sent == 0 || !case.holds(&arrived)? {
            ensure!(sent < 4, "{name} never arrives");
            container.kill(signal)?.succeeds()?;
            sent += 1;
        }
    }
    let mut got: Vec<String> = container.left("/got")?.lines().map(String::from).collect();
    got.dedup();
    ensure_eq!(got, ["USR1", "TERM", "HUP", "USR2"], "signals that arrived");
    ensure_eq!(container.state()?["status"], "running", "status");
    Ok(())
}

fn delete_of_a_running_container_has_no_effect(case: &Case<'_>) -> Verdict {
    let container = case.container(sleeper())?;
    container.up()?;
    let pid = container.pid()?;
    container.delete()?.refuses()?;
    ensure_eq!(container.state()?["status"], "running", "status");
    ensure_eq!(container.pid()?, pid, "pid");
    Ok(())
}

fn delete_of_a_created_container_is_an_error(case: &Case<'_>) -> Verdict {
    let container = case.container(counting("exit 0"))?;
    container.create()?.succeeds()?;
    let pid = container.pid()?;
    container.delete()?.refuses()?;
    ensure_eq!(container.state()?["status"], "created", "status");
    ensure_eq!(container.pid()?, pid, "pid");
    container.start()?.succeeds()?;
    container.reaches("stopped")?;
    ensure_eq!(runs(&container)?, 1, "times that it ran");
    Ok(())
}

fn delete_leaves_what_the_container_only_used(case: &Case<'_>) -> Verdict {
    let source = case.path("source");
    case.sh(&format!("mkdir {source} && touch {source}/file"))?;
    let netns = case.host.netns("lent")?;
    let config = sleeper()
        .share("network")
        .push(
            "/linux/namespaces",
            json!({ "type": "network", "path": netns }),
        )
        .mount("/data", "none", &source, &["rbind"]);
    let container = case.container(config)?;
    container.up()?;
    container.stop()?;
    container.delete()?.succeeds()?;
    ensure!(
        case.holds(&format!("ls {source}/file"))?,
        "the source is empty"
    );
    ensure!(
        case.holds(&format!("nsenter --net={netns} true"))?,
        "the namespace is gone"
    );
    let bundle = container.dir();
    let kept = format!("ls {bundle}/config.json {bundle}/rootfs/bin/busybox");
    ensure!(case.holds(&kept)?, "the bundle is not whole");
    // Whatever it was asked to mount there, nothing may be left of that.
    let mounts = case.sh("cat /proc/self/mountinfo")?;
    ensure!(
        !mounts.contains(&bundle),
        "mounts left in the bundle:\n{mounts}"
    );
    Ok(())
}

fn delete_leaves_a_cgroup_that_was_there_before(case: &Case<'_>) -> Verdict {
    let name = format!("/{}-lent", case.cgroup_prefix());
    // In every hierarchy, or the runtime would make those that are missing.
    let groups: Vec<_> = testbed::snapshot::hierarchies()?
        .iter()
        .map(|hierarchy| hierarchy.join(name.trim_start_matches('/')))
        .collect();
    for group in &groups {
        std::fs::create_dir(group)?;
    }
    let container = case.container(sleeper().set("/linux/cgroupsPath", name.as_str()))?;
    // A runtime may refuse it; then there is nothing to delete.
    if container.create()?.success() {
        container.start()?.succeeds()?;
        container.stop()?;
        container.delete()?.succeeds()?;
    }
    for group in &groups {
        ensure!(group.is_dir(), "{group:?} is gone");
    }
    Ok(())
}

fn a_failing_start_container_hook_ends_the_container_and_runs_poststop(case: &Case<'_>) -> Verdict {
    let config = counting("sleep 60")
        .hook_with(
            "startContainer",
            json!({ "path": "/bin/false", "args": ["false"] }),
        )
        .hook("poststop", &format!("cat > {}", case.path("poststop")));
    let container = case.container(config)?;
    container.create()?.succeeds()?;
    let pid = container.pid()?;
    container.start()?.refuses()?;
    // What start has not destroyed itself, it must at least have stopped.
    if container.command(&["state"])?.run()?.success() {
        container.reaches("stopped")?;
        container.delete()?.succeeds()?;
    }
    ensure!(container.left("/ran").is_err(), "the program ran");
    case.read("poststop")?;
    ensure!(!case.holds(&format!("kill -0 {pid}"))?, "{pid} still lives");
    ensure_eq!(
        case.cgroups(&container)?,
        Vec::<String>::new(),
        "cgroups left"
    );
    Ok(())
}
