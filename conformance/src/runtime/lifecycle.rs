//! create, start, kill, delete, exec and what each answers in which state.

use std::time::Duration;

use testbed::{Config, elf};

use crate::case::Case;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, needs, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F047,
        create_does_not_run_the_program,
        "runtime.md, create: the user-specified program MUST NOT be run at this time"
    ),
    row!(
        Runtime,
        F047,
        start_runs_the_program,
        "runtime.md, start: MUST run the user-specified program"
    ),
    row!(
        Runtime,
        F048,
        a_change_of_config_json_after_create_has_no_effect_on_start,
        "runtime.md: any updates to config.json after this step MUST NOT affect the container"
    ),
    row!(
        Runtime,
        F048,
        a_change_of_config_json_after_create_has_no_effect_on_exec,
        "runtime.md: any updates to config.json after this step MUST NOT affect the container"
    ),
    row!(
        Runtime,
        F049,
        a_duplicate_id_is_refused_and_the_first_untouched,
        "runtime.md, create: MUST generate an error if the ID is not unique within the scope of the runtime"
    ),
    row!(
        Runtime,
        F050,
        an_id_that_is_a_path_is_refused,
        "runtime.md: a container id; a path would leave the state directory"
    ),
    row!(
        Runtime,
        F051,
        a_create_with_a_missing_program_leaves_nothing,
        "runtime.md, errors: MUST leave the state of the environment as if the operation were never attempted"
    ),
    row!(
        Runtime,
        F051,
        a_create_with_a_missing_rootfs_leaves_nothing,
        "runtime.md, errors: MUST leave the state of the environment as if the operation were never attempted"
    ),
    row!(
        Runtime,
        F051,
        a_create_with_malformed_json_leaves_nothing,
        "runtime.md, errors: MUST leave the state of the environment as if the operation were never attempted"
    ),
    row!(
        Runtime,
        F051,
        a_create_without_config_json_leaves_nothing,
        "bundle.md: config.json REQUIRED: this file MUST reside in the root of the bundle directory"
    ),
    row!(
        Runtime,
        F051,
        a_create_whose_mount_fails_leaves_nothing,
        "runtime.md, errors: MUST leave the state of the environment as if the operation were never attempted"
    ),
    row!(
        Runtime,
        F052,
        start_of_a_running_container_is_an_error,
        "runtime.md, start: on a container that is not created MUST have no effect on it and MUST generate an error"
    ),
    row!(
        Runtime,
        F052,
        start_of_a_stopped_container_is_an_error,
        "runtime.md, start: on a container that is not created MUST have no effect on it and MUST generate an error"
    ),
    row!(
        Runtime,
        F053,
        kill_of_a_created_container_stops_it,
        "runtime.md, kill: MUST send the signal to the container process when created or running"
    ),
    row!(
        Runtime,
        F054,
        kill_of_a_stopped_container_is_an_error,
        "runtime.md, kill: to a container that is neither created nor running MUST generate an error"
    ),
    row!(
        Runtime,
        F054,
        kill_of_a_stopped_container_is_told_in_runc_s_words,
        "containerd's shim and CRI-O take an error with these words for a container that is gone"
    ),
    row!(
        Runtime,
        F043,
        kill_all_of_a_stopped_container_succeeds,
        "containerd's shim calls kill --all after the exit and takes a refusal as an error"
    ),
    row!(
        Runtime,
        F043,
        kill_all_reaches_more_than_the_caller_may_open,
        "runc-kill(8): --all: to all processes, however few files the caller may have open (getrlimit(2))"
    ),
    row!(
        Runtime,
        F061,
        a_first_thread_that_ended_is_no_stopped_container,
        "runtime.md, state: stopped: the container process has exited; a process has when its last thread has (exit_group(2))"
    ),
    row!(
        Runtime,
        F065,
        run_ends_where_the_caller_ignores_children,
        "wait(2): with SIGCHLD ignored, which a program inherits, nobody is told of a child that ended"
    ),
    row!(
        Runtime,
        F055,
        delete_of_a_running_container_is_an_error,
        "runtime.md, delete: on a container that is not stopped MUST have no effect on it and MUST generate an error"
    ),
    row!(
        Runtime,
        F056,
        delete_force_of_a_missing_id_succeeds,
        "containerd calls delete --force after almost every failed create"
    ),
    row!(
        Runtime,
        F056,
        delete_force_of_a_running_container_removes_it,
        "runc-delete(8): --force: kill the container first"
    ),
    row!(
        Runtime,
        S056,
        a_query_of_a_missing_id_is_an_error,
        "runtime.md, query state: a container that does not exist MUST generate an error"
    ),
    row!(
        Runtime,
        F056,
        every_command_on_a_missing_id_is_an_error,
        "runtime.md: MUST generate an error if it is not provided the ID of an existing container; shims look for `does not exist`"
    ),
    row!(
        Runtime,
        F058,
        delete_force_kills_what_outlived_init,
        "runtime.md, delete: resources created during create MUST be removed; a shared PID namespace does not kill the rest"
    ),
    row!(
        Runtime,
        F061,
        a_container_killed_from_outside_is_stopped,
        "runtime.md: stopped: the container process has exited"
    ),
    row!(
        Runtime,
        F061,
        delete_leaves_nothing,
        "runtime.md, delete: MUST delete the resources that were created during the create step"
    ),
    row!(
        Runtime,
        F062,
        containers_are_created_in_parallel,
        "runtime.md: ids are unique; nothing else may be shared by operations on different containers"
    ),
    row!(
        Runtime,
        F063,
        delete_force_cleans_after_a_killed_create,
        "runtime.md, errors: as if the operation were never attempted, once delete --force was called"
    ),
    row!(
        Runtime,
        F064,
        run_forwards_signals,
        "runc-run(8): signals sent to the runtime reach the container's process"
    ),
    row!(
        Runtime,
        F065,
        run_of_a_program_that_ends_at_once_returns,
        "runc-run(8): returns when the process has ended"
    ),
    row!(
        Runtime,
        F065,
        run_deletes_the_container_at_its_end,
        "runc-run(8): without --keep the container is deleted after it exited"
    ),
    row!(
        Runtime,
        F068,
        exec_in_a_created_container_works,
        "runc-exec(8): run a new process in a created or running container"
    ),
    row!(
        Runtime,
        F068,
        exec_in_a_stopped_container_is_an_error,
        "runc-exec(8): run a new process in a created or running container"
    ),
    row!(
        Runtime,
        F070,
        processes_are_executed_in_parallel,
        "runc-exec(8): any number of processes beside the container's own"
    ),
    row!(
        Runtime,
        F032,
        exec_takes_a_process_file_a_pid_file_and_detaches,
        "runc-exec(8): --process, --pid-file, --detach, as containerd and conmon call it"
    ),
    row!(
        Runtime,
        F032,
        exec_takes_cwd_env_and_user,
        "runc-exec(8): --cwd, --env, --user"
    ),
    row!(
        Runtime,
        F224,
        the_pid_file_holds_digits_alone,
        "go-runc reads the pid file with Atoi: no newline"
    ),
];

