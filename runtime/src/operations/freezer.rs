//! `pause` and `resume`: the container's freezer.

use anyhow::{Context, Result, bail};

use crate::container::{Container, Status};
use crate::container_id::ContainerId;
use crate::fault::{Code, Fault, not_running};
use crate::state_dir::StateRoot;

/// Stops every process of the container `id`.
pub fn pause(root: &StateRoot, id: &str) -> Result<()> {
    let container = open(root, id)?;
    let _lock = container.state.lock()?;
    match container.status()? {
        Status::Running | Status::Created => {}
        Status::Stopped => bail!(not_running()),
        status => bail!(Fault::new(
            if status == Status::Paused {
                Code::Paused
            } else {
                Code::Busy
            },
            format!(
                "container {id:?} is {}, so it cannot be paused",
                status.as_str()
            )
        )),
    }
    container
        .cgroup()?
        .freeze()
        .with_context(|| format!("pause container {id:?}"))
}

/// Lets a paused container go on.
pub fn resume(root: &StateRoot, id: &str) -> Result<()> {
    let container = open(root, id)?;
    let _lock = container.state.lock()?;
    if container.status()? != Status::Paused {
        bail!(Fault::new(Code::NotPaused, "container not paused"));
    }
    container
        .cgroup()?
        .thaw()
        .with_context(|| format!("resume container {id:?}"))
}

fn open(root: &StateRoot, id: &str) -> Result<Container> {
    Container::open(root, &ContainerId::parse(id)?)
}
