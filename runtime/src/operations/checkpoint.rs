//! `checkpoint`: a running container, written to images by CRIU.
//!
//! Afterwards it is gone, as `delete` leaves it, so that it can be restored under its own id;
//! with `--leave-running` or `--pre-dump` it runs on. After an error it runs on too, and nothing
//! of it has changed.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sys::root::Root;

use crate::container::{Container, Status};
use crate::container_id::ContainerId;
use crate::criu::images::Images;
use crate::criu::mounts::{self, MountInfo};
use crate::criu::rpc::{self, Features, Flag, Kind, Notification, Number, Options, Pair, Text};
use crate::criu::{self, Common, Service, Worker};
use crate::init::rootfs::open_path;
use crate::plan::mounts::What;
use crate::plan::{self, Kind as Namespace, Namespaces};
use crate::state_dir::StateRoot;

/// Its name in the working directory.
const LOG: &str = "dump.log";

/// What only a checkpoint has.
#[derive(Debug)]
pub struct Request {
    /// The rest.
    pub common: Common,
    /// Images of a pre-dump before this one, seen from the images' directory.
    pub parent: Option<PathBuf>,
    /// Where pages are sent.
    pub page_server: Option<(String, u16)>,
    /// Told, by a zero byte, that pages can be asked for.
    pub status: Option<i32>,
    /// How much is written, and what comes after.
    pub extent: Extent,
}

/// How much is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Everything, and the container ends.
    All,
    /// Everything, and the container runs on.
    AllAndRun,
    /// The memory, for a later checkpoint to build on.
    Memory,
}

/// Checkpoints the container `id`.
pub fn run(root: &StateRoot, id: &str, request: &Request) -> Result<()> {
    let id = ContainerId::parse(id)?;
    let container = Container::open(root, &id)?;
    checkpoint(container, request)
        .with_context(|| format!("checkpoint container {:?}", id.as_str()))
}

fn checkpoint(container: Container, request: &Request) -> Result<()> {
    let _lock = container.state.lock()?;
    if container.state.is_gone()? {
        bail!("it was deleted meanwhile");
    }
    match container.status()? {
        Status::Running | Status::Paused => {}
        status => bail!(
            "Container cannot be checkpointed in {} state",
            status.as_str()
        ),
    }
    let program = criu::program()?;
    let status = request.status.map(sys::process::take_inherited);
    let status = status.transpose().context("--status-fd")?;
    let images = Images::create(&request.common.images)?;
    let parent = request
        .parent
        .as_ref()
        .map(|parent| checked(parent, &images));
    let parent = parent.transpose()?;
    let work = request.common.work()?;
    let mut options = request.common.options(&images, &work, LOG);
    let record = container.record()?;
    options.number(Number::Pid, container.pid()?.into());
    if let Some(parent) = parent {
        options.text(Text::Parent, &parent);
    }
    if let Some((address, port)) = &request.page_server {
        options.page_server(address, *port);
    }
    if let Some(file) = criu::config_file(&record.annotations) {
        options.text(Text::ConfigFile, &file);
    }
    let freezer = record.cgroup_paths.get("freezer");
    if let Some(path) = freezer.or(record.cgroup_paths.get("")) {
        options.text(Text::FreezeCgroup, &path.to_string_lossy());
    }
    options.flag(Flag::LeaveRunning, request.extent != Extent::All);
    // With older images to build on, CRIU asks what has changed only if memory is tracked.
    let tracked = request.extent == Extent::Memory || request.parent.is_some();
    options.flag(Flag::TrackMemory, tracked);
    add_external(&mut options, &container)?;

    let mut worker = Worker::start(&program, Service::default())?;
    worker.require(Features {
        track_memory: request.extent == Extent::Memory,
        lazy_pages: request.common.is_lazy(),
    })?;
    // Before the dump: nothing that may fail comes between the container's end and its removal.
    if request.extent != Extent::Memory {
        images.save_descriptors(&record.external_descriptors)?;
    }
    dump(&mut worker, request, &options, &work, status)?;
    drop(worker);
    if request.extent == Extent::All {
        return container
            .destroy()
            .context("it is checkpointed, but could not be taken away");
    }
    Ok(())
}

/// `--parent-path`, which CRIU looks for from the images' directory.
fn checked(parent: &Path, images: &Images) -> Result<String> {
    if parent.is_absolute() {
        bail!("--parent-path {parent:?} must be relative to --image-path");
    }
    let seen = images.path().join(parent);
    Images::open(&seen).context("--parent-path")?;
    parent
        .to_str()
        .map(str::to_owned)
        .with_context(|| format!("--parent-path {parent:?} is not UTF-8"))
}

fn dump(
    worker: &mut Worker,
    request: &Request,
    options: &Options,
    work: &Images,
    status: Option<OwnedFd>,
) -> Result<()> {
    let kind = match request.extent {
        Extent::Memory => Kind::PreDump,
        Extent::All | Extent::AllAndRun => Kind::Dump,
    };
    let mut status = status;
    let mut listener = |stage: &Notification, _: Vec<OwnedFd>| {
        // Whoever serves the pages elsewhere has waited for this; then nothing more comes.
        if stage.stage == "status-ready"
            && let Some(fd) = status.take()
        {
            nix::unistd::write(fd, &[0]).context("write to --status-fd")?;
        }
        Ok(())
    };
    let answer = worker.ask(&rpc::request(kind, options), &mut listener);
    criu::judge(answer, "dump", worker, &work.path().join(LOG)).map(drop)
}

/// Names what of the container is not its own: namespaces given by path, and mounts.
fn add_external(options: &mut Options, container: &Container) -> Result<()> {
    let spec = container.spec()?;
    let linux = spec.linux().as_ref();
    let namespaces = Namespaces::plan(linux)?;
    let pid = container.pid()?;
    for (kind, key) in [
        (Namespace::Network, criu::NETWORK_KEY),
        (Namespace::Pid, criu::PID_KEY),
    ] {
        if namespaces.joined(kind).is_some() {
            // Not by the path of the configuration, which may lead elsewhere by now.
            let path = format!("/proc/{pid}/ns/{}", kind.proc_name());
            let inode = std::fs::metadata(&path)
                .with_context(|| format!("stat({path:?})"))?
                .ino();
            let external = format!("{}[{inode}]:{key}", kind.proc_name());
            options.text(Text::External, &external);
        }
    }
    if !namespaces.is_private(Namespace::Mount) {
        return Ok(());
    }
    let bundle = &container.record()?.bundle;
    let maps = plan::IdMaps::listed(spec.linux().as_ref());
    let ids = plan::mounts::Ids {
        maps: (!maps.uids.is_empty()).then_some(&maps),
        in_namespace: true, // It was checked when the container was created.
    };
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    let steps = plan::mounts::plan(mounts, "/mounts", bundle, ids)?;
    let binds: Vec<_> = steps
        .into_iter()
        .filter(|step| matches!(step.what, What::Bind { .. }))
        .collect();
    let root = Root::new(open_path(Path::new(&format!("/proc/{pid}/root")))?);
    let bound = mounts::places(&binds, &root, Path::new("/"));
    let (inside, outside) = (MountInfo::of(&pid.to_string())?, MountInfo::of("self")?);
    for place in mounts::external(&inside, &outside, &bound) {
        let key = mounts::key(place)?;
        options.pair(Pair::ExternalMount, key, key);
    }
    Ok(())
}
