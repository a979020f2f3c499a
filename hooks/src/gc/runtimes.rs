//! Which containers the runtimes know, from their state directories.
//!
//! ```text
//! davit, runc  ROOT/<id>/state.json   init_process_pid, init_process_start, davit's boot_id
//! crun         ROOT/<id>/status       pid, process-start-time
//! containerd   .../io.containerd.runtime.v2.task/<namespace>/<id>/init.pid   a number, no start
//! ```
//! A start is field 22 of proc_pid_stat(5), which tells a process from the next one of the same
//! number. containerd notes none, so a number that is in use counts as alive.
//!
//! An ID towards CNI is the container's, or `<namespace>-<id>` (containerd, nerdctl); a runc below
//! containerd has the namespace as the last part of its root. Both names are known then.
//!
//! Promise: whom this calls dead is not at work. While a root is refused, because it cannot be read
//! or is none of these, nobody is called dead or unknown; a container whose files cannot be
//! understood is unclear, and stays.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use libcni::sandbox::start_of_process;
use serde_json::Value;
use sys::{Dir, Errno};

/// What the runtimes say of a container. The texts go into the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    /// It is at work.
    Lives(String),
    /// A runtime remembers it, and its process is gone.
    Dead(String),
    /// A runtime has something of it that says nothing.
    Unclear(String),
    /// No runtime has heard of it.
    Unknown,
}

/// The containers of all roots, by every name that CNI may know them under.
#[derive(Clone, Debug, Default)]
pub struct Runtimes {
    containers: HashMap<String, Life>,
    /// Roots that are not there: whoever would be freed only because of that is not.
    missing: Vec<PathBuf>,
    /// Roots that may hold anybody, and why nobody can tell.
    refused: Vec<(PathBuf, String)>,
}

const TASKS: &str = "io.containerd.runtime.v2.task";
/// Between an ID and a pid in the name of what davit is just deleting.
const TOMB: char = '~';
/// config.json with thousands of mounts is in runc's state.
const LONGEST: u64 = 64 << 20;

impl Runtimes {
    /// Looks into every root.
    pub fn look(roots: &[PathBuf]) -> Self {
        let mut all = Self::default();
        for root in roots {
            if let Err(error) = all.add(root) {
                all.refused.push((root.clone(), format!("{error:#}")));
            }
        }
        all
    }

    /// Why roots were refused, for the report.
    pub fn complaints(&self) -> impl Iterator<Item = String> {
        self.refused.iter().map(|(root, why)| {
            format!(
                "runtime root {}: only what has lost its namespace is freed: {why}",
                root.display()
            )
        })
    }

    /// What is known of a container.
    pub fn life(&self, id: &str) -> Life {
        let known = self.containers.get(id).cloned().unwrap_or(Life::Unknown);
        let unclear = |why: &str, root: &Path| {
            Life::Unclear(format!("cannot be judged: {why} {}", root.display()))
        };
        match (known, &self.refused[..], &self.missing[..]) {
            (known @ (Life::Lives(_) | Life::Unclear(_)), ..) => known,
            (_, [(root, _), ..], _) => unclear("nobody can tell who is in", root),
            (Life::Unknown, _, [root, ..]) => unclear("there is no runtime root", root),
            (known, ..) => known,
        }
    }

    fn add(&mut self, root: &Path) -> anyhow::Result<()> {
        match Dir::open(root) {
            Err(error) if error.errno() == Errno::ENOENT => {
                self.missing.push(root.to_owned());
                Ok(())
            }
            Err(error) => Err(error.into()),
            Ok(dir) if root.file_name() == Some(OsStr::new(TASKS)) => self.add_tasks(&dir),
            Ok(dir) => self.add_root(root, &dir),
        }
    }

