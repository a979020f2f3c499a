//! Changing the limits of a container that lives: only what is asked for, everything checked
//! before the first write, and what was written put back if a later write is refused.
//!
//! The truth about a limit is the kernel's file. Where a file holds two limits (`cpu.max`), or
//! one limit is counted from another (`memory.swap.max`), the half that is not asked for is read
//! from there, so that it stays.

use std::path::Path;

use oci::LinuxResources;
use serde_json::{Value, json};
use sys::{Dir, Errno, kernel_file};

use super::group::{enable_controllers, explain, open, read};
use super::hierarchies::words;
use super::plan::{Missing, Plan, PlannedGroup, Step, Version, Write};
use super::unit::Properties;
use super::{Cgroup, Error, Hierarchies, Hierarchy};

/// A checked change.
#[derive(Debug)]
pub struct Update {
    groups: Vec<Ready>,
    plan: Plan,
}

/// The writes into one directory.
#[derive(Debug)]
struct Ready {
    dir: Dir,
    steps: Vec<Vec<Setting>>,
}

/// A value for a file that is there.
#[derive(Debug)]
struct Setting {
    write: Write,
    file: String,
    value: String,
}

/// A file as it was before it was written.
#[derive(Debug)]
struct Old<'a> {
    dir: &'a Dir,
    file: &'a str,
    values: Vec<String>,
}

impl Cgroup {
    /// Checks a change: `patch` is `linux.resources` with no more than what is to change.
    ///
    /// `hierarchies` is where this process finds cgroups: on a hybrid host a controller of
    /// version 2 may have to be switched on for the container first.
    pub fn plan_update(&self, patch: &Value, hierarchies: &Hierarchies) -> Result<Update, Error> {
        let mut patch = patch.clone();
        if !patch.is_object() {
            return Err(Error::property("/linux/resources", "is not an object"));
        }
        self.complete(&mut patch)?;
        let resources: LinuxResources = oci::from_str(&patch.to_string()).map_err(property)?;
        let here = self.as_hierarchies(hierarchies)?;
        let plan = Plan::for_update(&here, &resources)?;
        if let Some(limit) = plan.checked_limit {
            self.check_memory_usage(limit)?;
        }
        let groups = plan.groups.iter().filter(|group| !group.steps.is_empty());
        Ok(Update {
            groups: groups.map(ready).collect::<Result<_, Error>>()?,
            plan,
        })
    }

    /// The container's own directories as the hierarchies that a plan is made from.
    fn as_hierarchies(&self, host: &Hierarchies) -> Result<Hierarchies, Error> {
        let mut here = Hierarchies::default();
        for group in &self.groups {
            let path = group.path.as_path();
            let own = |mount: &Path, controllers| Hierarchy {
                controllers,
                own: path.strip_prefix(mount).unwrap_or(Path::new("")).to_owned(),
                mount: mount.to_owned(),
            };
            let parent = path.parent().unwrap_or(path);
            let usual = host.v2.as_ref().filter(|v2| path.starts_with(&v2.mount));
            match (group.version, usual) {
                (Version::V1, _) => here.v1.push(own(parent, group.controllers.to_vec())),
                (Version::V2, Some(v2)) => here.v2 = Some(own(&v2.mount, v2.controllers.clone())),
                (Version::V2, None) => {
                    let controllers = read(&open(path)?, "cgroup.controllers")?;
                    here.v2 = Some(own(parent, words(controllers.as_bytes())));
                }
            }
        }
        Ok(here)
    }

    /// Fills the halves that are not asked for from what the kernel has.
    fn complete(&self, patch: &mut Value) -> Result<(), Error> {
        self.complete_bandwidth(&mut patch["cpu"])?;
        self.check_idle(&patch["cpu"])?;
        self.complete_memory(&mut patch["memory"])?;
        if patch["pids"]["limit"].is_null() {
            patch["pids"] = Value::Null;
        }
        let Some(patch) = patch.as_object_mut() else {
            return Ok(());
        };
        patch.retain(|_, value| !value.is_null());
        Ok(())
    }

