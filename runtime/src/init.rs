//! The child's side: from a fresh clone of the runtime to the container's program.
//!
//! Init is a clone, not a new program: it inherits the finished [`Plan`] and reads no
//! configuration. Everything below the rootfs is reached through one descriptor, and every
//! change to the rootfs is made before init enters it, so that no path of the container is
//! resolved with the host in sight. All that init itself needs of `/proc` is the
//! host's, which no image can fake (CVE-2019-16884, CVE-2025-52881).
//!
//! The exceptions to one syscall after the other are the questions to the runtime, drawn in
//! `sync`.

pub mod console;
pub mod copy_up;
pub mod credentials;
pub mod devices;
pub mod executable;
pub mod labels;
pub mod mounts;
pub mod nested;
pub mod program;
pub mod restrict;
pub mod rootfs;

use std::convert::Infallible;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::sys::stat::{Mode, umask};

use crate::cgroup_view::View;
use crate::fault::{Code, Fault};
use crate::hooks::{self, Surroundings};
use crate::inherited::Listen;
use crate::plan::{Execution, Kind, Moment, Plan, Process};
use crate::procfs::HostProc;
use crate::state::HookState;
use crate::sync::{Channel, FromInit, ToInit};
use crate::timeline;

/// What init inherits beside the plan.
pub struct Inheritance {
    /// The runtime's ear.
    pub channel: Channel,
    /// Files to write `0` to: version 1 hierarchies that init joins by itself.
    pub cgroup_files: Vec<OwnedFd>,
    /// Whether init waits for its cgroups: for their limits, or for systemd to take it there.
    pub is_placed: bool,
    /// The `CLONE_NEW*` bits of namespaces that init makes by itself until then.
    pub own_namespaces: u64,
    /// Namespaces given by path that init joins by itself.
    pub namespaces: Vec<(Kind, OwnedFd)>,
    /// What `/sys/fs/cgroup` will show.
    pub cgroup_view: View,
    /// Where `start` connects; none for `run`.
    pub start_listener: Option<OwnedFd>,
    /// Where the master of the terminal is sent.
    pub console: Option<OwnedFd>,
    /// Whether init is kept from being traced from the beginning.
    pub guarded: bool,
    /// Whether it is while it waits for `start`.
    pub guarded_in_waiting: bool,
    /// Name of a session keyring to join.
    pub keyring: Option<std::ffi::CString>,
    /// Descriptors from 3 on that the program inherits.
    pub preserved_fds: i32,
    /// What the first of them are.
    pub listen: Listen,
    /// Whether stdio is given to the container's user.
    pub stdio: Stdio,
    /// What createContainer and startContainer hooks are told.
    pub hook_state: HookState,
}

impl Inheritance {
    /// The numbers of all that init goes on with.
    fn descriptors(&self) -> Vec<RawFd> {
        let owned = self
            .cgroup_files
            .iter()
            .chain(self.namespaces.iter().map(|(_, fd)| fd));
        let owned = owned.chain(&self.start_listener).chain(&self.console);
        let owned = owned.chain([self.channel.socket()]).map(AsRawFd::as_raw_fd);
        owned.chain(3..3 + self.preserved_fds).collect()
    }
}

/// Whose the standard streams are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdio {
    /// The container's alone: its user may own them.
    Given,
    /// Those of whoever runs us in the foreground.
    Shared,
}

/// Lives the life of init. Never returns; an error goes to the runtime.
pub fn run(plan: &Plan, inheritance: Inheritance) -> ! {
    timeline::enter(timeline::Lane::Init);
    let mut init = Init { plan, inheritance };
    let error = match init.live() {
        Ok(never) => match never {},
        Err(error) => error,
    };
    let fault = Fault::of(&error);
    let message = if error.is::<HookFailed>() {
        FromInit::HookFailed(fault)
    } else {
        FromInit::Failed(fault)
    };
    // If the runtime is gone, nobody is left to tell.
    let _ = init.inheritance.channel.tell(&message);
    sys::process::exit_now(1)
}

struct Init<'a> {
    plan: &'a Plan,
    inheritance: Inheritance,
}

