//! `exec`: one more process in a running container.
//!
//! A stage joins init's cgroups and namespaces, closes all that it needed for that, and only then
//! clones the process. The container can see that one from its first moment, and with
//! CAP_SYS_PTRACE can open what it has open. So it is born on the container's root, neither
//! dumpable nor made of the host's file (`exe_seal`), in its cgroups, and with no descriptors but
//! those that are meant for it, the sockets of the conversation and the console's
//! (CVE-2016-9962, CVE-2024-21626). The configuration is the copy that `create` made; the bundle
//! is not looked at.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::Pid;

use sys::process::{CLONE_PARENT, CloneArgs, Cloned, clone3, setns_raw};
use sys::root::Root;
use sys::{Dir, Errno, SyscallError};

use crate::bundle;
use crate::cgroup::systemd::Existing;
use crate::cgroup::{Cgroup, Hierarchies};
use crate::console_socket::{self, Console};
use crate::container::{Container, Status};
use crate::fault::{Code, Fault};
use crate::foreground::{self, Signals};
use crate::host::Host;
use crate::init::{self, Stdio, console, credentials, labels::Labels, program};
use crate::launch::{join_in_passes, set_oom_score, write_pid_file};
use crate::notify_listener::{self, Filtered};
use crate::plan::{self, Execution, Kind, Process};
use crate::procfs::{HostProc, Stat};
use crate::seccomp::Program;
use crate::state_dir::Record;
use crate::sync::{Channel, FromInit, ToInit};
use crate::timeline::{self, Lane};

/// What `exec` is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The process, as config.json would have it.
    pub process: oci::Process,
    /// The JSON pointer under which it was given.
    pub pointer: &'static str,
    /// Whether nobody here waits for it.
    pub detach: bool,
    /// Where the terminal's master is sent.
    pub console_socket: Option<PathBuf>,
    /// Where a descriptor of the process is sent.
    pub pidfd_socket: Option<PathBuf>,
    /// File for its pid.
    pub pid_file: Option<PathBuf>,
    /// Descriptors from 3 on that it inherits.
    pub preserved_fds: i32,
    /// Whether it may be started in a paused container, where it waits.
    pub ignore_paused: bool,
    /// Cgroups below the container's own that it joins: `[CONTROLLER,..:]PATH`.
    pub cgroups: Vec<String>,
}

/// Runs the process; its exit status in the foreground, 0 when detached.
pub fn run(container: &Container, request: &Request) -> Result<u8> {
    check_status(container, request)?;
    let record = container.record()?;
    let host = Host::look_with(container.state.root());
    let (spec, filter) = configuration(container, &host)?;
    let planning = timeline::step("plan");
    let mut wanted = request.process.clone();
    inherit_confinement(&mut wanted, spec.process().as_ref());
    let mut process = Process::plan(&wanted, request.pointer)?;
    process.keep_groups = plan::keeps_groups(&spec);
    plan::check_apparmor(&process, &host, request.pointer)?;
    let selinux = wanted
        .selinux_label()
        .clone()
        .filter(|label| !label.is_empty());
    let cgroup = container.cgroup()?.below(&request.cgroups)?;
    let mut terminal =
        console_socket::for_process(&process, request.console_socket.as_deref(), !request.detach)?;
    let signals = (!request.detach).then(Signals::block).transpose()?;

    let init = container.init()?;
    let pid = record.init_process_pid;
    let joined = Joined::open(pid, record.no_pivot)?;
    let (ours, theirs) = Channel::pair()?;
    drop(planning);
    let guest = Guest {
        process: &process,
        filter: filter.as_ref(),
        selinux,
        channel: theirs,
        stage_channel: None,
        is_placed_later: false,
        cgroup: joined_cgroup(&cgroup, request, pid)?,
        cgroup_files: cgroup.join_files()?,
        init,
        joined,
        console: terminal.for_init(),
        preserved_fds: request.preserved_fds,
        stdio: if request.detach {
            Stdio::Given
        } else {
            Stdio::Shared
        },
        keyring: keyring_of(record)?,
        execution: Execution::plan(spec.linux().as_ref())?,
    };
    let agent = |guest: &Filtered<'_>| {
        let agent = plan::agent_of(&spec).context("a listener without listenerPath")?;
        let state = record
            .hook_state()
            .json("running", record.init_process_pid)?;
        notify_listener::hand_over(&agent, guest, &state)
    };
    let (pid, pidfd) = spawn(guest, record.unit(), &ours)?;
    let group = record.intel_rdt.as_ref();
    let admitted = group.map_or(Ok(()), |group| group.admit(pid));
    let started =
        admitted.and_then(|()| start(&ours, pid, &pidfd, &process, request, &mut terminal, agent));
    match started {
        Ok(master) => match signals {
            Some(signals) => foreground::supervise(pid, &pidfd, &signals, master, None),
            None => Ok(0),
        },
        Err(error) => {
            end(pid, &pidfd);
            Err(error)
        }
    }
}