/// A container that lives until it is ended.
pub(super) fn sleeper() -> Config {
    Config::new().args(&["sleep", "60"])
}

fn create_does_not_run_the_program(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().sh("touch /ran; sleep 60"))?;
    container.create()?.succeeds()?;
    ensure_eq!(container.state()?["status"], "created", "status");
    std::thread::sleep(Duration::from_millis(100));
    ensure!(
        container.left("/ran").is_err(),
        "the program ran before start"
    );
    Ok(())
}

fn start_runs_the_program(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().sh("echo started > /ran"))?;
    container.up()?;
    container.reaches("stopped")?;
    ensure_eq!(container.left("/ran")?, "started", "what the program left");
    Ok(())
}

fn a_change_of_config_json_after_create_has_no_effect_on_start(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().sh("echo first > /ran"))?;
    container.create()?.succeeds()?;
    container
        .bundle
        .configure(&Config::new().sh("echo second > /ran"))?;
    container.start()?.succeeds()?;
    container.reaches("stopped")?;
    ensure_eq!(container.left("/ran")?, "first", "which program ran");
    Ok(())
}

fn a_change_of_config_json_after_create_has_no_effect_on_exec(case: &Case<'_>) -> Verdict {
    let container = case.container(sleeper().push("/process/env", "WHICH=first"))?;
    container.up()?;
    container
        .bundle
        .configure(&sleeper().push("/process/env", "WHICH=second"))?;
    let outcome = container.exec(&["sh", "-c", "echo $WHICH"])?.succeeds()?;
    ensure_eq!(outcome.text(), "first", "environment of exec");
    Ok(())
}

