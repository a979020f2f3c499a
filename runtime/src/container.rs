//! A container that exists: its status, signalling it, and taking it away.

use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::unistd::Pid;
use oci::Spec;

use crate::cgroup::Cgroup;
use crate::container_id::ContainerId;
use crate::fault::{Code, Fault, not_running};
use crate::hooks::{self, Surroundings};
use crate::plan::{Hooks, Moment};
use crate::procfs::{self, Stat};
use crate::resctrl::Membership;
use crate::state_dir::{Record, Stage, StateDir, StateRoot};
use crate::timeline;

/// Status of a container (runtime.md, "State"), and `paused`, which runtimes may add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// `create` is at work, or was killed.
    Creating,
    /// Its program has not been started.
    Created,
    /// Its program runs.
    Running,
    /// Its cgroup is frozen.
    Paused,
    /// Its init has ended.
    Stopped,
}

impl Status {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// An existing container.
#[derive(Debug)]
pub struct Container {
    /// Its directory.
    pub state: StateDir,
    /// Its record; `None` if its `create` was killed before the first one was written.
    pub record: Option<Record>,
}

/// How long a killed container may take to end.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

impl Container {
    /// Opens the container `id`.
    pub fn open(root: &StateRoot, id: &ContainerId) -> Result<Self> {
        let state = root.open(id)?;
        let record = state.record()?;
        Ok(Self { state, record })
    }

    /// Its record; an error while it is being created.
    pub fn record(&self) -> Result<&Record> {
        let id = self.state.id();
        self.record.as_ref().ok_or_else(|| {
            let text = format!("container {:?} is still being created", id.as_str());
            Fault::new(Code::Busy, text).into()
        })
    }

    /// What it is doing.
    pub fn status(&self) -> Result<Status> {
        let Some(record) = &self.record else {
            return self.unfinished();
        };
        if record.stage != Stage::Created {
            return self.unfinished();
        }
        if live_init(record)?.is_none() {
            return Ok(Status::Stopped);
        }
        Ok(match self.cgroup().map(|cgroup| cgroup.is_frozen()) {
            Ok(Ok(true)) => Status::Paused,
            _ if self.state.awaits_start()? => Status::Created,
            _ => Status::Running,
        })
    }

    /// A create that nobody is at work on any more was killed, and nothing of it runs on.
    fn unfinished(&self) -> Result<Status> {
        Ok(match self.state.is_busy()? {
            true => Status::Creating,
            false => Status::Stopped,
        })
    }

    /// Host pid of init; 0 once it has ended.
    pub fn pid(&self) -> Result<i32> {
        let live = self.record.as_ref().map(live_init).transpose()?;
        Ok(live.flatten().unwrap_or(0))
    }

    /// A descriptor of init, which is certainly this container's.
    pub fn init(&self) -> Result<OwnedFd> {
        match open_init(self.record()?)? {
            Some(pidfd) => Ok(pidfd),
            None => bail!(not_running()),
        }
    }

    /// Its cgroups.
    pub fn cgroup(&self) -> Result<Cgroup> {
        Ok(self.record()?.cgroup())
    }

    /// The configuration as it was at create.
    pub fn spec(&self) -> Result<Spec> {
        crate::bundle::parse(&self.state.config()?)
    }

    /// Sends `signal` to init, or with [`Recipients::All`] to every process.
    pub fn kill(&self, signal: i32, recipients: Recipients) -> Result<()> {
        let record = self.record()?;
        if record.stage != Stage::Created {
            // Its cgroups may still turn out to be somebody else's.
            bail!(not_running());
        }
        if recipients == Recipients::All {
            return self.kill_all(signal);
        }
        let status = self.status()?;
        if status == Status::Stopped {
            bail!(not_running());
        }
        if !record.own_pid_namespace && signal == nix::libc::SIGKILL {
            // Without a pid namespace the death of init ends nobody else.
            return self.kill_all(signal);
        }
        if !send(&self.init()?, signal)? {
            bail!(not_running());
        }
        if signal == nix::libc::SIGKILL && status == Status::Paused {
            // A frozen process of version 1 dies only when it thaws.
            self.cgroup()?.thaw()?;
        }
        Ok(())
    }

    /// Signals every process in its cgroups, and init wherever it is: a container of a user without
    /// systemd has no cgroup.
    fn kill_all(&self, signal: i32) -> Result<()> {
        let (record, cgroup) = (self.record()?, self.cgroup()?);
        let outside = match open_init(record)? {
            Some(init) if !cgroup.processes()?.contains(&record.init_process_pid) => Some(init),
            _ => None,
        };
        cgroup.kill_all(signal)?;
        outside.map_or(Ok(()), |init| send(&init, signal).map(drop))
    }

    /// The hooks of the configuration as it was at create.
    pub fn hooks(&self) -> Result<Hooks> {
        crate::bundle::parse_hooks(&self.state.config()?)
    }

