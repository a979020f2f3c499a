//! `delete`: a stopped container's remains.

use anyhow::{Context, Result, bail};

use crate::container::{Container, Status, end_processes, finish_deletes};
use crate::container_id::ContainerId;
use crate::fault::{Code, Fault};
use crate::launch;
use crate::state_dir::{NotFound, Stage, StateDir, StateRoot};

/// Whether a container that is not stopped is killed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// It is, and one that does not exist is a success: shims delete again after every crash.
    Kill,
    /// It is refused.
    Refuse,
}

/// Deletes the container `id`.
pub fn run(root: &StateRoot, id: &str, force: Force) -> Result<()> {
    let id = ContainerId::parse(id)?;
    let finished = finish_deletes(root, &id)?;
    let success_without_it = finished || force == Force::Kill;
    let state = match root.open(&id) {
        Err(error) if success_without_it && error.is::<NotFound>() => return Ok(()),
        other => other?,
    };
    let context = || format!("delete container {:?}", id.as_str());
    if force == Force::Kill {
        // A start that hangs in the container's init lets go of the lock when init dies.
        end_now(&state).with_context(context)?;
    }
    // Somebody else at work on it is waited for: a create must end, or be undone, first.
    let lock = state.lock();
    if state.is_gone()? {
        let gone = anyhow::Error::new(NotFound).context(format!("container {:?}", id.as_str()));
        return if success_without_it {
            Ok(())
        } else {
            Err(gone)
        };
    }
    let _lock = lock.with_context(context)?;
    // Read under the lock: what was there before may be finished by now.
    let container = load(state, force)?;
    if force == Force::Refuse {
        check_stopped(&container)?;
    }
    container.destroy().with_context(context)
}

/// Kills init and everybody else before the lock is waited for.
fn end_now(state: &StateDir) -> Result<()> {
    match state.record() {
        Ok(Some(record)) if record.stage == Stage::Created => end_processes(&record),
        // Being created: that ends, or is undone, first. Unreadable: see `load`.
        _ => Ok(()),
    }
}

/// A record that cannot be read (a power loss, a full disk) must not keep a container for ever:
/// its configuration tells where its cgroups are.
fn load(state: StateDir, force: Force) -> Result<Container> {
    let record = match state.record() {
        Err(error) if force == Force::Kill => {
            crate::log::warn(&format!("{error:#}; going by the configuration instead"));
            Some(launch::record_from_config(&state)?)
        }
        other => other?,
    };
    Ok(Container { state, record })
}

fn check_stopped(container: &Container) -> Result<()> {
    let id = container.state.id();
    match container.status()? {
        // runc deletes a created container, and engines call it so; the specification would
        // have it refused (docs/decisions/0006).
        Status::Stopped | Status::Created | Status::Creating => {}
        status => bail!(Fault::new(
            if status == Status::Paused {
                Code::Paused
            } else {
                Code::Running
            },
            format!(
                "cannot delete container {id} that is not stopped: {}",
                status.as_str()
            )
        )),
    }
    let Some(record) = &container.record else {
        return Ok(());
    };
    if record.own_pid_namespace || container.status()? != Status::Stopped {
        return Ok(());
    }
    // Init's pid namespace was not its own, so others outlive it.
    let left = container.cgroup()?.processes().unwrap_or_default();
    if left.is_empty() {
        return Ok(());
    }
    bail!(Fault::new(
        Code::Running,
        format!(
            "cannot delete container {id} that is not stopped: {} of its processes still run",
            left.len()
        )
    ))
}
