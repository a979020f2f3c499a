//! The parent's side of a container's creation: claim, cgroups, init, its questions, the record.
//!
//! A failure after the claim runs [`container::destroy`], the same function as
//! `delete --force`; there is no second clean-up path that could rot.

mod clone;
mod id_maps;
mod net_devices;
pub mod restore;

pub use clone::join_in_passes;
pub use id_maps::IdNamespaces;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use sys::dir::Pending;
use sys::mount::{Reach, attr};
use sys::socket::MAX_FDS;
use sys::{Dir, Errno};

use self::net_devices::Moved;
use crate::bundle::Bundle;
use crate::cgroup::systemd::Service;
use crate::cgroup::{self, Cgroup, Hierarchies};
use crate::cgroup_view::View;
use crate::console_socket;
use crate::container::{self, Poststop};
use crate::container_id::ContainerId;
use crate::criu::images;
use crate::fault::{Code, Fault};
use crate::hooks::{self, Surroundings};
use crate::host::Host;
use crate::inherited::Listen;
use crate::init::{self, Inheritance, Stdio, credentials};
use crate::networks::{Injected, Networks};
use crate::notify_socket;
use crate::plan::mounts::{Link, What};
use crate::plan::{Entry, IdMaps, Kind, Moment, Plan};
use crate::procfs::{self, Stat};
use crate::resctrl::{self, Membership};
use crate::seccomp_cache::Programs;
use crate::state::HookState;
use crate::state_dir::{self, Record, Stage, StateDir, StateRoot};
use crate::sync::{Channel, FromInit, ToInit, Unheard};
use crate::timeline;

/// What went wrong if it is about cgroups; runc's words.
const CGROUPS: &str = "unable to apply cgroup configuration";

/// How long an init that is silent, or was killed, may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// What `create` and `run` are asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// The configuration, if it is not the bundle's config.json.
    pub config: Option<PathBuf>,
    /// Where the terminal's master is sent.
    pub console_socket: Option<PathBuf>,
    /// Where a descriptor of init is sent.
    pub pidfd_socket: Option<PathBuf>,
    /// File for init's pid.
    pub pid_file: Option<PathBuf>,
    /// How the root is entered.
    pub entry: Entry,
    /// Whether init joins a session keyring of its own.
    pub new_keyring: bool,
    /// Descriptors from 3 on that the program inherits.
    pub preserved_fds: i32,
    /// What the first of them are.
    pub listen: Listen,
    /// Who waits for the program.
    pub attachment: Attachment,
    /// Who makes its cgroups.
    pub cgroup_manager: cgroup::Manager,
    /// What davit-cni is to put into the configuration.
    pub networks: Networks,
}

/// What happens after the container is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// `create`: init waits for `start`.
    Create,
    /// `run --detach`: the program starts, nobody here waits.
    Detached,
    /// `run`: the program starts, and this process waits for it.
    Foreground,
}

/// A container whose init waits for [`ToInit::Start`] or a connection.
#[derive(Debug)]
pub struct Launched {
    /// Its directory.
    pub state: StateDir,
    /// Its record, as saved.
    pub record: Record,
    /// Its hooks.
    pub plan: Plan,
    /// Init.
    pub pid: Pid,
    /// Init.
    pub pidfd: OwnedFd,
    /// The conversation with init.
    pub channel: Channel,
    /// The master of its terminal, in the foreground.
    pub terminal: Option<OwnedFd>,
    /// Held until the caller is done with the container.
    pub lock: sys::dir::Lock,
}

/// Creates the container `id`. On an error nothing of it is left.
pub fn create(root: &StateRoot, id: &ContainerId, request: &Request) -> Result<Launched> {
    let (mut launch, lock) = Launch::claim(root, id, request)?;
    match launch.construct() {
        Ok(init) => Ok(Launched {
            state: launch.state,
            record: launch.record,
            plan: launch.plan,
            pid: init.pid,
            pidfd: init.pidfd,
            channel: init.channel,
            terminal: init.terminal,
            lock,
        }),
        Err(error) => {
            launch.undo();
            Err(error)
        }
    }
}

