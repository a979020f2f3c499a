//! A container's cgroups as they are on the host: making, filling, joining, freezing, emptying
//! and removing them.
//!
//! A directory of cgroupfs is never opened through a symbolic link, and files are opened beneath it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, UnlinkatFlags, mkdir, unlinkat};
use sys::{Dir, Errno, SyscallError, SyscallResult, kernel_file};

use super::Error;
use super::devices;
use super::hierarchies::words;
use super::plan::{Missing, Plan, PlannedGroup, Step, Version, Write};
use crate::host;

/// The cgroups of one container, one per hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    pub(super) groups: Vec<Group>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) version: Version,
    pub(super) controllers: Vec<String>,
    pub(super) path: PathBuf,
    /// Whether systemd puts init there.
    managed: bool,
    /// Whether it was there before the container, and stays after it.
    lent: bool,
}

/// What may be given away where the kernel (before 4.15) has no list.
const DELEGATED: [&str; 3] = ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"];
/// Freezing waits for processes to reach a point where they can stop.
const FREEZE_PATIENCE: Duration = Duration::from_secs(10);
/// Killed processes may have to leave the kernel first.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// An empty cgroup stays busy until the kernel is done with its last process.
const REMOVE_PATIENCE: Duration = Duration::from_secs(1);
/// How many processes are held by descriptors at a time: a caller's limit may be 256.
const HELD_AT_ONCE: usize = 64;
/// Above the size of any file of cgroupfs but a crowd's `cgroup.procs`.
const LIMIT: u64 = 16 << 20;

impl Cgroup {
    /// Makes the directories, ready to be joined; limits come with [`Cgroup::apply`].
    ///
    /// A directory that is already there is taken over if nobody lives in it and it is not
    /// frozen. On an error, what was made is removed again. Those that systemd will make are
    /// only looked for, and come with [`Cgroup::adopt`].
    pub fn create(plan: &Plan) -> Result<Self, Error> {
        let mut made = Made(Vec::new());
        for planned in &plan.groups {
            if !planned.managed {
                make(planned, &mut made)?;
            } else if let Some(dir) = present(open(&planned.path()))? {
                check_unused(planned, &dir)?;
            }
        }
        made.0.clear();
        let groups = plan.groups.iter().map(|planned| Group {
            version: planned.version,
            controllers: planned.controllers.clone(),
            path: planned.path(),
            managed: planned.managed,
            lent: false,
        });
        Ok(Self {
            groups: groups.collect(),
        })
    }

    /// Readies what systemd has made for the limits that it knows nothing of.
    pub fn adopt(&self, plan: &Plan) -> Result<(), Error> {
        for planned in plan.groups.iter().filter(|planned| planned.managed) {
            let mut dir = open(&planned.mount)?;
            for name in planned.below.components() {
                if !planned.enable.is_empty() {
                    enable_controllers(&dir, &planned.enable)?;
                }
                dir = dir.open_dir(name)?;
            }
            if planned.version == Version::V2 {
                make_domain(planned, &dir)?;
            }
        }
        Ok(())
    }

