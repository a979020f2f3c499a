//! Cgroups made by systemd: a scope around init, found again by its name.
//!
//! systemd puts a process into a unit when it makes the unit, so init is born before its cgroup
//! and waits; what systemd has no property for is written to the cgroup afterwards, as the file
//! system driver does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nix::unistd::Pid;
use systemd::{Instance, Manager};

use super::unit::{Properties, Unit};
use super::update::{Applied, Update};
use super::{Error, Plan};

/// A connection to the manager, and the unit that is wanted of it.
#[derive(Debug)]
pub struct Service {
    manager: Manager,
    unit: Unit,
    below: PathBuf,
}

impl Service {
    /// Asks the manager where its units are; nothing is made yet.
    pub fn connect(cgroups_path: Option<&Path>, id: &str) -> Result<Self, Error> {
        let (mut manager, user) = connect()?;
        let unit = Unit::plan(cgroups_path, id, user)?;
        let base = manager.control_group()?;
        let below = Path::new(base.trim_start_matches('/')).join(unit.cgroup()?);
        Ok(Self {
            manager,
            unit,
            below,
        })
    }

    /// The unit.
    pub fn unit(&self) -> &Unit {
        &self.unit
    }

    /// Its cgroup, below the mount of each hierarchy.
    pub fn cgroup(&self) -> &Path {
        &self.below
    }

    /// Starts the unit of the container `id`; a scope needs a process to be around. False for a
    /// slice that was there already: it is somebody else's, too.
    pub fn start(
        &mut self,
        id: &str,
        plan: &Plan,
        pid: Option<Pid>,
        annotations: &BTreeMap<String, String>,
    ) -> Result<bool, Error> {
        let version = self.manager.version()?;
        let pid = pid.map(|pid| pid.as_raw().cast_unsigned());
        let properties = self.unit.properties(id, pid, plan, version, annotations)?;
        match self.manager.start_transient(&self.unit.name, &properties.0) {
            Err(error) if self.unit.is_slice() && error.is("UnitExists") => Ok(false),
            other => Ok(other.map(|()| true)?),
        }
    }
}

/// The unit that a container is in, by what its record says.
#[derive(Clone, Copy, Debug)]
pub struct Existing<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether it is one of the user's manager.
    pub user: bool,
}

impl Existing<'_> {
    /// Stops the unit and forgets that it failed.
    pub fn stop(&self) -> Result<(), Error> {
        let mut manager = self.connect()?;
        manager.stop(self.name)?;
        Ok(manager.reset_failed(self.name)?)
    }

    /// Tells systemd of new limits; at its next reload it would put the old ones back.
    pub fn set_limits(&self, update: &Update) -> Result<(), Error> {
        self.set(|version| {
            let mut properties = Properties::default();
            properties.add_limits(update.plan(), version);
            properties
        })
    }

    /// Tells systemd of the limits that there were before, when something later failed.
    pub fn take_back(&self, applied: &Applied<'_>) -> Result<(), Error> {
        self.set(|version| applied.former_properties(version))
    }

    fn set(&self, properties: impl Fn(u32) -> Properties) -> Result<(), Error> {
        let mut manager = self.connect()?;
        let properties = properties(manager.version()?);
        if properties.0.is_empty() {
            return Ok(());
        }
        Ok(manager.set_properties(self.name, &properties.0)?)
    }

    /// Has a process moved into the unit: a user may not do that across the slices of others.
    pub fn attach(&self, pid: Pid) -> Result<(), Error> {
        let pid = pid.as_raw().cast_unsigned();
        Ok(self.connect()?.attach(self.name, "", &[pid])?)
    }

    fn connect(&self) -> Result<Manager, Error> {
        let instance = match self.user {
            true => Instance::User,
            false => Instance::System,
        };
        Ok(Manager::connect(instance)?)
    }
}

/// The machine's manager for its root, the user's for everybody else. Root of a user namespace
/// may be either: that of a system container has a manager that talks to it.
fn connect() -> Result<(Manager, bool), Error> {
    if !nix::unistd::geteuid().is_root() {
        return Ok((Manager::connect(Instance::User)?, true));
    }
    if !crate::host::inside_user_namespace() {
        return Ok((Manager::connect(Instance::System)?, false));
    }
    match Manager::connect_directly("/run/systemd/private") {
        Ok(manager) => Ok((manager, false)),
        Err(_) => Ok((Manager::connect(Instance::User)?, true)),
    }
}
