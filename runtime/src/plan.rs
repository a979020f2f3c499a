//! From config.json to a complete plan: every refusal lives here, every side effect elsewhere.
//!
//! [`Plan::new`] looks at the configuration and at the facts in [`Host`], nothing else. What it
//! returns needs no further checks, so that the container's init, which acts on it, holds no
//! configuration code.

pub mod devices;
pub mod foreign_runtime;

pub mod hooks;
pub mod id_map;
pub mod intel_rdt;
pub mod mounts;
pub mod namespaces;
pub mod net_devices;
pub mod process;
pub mod refusal;
pub mod sysctl;

use std::path::{Path, PathBuf};

use nix::mount::MsFlags;

pub use devices::DeviceNode;
pub use hooks::{Hook, Hooks, Moment};
pub use intel_rdt::IntelRdt;
pub use mounts::MountStep;
pub use namespaces::{IdMaps, Kind, Namespaces};
pub use net_devices::NetDevice;
pub use process::Process;
pub use refusal::{Refusal, Result};

use crate::bundle::{Bundle, filter_text};
use crate::host::{Host, is_root_of_everything, own_maps};
use crate::notify_listener::Agent;
use crate::seccomp;
use crate::seccomp_cache::Programs;

/// Everything that init does, decided.
#[derive(Debug)]
pub struct Plan {
    /// Namespaces made and joined.
    pub namespaces: Namespaces,
    /// Id maps of a new user namespace.
    pub id_maps: Option<IdMaps>,
    /// Clock offsets of a new time namespace: clock, seconds, nanoseconds.
    pub time_offsets: Vec<(String, i64, u32)>,
    /// The root file system.
    pub rootfs: Rootfs,
    /// Mounts in the configuration's order.
    pub mounts: Vec<MountStep>,
    /// Device nodes.
    pub devices: Vec<DeviceNode>,
    /// Links of the host that move into the container.
    pub net_devices: Vec<NetDevice>,
    /// Host name to set.
    pub hostname: Option<String>,
    /// NIS domain name to set.
    pub domainname: Option<String>,
    /// Kernel parameters: path below `/proc/sys`, and value.
    pub sysctl: Vec<(PathBuf, String)>,
    /// The process.
    pub process: Process,
    /// Hooks.
    pub hooks: Hooks,
    /// Compiled system call filter.
    pub seccomp: Option<seccomp::Program>,
    /// The class of service.
    pub intel_rdt: Option<IntelRdt>,
    /// Who answers for the calls that the filter traps.
    pub agent: Option<Agent>,
    /// What every process of the container gets, those of exec too.
    pub execution: Execution,
    /// SELinux: label of the process.
    pub selinux_label: Option<String>,
    /// SELinux: label of the mounts.
    pub mount_label: Option<String>,
}

/// The container's root and what is done to it after the mounts.
#[derive(Clone, Debug)]
pub struct Rootfs {
    /// Absolute path on the host.
    pub path: PathBuf,
    /// Whether `/` ends up read-only.
    pub readonly: bool,
    /// `linux.rootfsPropagation`.
    pub propagation: Option<MsFlags>,
    /// Whether the root is moved over `/` instead of pivoted (`--no-pivot`).
    pub entry: Entry,
    /// Paths whose contents are hidden.
    pub masked_paths: Vec<PathBuf>,
    /// Paths that cannot be written to.
    pub readonly_paths: Vec<PathBuf>,
}

/// How init makes the rootfs its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// pivot_root(2).
    Pivot,
    /// Move the mount over `/`, then chroot(2): for an initramfs, whose root cannot be pivoted.
    Move,
}

/// What `linux` says of processes, not of the container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Execution {
    /// personality(2) value.
    pub personality: Option<u64>,
    /// set_mempolicy(2): mode with flags, node mask.
    pub memory_policy: Option<(u32, Vec<u64>)>,
}

impl Execution {
    /// Reads both properties.
    pub fn plan(linux: Option<&oci::Linux>) -> Result<Self> {
        let persona = linux.and_then(|linux| linux.personality().as_ref());
        Ok(Self {
            personality: persona.map(personality),
            memory_policy: memory_policy(linux)?,
        })
    }
}

