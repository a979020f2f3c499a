//! `exec`: one more process in a running container.
//!
//! The process is a clone of this one that joins init's cgroups and namespaces. The container
//! can see it from then on, so it is neither dumpable nor made of the host's file (`exe_seal`),
//! and it holds no descriptor of the host (CVE-2016-9962, CVE-2024-21626). The configuration is
//! the copy that `create` made; the bundle is not looked at.

use std::convert::Infallible;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use oci_spec::runtime as oci;
use sys::process::{CloneArgs, Cloned, clone3, setns_raw};
use sys::root::Root;
use sys::{Dir, Errno};

use crate::cgroup::Hierarchies;
use crate::console_socket::{self, Console};
use crate::container::{Container, Status};
use crate::foreground::{self, Signals};
use crate::host::Host;
use crate::init::{self, Stdio, console, credentials, labels::Labels, program};
use crate::launch::write_pid_file;
use crate::plan::{self, Kind, Process};
use crate::procfs::{HostProc, Stat};
use crate::seccomp::Program;
use crate::sync::{Channel, FromInit, ToInit};

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
}

/// Runs the process; its exit status in the foreground, 0 when detached.
pub fn run(container: &Container, request: &Request) -> Result<u8> {
    check_status(container, request)?;
    let record = container.record()?;
    let spec = container.spec()?;
    let mut wanted = request.process.clone();
    inherit_confinement(&mut wanted, spec.process().as_ref());
    let process = Process::plan(&wanted, request.pointer)?;
    plan::check_apparmor(&process, &Host::look(), request.pointer)?;
    let filter = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.seccomp().as_ref());
    let filter = filter.map(plan::compile).transpose()?.flatten();
    let selinux = wanted
        .selinux_label()
        .clone()
        .filter(|label| !label.is_empty());
    let mut terminal =
        console_socket::for_process(&process, request.console_socket.as_deref(), !request.detach)?;
    let signals = (!request.detach).then(Signals::block).transpose()?;

    let init = container.init()?;
    let pid = record.init_process_pid;
    let joined = Joined::open(pid, record.no_pivot)?;
    let cgroup = container.cgroup()?;
    let (ours, theirs) = Channel::pair()?;
    let guest = Guest {
        process: &process,
        filter: filter.as_ref(),
        selinux,
        channel: theirs,
        cgroup_files: cgroup.join_files()?,
        init,
        init_pid: pid,
        joined,
        console: terminal.for_init(),
        preserved_fds: request.preserved_fds,
        stdio: if request.detach {
            Stdio::Given
        } else {
            Stdio::Shared
        },
        in_user_namespace: spec.linux().as_ref().is_some_and(has_user_namespace),
    };
    let directory = cgroup.directory()?;
    let (pid, pidfd) = spawn(guest, directory.as_ref())?;
    match start(&ours, pid, &pidfd, &process, request, &mut terminal) {
        Ok(master) => match signals {
            Some(signals) => foreground::supervise(pid, &pidfd, &signals, master),
            None => Ok(0),
        },
        Err(error) => {
            // It may have ended by itself.
            let _ = sys::process::pidfd_send_signal(&pidfd, nix::libc::SIGKILL);
            let _ = waitpid(pid, None);
            Err(error)
        }
    }
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
    match container.status() {
        Status::Created | Status::Running => Ok(()),
        Status::Paused if request.ignore_paused => Ok(()),
        Status::Paused => {
            bail!("cannot exec in a paused container (use --ignore-paused to override)")
        }
        Status::Stopped => bail!("cannot exec in a stopped container"),
        Status::Creating => bail!("cannot exec in a container that is being created"),
    }
}

fn has_user_namespace(linux: &oci::Linux) -> bool {
    let mut listed = linux.namespaces().iter().flatten();
    listed.any(|namespace| namespace.typ() == oci::LinuxNamespaceType::User)
}