    /// `cpu.max` of version 2 is quota and period in one line.
    fn complete_bandwidth(&self, cpu: &mut Value) -> Result<(), Error> {
        if is_set(&cpu["quota"]) == is_set(&cpu["period"]) || self.v1("cpu").is_some() {
            return Ok(());
        }
        let Some(now) = self.current("cpu", "", "cpu.max")? else {
            return Ok(());
        };
        let mut now = now.split_whitespace();
        // "max" is no number, and -1 is how the specification writes it.
        let quota: i64 = now.next().and_then(|word| word.parse().ok()).unwrap_or(-1);
        let period: Option<u64> = now.next().and_then(|word| word.parse().ok());
        if !is_set(&cpu["quota"]) {
            cpu["quota"] = json!(quota);
        } else if let Some(period) = period {
            cpu["period"] = json!(period);
        }
        Ok(())
    }

    /// The kernel refuses a weight for an idle group, and its reason is EINVAL.
    fn check_idle(&self, cpu: &Value) -> Result<(), Error> {
        if !is_set(&cpu["shares"]) || !cpu["idle"].is_null() {
            return Ok(());
        }
        match self.current("cpu", "cpu.idle", "cpu.idle")?.as_deref() {
            Some("1") => Err(Error::property(
                "/linux/resources/cpu/shares",
                "the container is idle (cpu.idle is 1) and has no weight; set cpu.idle to 0 as well",
            )),
            _ => Ok(()),
        }
    }

