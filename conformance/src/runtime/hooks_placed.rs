//! Where each kind of hook is looked for and runs, and at which moment of the life cycle.

use serde_json::json;
use testbed::Config;

use crate::case::Case;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F072,
        the_path_of_a_prestart_hook_is_the_host_s,
        "config.md, prestart: the hooks' path MUST resolve in the runtime namespace"
    ),
    row!(
        Runtime,
        F073,
        the_path_of_a_create_runtime_hook_is_the_host_s,
        "config.md, createRuntime: the hooks' path MUST resolve in the runtime namespace"
    ),
    row!(
        Runtime,
        F074,
        the_path_of_a_create_container_hook_is_the_host_s,
        "config.md, createContainer: the hooks' path MUST resolve in the runtime namespace"
    ),
    row!(
        Runtime,
        F075,
        the_path_of_a_start_container_hook_is_the_container_s,
        "config.md, startContainer: the hooks' path MUST resolve in the container namespace"
    ),
    row!(
        Runtime,
        F076,
        the_path_of_a_poststart_hook_is_the_host_s,
        "config.md, poststart: the hooks' path MUST resolve in the runtime namespace"
    ),
    row!(
        Runtime,
        F077,
        the_path_of_a_poststop_hook_is_the_host_s,
        "config.md, poststop: the hooks' path MUST resolve in the runtime namespace"
    ),
    row!(
        Runtime,
        F076,
        poststart_runs_in_the_namespaces_of_the_runtime,
        "config.md: the poststart hooks MUST be executed in the runtime namespace"
    ),
    row!(
        Runtime,
        F077,
        poststop_runs_in_the_namespaces_of_the_runtime,
        "config.md: the poststop hooks MUST be executed in the runtime namespace"
    ),
    row!(
        Runtime,
        F072,
        prestart_runs_before_the_root_is_changed,
        "config.md: the prestart hooks MUST be called after the runtime environment has been created but before pivot_root"
    ),
    row!(
        Runtime,
        F073,
        create_runtime_runs_before_the_root_is_changed,
        "config.md: the createRuntime hooks MUST be called after the runtime environment has been created but before pivot_root"
    ),
    row!(
        Runtime,
        F074,
        create_container_runs_before_the_root_is_changed,
        "config.md: the createContainer hooks MUST be called after the runtime environment has been created but before pivot_root"
    ),
    row!(
        Runtime,
        F074,
        create_container_runs_after_create_runtime,
        "config.md: the createContainer hooks MUST be called after the createRuntime hooks"
    ),
    row!(
        Runtime,
        S080,
        a_timeout_of_zero_is_refused,
        "config.md, hooks: if set, timeout MUST be greater than zero"
    ),
    row!(
        Runtime,
        S083,
        a_relative_path_of_a_prestart_hook_is_refused,
        "config.md, prestart: path MUST be absolute"
    ),
];

/// The namespaces that differ between the host and any container of ours.
const NAMESPACES: &str =
    "readlink /proc/self/ns/mnt /proc/self/ns/uts /proc/self/ns/net /proc/self/ns/ipc";

/// A whole life with one hook that is an executable of the host, which no container has.
fn lived_with_own(case: &Case<'_>, kind: &str) -> Verdict {
    let program = case.path("own-hook");
    let seen = case.path("seen");
    testbed::bundle::script(
        program.as_ref(),
        "/bin/sh",
        &format!("cat >/dev/null; echo ran > {seen}"),
    )?;
    let hook = json!({ "path": program, "args": ["own-hook"] });
    let container = case.container(Config::new().hook_with(kind, hook))?;
    container.up()?;
    container.reaches("stopped")?;
    container.delete()?.succeeds()?;
    ensure_eq!(
        case.read("seen")?,
        "ran",
        "what the {kind} hook of the host left"
    );
    Ok(())
}

fn the_path_of_a_prestart_hook_is_the_host_s(case: &Case<'_>) -> Verdict {
    lived_with_own(case, "prestart")
}

fn the_path_of_a_create_runtime_hook_is_the_host_s(case: &Case<'_>) -> Verdict {
    lived_with_own(case, "createRuntime")
}

fn the_path_of_a_create_container_hook_is_the_host_s(case: &Case<'_>) -> Verdict {
    lived_with_own(case, "createContainer")
}

fn the_path_of_a_poststart_hook_is_the_host_s(case: &Case<'_>) -> Verdict {
    lived_with_own(case, "poststart")
}

fn the_path_of_a_poststop_hook_is_the_host_s(case: &Case<'_>) -> Verdict {
    lived_with_own(case, "poststop")
}