/// Ends a process that nobody knows of yet; it may have ended by itself.
fn end(pid: Pid, pidfd: &OwnedFd) {
    let _ = sys::process::pidfd_send_signal(pidfd, nix::libc::SIGKILL);
    let _ = sys::process::reap(pid, pidfd, Duration::from_secs(5));
}

/// The session keyring that the container has of its own.
fn keyring_of(record: &Record) -> Result<Option<CString>> {
    let name = record.session_keyring.then_some(&record.id);
    name.map(|id| credentials::keyring_name(id)).transpose()
}

/// The configuration as it was at create, and the program of its filter.
fn configuration(container: &Container, host: &Host) -> Result<(oci::Spec, Option<Program>)> {
    let text = container.state.config()?;
    let (spec, known) = bundle::parse_but_filter(&text, &host.programs)?;
    let filter = match known {
        None => plan::compile(&spec, &text, &host.programs)?,
        known => known,
    };
    Ok((spec, filter))
}

/// A process that says nothing of its confinement gets the container's, as runc has it: it must
/// not end up with less of it.
fn inherit_confinement(process: &mut oci::Process, own: Option<&oci::Process>) {
    let Some(own) = own else { return };
    if process.capabilities().is_none() {
        process.set_capabilities(own.capabilities().clone());
    }
    if process.apparmor_profile().is_none() {
        process.set_apparmor_profile(own.apparmor_profile().clone());
    }
    if process.selinux_label().is_none() {
        process.set_selinux_label(own.selinux_label().clone());
    }
}

fn check_status(container: &Container, request: &Request) -> Result<()> {
    match container.status()? {
        Status::Created | Status::Running => Ok(()),
        Status::Paused if request.ignore_paused => Ok(()),
        Status::Paused => {
            let text = "cannot exec in a paused container (use --ignore-paused to override)";
            bail!(Fault::new(Code::Paused, text))
        }
        Status::Stopped => bail!(Fault::new(
            Code::NotRunning,
            "cannot exec in a stopped container"
        )),
        Status::Creating => bail!(Fault::new(
            Code::Busy,
            "cannot exec in a container that is being created"
        )),
    }
}