fn plan_cgroups(
    bundle: &Bundle,
    id: &ContainerId,
    manager: cgroup::Manager,
    hierarchies: &Hierarchies,
) -> Result<(cgroup::Plan, Option<Service>)> {
    let linux = bundle.spec.linux().as_ref();
    let path = linux.and_then(|linux| linux.cgroups_path().as_deref());
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let planned = match manager {
        cgroup::Manager::Cgroupfs => {
            cgroup::Plan::new(hierarchies, path, id.as_str(), resources).map(|plan| (plan, None))
        }
        cgroup::Manager::Disabled => cgroup::Plan::nowhere(resources).map(|plan| (plan, None)),
        cgroup::Manager::Systemd => {
            let service = Service::connect(path, id.as_str()).context("--systemd-cgroup")?;
            let (below, unit) = (service.cgroup(), service.unit());
            cgroup::Plan::in_unit(hierarchies, below, unit, resources)
                .map(|plan| (plan, Some(service)))
        }
    };
    planned.context("config.json")
}

/// Undoes the claim alone.
fn give_back(state: StateDir, error: anyhow::Error) -> anyhow::Error {
    match state.remove() {
        Ok(()) => error,
        Err(left) => error.context(format!("and its directory stays: {left:#}")),
    }
}

fn new_record(
    bundle: &Bundle,
    plan: &Plan,
    id: &ContainerId,
    cgroups: &cgroup::Plan,
    service: Option<&Service>,
) -> Record {
    // A slice may be others' as well: it is recorded once it is ours.
    let unit = service.map(Service::unit).filter(|unit| !unit.is_slice());
    let annotations = bundle.spec.annotations().iter().flatten();
    Record {
        version: state_dir::VERSION,
        id: id.as_str().to_owned(),
        stage: Stage::Claiming,
        init_process_pid: 0,
        init_process_start: 0,
        boot_id: procfs::boot_id(),
        created: crate::time::rfc3339(SystemTime::now()),
        bundle: bundle.dir.clone(),
        rootfs: plan.rootfs.path.clone(),
        owner: nix::unistd::geteuid().as_raw(),
        annotations: annotations
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        cgroup_paths: cgroups.saved_paths(),
        lent_cgroups: cgroups.lent_paths(),
        systemd_unit: unit.map(|unit| unit.name.clone()),
        systemd_user: service.is_some_and(|service| service.unit().user),
        namespace_paths: BTreeMap::new(),
        own_pid_namespace: plan.namespaces.makes(Kind::Pid),
        no_pivot: plan.rootfs.entry == Entry::Move,
        session_keyring: false,
        intel_rdt: None,
        external_descriptors: if plan.process.terminal {
            Vec::new()
        } else {
            (0..3).map(images::stream_link).collect()
        },
    }
}

/// What `create` would have recorded, for a record that is damaged: enough to take the container
/// away.
pub fn record_from_config(state: &StateDir) -> Result<Record> {
    let spec = crate::bundle::parse(&state.config()?)?;
    let linux = spec.linux().as_ref();
    let path = linux.and_then(|linux| linux.cgroups_path().as_deref());
    let cgroups = cgroup::Plan::new(&Hierarchies::discover()?, path, state.id().as_str(), None)?;
    let annotations = spec.annotations().iter().flatten();
    Ok(Record {
        version: state_dir::VERSION,
        id: state.id().to_string(),
        stage: Stage::Creating,
        init_process_pid: 0,
        init_process_start: 0,
        boot_id: procfs::boot_id(),
        created: String::new(),
        bundle: PathBuf::new(),
        rootfs: PathBuf::new(),
        owner: 0,
        annotations: annotations
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        cgroup_paths: cgroups.saved_paths(),
        lent_cgroups: Vec::new(),
        systemd_unit: None,
        systemd_user: false,
        namespace_paths: BTreeMap::new(),
        own_pid_namespace: false,
        no_pivot: false,
        session_keyring: false,
        intel_rdt: None,
        external_descriptors: Vec::new(),
    })
}

struct Launch<'a> {
    bundle: Bundle,
    plan: Plan,
    hierarchies: Hierarchies,
    cgroups: cgroup::Plan,
    service: Option<Service>,
    request: &'a Request,
    state: StateDir,
    record: Record,
    console: console_socket::Console,
    namespaces: clone::OpenNamespaces,
    cgroup: Option<Cgroup>,
    hooks_ran: Poststop,
    moved: Option<Moved>,
    id_namespaces: IdNamespaces,
}

/// When the cgroups become ready. Their directories and limits are made while init makes its namespaces, for
/// either takes the kernel long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placing {
    /// Before init is there: it makes no namespaces by itself, or a link is moved into one of them.
    Before,
    /// Their limits beside init. The directories before, for it is born in one of them (version 2), or may
    /// have to do without.
    Limited,
    /// All of it beside init.
    Beside,
    /// By systemd, which puts a scope around init.
    BySystemd,
}

