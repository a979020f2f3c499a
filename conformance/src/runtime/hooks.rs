//! The six kinds of hooks: namespace, moment, state on stdin, status, timeout, order, failure.

use std::time::Duration;

use serde_json::{Value, json};
use testbed::Config;
use testbed::config::draining;

use crate::case::Case;
use crate::container::Container;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F072,
        prestart_runs_in_the_namespaces_of_the_runtime,
        "config.md: prestart hooks MUST be called as part of create, in the runtime namespace"
    ),
    row!(
        Runtime,
        F073,
        create_runtime_runs_in_the_namespaces_of_the_runtime,
        "config.md: createRuntime hooks' path resolves and executes in the runtime namespace"
    ),
    row!(
        Runtime,
        F073,
        create_runtime_finds_the_network_namespace_of_the_container,
        "config.md: createRuntime: after the namespaces are created, before pivot_root"
    ),
    row!(
        Runtime,
        F074,
        create_container_runs_in_the_namespaces_of_the_container,
        "config.md: createContainer: path resolves in the runtime namespace, executes in the container namespace"
    ),
    row!(
        Runtime,
        F075,
        start_container_runs_inside_before_the_program,
        "config.md: startContainer: before the user-specified program, path and execution in the container namespace"
    ),
    row!(
        Runtime,
        F076,
        poststart_runs_after_the_program_was_started,
        "config.md: poststart hooks MUST be called after the user-specified process is executed, before start returns"
    ),
    row!(
        Runtime,
        F077,
        poststop_runs_when_the_container_is_gone,
        "config.md: poststop hooks MUST be called after the container is deleted but before delete returns"
    ),
    row!(
        Runtime,
        F078,
        each_hook_sees_the_status_of_its_moment,
        "config.md: the state MUST be passed over stdin; runtime.md: creating, created, running, stopped"
    ),
    row!(
        Runtime,
        F078,
        the_state_on_stdin_ends,
        "config.md: the state of the container MUST be passed to hooks over stdin"
    ),
    row!(
        Runtime,
        F079,
        a_hook_on_the_host_sees_the_pid_of_the_host,
        "runtime.md: pid is the ID of the container process as seen in the namespace of the runtime"
    ),
    row!(
        Runtime,
        F080,
        a_hook_that_overstays_is_killed,
        "config.md: timeout is the number of seconds before aborting the hook"
    ),
    row!(
        Runtime,
        F080,
        the_longest_timeout_is_no_obstacle,
        "config.md: timeout (int64): if set, timeout MUST be greater than zero"
    ),
    row!(
        Runtime,
        F081,
        a_failing_prestart_hook_stops_the_create,
        "runtime.md, lifecycle: if any prestart hook fails MUST generate an error, stop the container, continue at poststop"
    ),
    row!(
        Runtime,
        F081,
        a_failing_create_runtime_hook_stops_the_create,
        "runtime.md, lifecycle: if any createRuntime hook fails MUST generate an error, stop the container"
    ),
    row!(
        Runtime,
        F081,
        a_failing_create_container_hook_stops_the_create,
        "runtime.md, lifecycle: if any createContainer hook fails MUST generate an error, stop the container"
    ),
    row!(
        Runtime,
        F081,
        a_failing_start_container_hook_stops_the_start,
        "runtime.md, lifecycle: if any startContainer hook fails MUST generate an error, stop the container"
    ),
    row!(
        Runtime,
        F081,
        a_failed_create_runs_poststop,
        "runtime.md, lifecycle: continue the lifecycle at step 12, so poststop hooks MUST be called"
    ),
    row!(
        Runtime,
        F082,
        a_failing_poststop_hook_only_warns,
        "runtime.md: if any poststop hook fails [...] the remaining hooks and lifecycle continue"
    ),
    row!(
        Runtime,
        S082,
        a_failing_poststop_hook_is_warned_of,
        "runtime.md: if any poststop hook fails, the runtime MUST log a warning"
    ),
    row!(
        Runtime,
        F083,
        the_arguments_of_a_hook_include_argv0,
        "config.md: args has the same semantics as IEEE Std 1003.1-2008 execv's argv"
    ),
    row!(
        Runtime,
        F083,
        the_environment_of_a_hook_is_what_env_says,
        "config.md: env has the same semantics as IEEE Std 1003.1-2008's environ"
    ),
    row!(
        Runtime,
        F083,
        hooks_of_a_kind_run_in_the_order_of_the_list,
        "config.md: hooks MUST be called in the listed order"
    ),
    row!(
        Runtime,
        S083,
        a_relative_path_of_a_hook_is_refused,
        "config.md: path REQUIRED; runtimes MUST support absolute path values"
    ),
    row!(
        Runtime,
        F084,
        a_start_container_hook_without_env_gets_the_environment_of_the_process,
        "runc: an unset env of startContainer means the container's environment"
    ),
    row!(
        Runtime,
        F085,
        a_hook_need_not_read_its_stdin,
        "config.md: the state MUST be passed over stdin; no hook is required to read it"
    ),
    row!(
        Runtime,
        F086,
        a_hook_may_leave_a_daemon_with_its_stdout,
        "config.md: a hook has ended when its process has ended"
    ),
    row!(
        Runtime,
        F087,
        hooks_run_without_a_mount_namespace,
        "config.md: hooks do not depend on which namespaces are new"
    ),
    row!(
        Runtime,
        F078,
        every_hook_is_told_id_bundle_annotations_and_pid,
        "runtime.md, state: id, bundle, pid and annotations are what the hooks get on stdin"
    ),
    row!(
        Runtime,
        F083,
        a_hook_with_env_gets_nothing_of_the_caller,
        "config.md: env has the same semantics as IEEE Std 1003.1-2008's environ"
    ),
    row!(
        Runtime,
        F076,
        a_failing_poststart_hook_ends_the_container_and_runs_poststop,
        "runtime.md, lifecycle: if any poststart hook fails MUST generate an error, stop the container, continue at poststop"
    ),
];

