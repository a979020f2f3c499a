//! `restore`: images of a checkpoint as a running container; in the foreground wait and delete.

use anyhow::{Context, Result};

use crate::container::{Poststop, destroy};
use crate::container_id::ContainerId;
use crate::foreground::{self, Signals};
use crate::launch::restore::{self, Checkpoint, Restored};
use crate::launch::{Attachment, Request};
use crate::operations::run::delete_after;
use crate::operations::start::run_poststart;
use crate::state_dir::StateRoot;

/// Restores the container `id`; the exit status of its program, 0 when detached.
pub fn run(
    root: &StateRoot,
    id: &str,
    request: &Request,
    checkpoint: &Checkpoint,
    subreaper: bool,
) -> Result<u8> {
    let id = ContainerId::parse(id)?;
    let context = || format!("restore container {:?}", id.as_str());
    let foreground = request.attachment == Attachment::Foreground;
    if foreground && subreaper {
        sys::process::become_subreaper()?;
    }
    let signals = foreground.then(Signals::block).transpose()?;
    let restored = restore::restore(root, &id, request, checkpoint).with_context(context)?;
    if let Err(error) = run_poststart(&restored.record, &restored.plan.hooks) {
        return Err(remove(restored, error)).with_context(context);
    }
    let Some(signals) = signals else { return Ok(0) };
    let Restored {
        state,
        record,
        pid,
        pidfd,
        terminal,
        lock,
        plan,
        ..
    } = restored;
    // Other operations may come while it runs.
    drop(lock);
    let status = foreground::supervise(pid, &pidfd, &signals, terminal, None)?;
    delete_after(state, record, &plan.hooks)?;
    Ok(status)
}

/// A hook that fails ends the container (runtime.md, "Lifecycle", step 9).
fn remove(restored: Restored, error: anyhow::Error) -> anyhow::Error {
    let hooks = &restored.plan.hooks;
    let removed = destroy(restored.state, Some(&restored.record), hooks, Poststop::Run);
    if let Err(left) = removed {
        crate::log::warn(&format!("undo of a failed restore: {left:#}"));
    }
    let _ = nix::sys::wait::waitpid(restored.pid, None);
    error
}