struct Init {
    pid: Pid,
    pidfd: OwnedFd,
    channel: Channel,
    terminal: Option<OwnedFd>,
}

/// All that is decided and opened before the claim.
struct Prepared {
    bundle: Bundle,
    plan: Plan,
    hierarchies: Hierarchies,
    cgroups: cgroup::Plan,
    service: Option<Service>,
    console: console_socket::Console,
    namespaces: clone::OpenNamespaces,
    intel_rdt: Option<Membership>,
}

impl Prepared {
    fn new(root: &StateRoot, id: &ContainerId, request: &Request, bundle: Bundle) -> Result<Self> {
        let plan = {
            let _step = timeline::step("plan");
            Plan::new(&bundle, &Host::look_with(root.path()), request.entry)?
        };
        if !plan.namespaces.is_private(Kind::User)
            && let Some(process) = bundle.spec.process()
        {
            crate::bundle::warn_of_ungranted(process)?;
        }
        let _step = timeline::step("plan the cgroups");
        let hierarchies = Hierarchies::discover()?;
        let (cgroups, service) = plan_cgroups(&bundle, id, request.cgroup_manager, &hierarchies)?;
        let console = console_socket::plan(&plan.process, request)?;
        let namespaces = clone::OpenNamespaces::open(&plan.namespaces)?;
        if let Some(namespace) = namespaces.of_kind(Kind::User) {
            id_maps::check(namespace, &IdMaps::listed(bundle.spec.linux().as_ref()))?;
        }
        let rdt = plan.intel_rdt.as_ref().map(|rdt| {
            let mount_point = resctrl::mount_point();
            Membership::decide(rdt, id.as_str(), mount_point.as_deref())
        });
        Ok(Self {
            intel_rdt: rdt.transpose()?,
            bundle,
            plan,
            hierarchies,
            cgroups,
            service,
            console,
            namespaces,
        })
    }

    /// The same with what davit-cni makes of the bundle; a refusal takes that back.
    fn with_networks(root: &StateRoot, id: &ContainerId, request: &Request) -> Result<Self> {
        let injected = Injected::new(id, request)?;
        let bundle = injected.bundle();
        let prepared = bundle.and_then(|bundle| Self::new(root, id, request, bundle));
        prepared.inspect_err(|_| injected.take_back(id))
    }

    fn claimed<'a>(self, id: &ContainerId, request: &'a Request, state: StateDir) -> Launch<'a> {
        let service = self.service.as_ref();
        Launch {
            record: Record {
                session_keyring: request.new_keyring,
                intel_rdt: self.intel_rdt,
                ..new_record(&self.bundle, &self.plan, id, &self.cgroups, service)
            },
            bundle: self.bundle,
            plan: self.plan,
            hierarchies: self.hierarchies,
            cgroups: self.cgroups,
            service: self.service,
            request,
            state,
            console: self.console,
            namespaces: self.namespaces,
            cgroup: None,
            hooks_ran: Poststop::Skip,
            moved: None,
            id_namespaces: IdNamespaces::default(),
        }
    }
}

/// Claims the id, and locks it.
fn take(root: &StateRoot, id: &ContainerId) -> Result<(StateDir, sys::dir::Lock)> {
    let _step = timeline::step("claim the id");
    let state = root.claim(id)?;
    match state.lock() {
        Ok(_) if state.is_gone()? => bail!("it was deleted while it was being created"),
        Ok(lock) => Ok((state, lock)),
        Err(error) => {
            // The first error is the one to report.
            let _ = state.withdraw();
            Err(error)
        }
    }
}

impl<'a> Launch<'a> {
    /// Everything up to the claim on the id, which is the first side effect. With networks the
    /// claim comes first: what is injected for an id must be nobody else's.
    fn claim(
        root: &StateRoot,
        id: &ContainerId,
        request: &'a Request,
    ) -> Result<(Self, sys::dir::Lock)> {
        if request.networks.is_empty() {
            let bundle = {
                let _step = timeline::step("read config.json");
                let programs = Programs::below(root.path());
                Bundle::open(&request.bundle, request.config.as_deref(), &programs)?
            };
            let prepared = Prepared::new(root, id, request, bundle)?;
            let (state, lock) = take(root, id)?;
            return Ok((prepared.claimed(id, request, state), lock));
        }
        let (state, lock) = take(root, id)?;
        match Prepared::with_networks(root, id, request) {
            Ok(prepared) => Ok((prepared.claimed(id, request, state), lock)),
            Err(error) => Err(give_back(state, error)),
        }
    }