fn a_duplicate_id_is_refused_and_the_first_untouched(case: &Case<'_>) -> Verdict {
    let container = case.container(sleeper())?;
    container.up()?;
    let pid = container.pid()?;
    container.create()?.refuses()?;
    ensure_eq!(container.pid()?, pid, "pid of the first");
    ensure_eq!(
        container.state()?["status"],
        "running",
        "status of the first"
    );
    Ok(())
}

fn an_id_that_is_a_path_is_refused(case: &Case<'_>) -> Verdict {
    let container = case.container(sleeper())?;
    for id in ["..", ".", "../up", "a/b", "", "/abs"] {
        let create = case.runtime(&["create", "--bundle", &container.dir(), id])?;
        case.call(&create)?.refuses()?;
        ensure!(
            !case.holds(&format!("ls -d {}", case.path("up")))?,
            "{id:?} made a directory"
        );
    }
    container.create()?.succeeds()?;
    Ok(())
}

/// A refused create after which state directory, cgroups, mounts and links are as before, and
/// after which the id is free.
fn refused_without_a_trace(case: &Case<'_>, config: Config, breakage: &str) -> Verdict {
    // Once rightly, so that what the first use of a state directory makes is not counted.
    let healthy = case.container(sleeper())?;
    healthy.create()?.succeeds()?;
    healthy.delete_force()?.succeeds()?;
    let container = case.container(config)?;
    if !breakage.is_empty() {
        case.sh(&format!("cd {} && {breakage}", container.dir()))?;
    }
    let before = case.snapshot()?;
    container.create()?.refuses()?;
    case.has_nothing_since(&before)?;
    container.command(&["state"])?.run()?.refuses()?;
    Ok(())
}

fn a_create_with_a_missing_program_leaves_nothing(case: &Case<'_>) -> Verdict {
    refused_without_a_trace(case, Config::new().args(&["/no/such/program"]), "")
}

fn a_create_with_a_missing_rootfs_leaves_nothing(case: &Case<'_>) -> Verdict {
    refused_without_a_trace(case, Config::new().set("/root/path", "nowhere"), "")
}

fn a_create_with_malformed_json_leaves_nothing(case: &Case<'_>) -> Verdict {
    refused_without_a_trace(case, sleeper(), "echo '{ \"ociVersion\": ' > config.json")
}

fn a_create_without_config_json_leaves_nothing(case: &Case<'_>) -> Verdict {
    refused_without_a_trace(case, sleeper(), "rm config.json")
}

fn a_create_whose_mount_fails_leaves_nothing(case: &Case<'_>) -> Verdict {
    refused_without_a_trace(
        case,
        sleeper().mount("/data", "bind", "/no/such/source", &["bind"]),
        "",
    )
}

fn start_of_a_running_container_is_an_error(case: &Case<'_>) -> Verdict {
    let container = case.container(sleeper())?;
    container.up()?;
    container.start()?.refuses()?;
    ensure_eq!(container.state()?["status"], "running", "status");
    Ok(())
}

fn start_of_a_stopped_container_is_an_error(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new())?;
    container.up()?;
    container.reaches("stopped")?;
    container.start()?.refuses()?;
    Ok(())
}

fn kill_of_a_created_container_stops_it(case: &Case<'_>) -> Verdict {
    let container = case.container(sleeper())?;
    container.create()?.succeeds()?;
    container.stop()?;
    container.delete()?.succeeds()?;
    Ok(())
}

fn kill_of_a_stopped_container_is_an_error(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new())?;
    container.up()?;
    container.reaches("stopped")?;
    container.kill("TERM")?.refuses()?;
    ensure_eq!(container.state()?["status"], "stopped", "status");
    Ok(())
}

fn kill_of_a_stopped_container_is_told_in_runc_s_words(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new())?;
    container.up()?;
    container.reaches("stopped")?;
    container
        .kill("TERM")?
        .refuses()?
        .says(&["container not running"])?;
    Ok(())
}