/// Waits until the process has executed its program, answering it on the way.
fn start(
    channel: &Channel,
    pid: Pid,
    pidfd: &OwnedFd,
    process: &Process,
    request: &Request,
    terminal: &mut Console,
) -> Result<Option<OwnedFd>> {
    if let Some(score) = process.oom_score_adj {
        let path = format!("/proc/{pid}/oom_score_adj");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .with_context(|| format!("open({path:?})"))?;
        std::io::Write::write_all(&mut file, score.to_string().as_bytes()).with_context(|| {
            format!(
                "{}/oomScoreAdj: write({path:?}, \"{score}\")",
                request.pointer
            )
        })?;
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
            None => bail!(
                "the process died before its program ran (killed by a limit of the container?)"
            ),
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
    match channel.hear()? {
        None if Stat::never_executed(pid.as_raw()) => {
            bail!("the process died in execve (killed by its seccomp filter, or by a limit?)")
        }
        None => Ok(master),
        Some(FromInit::Failed(reason)) => bail!(reason),
        Some(other) => bail!("the process said {other:?} after its start"),
    }
}

/// What of init is joined, opened while this process still sees the host.
struct Joined {
    /// `CLONE_NEW*` bits of the namespaces that init does not share with us, but for pid.
    flags: u64,
    /// Init's pid namespace, if it is another.
    pids: Option<OwnedFd>,
    /// Init's root, if it is not that of its mount namespace.
    root: Option<OwnedFd>,
}

impl Joined {
    fn open(pid: i32, no_pivot: bool) -> Result<Self> {
        let mut joined = Self {
            flags: 0,
            pids: None,
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
            // A kernel without this kind of namespace has no file for it.
            if fs::symlink_metadata(&ours).is_err() || inode(&theirs)? == inode(&ours)? {
                continue;
            }
            match kind {
                Kind::Pid => {
                    joined.pids = Some(
                        File::open(&theirs)
                            .context("open init's pid namespace")?
                            .into(),
                    )
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

fn spawn(guest: Guest<'_>, cgroup: Option<&Dir>) -> Result<(Pid, OwnedFd)> {
    // The clone is in the container's pid namespace from its first moment, and nobody there may
    // read its memory or descriptors, not even with CAP_SYS_PTRACE over the container
    // (CVE-2016-9962). Without root the runtime itself could not write to its /proc files.
    if nix::unistd::geteuid().is_root() {
        nix::sys::prctl::set_dumpable(false).context("prctl(PR_SET_DUMPABLE, 0)")?;
    }
    if let Some(pids) = &guest.joined.pids {
        // For children only; this process stays where it is, and has no other child.
        setns_raw(pids, Kind::Pid.clone_flag()).context("join init's pid namespace")?;
    }
    let into = |cgroup: Option<&Dir>| {
        clone3(CloneArgs {
            flags: 0,
            cgroup: cgroup.map(AsFd::as_fd),
        })
    };
    let cloned = match (into(cgroup), cgroup) {
        // init has made cgroups of its own and moved into one, as systemd does: version 2 has
        // no processes above (cgroups(7), "no internal processes").
        (Err(error), Some(own)) if error.errno() == Errno::EBUSY => {
            into(Some(&cgroup_of_init(guest.init_pid, own)?))
        }
        (other, _) => other,
    };
    match cloned.context("clone the process")? {
        Cloned::Parent { pid, pidfd } => Ok((pid, pidfd)),
        Cloned::Child => guest.run(),
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
    cgroup_files: Vec<OwnedFd>,
    init: OwnedFd,
    init_pid: i32,
    joined: Joined,
    console: Option<OwnedFd>,
    preserved_fds: i32,
    stdio: Stdio,
    in_user_namespace: bool,
}

impl Guest<'_> {
    fn run(mut self) -> ! {
        let error = match self.live() {
            Ok(never) => match never {},
            Err(error) => error,
        };
        // If the runtime is gone, nobody is left to tell.
        let _ = self.channel.tell(&FromInit::Failed(format!("{error:#}")));
        sys::process::exit_now(255)
    }

    fn live(&mut self) -> Result<Infallible> {
        sys::process::close_inherited(&self.descriptors())?;
        sys::process::reset_signals()?;
        let (initial, last) = &self.process.exec_cpu_affinity;
        if let Some(mask) = initial {
            sys::process::set_cpu_affinity(mask)?;
        }
        init::join_cgroups(std::mem::take(&mut self.cgroup_files))?;
        match last {
            Some(mask) => sys::process::set_cpu_affinity(mask)?,
            // As in init: the cpuset decides.
            None if initial.is_none() => drop(sys::process::reset_cpu_affinity()),
            None => {}
        }
        let labels = Labels::open_for(&HostProc::open()?, self.process, self.selinux.as_deref())?;
        self.join()?;
        nix::unistd::setsid().context("setsid()")?;
        let root = own_root()?;
        console::replace_null_streams(&root)?;
        if self.process.terminal {
            console::attach_inside(self.process, self.console.as_ref())?;
        }
        init::set_attributes(self.process)?;
        let ask = || {
            self.channel
                .ask(&FromInit::Limits, &ToInit::LimitsSet)
                .map(drop)
        };
        credentials::set_limits(&self.process.rlimits, self.in_user_namespace, ask)?;
        let ready = credentials::prepare(self.process, self.stdio, self.filter)?;
        let program = program::find(self.process)?;
        self.channel.ask(&FromInit::Created, &ToInit::Start)?;
        program::keep_only(self.preserved_fds)?;
        labels.apply()?;
        ready.assume()?;
        Err(program.execute())
    }

    /// The numbers of all that it goes on with.
    fn descriptors(&self) -> Vec<RawFd> {
        let owned = self
            .cgroup_files
            .iter()
            .chain([&self.init, self.channel.socket()]);
        let owned = owned.chain(&self.console).chain(&self.joined.root);
        owned
            .map(AsRawFd::as_raw_fd)
            .chain(3..3 + self.preserved_fds)
            .collect()
    }

    fn join(&self) -> Result<()> {
        if self.joined.flags != 0 {
            // All at once, in the order that the kernel knows to be right (setns(2), Linux 5.8).
            setns_raw(&self.init, self.joined.flags).context("join init's namespaces")?;
        }
        if let Some(root) = &self.joined.root {
            nix::unistd::fchdir(root).context("fchdir(init's root)")?;
            nix::unistd::chroot(".").context("chroot(\".\")")?;
        }
        if self.joined.flags & Kind::User.clone_flag() != 0 {
            // Unmapped root: whoever the process is to be is set later all the same.
            let _ = sys::credentials::set_gid(0);
            let _ = sys::credentials::set_uid(0);
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