impl Plan {
    /// Plans `bundle` on `host`.
    pub fn new(bundle: &Bundle, host: &Host, entry: Entry) -> Result<Self> {
        let spec = &bundle.spec;
        let linux = spec.linux().as_ref();
        foreign_runtime::refuse(spec.annotations().as_ref(), &host.called_as)?;
        let mut namespaces = Namespaces::plan(linux)?;
        if !host.root {
            namespaces.ensure_user();
        }
        let mut process = process(spec, host)?;
        let own = || (!host.root).then(|| own_maps(process.uid, process.gid));
        let id_maps = IdMaps::plan(linux, &namespaces, own)?;
        process.keep_groups = keeps_groups(spec);
        if !host.root && id_maps.as_ref().is_some_and(IdMaps::is_single) {
            // setgroups(2) is given up for such a map (user_namespaces(7)); runc leaves them out.
            process.additional_gids.clear();
        }
        let ids = mounts::Ids {
            maps: id_maps.as_ref(),
            in_namespace: namespaces.is_private(Kind::User),
        };
        let mounts = spec.mounts().as_deref().unwrap_or_default();
        let mounts = mounts::plan(mounts, "/mounts", &bundle.dir, ids)?;
        let plan = Self {
            id_maps,
            time_offsets: time_offsets(linux, &namespaces)?,
            rootfs: rootfs(bundle, linux, &namespaces, entry)?,
            mounts,
            devices: devices::plan(
                linux
                    .and_then(|l| l.devices().as_deref())
                    .unwrap_or_default(),
            )?,
            net_devices: net_devices::plan(listed_net_devices(linux), &namespaces)?,
            hostname: name(spec.hostname(), "hostname", &namespaces)?,
            domainname: name(spec.domainname(), "domainname", &namespaces)?,
            sysctl: sysctl::plan(linux.and_then(|l| l.sysctl().as_ref()), &namespaces)?,
            hooks: Hooks::plan(spec.hooks().as_ref())?,
            seccomp: match &bundle.filter {
                Some(program) => Some(program.clone()),
                None => compile(spec, &bundle.text, &host.programs)?,
            },
            agent: agent_of(spec),
            intel_rdt: linux
                .and_then(|l| l.intel_rdt().as_ref())
                .map(intel_rdt)
                .transpose()?,
            execution: Execution::plan(linux)?,
            selinux_label: spec
                .process()
                .as_ref()
                .and_then(|p| given(p.selinux_label())),
            mount_label: linux.and_then(|l| given(l.mount_label())),
            process,
            namespaces,
        };
        plan.check_ids()?;
        plan.check_mount_namespace(linux)?;
        plan.check_host(host)?;
        Ok(plan)
    }

    /// Refuses a user or a group that a new user namespace does not map.
    fn check_ids(&self) -> Result<()> {
        let Some(maps) = &self.id_maps else {
            return Ok(());
        };
        let process = &self.process;
        let check = |what: &str, ranges, id, pointer: &str| match IdMaps::outside(ranges, id) {
            Some(_) => Ok(()),
            None => {
                let reason =
                    format!("user namespaces enabled, but no mapping found for {what} {id}");
                Err(Refusal::new(pointer, reason))
            }
        };
        check("uid", &maps.uids, process.uid, "/process/user/uid")?;
        check("gid", &maps.gids, process.gid, "/process/user/gid")?;
        let gids = process.additional_gids.iter().enumerate();
        for (index, &gid) in gids {
            check(
                "gid",
                &maps.gids,
                gid,
                &format!("/process/user/additionalGids/{index}"),
            )?;
        }
        Ok(())
    }