    /// One of davit, runc or crun.
    fn add_root(&mut self, root: &Path, dir: &Dir) -> anyhow::Result<()> {
        let namespace = root.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let (mut strangers, mut understood) = (0, 0);
        for id in directories(dir)? {
            let container = dir.open_dir(&id);
            match container.as_ref().is_ok_and(is_a_container_s) {
                true => understood += 1,
                false => strangers += 1,
            }
            let life = life_in(&container);
            self.insert(format!("{namespace}-{id}"), life.clone());
            self.insert(id, life);
        }
        ensure!(
            strangers == 0 || understood > 0,
            "this is no state directory of davit, runc or crun: none of its {strangers} directories \
             has a state.json or a status that can be read (containerd's is .../{TASKS})"
        );
        Ok(())
    }

    fn add_tasks(&mut self, dir: &Dir) -> anyhow::Result<()> {
        for namespace in directories(dir)? {
            let tasks = dir.open_dir(&namespace)?;
            for id in directories(&tasks)? {
                let life = tasks.open_dir(&id).map(|task| task_life(&task));
                let life = life.unwrap_or_else(|error| Life::Unclear(error.to_string()));
                self.insert(format!("{namespace}-{id}"), life.clone());
                // Kubernetes' sandboxes go by their bare ID.
                self.insert(id, life);
            }
        }
        Ok(())
    }

    /// Of two that share a name, the one that keeps more alive counts.
    fn insert(&mut self, id: String, life: Life) {
        let known = self.containers.entry(id).or_insert(Life::Unknown);
        let rank = |life: &Life| match life {
            Life::Unknown => 0,
            Life::Dead(_) => 1,
            Life::Unclear(_) => 2,
            Life::Lives(_) => 3,
        };
        if rank(&life) > rank(known) {
            *known = life;
        }
    }
}

/// The names of the directories in it, without what davit is just deleting.
fn directories(dir: &Dir) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for name in dir.names()? {
        let is_dir = match dir.stat(&name) {
            Ok(stat) => stat.st_mode & S_IFMT == S_IFDIR,
            Err(error) if error.errno() == Errno::ENOENT => false,
            Err(error) => return Err(error.into()),
        };
        match name.into_string() {
            Ok(name) if is_dir && !name.contains(TOMB) => names.push(name),
            _ => {}
        }
    }
    Ok(names)
}

const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;

/// Whether a runtime made this directory: what it remembers can be read, or it was killed before
/// it could write anything, behind the claim (davit, crun) or the fifo (runc).
fn is_a_container_s(dir: &Dir) -> bool {
    let names = dir.names().unwrap_or_default();
    let has = |name: &str| names.iter().any(|other| other == name);
    let parses = |name: &str| matches!(json(dir, name), Ok(Some(Value::Object(_))));
    match has("state.json") || has("status") {
        true => parses("state.json") || parses("status"),
        false => names.is_empty() || has("lock") || has("exec.fifo"),
    }
}

/// Of a container's directory under davit, runc or crun.
fn life_in(dir: &sys::Result<Dir>) -> Life {
    let read = || -> anyhow::Result<Life> {
        let dir = match dir {
            Ok(dir) => dir,
            Err(error) => bail!("{error}"),
        };
        if let Some(state) = json(dir, "state.json")? {
            return remembered(&state, "init_process_pid", "init_process_start");
        }
        if let Some(status) = json(dir, "status")? {
            return remembered(&status, "pid", "process-start-time");
        }
        bail!("its runtime has not written its state yet")
    };
    read().unwrap_or_else(|error| Life::Unclear(format!("cannot be judged: {error:#}")))
}

fn json(dir: &Dir, name: &str) -> anyhow::Result<Option<Value>> {
    match dir.read(name, LONGEST) {
        Err(error) if error.errno() == Errno::ENOENT => Ok(None),
        bytes => Ok(Some(
            serde_json::from_slice(&bytes?).context(name.to_owned())?,
        )),
    }
}

