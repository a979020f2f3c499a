//! Intel RDT: the group of the resctrl file system that the container's processes are in
//! (config-linux.md, "IntelRdt"; Documentation/filesystems/resctrl.rst).
//!
//! Groups are few, they are registers of the processor. So what `create` makes is written down
//! before it is made, and `delete` removes that and nothing else.

mod statistics;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use sys::{Dir, Errno, kernel_file};

use crate::plan::intel_rdt::IntelRdt;

/// Where the container is, as its record keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Its control group.
    pub group: PathBuf,
    /// Whether that was made for it.
    pub made: bool,
    /// Its monitoring group, which is always its own.
    pub monitor: Option<PathBuf>,
}

/// Where resctrl is mounted.
pub fn mount_point() -> Option<PathBuf> {
    let mounts = sys::mountinfo::own().ok()?;
    let found = mounts.into_iter().find(|mount| mount.fs_type == "resctrl");
    found.map(|mount| mount.point)
}

/// What divides the cache, under `info`.
pub const CACHE: [&str; 3] = ["L3", "L3CODE", "L3DATA"];
/// What divides memory bandwidth, under `info`.
pub const BANDWIDTH: [&str; 1] = ["MB"];

/// Whether the processor has one of these.
pub fn is_enabled(root: Option<&Path>, kinds: &[&str]) -> bool {
    root.is_some_and(|root| {
        let mut kinds = kinds.iter();
        kinds.any(|kind| root.join("info").join(kind).is_dir())
    })
}

impl Membership {
    /// The lines of `schemata`, without the blanks that align them.
    pub fn schemata(&self) -> Result<String> {
        let text = fs::read_to_string(self.group.join("schemata"))
            .with_context(|| format!("read {:?}", self.group.join("schemata")))?;
        Ok(text
            .lines()
            .map(|line| format!("{}\n", line.trim()))
            .collect())
    }

    /// Writes lines of `schemata` of the control group; the kernel takes all of them or none.
    pub fn set_schemata(&self, lines: &str) -> Result<()> {
        Ok(kernel_file::write(
            &Dir::open(&self.group)?,
            "schemata",
            lines,
        )?)
    }

    /// Decides where the container `id` belongs below `root`. Nothing is made yet.
    pub fn decide(rdt: &IntelRdt, id: &str, root: Option<&Path>) -> Result<Self> {
        let Some(root) = root else {
            bail!(
                "config.json /linux/intelRdt: intelRdt is specified in config, but Intel RDT is \
                 not enabled (is resctrl mounted?)"
            )
        };
        check_features(rdt, root)?;
        let group = match rdt.clos_id.as_deref() {
            Some("/") => root.to_owned(),
            Some(name) => root.join(name),
            None => root.join(id),
        };
        let there = group.is_dir();
        if there {
            compare(rdt, &group)?;
        } else if rdt.clos_id.is_some() && rdt.schemata.is_empty() {
            bail!(
                "config.json /linux/intelRdt/closID: there is no {group:?}, and no schema to make it with"
            );
        }
        let monitor = rdt.monitoring.then(|| group.join("mon_groups").join(id));
        Ok(Self {
            made: !there,
            group,
            monitor,
        })
    }

    /// Makes the group if it is to be made. `EEXIST` is an error: then it is somebody else's.
    pub fn claim(&self) -> Result<()> {
        if !self.made {
            return Ok(());
        }
        let (parent, name) = split(&self.group)?;
        match parent.create_dir(name, 0o755) {
            // The processor has no more classes of service.
            Err(error) if error.errno() == Errno::ENOSPC => Err(error)
                .context("no free CLOSID: every class of service of this processor is in use"),
            other => Ok(other?),
        }
    }