    /// Everything between the claim and a container that only waits for its start.
    fn construct(&mut self) -> Result<Init> {
        notify_socket::prepare(&mut self.plan, &self.state)?;
        self.write_down()?;
        let placing = self.placing();
        let join_files = match placing {
            Placing::Beside => Vec::new(),
            _ => self.make_cgroups().context(CGROUPS)?,
        };
        if placing == Placing::Before {
            self.limit_cgroups().context(CGROUPS)?;
        }
        let listener = match self.request.attachment {
            Attachment::Create => Some(self.state.make_start_socket()?),
            Attachment::Detached | Attachment::Foreground => None,
        };
        self.claim_rdt_group()?;
        let mut init = self.spawn(placing, join_files, listener)?;
        let ready = self
            .converse(&init, placing)
            .and_then(|()| self.console.receive_master());
        match ready {
            Ok(terminal) => init.terminal = terminal,
            Err(error) => {
                // First, for the namespace ends with init.
                self.moved.take().into_iter().for_each(Moved::give_back);
                end(init.pid, &init.pidfd);
                return Err(error);
            }
        }
        Ok(init)
    }

    /// Before the first cgroup: from here on `delete --force` knows where to look.
    fn write_down(&self) -> Result<()> {
        let _step = timeline::step("write the record");
        self.state.save_config(&self.bundle.text)?;
        self.state.save(&self.record)
    }

    /// The cgroups with their limits; of a scope, only those that systemd does not make. Answers
    /// the files by which init joins them.
    fn make_cgroups(&mut self) -> Result<Vec<OwnedFd>> {
        let _step = timeline::step("make the cgroups");
        if self.service.is_some() && !self.is_taken() && self.start_unit(None)? {
            let unit = self.service.as_ref().map(Service::unit);
            self.record.systemd_unit = unit.map(|unit| unit.name.clone());
        }
        let taken = self.is_taken();
        let cgroup = match Cgroup::create(&self.cgroups) {
            Err(error) if is_forbidden(&error) => self.without_cgroups(error)?,
            other => other?,
        };
        let cgroup = self.cgroup.insert(cgroup);
        let join_files = cgroup.join_files()?;
        if !taken {
            // Nobody else's, so ours: from here on whoever is in them may be killed.
            self.record.stage = Stage::Creating;
            self.state.save(&self.record)?;
        }
        Ok(join_files)
    }

    /// The limits of cgroups that are nobody else's.
    fn limit_cgroups(&self) -> Result<()> {
        let _step = timeline::step("limits");
        if let Some(cgroup) = &self.cgroup {
            cgroup.apply(&self.cgroups)?;
        }
        self.delegate()
    }

    /// Without root and without a cgroup where more may be made: a container that asks for
    /// nothing of cgroups stays in its caller's.
    fn without_cgroups(&mut self, error: cgroup::Error) -> Result<Cgroup> {
        let linux = self.bundle.spec.linux().as_ref();
        let path = linux.and_then(|linux| linux.cgroups_path().as_deref());
        let asked = path.is_some_and(|path| !path.as_os_str().is_empty());
        if asked || self.cgroups.has_limits() || self.service.is_some() {
            let rule = "rootless needs no limits + no cgrouppath when no permission is granted for \
                        cgroups (--systemd-cgroup asks the user's systemd for some)";
            return Err(anyhow::Error::from(error).context(rule));
        }
        crate::log::debug(&format!("the container has no cgroup of its own: {error}"));
        self.record.cgroup_paths.clear();
        Ok(Cgroup::from_saved(&self.record.cgroup_paths))
    }

    /// A container that sees its version 2 cgroup as a tree of its own, and may write there, gets
    /// it (config-linux.md, "Cgroup ownership").
    fn delegate(&self) -> Result<()> {
        let (plan, Some(cgroup)) = (&self.plan, &self.cgroup) else {
            return Ok(());
        };
        let writable = plan.mounts.iter().any(|mount| {
            matches!(mount.what, What::Cgroup) && mount.attributes.set & attr::RDONLY == 0
        });
        let Some(maps) = &plan.id_maps else {
            return Ok(());
        };
        if !writable || !plan.namespaces.is_private(Kind::Cgroup) {
            return Ok(());
        }
        let uid = plan.process.uid;
        let range = maps
            .uids
            .iter()
            .find(|range| (range.inside..range.inside.saturating_add(range.size)).contains(&uid));
        match range.map(|range| range.outside + (uid - range.inside)) {
            Some(owner) if owner != nix::unistd::geteuid().as_raw() => Ok(cgroup.delegate(owner)?),
            _ => Ok(()),
        }
    }