fn kill_all_of_a_stopped_container_succeeds(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new())?;
    container.up()?;
    container.reaches("stopped")?;
    case.call(&case.runtime(&["kill", "--all", &container.id, "9"])?)?
        .succeeds()?;
    ensure_eq!(container.state()?["status"], "stopped", "status");
    Ok(())
}

/// What comes after these words may have 256 files open.
pub(super) const FEW_FILES: [&str; 4] = ["sh", "-c", "ulimit -n 256; exec \"$@\"", "sh"];

fn kill_all_reaches_more_than_the_caller_may_open(case: &Case<'_>) -> Verdict {
    let crowd = "i=0; while [ $i -lt 400 ]; do sleep 1002 & i=$((i+1)); done; touch /there; wait; sleep 1003";
    let container = case.container(Config::new().sh(crowd))?;
    container.up()?;
    container.makes("/there")?;
    let kill = case.runtime(&["kill", "--all", &container.id, "KILL"])?;
    case.call(&kill.within(&FEW_FILES))?.succeeds()?;
    container.reaches("stopped")?;
    Ok(())
}

fn a_first_thread_that_ended_is_no_stopped_container(case: &Case<'_>) -> Verdict {
    needs!(cfg!(target_arch = "x86_64"), "x86_64");
    let container = case.container(Config::new().args(&["/half-ended"]))?;
    elf::x86_64_first_thread_ends(&container.bundle.in_rootfs("/half-ended"))?;
    container.create()?.succeeds()?;
    let pid = container.pid()?;
    container.start()?.succeeds()?;
    let zombie = format!("grep -q '^State:.*zombie' /proc/{pid}/status");
    let waits = format!("for i in $(seq 250); do {zombie} && exit; sleep 0.02; done; exit 1");
    ensure!(case.holds(&waits)?, "its first thread has not ended");
    ensure_eq!(container.state()?["status"], "running", "status");
    container.delete()?.refuses()?;
    container.kill("KILL")?.succeeds()?;
    container.reaches("stopped")
}

fn run_ends_where_the_caller_ignores_children(case: &Case<'_>) -> Verdict {
    let hook = "touch /dev/null";
    let config = Config::new().hook("createRuntime", hook).sh("exit 5");
    let container = case.container(config)?;
    let run = container.command(&["run", "--bundle", &container.dir()])?;
    let deaf = ["env", "--ignore-signal=CHLD"];
    let outcome = case.call(&run.within(&deaf))?;
    ensure_eq!(outcome.code(), Some(5), "status");
    Ok(())
}

fn delete_of_a_running_container_is_an_error(case: &Case<'_>) -> Verdict {
    let container = case.container(sleeper())?;
    container.up()?;
    container
        .delete()?
        .refuses()?
        .says(&["not stopped", "running"])?;
    ensure_eq!(container.state()?["status"], "running", "status");
    Ok(())
}

fn delete_force_of_a_missing_id_succeeds(case: &Case<'_>) -> Verdict {
    case.call(&case.runtime(&["delete", "--force", "nobody"])?)?
        .succeeds()?;
    case.call(&case.runtime(&["delete", "nobody"])?)?
        .refuses()?;
    Ok(())
}

fn delete_force_of_a_running_container_removes_it(case: &Case<'_>) -> Verdict {
    let container = case.container(sleeper())?;
    container.up()?;
    let pid = container.pid()?;
    container.delete_force()?.succeeds()?;
    container.command(&["state"])?.run()?.refuses()?;
    ensure!(
        !case.holds(&format!("grep -q sleep /proc/{pid}/cmdline"))?,
        "{pid} still runs"
    );
    Ok(())
}

fn a_query_of_a_missing_id_is_an_error(case: &Case<'_>) -> Verdict {
    let container = case.container(sleeper())?;
    container.create()?.succeeds()?;
    container.state()?;
    case.call(&case.runtime(&["state", "nobody"])?)?.refuses()?;
    Ok(())
}

fn every_command_on_a_missing_id_is_an_error(case: &Case<'_>) -> Verdict {
    for command in [
        vec!["state", "nobody"],
        vec!["start", "nobody"],
        vec!["kill", "nobody", "9"],
    ] {
        let outcome = case.call(&case.runtime(&command)?)?;
        outcome
            .refuses()?
            .says(&["does not exist", "no such file"])?;
    }
    Ok(())
}

