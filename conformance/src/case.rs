//! [`Case`]: what the body of a row gets: a fresh private host, a directory, the subject.
//!
//! Every command is recorded, so that a failing row can be read like a terminal.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use testbed::{Bundle, Cgroups, Config, Host, Invocation, Outcome, Rootfs, Snapshot};

use crate::container::Container;
use crate::row::{Failure, Side, Verdict, ensure};
use crate::subject::Subject;

/// The surroundings of one row.
pub(crate) struct Case<'a> {
    pub(crate) subject: &'a Subject,
    pub(crate) host: Host,
    dir: PathBuf,
    rootfs: &'a Rootfs,
    serial: u32,
    containers: Cell<u32>,
    record: RefCell<Vec<String>>,
}

impl<'a> Case<'a> {
    /// A fresh host and directory below `run`, which also holds what `rootfs` links to.
    pub(crate) fn new(subject: &'a Subject, rootfs: &'a Rootfs, run: &Path) -> Verdict<Self> {
        static SERIAL: AtomicU32 = AtomicU32::new(1);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let dir = run.join(serial.to_string());
        std::fs::create_dir(&dir)?;
        // Without the v2 hierarchy everywhere, or crun could not be judged at all.
        let host = Host::start(Cgroups::WithoutUnified)?;
        let (containers, record) = (Cell::new(0), RefCell::default());
        Ok(Self {
            subject,
            host,
            dir,
            rootfs,
            serial,
            containers,
            record,
        })
    }

