//! What is known of a container whose names and files are kept, in the state directory.
//!
//! ```text
//! <state>/containers/<container ID>/      0755
//!     record.json                         0600, replaced in one step
//!     hosts, resolv.conf, hostname        0644, unless the bundle has them elsewhere
//! <state>/containers/.new.PID.N.tmp/      the same that process PID is just making
//! <state>/containers/.gone.PID.N.tmp/     a container that process PID is just forgetting
//! ```
//! Who forgets a container renames its directory first, tells the neighbours, and removes it then:
//! one that was killed in between leaves what the next poststop and `gc` finish.
//! The record is written before anything is attached, without addresses, and again when all is
//! attached: a hook that was killed left a record of a namespace that is gone, which the next
//! create-runtime of that ID replaces, poststop removes, and `gc` too. A record without
//! addresses is seen by nobody else. Nothing here runs a plugin or writes the three files.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use cni::ContainerId;
use libcni::sandbox::{self, Life};
use serde::{Deserialize, Serialize};
use sys::{Dir, Errno};

/// A container with names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Its ID towards CNI.
    pub id: String,
    /// What its neighbours call it.
    pub name: String,
    /// What it calls itself.
    pub hostname: String,
    /// Path of its namespace.
    pub netns: String,
    /// Which namespace that was, [`sandbox::identify`]; empty when it has none.
    pub sandbox: String,
    /// The directory of its files.
    pub files: PathBuf,
    /// Its networks in the order of eth0, eth1, ...; empty until all of them are attached.
    #[serde(default)]
    pub networks: Vec<Membership>,
    /// Lines that only its own hosts file has.
    #[serde(default)]
    pub hosts: Vec<(String, IpAddr)>,
}

/// A container on a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The network.
    pub network: String,
    /// The interface.
    pub ifname: String,
    /// Its addresses there.
    pub addresses: Vec<IpAddr>,
    /// Its further names there.
    pub aliases: Vec<String>,
}

impl Record {
    /// Whether the namespace it was written for is known and there.
    pub fn lives(&self) -> bool {
        !self.sandbox.is_empty() && !self.is_dead()
    }

    /// Whether it could be written with the addresses that are still to come.
    pub fn is_too_long(&self) -> bool {
        let json = serde_json::to_vec(self).unwrap_or_default();
        json.len() as u64 > LONGEST - ADDRESSES
    }

    /// Whether the namespace it was written for is gone. What cannot be told lives.
    pub fn is_dead(&self) -> bool {
        matches!(self.life(), Ok(Some(Life::Gone)))
    }

    /// Whether its namespace is that of a process, by its path.
    pub fn is_process(&self) -> bool {
        sandbox::process_of(&self.netns).is_some()
    }

    /// What became of the namespace it was written for; `None` when it has none.
    pub fn life(&self) -> sys::Result<Option<Life>> {
        if self.sandbox.is_empty() {
            return Ok(None);
        }
        sandbox::life(&self.netns, &self.sandbox).map(Some)
    }
}

/// The records below one state directory.
#[derive(Clone, Debug)]
pub struct Records {
    state_dir: PathBuf,
}

/// The directory of all, below the state directory.
pub(crate) const CONTAINERS: &str = "containers";
/// The file in a container's directory.
pub(crate) const RECORD: &str = "record.json";
/// A record of ours is a few kilobytes; a longer one is refused before it is written.
const LONGEST: u64 = 1 << 20;
/// Of that, for the addresses that plugins give.
const ADDRESSES: u64 = 1 << 16;