const KINDS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// A container with one hook that writes what a shell line prints to `hook`, run to its end.
fn ran_with(case: &Case<'_>, kind: &str, line: &str) -> Verdict<String> {
    let hook = format!("{{ {line}; }} > {}", case.path("hook"));
    case.container(Config::new().hook(kind, &hook))?.output()?;
    case.read("hook")
}

const NAMESPACES: &str =
    "readlink /proc/self/ns/mnt /proc/self/ns/uts /proc/self/ns/net | tr '\\n' ' '";

fn prestart_runs_in_the_namespaces_of_the_runtime(case: &Case<'_>) -> Verdict {
    ensure_eq!(
        ran_with(case, "prestart", NAMESPACES)?,
        case.sh(NAMESPACES)?,
        "namespaces"
    );
    Ok(())
}

fn create_runtime_runs_in_the_namespaces_of_the_runtime(case: &Case<'_>) -> Verdict {
    ensure_eq!(
        ran_with(case, "createRuntime", NAMESPACES)?,
        case.sh(NAMESPACES)?,
        "namespaces"
    );
    Ok(())
}

fn create_runtime_finds_the_network_namespace_of_the_container(case: &Case<'_>) -> Verdict {
    let pid = "sed -n 's/.*\"pid\": *\\([0-9]*\\).*/\\1/p'";
    let line = format!(
        "p=$({pid}); readlink /proc/$p/ns/net; ip -o link add seen0 type veth peer name seen1 netns $p"
    );
    let hook = format!("{{ {line}; }} > {}", case.path("hook"));
    let script = "readlink /proc/self/ns/net; ls /sys/class/net | grep seen";
    let config = Config::new().sh(script).hook("createRuntime", &hook);
    let output = case.container(config)?.output()?;
    ensure_eq!(
        output.lines().next(),
        Some(case.read("hook")?.as_str()),
        "network namespace"
    );
    ensure!(
        output.contains("seen1"),
        "the hook's interface is missing in {output:?}"
    );
    Ok(())
}

fn create_container_runs_in_the_namespaces_of_the_container(case: &Case<'_>) -> Verdict {
    // Before pivot_root the host's files are still there, so the hook can write to them.
    let hook = format!(
        "{{ readlink /proc/self/ns/mnt; readlink /proc/self/ns/net; }} > {}",
        case.path("hook")
    );
    let script = "readlink /proc/self/ns/mnt; readlink /proc/self/ns/net";
    let container = case.container(Config::new().sh(script).hook("createContainer", &hook))?;
    ensure_eq!(container.output()?, case.read("hook")?, "namespaces");
    Ok(())
}