impl Init<'_> {
    fn live(&mut self) -> Result<Infallible> {
        self.let_go()?;
        // 1. What takes the kernel long and nobody outside sees, while the runtime makes the cgroups.
        self.make_namespaces()?;
        // 2. Cgroups, so that everything from here on is counted and limited.
        self.join()?;
        // 3. Ids next: what follows is done as the container's root.
        if let Some(maps) = &self.plan.id_maps {
            let _step = timeline::step("become root of the user namespace");
            self.inheritance.channel.expect(&ToInit::IdsMapped)?;
            credentials::become_root_of(maps, self.plan.process.keep_groups)?;
        }
        // Nobody whom the container lets trace may read our memory or our descriptors.
        if self.inheritance.guarded {
            nix::sys::prctl::set_dumpable(false).context("prctl(PR_SET_DUMPABLE, 0)")?;
        }
        // 4. The cgroup namespace's root is the cgroup that its maker is in: after step 2.
        if self.plan.namespaces.makes(Kind::Cgroup) {
            let _step = timeline::step("make the cgroup namespace");
            sys::process::unshare_raw(Kind::Cgroup.clone_flag())?;
        }
        // 5. A session of its own, so that no terminal of the host reaches it.
        nix::unistd::setsid().context("setsid()")?;
        let proc = HostProc::open()?;
        if let Some(name) = &self.inheritance.keyring {
            let label = self.plan.selinux_label.as_deref();
            labels::with_key_label(&proc, label, || {
                credentials::join_keyring(name, self.plan.namespaces.is_private(Kind::User))
            })?;
        }
        self.raise_loopback(self.inheritance.own_namespaces == 0)?;
        // 6. The host's /proc is about to go: what is written to it at execve is opened now.
        let labels = labels::Labels::open(&proc, self.plan)?;
        self.enter_rootfs(&proc)?;
        // 7. Inside, where others may look at our descriptors until the program starts: nothing
        // of the host stays open. From here on paths are the container's own: its working
        // directory, its user list, its program.
        drop(proc);
        self.inheritance.namespaces.clear();
        self.inheritance.console = None;
        let step = timeline::step("user, capabilities, limits");
        self.set_attributes()?;
        self.set_limits()?;
        let filter = self.plan.seccomp.as_ref();
        let ready = credentials::prepare(&self.plan.process, self.inheritance.stdio, filter)?;
        drop(step);
        let step = timeline::step("find the program");
        let mut program = program::find(&self.plan.process)?;
        program.set_variables(self.inheritance.listen.variables(own_pid()));
        drop(step);
        // From here on others are let in: its memory is that of whoever called the runtime, and what
        // it will do is not to be changed. The program begins anew (execve(2)).
        if self.inheritance.guarded_in_waiting {
            nix::sys::prctl::set_dumpable(false).context("prctl(PR_SET_DUMPABLE, 0)")?;
        }
        self.inheritance.channel.tell(&FromInit::Created)?;
        let step = timeline::step("wait for the start");
        self.wait_for_start()?;
        drop(step);
        self.run_start_hooks(&program)?;
        // 8. Nothing but what the program shall have may stay open (CVE-2024-21626).
        let step = timeline::step("drop what is left");
        program::keep_only(self.inheritance.preserved_fds)?;
        labels.apply()?;
        ready.assume(&self.inheritance.channel)?;
        drop(step);
        let _step = timeline::step("execve");
        Err(program.execute())
    }

    /// Not a descriptor more than it needs: the runtime's lock on the container must not outlive
    /// the runtime, and none of the host's directories may come along.
    fn let_go(&self) -> Result<()> {
        let _step = timeline::step("let go of what was inherited");
        sys::process::close_inherited(&self.inheritance.descriptors())?;
        umask(Mode::empty());
        Ok(sys::process::reset_signals()?)
    }

    fn make_namespaces(&self) -> Result<()> {
        let flags = self.inheritance.own_namespaces;
        if flags == 0 {
            return Ok(());
        }
        let step = timeline::step("make namespaces");
        sys::process::unshare_raw(flags).context("make the container's namespaces")?;
        drop(step);
        self.raise_loopback(true)
    }

    fn raise_loopback(&self, now: bool) -> Result<()> {
        if !now || !self.plan.namespaces.makes(Kind::Network) {
            return Ok(());
        }
        let _step = timeline::step("loopback up");
        Ok(sys::interface::loopback_up()?)
    }

    /// Joins its cgroups, and the namespaces that are given by path.
    fn join(&mut self) -> Result<()> {
        if self.inheritance.is_placed {
            let _step = timeline::step("wait for the cgroups");
            let files = self.inheritance.channel.expect(&ToInit::Placed)?;
            self.inheritance.cgroup_files.extend(files);
        }
        let _step = timeline::step("join cgroups and namespaces");
        join_cgroups(std::mem::take(&mut self.inheritance.cgroup_files))?;
        for (kind, namespace) in &self.inheritance.namespaces {
            sys::process::setns_raw(namespace, kind.clone_flag())
                .with_context(|| format!("join the {} namespace", kind.proc_name()))?;
        }
        // A runtime that was itself kept to some processors must not keep the container there;
        // its cpuset decides. EINVAL: that leaves none, which the cpuset then explains.
        let _ = sys::process::reset_cpu_affinity();
        Ok(())
    }

    /// Makes the rootfs what the configuration says and changes the root to it.
    fn enter_rootfs(&self, proc: &HostProc) -> Result<()> {
        let plan = self.plan;
        if !plan.namespaces.is_private(Kind::Mount) {
            self.run_create_hooks(&plan.rootfs.path)?;
            self.set_names_and_parameters(proc)?;
            return rootfs::change_root_only(&plan.rootfs.path);
        }
        let step = timeline::step("mount the root");
        let root = rootfs::Rootfs::mount(plan, &self.inheritance.channel)?;
        drop(step);
        let step = timeline::step("mounts");
        let mut mounted = mounts::mount_all(plan, &root, &self.inheritance, proc)?;
        drop(step);
        if !mounts::dev_is_bound(plan) {
            let _step = timeline::step("device nodes");
            devices::make_all(plan, &root)?;
        }
        self.run_create_hooks(&plan.rootfs.path)?;
        self.set_names_and_parameters(proc)?;
        // Streams that are the host's /dev/null would let the container change its owner.
        let step = timeline::step("terminal and working directory");
        console::replace_null_streams(root.root())?;
        root.make_directory(&plan.process.cwd)?;
        if plan.process.terminal {
            console::attach(plan, &root, self.inheritance.console.as_ref())?;
        }
        drop(step);
        let step = timeline::step("mask");
        restrict::make_readonly(&root, &plan.rootfs.readonly_paths)?;
        restrict::mask(&root, &plan.rootfs.masked_paths)?;
        mounted.finish()?;
        drop(step);
        let _step = timeline::step("pivot_root");
        root.enter(plan)
    }

    /// The hooks between mounts and pivot_root: the runtime's first, then the container's.
    ///
    /// The runtime is asked for either: from then on a failure has poststop hooks to run.
    fn run_create_hooks(&self, rootfs: &Path) -> Result<()> {
        let hooks = &self.plan.hooks;
        let create = [
            Moment::Prestart,
            Moment::CreateRuntime,
            Moment::CreateContainer,
        ];
        if create.iter().any(|&moment| !hooks.at(moment).is_empty()) {
            let _step = timeline::step("wait for the hooks");
            self.inheritance
                .channel
                .ask(&FromInit::RunHooks, &ToInit::HooksDone)?;
        }
        let hooks = hooks.at(Moment::CreateContainer);
        if hooks.is_empty() {
            return Ok(());
        }
        let state = self.inheritance.hook_state.json("creating", own_pid())?;
        let surroundings = Surroundings {
            state: &state,
            env: None,
            cwd: rootfs,
        };
        hooks::run_all(Moment::CreateContainer, hooks, &surroundings)
    }

    fn set_names_and_parameters(&self, proc: &HostProc) -> Result<()> {
        let _step = timeline::step("names and sysctls");
        if let Some(name) = &self.plan.hostname {
            nix::unistd::sethostname(name).with_context(|| format!("sethostname({name:?})"))?;
        }
        if let Some(name) = &self.plan.domainname {
            sys::process::set_domain_name(name)?;
        }
        let parameters = &self.plan.sysctl;
        parameters
            .iter()
            .try_for_each(|(path, value)| proc.write_parameter(path, value))
    }

    fn set_attributes(&self) -> Result<()> {
        set_execution(&self.plan.execution)?;
        set_attributes(&self.plan.process)
    }

    fn set_limits(&self) -> Result<()> {
        let ask = || {
            self.inheritance
                .channel
                .ask(&FromInit::Limits, &ToInit::LimitsSet)
                .map(drop)
        };
        credentials::set_limits(
            &self.plan.process.rlimits,
            self.plan.namespaces.is_private(Kind::User),
            ask,
        )
    }

    /// Waits until the program may run; afterwards `channel` leads to whoever started it.
    fn wait_for_start(&mut self) -> Result<()> {
        match self.inheritance.channel.listen()? {
            Some((ToInit::Start, _)) => return Ok(()),
            Some((ToInit::Commit, _)) => {}
            other => bail!("expected Commit or Start of the runtime, got {other:?}"),
        }
        let Some(listener) = self.inheritance.start_listener.take() else {
            bail!("no start socket to wait on");
        };
        self.inheritance.channel = Channel::new(sys::socket::accept(&listener)?);
        // `start` that dies without a word has taken the socket away already, so that nobody
        // else can start this container: end with it.
        self.inheritance.channel.expect(&ToInit::Start).map(drop)
    }

    fn run_start_hooks(&self, program: &program::Program) -> Result<()> {
        let hooks = self.plan.hooks.at(Moment::StartContainer);
        if hooks.is_empty() {
            return Ok(());
        }
        let state = self.inheritance.hook_state.json("created", own_pid())?;
        let env = Some(program.environment());
        let surroundings = Surroundings {
            state: &state,
            env,
            cwd: Path::new("/"),
        };
        hooks::run_all(Moment::StartContainer, hooks, &surroundings).context(HookFailed)
    }
}