impl Records {
    /// Those below `state_dir`, which is made when something is put into it.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
        }
    }

    /// The directory of a container.
    pub fn dir(&self, id: &ContainerId) -> PathBuf {
        self.all().join(id.as_str())
    }

    /// The same as an absolute path, for whoever reads it elsewhere: config.json, annotations.
    pub fn absolute_dir(&self, id: &ContainerId) -> anyhow::Result<PathBuf> {
        Ok(std::path::absolute(self.dir(id))?)
    }

    fn all(&self) -> PathBuf {
        self.state_dir.join(CONTAINERS)
    }

    /// Writes the record of a container, in the place of what was there.
    pub fn write(&self, id: &ContainerId, record: &Record) -> anyhow::Result<()> {
        let told = || format!("record of container {id}");
        let json = serde_json::to_vec(record).with_context(told)?;
        ensure!(
            json.len() as u64 <= LONGEST,
            "{}: it would have {} bytes, more than {LONGEST}",
            told(),
            json.len()
        );
        let all = Dir::open_or_create(self.all(), 0o755).with_context(told)?;
        let written = match all.open_dir(id.as_str()) {
            Err(error) if error.errno() == Errno::ENOENT => appear(&all, id, &json),
            // /run is gone after a reboot, as is every namespace that a record stands for.
            dir => dir.and_then(|dir| dir.replace_volatile(RECORD, &json, 0o600)),
        };
        written.with_context(told)
    }

    /// The record of a container; what cannot be read as one is none.
    pub fn read(&self, id: &ContainerId) -> anyhow::Result<Option<Record>> {
        let told = || format!("record of container {id}");
        let Some(all) = present(Dir::open(self.all())).with_context(told)? else {
            return Ok(None);
        };
        read(&all, id.as_str()).with_context(told)
    }

    /// The records of all containers that live, sorted by ID; what cannot be read is left out.
    pub fn living(&self) -> anyhow::Result<Vec<Record>> {
        let told = || format!("list {}", self.all().display());
        let Some(all) = present(Dir::open(self.all())).with_context(told)? else {
            return Ok(Vec::new());
        };
        let names = all.names().with_context(told)?.into_iter();
        let ids = names.filter_map(|name| name.to_str()?.parse::<ContainerId>().ok());
        let found = ids.filter_map(|id| read(&all, id.as_str()).ok().flatten());
        Ok(found.filter(|record| !record.is_dead()).collect())
    }

    /// Whether a container has a directory.
    pub fn is_there(&self, id: &ContainerId) -> anyhow::Result<bool> {
        let told = || format!("look for container {id}");
        let Some(all) = present(Dir::open(self.all())).with_context(told)? else {
            return Ok(false);
        };
        Ok(present(all.stat(id.as_str())).with_context(told)?.is_some())
    }

    /// Takes a container's directory out of the others' sight; whether there was one.
    pub fn bury(&self, id: &ContainerId) -> anyhow::Result<bool> {
        let told = || format!("forget container {id}");
        let Some(all) = present(Dir::open(self.all())).with_context(told)? else {
            return Ok(false);
        };
        let buried = temporary("gone", |grave| all.rename(id.as_str(), grave));
        Ok(present(buried).with_context(told)?.is_some())
    }

    /// What this process has buried, and what killed ones have.
    pub fn buried(&self) -> anyhow::Result<Vec<OsString>> {
        let told = || format!("list {}", self.all().display());
        let Some(all) = present(Dir::open(self.all())).with_context(told)? else {
            return Ok(Vec::new());
        };
        let mut names = all.names().with_context(told)?;
        names.retain(|name| {
            let writer = name.to_str().and_then(writer_of);
            writer.is_some_and(|pid| {
                pid == std::process::id() || matches!(sandbox::start_of_process(pid), Ok(None))
            })
        });
        Ok(names)
    }

    /// Removes what was buried.
    pub fn remove(&self, buried: &[OsString]) -> anyhow::Result<()> {
        for name in buried {
            let all = Dir::open(self.all());
            let removed = all.and_then(|all| all.remove_all(name));
            removed.with_context(|| format!("remove {}", name.display()))?;
        }
        Ok(())
    }
}

