//! The parent's side of a restore: the same claim, cgroups and record as a create, but CRIU makes
//! the processes.
//!
//! CRIU runs in a mount namespace of its own, in which the rootfs is mounted where nobody else
//! sees it. What of the container came from outside (bind mounts, namespaces given by path,
//! standard streams) is given to it again by the names that the checkpoint gave them.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use sys::mount::Reach;
use sys::root::Root;
use sys::{Errno, SyscallError};

use super::{CGROUPS, Launch, Request, namespace_paths, write_pid_file};
use crate::cgroup::Cgroup;
use crate::cgroup_view::View;
use crate::container_id::ContainerId;
use crate::criu::images::{ImageMount, Images};
use crate::criu::mounts::{self, Sources};
use crate::criu::rpc::{self, CgroupMode, Features, Flag, Kind, Notification, Options, Pair, Text};
use crate::criu::{self, Common, Service, Worker};
use crate::init::rootfs::open_path;
use crate::plan::{self, Plan};
use crate::procfs::Stat;
use crate::state_dir::{Record, Stage, StateDir, StateRoot};

/// Its name in the working directory.
const LOG: &str = "restore.log";

/// What `restore` is asked for beside what a create is.
#[derive(Debug)]
pub struct Checkpoint {
    /// Where the images are, and how they are read.
    pub common: Common,
    /// AppArmor profile or SELinux label to use instead of that of the images.
    pub lsm_profile: Option<String>,
    /// SELinux context of the mounts, the same.
    pub lsm_mount_context: Option<String>,
}

/// A container whose processes run again.
#[derive(Debug)]
pub struct Restored {
    /// Its directory.
    pub state: StateDir,
    /// Its record, as saved.
    pub record: Record,
    /// Its hooks.
    pub plan: Plan,
    /// Init, a child of this process.
    pub pid: Pid,
    /// Init.
    pub pidfd: OwnedFd,
    /// The master of its terminal, in the foreground.
    pub terminal: Option<OwnedFd>,
    /// Held until the caller is done with the container.
    pub lock: sys::dir::Lock,
}

/// Restores the images as the container `id`. On an error nothing of it is left.
pub fn restore(
    root: &StateRoot,
    id: &ContainerId,
    request: &Request,
    checkpoint: &Checkpoint,
) -> Result<Restored> {
    let program = criu::program()?;
    let images = Images::open(&checkpoint.common.images)?;
    let work = checkpoint.common.work()?;
    let image_mounts = images.mounts()?;
    let streams = images.descriptors()?;
    let (mut launch, lock) = Launch::claim(root, id, request)?;
    let mut restoration = Restoration {
        launch: &mut launch,
        checkpoint,
        images,
        work,
        image_mounts,
        streams,
        pid: 0,
        terminal: None,
    };
    let outcome = restoration.run(&program);
    let (pid, terminal) = (restoration.pid, restoration.terminal.take());
    match outcome {
        Ok(pidfd) => Ok(Restored {
            state: launch.state,
            record: launch.record,
            plan: launch.plan,
            pid: Pid::from_raw(pid),
            pidfd,
            terminal,
            lock,
        }),
        Err(error) => {
            launch.undo();
            if pid != 0 {
                end_child(Pid::from_raw(pid));
            }
            Err(error)
        }
    }
}

/// Ends what CRIU began, in whatever cgroup it is, and reaps it, so that the caller's table is as it was.
fn end_child(pid: Pid) {
    // The number is this process's as long as it is our child and nobody has reaped it.
    if waitpid(pid, Some(WaitPidFlag::WNOHANG)) != Ok(WaitStatus::StillAlive) {
        return;
    }
    if let Ok(pidfd) = sys::process::pidfd_open(pid) {
        super::end(pid, &pidfd);
    }
}

/// The work of [`restore`].
struct Restoration<'r, 'l> {
    launch: &'r mut Launch<'l>,
    checkpoint: &'r Checkpoint,
    images: Images,
    work: Images,
    image_mounts: Vec<ImageMount>,
    streams: Vec<String>,
    /// Host pid of init, as soon as it is known.
    pid: i32,
    terminal: Option<OwnedFd>,
}

