//! `mounts add` and `mounts remove`: mounts of a container that lives, as crun has it.
//!
//! A child joins the container's user and mount namespaces and works beneath its root by
//! descriptor, as init does; sources are opened out here, where the host still is. The child
//! stays outside of the container's pid namespace and cannot be traced.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use sys::process::{CloneArgs, Cloned, clone3};
use sys::root::Root;
use sys::{Dir, Errno};

use crate::cgroup::systemd::Existing;
use crate::cgroup_view::View;
use crate::container::{Container, Status};
use crate::container_id::ContainerId;
use crate::exec::inhabitable;
use crate::fault::{Code, Fault};
use crate::init::mounts::{Around, Mounted, Sources, live_place};
use crate::init::rootfs::{Rootfs, open_path, open_place};
use crate::launch::{IdNamespaces, join_in_passes};
use crate::plan::mounts::{self, What};
use crate::plan::{IdMaps, Kind, MountStep, Namespaces, Refusal};
use crate::procfs::HostProc;
use crate::state_dir::StateRoot;
use crate::sync::{Channel, FromInit, ToInit};

/// What is done with the mounts that a file lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// They are made.
    Add,
    /// What is mounted at their destinations is taken away.
    Remove,
}

/// Makes or takes away the mounts that `file` lists, in the container `id`: all or none.
pub fn run(root: &StateRoot, id: &str, change: Change, file: &Path) -> Result<()> {
    crate::exe_seal::run_unwritable()?;
    let container = Container::open(root, &ContainerId::parse(id)?)?;
    let _lock = container.state.lock()?;
    perform(&container, change, file).with_context(|| format!("container {id:?}"))
}

fn perform(container: &Container, change: Change, file: &Path) -> Result<()> {
    if !matches!(
        container.status()?,
        Status::Created | Status::Running | Status::Paused
    ) {
        bail!(Fault::new(Code::NotRunning, "container not running"));
    }
    let record = container.record()?;
    let spec = container.spec()?;
    let mut namespaces = Namespaces::plan(spec.linux().as_ref())?;
    if !nix::unistd::geteuid().is_root() {
        namespaces.ensure_user();
    }
    if !namespaces.is_private(Kind::Mount) {
        bail!("its mounts are the host's: it has no mount namespace of its own");
    }
    let maps = IdMaps::listed(spec.linux().as_ref());
    let ids = mounts::Ids {
        maps: (!maps.uids.is_empty()).then_some(&maps),
        in_namespace: namespaces.is_private(Kind::User),
    };
    let steps = read(file, change, &record.bundle, ids)?;
    if change == Change::Add {
        steps.iter().try_for_each(|step| check(step, &namespaces))?;
    }
    let init = container.init()?;
    let label = spec.linux().as_ref().and_then(|l| l.mount_label().clone());
    let (ours, theirs) = Channel::pair()?;
    let cgroups = match change {
        Change::Add => Some(Cgroups::open(container, record.init_process_pid)?),
        // Takes nothing, and a paused cgroup would hold it.
        Change::Remove => None,
    };
    let worker = Worker {
        cgroups,
        unit: record.unit(),
        inside: Inside::open(record.init_process_pid)?,
        steps: &steps,
        change,
        channel: theirs,
        namespaces: &namespaces,
        label: label.filter(|label| !label.is_empty()),
    };
    // Asked after: what was opened by number belongs to the process that was checked.
    sys::process::pidfd_send_signal(&init, 0).context("container not running")?;
    let pid = worker.spawn(&ours)?;
    let outcome = serve(&ours, &steps, Pid::from_raw(record.init_process_pid));
    drop(ours);
    waitpid(pid, None).context("wait for the child in its mount namespace")?;
    outcome
}

fn read(
    file: &Path,
    change: Change,
    bundle: &Path,
    ids: mounts::Ids<'_>,
) -> Result<Vec<MountStep>> {
    let text = std::fs::read(file).with_context(|| format!("open {file:?}"))?;
    let listed: Vec<oci::Mount> =
        oci::from_slice(&text).map_err(|problems| anyhow!("{file:?} {problems}"))?;
    Ok(match change {
        Change::Add => mounts::plan(&listed, "", bundle, ids)?,
        Change::Remove => mounts::places(&listed)?,
    })
}

