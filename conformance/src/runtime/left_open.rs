//! Promises that a careless change would break without a sign: found by breaking the code and
//! seeing that nothing failed.

use testbed::Config;

use crate::case::Case;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F012,
        features_names_the_driver_that_the_command_line_has,
        "features.md, linux.cgroup.systemd: true if the runtime supports system-wide systemd cgroup managers"
    ),
    row!(
        Runtime,
        F036,
        a_missing_preserved_descriptor_is_an_error_of_exec,
        "exec failing before its process runs is 255: 1 would look like the status of the program"
    ),
    row!(
        Runtime,
        F042,
        signal_0_asks_whether_the_container_lives,
        "kill(2): if sig is 0, no signal is sent, but existence and permission checks are performed"
    ),
    row!(
        Runtime,
        F128,
        a_read_only_tmpfs_is_read_only,
        "config.md, mounts: the option ro; mount(8): mount the filesystem read-only"
    ),
    row!(
        Runtime,
        F221,
        a_hook_gets_no_descriptor_of_the_caller,
        "runtime.md: a hook gets the state on stdin; what its runtime's caller has open is not its own"
    ),
];

fn features_names_the_driver_that_the_command_line_has(case: &Case<'_>) -> Verdict {
    let help = case.call(&case.bare_runtime(&["--help"])?)?.succeeds()?;
    let offered = help.text().contains("systemd-cgroup");
    let told = case
        .call(&case.bare_runtime(&["features"])?)?
        .succeeds()?
        .stdout;
    let told: serde_json::Value = serde_json::from_slice(&told)?;
    ensure_eq!(
        told["linux"]["cgroup"]["systemd"],
        offered,
        "linux.cgroup.systemd beside --help"
    );
    Ok(())
}

fn a_missing_preserved_descriptor_is_an_error_of_exec(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    container.up()?;
    let exec = case.runtime(&["exec", "--preserve-fds", "5", &container.id, "true"])?;
    let ended = case.call(&exec)?.refuses()?;
    ensure_eq!(ended.code(), Some(255), "exit status");
    Ok(())
}

fn signal_0_asks_whether_the_container_lives(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    container.up()?;
    container.kill("0")?.succeeds()?;
    ensure_eq!(container.state()?["status"], "running", "status after 0");
    container.stop()?;
    container.kill("0")?.refuses()?;
    Ok(())
}

fn a_read_only_tmpfs_is_read_only(case: &Case<'_>) -> Verdict {
    let config = Config::new()
        .mount("/ro", "tmpfs", "tmpfs", &["ro", "nosuid"])
        .mount("/rw", "tmpfs", "tmpfs", &["nosuid"])
        .sh("touch /rw/x && echo rw; touch /ro/x 2>/dev/null || echo ro");
    let told = case.container(config)?.output()?;
    ensure_eq!(told.replace('\n', " "), "rw ro", "what could be written");
    Ok(())
}

fn a_hook_gets_no_descriptor_of_the_caller(case: &Case<'_>) -> Verdict {
    let (open, seen) = (case.path("open"), case.path("seen"));
    std::fs::write(&open, "")?;
    let config = Config::new().hook("createRuntime", &format!("ls -l /proc/self/fd > {seen}"));
    let container = case.container(config)?;
    let run = container.command(&["run", "--bundle", &container.dir()])?;
    let keep = format!("exec 9<{open}; exec \"$@\"");
    case.call(&run.within(&["bash", "-c", &keep, "bash"]))?
        .succeeds()?;
    let seen = case.read("seen")?;
    ensure!(seen.contains("/fd"), "the hook did not look: {seen}");
    ensure!(!seen.contains(&open), "the hook has it:\n{seen}");
    Ok(())
}