    /// A directory for this row alone.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A file in that directory, as a word for shells and configurations.
    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.join(name).to_string_lossy().into_owned()
    }

    /// What a hook or a container left in a file of that directory.
    pub(crate) fn read(&self, name: &str) -> Verdict<String> {
        let path = self.dir.join(name);
        let text = std::fs::read_to_string(&path);
        text.map(|text| text.trim().to_owned())
            .map_err(|error| Failure(format!("{name} was never written: {error}")))
    }

    /// The runtime under test with its own state directory.
    pub(crate) fn runtime<S: AsRef<str>>(&self, args: &[S]) -> Verdict<Invocation> {
        let mut argv = vec![self.under_test(Side::Runtime)?];
        argv.extend(["--root".into(), self.path("state")]);
        argv.extend(args.iter().map(|arg| arg.as_ref().to_owned()));
        Ok(self.with_subject_env(self.host.command(argv)))
    }

    /// The runtime under test without any global option.
    pub(crate) fn bare_runtime(&self, args: &[&str]) -> Verdict<Invocation> {
        let argv = std::iter::once(self.under_test(Side::Runtime)?);
        let argv = argv.chain(args.iter().map(|arg| (*arg).to_owned()));
        Ok(self.with_subject_env(self.host.command(argv)))
    }

    /// The runtime under test as a word for a shell.
    pub(crate) fn subject_path(&self) -> Verdict<String> {
        self.under_test(Side::Runtime)
    }

    /// What is under test on this side, as a word for argument lists and shells.
    pub(crate) fn under_test(&self, side: Side) -> Verdict<String> {
        Ok(self.target(side)?.to_string_lossy().into_owned())
    }

    /// What is under test on this side.
    pub(crate) fn target(&self, side: Side) -> Verdict<&'a Path> {
        let path = self.subject.path(side);
        path.ok_or_else(|| Failure(format!("no {side:?} to test")))
    }

    pub(crate) fn with_subject_env(&self, invocation: Invocation) -> Invocation {
        let env = self.subject.env.iter();
        env.fold(invocation, |invocation, (name, value)| {
            invocation.env(name, value.clone())
        })
    }

    /// Runs and records.
    pub(crate) fn call(&self, invocation: &Invocation) -> Verdict<Outcome> {
        let outcome = invocation.run()?;
        self.record.borrow_mut().push(outcome.to_string());
        Ok(outcome)
    }

    /// Runs a line of shell on the host of this row and answers what it printed.
    pub(crate) fn sh(&self, script: &str) -> Verdict<String> {
        let outcome = self.call(&self.host.command(["sh", "-ec", script]))?;
        match outcome.success() {
            true => Ok(outcome.text()),
            false => Err(Failure(format!("on the host:\n{outcome}"))),
        }
    }

    /// Whether a line of shell on the host of this row succeeds.
    pub(crate) fn holds(&self, script: &str) -> Verdict<bool> {
        Ok(self
            .call(&self.host.command(["sh", "-ec", script]))?
            .success())
    }

    /// What the host and this row's state directories carry now.
    pub(crate) fn snapshot(&self) -> Verdict<Snapshot> {
        let cgroups = format!("{}-", self.cgroup_prefix());
        let directories = [&self.path("state"), "/run", "/var/lib"];
        Ok(self.host.snapshot(&cgroups, &directories)?)
    }

    /// The host and this row's state directories carry what they did then, and nothing else.
    pub(crate) fn has_nothing_since(&self, before: &Snapshot) -> Verdict {
        let difference = before.difference(&self.snapshot()?);
        ensure!(
            difference.is_empty(),
            "left behind:\n{}",
            difference.join("\n")
        );
        Ok(())
    }

    /// A bundle for one container, not yet known to the runtime. Its cgroup is ours alone.
    pub(crate) fn container(&self, config: Config) -> Verdict<Container<'_>> {
        let number = self.containers.replace(self.containers.get() + 1);
        let id = format!("c{number}");
        let cgroup = format!("/{}-{id}", self.cgroup_prefix());
        let config = match config.value()["linux"].get("cgroupsPath") {
            Some(_) => config,
            None => config.set("/linux/cgroupsPath", cgroup.as_str()),
        };
        let bundle = Bundle::create(
            self.dir.join(format!("bundle{number}")),
            self.rootfs,
            &config,
        )?;
        self.record
            .borrow_mut()
            .push(format!("config.json of {id}:\n{config}\n"));
        Ok(Container {
            case: self,
            id,
            bundle,
            cgroup,
        })
    }

    /// A root file system at a place that does not exist yet.
    pub(crate) fn unpack(&self, place: &Path) -> Verdict {
        std::fs::create_dir(place)?;
        Ok(self.rootfs.unpack(place)?)
    }

    /// The cgroups of a container, whichever hierarchy of the machine they are in.
    pub(crate) fn cgroups(&self, container: &Container<'_>) -> Verdict<Vec<String>> {
        let name = container.cgroup.trim_start_matches('/');
        let groups = testbed::snapshot::hierarchies()?
            .into_iter()
            .map(|hierarchy| hierarchy.join(name));
        Ok(groups
            .filter(|group| group.exists())
            .map(|group| group.to_string_lossy().into_owned())
            .collect())
    }

    /// The start of every cgroup name of this row; no other process uses it.
    pub(crate) fn cgroup_prefix(&self) -> String {
        format!(
            "{}{}-{}",
            testbed::snapshot::CGROUP_PREFIX,
            std::process::id(),
            self.serial
        )
    }

    /// What happened, as one would have seen it in a terminal.
    pub(crate) fn record(&self) -> String {
        self.record.borrow().concat()
    }
}

impl Drop for Case<'_> {
    fn drop(&mut self) {
        // What is frozen dies only once it thaws, and the host would wait for it for ever.
        let groups = own_groups(&format!("{}-", self.cgroup_prefix()));
        for group in &groups {
            let state = group.join("freezer.state");
            if state.exists() {
                let _ = std::fs::write(state, "THAWED");
            }
        }
        // The host goes with this value and kills what runs; cgroups are the machine's own.
        let _ = self.host.sh("kill -9 -1 || true");
        groups.iter().for_each(|group| remove_group(group));
    }
}

/// The cgroups at the top of any hierarchy of the machine whose names start with `prefix`.
fn own_groups(prefix: &str) -> Vec<PathBuf> {
    let hierarchies = testbed::snapshot::hierarchies().unwrap_or_default();
    let entries = hierarchies.iter().filter_map(|place| place.read_dir().ok());
    let groups = entries.flatten().flatten();
    groups
        .filter(|group| group.file_name().to_string_lossy().starts_with(prefix))
        .map(|group| group.path())
        .collect()
}

/// Removes a cgroup and those below it; one that is still used stays.
fn remove_group(group: &Path) {
    for below in std::fs::read_dir(group).into_iter().flatten().flatten() {
        if below.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&below.path());
        }
    }
    for _ in 0..50 {
        if std::fs::remove_dir(group).is_ok() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