/// What a record's process came to.
fn remembered(record: &Value, pid: &str, start: &str) -> anyhow::Result<Life> {
    let number = |key: &str| record.get(key).and_then(Value::as_u64);
    let boot = record.get("boot_id").and_then(Value::as_str);
    if let Some(boot) = boot
        && boot != this_boot()?
    {
        return Ok(Life::Dead("its process was of an earlier boot".into()));
    }
    let started = number(start).filter(|start| *start != 0);
    match number(pid).context("no pid")? {
        0 => bail!("its runtime has not started it yet"),
        pid => life_of_process(pid, started),
    }
}

fn life_of_process(pid: u64, started: Option<u64>) -> anyhow::Result<Life> {
    let now = start_of_process(u32::try_from(pid).context("pid")?)?;
    Ok(match (now, started) {
        (None, _) => Life::Dead(format!("its process {pid} is gone")),
        (Some(now), Some(then)) if now != then.to_string() => Life::Dead(format!(
            "its process {pid} is gone, its number in use again"
        )),
        _ => Life::Lives(format!("its process {pid} is there")),
    })
}

fn this_boot() -> anyhow::Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    Ok(text.trim().to_owned())
}

/// Of a task's directory under containerd.
fn task_life(task: &Dir) -> Life {
    let read = || -> anyhow::Result<Life> {
        let bytes = match task.read("init.pid", 64) {
            Err(error) if error.errno() == Errno::ENOENT => {
                bail!("containerd has not started it yet")
            }
            bytes => bytes?,
        };
        let text = String::from_utf8(bytes).context("init.pid")?;
        life_of_process(text.trim().parse().context("init.pid")?, None)
    };
    read().unwrap_or_else(|error| Life::Unclear(format!("cannot be judged: {error:#}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A state directory with these files.
    fn root(name: &str, files: &[(&str, String)]) -> (tempfile::TempDir, PathBuf) {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().join(name);
        Dir::open_or_create(&root, 0o755).unwrap();
        for (file, contents) in files {
            let path = root.join(file);
            let dir = Dir::open_or_create(path.parent().unwrap(), 0o755).unwrap();
            let name = path.file_name().unwrap();
            dir.replace(name, contents.as_bytes(), 0o600).unwrap();
        }
        (base, root)
    }

    fn own() -> (u32, String) {
        let pid = std::process::id();
        (pid, start_of_process(pid).unwrap().unwrap())
    }

    fn runc(pid: u32, start: &str) -> String {
        format!(
            r#"{{"id":"x","init_process_pid":{pid},"init_process_start":{start},"config":{{}}}}"#
        )
    }

    /// No process has it: above pid_max.
    const NOBODY: u32 = 2_000_000_000;

    #[test]
    fn a_record_lives_as_long_as_its_very_process() {
        let (pid, start) = own();
        let files = [
            ("alive/state.json", runc(pid, &start)),
            ("gone/state.json", runc(NOBODY, "7")),
            ("reused/state.json", runc(pid, "1")),
            ("starting/state.json", runc(0, "0")),
            ("broken/state.json", "{".to_owned()),
            ("early/lock", String::new()),
            (
                "rebooted/state.json",
                runc(pid, &start).replace("\"config\":{}", "\"boot_id\":\"x\""),
            ),
            ("deleted~17/state.json", runc(pid, &start)),
            (
                "c-alive/status",
                format!(r#"{{"pid":{pid},"process-start-time":{start}}}"#),
            ),
            (
                "c-gone/status",
                format!(r#"{{"pid":{NOBODY},"process-start-time":9}}"#),
            ),
        ];
        let (_base, root) = root("run", &files);
        let runtimes = Runtimes::look(&[root]);
        let word = |id: &str| match runtimes.life(id) {
            Life::Lives(_) => "lives",
            Life::Dead(_) => "dead",
            Life::Unclear(_) => "unclear",
            Life::Unknown => "unknown",
        };
        for (id, expected) in [
            ("alive", "lives"),
            ("run-alive", "lives"),
            ("gone", "dead"),
            ("reused", "dead"),
            ("rebooted", "dead"),
            ("starting", "unclear"),
            ("broken", "unclear"),
            ("early", "unclear"),
            ("deleted", "unknown"),
            ("deleted~17", "unknown"),
            ("c-alive", "lives"),
            ("c-gone", "dead"),
            ("other", "unknown"),
        ] {
            assert_eq!(word(id), expected, "{id}");
        }
    }

    #[test]
    fn containerd_s_tasks_go_by_both_names_and_by_their_pid_alone() {
        let (pid, _) = own();
        let files = [
            ("default/web/init.pid", pid.to_string()),
            ("k8s.io/0a1b/init.pid", NOBODY.to_string()),
            ("default/early/config.json", "{}".to_owned()),
        ];
        let (_base, root) = root(TASKS, &files);
        let runtimes = Runtimes::look(&[root]);
        for id in ["default-web", "web"] {
            assert!(matches!(runtimes.life(id), Life::Lives(_)), "{id}");
        }
        for id in ["k8s.io-0a1b", "0a1b"] {
            assert!(matches!(runtimes.life(id), Life::Dead(_)), "{id}");
        }
        assert!(matches!(runtimes.life("default-early"), Life::Unclear(_)));
    }

    #[test]
    fn while_a_root_is_refused_or_missing_strangers_are_unclear() {
        let (_base, etc) = root("etc", &[("apt/sources.list", String::new())]);
        let (_other, good) = root("run", &[("gone/state.json", runc(NOBODY, "7"))]);
        let runtimes = Runtimes::look(&[etc, good]);
        let complaints: Vec<_> = runtimes.complaints().collect();
        assert!(
            matches!(&complaints[..], [one] if one.contains("this is no state directory")),
            "{complaints:?}"
        );
        for id in ["x", "gone"] {
            assert!(matches!(runtimes.life(id), Life::Unclear(why) if why.contains("etc")));
        }
        let (_base, file) = root("dir", &[("file", String::new())]);
        assert_eq!(Runtimes::look(&[file.join("file")]).complaints().count(), 1);
        // Empty is what the last container leaves.
        let empty = Runtimes::look(std::slice::from_ref(&file));
        assert_eq!(
            (empty.life("x"), empty.complaints().count()),
            (Life::Unknown, 0)
        );
        let runtimes = Runtimes::look(&[file.join("absent")]);
        assert!(matches!(runtimes.life("x"), Life::Unclear(why) if why.contains("absent")));
    }

    #[test]
    fn one_that_a_killed_create_left_does_not_make_its_root_a_stranger() {
        for (file, contents) in [
            ("x/state.json", runc(0, "0")),
            ("x/status", r#"{"pid":0}"#.to_owned()),
            ("x/lock", String::new()),
            ("x/exec.fifo", String::new()),
        ] {
            let (_base, root) = root("run", &[(file, contents)]);
            let runtimes = Runtimes::look(&[root]);
            assert_eq!(runtimes.complaints().count(), 0, "{file}");
            assert!(matches!(runtimes.life("x"), Life::Unclear(_)), "{file}");
            assert_eq!(runtimes.life("y"), Life::Unknown, "{file}");
        }
        let (_base, claimed) = root("run", &[]);
        Dir::open(&claimed).unwrap().create_dir("x", 0o711).unwrap();
        assert_eq!(Runtimes::look(&[claimed]).complaints().count(), 0);
        for (file, contents) in [("x/state.json", "{"), ("x/status", "[]"), ("x/other", "{}")] {
            let (_base, root) = root("run", &[(file, contents.to_owned())]);
            assert_eq!(Runtimes::look(&[root]).complaints().count(), 1, "{file}");
        }
    }

    #[test]
    fn of_two_that_share_a_name_the_living_counts() {
        let (pid, start) = own();
        let (_a, dead) = root("a", &[("x/state.json", runc(NOBODY, "7"))]);
        let (_b, alive) = root("b", &[("x/state.json", runc(pid, &start))]);
        for roots in [[dead.clone(), alive.clone()], [alive, dead]] {
            let runtimes = Runtimes::look(&roots);
            assert!(matches!(runtimes.life("x"), Life::Lives(_)));
        }
    }
}