/// Waits until the process has executed its program, answering it on the way.
fn start(
    channel: &Channel,
    pid: Pid,
    pidfd: &OwnedFd,
    process: &Process,
    request: &Request,
    terminal: &mut Console,
    agent: impl FnOnce(&Filtered<'_>) -> Result<()>,
) -> Result<Option<OwnedFd>> {
    let _step = timeline::step("answer the process");
    if let Some(score) = process.oom_score_adj {
        set_oom_score(pid, score, &format!("{}/oomScoreAdj", request.pointer))?;
    }
    loop {
        match channel.hear()? {
            Some(FromInit::Limits) => {
                process
                    .rlimits
                    .iter()
                    .try_for_each(|limit| credentials::set_limit(pid, limit))?;
                channel.answer(&ToInit::LimitsSet, &[])?;
            }
            Some(FromInit::Created) => break,
            Some(FromInit::Failed(reason)) => bail!(reason),
            Some(other) => bail!("the process said {other:?} out of turn"),
            None => bail!(Fault::new(
                Code::Killed,
                "the process died before its program ran (killed by a limit of the container?)"
            )),
        }
    }
    let master = terminal.receive_master()?;
    if let Some(path) = &request.pidfd_socket {
        console_socket::send_pidfd(path, pidfd, "setns")?;
    }
    if let Some(path) = &request.pid_file {
        write_pid_file(path, pid.as_raw())?;
    }
    channel.answer(&ToInit::Start, &[])?;
    let mut heard = channel.hear()?;
    if heard == Some(FromInit::Listener) {
        agent(&Filtered {
            channel,
            pid,
            pidfd,
        })?;
        heard = channel.hear()?;
    }
    match heard {
        None if Stat::never_executed(pid.as_raw()) => {
            bail!(Fault::new(
                Code::Killed,
                "the process died in execve (killed by its seccomp filter, or by a limit?)"
            ))
        }
        None => Ok(master),
        Some(FromInit::Failed(reason)) => bail!(reason),
        Some(other) => bail!("the process said {other:?} after its start"),
    }
}

/// What of init is joined, opened while this process still sees the host.
struct Joined {
    /// Init, by number.
    pid: i32,
    /// `CLONE_NEW*` bits of the namespaces that init does not share with us, but for pid.
    flags: u64,
    /// Init's pid namespace, if it is another.
    pids: Option<OwnedFd>,
    /// Init's cgroup namespace, if it is another.
    cgroups: Option<OwnedFd>,
    /// Init's root, if it is not that of its mount namespace.
    root: Option<OwnedFd>,
}

impl Joined {
    fn has(&self, kind: Kind) -> bool {
        self.flags & kind.clone_flag() != 0
    }

    fn open(pid: i32, no_pivot: bool) -> Result<Self> {
        let mut joined = Self {
            pid,
            flags: 0,
            pids: None,
            cgroups: None,
            root: None,
        };
        for kind in Kind::ALL {
            let path = |of: &str| format!("/proc/{of}/ns/{}", kind.proc_name());
            let (theirs, ours) = (path(&pid.to_string()), path("self"));
            let inode = |path: &str| {
                fs::metadata(path)
                    .map(|m| m.ino())
                    .with_context(|| format!("stat({path:?})"))
            };
            // A kernel without this kind of namespace has no file for it. Any other error is none of
            // the kernel's, and to go on would leave the process in the host's namespace.
            match fs::symlink_metadata(&ours) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                other => other.with_context(|| format!("stat({ours:?})"))?,
            };
            if inode(&theirs)? == inode(&ours)? {
                continue;
            }
            match kind {
                Kind::Pid | Kind::Cgroup => {
                    let context = || format!("open({theirs:?})");
                    let file = Some(File::open(&theirs).with_context(context)?.into());
                    match kind {
                        Kind::Pid => joined.pids = file,
                        _ => joined.cgroups = file,
                    }
                }
                _ => joined.flags |= kind.clone_flag(),
            }
        }
        if no_pivot {
            let path = format!("/proc/{pid}/root");
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            joined.root =
                Some(open(Path::new(&path), flags, Mode::empty()).context("open init's root")?);
        }
        Ok(joined)
    }
}

/// Clones the process by a stage in between, which joins everything while nobody in the
/// container can see it: a process in the container's pid namespace that still stands on the
/// host's root would hand that root, `/proc/<pid>/root`, to whoever may trace it.
fn spawn(
    mut guest: Guest<'_>,
    unit: Option<Existing<'_>>,
    channel: &Channel,
) -> Result<(Pid, OwnedFd)> {
    // Asked after: what was opened by number belongs to the process that was checked.
    sys::process::pidfd_send_signal(&guest.init, 0).context("container not running")?;
    let _step = timeline::step("clone the process through a stage");
    if nix::unistd::geteuid().is_root() {
        // Before the first clone, which inherits it. Without root the runtime itself could not
        // write to its child's /proc files.
        nix::sys::prctl::set_dumpable(false).context("prctl(PR_SET_DUMPABLE, 0)")?;
    }
    if let Some(born) = guest.spawn(unit)? {
        return Ok(born);
    }
    // There is no room for a stage and a process, but a version 1 cgroup takes in whoever is
    // moved there, however full it is: one may look at a container that has reached its limit.
    guest.is_placed_later = true;
    let Some((pid, pidfd)) = guest.spawn(unit)? else {
        bail!("clone the process: EAGAIN (too many processes of this user, or of this machine?)")
    };
    let placed = guest.place(pid);
    if let Err(error) = placed.and_then(|()| channel.answer(&ToInit::Placed, &[])) {
        let _ = sys::process::pidfd_send_signal(&pidfd, nix::libc::SIGKILL);
        let _ = waitpid(pid, None);
        return Err(error);
    }
    Ok((pid, pidfd))
}