fn start_container_runs_inside_before_the_program(case: &Case<'_>) -> Verdict {
    let hook = json!({ "path": "/hook", "args": ["/hook"] });
    let script = "cat /order; readlink /proc/self/ns/mnt";
    let container = case.container(Config::new().sh(script).hook_with("startContainer", hook))?;
    let hook = draining("{ hostname; readlink /proc/self/ns/mnt; } > /order");
    container.bundle.script("/hook", &hook)?;
    container.create()?.succeeds()?;
    ensure!(
        container.left("/order").is_err(),
        "startContainer ran in create"
    );
    container.delete_force()?.succeeds()?;
    let output = container.output()?;
    let lines: Vec<_> = output.lines().collect();
    ensure_eq!(lines.len(), 3, "lines of {output:?}");
    ensure_eq!(
        (lines[0], lines[1]),
        ("box", lines[2]),
        "host name and mount namespace"
    );
    Ok(())
}

fn poststart_runs_after_the_program_was_started(case: &Case<'_>) -> Verdict {
    let pid = "sed -n 's/.*\"pid\": *\\([0-9]*\\).*/\\1/p'";
    let hook = format!(
        "p=$({pid}); sleep 0.2; tr '\\0' ' ' < /proc/$p/cmdline > {}",
        case.path("hook")
    );
    let container = case.container(
        Config::new()
            .args(&["sleep", "60"])
            .hook("poststart", &hook),
    )?;
    container.create()?.succeeds()?;
    ensure!(case.read("hook").is_err(), "poststart ran in create");
    container.start()?.succeeds()?;
    ensure_eq!(case.read("hook")?, "sleep 60", "program that the hook saw");
    Ok(())
}

fn poststop_runs_when_the_container_is_gone(case: &Case<'_>) -> Verdict {
    let hook = format!(
        "cat > {}; ls {} > {}",
        case.path("hook"),
        case.path("state"),
        case.path("left")
    );
    let container = case.container(Config::new().hook("poststop", &hook))?;
    container.up()?;
    container.reaches("stopped")?;
    ensure!(case.read("hook").is_err(), "poststop ran before delete");
    container.delete()?.succeeds()?;
    let state: Value = serde_json::from_str(&case.read("hook")?)?;
    ensure_eq!(state["id"], container.id.as_str(), "id");
    ensure_eq!(state["pid"].as_u64().unwrap_or_default(), 0, "pid");
    ensure!(
        !case.read("left")?.lines().any(|name| name == container.id),
        "state is still there"
    );
    Ok(())
}

/// A container with a hook of every kind that keeps its stdin, lived to its end.
fn lived_with_all(case: &Case<'_>) -> Verdict<Vec<Value>> {
    let config = KINDS
        .iter()
        .fold(Config::new().args(&["sleep", "60"]), |config, kind| {
            if *kind == "startContainer" {
                return config.hook_with(kind, json!({ "path": "/hook", "args": ["/hook"] }));
            }
            config.hook(kind, &format!("cat > {}", case.path(kind)))
        });
    let container = case.container(config)?;
    container.bundle.script("/hook", "cat > /startContainer")?;
    container.up()?;
    container.stop()?;
    container.delete()?.succeeds()?;
    let start_container = container.left("/startContainer")?;
    let read = |kind: &&str| {
        let text = match *kind {
            "startContainer" => start_container.clone(),
            _ => case.read(kind)?,
        };
        Ok(serde_json::from_str(&text)?)
    };
    KINDS.iter().map(read).collect()
}

fn each_hook_sees_the_status_of_its_moment(case: &Case<'_>) -> Verdict {
    let states = lived_with_all(case)?;
    let statuses: Vec<_> = states
        .iter()
        .map(|state| state["status"].as_str())
        .collect();
    let wanted = [
        "creating", "creating", "creating", "created", "running", "stopped",
    ]
    .map(Some);
    ensure_eq!(statuses, wanted, "statuses of {KINDS:?}");
    Ok(())
}

fn the_state_on_stdin_ends(case: &Case<'_>) -> Verdict {
    for state in lived_with_all(case)? {
        ensure!(
            state["ociVersion"].as_str().is_some(),
            "ociVersion in {state}"
        );
        ensure!(
            state["id"].as_str().is_some() && state["bundle"].as_str().is_some(),
            "{state}"
        );
    }
    Ok(())
}

fn a_hook_on_the_host_sees_the_pid_of_the_host(case: &Case<'_>) -> Verdict {
    let states = [("prestart", "p"), ("createRuntime", "c")].iter().fold(
        Config::new().args(&["sleep", "60"]),
        |config, (kind, file)| config.hook(kind, &format!("cat > {}", case.path(file))),
    );
    let container = case.container(states)?;
    container.create()?.succeeds()?;
    for file in ["p", "c"] {
        let state: Value = serde_json::from_str(&case.read(file)?)?;
        ensure_eq!(state["pid"], container.pid()?, "pid in {state}");
    }
    Ok(())
}

