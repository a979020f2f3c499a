//! pause, resume, and what the other operations do to a container that is paused, has survivors,
//! or is at work elsewhere.

use std::time::Duration;

use testbed::Config;

use crate::case::Case;
use crate::container::Container;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, needs, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F059,
        pause_stops_every_process_and_resume_lets_them_go_on,
        "runc-pause(8): suspends all processes in the container; runc-resume(8): resumes all that were paused"
    ),
    row!(
        Runtime,
        S059,
        a_status_of_the_runtime_s_own_is_of_a_state_of_its_own,
        "runtime.md, state: additional values MUST be used to represent new runtime states not defined above"
    ),
    row!(
        Runtime,
        F069,
        exec_in_a_paused_container_is_refused,
        "runc-exec(8): in a frozen cgroup the process would never run, and the caller never return"
    ),
    row!(
        Runtime,
        F057,
        a_paused_container_is_killed,
        "runc-delete(8), containerd: SIGKILL ends a paused container, delete --force too"
    ),
    row!(
        Runtime,
        F052,
        start_of_a_paused_created_container_does_not_hang,
        "runtime.md, start: on a container that is not created MUST generate an error"
    ),
    row!(
        Runtime,
        F043,
        kill_all_reaches_every_process,
        "runc-kill(8): --all: send the specified signal to all processes inside the container"
    ),
    row!(
        Runtime,
        F062,
        list_beside_delete_succeeds,
        "runc-list(8): a container that goes while the others are listed is no error"
    ),
    row!(
        Runtime,
        F077,
        a_killed_delete_still_runs_poststop_at_the_next,
        "runtime.md: the poststop hooks MUST be called; an interrupted delete is no excuse"
    ),
];

const TICKS: &str = "(while :; do echo x >> /ticks; sleep 0.02; done) & wait";

fn ticking<'a>(case: &'a Case<'a>) -> Verdict<Container<'a>> {
    let container = case.container(Config::new().sh(TICKS))?;
    container.up()?;
    std::thread::sleep(Duration::from_millis(200));
    Ok(container)
}

/// How often a ticking container ticked during a while.
fn ticks(container: &Container<'_>) -> Verdict<usize> {
    let before = container.left("/ticks")?.len();
    std::thread::sleep(Duration::from_millis(300));
    Ok(container.left("/ticks")?.len() - before)
}

fn asked(container: &Container<'_>, verb: &str) -> Verdict<testbed::Outcome> {
    let command = container.command(&[verb])?;
    container
        .case
        .call(&command.deadline(Duration::from_secs(8)))
}

fn needs_freezer() -> Verdict {
    crate::runtime::limits::version("freezer").map(drop)
}

fn pause_stops_every_process_and_resume_lets_them_go_on(case: &Case<'_>) -> Verdict {
    needs_freezer()?;
    let container = ticking(case)?;
    ensure!(ticks(&container)? > 0, "it never ticked");
    asked(&container, "pause")?.succeeds()?;
    ensure_eq!(container.state()?["status"], "paused", "status");
    ensure_eq!(ticks(&container)?, 0, "ticks while paused");
    asked(&container, "resume")?.succeeds()?;
    ensure_eq!(container.state()?["status"], "running", "status");
    ensure!(ticks(&container)? > 0, "it does not go on");
    Ok(())
}

fn a_status_of_the_runtime_s_own_is_of_a_state_of_its_own(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    container.create()?.succeeds()?;
    ensure_eq!(container.state()?["status"], "created", "after create");
    container.start()?.succeeds()?;
    ensure_eq!(container.state()?["status"], "running", "after start");
    // No operation of the specification, and one that a runtime need not have.
    if needs_freezer().is_ok() && asked(&container, "pause")?.success() {
        let status = container.state()?["status"].clone();
        let defined = ["creating", "created", "stopped"].map(Into::into);
        ensure!(!defined.contains(&status), "{status} while paused");
        asked(&container, "resume")?.succeeds()?;
        ensure_eq!(container.state()?["status"], "running", "after resume");
    }
    container.stop()
}

fn exec_in_a_paused_container_is_refused(case: &Case<'_>) -> Verdict {
    needs_freezer()?;
    let container = ticking(case)?;
    container.exec(&["true"])?.succeeds()?;
    asked(&container, "pause")?.succeeds()?;
    let exec = case.runtime(&["exec", &container.id, "true"])?;
    case.call(&exec.deadline(Duration::from_secs(8)))?
        .refuses()?
        .says(&["paused"])?;
    Ok(())
}

