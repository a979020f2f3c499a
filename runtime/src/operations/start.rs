//! `start`: the program of a created container.

use anyhow::{Context, Result, bail};
use nix::unistd::Pid;

use crate::container::{Container, Status};
use crate::container_id::ContainerId;
use crate::fault::{Code, Fault};
use crate::hooks::{self, Surroundings};
use crate::notify_listener::{self, Agent, Filtered};
use crate::notify_socket::Proxy;
use crate::plan::{self, Hooks, Moment};
use crate::procfs::Stat;
use crate::state_dir::{Record, StateRoot};
use crate::sync::{Channel, FromInit, ToInit};

/// Starts the container `id`.
pub fn run(root: &StateRoot, id: &str) -> Result<()> {
    let id = ContainerId::parse(id)?;
    let container = Container::open(root, &id)?;
    start(container).with_context(|| format!("start container {:?}", id.as_str()))
}

fn start(container: Container) -> Result<()> {
    let lock = container.state.lock()?;
    match container.status()? {
        Status::Created => {}
        Status::Stopped => bail!(Fault::new(
            Code::NotRunning,
            "cannot start a container that has stopped"
        )),
        Status::Running => bail!(Fault::new(
            Code::Running,
            "cannot start an already running container"
        )),
        status => bail!("cannot start a container in the {} state", status.as_str()),
    }
    let hooks = container.hooks()?;
    let channel = Channel::new(
        container
            .state
            .connect_to_init()
            .context("container process is already dead")?,
    );
    let proxy = Proxy::listen(&container.state)?;
    // From here on nobody else can start it; if this process dies now, init ends with it.
    container.state.remove_start_socket()?;
    let record = container.record()?;
    let agent = || container.spec().map(|spec| plan::agent_of(&spec));
    let pidfd = container.init()?;
    let init = Filtered {
        channel: &channel,
        pid: Pid::from_raw(record.init_process_pid),
        pidfd: &pidfd,
    };
    match begin(&init, record, agent)? {
        Begun::Running => {}
        Begun::HookFailed(reason) => return Err(end(container, reason.into())),
        Begun::Failed(reason) => bail!(reason),
    }
    let record = container.record()?.clone();
    if let Err(error) = run_poststart(&record, &hooks) {
        return Err(end(container, error));
    }
    // The service may take its time; others may work on the container meanwhile.
    drop(lock);
    proxy.map_or(Ok(()), |proxy| {
        proxy.wait(Pid::from_raw(record.init_process_pid), &pidfd)
    })
}

/// runtime.md, "Lifecycle", steps 7 and 9: a hook that fails ends the container.
fn end(container: Container, error: anyhow::Error) -> anyhow::Error {
    match container.destroy() {
        Ok(()) => error,
        Err(undone) => error.context(format!(
            "and the container could not be destroyed: {undone:#}"
        )),
    }
}

/// What became of a start.
#[derive(Debug, PartialEq, Eq)]
pub enum Begun {
    /// The program runs.
    Running,
    /// A startContainer hook failed.
    HookFailed(Fault),
    /// The program could not be executed.
    Failed(Fault),
}

/// Tells `init` to go on and waits until its program runs. `agent` is asked for if it has a
/// filter with a listener.
pub fn begin(
    init: &Filtered<'_>,
    record: &Record,
    agent: impl FnOnce() -> Result<Option<Agent>>,
) -> Result<Begun> {
    let channel = init.channel;
    channel
        .answer(&ToInit::Start, &[])
        .context("container process is already dead")?;
    let mut heard = channel.hear()?;
    if heard == Some(FromInit::Listener) {
        let agent = agent()?.context("init has a listener, and config.json no listenerPath")?;
        let state = record.hook_state().json("created", init.pid.as_raw())?;
        if let Err(error) = notify_listener::hand_over(&agent, init, &state) {
            return Ok(Begun::Failed(Fault::of(&error)));
        }
        heard = channel.hear()?;
    }
    match heard {
        None if Stat::never_executed(init.pid.as_raw()) => Ok(Begun::Failed(Fault::new(
            Code::Killed,
            "init died in execve (killed by the seccomp filter, or by a limit?)",
        ))),
        // execve closed init's end.
        None => Ok(Begun::Running),
        Some(FromInit::HookFailed(reason)) => Ok(Begun::HookFailed(reason)),
        Some(FromInit::Failed(reason)) => Ok(Begun::Failed(reason)),
        Some(other) => bail!("init said {other:?} after its start"),
    }
}

/// Runs the poststart hooks, in this process's namespaces.
pub fn run_poststart(record: &Record, hooks: &Hooks) -> Result<()> {
    let hooks = hooks.at(Moment::Poststart);
    if hooks.is_empty() {
        return Ok(());
    }
    let state = record
        .hook_state()
        .json("running", record.init_process_pid)?;
    hooks::run_all(
        Moment::Poststart,
        hooks,
        &Surroundings {
            state: &state,
            env: None,
            cwd: &record.bundle,
        },
    )
}
