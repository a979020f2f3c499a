//! `ps`: the host pids of a container's processes, as shims read them.

use anyhow::{Context, Result};

use crate::container::Container;
use crate::container_id::ContainerId;
use crate::state_dir::StateRoot;

/// The pids as a JSON array, `null` if there are none, as runc prints it.
pub fn run(root: &StateRoot, id: &str) -> Result<String> {
    let container = Container::open(root, &ContainerId::parse(id)?)?;
    let pids = container
        .cgroup()?
        .processes()
        .with_context(|| format!("list the processes of {id:?}"))?;
    if pids.is_empty() {
        return Ok("null\n".into());
    }
    Ok(serde_json::to_string(&pids).context("encode the pids")? + "\n")
}
