//! `run`: create, start, and in the foreground wait and delete.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::container::{Poststop, destroy};
use crate::container_id::ContainerId;
use crate::exit_status;
use crate::foreground::{self, Signals};
use crate::launch::{self, Attachment, Launched, Request};
use crate::notify_listener::Filtered;
use crate::notify_socket::Proxy;
use crate::operations::start::{Begun, begin, run_poststart};
use crate::plan::Hooks;
use crate::plan::process::Rlimit;
use crate::state_dir::{Record, StateDir, StateRoot};
use crate::timeline;

/// What `run` does around the container.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether the container stays after its program ended.
    pub keep: bool,
    /// Whether orphans of the container become children of this process.
    pub subreaper: bool,
}

/// Runs the container `id`; the exit status of its program, 0 when detached.
pub fn run(root: &StateRoot, id: &str, request: &Request, options: Options) -> Result<u8> {
    crate::exe_seal::run_unwritable()?;
    let id = ContainerId::parse(id)?;
    run_id(root, &id, request, options).with_context(|| format!("run container {:?}", id.as_str()))
}

fn run_id(root: &StateRoot, id: &ContainerId, request: &Request, options: Options) -> Result<u8> {
    let foreground = request.attachment == Attachment::Foreground;
    if foreground && options.subreaper {
        sys::process::become_subreaper()?;
    }
    let signals = foreground.then(Signals::block).transpose()?;
    let mut launched = launch::create(root, id, request)?;
    let started = Proxy::listen(&launched.state).and_then(|proxy| {
        start(&launched)?;
        Ok(proxy)
    });
    let proxy = match started {
        Ok(proxy) => proxy,
        Err(error) => return Err(remove(launched, error)),
    };
    let Some(signals) = signals else {
        let Launched {
            state,
            record,
            pid,
            pidfd,
            lock,
            channel,
            ..
        } = launched;
        drop((lock, channel));
        exit_status::leave_witness(&state, &record, &pidfd, request);
        proxy.map_or(Ok(()), |proxy| proxy.wait(pid, &pidfd))?;
        return Ok(0);
    };
    let terminal = launched.terminal.take();
    // Other operations may come while it runs.
    let Launched {
        state,
        record,
        pid,
        pidfd,
        lock,
        channel,
        plan,
        ..
    } = launched;
    drop((lock, channel));
    let (limits, hooks) = (plan.process.rlimits, plan.hooks);
    let status = foreground::supervise(pid, &pidfd, &signals, terminal, proxy)?;
    warn_of_limits(&limits, status);
    if options.keep {
        exit_status::note(&state, status)?;
    } else {
        delete_after(state, record, &hooks)?;
    }
    Ok(status)
}

/// A program that does not fit into its address space is killed by the kernel in the middle of
/// execve, with nobody left to say why.
fn warn_of_limits(limits: &[Rlimit], status: u8) {
    const SMALL: u64 = 16 * 1024 * 1024;
    let by_signal = [Signal::SIGSEGV, Signal::SIGKILL, Signal::SIGBUS];
    if !by_signal.iter().any(|&signal| status == 128 + signal as u8) {
        return;
    }
    let memory = ["RLIMIT_AS", "RLIMIT_DATA", "RLIMIT_STACK"];
    let small = |limit: &&Rlimit| limit.soft < SMALL && memory.contains(&limit.name.as_str());
    if let Some(limit) = limits.iter().find(small) {
        crate::log::warn(&format!(
            "the program was killed by signal {}, and config.json /process/rlimits gives it {} of \
             {} bytes: that may be too little to run in",
            status - 128,
            limit.name,
            limit.soft
        ));
    }
}

/// Deletes the container, whose init this process has waited for, unless somebody has done so while
/// it ran. Its hooks are those of the configuration as it was at create, which this process was.
pub fn delete_after(state: StateDir, mut record: Record, hooks: &Hooks) -> Result<()> {
    let _step = timeline::step("delete");
    let lock = state.lock();
    if state.is_gone()? {
        return Ok(());
    }
    let _lock = lock?;
    // The number may be somebody else's by now.
    record.init_process_pid = 0;
    destroy(state, Some(&record), hooks, Poststop::Run)
}

fn start(launched: &Launched) -> Result<()> {
    let _step = timeline::step("start");
    let init = Filtered {
        channel: &launched.channel,
        pid: launched.pid,
        pidfd: &launched.pidfd,
    };
    match begin(&init, &launched.record, || Ok(launched.plan.agent.clone()))? {
        Begun::Running => {}
        Begun::HookFailed(reason) | Begun::Failed(reason) => return Err(reason.into()),
    }
    run_poststart(&launched.record, &launched.plan.hooks)
}

/// A start that failed leaves nothing: nobody would know what to delete.
fn remove(launched: Launched, error: anyhow::Error) -> anyhow::Error {
    let hooks = &launched.plan.hooks;
    let removed = destroy(launched.state, Some(&launched.record), hooks, Poststop::Run);
    if let Err(left) = removed {
        crate::log::warn(&format!("undo of a failed run: {left:#}"));
    }
    // Reaped, so that the caller's table is as it was.
    let patience = Duration::from_secs(5);
    let _ = sys::process::reap(launched.pid, &launched.pidfd, patience);
    error
}