    /// Refuses what would be done to the host's own mounts: without a mount namespace there is
    /// only the change of root.
    fn check_mount_namespace(&self, linux: Option<&oci::Linux>) -> Result<()> {
        if self.namespaces.is_private(Kind::Mount) {
            return Ok(());
        }
        let devices = linux.and_then(|linux| linux.devices().as_ref());
        let asked = [
            (!self.mounts.is_empty(), "/mounts"),
            (self.rootfs.readonly, "/root/readonly"),
            (self.process.terminal, "/process/terminal"),
            (
                devices.is_some_and(|devices| !devices.is_empty()),
                "/linux/devices",
            ),
        ];
        match asked.into_iter().find(|(asked, _)| *asked) {
            Some((_, pointer)) => Err(Refusal::new(
                pointer,
                "needs a private mount namespace in /linux/namespaces",
            )),
            None => Ok(()),
        }
    }

    /// Refuses what this host, or davit, does not have; running without it would protect less.
    fn check_host(&self, host: &Host) -> Result<()> {
        let selinux =
            "selinux label is specified in config, but selinux is disabled or not supported";
        if !host.selinux && self.selinux_label.is_some() {
            return Err(Refusal::new("/process/selinuxLabel", selinux));
        }
        if !host.selinux && self.mount_label.is_some() {
            return Err(Refusal::new("/linux/mountLabel", selinux));
        }
        if !self.net_devices.is_empty() && !host.root {
            let reason = "network devices are not supported for rootless containers";
            return Err(Refusal::new("/linux/netDevices", reason));
        }
        Ok(())
    }
}

/// Whether the process keeps the supplementary groups of whoever runs us: crun's annotation, which
/// `podman run --group-add keep-groups` sets.
pub fn keeps_groups(spec: &oci::Spec) -> bool {
    let annotations = spec.annotations().as_ref();
    let value = annotations.and_then(|all| all.get(KEEP_GROUPS));
    value.is_some_and(|value| matches!(value.as_str(), "1" | "true"))
}

/// The annotation of [`keeps_groups`].
pub const KEEP_GROUPS: &str = "run.oci.keep_original_groups";

fn given(text: &Option<String>) -> Option<String> {
    text.clone().filter(|text| !text.is_empty())
}

fn process(spec: &oci::Spec, host: &Host) -> Result<Process> {
    let Some(process) = spec.process() else {
        return Err(Refusal::new(
            "/process",
            "process property must not be empty",
        ));
    };
    let process = Process::plan(process, "/process")?;
    check_apparmor(&process, host, "/process")?;
    Ok(process)
}

/// Refuses an AppArmor profile on a host without AppArmor.
pub fn check_apparmor(process: &Process, host: &Host, at: &str) -> Result<()> {
    if process.apparmor_profile.is_none() || host.apparmor {
        return Ok(());
    }
    let reason = "apparmor: config provided but apparmor not supported";
    Err(Refusal::new(format!("{at}/apparmorProfile"), reason))
}

/// Compiles the filter of `spec`, which is what `text` says, for this machine; `None` if there is none.
pub fn compile(
    spec: &oci::Spec,
    text: &[u8],
    programs: &Programs,
) -> Result<Option<seccomp::Program>> {
    let linux = spec.linux().as_ref();
    let Some(profile) = linux.and_then(|linux| linux.seccomp().as_ref()) else {
        return Ok(None);
    };
    let written = filter_text(text).map(|place| &text[place]);
    let program = programs
        .compile(profile, written)
        .map_err(|error| match error {
            seccomp::Error::Property { pointer, reason } => Refusal::new(pointer, reason),
            too_long @ seccomp::Error::TooLong(_) => Refusal::new("/linux/seccomp", too_long),
        })?;
    Ok(Some(program))
}

/// Who is to be told of the listener of the filter.
pub fn agent_of(spec: &oci::Spec) -> Option<Agent> {
    let profile = spec.linux().as_ref()?.seccomp().as_ref()?;
    let path = profile.listener_path().clone();
    Some(Agent {
        path: path.filter(|path| !path.as_os_str().is_empty())?,
        metadata: profile.listener_metadata().clone().unwrap_or_default(),
    })
}

