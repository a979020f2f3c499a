//! Cloning init into its namespaces.
//!
//! New namespaces come with the one clone3. A namespace given by path is joined by
//!
//! - init itself, where its own privileges suffice: network, ipc, uts, cgroup, mount;
//! - this process, for its children only, and then left again: pid and time, into which a
//!   process cannot move itself; and all of the above if init gets a new user namespace, in
//!   which it has no power over namespaces of the host;
//! - a process in between, if the user namespace is given by path: there is no way back out of
//!   one. It clones init as its sibling (`CLONE_PARENT`), so that init is the child of this
//!   process in every case.

use std::fs::File;
use std::io::Write;
use std::os::fd::{BorrowedFd, OwnedFd};

use anyhow::{Context, Result, bail};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use sys::process::{
    CLONE_NEWTIME, CLONE_PARENT, CloneArgs, Cloned, clone3, setns_raw, unshare_raw,
};

use crate::fault::Fault;
use crate::init::{self, Inheritance};
use crate::plan::{Kind, Namespaces, Plan};
use crate::sync::{Channel, FromInit};

/// A process that was just born.
pub(super) struct Born {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
}

/// The namespaces given by path, opened before the first side effect.
#[derive(Debug)]
pub(super) struct OpenNamespaces {
    open: Vec<(Kind, OwnedFd)>,
}

impl OpenNamespaces {
    /// Opens them; a missing path or one of another type is refused.
    pub(super) fn open(namespaces: &Namespaces) -> Result<Self> {
        let open = namespaces.joins().iter().map(|join| {
            let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
            let context = || format!("config.json {}: {:?}", join.pointer, join.path);
            let fd = open(&join.path, flags, Mode::empty()).with_context(context)?;
            check_type(&fd, join.kind).with_context(context)?;
            Ok((join.kind, fd))
        });
        Ok(Self {
            open: open.collect::<Result<_>>()?,
        })
    }

    /// The one of this kind, to keep.
    pub(super) fn take(&mut self, kind: Kind) -> Option<OwnedFd> {
        let at = self.open.iter().position(|(open, _)| *open == kind)?;
        Some(self.open.swap_remove(at).1)
    }

    /// The one of this kind, to look at.
    pub(super) fn of_kind(&self, wanted: Kind) -> Option<&OwnedFd> {
        let found = self.open.iter().find(|(kind, _)| *kind == wanted);
        found.map(|(_, fd)| fd)
    }

    /// Those that init joins by itself.
    pub(super) fn take_for_init(&mut self, namespaces: &Namespaces) -> Vec<(Kind, OwnedFd)> {
        if namespaces.joined(Kind::User).is_some() || namespaces.makes(Kind::User) {
            return Vec::new();
        }
        let by_init = |(kind, _): &mut (Kind, OwnedFd)| !matches!(kind, Kind::Pid | Kind::Time);
        self.open.extract_if(.., by_init).collect()
    }
}

/// `NS_GET_NSTYPE` would need a request of its own; the link's text names the type as well.
fn check_type(fd: &OwnedFd, kind: Kind) -> Result<()> {
    use std::os::fd::AsRawFd;
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    let text = link.to_string_lossy();
    if let Some((found, _)) = text
        .split_once(":[")
        .filter(|(found, _)| !found.starts_with('/'))
    {
        if found == kind.proc_name() {
            return Ok(());
        }
        bail!("is a namespace of type {found}, not {}", kind.proc_name());
    }
    // A bind mount shows its path; then statfs tells a namespace from a file, setns the rest.
    let magic = nix::sys::statfs::fstatfs(fd)?.filesystem_type();
    if magic == nix::sys::statfs::NSFS_MAGIC {
        return Ok(());
    }
    bail!("is not a namespace")
}

/// Clones init, which never returns from here.
pub(super) fn spawn(
    plan: &Plan,
    namespaces: &mut OpenNamespaces,
    cgroup: Option<BorrowedFd<'_>>,
    inheritance: Inheritance,
) -> Result<Born> {
    if plan.namespaces.joined(Kind::User).is_some() {
        return spawn_through_stage(plan, namespaces, cgroup, inheritance);
    }
    let detour = Detour::take(&namespaces.open, plan)?;
    let args = CloneArgs {
        flags: detour.clone_flags(plan) & !inheritance.own_namespaces,
        cgroup,
    };
    match clone3(args).context("clone the container's init")? {
        Cloned::Child => init::run(plan, inheritance),
        Cloned::Parent { pid, pidfd } => Ok(Born { pid, pidfd }),
    }
}

/// Namespaces that this process is in only while it clones; dropping it leads back.
struct Detour {
    back: Vec<(Kind, OwnedFd)>,
    time_entered: bool,
}

impl Detour {
    fn take(open: &[(Kind, OwnedFd)], plan: &Plan) -> Result<Self> {
        let mut detour = Self {
            back: Vec::new(),
            time_entered: false,
        };
        for (kind, fd) in open {
            detour.enter(*kind, fd)?;
        }
        if !plan.time_offsets.is_empty() {
            detour.remember(Kind::Time)?;
            make_time_namespace(plan)?;
            detour.time_entered = true;
        }
        Ok(detour)
    }