fn delete_force_kills_what_outlived_init(case: &Case<'_>) -> Verdict {
    let script = "sleep 61 & echo $! > /child; exit 0";
    let container = case.container(Config::new().sh(script).share("pid"))?;
    container.up()?;
    container.reaches("stopped")?;
    let child = container.left("/child")?;
    ensure!(
        case.holds(&format!("grep -q sleep /proc/{child}/cmdline"))?,
        "nothing outlived init"
    );
    container.delete_force()?.succeeds()?;
    ensure!(
        !case.holds(&format!("grep -q sleep /proc/{child}/cmdline"))?,
        "{child} still runs"
    );
    ensure!(
        !case.holds(&format!("ls -d /sys/fs/cgroup/pids{}", container.cgroup))?,
        "cgroup left"
    );
    Ok(())
}

fn a_container_killed_from_outside_is_stopped(case: &Case<'_>) -> Verdict {
    let container = case.container(sleeper())?;
    container.up()?;
    case.sh(&format!("kill -9 {}", container.pid()?))?;
    container.reaches("stopped")?;
    container.delete()?.succeeds()?;
    Ok(())
}

fn delete_leaves_nothing(case: &Case<'_>) -> Verdict {
    let first = case.container(sleeper())?;
    first.up()?;
    first.delete_force()?.succeeds()?;
    let container = case.container(sleeper())?;
    let before = case.snapshot()?;
    container.up()?;
    let during = before.difference(&case.snapshot()?);
    ensure!(
        during.iter().any(|line| line.contains("cgroups")),
        "no cgroup was made: {during:?}"
    );
    container.stop()?;
    container.delete()?.succeeds()?;
    case.has_nothing_since(&before)
}

fn containers_are_created_in_parallel(case: &Case<'_>) -> Verdict {
    let containers = (0..8)
        .map(|_| case.container(sleeper()))
        .collect::<Result<Vec<_>, _>>()?;
    let mut running = Vec::new();
    for container in &containers {
        let dir = container.dir();
        running.push(container.command(&["create", "--bundle", &dir])?.spawn()?);
    }
    for create in running {
        create.wait()?.succeeds()?;
    }
    for container in &containers {
        ensure_eq!(
            container.state()?["status"],
            "created",
            "status of {}",
            container.id
        );
    }
    Ok(())
}

fn delete_force_cleans_after_a_killed_create(case: &Case<'_>) -> Verdict {
    let healthy = case.container(sleeper())?;
    healthy.up()?;
    healthy.delete_force()?.succeeds()?;
    let before = case.snapshot()?;
    for milliseconds in [1, 3, 6, 10, 15, 20, 25, 30, 40, 50, 60] {
        let container = case.container(sleeper())?;
        let runtime = container.command(&["create", "--bundle", &container.dir()])?;
        let delay = format!("0.{milliseconds:03}");
        case.call(&runtime.within(&["timeout", "--foreground", "-s", "KILL", &delay]))?;
        container.delete_force()?.succeeds()?;
        let gone = case.snapshot()?;
        let difference = before.difference(&gone);
        ensure!(
            difference.is_empty(),
            "killed after {delay} s:\n{}",
            difference.join("\n")
        );
        let orphans = case.sh("busybox ps -o args | grep -c '[s]leep 60\\|[i]nit$' || :")?;
        ensure_eq!(orphans, "0", "processes left after a kill at {delay} s");
    }
    Ok(())
}

fn run_forwards_signals(case: &Case<'_>) -> Verdict {
    let script = "trap 'exit 33' USR1; touch /ready; while :; do sleep 0.05; done";
    let container = case.container(Config::new().sh(script))?;
    let runtime = case.subject_path()?;
    let line = format!(
        "{} --root {} run --bundle {} {} & pid=$!; i=0
         until [ -e {}/rootfs/ready ]; do i=$((i+1)); [ $i -lt 250 ] || exit 99; sleep 0.02; done
         kill -USR1 $pid; wait $pid; echo $?",
        runtime,
        case.path("state"),
        container.dir(),
        container.id,
        container.dir(),
    );
    let shell = case.with_subject_env(case.host.command(["sh", "-c", &line]));
    let outcome = case.call(&shell)?.succeeds()?;
    ensure_eq!(outcome.text(), "33", "status of run after USR1");
    Ok(())
}

