//! From `linux.cgroupsPath` and `linux.resources` to directories and writes. Pure: every refusal
//! that needs no look into a cgroup is made here, before anything exists.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use oci::{LinuxMemory, LinuxResources};

use super::devices::{self, Rule};
use super::{Error, Hierarchies, Hierarchy, Unit, v1, v2};

/// Which interface a hierarchy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// What a container's cgroups will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub(super) groups: Vec<PlannedGroup>,
    pub(super) devices: Vec<Rule>,
    /// `memory.checkBeforeUpdate`: the limit that must be above the usage.
    pub(super) checked_limit: Option<u64>,
}

/// One directory, and what is written into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlannedGroup {
    pub(super) version: Version,
    pub(super) controllers: Vec<String>,
    pub(super) mount: PathBuf,
    /// Below the mount; at least one name.
    pub(super) below: PathBuf,
    pub(super) steps: Vec<Step>,
    /// Whether parents must pass these controllers down (v2).
    pub(super) enable: Vec<String>,
    /// Whether systemd makes it, and puts init there.
    pub(super) managed: bool,
}

impl PlannedGroup {
    fn new(version: Version, hierarchy: &Hierarchy, below: PathBuf) -> Self {
        Self {
            version,
            controllers: hierarchy.controllers.clone(),
            mount: hierarchy.mount.clone(),
            below,
            steps: Vec::new(),
            enable: Vec::new(),
            managed: false,
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.mount.join(&self.below)
    }

    /// The controllers whose files are written.
    pub(super) fn wanted_controllers(&self) -> impl Iterator<Item = &str> {
        let files = self.steps.iter().flat_map(|step| match step {
            Step::Write(write) => std::slice::from_ref(write),
            Step::AnyOrder(writes) => writes.as_slice(),
        });
        files.filter_map(|write| write.files[0].0.split('.').next())
    }
}

/// A value for a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Write {
    /// The property that asked for it.
    pub(super) pointer: String,
    /// A file and its value; the first that exists.
    pub(super) files: Vec<(String, String)>,
    pub(super) missing: Missing,
}

/// What it means if none of the files is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Refused,
    /// The value is what the kernel does without the file.
    Harmless,
}

impl Write {
    pub(super) fn new(pointer: &str, file: &str, value: impl ToString) -> Self {
        Self {
            pointer: format!("/linux/resources/{pointer}"),
            files: vec![(file.to_owned(), value.to_string())],
            missing: Missing::Refused,
        }
    }

    /// The same value in another file, if the earlier ones do not exist.
    pub(super) fn or(self, file: &str) -> Self {
        let value = self.files[0].1.clone();
        self.or_value(file, value)
    }

    /// Another value in another file, if the earlier ones do not exist.
    pub(super) fn or_value(mut self, file: &str, value: impl ToString) -> Self {
        self.files.push((file.to_owned(), value.to_string()));
        self
    }

    pub(super) fn harmless_if_missing(mut self) -> Self {
        self.missing = Missing::Harmless;
        self
    }
}

/// One step of applying limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Write(Write),
    /// Limits that bound each other, so that the right order depends on the old values: whatever
    /// is refused is tried again after the others.
    AnyOrder(Vec<Write>),
}

