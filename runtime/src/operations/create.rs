//! `create`: everything but the program.

use anyhow::{Context, Result};

use crate::container_id::ContainerId;
use crate::exit_status;
use crate::launch::{self, Launched, Request};
use crate::state_dir::StateRoot;
use crate::sync::ToInit;

/// Creates the container `id`; its init waits for `start`.
pub fn run(root: &StateRoot, id: &str, request: &Request) -> Result<()> {
    crate::exe_seal::run_unwritable()?;
    let id = ContainerId::parse(id)?;
    let launched = launch::create(root, &id, request)
        .with_context(|| format!("create container {:?}", id.as_str()))?;
    launched.channel.answer(&ToInit::Commit, &[])?;
    let Launched {
        state,
        record,
        pidfd,
        ..
    } = &launched;
    exit_status::leave_witness(state, record, pidfd, request);
    Ok(())
}