    /// Whether systemd takes init to its cgroup: into a scope, not into a slice.
    fn is_taken(&self) -> bool {
        self.service
            .as_ref()
            .is_some_and(|service| !service.unit().is_slice())
    }

    fn start_unit(&mut self, pid: Option<Pid>) -> Result<bool> {
        let Some(service) = &mut self.service else {
            return Ok(false);
        };
        let record = &self.record;
        Ok(service.start(&record.id, &self.cgroups, pid, &record.annotations)?)
    }

    fn placing(&self) -> Placing {
        let by_itself = self.plan.namespaces.own_flags() != 0;
        if self.is_taken() {
            Placing::BySystemd
        } else if !by_itself || !self.plan.net_devices.is_empty() {
            Placing::Before
        } else if self.cgroups.has_v2()
            || self.cgroups.directories() > MAX_FDS
            || crate::host::is_rootless()
        {
            Placing::Limited
        } else {
            Placing::Beside
        }
    }

    /// Makes ready what init waits for.
    fn place(&mut self, init: &Init, placing: Placing) -> Result<()> {
        let join_files = match placing {
            Placing::Before => return Ok(()),
            Placing::BySystemd => self.enter_scope(init.pid).map(|()| Vec::new()),
            Placing::Limited => self.limit_cgroups().map(|()| Vec::new()),
            Placing::Beside => self
                .make_cgroups()
                .and_then(|files| self.limit_cgroups().map(|()| files)),
        };
        let join_files = join_files.context(CGROUPS)?;
        let join_files: Vec<_> = join_files.iter().collect();
        init.channel.answer(&ToInit::Placed, &join_files)
    }

    fn enter_scope(&mut self, pid: Pid) -> Result<()> {
        self.start_unit(Some(pid))?;
        // The unit is new, so ours.
        self.record.stage = Stage::Creating;
        self.state.save(&self.record)?;
        if let Some(cgroup) = &self.cgroup {
            cgroup.adopt(&self.cgroups)?;
            cgroup.apply(&self.cgroups)?;
        }
        self.delegate()
    }

    fn spawn(
        &mut self,
        placing: Placing,
        cgroup_files: Vec<OwnedFd>,
        listener: Option<OwnedFd>,
    ) -> Result<Init> {
        let (ours, theirs) = Channel::pair()?;
        let console = self.console.for_init();
        let view = View::plan(
            &self.hierarchies,
            &self.record.cgroup_paths,
            self.plan.namespaces.is_private(Kind::Cgroup),
            self.plan.id_maps.is_some() || !nix::unistd::geteuid().is_root(),
        );
        let keyring = self.record.session_keyring;
        let keyring = keyring.then(|| credentials::keyring_name(&self.record.id));
        let inheritance = Inheritance {
            channel: theirs,
            cgroup_files,
            cgroup_view: view,
            is_placed: placing != Placing::Before,
            own_namespaces: match placing {
                Placing::Limited | Placing::Beside => self.plan.namespaces.own_flags(),
                Placing::Before | Placing::BySystemd => 0,
            },
            namespaces: self.namespaces.take_for_init(&self.plan.namespaces),
            start_listener: listener,
            guarded: self.must_be_guarded(),
            guarded_in_waiting: nix::unistd::geteuid().is_root(),
            console,
            keyring: keyring.transpose()?,
            preserved_fds: self.request.preserved_fds,
            listen: self.request.listen.clone(),
            stdio: match self.request.attachment {
                Attachment::Foreground => Stdio::Shared,
                Attachment::Create | Attachment::Detached => Stdio::Given,
            },
            hook_state: self.hook_state(),
        };
        let directory = self
            .cgroup
            .as_ref()
            .map(Cgroup::birthplace)
            .transpose()?
            .flatten();
        let directory = directory.as_ref().map(AsFd::as_fd);
        let _step = timeline::step("clone init");
        let born = clone::spawn(&self.plan, &mut self.namespaces, directory, inheritance)?;
        if matches!(placing, Placing::Limited | Placing::Beside) {
            // Some kernels leave a new process behind its parent while another processor idles. Init lets go of
            // this once it is in its cgroups. EINVAL: there is no other.
            let _ = sys::process::keep_off_our_processor(born.pid);
        }
        Ok(Init {
            pid: born.pid,
            pidfd: born.pidfd,
            channel: ours,
            terminal: None,
        })
    }

