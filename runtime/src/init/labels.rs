//! AppArmor profile and SELinux label of the program, which the kernel takes at execve.
//!
//! They are written to `/proc/thread-self/attr` of the host's procfs, opened before the
//! container's mounts could stand in its place (CVE-2019-16884).

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

use crate::plan::{Plan, Process};
use crate::procfs::HostProc;

/// Open attribute files and what to write to them.
#[derive(Debug, Default)]
pub struct Labels {
    writes: Vec<(File, String)>,
}

/// Does `make` while the kernel gives new keys the SELinux label of the process that is to come,
/// which may not use them otherwise.
pub fn with_key_label(
    proc: &HostProc,
    label: Option<&str>,
    make: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let Some(label) = label else { return make() };
    let set = |value: &str| {
        let mut file = proc.open_for_writing(Path::new("thread-self/attr/keycreate"))?;
        file.write_all(value.as_bytes())
            .with_context(|| format!("write {value:?} to attr/keycreate"))
    };
    set(label)?;
    make()?;
    // An empty line brings the policy's own choice back.
    set("\n")
}

impl Labels {
    /// Opens what `plan` needs.
    pub fn open(proc: &HostProc, plan: &Plan) -> Result<Self> {
        Self::open_for(proc, &plan.process, plan.selinux_label.as_deref())
    }

    /// The same for a process that joins a container.
    pub fn open_for(proc: &HostProc, process: &Process, selinux: Option<&str>) -> Result<Self> {
        let mut labels = Self::default();
        let own = "thread-self/attr";
        if let Some(profile) = &process.apparmor_profile {
            let stacked = proc.open_for_writing(Path::new(&format!("{own}/apparmor/exec")));
            let file =
                stacked.or_else(|_| proc.open_for_writing(Path::new(&format!("{own}/exec"))));
            labels.writes.push((
                file.context("apparmor failed to apply profile")?,
                format!("exec {profile}"),
            ));
        }
        if let Some(label) = selinux {
            let file = proc.open_for_writing(Path::new(&format!("{own}/exec")));
            labels
                .writes
                .push((file.context("set the SELinux label")?, label.to_owned()));
        }
        Ok(labels)
    }

    /// Writes them; the next execve obeys.
    pub fn apply(self) -> Result<()> {
        for (mut file, label) in self.writes {
            file.write_all(label.as_bytes()).with_context(|| {
                let what = match label.strip_prefix("exec ") {
                    Some(_) => "apparmor failed to apply profile (is it loaded?)",
                    None => "set the SELinux label (does the policy know it?)",
                };
                format!("{what}: write {label:?} to attr/exec")
            })?;
        }
        Ok(())
    }
}