fn a_hook_that_overstays_is_killed(case: &Case<'_>) -> Verdict {
    let script = format!("echo $$ > {}; exec sleep 63", case.path("pid"));
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "timeout": 1 });
    let container = case.container(Config::new().hook_with("createRuntime", hook))?;
    let outcome = container.create()?.refuses()?;
    let took = outcome.took;
    ensure!(
        took > Duration::from_millis(900) && took < Duration::from_secs(8),
        "took {took:?}"
    );
    let pid = case.read("pid")?;
    ensure!(
        !case.holds(&format!("grep -q sleep /proc/{pid}/cmdline"))?,
        "the hook still runs"
    );
    Ok(())
}

fn the_longest_timeout_is_no_obstacle(case: &Case<'_>) -> Verdict {
    let hook = json!({ "path": "/bin/true", "timeout": i64::MAX });
    let config = Config::new()
        .hook_with("createRuntime", hook.clone())
        .hook_with("poststop", hook);
    case.container(config)?.run()?.succeeds()?;
    Ok(())
}

/// A create that a hook of `kind` breaks: refused, and nothing is left of the container.
fn create_broken_by(case: &Case<'_>, kind: &str) -> Verdict {
    let config = Config::new().hook(kind, "echo hook-out; echo hook-err >&2; exit 9");
    let container = case.container(config)?;
    container.create()?.refuses()?.says(&["hook"])?;
    nothing_is_left(case, &container)
}

fn nothing_is_left(case: &Case<'_>, container: &Container<'_>) -> Verdict {
    container.command(&["state"])?.run()?.refuses()?;
    ensure_eq!(
        case.cgroups(container)?,
        Vec::<String>::new(),
        "cgroups left"
    );
    Ok(())
}

fn a_failing_prestart_hook_stops_the_create(case: &Case<'_>) -> Verdict {
    create_broken_by(case, "prestart")
}

fn a_failing_create_runtime_hook_stops_the_create(case: &Case<'_>) -> Verdict {
    create_broken_by(case, "createRuntime")
}

fn a_failing_create_container_hook_stops_the_create(case: &Case<'_>) -> Verdict {
    create_broken_by(case, "createContainer")
}

fn a_failing_start_container_hook_stops_the_start(case: &Case<'_>) -> Verdict {
    let hook = json!({ "path": "/bin/false", "args": ["false"] });
    let config = Config::new()
        .sh("touch /ran")
        .hook_with("startContainer", hook);
    let container = case.container(config)?;
    container.create()?.succeeds()?;
    container.start()?.refuses()?;
    std::thread::sleep(Duration::from_millis(100));
    ensure!(
        container.left("/ran").is_err(),
        "the program ran after a failed startContainer hook"
    );
    Ok(())
}

fn a_failed_create_runs_poststop(case: &Case<'_>) -> Verdict {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let poststop = format!("cat > {}", case.path(kind));
        let config = Config::new()
            .hook(kind, "exit 9")
            .hook("poststop", &poststop);
        case.container(config)?.create()?.refuses()?;
        let state: Value = serde_json::from_str(&case.read(kind)?)?;
        ensure_eq!(state["status"], "stopped", "status in {state}");
    }
    Ok(())
}

fn a_failing_poststop_hook_only_warns(case: &Case<'_>) -> Verdict {
    let second = format!("touch {}", case.path("second"));
    let config = Config::new()
        .hook("poststop", "exit 9")
        .hook("poststop", &second);
    said_at_delete(case, config)?;
    case.read("second")?;
    Ok(())
}

fn a_failing_poststop_hook_is_warned_of(case: &Case<'_>) -> Verdict {
    // What a runtime says at every deletion is no warning.
    let usual = said_at_delete(case, Config::new().hook("poststop", "exit 0"))?;
    let said = said_at_delete(case, Config::new().hook("poststop", "exit 9"))?;
    ensure!(
        said.len() > usual.len(),
        "no warning of a poststop hook that ended with 9: {said:?}, and {usual:?} without it"
    );
    Ok(())
}