fn run_of_a_program_that_ends_at_once_returns(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().args(&["echo", "once"]))?;
    for _ in 0..20 {
        ensure_eq!(container.output()?, "once", "output");
    }
    Ok(())
}

fn run_deletes_the_container_at_its_end(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().args(&["echo", "once"]))?;
    container.output()?;
    let before = case.snapshot()?;
    ensure_eq!(container.output()?, "once", "output");
    container.command(&["state"])?.run()?.refuses()?;
    case.has_nothing_since(&before)
}

fn exec_in_a_created_container_works(case: &Case<'_>) -> Verdict {
    let container = case.container(sleeper())?;
    container.create()?.succeeds()?;
    ensure_eq!(
        container.exec(&["hostname"])?.succeeds()?.text(),
        "box",
        "hostname"
    );
    ensure_eq!(container.state()?["status"], "created", "status");
    Ok(())
}

fn exec_in_a_stopped_container_is_an_error(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new())?;
    container.up()?;
    container.reaches("stopped")?;
    container.exec(&["true"])?.refuses()?;
    Ok(())
}

fn processes_are_executed_in_parallel(case: &Case<'_>) -> Verdict {
    let container = case.container(sleeper())?;
    container.up()?;
    let exec = |n: i32| {
        case.runtime(&["exec", &container.id, "sh", "-c", &format!("exit {n}")])?
            .spawn()
            .map_err(Into::into)
    };
    let running = (0..16).map(exec).collect::<Verdict<Vec<_>>>()?;
    for (n, one) in (0..).zip(running) {
        ensure_eq!(one.wait()?.code(), Some(n), "status of exec {n}");
    }
    Ok(())
}

fn exec_takes_a_process_file_a_pid_file_and_detaches(case: &Case<'_>) -> Verdict {
    let container = case.container(sleeper())?;
    container.up()?;
    let mut process = Config::new().args(&["sleep", "62"]).value()["process"].clone();
    process["cwd"] = "/tmp".into();
    std::fs::write(case.path("process.json"), process.to_string())?;
    let (file, pid_file) = (case.path("process.json"), case.path("exec.pid"));
    let options = [
        "exec",
        "--process",
        &file,
        "--detach",
        "--pid-file",
        &pid_file,
    ];
    case.call(&container.command(&options)?)?.succeeds()?;
    let pid = std::fs::read_to_string(&pid_file)?;
    ensure!(pid.parse::<u32>().is_ok(), "pid file holds {pid:?}");
    ensure_eq!(
        case.sh(&format!("tr '\\0' ' ' < /proc/{pid}/cmdline"))?,
        "sleep 62",
        "program"
    );
    ensure_eq!(
        case.sh(&format!("readlink /proc/{pid}/cwd"))?,
        "/tmp",
        "cwd"
    );
    Ok(())
}

fn exec_takes_cwd_env_and_user(case: &Case<'_>) -> Verdict {
    let container = case.container(sleeper())?;
    container.up()?;
    let mut args = vec![
        "exec",
        "--cwd",
        "/tmp",
        "--env",
        "A=b c",
        "--user",
        "1000:1001",
    ];
    args.extend([
        container.id.as_str(),
        "sh",
        "-c",
        "echo $PWD,$A,$(id -u),$(id -g)",
    ]);
    let outcome = case.call(&case.runtime(&args)?)?.succeeds()?;
    ensure_eq!(outcome.text(), "/tmp,b c,1000,1001", "what exec saw");
    Ok(())
}

fn the_pid_file_holds_digits_alone(case: &Case<'_>) -> Verdict {
    let container = case.container(sleeper())?;
    let pid_file = case.path("pid");
    let create = [
        "create",
        "--bundle",
        &container.dir(),
        "--pid-file",
        &pid_file,
    ];
    case.call(&container.command(&create)?)?.succeeds()?;
    let text = std::fs::read_to_string(&pid_file)?;
    ensure_eq!(text, container.pid()?.to_string(), "pid file");
    Ok(())
}