/// Refuses what only init can mount.
fn check(step: &MountStep, namespaces: &Namespaces) -> Result<(), Refusal> {
    let refuse = |reason: &str| Err(Refusal::new(&step.pointer, reason));
    match &step.what {
        What::Cgroup => refuse("cgroups are mounted only when a container is created"),
        What::Symlink(_) => refuse("copy-symlink makes no mount that could be taken away"),
        What::Filesystem(filesystem)
            if filesystem.fs_type == "proc" && namespaces.is_private(Kind::Pid) =>
        {
            refuse("a procfs of its own is mounted only when a container is created")
        }
        _ => Ok(()),
    }
}

/// Does for the child what needs the host, until it is done.
fn serve(channel: &Channel, steps: &[MountStep], init: Pid) -> Result<()> {
    let mut id_namespaces = IdNamespaces::default();
    loop {
        let (message, fds) = channel.hear_all()?.unzip();
        let tree = fds.and_then(|fds| fds.into_iter().next());
        let answer = match message {
            Some(FromInit::OpenMount(number)) => source(steps, number).map(Some),
            Some(FromInit::MapMount(index)) => {
                let mapping = steps.get(index).and_then(|step| step.id_map.as_ref());
                let (tree, mapping) = tree.zip(mapping).context("no mount whose ids are mapped")?;
                id_namespaces.map(&tree, mapping, init).map(|()| None)
            }
            Some(FromInit::Created) => return Ok(()),
            Some(FromInit::Failed(reason)) => bail!(reason),
            Some(other) => bail!("the child said {other:?} out of turn"),
            None => bail!("the child in its mount namespace died"),
        };
        match answer {
            Ok(Some(tree)) => channel.answer(&ToInit::Opened, &[&tree])?,
            Ok(None) => channel.answer(&ToInit::Mapped, &[])?,
            Err(error) => channel.answer(&ToInit::Refused(format!("{error:#}")), &[])?,
        }
    }
}

fn source(steps: &[MountStep], number: usize) -> Result<OwnedFd> {
    let step = number.checked_sub(1).and_then(|index| steps.get(index));
    match step.map(|step| &step.what) {
        Some(What::Bind {
            source,
            reach,
            link,
        }) => Ok(sys::mount::open_tree_clone(
            open_place(source, *link)?,
            *reach,
        )?),
        _ => bail!("mount {number} is no bind mount"),
    }
}

/// What of the container the child joins, opened while the host's `/proc` is there.
struct Inside {
    namespaces: Vec<(Kind, OwnedFd)>,
    root: OwnedFd,
    proc: HostProc,
}

impl Inside {
    fn open(init: i32) -> Result<Self> {
        let mut namespaces = Vec::new();
        for kind in [Kind::User, Kind::Ipc, Kind::Uts, Kind::Network, Kind::Mount] {
            let path = |of: &str| format!("/proc/{of}/ns/{}", kind.proc_name());
            let (theirs, ours) = (path(&init.to_string()), path("self"));
            // One that is shared needs no joining, and a user namespace refuses it.
            if std::fs::read_link(&theirs).ok() != std::fs::read_link(&ours).ok() {
                let file = File::open(&theirs).with_context(|| format!("open({theirs:?})"))?;
                namespaces.push((kind, file.into()));
            }
        }
        Ok(Self {
            namespaces,
            root: open_path(Path::new(&format!("/proc/{init}/root")))?,
            proc: HostProc::open()?,
        })
    }
}

/// The container's cgroups, which answer for what is filled and opened on its behalf.
struct Cgroups {
    /// Of version 2, to be born in.
    unified: Option<Dir>,
    /// Of version 1, to be joined.
    files: Vec<OwnedFd>,
}

impl Cgroups {
    fn open(container: &Container, init: i32) -> Result<Self> {
        if container.status()? == Status::Paused {
            let text = "cannot mount in a paused container: resume it first";
            bail!(Fault::new(Code::Paused, text))
        }
        let cgroup = container.cgroup()?;
        let own = cgroup.directory()?;
        Ok(Self {
            unified: own.map(|own| inhabitable(own, init)).transpose()?,
            files: cgroup.join_files()?,
        })
    }
}

struct Worker<'a> {
    cgroups: Option<Cgroups>,
    unit: Option<Existing<'a>>,
    inside: Inside,
    steps: &'a [MountStep],
    change: Change,
    channel: Channel,
    namespaces: &'a Namespaces,
    label: Option<String>,
}