/// The steps of each controller, before it is known which hierarchy it is on.
pub(super) type Steps = Vec<(&'static str, Step)>;

impl Plan {
    /// Decides where the container's cgroups are and what they hold.
    ///
    /// `cgroups_path` as in config-linux.md: an absolute one is below each hierarchy's mount; a
    /// relative one is below our own cgroup, in a pure v2 host beside it (ours has processes, so
    /// controllers cannot be enabled below it); without one the container's id is the name.
    pub fn new(
        hierarchies: &Hierarchies,
        cgroups_path: Option<&Path>,
        container_id: &str,
        resources: Option<&LinuxResources>,
    ) -> Result<Self, Error> {
        let path = cgroups_path.filter(|path| !path.as_os_str().is_empty());
        let below = Below::new(path.unwrap_or(Path::new(container_id)))?;
        Self::at(hierarchies, &below, resources)
    }

    /// The same for a unit of systemd whose cgroup is `below` the mounts. A scope is made by
    /// systemd where that keeps its processes: in v2, and in its own hierarchy of v1.
    pub fn in_unit(
        hierarchies: &Hierarchies,
        below: &Path,
        unit: &Unit,
        resources: Option<&LinuxResources>,
    ) -> Result<Self, Error> {
        let below = Below {
            relative: false,
            names: below.to_owned(),
        };
        let mut plan = Self::at(hierarchies, &below, resources)?;
        if unit.is_slice() {
            return Ok(plan);
        }
        for group in &mut plan.groups {
            group.managed = group.version == Version::V2 || group.controllers == ["name=systemd"];
            if group.managed {
                // It delegates those that it knows; others are for us to pass down.
                let wanted: Vec<String> = group.wanted_controllers().map(str::to_owned).collect();
                group.enable.retain(|controller| {
                    let known = ["cpu", "cpuset", "io", "memory", "pids"];
                    wanted.contains(controller) && !known.contains(&controller.as_str())
                });
            }
        }
        Ok(plan)
    }

    fn at(
        hierarchies: &Hierarchies,
        below: &Below,
        resources: Option<&LinuxResources>,
    ) -> Result<Self, Error> {
        let mut plan = Self::empty(hierarchies, below);
        let none = LinuxResources::default();
        let resources = resources.unwrap_or(&none);
        plan.devices = devices::rules(resources.devices().as_deref().unwrap_or(&[]))?;
        plan.checked_limit = resources.memory().as_ref().and_then(checked_limit);
        if plan.groups.iter().any(|group| group.version == Version::V1) {
            devices::List::new(&plan.devices)?;
        }
        plan.place(hierarchies, resources)?;
        Ok(plan)
    }

    /// No cgroups: the container stays where its caller is. A limit is refused, and what devices
    /// it reaches is left to the caller's cgroup.
    pub fn nowhere(resources: Option<&LinuxResources>) -> Result<Self, Error> {
        let none = LinuxResources::default();
        let resources = resources.unwrap_or(&none);
        let steps = v2::limits(resources)?;
        if let Some((_, step)) = steps.first() {
            let pointer = match step {
                Step::Write(write) => &write.pointer,
                Step::AnyOrder(writes) => &writes[0].pointer,
            };
            return Err(Error::property(
                pointer,
                "needs a cgroup, and --cgroup-manager=disabled asks for none",
            ));
        }
        Ok(Self {
            groups: Vec::new(),
            devices: Vec::new(),
            checked_limit: None,
        })
    }

    /// The writes that `resources` asks for into directories that exist: `own` of each hierarchy.
    /// Device rules stay as they are.
    pub(super) fn for_update(own: &Hierarchies, resources: &LinuxResources) -> Result<Self, Error> {
        let group = |version, hierarchy: &Hierarchy| {
            PlannedGroup::new(version, hierarchy, hierarchy.own.clone())
        };
        let v1 = own.v1.iter().map(|own| group(Version::V1, own));
        let v2 = own.v2.iter().map(|own| group(Version::V2, own));
        let mut plan = Self {
            groups: v1.chain(v2).collect(),
            devices: Vec::new(),
            checked_limit: resources.memory().as_ref().and_then(checked_limit),
        };
        plan.place(own, resources)?;
        Ok(plan)
    }

    /// How many directories there will be.
    pub fn directories(&self) -> usize {
        self.groups.len()
    }

    /// Whether one of them is of version 2, where a process can be born in it.
    pub fn has_v2(&self) -> bool {
        let mut groups = self.groups.iter();
        groups.any(|group| group.version == Version::V2)
    }

    /// Whether a limit is written anywhere.
    pub fn has_limits(&self) -> bool {
        self.groups.iter().any(|group| !group.steps.is_empty())
    }

    /// Where they will be: controller to directory, v2 under the empty name. A state saved before
    /// [`super::Cgroup::create`] finds them whatever happens in between.
    pub fn saved_paths(&self) -> BTreeMap<String, PathBuf> {
        let mut paths = BTreeMap::new();
        for group in &self.groups {
            match group.version {
                Version::V2 => drop(paths.insert(String::new(), group.path())),
                Version::V1 => {
                    paths.extend(
                        group
                            .controllers
                            .iter()
                            .map(|name| (name.clone(), group.path())),
                    );
                }
            }
        }
        paths
    }

    /// Which of them are there already, and so are not the container's to remove (runtime.md,
    /// "Delete": what was not created by the container MUST NOT be deleted).
    pub fn lent_paths(&self) -> Vec<PathBuf> {
        let made_here = self.groups.iter().filter(|group| !group.managed);
        made_here
            .map(PlannedGroup::path)
            .filter(|path| path.symlink_metadata().is_ok())
            .collect()
    }

    fn empty(hierarchies: &Hierarchies, below: &Below) -> Self {
        let group = |version, hierarchy: &Hierarchy| {
            let below = below.resolve(hierarchy, hierarchies.is_unified());
            PlannedGroup::new(version, hierarchy, below)
        };
        let mut groups: Vec<PlannedGroup> = hierarchies
            .v1
            .iter()
            .map(|hierarchy| group(Version::V1, hierarchy))
            .collect();
        groups.extend(
            hierarchies
                .v2
                .iter()
                .map(|hierarchy| group(Version::V2, hierarchy)),
        );
        Self {
            groups,
            devices: Vec::new(),
            checked_limit: None,
        }
    }

    fn place(
        &mut self,
        hierarchies: &Hierarchies,
        resources: &LinuxResources,
    ) -> Result<(), Error> {
        if hierarchies.is_unified() {
            for (controller, step) in v2::steps(resources)? {
                self.add(Version::V2, controller, step)?;
            }
            self.add_unified(resources)?;
            for group in &mut self.groups {
                group.enable = group.controllers.clone();
            }
            return Ok(());
        }
        if resources
            .unified()
            .as_ref()
            .is_some_and(|unified| !unified.is_empty())
        {
            return Err(Error::property(
                "/linux/resources/unified",
                "needs cgroup v2, and this host has cgroup v1",
            ));
        }
        // A controller that the hybrid host has on v2 gets its v2 files.
        let on_v2 = |controller: &str| {
            let has = |hierarchy: &Hierarchy| hierarchy.has(controller);
            !hierarchies.v1.iter().any(has) && hierarchies.v2.as_ref().is_some_and(has)
        };
        for (controller, step) in v1::steps(resources)? {
            if !on_v2(controller) {
                self.add(Version::V1, controller, step)?;
            }
        }
        if hierarchies
            .v2
            .as_ref()
            .is_some_and(|v2| !v2.controllers.is_empty())
        {
            for (controller, step) in v2::limits(resources)? {
                if on_v2(controller) {
                    self.add(Version::V2, controller, step)?;
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, version: Version, controller: &str, step: Step) -> Result<(), Error> {
        let has = |group: &&mut PlannedGroup| {
            group.version == version && group.controllers.iter().any(|here| here == controller)
        };
        if let Some(group) = self.groups.iter_mut().find(has) {
            if !group.enable.iter().any(|enabled| enabled == controller) {
                group.enable.push(controller.to_owned());
            }
            group.steps.push(step);
            return Ok(());
        }
        let first = match &step {
            Step::Write(write) => Some(write),
            Step::AnyOrder(writes) => writes.first(),
        };
        match first {
            Some(write) if write.missing == Missing::Refused => Err(Error::property(
                &write.pointer,
                format!("needs the cgroup controller {controller}, which this host does not have"),
            )),
            _ => Ok(()),
        }
    }

    /// `resources.unified` comes last, so that it overrides what was converted.
    fn add_unified(&mut self, resources: &LinuxResources) -> Result<(), Error> {
        let Some(group) = self
            .groups
            .iter_mut()
            .find(|group| group.version == Version::V2)
        else {
            return Ok(());
        };
        let steps = v2::unified(resources, &group.controllers)?;
        group.steps.extend(steps);
        Ok(())
    }
}

fn checked_limit(memory: &LinuxMemory) -> Option<u64> {
    let limit = memory.limit().and_then(|limit| u64::try_from(limit).ok());
    limit.filter(|limit| *limit > 0 && memory.check_before_update() == Some(true))
}

/// A checked `cgroupsPath`.
struct Below {
    relative: bool,
    names: PathBuf,
}

impl Below {
    fn new(path: &Path) -> Result<Self, Error> {
        let refuse = |reason: &str| Err(Error::property("/linux/cgroupsPath", reason));
        let mut names = PathBuf::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => names.push(name),
                Component::ParentDir => return refuse("\"..\" leads out of the hierarchy"),
                _ => {}
            }
        }
        if names.as_os_str().is_empty() {
            return refuse("names the root cgroup");
        }
        if names
            .as_os_str()
            .as_encoded_bytes()
            .iter()
            .any(|byte| *byte < b' ')
        {
            return refuse("has a control character");
        }
        Ok(Self {
            relative: path.is_relative(),
            names,
        })
    }

    fn resolve(&self, hierarchy: &Hierarchy, unified: bool) -> PathBuf {
        let start = match (self.relative, unified) {
            (false, _) => Path::new(""),
            (true, false) => &hierarchy.own,
            (true, true) => hierarchy.own.parent().unwrap_or(Path::new("")),
        };
        start.join(&self.names)
    }
}