/// Marks the failure of a startContainer hook, which ends the container (runtime.md,
/// "Lifecycle", step 7).
#[derive(Debug, thiserror::Error)]
#[error("start the container")]
struct HookFailed;

/// Sets execution domain and NUMA policy.
pub fn set_execution(execution: &Execution) -> Result<()> {
    if let Some(persona) = execution.personality {
        sys::process::set_personality(persona).context("config.json /linux/personality")?;
    }
    if let Some((mode, nodes)) = &execution.memory_policy {
        sys::process::set_memory_policy(*mode, nodes).context("config.json /linux/memoryPolicy")?;
    }
    Ok(())
}

/// Sets what of a process outlives execve and needs no privilege of the container's user.
pub fn set_attributes(process: &Process) -> Result<()> {
    if let Some(scheduler) = process.scheduler {
        sys::process::set_scheduler(scheduler)
            .context("scheduler (a cpuset without the allowed CPUs, or no CAP_SYS_NICE)")?;
    }
    if let Some((class, level)) = process.io_priority {
        sys::process::set_io_priority(class, level).context("ioPriority")?;
    }
    umask(Mode::from_bits_truncate(process.umask));
    Ok(())
}

/// Joins version 1 hierarchies through their open `tasks` files.
pub fn join_cgroups(files: Vec<OwnedFd>) -> Result<()> {
    for file in files {
        // "0" is the writer: a thread that moves only itself skips the kernel's global thread
        // group lock, which costs milliseconds (docs/decisions/0002).
        match std::fs::File::from(file).write_all(b"0") {
            // cpuset(7): "attempt to move a task into a cpuset that has empty cpus or mems".
            Err(error) if error.raw_os_error() == Some(sys::Errno::ENOSPC as i32) => {
                let text = "join a cgroup: write(tasks, \"0\"): its cpuset has no processor, or no memory node";
                bail!(Fault::new(Code::CpusetEmpty, text))
            }
            other => other.context("join a cgroup: write(tasks, \"0\")")?,
        }
    }
    Ok(())
}

/// Init's pid as its own pid namespace counts.
fn own_pid() -> i32 {
    nix::unistd::getpid().as_raw()
}