/// The process that the stage says it has cloned. In its first moment that one has the stage's
/// socket, too, so what is said is believed of a child alone.
fn child(pid: Pid) -> Result<(Pid, OwnedFd)> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::Pid(pid), flags).with_context(|| format!("{pid} is no child of the runtime"))?;
    // Our child, not yet reaped: the number is still its own.
    Ok((pid, sys::process::pidfd_open(pid)?))
}

fn is_denied(error: &anyhow::Error) -> bool {
    matches!(errno_of(error), Some(Errno::EACCES | Errno::EPERM))
}

fn errno_of(error: &anyhow::Error) -> Option<Errno> {
    error
        .downcast_ref::<SyscallError>()
        .map(SyscallError::errno)
}

fn clone_into(flags: u64, cgroup: Option<&Dir>) -> Result<Cloned> {
    Ok(clone3(CloneArgs {
        flags,
        cgroup: cgroup.map(AsFd::as_fd),
    })?)
}

/// The version 2 cgroup that the process will be in: what was asked for, or where there is room.
fn joined_cgroup(cgroup: &Cgroup, request: &Request, init: i32) -> Result<Option<Dir>> {
    match cgroup.directory()? {
        Some(own) if request.cgroups.is_empty() => Ok(Some(inhabitable(own, init)?)),
        other => Ok(other),
    }
}

/// The container's `own` cgroup, or that of init if there can be no processes above it: version 2
/// has none in a cgroup that passes controllers on (cgroups(7), "no internal processes"), and an
/// init such as systemd's makes cgroups and moves into one. Looked at while this process still
/// sees the host's /proc.
pub fn inhabitable(own: Dir, init: i32) -> Result<Dir> {
    const ENOUGH: u64 = 4096;
    match own.read("cgroup.subtree_control", ENOUGH) {
        Ok(controllers) if controllers.trim_ascii().is_empty() => Ok(own),
        Ok(_) => cgroup_of_init(init, &own),
        Err(error) => Err(error.into()),
    }
}

/// The version 2 cgroup that init is in, which must be below the container's `own`.
fn cgroup_of_init(pid: i32, own: &Dir) -> Result<Dir> {
    let path = format!("/proc/{pid}/cgroup");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path:?}"))?;
    let below = text
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .context("init has no cgroup")?;
    let mount = Hierarchies::discover()?
        .v2
        .context("no cgroup2 is mounted")?
        .mount;
    let current = mount.join(below);
    if below.split('/').any(|part| part == "..") || !current.starts_with(own.path()) {
        bail!("init is in {current:?}, outside of the container's cgroup");
    }
    Ok(Dir::open(current)?)
}

/// The clone, on its way into the container.
struct Guest<'a> {
    process: &'a Process,
    filter: Option<&'a Program>,
    selinux: Option<String>,
    channel: Channel,
    stage_channel: Option<Channel>,
    /// Whether the runtime takes the process to its version 1 cgroups, which has to be waited for.
    is_placed_later: bool,
    cgroup: Option<Dir>,
    cgroup_files: Vec<OwnedFd>,
    init: OwnedFd,
    joined: Joined,
    console: Option<OwnedFd>,
    preserved_fds: i32,
    stdio: Stdio,
    keyring: Option<CString>,
    execution: Execution,
}