impl Restoration<'_, '_> {
    /// Everything between the claim and a container that runs.
    fn run(&mut self, program: &Path) -> Result<OwnedFd> {
        if self.checkpoint.common.cgroups == Some(CgroupMode::Strict)
            && Cgroup::from_saved(&self.launch.record.cgroup_paths).is_present()?
        {
            bail!("--manage-cgroups-mode strict: its cgroup exists already");
        }
        self.launch.write_down()?;
        let join_files = self.launch.make_cgroups().context(CGROUPS)?;
        if !self.launch.is_taken() {
            self.launch.limit_cgroups().context(CGROUPS)?;
        }
        self.launch.claim_rdt_group()?;
        let begun = sys::mount::in_private_namespace(|| self.begin(program, join_files));
        let (mut worker, options) = begun.context("a mount namespace for criu")??;
        if self.launch.is_taken() {
            // A scope begins with a process; this one goes when the container's are there.
            self.launch.enter_scope(worker.pid()).context(CGROUPS)?;
        }
        worker.require(Features {
            track_memory: false,
            lazy_pages: self.checkpoint.common.is_lazy(),
        })?;
        let log = self.work.path().join(LOG);
        let mut listener = |stage: &Notification, fds: Vec<OwnedFd>| self.reached(stage, fds);
        let answer = worker.ask(&rpc::request(Kind::Restore, &options), &mut listener);
        let response = criu::judge(answer, "restore", &worker, &log)?;
        drop(worker);
        self.finish(response.restored)
    }

    /// Starts CRIU in its mount namespace, and says what it has there.
    fn begin(&mut self, program: &Path, join_files: Vec<OwnedFd>) -> Result<(Worker, Options)> {
        // Open in that namespace: it mounts in its working directory.
        self.images = Images::open(self.images.path())?;
        self.work = Images::open(self.work.path())?;
        let mut options = self.options()?;
        let mut service = Service::default();
        self.add_cgroups(&mut options, &mut service, join_files)?;
        self.add_namespaces(&mut options, &mut service)?;
        self.add_streams(&mut options);
        if self.launch.plan.namespaces.is_private(plan::Kind::Mount) {
            self.add_mounts(&mut options)?;
        }
        Ok((Worker::start(program, service)?, options))
    }

    fn options(&self) -> Result<Options> {
        let mut common = self.checkpoint.common.clone();
        if common.cgroups == Some(CgroupMode::Strict) {
            // That none of them was there is known; CRIU would now find those that we made.
            common.cgroups = Some(CgroupMode::Full);
        }
        let mut options = common.options(&self.images, &self.work, LOG);
        options.flag(Flag::Sibling, true);
        if let Some(profile) = &self.checkpoint.lsm_profile {
            options.text(Text::LsmProfile, profile);
        }
        if let Some(context) = &self.checkpoint.lsm_mount_context {
            options.text(Text::LsmMountContext, context);
        }
        if let Some(file) = criu::config_file(&self.launch.record.annotations) {
            options.text(Text::ConfigFile, &file);
        }
        Ok(options)
    }

    /// CRIU itself stays outside, so that neither its memory nor its processes count against the
    /// container's limits, and moves what it restores. Told to ignore cgroups it does not, so
    /// then it joins them for its children.
    fn add_cgroups(
        &self,
        options: &mut Options,
        service: &mut Service,
        join_files: Vec<OwnedFd>,
    ) -> Result<()> {
        if self.checkpoint.common.cgroups == Some(CgroupMode::Ignore) {
            service.cgroup_files = join_files;
            let unified = self.launch.cgroup.as_ref().map(Cgroup::birthplace);
            if let Some(dir) = unified.transpose().context(CGROUPS)?.flatten() {
                let procs = sys::kernel_file::open_for_writing(&dir, "cgroup.procs")?;
                service.cgroup_files.push(procs);
            }
            return Ok(());
        }
        let paths = &self.launch.record.cgroup_paths;
        for (controller, path) in self.launch.hierarchies.kernel_paths(paths)? {
            let controller = Some(controller.as_str()).filter(|name| !name.is_empty());
            options.cgroup_root(controller, &path.to_string_lossy());
        }
        Ok(())
    }