    /// The cgroups of a saved state: controller to directory, v2 under the empty name.
    pub fn from_saved(paths: &BTreeMap<String, PathBuf>) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        for (controller, path) in paths {
            let version = if controller.is_empty() {
                Version::V2
            } else {
                Version::V1
            };
            // Byte by byte: both have one spelling, and paths are compared name by name.
            let same = |known: &&mut Group| known.path.as_os_str() == path.as_os_str();
            match groups.iter_mut().find(same) {
                // Co-mounted controllers share a directory.
                Some(known) => known.controllers.push(controller.clone()),
                None => {
                    let controllers = Some(controller.clone()).filter(|name| !name.is_empty());
                    let controllers = controllers.into_iter().collect();
                    groups.push(Group {
                        version,
                        controllers,
                        path: path.clone(),
                        managed: false,
                        lent: false,
                    });
                }
            }
        }
        Self { groups }
    }

    /// With those of `lent` as somebody else's: the container leaves them as it found them.
    #[must_use]
    pub fn sparing(mut self, lent: &[PathBuf]) -> Self {
        for group in &mut self.groups {
            let same = |lent: &PathBuf| lent.as_os_str() == group.path.as_os_str();
            group.lent = lent.iter().any(same);
        }
        self
    }

    /// What [`Cgroup::from_saved`] takes; the shape of runc's `cgroup_paths`.
    pub fn saved_paths(&self) -> BTreeMap<String, PathBuf> {
        let mut paths = BTreeMap::new();
        for group in &self.groups {
            match group.version {
                Version::V2 => drop(paths.insert(String::new(), group.path.clone())),
                Version::V1 => paths.extend(
                    group
                        .controllers
                        .iter()
                        .map(|name| (name.clone(), group.path.clone())),
                ),
            }
        }
        paths
    }

    /// Writes every limit and the device rules of `plan`, which these cgroups were made from.
    pub fn apply(&self, plan: &Plan) -> Result<(), Error> {
        if let Some(limit) = plan.checked_limit {
            self.check_memory_usage(limit)?;
        }
        for planned in plan
            .groups
            .iter()
            .filter(|planned| !planned.steps.is_empty())
        {
            let dir = open(&planned.path())?;
            planned
                .steps
                .iter()
                .try_for_each(|step| perform(&dir, step))?;
        }
        self.apply_devices(plan)
    }

    /// The device rules. Root of a user namespace and an ordinary user may neither write v1's lists
    /// nor load a program for v2; there the rules of whoever made that namespace hold, who also decided which device
    /// nodes can be reached at all (decision 0006).
    fn apply_devices(&self, plan: &Plan) -> Result<(), Error> {
        match self.write_devices(plan) {
            Err(Error::Syscall(refused))
                if refused.errno() == Errno::EPERM && host::makes_no_devices() =>
            {
                Ok(())
            }
            other => other,
        }
    }

    fn write_devices(&self, plan: &Plan) -> Result<(), Error> {
        if let Some(group) = self.v1("devices") {
            let dir = open(&group.path)?;
            let current = read(&dir, "devices.list")?;
            let lines = devices::List::new(&plan.devices)?.transition(&current);
            // Each file is opened once for the lines that go to it in a row.
            for run in lines.chunk_by(|(file, _), (next, _)| file == next) {
                kernel_file::write_each(&dir, run[0].0, run.iter().map(|(_, line)| line.as_str()))?;
            }
            return Ok(());
        }
        match self.directory()? {
            Some(dir) if !devices::allow_everything(&plan.devices) => {
                let program = sys::bpf::load_device_program(&devices::program(&plan.devices))?;
                Ok(sys::bpf::replace_device_program(&dir, program)?)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn check_memory_usage(&self, limit: u64) -> Result<(), Error> {
        let (group, file) = match self.v1("memory") {
            Some(group) => (Some(group), "memory.usage_in_bytes"),
            None => (self.v2(), "memory.current"),
        };
        let Some(group) = group else { return Ok(()) };
        let usage = number(&open(&group.path)?, file);
        if limit <= usage {
            Err(Error::LimitBelowUsage { limit, usage })
        } else {
            Ok(())
        }
    }

    /// A file per v1 hierarchy; a thread that writes `0` into one joins that hierarchy.
    ///
    /// Only a process with one thread joins as a whole by this; it is what spares it the lock
    /// that a PID written to `cgroup.procs` waits for.
    pub fn join_files(&self) -> Result<Vec<OwnedFd>, Error> {
        let v1 = self
            .groups
            .iter()
            .filter(|group| group.version == Version::V1 && !group.managed);
        v1.map(|group| Ok(kernel_file::open_for_writing_at(&group.path, "tasks")?))
            .collect()
    }

    /// The v2 cgroup, for a child to be born in (`CLONE_INTO_CGROUP`); on a hybrid host, too.
    pub fn directory(&self) -> Result<Option<Dir>, Error> {
        self.v2().map(|group| open(&group.path)).transpose()
    }

    /// Where init is born: [`Cgroup::directory`], unless systemd takes it there.
    pub fn birthplace(&self) -> Result<Option<Dir>, Error> {
        match self.v2() {
            Some(group) if !group.managed => Ok(Some(open(&group.path)?)),
            _ => Ok(None),
        }
    }

    /// Gives the version 2 cgroup to `uid`, so that it can be divided further from inside: its
    /// directory, and the files that the kernel says may be given (config-linux.md, "Cgroup
    /// ownership").
    pub fn delegate(&self, uid: u32) -> Result<(), Error> {
        let Some(dir) = self.directory()? else {
            return Ok(());
        };
        let uid = Some(uid.into());
        nix::unistd::fchown(&dir, uid, None)
            .call(|| format!("fchown({:?}, {uid:?})", dir.path()))?;
        let listed = Dir::open("/sys/kernel/cgroup")
            .and_then(|kernel| kernel.read("delegate", LIMIT))
            .map_or_else(
                |_| DELEGATED.map(String::from).to_vec(),
                |text| words(&text),
            );
        for file in listed.iter().filter(|file| !file.contains('/')) {
            let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
            match nix::unistd::fchownat(&dir, file.as_str(), uid, None, flags) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => {
                    let call = format!("fchownat({:?}, {file:?}, {uid:?})", dir.path());
                    return Err(SyscallError::new(call, errno).into());
                }
            }
        }
        Ok(())
    }

    /// Whether some directory is still there.
    pub fn is_present(&self) -> Result<bool, Error> {
        for group in &self.groups {
            if present(open(&group.path))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Stops every process, waiting until all have stopped; undone if that takes too long.
    pub fn freeze(&self) -> Result<(), Error> {
        self.freeze_within(FREEZE_PATIENCE)
    }

    fn freeze_within(&self, patience: Duration) -> Result<(), Error> {
        let (group, dir) = self.freezer()?;
        let start = Instant::now();
        let mut pause = Pause::new();
        while start.elapsed() < patience {
            if group.version == Version::V1 {
                // A process that forks while FREEZING leaves a child behind; writing again
                // gathers it, and a moment's thaw lets a vfork parent go on (runc#2774).
                if pause.round % 50 == 49 {
                    kernel_file::write(&dir, "freezer.state", "THAWED")?;
                }
                kernel_file::write(&dir, "freezer.state", "FROZEN")?;
            } else if pause.round == 0 {
                kernel_file::write(&dir, "cgroup.freeze", "1")?;
            }
            if all_are_frozen(group, &dir)? {
                return Ok(());
            }
            pause.wait();
        }
        self.thaw()?;
        Err(self.late(group, "frozen", patience))
    }

    /// Lets every process go on.
    pub fn thaw(&self) -> Result<(), Error> {
        let (group, dir) = self.freezer()?;
        let (file, value) = match group.version {
            Version::V1 => ("freezer.state", "THAWED"),
            Version::V2 => ("cgroup.freeze", "0"),
        };
        Ok(kernel_file::write(&dir, file, value)?)
    }

    /// Whether this very cgroup was frozen; false if only a parent is, or if it is gone.
    pub fn is_frozen(&self) -> Result<bool, Error> {
        let Some(group) = self.freezer_group() else {
            return Ok(false);
        };
        present(open(&group.path).and_then(|dir| self_is_frozen(group.version, &dir)))
            .map(|frozen| frozen.unwrap_or(false))
    }

    fn freezer_group(&self) -> Option<&Group> {
        self.v1("freezer").or_else(|| self.v2())
    }

    fn freezer(&self) -> Result<(&Group, Dir), Error> {
        let group = self.freezer_group().ok_or(Error::Unsupported("freeze"))?;
        Ok((group, open(&group.path)?))
    }

    /// The PIDs in this cgroup and below it, sorted; none if it is gone.
    pub fn processes(&self) -> Result<Vec<i32>, Error> {
        let Some(group) = self.freezer_group().or_else(|| self.groups.first()) else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        if let Some(dir) = present(open(&group.path))? {
            gather(&dir, &mut found)?;
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// Sends `signal` to every process; for `SIGKILL` until nobody is left.
    pub fn kill_all(&self, signal: i32) -> Result<(), Error> {
        if signal != libc::SIGKILL {
            return self.signal_each(signal).map(drop);
        }
        let start = Instant::now();
        let mut pause = Pause::new();
        loop {
            // One write ends everybody on v2 (Linux 5.14). Not everywhere, and not those whom
            // somebody moved in the v2 hierarchy alone; so the others are asked as well.
            if let Some(dir) = self.directory_if_present()? {
                let _ = kernel_file::write(&dir, "cgroup.kill", "1");
            }
            // Whoever forks faster than we read is held first. Without a freezer: again, then.
            let frozen = pause.round > 0 && self.freeze_within(Duration::from_millis(200)).is_ok();
            // Where nobody is, nobody can fork.
            if !self.signal_each(signal)? && !frozen {
                return Ok(());
            }
            if frozen || self.is_frozen()? {
                // systemd takes an empty scope away as soon as it sees one.
                present(self.thaw())?;
            }
            let left = self.processes()?;
            if left.is_empty() {
                return Ok(());
            }
            if start.elapsed() > KILL_PATIENCE {
                return Err(match self.freezer_group() {
                    Some(group) => self.late(group, "empty", KILL_PATIENCE),
                    None => Error::Unsupported("freeze"),
                });
            }
            pause.wait();
        }
    }

    fn directory_if_present(&self) -> Result<Option<Dir>, Error> {
        Ok(present(self.directory())?.flatten())
    }

    /// A PID may be somebody else's by the time it is opened, so the list is read again: a
    /// process that was opened and is still listed is the one that was meant. Whether there was
    /// anybody.
    fn signal_each(&self, signal: i32) -> Result<bool, Error> {
        let listed = self.processes()?;
        for some in listed.chunks(HELD_AT_ONCE) {
            self.signal_some(some, signal)?;
        }
        Ok(!listed.is_empty())
    }

    fn signal_some(&self, listed: &[i32], signal: i32) -> Result<(), Error> {
        let mut targets = Vec::new();
        for &pid in listed {
            match sys::process::pidfd_open(Pid::from_raw(pid)) {
                Ok(pidfd) => targets.push((pid, pidfd)),
                Err(error) if error.errno() == Errno::ESRCH => {}
                Err(error) => return Err(error.into()),
            }
        }
        let members = self.processes()?;
        for (_, pidfd) in targets
            .iter()
            .filter(|(pid, _)| members.binary_search(pid).is_ok())
        {
            match sys::process::pidfd_send_signal(pidfd, signal) {
                Err(error) if error.errno() != Errno::ESRCH => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes the directories and everything below them; what is gone is no error.
    ///
    /// Every hierarchy is tried, and the first error is returned. Parents stay: others may be
    /// about to use them.
    pub fn remove(&self) -> Result<(), Error> {
        let start = Instant::now();
        let results: Vec<_> = self
            .groups
            .iter()
            .map(|group| self.remove_one(group, start))
            .collect();
        results.into_iter().collect()
    }

    fn remove_one(&self, group: &Group, start: Instant) -> Result<(), Error> {
        if group.path.file_name().is_none() {
            return Ok(());
        }
        if group.lent {
            return match present(open(&group.path))? {
                Some(dir) => self.empty(group, &dir, start),
                None => Ok(()),
            };
        }
        let mut pause = Pause::new();
        while !remove_empty(&group.path)? {
            if let Some(dir) = present(open(&group.path))? {
                remove_below(&dir)?;
            }
            if start.elapsed() > REMOVE_PATIENCE {
                return Err(self.late(group, "removable", REMOVE_PATIENCE));
            }
            pause.wait();
        }
        Ok(())
    }

    /// Removes what is below a cgroup that was lent; the container's processes made it.
    fn empty(&self, group: &Group, dir: &Dir, start: Instant) -> Result<(), Error> {
        let mut pause = Pause::new();
        loop {
            remove_below(dir)?;
            if children(dir)?.is_empty() {
                return Ok(());
            }
            if start.elapsed() > REMOVE_PATIENCE {
                return Err(self.late(group, "removable", REMOVE_PATIENCE));
            }
            pause.wait();
        }
    }

    /// Removes those directories that nobody lives in, touching nothing below them.
    ///
    /// For a creation that was killed half way: some of the paths may lead to cgroups of
    /// somebody else, and those are not empty.
    pub fn remove_unused(&self) {
        for group in self.groups.iter().filter(|group| !group.lent) {
            // ENOENT, EBUSY and ENOTEMPTY all say that nothing here is ours.
            let _ = remove_empty(&group.path);
        }
    }

    /// How often the kernel killed a process here for lack of memory; `None` if it does not say.
    pub fn oom_kill_count(&self) -> Result<Option<u64>, Error> {
        let (group, file) = match self.v1("memory") {
            Some(group) => (group, "memory.oom_control"),
            None => match self.v2() {
                Some(group) => (group, "memory.events"),
                None => return Ok(None),
            },
        };
        let text = present(open(&group.path).and_then(|dir| read(&dir, file)))?;
        let count = text.as_deref().and_then(|text| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("oom_kill "))?;
            line.trim().parse().ok()
        });
        Ok(count)
    }

    pub(super) fn v1(&self, controller: &str) -> Option<&Group> {
        self.groups.iter().find(|group| {
            group.version == Version::V1 && group.controllers.iter().any(|name| name == controller)
        })
    }

    #[cfg(test)]
    pub(super) fn groups_v1(&self) -> usize {
        self.groups
            .iter()
            .filter(|group| group.version == Version::V1)
            .count()
    }

    pub(super) fn v2(&self) -> Option<&Group> {
        self.groups
            .iter()
            .find(|group| group.version == Version::V2)
    }

    fn late(&self, group: &Group, what: &'static str, patience: Duration) -> Error {
        let mut processes = Vec::new();
        if let Ok(dir) = open(&group.path) {
            // The list only decorates the error.
            let _ = gather(&dir, &mut processes);
        }
        Error::Late {
            path: group.path.clone(),
            what,
            seconds: patience.as_secs(),
            processes,
        }
    }
}

/// Directories to be removed if we do not come to the end.
struct Made(Vec<PathBuf>);

impl Drop for Made {
    fn drop(&mut self) {
        for path in self.0.iter().rev() {
            // Somebody may have begun to use a parent meanwhile, and then it stays.
            let _ = std::fs::remove_dir(path);
        }
    }
}

fn make(planned: &PlannedGroup, made: &mut Made) -> Result<(), Error> {
    let is_cpuset = planned.version == Version::V1
        && (planned.controllers.iter()).any(|controller| controller == "cpuset");
    // On the way down only these two have something to pass on.
    if planned.version == Version::V1 && !is_cpuset && make_last(planned, made)? {
        return Ok(());
    }
    let mut dir = open(&planned.mount)?;
    let mut is_new = false;
    for name in planned.below.components() {
        if planned.version == Version::V2 && !planned.enable.is_empty() {
            enable_controllers(&dir, &planned.enable)?;
        }
        is_new = match dir.create_dir(name, 0o755) {
            Ok(()) => {
                made.0.push(dir.path().join(name));
                true
            }
            Err(error) if error.errno() == Errno::EEXIST => false,
            Err(error) => return Err(error.into()),
        };
        let child = dir.open_dir(name)?;
        if is_cpuset {
            inherit_cpuset(&dir, &child, is_new)?;
        }
        dir = child;
    }
    if !is_new {
        check_unused(planned, &dir)?;
    }
    if planned.version == Version::V2 {
        make_domain(planned, &dir)
    } else {
        Ok(())
    }
}

/// Makes the directory in a parent that is there: one call, and nobody else can be in what is new.
/// `false` if there is more to it.
///
/// By its path, as [`remove_empty`]: no cgroupfs has symbolic links, and what is above one is the host's.
/// To open each parent first costs as much as the directory itself.
fn make_last(planned: &PlannedGroup, made: &mut Made) -> Result<bool, Error> {
    let path = planned.path();
    if !sys::dir::is_plain(&path) {
        return Ok(false);
    }
    match mkdir(&path, Mode::from_bits_truncate(0o755)) {
        Ok(()) => {
            made.0.push(path);
            Ok(true)
        }
        Err(Errno::EEXIST | Errno::ENOENT) => Ok(false),
        Err(errno) => Err(SyscallError::new(format!("mkdir({path:?}, 0o755)"), errno).into()),
    }
}

/// Removes a directory that nobody lives in; `false` if there is more to it.
fn remove_empty(path: &Path) -> Result<bool, Error> {
    if !sys::dir::is_plain(path) {
        return Ok(false);
    }
    match unlinkat(AT_FDCWD, path, UnlinkatFlags::RemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(true),
        Err(Errno::EBUSY) => Ok(false),
        Err(errno) => Err(SyscallError::new(format!("rmdir({path:?})"), errno).into()),
    }
}

/// Passes controllers on to the children of a v2 cgroup. What a parent was not given itself, or
/// may not pass on, is left out: whether it was needed shows when the limit is written.
pub(super) fn enable_controllers(dir: &Dir, wanted: &[String]) -> Result<(), Error> {
    let available = words(&dir.read("cgroup.controllers", LIMIT)?);
    let enabled = words(&dir.read("cgroup.subtree_control", LIMIT)?);
    let missing: Vec<String> = wanted
        .iter()
        .filter(|controller| available.contains(controller) && !enabled.contains(controller))
        .map(|controller| format!("+{controller}"))
        .collect();
    if !missing.is_empty()
        && kernel_file::write(dir, "cgroup.subtree_control", &missing.join(" ")).is_err()
    {
        for controller in &missing {
            let _ = kernel_file::write(dir, "cgroup.subtree_control", controller);
        }
    }
    Ok(())
}

/// A v1 cpuset without processors or memory nodes cannot be joined; a new one has none, or with
/// `cgroup.clone_children` its parent's.
fn inherit_cpuset(parent: &Dir, child: &Dir, is_new: bool) -> Result<(), Error> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if is_new || read(child, file)?.trim().is_empty() {
            kernel_file::write(child, file, read(parent, file)?.trim())?;
        }
    }
    Ok(())
}

fn check_unused(planned: &PlannedGroup, dir: &Dir) -> Result<(), Error> {
    // Below as well: what is killed and removed in the end is the whole tree, and a path such as
    // that of a slice has processes only there.
    let mut processes = Vec::new();
    gather(dir, &mut processes)?;
    if !processes.is_empty() {
        return Err(Error::NotEmpty {
            processes: processes.len(),
        });
    }
    let has_freezer = planned
        .controllers
        .iter()
        .any(|controller| controller == "freezer");
    if (has_freezer || planned.version == Version::V2) && self_is_frozen(planned.version, dir)? {
        return Err(Error::Frozen);
    }
    Ok(())
}

/// Below a threaded cgroup a new one is unusable until it is threaded, too, and then only some
/// controllers work (cgroup-v2.rst, "Threads").
fn make_domain(planned: &PlannedGroup, dir: &Dir) -> Result<(), Error> {
    if read(dir, "cgroup.type")?.trim() != "domain invalid" {
        return Ok(());
    }
    let domain_only: Vec<&str> = planned
        .wanted_controllers()
        .filter(|controller| !["cpu", "cpuset", "perf_event", "pids"].contains(controller))
        .collect();
    if !domain_only.is_empty() {
        let controllers = domain_only.join(", ");
        return Err(Error::Threaded {
            path: planned.path(),
            controllers,
        });
    }
    Ok(kernel_file::write(dir, "cgroup.type", "threaded")?)
}

fn perform(dir: &Dir, step: &Step) -> Result<(), Error> {
    let writes = match step {
        Step::Write(write) => return set(dir, write),
        Step::AnyOrder(writes) => writes,
    };
    let mut waiting: Vec<&Write> = writes.iter().collect();
    loop {
        let before = waiting.len();
        let mut first_error = None;
        waiting.retain(|write| match set(dir, write) {
            Ok(()) => false,
            Err(error) => {
                first_error.get_or_insert(error);
                true
            }
        });
        match first_error {
            None => return Ok(()),
            Some(error) if error.errno() != Some(Errno::EINVAL) || waiting.len() == before => {
                return Err(error);
            }
            Some(_) => {}
        }
    }
}

fn set(dir: &Dir, write: &Write) -> Result<(), Error> {
    let mut refused = None;
    for (file, value) in &write.files {
        match kernel_file::write(dir, file, value) {
            Ok(()) => return Ok(()),
            Err(error) if error.errno() == Errno::ENOENT => refused = Some(error),
            Err(source) => return Err(explain(dir, write, value, source)),
        }
    }
    match (refused, write.missing) {
        (Some(source), Missing::Refused) => Err(Error::Limit {
            pointer: write.pointer.clone(),
            source,
        }),
        _ => Ok(()),
    }
}

pub(super) fn explain(dir: &Dir, write: &Write, value: &str, source: SyscallError) -> Error {
    let is_memory = write
        .files
        .iter()
        .any(|(file, _)| file == "memory.limit_in_bytes");
    if is_memory && source.errno() == Errno::EBUSY {
        let usage = number(dir, "memory.usage_in_bytes");
        let peak = number(dir, "memory.max_usage_in_bytes");
        return Error::MemoryInUse {
            limit: value.to_owned(),
            usage,
            peak,
            source,
        };
    }
    Error::Limit {
        pointer: write.pointer.clone(),
        source,
    }
}

fn all_are_frozen(group: &Group, dir: &Dir) -> Result<bool, Error> {
    Ok(match group.version {
        Version::V1 => read(dir, "freezer.state")?.trim() == "FROZEN",
        Version::V2 => read(dir, "cgroup.events")?
            .lines()
            .any(|line| line == "frozen 1"),
    })
}

fn self_is_frozen(version: Version, dir: &Dir) -> Result<bool, Error> {
    let file = match version {
        Version::V1 => "freezer.self_freezing",
        Version::V2 => "cgroup.freeze",
    };
    match read(dir, file) {
        Ok(text) => Ok(text.trim() == "1"),
        // The freezer of v2 came with Linux 5.2.
        Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Adds the PIDs of `dir` and of everything below it.
fn gather(dir: &Dir, found: &mut Vec<i32>) -> Result<(), Error> {
    let mut add = |dir: &Dir| {
        let text = match read(dir, "cgroup.procs") {
            // A threaded cgroup lists its processes in the cgroup above.
            Err(error) if error.errno() == Some(Errno::EOPNOTSUPP) => String::new(),
            other => present(other)?.unwrap_or_default(),
        };
        found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
        Ok(())
    };
    walk(dir, &mut add, &mut |_, _| Ok(()))
}

fn remove_below(dir: &Dir) -> Result<(), Error> {
    let mut remove = |parent: &Dir, name: &OsStr| match parent.remove_dir(name) {
        Err(error) if ![Errno::ENOENT, Errno::EBUSY].contains(&error.errno()) => Err(error.into()),
        // Busy: the caller tries again until its time is over.
        _ => Ok(()),
    };
    walk(dir, &mut |_| Ok(()), &mut remove)
}

/// Goes through `top` and everything below it: `enter` is called on the way down, `leave` on the way up
/// with the parent and the name of what was done with. A container may nest its cgroups as deep as it
/// likes, so only one directory is open at a time, and nothing is on the stack.
fn walk(
    top: &Dir,
    enter: &mut dyn FnMut(&Dir) -> Result<(), Error>,
    leave: &mut dyn FnMut(&Dir, &OsStr) -> Result<(), Error>,
) -> Result<(), Error> {
    enter(top)?;
    let mut here = None::<Dir>;
    let mut names = Vec::<OsString>::new();
    let mut open = vec![children(top)?];
    while let Some(siblings) = open.last_mut() {
        let current = here.as_ref().unwrap_or(top);
        if let Some(name) = siblings.pop() {
            if let Some(child) = present(current.open_dir(&name).map_err(Error::from))? {
                enter(&child)?;
                open.push(children(&child)?);
                names.push(name);
                here = Some(child);
            }
            continue;
        }
        open.pop();
        let Some(name) = names.pop() else { break };
        here = match names.is_empty() {
            true => None,
            false => Some(current.open_parent()?),
        };
        leave(here.as_ref().unwrap_or(top), &name)?;
    }
    Ok(())
}

/// The names of the cgroups in `dir`.
fn children(dir: &Dir) -> Result<Vec<OsString>, Error> {
    let stat = nix::sys::stat::fstat(dir).call(|| format!("fstat({:?})", dir.path()))?;
    // cgroupfs counts subdirectories as links; most containers make none.
    if stat.st_nlink == 2 {
        return Ok(Vec::new());
    }
    let Some(mut names) = present(dir.names().map_err(Error::from))? else {
        return Ok(Vec::new());
    };
    names.retain(|name| {
        dir.stat(name)
            .is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFDIR)
    });
    Ok(names)
}

/// Opens a directory by an absolute path without following any symbolic link.
pub(super) fn open(path: &Path) -> Result<Dir, Error> {
    Ok(Dir::open_without_links(path)?)
}

/// `None` for what is gone, or goes while we look.
pub(super) fn present<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.errno(), Some(Errno::ENOENT | Errno::ENODEV)) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn read(dir: &Dir, file: &str) -> Result<String, Error> {
    Ok(String::from_utf8_lossy(&dir.read(file, LIMIT)?).into_owned())
}

/// A number for an error text or a comparison; zero if the kernel does not say.
pub(super) fn number(dir: &Dir, file: &str) -> u64 {
    read(dir, file)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

/// Waits a little longer each time, from a tenth of a millisecond to ten.
struct Pause {
    round: u32,
}

impl Pause {
    fn new() -> Self {
        Self { round: 0 }
    }

    fn wait(&mut self) {
        sleep(Duration::from_micros(100 << self.round.min(6)).min(Duration::from_millis(10)));
        self.round += 1;
    }
}