    /// Takes it away, killing what still runs; then runs its poststop hooks.
    pub fn destroy(self) -> Result<()> {
        // A create killed before it had copied the configuration has run no hooks either.
        let (hooks, poststop) = match self.hooks() {
            Ok(hooks) => (hooks, Poststop::Run),
            Err(_) => (Hooks::default(), Poststop::Skip),
        };
        destroy(self.state, self.record.as_ref(), &hooks, poststop)
    }
}

/// Whom a signal reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipients {
    /// Init.
    Init,
    /// Every process in the container's cgroups.
    All,
}

/// Whether poststop hooks are due: they undo what the earlier ones did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poststop {
    /// Earlier hooks ran, or may have.
    Run,
    /// No hook has run.
    Skip,
}

/// Host pid of init if that very process lives.
fn live_init(record: &Record) -> Result<Option<i32>> {
    if record.init_process_pid == 0 || !procfs::is_of_this_boot(&record.boot_id) {
        return Ok(None);
    }
    let Some(stat) = Stat::of(record.init_process_pid)? else {
        return Ok(None);
    };
    let same = stat.start_time == record.init_process_start && !stat.is_dead();
    Ok(same.then_some(record.init_process_pid))
}

/// A descriptor of init, which is certainly this container's; `None` once it has ended.
fn open_init(record: &Record) -> Result<Option<OwnedFd>> {
    let pidfd = sys::process::pidfd_open(Pid::from_raw(record.init_process_pid));
    // Opened first, compared after: the number cannot have changed hands in between.
    if live_init(record)?.is_none() {
        return Ok(None);
    }
    match pidfd {
        Err(error) if error.errno() == sys::Errno::ESRCH => Ok(None),
        pidfd => Ok(Some(pidfd?)),
    }
}

/// Whether there was still somebody to signal.
fn send(process: &OwnedFd, signal: i32) -> Result<bool> {
    match sys::process::pidfd_send_signal(process, signal) {
        Err(error) if error.errno() == sys::Errno::ESRCH => Ok(false),
        other => Ok(other.map(|()| true)?),
    }
}

/// The one way in which containers end: `delete`, `run` after its program, a failed create.
///
/// Every step is tried even if an earlier one failed, and the first error is reported; the
/// directory goes only when nothing else is left, and by one rename, so that a second try finds
/// the rest, poststop hooks that did not run included.
pub fn destroy(
    state: StateDir,
    record: Option<&Record>,
    hooks: &Hooks,
    poststop: Poststop,
) -> Result<()> {
    match record {
        None => {}
        // No process was ever in them.
        Some(record) if record.stage == Stage::Claiming => {
            record.cgroup().remove_unused();
        }
        Some(record) => {
            let step = timeline::step("end the processes");
            let ended = end_processes(record);
            stop_unit(record);
            drop(step);
            let _step = timeline::step("remove the cgroups");
            let removed = record.cgroup().remove();
            ended?;
            removed.context("remove its cgroups")?;
            record
                .intel_rdt
                .as_ref()
                .map_or(Ok(()), Membership::remove)?;
        }
    }
    if poststop == Poststop::Skip {
        state.forget_config()?;
    }
    // From here on the id is free, and a second delete finds what this one may leave.
    let tomb = state.entomb().context("take its state directory away")?;
    finish(tomb, record, hooks, poststop)
}

/// Ends the unit around a container whose processes have ended. It is only a warning that
/// systemd cannot be asked: an empty scope ends by itself.
fn stop_unit(record: &Record) {
    if let Some(Err(error)) = record.unit().map(|unit| unit.stop()) {
        crate::log::warn(&format!(
            "stop the unit of container {:?}: {error}",
            record.id
        ));
    }
}

/// The end of a container whose processes and cgroups are gone: poststop hooks, then its remains.
fn finish(
    tomb: StateDir,
    record: Option<&Record>,
    hooks: &Hooks,
    poststop: Poststop,
) -> Result<()> {
    if let (Poststop::Run, Some(record)) = (poststop, record) {
        run_poststop(record, hooks);
    }
    let _step = timeline::step("remove the record");
    let id = tomb.id().to_string();
    tomb.remove().context("remove its state directory")?;
    crate::log::debug(&format!("container {id:?} is gone"));
    Ok(())
}

/// Finishes deletes of `id` that were killed half way; whether there were any.
pub fn finish_deletes(root: &StateRoot, id: &ContainerId) -> Result<bool> {
    let mut any = false;
    for tomb in root.tombstones(id)? {
        let _lock = tomb.lock()?;
        if tomb.is_gone()? {
            continue;
        }
        any = true;
        let record = tomb.record().ok().flatten();
        match tomb
            .config()
            .and_then(|text| crate::bundle::parse_hooks(&text))
        {
            Ok(hooks) => finish(tomb, record.as_ref(), &hooks, Poststop::Run)?,
            Err(_) => tomb.remove()?,
        }
    }
    Ok(any)
}