fn rootfs(
    bundle: &Bundle,
    linux: Option<&oci::Linux>,
    namespaces: &Namespaces,
    entry: Entry,
) -> Result<Rootfs> {
    let Some(root) = bundle.spec.root() else {
        return Err(Refusal::new("/root", "root must be specified"));
    };
    let path = bundle.dir.join(root.path());
    let kind = std::fs::symlink_metadata(&path).map_err(|error| {
        Refusal::new(
            "/root/path",
            format!("invalid rootfs: lstat {path:?}: {error}"),
        )
    })?;
    if !kind.is_dir() {
        let reason = format!("invalid rootfs: not an absolute path, or a symlink: {path:?}");
        return Err(Refusal::new("/root/path", reason));
    }
    if is_root_of_everything(&path, &kind) {
        return Err(Refusal::new(
            "/root/path",
            "invalid rootfs: it is the root of the host",
        ));
    }
    let masked_paths = restricted(
        linux.map(oci::Linux::masked_paths),
        "maskedPaths",
        namespaces,
    )?;
    let readonly_paths = restricted(
        linux.map(oci::Linux::readonly_paths),
        "readonlyPaths",
        namespaces,
    )?;
    Ok(Rootfs {
        path,
        readonly: root.readonly().unwrap_or(false),
        propagation: propagation(linux, entry)?,
        entry,
        masked_paths,
        readonly_paths,
    })
}

fn propagation(linux: Option<&oci::Linux>, entry: Entry) -> Result<Option<MsFlags>> {
    let Some(name) = linux.and_then(|linux| given(linux.rootfs_propagation())) else {
        return Ok(None);
    };
    let refuse = |reason: String| Err(Refusal::new("/linux/rootfsPropagation", reason));
    let Some(flags) = mounts::propagation(&name) else {
        return refuse(format!("rootfsPropagation={name} is not supported"));
    };
    if entry == Entry::Move && flags.contains(MsFlags::MS_PRIVATE) {
        return refuse(format!(
            "rootfsPropagation of {name} is not safe without pivot_root"
        ));
    }
    Ok(Some(flags))
}

fn restricted(
    paths: Option<&Option<Vec<String>>>,
    name: &str,
    namespaces: &Namespaces,
) -> Result<Vec<PathBuf>> {
    let paths = paths
        .and_then(Option::as_ref)
        .map(Vec::as_slice)
        .unwrap_or_default();
    if !paths.is_empty() && !namespaces.is_private(Kind::Mount) {
        let reason = "unable to restrict sys entries without a private MNT namespace";
        return Err(Refusal::new(format!("/linux/{name}"), reason));
    }
    let mut clean: Vec<PathBuf> = Vec::with_capacity(paths.len());
    for (index, path) in paths.iter().enumerate() {
        if !path.starts_with('/') {
            let reason = format!("{path:?} is not an absolute path");
            return Err(Refusal::new(format!("/linux/{name}/{index}"), reason));
        }
        let path = mounts::clean(Path::new(path));
        if !clean.contains(&path) {
            clean.push(path);
        }
    }
    Ok(clean)
}

fn listed_net_devices(linux: Option<&oci::Linux>) -> Vec<(String, Option<String>)> {
    let listed = linux.and_then(|linux| linux.net_devices().as_ref());
    let devices = listed.into_iter().flatten();
    devices
        .map(|(host_name, device)| (host_name.clone(), device.name().clone()))
        .collect()
}

fn name(name: &Option<String>, key: &str, namespaces: &Namespaces) -> Result<Option<String>> {
    let Some(name) = given(name) else {
        return Ok(None);
    };
    if !namespaces.is_private(Kind::Uts) {
        let reason = format!("unable to set {key} without a private UTS namespace");
        return Err(Refusal::new(format!("/{key}"), reason));
    }
    if name.len() > 64 {
        return Err(Refusal::new(
            format!("/{key}"),
            "longer than 64 bytes (uname(2))",
        ));
    }
    Ok(Some(name))
}