impl Worker<'_> {
    fn spawn(mut self, ours: &Channel) -> Result<Pid> {
        if nix::unistd::geteuid().is_root() {
            // Before the clone, which inherits it: it will be in a user namespace of others.
            nix::sys::prctl::set_dumpable(false).context("prctl(PR_SET_DUMPABLE, 0)")?;
        }
        let unified = self.cgroups.as_ref().and_then(|all| all.unified.as_ref());
        let into = |cgroup| clone3(CloneArgs { flags: 0, cgroup });
        let mut born = into(unified.map(AsFd::as_fd));
        let denied =
            |error: &sys::SyscallError| matches!(error.errno(), Errno::EACCES | Errno::EPERM);
        // As for `exec`: the user's manager may go where we may not.
        let unit = self.unit.take();
        let unit = unit.filter(|unit| unit.user && born.as_ref().is_err_and(denied));
        if unit.is_some() {
            born = into(None);
        }
        let born = born.context("clone a child for the mounts")?;
        let Cloned::Parent { pid, .. } = born else {
            let message = match self.work() {
                Ok(()) => FromInit::Created,
                Err(error) => FromInit::Failed(Fault::of(&error)),
            };
            // If the runtime is gone, nobody is left to tell.
            let _ = self.channel.tell(&message);
            sys::process::exit_now(0)
        };
        let placed = unit.map_or(Ok(()), |unit| unit.attach(pid));
        let answer = match &placed {
            Ok(()) => ToInit::Placed,
            Err(error) => ToInit::Refused(format!("join the container's cgroup: {error:#}")),
        };
        // If it is gone, that is heard of by whoever listens to it.
        let _ = ours.answer(&answer, &[]);
        Ok(pid)
    }

    fn work(&mut self) -> Result<()> {
        // Waits for its cgroup, and fails with the reason if it cannot be in it.
        self.channel.expect(&ToInit::Placed)?;
        if let Some(cgroups) = self.cgroups.take() {
            crate::init::join_cgroups(cgroups.files)?;
        }
        // The caller's would take bits away from what is made and copied.
        umask(Mode::empty());
        join_in_passes(&self.inside.namespaces)?;
        let root = self
            .inside
            .root
            .try_clone()
            .context("fcntl(F_DUPFD_CLOEXEC)")?;
        let root = Rootfs::entered(Root::new(root));
        match self.change {
            Change::Add => self.add(&root),
            Change::Remove => self.remove(&root),
        }
    }

    /// Makes all of them; what was made before one that fails is taken away again.
    fn add(&self, root: &Rootfs) -> Result<()> {
        let around = Around {
            root,
            channel: &self.channel,
            cgroup_view: &View::None,
            namespaces: self.namespaces,
            mount_label: self.label.as_deref(),
            proc: &self.inside.proc,
            sources: Sources::Runtime,
        };
        let mut mounted = Mounted::default();
        let mut steps = self.steps.iter().enumerate();
        let made = steps
            .try_for_each(|(index, step)| around.perform(index, step, &mut mounted))
            .and_then(|()| mounted.finish());
        if made.is_err() {
            for mount in mounted.attached.iter().rev() {
                // The error that led here is the one to report.
                let _ = self.inside.proc.detach(mount);
            }
        }
        made
    }

    /// Detaches what is mounted at the destinations: all of them are looked up before the first
    /// goes, and the last goes first, since a mount takes along what is mounted in it.
    fn remove(&self, root: &Rootfs) -> Result<()> {
        let places = self.steps.iter().map(|step| live_place(root, step));
        let places: Vec<OwnedFd> = places.collect::<Result<_>>()?;
        for (step, place) in self.steps.iter().zip(&places).rev() {
            self.detach(step, place)?;
        }
        Ok(())
    }

    fn detach(&self, step: &MountStep, place: &OwnedFd) -> Result<()> {
        let destination = &step.destination;
        match self.inside.proc.detach(place) {
            Err(error) if error.errno() == Errno::EINVAL => {
                bail!(
                    "{}/destination: nothing is mounted at {destination:?}",
                    step.pointer
                )
            }
            other => other.with_context(|| format!("unmount {destination:?}")),
        }
    }
}