    /// Writes the schemata of a group that was made, and makes the monitoring group.
    pub fn configure(&mut self, rdt: &IntelRdt) -> Result<()> {
        if self.made && !rdt.schemata.is_empty() {
            let text: String = rdt
                .schemata
                .iter()
                .map(|line| format!("{line}\n"))
                .collect();
            kernel_file::write(&Dir::open(&self.group)?, "schemata", &text)
                .context("config.json /linux/intelRdt")?;
        }
        if let Some(monitor) = &self.monitor {
            let (parent, name) = split(monitor)?;
            if let Err(error) = parent.create_dir(name, 0o755) {
                // Not made, so not to be removed either.
                self.monitor = None;
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Puts a process into the groups.
    pub fn admit(&self, pid: Pid) -> Result<()> {
        for group in [Some(&self.group), self.monitor.as_ref()]
            .into_iter()
            .flatten()
        {
            kernel_file::write(&Dir::open(group)?, "tasks", &pid.to_string())
                .context("enter the container's RDT group")?;
        }
        Ok(())
    }

    /// Removes what was made; what is gone already is no error.
    pub fn remove(&self) -> Result<()> {
        let made = self.made.then_some(&self.group);
        for group in self.monitor.iter().chain(made) {
            let removed = split(group).and_then(|(parent, name)| Ok(parent.remove_dir(name)?));
            match removed {
                Err(error) if is_missing(&error) => {}
                other => other.with_context(|| format!("remove the RDT group {group:?}"))?,
            }
        }
        Ok(())
    }
}

fn is_missing(error: &anyhow::Error) -> bool {
    let syscall = error.downcast_ref::<sys::SyscallError>();
    syscall.is_some_and(|error| error.errno() == Errno::ENOENT)
}

fn split(group: &Path) -> Result<(Dir, &std::ffi::OsStr)> {
    match (group.parent(), group.file_name()) {
        (Some(parent), Some(name)) => Ok((Dir::open(parent)?, name)),
        _ => bail!("{group:?} is no RDT group"),
    }
}

fn check_features(rdt: &IntelRdt, root: &Path) -> Result<()> {
    if rdt.l3_cache_schema && !is_enabled(Some(root), &CACHE) {
        bail!(
            "config.json /linux/intelRdt/l3CacheSchema: intelRdt.l3CacheSchema is specified in \
             config, but Intel RDT/CAT is not enabled"
        );
    }
    if rdt.mem_bw_schema && !is_enabled(Some(root), &BANDWIDTH) {
        bail!(
            "config.json /linux/intelRdt/memBwSchema: intelRdt.memBwSchema is specified in \
             config, but Intel RDT/MBA is not enabled"
        );
    }
    Ok(())
}

/// A group that is there must be what the configuration says (config-linux.md, "closID").
fn compare(rdt: &IntelRdt, group: &Path) -> Result<()> {
    if rdt.schemata.is_empty() {
        return Ok(());
    }
    let path = group.join("schemata");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path:?}"))?;
    let there: Vec<String> = text.lines().map(normal).collect();
    match rdt
        .schemata
        .iter()
        .find(|line| !there.contains(&normal(line)))
    {
        None => Ok(()),
        Some(line) => bail!(
            "config.json /linux/intelRdt: {group:?} exists, and its schemata differ: no {line:?}"
        ),
    }
}

/// A line of schemata without blanks and leading zeros: `L3:0=0f` is `L3:0=f`.
fn normal(line: &str) -> String {
    let line: String = line.split_whitespace().collect();
    let Some((resource, domains)) = line.split_once(':') else {
        return line;
    };
    let mut domains: Vec<String> = domains
        .split(';')
        .map(|domain| {
            let (id, value) = domain.split_once('=').unwrap_or((domain, ""));
            let plain = |text: &str| match text.trim_start_matches('0') {
                "" => "0".to_owned(),
                rest => rest.to_lowercase(),
            };
            format!("{}={}", plain(id), plain(value))
        })
        .collect();
    domains.sort();
    format!("{resource}:{}", domains.join(";"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A resctrl tree as the kernel shows it, but that it fills no directory by itself.
    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for directory in ["info/L3", "info/MB", "mon_groups", "batch/mon_groups"] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        put(
            root.path(),
            "batch/schemata",
            "    L3:0=00f;1=ff\n    MB:0=100;1=100\n",
        );
        put(root.path(), "batch/tasks", "");
        root
    }

    #[allow(clippy::disallowed_methods, reason = "a temporary directory")]
    fn put(root: &Path, name: &str, text: &str) {
        fs::write(root.join(name), text).unwrap();
    }

    fn rdt(clos_id: Option<&str>, schemata: &[&str]) -> IntelRdt {
        IntelRdt {
            clos_id: clos_id.map(String::from),
            schemata: schemata.iter().map(|line| (*line).to_owned()).collect(),
            monitoring: true,
            l3_cache_schema: true,
            mem_bw_schema: false,
        }
    }

    #[test]
    fn a_group_that_was_there_is_joined_and_stays() {
        let root = tree();
        let wanted = rdt(Some("batch"), &["L3:1=ff;0=f"]);
        let mut member = Membership::decide(&wanted, "web", Some(root.path())).unwrap();
        assert!(!member.made);
        member.claim().unwrap();
        member.configure(&wanted).unwrap();
        let monitor = member.monitor.clone().unwrap();
        put(&monitor, "tasks", "");
        assert_eq!(
            member.schemata().unwrap(),
            "L3:0=00f;1=ff\nMB:0=100;1=100\n"
        );
        member.admit(Pid::from_raw(77)).unwrap();
        let read = |name: &str| fs::read_to_string(root.path().join(name)).unwrap();
        assert_eq!(read("batch/tasks"), "77");
        assert_eq!(read("batch/mon_groups/web/tasks"), "77");
        assert!(read("batch/schemata").contains("00f"), "not written again");
        fs::remove_file(monitor.join("tasks")).unwrap();
        member.remove().unwrap();
        assert!(root.path().join("batch").is_dir() && !monitor.is_dir());
        member.remove().unwrap();
    }

    #[test]
    fn a_group_that_was_made_goes() {
        let root = tree();
        let wanted = rdt(None, &["L3:0=f", "MB:0=50"]);
        let mut member = Membership::decide(&wanted, "web", Some(root.path())).unwrap();
        assert!(member.made);
        member.monitor = None;
        member.claim().unwrap();
        assert!(member.claim().is_err(), "somebody else's");
        put(&member.group, "schemata", "");
        member.configure(&wanted).unwrap();
        let schemata = member.group.join("schemata");
        assert_eq!(fs::read_to_string(&schemata).unwrap(), "L3:0=f\nMB:0=50\n");
        fs::remove_file(schemata).unwrap();
        member.remove().unwrap();
        assert!(!member.group.is_dir());
    }

    #[test]
    fn what_the_machine_or_the_group_is_not_is_refused() {
        let root = tree();
        let text = |wanted: &IntelRdt, root: Option<&Path>| {
            Membership::decide(wanted, "web", root)
                .unwrap_err()
                .to_string()
        };
        let at = Some(root.path());
        assert!(text(&rdt(None, &[]), None).contains("Intel RDT is not enabled"));
        assert!(text(&rdt(Some("batch"), &["L3:0=3"]), at).contains("schemata differ"));
        assert!(text(&rdt(Some("none"), &[]), at).contains("no schema to make it with"));
        fs::remove_dir(root.path().join("info/L3")).unwrap();
        assert!(text(&rdt(None, &[]), at).contains("Intel RDT/CAT is not enabled"));
    }

    #[test]
    fn the_root_group_is_called_slash() {
        let root = tree();
        let mut wanted = rdt(Some("/"), &[]);
        wanted.monitoring = false;
        let member = Membership::decide(&wanted, "web", Some(root.path())).unwrap();
        assert_eq!((member.group.as_path(), member.made), (root.path(), false));
    }
}