impl Guest<'_> {
    /// Clones the stage, and answers whom that has cloned; `None` if a version 1 cgroup is full.
    fn spawn(&mut self, unit: Option<Existing<'_>>) -> Result<Option<(Pid, OwnedFd)>> {
        // A conversation of its own: on the guest's, the guest may be faster than the stage.
        let (ours, theirs) = Channel::pair()?;
        self.stage_channel = Some(theirs);
        let mut to_be_taken = None;
        let mut born = clone_into(0, self.cgroup.as_ref());
        if let Some(user_unit) =
            unit.filter(|unit| unit.user && born.as_ref().is_err_and(is_denied))
        {
            // The way from our session's slice into that of the user's manager leads through
            // cgroups of root; systemd may go it.
            to_be_taken = Some(user_unit);
            born = clone_into(0, None);
        }
        let born = born.context("clone the stage")?;
        let Cloned::Parent { pid: stage, .. } = born else {
            self.stage()
        };
        self.stage_channel = None;
        let heard = ours.hear();
        waitpid(stage, None).context("wait for the stage")?;
        match heard? {
            Some(FromInit::Spawned(pid)) => {
                let (pid, pidfd) = child(Pid::from_raw(pid))?;
                if let Some(Err(error)) = to_be_taken.map(|unit| unit.attach(pid)) {
                    let _ = sys::process::pidfd_send_signal(&pidfd, nix::libc::SIGKILL);
                    let _ = waitpid(pid, None);
                    return Err(error).context("join the container's cgroup");
                }
                Ok(Some((pid, pidfd)))
            }
            Some(FromInit::Full) => Ok(None),
            Some(FromInit::Failed(reason)) => bail!(reason),
            other => bail!("the stage said {other:?}"),
        }
    }

    /// Moves the process from outside. This waits for a lock of the whole machine.
    fn place(&mut self, pid: Pid) -> Result<()> {
        for file in std::mem::take(&mut self.cgroup_files) {
            File::from(file)
                .write_all(pid.to_string().as_bytes())
                .with_context(|| format!("join a cgroup: write(tasks, \"{pid}\")"))?;
        }
        Ok(())
    }

    /// The stage: joins the container and clones the guest into its pid namespace, as a sibling.
    fn stage(&mut self) -> ! {
        timeline::enter(Lane::Stage);
        let may_be_full = !self.cgroup_files.is_empty() && !self.is_placed_later;
        let message = match self.join_and_clone() {
            Ok(Cloned::Child) => self.run(),
            Ok(Cloned::Parent { pid, .. }) => FromInit::Spawned(pid.as_raw()),
            Err(error) if may_be_full && errno_of(&error) == Some(Errno::EAGAIN) => FromInit::Full,
            Err(error) => FromInit::Failed(Fault::of(&error)),
        };
        if let Some(channel) = &self.stage_channel {
            // If the runtime is gone, the guest will see it.
            let _ = channel.tell(&message);
        }
        sys::process::exit_now(0)
    }

    fn join_and_clone(&mut self) -> Result<Cloned> {
        sys::process::close_inherited(&self.descriptors())?;
        sys::process::reset_signals()?;
        // A clone inherits what the next execve shall wear, and after the join no procfs of the
        // host is in reach.
        Labels::open_for(&HostProc::open()?, self.process, self.selinux.as_deref())?.apply()?;
        if let Some(mask) = &self.process.exec_cpu_affinity.0 {
            sys::process::set_cpu_affinity(mask)?;
        }
        // A clone inherits cgroups as well, and nothing that it could be followed by into them.
        let step = timeline::step("join cgroups and namespaces");
        if !self.is_placed_later {
            init::join_cgroups(std::mem::take(&mut self.cgroup_files))?;
        }
        self.join()?;
        drop(step);
        if let Some(name) = &self.keyring {
            credentials::join_keyring(name, self.joined.has(Kind::User))?;
        }
        let socket = |channel: &Channel| channel.socket().as_raw_fd();
        let mut kept = self.descriptors_inside();
        kept.extend(self.stage_channel.as_ref().map(socket));
        sys::process::close_inherited(&kept)?;
        let _step = timeline::step("clone the process");
        clone_into(CLONE_PARENT, None).context("clone the process")
    }

    fn run(&mut self) -> ! {
        let error = match self.live() {
            Ok(never) => match never {},
            Err(error) => error,
        };
        // If the runtime is gone, nobody is left to tell.
        let _ = self.channel.tell(&FromInit::Failed(Fault::of(&error)));
        sys::process::exit_now(255)
    }

    fn live(&mut self) -> Result<Infallible> {
        timeline::enter(Lane::Init);
        // The stage's socket goes as well.
        sys::process::close_inherited(&self.descriptors_inside())?;
        if self.is_placed_later {
            self.channel.expect(&ToInit::Placed)?;
        }
        let (initial, last) = &self.process.exec_cpu_affinity;
        match last {
            Some(mask) => sys::process::set_cpu_affinity(mask)?,
            // As in init: the cpuset decides.
            None if initial.is_none() => drop(sys::process::reset_cpu_affinity()),
            None => {}
        }
        nix::unistd::setsid().context("setsid()")?;
        console::replace_null_streams(&own_root()?)?;
        if self.process.terminal {
            console::attach_inside(self.process, self.console.as_ref())?;
            self.console = None;
        }
        let step = timeline::step("user, capabilities, limits");
        init::set_execution(&self.execution)?;
        init::set_attributes(self.process)?;
        let ask = || {
            self.channel
                .ask(&FromInit::Limits, &ToInit::LimitsSet)
                .map(drop)
        };
        credentials::set_limits(&self.process.rlimits, self.joined.has(Kind::User), ask)?;
        let ready = credentials::prepare(self.process, self.stdio, self.filter)?;
        drop(step);
        let step = timeline::step("find the program");
        let program = program::find(self.process)?;
        drop(step);
        self.channel.ask(&FromInit::Created, &ToInit::Start)?;
        program::keep_only(self.preserved_fds)?;
        ready.assume(&self.channel)?;
        let _step = timeline::step("execve");
        Err(program.execute())
    }

    /// The same before Linux 5.8, whose setns(2) takes no process.
    fn join_one_by_one(&self) -> Result<()> {
        let mut open = Vec::new();
        for kind in Kind::ALL.into_iter().filter(|&kind| self.joined.has(kind)) {
            let path = format!("/proc/{}/ns/{}", self.joined.pid, kind.proc_name());
            let file = File::open(&path).with_context(|| format!("open({path:?})"))?;
            open.push((kind, OwnedFd::from(file)));
        }
        // Asked after: what was opened by number belongs to the process that was checked.
        sys::process::pidfd_send_signal(&self.init, 0).context("container not running")?;
        join_in_passes(&open)
    }

    /// The numbers of all that the stage goes on with.
    fn descriptors(&self) -> Vec<RawFd> {
        let owned = self.cgroup_files.iter().chain([&self.init]);
        let owned = owned
            .chain(&self.joined.root)
            .chain(&self.joined.pids)
            .chain(&self.joined.cgroups)
            .map(AsRawFd::as_raw_fd);
        let owned = owned.chain(
            self.stage_channel
                .iter()
                .map(|stage| stage.socket().as_raw_fd()),
        );
        owned.chain(self.descriptors_inside()).collect()
    }

    /// The numbers of what the guest goes on with, where the container can see it.
    fn descriptors_inside(&self) -> Vec<RawFd> {
        let owned = self
            .console
            .iter()
            .chain([self.channel.socket()])
            .map(AsRawFd::as_raw_fd);
        owned.chain(3..3 + self.preserved_fds).collect()
    }

    fn join(&self) -> Result<()> {
        // For children only: the stage itself stays out of sight. Whoever is root only in the
        // container's user namespace may do this from there alone.
        let join = |pids: &OwnedFd| setns_raw(pids, Kind::Pid.clone_flag());
        let later = self.joined.pids.as_ref().filter(|pids| join(pids).is_err());
        if self.joined.flags != 0 {
            // All at once, in the order that the kernel knows to be right (setns(2), Linux 5.8).
            match setns_raw(&self.init, self.joined.flags) {
                Err(error) if matches!(error.errno(), Errno::EINVAL | Errno::EBADF) => {
                    self.join_one_by_one()?;
                }
                other => other.context("join init's namespaces")?,
            }
        }
        if let Some(pids) = later {
            join(pids).context("join init's pid namespace")?;
        }
        if let Some(root) = &self.joined.root {
            nix::unistd::fchdir(root).context("fchdir(init's root)")?;
            nix::unistd::chroot(".").context("chroot(\".\")")?;
        }
        if self.joined.has(Kind::User) {
            // Unmapped root: whoever the process is to be is set later all the same.
            let _ = sys::credentials::set_gid(0);
            let _ = sys::credentials::set_uid(0);
        }
        if let Some(namespace) = &self.joined.cgroups {
            setns_raw(namespace, Kind::Cgroup.clone_flag()).context("join the cgroup namespace")?;
        }
        Ok(())
    }
}

fn own_root() -> Result<Root> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(Root::new(
        open("/", flags, Mode::empty()).context("open(\"/\")")?,
    ))
}