    /// Whether somebody in the container might gain by tracing init while it waits: it has come
    /// from outside into a namespace of others, or holds a capability for its filter. Not
    /// without need: a hook without CAP_SYS_PTRACE could not look at it either.
    fn must_be_guarded(&self) -> bool {
        let holds_more = self.plan.seccomp.is_some() && !self.plan.process.no_new_privileges;
        let joins = !self.plan.namespaces.joins().is_empty();
        nix::unistd::geteuid().is_root() && (joins || holds_more)
    }

    fn hook_state(&self) -> HookState {
        self.record.hook_state()
    }

    fn claim_rdt_group(&mut self) -> Result<()> {
        let Some(group) = &mut self.record.intel_rdt else {
            return Ok(());
        };
        if let Err(error) = group.claim() {
            // Made by somebody else since it was looked for, so not ours to remove.
            group.made = false;
            self.state.save(&self.record)?;
            return Err(error);
        }
        let wanted = self.plan.intel_rdt.as_ref();
        let configured = wanted.map_or(Ok(()), |wanted| group.configure(wanted));
        self.state.save(&self.record)?;
        configured
    }

    fn enter_rdt_group(&self, init: &Init) -> Result<()> {
        let group = self.record.intel_rdt.as_ref();
        group.map_or(Ok(()), |group| group.admit(init.pid))
    }

    /// Moves links of the host into the network namespace that init is in, or will be.
    fn move_net_devices(&mut self, init: &Init) -> Result<()> {
        if self.plan.net_devices.is_empty() {
            return Ok(());
        }
        let _step = timeline::step("move network devices");
        let path = match self.plan.namespaces.joined(Kind::Network) {
            Some(join) => join.path.to_string_lossy().into_owned(),
            None => format!("/proc/{}/ns/net", init.pid),
        };
        self.moved = Some(Moved::move_all(&self.plan.net_devices, &path)?);
        Ok(())
    }

    /// Places and answers init until it is ready, then writes down that it is.
    fn converse(&mut self, init: &Init, placing: Placing) -> Result<()> {
        let _step = timeline::step("answer init");
        self.place(init, placing)
            .and_then(|()| self.answer(init))
            .map_err(|error| match error.is::<Unheard>() {
                true => self.last_words(init),
                false => error,
            })
    }

    fn answer(&mut self, init: &Init) -> Result<()> {
        self.enter_rdt_group(init)?;
        self.move_net_devices(init)?;
        if let Some(score) = self.plan.process.oom_score_adj {
            // From here, not by init: in a user namespace it may not lower its own.
            set_oom_score(init.pid, score, "config.json /process/oomScoreAdj")?;
        }
        if let Some(maps) = &self.plan.id_maps {
            id_maps::write(init.pid, maps)?;
            init.channel.answer(&ToInit::IdsMapped, &[])?;
        }
        let (record, written) = self.prepare_record(init)?;
        loop {
            let (message, fds) = init.channel.hear_all()?.unzip();
            match message {
                Some(FromInit::OpenMount(number)) => self.open_mount(init, number)?,
                Some(FromInit::MapMount(index)) => self.map_mount(init, index, fds)?,
                Some(FromInit::ProcAround) => self.lend_proc(init)?,
                Some(FromInit::RunHooks) => {
                    self.run_hooks(init.pid.as_raw())?;
                    init.channel.answer(&ToInit::HooksDone, &[])?;
                }
                Some(FromInit::Limits) => self.set_limits(init)?,
                Some(FromInit::Created) => break,
                Some(FromInit::Failed(reason) | FromInit::HookFailed(reason)) => bail!(reason),
                Some(other) => bail!("init said {other:?} out of turn"),
                None => return Err(self.explain_death(init)),
            }
        }
        self.state.save_prepared(written)?;
        self.record = record;
        self.publish(init)
    }