fn a_paused_container_is_killed(case: &Case<'_>) -> Verdict {
    needs_freezer()?;
    let container = ticking(case)?;
    asked(&container, "pause")?.succeeds()?;
    container.kill("KILL")?.succeeds()?;
    container.reaches("stopped")?;
    container.delete()?.succeeds()?;
    let other = ticking(case)?;
    asked(&other, "pause")?.succeeds()?;
    other.delete_force()?.succeeds()?;
    other.command(&["state"])?.run()?.refuses()?;
    Ok(())
}

fn start_of_a_paused_created_container_does_not_hang(case: &Case<'_>) -> Verdict {
    needs_freezer()?;
    let container = case.container(Config::new().sh("echo ran > /ran"))?;
    container.create()?.succeeds()?;
    // A runtime may refuse to pause what does not run yet; then there is nothing to hang on.
    if asked(&container, "pause")?.success() {
        asked(&container, "start")?.refuses()?;
        asked(&container, "resume")?.succeeds()?;
    }
    container.start()?.succeeds()?;
    container.reaches("stopped")?;
    ensure_eq!(container.left("/ran")?, "ran", "the program after resume");
    Ok(())
}

fn kill_all_reaches_every_process(case: &Case<'_>) -> Verdict {
    let script = "sh -c 'trap \"echo usr1 >> /child; exit\" USR1; touch /ready; while :; do sleep 0.05; done' &
        trap 'echo usr1 >> /parent' USR1; while :; do sleep 0.05; done";
    // Beside the host's processes, so that nothing dies because init does.
    let container = case.container(Config::new().share("pid").sh(script))?;
    container.up()?;
    container.makes("/ready")?;
    container.kill("USR1")?.succeeds()?;
    std::thread::sleep(Duration::from_millis(300));
    ensure_eq!(container.left("/parent")?, "usr1", "what init noted");
    ensure!(container.left("/child").is_err(), "the child got it, too");
    let all = case.runtime(&["kill", "--all", &container.id, "USR1"])?;
    case.call(&all)?.succeeds()?;
    std::thread::sleep(Duration::from_millis(300));
    ensure_eq!(container.left("/child")?, "usr1", "what the child noted");
    container.delete_force()?.succeeds()?;
    Ok(())
}

fn list_beside_delete_succeeds(case: &Case<'_>) -> Verdict {
    let stays = case.container(Config::new().args(&["sleep", "60"]))?;
    stays.create()?.succeeds()?;
    for _ in 0..6 {
        let goes = case.container(Config::new().args(&["sleep", "60"]))?;
        goes.create()?.succeeds()?;
        let delete = goes.command(&["delete", "--force"])?.spawn()?;
        for _ in 0..4 {
            let listed = case
                .call(&case.runtime(&["list", "--quiet"])?)?
                .succeeds()?;
            let found = listed.text().lines().any(|id| id == stays.id);
            ensure!(found, "{} is missing: {}", stays.id, listed.text());
        }
        delete.wait()?.succeeds()?;
    }
    Ok(())
}

/// `delete` killed at each of its first removals and renames, then once more in peace.
fn a_killed_delete_still_runs_poststop_at_the_next(case: &Case<'_>) -> Verdict {
    needs!(
        testbed::requires::is_installed("strace"),
        "the program strace"
    );
    let calls = "unlink,unlinkat,rmdir,rename,renameat,renameat2";
    let mut killed = 0;
    for at in 1..=24 {
        let mark = format!("post{at}");
        let config = Config::new().hook("poststop", &format!("echo x >> {}", case.path(&mark)));
        let container = case.container(config)?;
        container.up()?;
        container.reaches("stopped")?;
        let inject = format!("inject={calls}:signal=KILL:when={at}");
        let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &inject];
        let outcome = case.call(&container.command(&["delete"])?.within(&strace))?;
        if outcome.success() {
            case.read(&mark)?;
            break;
        }
        killed += 1;
        container.delete_force()?.succeeds()?;
        let ran = case.read(&mark);
        ensure!(
            ran.is_ok(),
            "killed at removal {at}, and poststop never ran"
        );
        ensure_eq!(case.cgroups(&container)?, Vec::<String>::new(), "cgroups");
        container.command(&["state"])?.run()?.refuses()?;
    }
    ensure!(killed > 0, "no delete was killed");
    Ok(())
}
