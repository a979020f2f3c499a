//! What is known of a container whose names and files are kept, in the state directory.
//!
//! ```text
//! <state>/containers/<container ID>/      0755
//!     record.json                         0600, replaced in one step
//!     hosts, resolv.conf, hostname        0644, unless the bundle has them elsewhere
//! ```
//! The record is written before anything is attached, without addresses, and again when all is
//! attached: a hook that was killed left a record of a namespace that is gone, which the next
//! create-runtime of that ID replaces, poststop removes, and `gc` too. A record without
//! addresses is seen by nobody else. Nothing here runs a plugin or writes the three files.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::Context;
use cni::ContainerId;
use libcni::sandbox;
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

    /// Whether the namespace it was written for is gone. What cannot be told lives.
    pub fn is_dead(&self) -> bool {
        let now = sandbox::identify(&self.netns);
        !self.sandbox.is_empty() && now.is_ok_and(|now| now.as_ref() != Some(&self.sandbox))
    }
}

/// The records below one state directory.
#[derive(Clone, Debug)]
pub struct Records {
    state_dir: PathBuf,
}

const RECORD: &str = "record.json";
/// A record of ours is a few kilobytes.
const LONGEST: u64 = 1 << 20;

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

    fn all(&self) -> PathBuf {
        self.state_dir.join("containers")
    }

    /// Writes the record of a container, in the place of what was there.
    pub fn write(&self, id: &ContainerId, record: &Record) -> anyhow::Result<()> {
        let told = || format!("record of container {id}");
        let json = serde_json::to_vec(record).with_context(told)?;
        let dir = Dir::open_or_create(self.dir(id), 0o755).with_context(told)?;
        // /run is gone after a reboot, as is every namespace that a record stands for.
        dir.replace_volatile(RECORD, &json, 0o600)
            .with_context(told)
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

    /// Removes a container's directory; whether there was one.
    pub fn forget(&self, id: &ContainerId) -> anyhow::Result<bool> {
        let told = || format!("forget container {id}");
        if !self.is_there(id)? {
            return Ok(false);
        }
        let all = Dir::open(self.all()).with_context(told)?;
        all.remove_all(id.as_str()).with_context(told)?;
        Ok(true)
    }
}

/// The record of `id` below the directory of all.
pub(crate) fn read(all: &Dir, id: &str) -> sys::Result<Option<Record>> {
    let Some(dir) = present(all.open_dir(id))? else {
        return Ok(None);
    };
    let bytes = present(dir.read(RECORD, LONGEST))?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
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
        assert!(!records.forget(&id("c1")).unwrap());
        let written = record("c1", "", "");
        records.write(&id("c1"), &written).unwrap();
        assert_eq!(records.read(&id("c1")).unwrap(), Some(written));
        assert!(records.forget(&id("c1")).unwrap());
        assert!(!records.forget(&id("c1")).unwrap());
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