    /// A limit on memory and swap together needs the one on memory, and may not be below it.
    fn complete_memory(&self, memory: &mut Value) -> Result<(), Error> {
        let (limit, swap) = (memory["limit"].as_i64(), memory["swap"].as_i64());
        let (limit, swap) = (limit.unwrap_or(0), swap.unwrap_or(0));
        if limit == 0 && swap > 0 {
            let now = self.current("memory", "memory.limit_in_bytes", "memory.max")?;
            // Version 1 has no word for "no limit", only the largest number of whole pages.
            let now = now.and_then(|text| text.parse::<i64>().ok());
            if let Some(limit) = now.filter(|limit| *limit < NO_LIMIT) {
                memory["limit"] = json!(limit);
            }
        }
        if limit > 0 && swap == 0 && self.v1("memory").is_some() {
            let now = self.current("memory", "memory.memsw.limit_in_bytes", "")?;
            let now = now.and_then(|text| text.parse::<i64>().ok());
            if let Some(both) = now.filter(|both| *both < limit) {
                return Err(Error::property(
                    "/linux/resources/memory/limit",
                    format!(
                        "memory+swap limit should be >= memory limit, and it is {both}; \
                         set memory.swap as well"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// What the kernel has in the controller's file, if there is one.
    fn current(&self, controller: &str, v1: &str, v2: &str) -> Result<Option<String>, Error> {
        let (group, file) = match self.v1(controller) {
            Some(group) => (Some(group), v1),
            None => (self.v2(), v2),
        };
        let Some(group) = group else { return Ok(None) };
        match read(&open(&group.path)?, file) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The first of the problems; the others would be told one after the other.
fn property(problems: oci::Problems) -> Error {
    let first = problems.iter().next();
    let (pointer, reason) = first.map_or(("", ""), |first| (&first.pointer, &first.reason));
    Error::property(format!("/linux/resources{pointer}"), reason)
}

/// The smallest of the numbers that version 1 means "no limit" by: LONG_MAX in whole pages of
/// 64 KiB, the largest there are.
const NO_LIMIT: i64 = i64::MAX - 0xffff;

/// Callers written in Go send zero for what they do not ask for.
fn is_set(value: &Value) -> bool {
    value.as_i64().is_some_and(|number| number != 0)
}

/// Opens the directory and finds the files; one that is missing is told before the first write.
fn ready(planned: &PlannedGroup) -> Result<Ready, Error> {
    if planned.version == Version::V2 {
        switch_on(planned)?;
    }
    let dir = open(&planned.path())?;
    let mut steps = Vec::with_capacity(planned.steps.len());
    for step in &planned.steps {
        let writes = match step {
            Step::Write(write) => std::slice::from_ref(write),
            Step::AnyOrder(writes) => writes.as_slice(),
        };
        let settings = writes
            .iter()
            .filter_map(|write| setting(&dir, write).transpose());
        steps.push(settings.collect::<Result<_, Error>>()?);
    }
    Ok(Ready { dir, steps })
}

/// Passes the controllers that are needed on to the container's directory, as create does.
fn switch_on(planned: &PlannedGroup) -> Result<(), Error> {
    let has = words(read(&open(&planned.path())?, "cgroup.controllers")?.as_bytes());
    let mut wanted: Vec<String> = planned.wanted_controllers().map(str::to_owned).collect();
    wanted.retain(|name| planned.controllers.contains(name) && !has.contains(name));
    if wanted.is_empty() {
        return Ok(());
    }
    let mut path = planned.mount.clone();
    for name in planned.below.components() {
        enable_controllers(&open(&path)?, &wanted)?;
        path.push(name);
    }
    Ok(())
}

/// The first of the files that is there; `None` if none is and that is harmless.
fn setting(dir: &Dir, write: &Write) -> Result<Option<Setting>, Error> {
    let mut missing = None;
    for (file, value) in &write.files {
        match kernel_file::open_for_writing(dir, file) {
            Ok(_) => {
                return Ok(Some(Setting {
                    write: write.clone(),
                    file: file.clone(),
                    value: value.clone(),
                }));
            }
            Err(error) if error.errno() == Errno::ENOENT => missing = Some(error),
            Err(source) => return Err(explain(dir, write, value, source)),
        }
    }
    match (missing, write.missing) {
        (Some(source), Missing::Refused) => Err(Error::Limit {
            pointer: write.pointer.clone(),
            source,
        }),
        _ => Ok(None),
    }
}

impl Update {
    /// Everything that will be written.
    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Writes it. If a write is refused, those before it are taken back.
    pub fn apply(&self) -> Result<Applied<'_>, Error> {
        let mut done = Vec::new();
        let written = self.groups.iter().try_for_each(|group| {
            let mut steps = group.steps.iter();
            steps.try_for_each(|step| perform(&group.dir, step, &mut done))
        });
        let applied = Applied(done);
        match written {
            Ok(()) => Ok(applied),
            Err(error) => {
                applied.take_back();
                Err(error)
            }
        }
    }

    /// Each write as `file=value`, in order; what a test compares.
    #[cfg(test)]
    pub(super) fn writes(&self) -> Vec<String> {
        let steps = self.groups.iter().flat_map(|group| &group.steps).flatten();
        steps
            .map(|setting| format!("{}={}", setting.file, setting.value))
            .collect()
    }
}

/// What was written, for as long as a later step may still be refused.
#[derive(Debug)]
pub struct Applied<'a>(Vec<Old<'a>>);

impl Applied<'_> {
    /// Puts the former values back, the last one first: each of the states on the way is one that
    /// the kernel has accepted before.
    pub fn take_back(self) {
        self.0.iter().rev().for_each(put_back);
    }

    /// What was in the files, as the properties of a unit of systemd.
    pub(super) fn former_properties(&self, version: u32) -> Properties {
        let mut properties = Properties::default();
        // A file that was written twice was first what it was before.
        let files = self.0.iter().rev().flat_map(|old| {
            let values = old.values.iter();
            values.map(|value| (old.file, value.trim()))
        });
        properties.add_files(&mut files.into_iter(), version);
        properties
    }
}

/// Writes limits that bound each other in whichever order the kernel takes: what is refused is
/// tried again after the others.
fn perform<'a>(dir: &'a Dir, step: &'a [Setting], done: &mut Vec<Old<'a>>) -> Result<(), Error> {
    let mut waiting: Vec<&Setting> = step.iter().collect();
    while !waiting.is_empty() {
        let before = waiting.len();
        let mut first_error = None;
        waiting.retain(|setting| match set(dir, setting) {
            Ok(old) => {
                done.push(old);
                false
            }
            Err(error) => {
                first_error.get_or_insert(error);
                true
            }
        });
        match first_error {
            Some(error) if error.errno() != Some(Errno::EINVAL) || waiting.len() == before => {
                return Err(error);
            }
            _ => {}
        }
    }
    Ok(())
}

fn set<'a>(dir: &'a Dir, setting: &'a Setting) -> Result<Old<'a>, Error> {
    // A file that cannot be read (net_prio's on some kernels) cannot be put back either.
    let text = read(dir, &setting.file).unwrap_or_default();
    let values = former(&setting.file, &setting.value, &text);
    kernel_file::write(dir, &setting.file, &setting.value)
        .map_err(|source| explain(dir, &setting.write, &setting.value, source))?;
    Ok(Old {
        dir,
        file: &setting.file,
        values,
    })
}

fn put_back(old: &Old<'_>) {
    for value in &old.values {
        if let Err(error) = kernel_file::write(old.dir, old.file, value) {
            crate::log::warn(&format!("the old limit could not be set back: {error}"));
        }
    }
}

/// What has to be written to have `text` again after `written` was: most files read as they are
/// written, others list a line for each device and take one at a time.
fn former(file: &str, written: &str, text: &str) -> Vec<String> {
    let key = written.split_whitespace().next().unwrap_or_default();
    let line = text
        .lines()
        .find(|line| line.split_whitespace().next() == Some(key));
    let is_device = key.contains(':');
    match (file, line) {
        // The first of three lines is `oom_kill_disable 0`.
        ("memory.oom_control", _) => {
            let value = text.lines().next().and_then(|line| line.split(' ').nth(1));
            value.map(str::to_owned).into_iter().collect()
        }
        ("io.weight" | "io.bfq.weight", None) if !is_device => {
            let usual = text.lines().find(|line| !line.contains(':'));
            usual.map(str::to_owned).into_iter().collect()
        }
        (_, Some(line)) if is_device || file == "rdma.max" || file == "net_prio.ifpriomap" => {
            vec![line.to_owned()]
        }
        ("io.max", None) => vec![format!("{key} rbps=max wbps=max riops=max wiops=max")],
        ("io.weight" | "io.bfq.weight", None) => vec![format!("{key} default")],
        (_, None) if is_device => vec![format!("{key} 0")],
        // A cpuset without a list of its own reads as an empty line, and is emptied by one.
        _ if text.trim().is_empty() => vec!["\n".to_owned()],
        _ => text.lines().map(str::to_owned).collect(),
    }
}

/// The limits of a container after a change: `patch` laid over `resources`, both
/// `linux.resources`. Devices stay: an update never touches them.
pub fn merge(resources: &mut Value, patch: &Value) {
    if !resources.is_object() {
        *resources = json!({});
    }
    for (key, value) in patch.as_object().into_iter().flatten() {
        if key != "devices" {
            lay_over("", key, &mut resources[key], value);
        }
    }
    if let Some(resources) = resources.as_object_mut() {
        resources.retain(|_, value| !value.is_null());
    }
}

/// `key` is a member of `parent`.
fn lay_over(parent: &str, key: &str, old: &mut Value, new: &Value) {
    match new {
        Value::Null => {}
        Value::Object(members) => {
            if !old.is_object() {
                *old = json!({});
            }
            for (member, value) in members {
                lay_over(key, member, &mut old[member], value);
            }
            if let Some(old) = old.as_object_mut() {
                old.retain(|_, value| !value.is_null());
            }
        }
        Value::Array(entries) => {
            let list = old.as_array().cloned().unwrap_or_default();
            *old = Value::Array(merge_entries(list, entries));
        }
        Value::String(text) if text.is_empty() => {}
        Value::Number(number) if number.as_f64() == Some(0.0) && zero_is_unset(parent, key) => {}
        _ => *old = new.clone(),
    }
}

/// Where callers written in Go send zero for what they do not ask for.
fn zero_is_unset(parent: &str, key: &str) -> bool {
    match parent {
        "memory" => key != "swappiness",
        "cpu" => key != "burst" && key != "idle",
        _ => key == "weight" || key == "leafWeight",
    }
}

/// Entries for the same device, page size or interface replace each other.
fn merge_entries(mut list: Vec<Value>, entries: &[Value]) -> Vec<Value> {
    const NAMES: [&str; 4] = ["major", "minor", "pageSize", "name"];
    for entry in entries {
        let same = |old: &Value| NAMES.iter().all(|name| old[*name] == entry[*name]);
        match list.iter_mut().find(|old| same(old)) {
            Some(old) => lay_over("", "", old, entry),
            None => list.push(entry.clone()),
        }
    }
    list
}

/// What a file has to be given to read as `text` again.
#[cfg(fuzzing)]
pub(super) fn understand(file: &str, written: &str, text: &str) {
    let _ = former(file, written, text);
}

#[cfg(test)]
mod tests;