fn the_path_of_a_start_container_hook_is_the_container_s(case: &Case<'_>) -> Verdict {
    let place = case.path("hook");
    testbed::bundle::script(
        place.as_ref(),
        "/bin/sh",
        &format!("touch {}", case.path("host")),
    )?;
    let hook = json!({ "path": place, "args": ["hook"] });
    let container = case.container(Config::new().hook_with("startContainer", hook))?;
    // The same path inside is another program.
    let inside = container.bundle.in_rootfs(&place);
    std::fs::create_dir_all(inside.parent().unwrap_or(&inside))?;
    container.bundle.script(&place, "touch /inside")?;
    container.up()?;
    container.reaches("stopped")?;
    ensure!(
        container.left("/inside").is_ok(),
        "the container's program never ran"
    );
    ensure!(case.read("host").is_err(), "the host's program ran");
    Ok(())
}

fn namespaces_of(case: &Case<'_>, kind: &str) -> Verdict {
    let hook = format!("{NAMESPACES} > {}", case.path("hook"));
    let container = case.container(Config::new().hook(kind, &hook))?;
    container.up()?;
    container.reaches("stopped")?;
    container.delete()?.succeeds()?;
    ensure_eq!(
        case.read("hook")?,
        case.sh(NAMESPACES)?,
        "namespaces of {kind}"
    );
    Ok(())
}

fn poststart_runs_in_the_namespaces_of_the_runtime(case: &Case<'_>) -> Verdict {
    namespaces_of(case, "poststart")
}

fn poststop_runs_in_the_namespaces_of_the_runtime(case: &Case<'_>) -> Verdict {
    namespaces_of(case, "poststop")
}

/// A hook on the host that writes what the container's init has: its mounts with the one that was
/// asked for, and a root that is still the host's.
fn looks_at_init(case: &Case<'_>, kind: &str) -> Verdict {
    let marker = case.path("marker");
    case.sh(&format!("touch {marker}"))?;
    let script = format!(
        "p=$(sed -n 's/.*\"pid\": *\\([0-9]*\\).*/\\1/p'); {{ grep -c asked-for /proc/$p/mountinfo; \
         ls /proc/$p/root{marker}; readlink /proc/$p/ns/net; }} > {}",
        case.path("hook")
    );
    let config = Config::new()
        .mount("/asked", "tmpfs", "asked-for", &[])
        .args(&["sleep", "60"])
        .hook(kind, &script);
    let container = case.container(config)?;
    container.create()?.succeeds()?;
    let told = case.read("hook")?;
    let lines: Vec<_> = told.lines().collect();
    let net = case.sh(&format!("readlink /proc/{}/ns/net", container.pid()?))?;
    let wanted = [
        "1",
        &format!("/proc/{}/root{marker}", container.pid()?),
        &net,
    ];
    ensure_eq!(
        lines,
        wanted,
        "mounts asked for, the host's marker, network namespace"
    );
    let after = format!("ls /proc/{}/root{marker}", container.pid()?);
    ensure!(
        !case.holds(&after)?,
        "the root is still the host's after create"
    );
    Ok(())
}

fn prestart_runs_before_the_root_is_changed(case: &Case<'_>) -> Verdict {
    looks_at_init(case, "prestart")
}

fn create_runtime_runs_before_the_root_is_changed(case: &Case<'_>) -> Verdict {
    looks_at_init(case, "createRuntime")
}

fn create_container_runs_before_the_root_is_changed(case: &Case<'_>) -> Verdict {
    let marker = case.path("marker");
    // It is in the container's mount namespace, which has its mounts already, and the host's too.
    let script = format!("grep -c asked-for /proc/self/mountinfo > {marker}");
    let config = Config::new()
        .mount("/asked", "tmpfs", "asked-for", &[])
        .args(&["sleep", "60"])
        .hook("createContainer", &script);
    let container = case.container(config)?;
    container.create()?.succeeds()?;
    ensure_eq!(
        case.read("marker")?,
        "1",
        "mounts asked for that the hook saw"
    );
    Ok(())
}

fn create_container_runs_after_create_runtime(case: &Case<'_>) -> Verdict {
    let note = |word: &str| format!("sleep 0.1; echo {word} >> {}", case.path("order"));
    // In the order of the list the other way round.
    let config = Config::new()
        .hook("createContainer", &note("container"))
        .hook("createRuntime", &note("runtime"))
        .args(&["sleep", "60"]);
    case.container(config)?.create()?.succeeds()?;
    ensure_eq!(case.read("order")?, "runtime\ncontainer", "order");
    Ok(())
}

fn a_timeout_of_zero_is_refused(case: &Case<'_>) -> Verdict {
    for kind in ["prestart", "createRuntime"] {
        for timeout in [0, -1] {
            // It lasts, so that a runtime that ends it at once says so every time.
            let slow = json!(["sh", "-c", "cat >/dev/null; sleep 1"]);
            let hook = json!({ "path": "/bin/sh", "args": slow, "timeout": timeout });
            let outcome = case
                .container(Config::new().hook_with(kind, hook))?
                .create()?;
            ensure!(
                outcome.refused(),
                "a timeout of {timeout} for {kind}:\n{outcome}"
            );
        }
    }
    Ok(())
}

fn a_relative_path_of_a_prestart_hook_is_refused(case: &Case<'_>) -> Verdict {
    super::hooks::relative_is_refused(case, "prestart")
}
