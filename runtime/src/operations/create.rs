//! `create`: everything but the program.

use anyhow::{Context, Result};

use crate::container_id::ContainerId;
use crate::launch::{self, Request};
use crate::state_dir::StateRoot;
use crate::sync::ToInit;

/// Creates the container `id`; its init waits for `start`.
pub fn run(root: &StateRoot, id: &str, request: &Request) -> Result<()> {
    crate::exe_seal::run_from_sealed_copy()?;
    let id = ContainerId::parse(id)?;
    let launched = launch::create(root, &id, request)
        .with_context(|| format!("create container {:?}", id.as_str()))?;
    launched.channel.answer(&ToInit::Commit, &[])
}
