//! `wait`: the exit status of a container's program, when it ends or after it has.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sys::clock::FOREVER;

use crate::container::Container;
use crate::container_id::ContainerId;
use crate::exit_status;
use crate::fault::{Code, Fault};
use crate::foreground::ExitStatus;
use crate::state_dir::{Stage, StateRoot};

/// How long somebody else who has seen the end may take to write it down.
const GRACE: Duration = Duration::from_secs(1);

/// Waits until the container `id` has ended, at most `time`; its status as a shell counts.
pub fn run(root: &StateRoot, id: &str, time: Option<Duration>) -> Result<String> {
    let container = Container::open(root, &ContainerId::parse(id)?)?;
    let status = wait(&container, time).with_context(|| format!("wait for container {id:?}"))?;
    Ok(format!("{status}\n"))
}

fn wait(container: &Container, time: Option<Duration>) -> Result<ExitStatus> {
    let record = container.record()?;
    if record.stage != Stage::Created {
        bail!(Fault::new(
            Code::Busy,
            "it is still being created, or its create was killed"
        ));
    }
    // Held from here on: what it tells survives the reaping, and a delete as well.
    let init = container.init().ok();
    if let Some(status) = container.state.exit_status()? {
        return Ok(status);
    }
    if let Some(pidfd) = &init {
        wait_for_end(pidfd, time)?;
    }
    match exit_status::learn(record, init.as_ref()) {
        Some(status) => {
            // For those who ask later; a container that was deleted meanwhile needs no note.
            let _ = exit_status::note(&container.state, status);
            Ok(status)
        }
        None => noted_by_others(container),
    }
}

fn wait_for_end(pidfd: &OwnedFd, time: Option<Duration>) -> Result<()> {
    if sys::process::wait_for_exit(pidfd, time.unwrap_or(FOREVER).min(FOREVER))? {
        return Ok(());
    }
    let time = time.unwrap_or_default();
    bail!(Fault::new(
        Code::Timeout,
        format!("its program has not ended within {time:?}")
    ))
}

fn noted_by_others(container: &Container) -> Result<ExitStatus> {
    let deadline = Instant::now() + GRACE;
    loop {
        if let Some(status) = container.state.exit_status()? {
            return Ok(status);
        }
        if Instant::now() > deadline {
            bail!(Fault::new(
                Code::StatusUnknown,
                "it has ended, and nobody has noted its exit status"
            ));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