    fn enter(&mut self, kind: Kind, fd: &OwnedFd) -> Result<()> {
        self.remember(kind)?;
        setns_raw(fd, kind.clone_flag())
            .with_context(|| format!("join the {} namespace", kind.proc_name()))
    }

    fn remember(&mut self, kind: Kind) -> Result<()> {
        let path = format!("/proc/self/ns/{}", kind.proc_name());
        self.back.push((
            kind,
            File::open(&path)
                .with_context(|| format!("open({path:?})"))?
                .into(),
        ));
        Ok(())
    }

    fn clone_flags(&self, plan: &Plan) -> u64 {
        let flags = plan.namespaces.clone_flags();
        if self.time_entered {
            flags & !CLONE_NEWTIME
        } else {
            flags
        }
    }
}

impl Drop for Detour {
    fn drop(&mut self) {
        for (kind, fd) in self.back.iter().rev() {
            if let Err(error) = setns_raw(fd, kind.clone_flag()) {
                // Everything after this would happen in the container's namespaces, the undo
                // too. What is left is on record, and `delete --force` finds it.
                crate::log::warn(&format!("return to the runtime's namespaces: {error}"));
                sys::process::exit_now(1);
            }
        }
    }
}

/// Makes the time namespace of the next child: its clocks can be set only while it is empty
/// (time_namespaces(7)).
fn make_time_namespace(plan: &Plan) -> Result<()> {
    unshare_raw(CLONE_NEWTIME)?;
    let lines = plan.time_offsets.iter();
    let text: String = lines
        .map(|(clock, seconds, nanos)| format!("{clock} {seconds} {nanos}\n"))
        .collect();
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .open("/proc/self/timens_offsets")
        .context("open(\"/proc/self/timens_offsets\")")?;
    file.write_all(text.as_bytes())
        .context("config.json /linux/timeOffsets")
}

fn spawn_through_stage(
    plan: &Plan,
    namespaces: &OpenNamespaces,
    cgroup: Option<BorrowedFd<'_>>,
    mut inheritance: Inheritance,
) -> Result<Born> {
    // A conversation of its own: on init's, init may be faster than the stage.
    let (ours, theirs) = Channel::pair()?;
    let Cloned::Parent { pid: stage, .. } =
        clone3(CloneArgs { flags: 0, cgroup }).context("clone the stage before init")?
    else {
        let message = match stage_story(plan, namespaces, &mut inheritance) {
            Ok(None) => init::run(plan, inheritance),
            Ok(Some(pid)) => FromInit::Spawned(pid),
            Err(error) => FromInit::Failed(Fault::of(&error)),
        };
        // If the runtime is gone, init will see it.
        let _ = theirs.tell(&message);
        sys::process::exit_now(0)
    };
    drop(theirs);
    drop(inheritance);
    let heard = ours.hear();
    waitpid(stage, None).context("wait for the stage before init")?;
    match heard? {
        Some(FromInit::Spawned(pid)) => {
            let pid = Pid::from_raw(pid);
            // Our child, not yet reaped: the number is still its own.
            Ok(Born {
                pid,
                pidfd: sys::process::pidfd_open(pid)?,
            })
        }
        Some(FromInit::Failed(reason)) => bail!(reason),
        other => bail!("the stage before init said {other:?}"),
    }
}

/// In the stage: joins everything, then clones init. `None` in init.
fn stage_story(
    plan: &Plan,
    namespaces: &OpenNamespaces,
    inheritance: &mut Inheritance,
) -> Result<Option<i32>> {
    init::join_cgroups(std::mem::take(&mut inheritance.cgroup_files))?;
    join_in_passes(&namespaces.open)?;
    if !plan.time_offsets.is_empty() {
        make_time_namespace(plan)?;
    }
    let made = plan.namespaces.clone_flags();
    let flags = if plan.time_offsets.is_empty() {
        made
    } else {
        made & !CLONE_NEWTIME
    };
    match clone3(CloneArgs {
        flags: flags | CLONE_PARENT,
        cgroup: None,
    })? {
        Cloned::Child => Ok(None),
        Cloned::Parent { pid, .. } => Ok(Some(pid.as_raw())),
    }
}

/// Some namespaces belong to the host, and are joined with its privileges; others belong to the
/// user namespace that is joined, and need those of its root. Nothing tells which but trying.
pub fn join_in_passes(open: &[(Kind, OwnedFd)]) -> Result<()> {
    let (user, others): (Vec<_>, Vec<_>) = open.iter().partition(|(kind, _)| *kind == Kind::User);
    let refused: Vec<_> = others
        .into_iter()
        .filter(|(kind, fd)| setns_raw(fd, kind.clone_flag()).is_err())
        .collect();
    for (kind, fd) in user.into_iter().chain(refused) {
        setns_raw(fd, kind.clone_flag())
            .with_context(|| format!("join the {} namespace", kind.proc_name()))?;
    }
    if open.iter().any(|(kind, _)| *kind == Kind::User) {
        // EINVAL: one that maps no root. Whoever the process is to be is set later all the same.
        let _ = sys::credentials::set_gid(0);
        let _ = sys::credentials::set_uid(0);
    }
    Ok(())
}
