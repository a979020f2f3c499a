//! `wait`: the exit status of a container that nobody here is the parent of.

use std::time::Duration;

use testbed::Config;

use crate::case::Case;
use crate::container::Container;
use crate::row::{Demand, Failure, Row, Verdict, ensure, ensure_eq, needs, row};

const CLAUSE: &str = "opencontainers/runc issue 1459: the exit status of a detached container";

pub(crate) const ROWS: &[Row] = &[
    row!(Runtime, F071, wait_tells_the_status_at_the_end, CLAUSE),
    row!(Runtime, F071, wait_tells_the_status_later_and_again, CLAUSE),
    row!(Runtime, F071, wait_tells_the_signal_as_a_shell_does, CLAUSE),
    row!(Runtime, F071, many_wait_at_once, CLAUSE),
    row!(
        Runtime,
        F071,
        a_delete_does_not_leave_a_waiter_alone,
        CLAUSE
    ),
    row!(Runtime, F071, wait_gives_up_when_its_time_is_over, CLAUSE),
    row!(Runtime, F071, a_kept_container_tells_its_status, CLAUSE),
    row!(Runtime, F071, wait_for_nobody_is_refused, CLAUSE),
];

/// What a process that is not the parent can learn, the kernel tells since Linux 6.15
/// (`PIDFD_INFO_EXIT`).
fn needs_exit_info() -> Verdict {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release
        .split(['.', '-'])
        .map(|part| part.parse().unwrap_or(0));
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    needs!(version >= (6, 15), "Linux 6.15 (PIDFD_INFO_EXIT)");
    Ok(())
}

fn detached<'a>(case: &'a Case<'a>, script: &str) -> Verdict<Container<'a>> {
    let container = case.container(Config::new().sh(script))?;
    let dir = container.dir();
    let run = container.command(&["run", "--detach", "--bundle", &dir])?;
    case.call(&run)?.succeeds()?;
    Ok(container)
}

fn status(container: &Container<'_>) -> Verdict<String> {
    let wait = container.command(&["wait"])?;
    Ok(container.case.call(&wait)?.succeeds()?.text())
}

fn wait_tells_the_status_at_the_end(case: &Case<'_>) -> Verdict {
    needs_exit_info()?;
    let container = detached(case, "sleep 1; exit 7")?;
    ensure_eq!(status(&container)?, "7", "status");
    let created = case.container(Config::new().sh("exit 8"))?;
    created.create()?.succeeds()?;
    let wait = created.command(&["wait"])?.spawn()?;
    std::thread::sleep(Duration::from_millis(300));
    created.start()?.succeeds()?;
    let waited = wait.wait()?.succeeds()?;
    ensure_eq!(waited.text(), "8", "status");
    Ok(())
}

fn wait_tells_the_status_later_and_again(case: &Case<'_>) -> Verdict {
    needs_exit_info()?;
    let container = detached(case, "exit 9")?;
    container.reaches("stopped")?;
    std::thread::sleep(Duration::from_millis(300));
    for _ in 0..2 {
        ensure_eq!(status(&container)?, "9", "status");
    }
    container.delete()?.succeeds()?;
    Ok(())
}

fn wait_tells_the_signal_as_a_shell_does(case: &Case<'_>) -> Verdict {
    needs_exit_info()?;
    let container = detached(case, "sleep 60")?;
    container.stop()?;
    ensure_eq!(status(&container)?, "137", "status");
    Ok(())
}

fn many_wait_at_once(case: &Case<'_>) -> Verdict {
    needs_exit_info()?;
    let container = detached(case, "sleep 2; exit 5")?;
    let mut waiting = Vec::new();
    for _ in 0..8 {
        waiting.push(container.command(&["wait"])?.spawn()?);
    }
    for one in waiting {
        ensure_eq!(one.wait()?.succeeds()?.text(), "5", "status");
    }
    Ok(())
}

fn a_delete_does_not_leave_a_waiter_alone(case: &Case<'_>) -> Verdict {
    needs_exit_info()?;
    let container = detached(case, "sleep 60")?;
    let waiting = container.command(&["wait"])?.spawn()?;
    std::thread::sleep(Duration::from_millis(500));
    container.delete_force()?.succeeds()?;
    ensure_eq!(waiting.wait()?.succeeds()?.text(), "137", "status");
    Ok(())
}

fn wait_gives_up_when_its_time_is_over(case: &Case<'_>) -> Verdict {
    let container = detached(case, "sleep 60")?;
    let wait = container.command(&["wait", "--timeout", "500ms"])?;
    let waited = case.call(&wait)?.refuses()?.says(&["within", "time"])?;
    let took = waited.took;
    let in_time = (Duration::from_millis(500)..Duration::from_secs(5)).contains(&took);
    ensure!(in_time, "it took {took:?}");
    ensure_eq!(container.state()?["status"], "running", "status");
    Ok(())
}

fn a_kept_container_tells_its_status(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().sh("exit 6"))?;
    let dir = container.dir();
    let run = case.call(&container.command(&["run", "--keep", "--bundle", &dir])?)?;
    ensure_eq!(run.code(), Some(6), "status of run");
    ensure_eq!(status(&container)?, "6", "status of wait");
    Ok(())
}

fn wait_for_nobody_is_refused(case: &Case<'_>) -> Verdict {
    let wait = case.runtime(&["wait", "nobody"])?;
    let refused = case.call(&wait)?.refuses()?;
    refused.says(&["does not exist"])?;
    let help = case
        .call(&case.bare_runtime(&["wait", "--help"])?)?
        .succeeds()?;
    if !help.text().contains("wait") {
        return Err(Failure("there is no help of wait".into()));
    }
    Ok(())
}