/// What the runtime says on stderr, where the log goes if nobody names a file, when it deletes a
/// container with this configuration that has ended.
fn said_at_delete(case: &Case<'_>, config: Config) -> Verdict<String> {
    let container = case.container(config)?;
    container.up()?;
    container.reaches("stopped")?;
    let said = container.delete()?.succeeds()?.complaint();
    nothing_is_left(case, &container)?;
    Ok(said)
}

fn the_arguments_of_a_hook_include_argv0(case: &Case<'_>) -> Verdict {
    let script = draining(&format!("echo $0,$1,$2 > {}", case.path("hook")));
    let hook = json!({ "path": "/bin/sh", "args": ["other", "-c", script, "zero", "one two", ""] });
    case.container(Config::new().hook_with("createRuntime", hook))?
        .output()?;
    ensure_eq!(case.read("hook")?, "zero,one two,", "arguments");
    let script = draining(&format!(
        "tr '\\0' ' ' < /proc/$$/cmdline | cut -d' ' -f1 > {}",
        case.path("argv0")
    ));
    let hook = json!({ "path": "/bin/sh", "args": ["named", "-c", script] });
    case.container(Config::new().hook_with("createRuntime", hook))?
        .output()?;
    ensure_eq!(case.read("argv0")?, "named", "argv[0]");
    Ok(())
}

fn the_environment_of_a_hook_is_what_env_says(case: &Case<'_>) -> Verdict {
    let script = draining(&format!(
        "tr '\\0' '\\n' < /proc/$$/environ > {}",
        case.path("hook")
    ));
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["A=1", "PATH=/bin:/usr/bin"] });
    case.container(Config::new().hook_with("createRuntime", hook))?
        .output()?;
    let text = case.read("hook")?;
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    ensure_eq!(lines, ["A=1", "PATH=/bin:/usr/bin"], "environment");
    Ok(())
}

fn hooks_of_a_kind_run_in_the_order_of_the_list(case: &Case<'_>) -> Verdict {
    let note = |word: &str| format!("echo {word} >> {}", case.path("order"));
    let config = Config::new()
        .hook("createRuntime", &note("c1"))
        .hook("createRuntime", &note("c2"))
        .hook("createRuntime", &note("c3"))
        .hook("prestart", &note("p1"))
        .hook("prestart", &note("p2"));
    case.container(config)?.output()?;
    ensure_eq!(
        case.read("order")?.replace('\n', " "),
        "p1 p2 c1 c2 c3",
        "order"
    );
    Ok(())
}

fn a_relative_path_of_a_hook_is_refused(case: &Case<'_>) -> Verdict {
    relative_is_refused(case, "createRuntime")
}

/// A hook of `kind` whose path is relative is refused, although every place that it may be taken
/// to start from holds such a program: the bundle, the rootfs and where the runtime is called.
pub(super) fn relative_is_refused(case: &Case<'_>, kind: &str) -> Verdict {
    // One that reads its state: a runtime that cannot write it may fail for that.
    let hook = json!({ "path": "bin/cat", "args": ["cat"] });
    let container = case.container(Config::new().hook_with(kind, hook))?;
    let dir = container.dir();
    case.sh(&format!(
        "mkdir {dir}/bin && ln -s /bin/cat {dir}/bin/cat && test -e {dir}/rootfs/bin/cat"
    ))?;
    let create = container.command(&["create", "--bundle", &dir])?;
    let create = create.within(&["sh", "-c", "cd / && exec \"$@\"", "sh"]);
    case.call(&create)?.refuses()?;
    nothing_is_left(case, &container)
}

fn a_start_container_hook_without_env_gets_the_environment_of_the_process(
    case: &Case<'_>,
) -> Verdict {
    let hook = json!({ "path": "/hook", "args": ["/hook"] });
    let config = Config::new()
        .push("/process/env", "ONLY=inside")
        .hook_with("startContainer", hook);
    let container = case.container(config)?;
    let hook = draining("echo $ONLY > /seen");
    container.bundle.script("/hook", &hook)?;
    container.output()?;
    ensure_eq!(container.left("/seen")?, "inside", "variable");
    Ok(())
}

fn a_hook_need_not_read_its_stdin(case: &Case<'_>) -> Verdict {
    // Larger than a pipe holds, so that writing it must fail once the hook has closed its end;
    // and no hook of `Config::hook`, which reads it.
    let big = "x".repeat(200_000);
    let config = Config::new()
        .args(&["echo", "ran"])
        .set("/annotations/big", big);
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", "exec 0<&-; sleep 0.3"] });
    let container = case.container(config.hook_with("createRuntime", hook))?;
    ensure_eq!(container.output()?, "ran", "output");
    Ok(())
}