fn time_offsets(
    linux: Option<&oci::Linux>,
    namespaces: &Namespaces,
) -> Result<Vec<(String, i64, u32)>> {
    let offsets = linux.and_then(|linux| linux.time_offsets().as_ref());
    let Some(offsets) = offsets.filter(|offsets| !offsets.is_empty()) else {
        return Ok(Vec::new());
    };
    let refuse = |pointer: String, reason: &str| Err(Refusal::new(pointer, reason));
    if namespaces.joined(Kind::Time).is_some() {
        let reason = "time namespace enabled, but both namespace path and time offsets specified \
                      -- you may only provide one";
        return refuse("/linux/timeOffsets".into(), reason);
    }
    if !namespaces.makes(Kind::Time) {
        let reason =
            "time namespace offsets specified, but time namespace isn't enabled in the config";
        return refuse("/linux/timeOffsets".into(), reason);
    }
    let mut read = Vec::new();
    for (clock, offset) in offsets {
        if !matches!(clock.as_str(), "boottime" | "monotonic") {
            return refuse(
                format!("/linux/timeOffsets/{clock}"),
                "only boottime and monotonic have offsets",
            );
        }
        let nanoseconds = offset.nanosecs().unwrap_or(0);
        read.push((clock.clone(), offset.secs().unwrap_or(0), nanoseconds));
    }
    read.sort();
    Ok(read)
}

fn intel_rdt(rdt: &oci::LinuxIntelRdt) -> Result<IntelRdt> {
    IntelRdt::plan(
        rdt.clos_id().as_deref(),
        rdt.l3_cache_schema().as_deref(),
        rdt.mem_bw_schema().as_deref(),
        rdt.schemata().as_deref().unwrap_or_default(),
        rdt.enable_monitoring().unwrap_or(false),
    )
}

/// `PER_LINUX` and `PER_LINUX32` (personality(2)).
fn personality(personality: &oci::LinuxPersonality) -> u64 {
    match personality.domain() {
        oci::LinuxPersonalityDomain::PerLinux => 0x0,
        oci::LinuxPersonalityDomain::PerLinux32 => 0x8,
    }
}

fn memory_policy(linux: Option<&oci::Linux>) -> Result<Option<(u32, Vec<u64>)>> {
    use oci::{MemoryPolicyFlagType as Flag, MemoryPolicyModeType as Mode};
    let Some(policy) = linux.and_then(|linux| linux.memory_policy().as_ref()) else {
        return Ok(None);
    };
    let nodes = policy.nodes().as_deref().filter(|nodes| !nodes.is_empty());
    let mask = match nodes.map(process::cpu_mask) {
        None => Vec::new(),
        Some(Some(mask)) => mask,
        Some(None) => {
            return Err(Refusal::new(
                "/linux/memoryPolicy/nodes",
                "invalid memory policy nodes",
            ));
        }
    };
    let mode = policy.mode();
    let alone = matches!(mode, Mode::MpolDefault | Mode::MpolLocal);
    if alone && !mask.is_empty() {
        let count: u32 = mask.iter().map(|word| word.count_ones()).sum();
        let reason = format!("mode requires 0 nodes but got {count}");
        return Err(Refusal::new("/linux/memoryPolicy/nodes", reason));
    }
    if !alone && mask.is_empty() && mode != Mode::MpolPreferred {
        return Err(Refusal::new(
            "/linux/memoryPolicy/nodes",
            "mode requires at least one node",
        ));
    }
    let number = match mode {
        Mode::MpolDefault => 0,
        Mode::MpolPreferred => 1,
        Mode::MpolBind => 2,
        Mode::MpolInterleave => 3,
        Mode::MpolLocal => 4,
        Mode::MpolPreferredMany => 5,
        Mode::MpolWeightedInterleave => 6,
    };
    let flags = policy.flags().iter().flatten().fold(0u32, |flags, flag| {
        flags
            | match flag {
                Flag::MpolFNumaBalancing => 1 << 13,
                Flag::MpolFRelativeNodes => 1 << 14,
                Flag::MpolFStaticNodes => 1 << 15,
            }
    });
    Ok(Some((number | flags, mask)))
}