/// Makes the directory of a container with its record in it in one step: an empty one would tell
/// nobody whose it was, and stay until the grace of `gc` is over.
fn appear(all: &Dir, id: &ContainerId, json: &[u8]) -> sys::Result<()> {
    let staging = stage(all)?;
    let written = all
        .open_dir(&staging)
        .and_then(|dir| dir.replace_volatile(RECORD, json, 0o600))
        .and_then(|()| all.rename(&staging, id.as_str()));
    let Err(error) = written else { return Ok(()) };
    all.remove_all(&staging)?;
    match error.errno() {
        // Somebody's files came first.
        Errno::ENOTEMPTY | Errno::EEXIST => all
            .open_dir(id.as_str())?
            .replace_volatile(RECORD, json, 0o600),
        _ => Err(error),
    }
}

/// A directory under a temporary name, which tells `gc` who made it.
fn stage(all: &Dir) -> sys::Result<String> {
    temporary("new", |name| all.create_dir(name, 0o755))
}

/// Calls `take` with a temporary name of this process that nothing has, and returns the name.
fn temporary(kind: &str, mut take: impl FnMut(&str) -> sys::Result<()>) -> sys::Result<String> {
    let mut number = 0_u32;
    loop {
        let name = format!(".{kind}.{}.{number}.tmp", std::process::id());
        match take(&name) {
            // Of a process that had our number.
            Err(error) if matches!(error.errno(), Errno::ENOTEMPTY | Errno::EEXIST) => number += 1,
            taken => return taken.map(|()| name),
        }
    }
}

/// The process in a temporary name, `.NAME.PID.COUNT.tmp`.
pub(crate) fn writer_of(name: &str) -> Option<u32> {
    let rest = name.strip_prefix('.')?.strip_suffix(".tmp")?;
    let (rest, count) = rest.rsplit_once('.')?;
    count.parse::<u32>().ok()?;
    rest.rsplit_once('.')?.1.parse().ok()
}

/// The record of `id` below the directory of all.
pub(crate) fn read(all: &Dir, id: &str) -> sys::Result<Option<Record>> {
    let Some(dir) = present(all.open_dir(id))? else {
        return Ok(None);
    };
    let bytes = match dir.read(RECORD, LONGEST) {
        // Nothing that we wrote: too long, a directory, a socket, a fifo.
        Err(error) if is_a_strangers(error.errno()) => return Ok(None),
        read => present(read)?,
    };
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

fn is_a_strangers(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::EFBIG | Errno::EISDIR | Errno::ENXIO | Errno::EAGAIN
    )
}