fn a_hook_may_leave_a_daemon_with_its_stdout(case: &Case<'_>) -> Verdict {
    let config = Config::new()
        .args(&["echo", "ran"])
        .hook("createRuntime", "sleep 8 & exit 0");
    let outcome = case.container(config)?.run()?.succeeds()?;
    ensure!(
        outcome.took < Duration::from_secs(6),
        "waited {:?} for the daemon",
        outcome.took
    );
    Ok(())
}

fn hooks_run_without_a_mount_namespace(case: &Case<'_>) -> Verdict {
    let note = |word: &str| format!("echo {word} >> {}", case.path("order"));
    let mut config = Config::new().share("mount").set("/mounts", json!([]));
    config = config
        .set("/linux/maskedPaths", json!([]))
        .set("/linux/readonlyPaths", json!([]));
    for kind in [
        "prestart",
        "createRuntime",
        "createContainer",
        "poststart",
        "poststop",
    ] {
        config = config.hook(kind, &note(kind));
    }
    let container = case.container(config.args(&["/bin/busybox", "true"]))?;
    // The runtime may need a /proc under the new root, and without the namespace it makes none.
    case.sh(&format!(
        "mount --rbind /proc {}/rootfs/proc",
        container.dir()
    ))?;
    container.output()?;
    let order = case.read("order")?.replace('\n', " ");
    ensure_eq!(
        order,
        "prestart createRuntime createContainer poststart poststop",
        "hooks that ran"
    );
    Ok(())
}

fn every_hook_is_told_id_bundle_annotations_and_pid(case: &Case<'_>) -> Verdict {
    let config = KINDS.iter().fold(
        Config::new()
            .args(&["sleep", "60"])
            .set("/annotations", json!({ "org.example.key": "a value" })),
        |config, kind| match *kind {
            "startContainer" => {
                config.hook_with(kind, json!({ "path": "/hook", "args": ["/hook"] }))
            }
            _ => config.hook(kind, &format!("cat > {}", case.path(kind))),
        },
    );
    let container = case.container(config)?;
    container.bundle.script("/hook", "cat > /startContainer")?;
    container.up()?;
    let pid = container.pid()?;
    container.stop()?;
    container.delete()?.succeeds()?;
    for kind in KINDS {
        let text = match kind {
            "startContainer" => container.left("/startContainer")?,
            _ => case.read(kind)?,
        };
        let state: Value = serde_json::from_str(&text)?;
        ensure_eq!(state["id"], container.id.as_str(), "id for {kind}");
        ensure_eq!(state["bundle"], container.dir(), "bundle for {kind}");
        ensure_eq!(
            state["annotations"],
            json!({ "org.example.key": "a value" }),
            "annotations for {kind}"
        );
        // A stopped container has none; inside, the number is that of the container's namespace.
        let told = state["pid"].as_u64().unwrap_or_default();
        let right = match kind {
            "poststop" => told == 0,
            "createContainer" | "startContainer" => told == pid || told == 1,
            _ => told == pid,
        };
        ensure!(right, "pid for {kind}: {told} instead of {pid}");
    }
    Ok(())
}

fn a_hook_with_env_gets_nothing_of_the_caller(case: &Case<'_>) -> Verdict {
    let script = draining(&format!(
        "tr '\\0' '\\n' < /proc/$$/environ > {0}; echo end >> {0}",
        case.path("hook")
    ));
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["GIVEN=1"] });
    let config = Config::new().hook_with("createRuntime", hook);
    let container = case.container(config)?;
    let run = container
        .command(&["run", "--bundle", &container.dir()])?
        .env("SECRET", "of the caller");
    case.call(&run)?.succeeds()?;
    ensure_eq!(case.read("hook")?, "GIVEN=1\nend", "environment");
    Ok(())
}

fn a_failing_poststart_hook_ends_the_container_and_runs_poststop(case: &Case<'_>) -> Verdict {
    let config = Config::new()
        .args(&["sleep", "60"])
        .hook("poststart", "exit 9")
        .hook("poststop", &format!("cat > {}", case.path("poststop")));
    let container = case.container(config)?;
    container.create()?.succeeds()?;
    container.start()?.refuses()?;
    if container.command(&["state"])?.run()?.success() {
        container.reaches("stopped")?;
        container.delete()?.succeeds()?;
    }
    case.read("poststop")?;
    nothing_is_left(case, &container)
}