    fn add_namespaces(&mut self, options: &mut Options, service: &mut Service) -> Result<()> {
        for join in self.launch.plan.namespaces.joins() {
            let key = match join.kind {
                plan::Kind::Network => criu::NETWORK_KEY,
                plan::Kind::Pid => criu::PID_KEY,
                plan::Kind::Cgroup => bail!(
                    "config.json {}: CRIU cannot restore into a cgroup namespace",
                    join.pointer
                ),
                kind => {
                    let path = &join.path.to_string_lossy();
                    options.pair(Pair::JoinNamespace, kind.proc_name(), path);
                    continue;
                }
            };
            if let Some(namespace) = self.launch.namespaces.take(join.kind) {
                options.inherit(key, namespace.as_raw_fd());
                service.descriptors.push(namespace);
            }
        }
        Ok(())
    }

    /// A pipe that led outside is now what this process has there.
    fn add_streams(&self, options: &mut Options) {
        for (number, link) in (0..3).zip(&self.streams) {
            if link.starts_with("pipe:") {
                options.inherit(link, number);
            }
        }
    }

    fn add_mounts(&self, options: &mut Options) -> Result<()> {
        let plan = &self.launch.plan;
        let rootfs = &plan.rootfs.path;
        let view = View::plan(
            &self.launch.hierarchies,
            &self.launch.record.cgroup_paths,
            plan.namespaces.is_private(plan::Kind::Cgroup),
            plan.id_maps.is_some() || !nix::unistd::geteuid().is_root(),
        );
        let root = Root::new(open_path(rootfs)?);
        let sources = Sources {
            plan,
            places: mounts::places(&plan.mounts, &root, rootfs),
            view: &view,
        };
        for key in self
            .image_mounts
            .iter()
            .filter_map(|mount| mount.key.as_deref())
        {
            let source = sources.path(Path::new(key))?;
            let checked = mounts::key(Path::new(key))?;
            options.pair(Pair::ExternalMount, checked, &source.to_string_lossy());
        }
        mounts::prepare(&self.image_mounts, rootfs, &sources)?;
        // CRIU wants a mount whose parent nothing else is mounted over.
        let place = self.launch.state.make_mount_point()?;
        let tree = sys::mount::open_tree_clone(open_path(rootfs)?, Reach::Recursive)?;
        sys::mount::move_mount(&tree, &open_path(&place)?)?;
        options.text(Text::Root, &place.to_string_lossy());
        Ok(())
    }

    fn reached(&mut self, stage: &Notification, fds: Vec<OwnedFd>) -> Result<()> {
        if stage.pid != 0 {
            // Of some stages only; CRIU 4 tells of it when the namespaces are made.
            self.pid = stage.pid;
        }
        match stage.stage.as_str() {
            "post-setup-namespaces" => {
                // Alone still: its children and threads will be in the group as well.
                let group = self.launch.record.intel_rdt.as_ref();
                group.map_or(Ok(()), |group| group.admit(Pid::from_raw(self.pid)))?;
                self.launch.run_hooks(self.pid)
            }
            "orphan-pts-master" => {
                let master = fds.into_iter().next().context("criu sent no terminal")?;
                self.terminal = self.launch.console.hand_over(master)?;
                Ok(())
            }
            "post-restore" => self.record(self.pid),
            _ => Ok(()),
        }
    }

    /// Before its processes run on: from here on they are found by the record.
    fn record(&mut self, pid: i32) -> Result<()> {
        let stat = Stat::of(pid)?.context("the restored process is gone")?;
        let record = &mut self.launch.record;
        record.stage = Stage::Created;
        record.init_process_pid = pid;
        record.init_process_start = stat.start_time;
        record.namespace_paths = namespace_paths(pid);
        self.launch.state.save(record)
    }

    fn finish(&mut self, pid: i32) -> Result<OwnedFd> {
        if pid != self.pid || pid == 0 {
            bail!("criu restored process {pid} and spoke of {}", self.pid);
        }
        let pidfd = sys::process::pidfd_open(Pid::from_raw(pid)).map_err(|error| {
            let text = "the restored process has ended at once";
            anyhow::Error::from(error).context(text)
        })?;
        match self.launch.state.remove_mount_point() {
            // Without a mount namespace there was none.
            Err(error) if is_missing(&error) => {}
            other => other?,
        }
        if let Some(path) = &self.launch.request.pid_file {
            write_pid_file(path, pid)?;
        }
        Ok(pidfd)
    }
}

fn is_missing(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<SyscallError>()
        .is_some_and(|error| error.errno() == Errno::ENOENT)
}