fn present<T>(result: sys::Result<T>) -> sys::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.errno(), Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, netns: &str, sandbox: &str) -> Record {
        Record {
            id: id.into(),
            name: id.into(),
            hostname: id.into(),
            netns: netns.into(),
            sandbox: sandbox.into(),
            files: "/f".into(),
            networks: Vec::new(),
            hosts: Vec::new(),
        }
    }

    fn id(text: &str) -> ContainerId {
        text.parse().unwrap()
    }

    #[test]
    fn what_was_written_is_read_and_forgotten_once() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::new(dir.path());
        assert_eq!(records.read(&id("c1")).unwrap(), None);
        assert!(!records.bury(&id("c1")).unwrap());
        let written = record("c1", "", "");
        records.write(&id("c1"), &written).unwrap();
        assert_eq!(records.read(&id("c1")).unwrap(), Some(written));
        for _ in 0..2 {
            records.write(&id("c1"), &record("c1", "", "")).unwrap();
            assert!(records.bury(&id("c1")).unwrap());
        }
        assert!(!records.bury(&id("c1")).unwrap());
        assert!(records.living().unwrap().is_empty());
        let killed = records.all().join(".gone.2000000000.0.tmp/below");
        Dir::open_or_create(killed, 0o755).unwrap();
        let living = records.all().join(".gone.1.0.tmp");
        Dir::open_or_create(living, 0o755).unwrap();
        let buried = records.buried().unwrap();
        assert_eq!(buried.len(), 3, "{buried:?}");
        records.remove(&buried).unwrap();
        let left = Dir::open(records.all()).unwrap().names().unwrap();
        assert_eq!(left, [".gone.1.0.tmp"]);
    }

    #[test]
    fn a_directory_appears_with_its_record() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::new(dir.path());
        let all = Dir::open_or_create(records.all(), 0o755).unwrap();
        // Killed writers, one of them with our number.
        let own = format!(".new.{}.0.tmp", std::process::id());
        for name in [own.as_str(), ".new.2000000000.0.tmp"] {
            all.create_dir(name, 0o755).unwrap();
        }
        records.write(&id("c1"), &record("c1", "", "")).unwrap();
        assert_eq!(all.names().unwrap().len(), 3);
        assert!(records.read(&id("c1")).unwrap().is_some());
        // Files that wait for their container, and a directory that an older davit-cni left.
        for (name, file) in [("c2", Some("hosts")), ("c3", None)] {
            all.create_dir(name, 0o755).unwrap();
            if let Some(file) = file {
                let waiting = all.open_dir(name).unwrap();
                waiting.replace(file, b"", 0o644).unwrap();
            }
            appear(&all, &id(name), b"{}").unwrap();
            let mut names = all.open_dir(name).unwrap().names().unwrap();
            names.sort();
            let expected: Vec<_> = file.into_iter().chain([RECORD]).collect();
            assert_eq!(names, expected, "{name}");
        }
        assert_eq!(all.names().unwrap().len(), 5);
    }

    #[test]
    fn a_record_that_could_not_be_read_again_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::new(dir.path());
        let mut long = record("c1", "", "");
        long.hosts = vec![("x".repeat(1000), "10.0.0.1".parse().unwrap()); 1100];
        assert!(long.is_too_long());
        let error = records.write(&id("c1"), &long).unwrap_err().to_string();
        assert!(error.contains("container c1"), "{error}");
        assert!(records.living().unwrap().is_empty());
        // What another left so needs not be understood to be forgotten.
        for (name, contents) in [("directory", None), ("long", Some(LONGEST + 1))] {
            let own = Dir::open_or_create(records.dir(&id(name)), 0o755).unwrap();
            match contents {
                None => own.create_dir(RECORD, 0o755).unwrap(),
                Some(length) => own
                    .replace(RECORD, &vec![b' '; length as usize], 0o600)
                    .unwrap(),
            }
            assert_eq!(records.read(&id(name)).unwrap(), None, "{name}");
            assert!(records.bury(&id(name)).unwrap());
        }
    }

    #[test]
    fn a_record_lives_as_long_as_its_namespace() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::new(dir.path());
        let own = format!("/proc/{}/ns/net", std::process::id());
        let sandbox = sandbox::identify(&own).unwrap().unwrap();
        for (name, netns, sandbox) in [
            ("alive", own.as_str(), sandbox.as_str()),
            ("gone", "/proc/0/ns/net", "1@2"),
            ("reused", &own, "1@2"),
            ("without", "", ""),
        ] {
            records
                .write(&id(name), &record(name, netns, sandbox))
                .unwrap();
        }
        let living: Vec<_> = records
            .living()
            .unwrap()
            .into_iter()
            .map(|r| r.id)
            .collect();
        assert_eq!(living, ["alive", "without"]);
    }

    #[test]
    fn what_is_no_record_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::new(dir.path());
        records.write(&id("good"), &record("good", "", "")).unwrap();
        for (name, contents) in [("half", &b"{\"id\":"[..]), ("empty", b"")] {
            let dir = Dir::open_or_create(records.dir(&id(name)), 0o755).unwrap();
            dir.replace(RECORD, contents, 0o600).unwrap();
        }
        let all = Dir::open(records.all()).unwrap();
        all.replace("file", b"", 0o600).unwrap();
        all.create_dir("-no-id", 0o755).unwrap();
        std::os::unix::fs::symlink("good", records.all().join("link")).unwrap();
        let long = Dir::open_or_create(records.dir(&id("long")), 0o755).unwrap();
        long.replace(RECORD, &vec![b' '; (LONGEST + 1) as usize], 0o600)
            .unwrap();
        assert_eq!(records.read(&id("half")).unwrap(), None);
        let living = records.living().unwrap();
        assert!(
            living.iter().all(|record| record.id == "good"),
            "{living:?}"
        );
    }
}