    /// The record of a created container, written beside the one that holds until init is ready.
    fn prepare_record(&self, init: &Init) -> Result<(Record, Pending)> {
        let _step = timeline::step("prepare the record");
        let pid = init.pid.as_raw();
        let stat = Stat::of(pid)?.ok_or_else(|| self.explain_death(init))?;
        let record = Record {
            stage: Stage::Created,
            init_process_pid: pid,
            init_process_start: stat.start_time,
            namespace_paths: namespace_paths(pid),
            ..self.record.clone()
        };
        let written = self.state.prepare(&record)?;
        Ok((record, written))
    }

    /// Tells those who asked for init's pid.
    fn publish(&self, init: &Init) -> Result<()> {
        if let Some(path) = &self.request.pidfd_socket {
            console_socket::send_pidfd(path, &init.pidfd, "standard")?;
        }
        match &self.request.pid_file {
            Some(path) => write_pid_file(path, init.pid.as_raw()),
            None => Ok(()),
        }
    }

    fn open_mount(&self, init: &Init, number: usize) -> Result<()> {
        let (path, reach, link) = match number.checked_sub(1) {
            None => (&self.plan.rootfs.path, Reach::Recursive, Link::Followed),
            Some(index) => match self.plan.mounts.get(index).map(|step| &step.what) {
                Some(What::Bind {
                    source,
                    reach,
                    link,
                }) => (source, *reach, *link),
                _ => bail!("init asked for mount {number}, which is no bind mount"),
            },
        };
        let _step = timeline::step_of(|| format!("open {}", path.display()));
        match init::rootfs::open_place(path, link)
            .and_then(|fd| Ok(sys::mount::open_tree_clone(&fd, reach)?))
        {
            Ok(tree) => init.channel.answer(&ToInit::Opened, &[&tree]),
            Err(error) => init
                .channel
                .answer(&ToInit::Refused(format!("{error:#}")), &[]),
        }
    }

    /// Maps the ids of a mount that init has made and not attached yet.
    fn map_mount(&mut self, init: &Init, index: usize, fds: Option<Vec<OwnedFd>>) -> Result<()> {
        let step = self.plan.mounts.get(index);
        let mapping = step.and_then(|step| step.id_map.as_ref());
        let tree = fds.and_then(|fds| fds.into_iter().next());
        let (Some(mapping), Some(tree)) = (mapping, tree) else {
            bail!("init asked for the ids of mount {index}, which has none");
        };
        match self.id_namespaces.map(&tree, mapping, init.pid) {
            Ok(()) => init.channel.answer(&ToInit::Mapped, &[]),
            Err(error) => init
                .channel
                .answer(&ToInit::Refused(format!("{error:#}")), &[]),
        }
    }

    /// Decides whether the `/proc` around may stand in for one of the container's own.
    fn lend_proc(&self, init: &Init) -> Result<()> {
        let capabilities = self.plan.process.capabilities.unwrap_or_default();
        let answer = match init::nested::refusal(&capabilities, crate::host::is_rootless()) {
            Some(reason) => ToInit::Refused(reason.to_owned()),
            None => {
                crate::log::warn(
                    "no new procfs can be mounted here: /proc in the container is the one around \
                     davit, read-only, and lists the processes of the pid namespace around",
                );
                ToInit::Granted
            }
        };
        init.channel.answer(&answer, &[])
    }

    /// prestart and createRuntime, in this process's namespaces, with init's pid as seen here.
    fn run_hooks(&mut self, pid: i32) -> Result<()> {
        self.hooks_ran = Poststop::Run;
        let state = self.hook_state().json("creating", pid)?;
        let surroundings = Surroundings {
            state: &state,
            env: None,
            cwd: &self.bundle.dir,
        };
        for moment in [Moment::Prestart, Moment::CreateRuntime] {
            hooks::run_all(moment, self.plan.hooks.at(moment), &surroundings)?;
        }
        Ok(())
    }

    fn set_limits(&self, init: &Init) -> Result<()> {
        for limit in &self.plan.process.rlimits {
            credentials::set_limit(init.pid, limit)
                .with_context(|| format!("error setting rlimits: {}", limit.name))?;
        }
        init.channel.answer(&ToInit::LimitsSet, &[])
    }

    /// What an init had to say that did not hear us any more.
    fn last_words(&self, init: &Init) -> anyhow::Error {
        while let Ok(Some(message)) = init.channel.hear() {
            if let FromInit::Failed(reason) | FromInit::HookFailed(reason) = message {
                return reason.into();
            }
        }
        self.explain_death(init)
    }