/// Kills init and every process in its cgroups, and waits until init has ended.
pub fn end_processes(record: &Record) -> Result<()> {
    let init = open_init(record)?;
    if let Some(init) = &init {
        send(init, nix::libc::SIGKILL)?;
    }
    let cgroup = record.cgroup();
    // Those that share init's pid namespace with nobody die with it; others are found here, and
    // so is the init of a create that was killed before it could write its pid down.
    cgroup
        .kill_all(nix::libc::SIGKILL)
        .context("kill its processes")?;
    match init {
        Some(init) if !sys::process::wait_for_exit(&init, KILL_PATIENCE)? => {
            let text = format!("its init has not ended {KILL_PATIENCE:?} after SIGKILL");
            bail!(Fault::new(Code::Timeout, text).hint(
                "a process in a system call of a dead disk or network file system cannot die"
            ))
        }
        _ => Ok(()),
    }
}

/// Runs the poststop hooks; a failure is a warning, and the rest runs all the same
/// (runtime.md, "Lifecycle", step 13).
fn run_poststop(record: &Record, hooks: &Hooks) {
    let Ok(state) = record.hook_state().json("stopped", 0) else {
        return;
    };
    // The bundle may be gone by now; a hook has no use for its working directory.
    let root = std::path::Path::new("/");
    let cwd = if record.bundle.is_dir() {
        record.bundle.as_path()
    } else {
        root
    };
    for (index, hook) in hooks.at(Moment::Poststop).iter().enumerate() {
        let _step = timeline::step_of(|| format!("poststop {}", hook.path.display()));
        let outcome = hooks::run(
            hook,
            &Surroundings {
                state: &state,
                env: None,
                cwd,
            },
        );
        if let Err(error) = outcome {
            crate::log::warn(&format!("error running poststop hook #{index}: {error:#}"));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::BTreeMap;

    pub(crate) fn record_of_this_process() -> Record {
        let pid = std::process::id().cast_signed();
        Record {
            version: 1,
            id: "web".into(),
            stage: Stage::Created,
            init_process_pid: pid,
            init_process_start: Stat::of(pid).unwrap().unwrap().start_time,
            boot_id: procfs::boot_id(),
            created: String::new(),
            bundle: "/b".into(),
            rootfs: "/b/rootfs".into(),
            owner: 0,
            annotations: BTreeMap::new(),
            cgroup_paths: BTreeMap::new(),
            lent_cgroups: Vec::new(),
            systemd_unit: None,
            systemd_user: false,
            namespace_paths: BTreeMap::new(),
            own_pid_namespace: true,
            no_pivot: false,
            session_keyring: false,
            intel_rdt: None,
            external_descriptors: Vec::new(),
        }
    }

    fn status_of(record: &Record) -> (Status, i32) {
        let dir = tempfile::tempdir().unwrap();
        let root = StateRoot::new(dir.path().join("davit"));
        let id = ContainerId::parse("web").unwrap();
        root.claim(&id).unwrap().save(record).unwrap();
        let container = Container::open(&root, &id).unwrap();
        (container.status().unwrap(), container.pid().unwrap())
    }

    #[test]
    fn a_reused_pid_is_not_the_container() {
        let record = record_of_this_process();
        assert_eq!(
            status_of(&record),
            (Status::Running, record.init_process_pid)
        );
        let other_start = Record {
            init_process_start: record.init_process_start + 1,
            ..record.clone()
        };
        assert_eq!(status_of(&other_start), (Status::Stopped, 0));
        let other_boot = Record {
            boot_id: "another".into(),
            ..record
        };
        assert_eq!(status_of(&other_boot), (Status::Stopped, 0));
        // Made while the kernel did not tell: the process is there all the same.
        let no_boot = Record {
            boot_id: String::new(),
            ..other_boot
        };
        let pid = no_boot.init_process_pid;
        assert_eq!(status_of(&no_boot), (Status::Running, pid));
    }

    #[test]
    fn a_create_that_nobody_is_at_work_on_is_stopped_and_not_signalled() {
        let record = Record {
            stage: Stage::Claiming,
            ..record_of_this_process()
        };
        assert_eq!(status_of(&record).0, Status::Stopped);
        let dir = tempfile::tempdir().unwrap();
        let root = StateRoot::new(dir.path().to_owned());
        let state = root.claim(&ContainerId::parse("web").unwrap()).unwrap();
        let container = Container {
            state,
            record: Some(record),
        };
        for recipients in [Recipients::Init, Recipients::All] {
            let error = container.kill(nix::libc::SIGURG, recipients).unwrap_err();
            assert_eq!(error.to_string(), "container not running");
        }
    }
}