    /// Why init died without a word.
    fn explain_death(&self, init: &Init) -> anyhow::Error {
        let oom_kills = self.cgroup.as_ref().map(Cgroup::oom_kill_count);
        if matches!(oom_kills, Some(Ok(Some(1..)))) {
            let text = "container init was OOM-killed (memory limit too low?)";
            return Fault::new(Code::OutOfMemory, text).into();
        }
        match sys::process::reap(init.pid, &init.pidfd, PATIENCE) {
            Ok(None) => {
                let text =
                    format!("container init is silent and has not ended within {PATIENCE:?}");
                Fault::new(Code::Timeout, text).into()
            }
            Ok(Some(WaitStatus::Signaled(_, signal, _))) => Fault::new(
                Code::Killed,
                format!("container init was killed by {signal}"),
            )
            .into(),
            Ok(Some(WaitStatus::Exited(_, status))) => {
                anyhow!("container init exited with status {status}")
            }
            _ => anyhow!("container init died"),
        }
    }

    /// Removes what [`Self::construct`] has made. The error that led here is the one to report.
    fn undo(self) {
        // While the id is ours: who takes it next may have networks as well.
        if !self.request.networks.is_empty() && self.hooks_ran == Poststop::Skip {
            Injected::from(&self.bundle).take_back(self.state.id());
        }
        let outcome = container::destroy(
            self.state,
            Some(&self.record),
            &self.plan.hooks,
            self.hooks_ran,
        );
        if let Err(error) = outcome {
            crate::log::warn(&format!("undo of a failed create: {error:#}"));
        }
    }
}

fn is_forbidden(error: &cgroup::Error) -> bool {
    let denied = [Errno::EACCES, Errno::EPERM, Errno::EROFS];
    crate::host::is_rootless() && error.errno().is_some_and(|errno| denied.contains(&errno))
}

/// Ends an init that cannot be used.
fn end(pid: Pid, pidfd: &OwnedFd) {
    // It may have ended by itself; either way it is reaped.
    let _ = sys::process::pidfd_send_signal(pidfd, nix::libc::SIGKILL);
    let _ = sys::process::reap(pid, pidfd, PATIENCE);
}

/// Writes the OOM score of `pid`; `property` is what asked for it.
pub fn set_oom_score(pid: Pid, score: i32, property: &str) -> Result<()> {
    let path = format!("/proc/{pid}/oom_score_adj");
    match write_existing(Path::new(&path), &score.to_string()) {
        // Below what it was given an ordinary user cannot go, and engines ask for it by default.
        Err(error)
            if error.kind() == io::ErrorKind::PermissionDenied
                && !nix::unistd::geteuid().is_root() =>
        {
            crate::log::warn(&format!(
                "{property}: {score} is below what this user may set; the score stays"
            ));
            Ok(())
        }
        other => other.with_context(|| format!("{property}: write({path:?}, \"{score}\")")),
    }
}

/// Writes to a file of procfs that the kernel keeps.
fn write_existing(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write;
    std::fs::OpenOptions::new()
        .write(true)
        .open(path)?
        .write_all(text.as_bytes())
}

fn namespace_paths(pid: i32) -> BTreeMap<String, PathBuf> {
    let keys = [
        "NEWCGROUP",
        "NEWIPC",
        "NEWNS",
        "NEWNET",
        "NEWPID",
        "NEWTIME",
        "NEWUSER",
        "NEWUTS",
    ];
    let kinds = [
        Kind::Cgroup,
        Kind::Ipc,
        Kind::Mount,
        Kind::Network,
        Kind::Pid,
        Kind::Time,
        Kind::User,
        Kind::Uts,
    ];
    let path = |kind: Kind| PathBuf::from(format!("/proc/{pid}/ns/{}", kind.proc_name()));
    keys.iter()
        .zip(kinds)
        .map(|(key, kind)| ((*key).to_owned(), path(kind)))
        .collect()
}

/// Writes a pid, digits only: go-runc parses the whole file as a number.
pub fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let absolute = std::path::absolute(path)?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        bail!("pid file {path:?} has no name");
    };
    let context = || format!("write pid file {path:?}");
    let parent = Dir::open(parent).with_context(context)?;
    parent
        .replace_volatile(name, pid.to_string().as_bytes(), 0o644)
        .with_context(context)
}

/// The exit status of a shell for a process that ended with `status`.
pub fn shell_status(status: ExitStatus) -> u8 {
    let signalled = || 128 + status.signal().unwrap_or(0);
    status.code().unwrap_or_else(signalled) as u8
}
