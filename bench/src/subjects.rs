//! What `make bench` runs: runtimes on one bundle, and the floor.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use testbed::{Bundle, Config, Rootfs};

use crate::measure::Subject;

/// Runs a command to its end and answers the wall time; its status must be 0.
pub fn timed(command: &mut Command) -> Result<Duration, String> {
    let command = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit());
    let started = Instant::now();
    let status = command
        .status()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let took = started.elapsed();
    if status.success() {
        Ok(took)
    } else {
        Err(format!("{command:?}: {status}"))
    }
}

/// As [`timed`], for a subject of one series.
fn once(command: &mut Command) -> Result<Vec<Duration>, String> {
    timed(command).map(|took| vec![took])
}

/// A runtime, the bundle it runs and where it keeps its state.
pub struct Runtime {
    name: String,
    program: PathBuf,
    bundle: Bundle,
    state: PathBuf,
    id: String,
}

impl Runtime {
    /// A runtime with a bundle of its own below `directory`.
    pub fn new(program: &Path, rootfs: &Rootfs, directory: &Path) -> Result<Self, String> {
        let name = program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let id = format!("dvt-bench{}-{name}", std::process::id());
        let config = Config::new().set("/linux/cgroupsPath", format!("/{id}"));
        let bundle = Bundle::create(directory.join(&name), rootfs, &config);
        let bundle = bundle.map_err(|error| error.to_string())?;
        let state = directory.join(format!("{name}.state"));
        Ok(Self {
            name,
            program: program.into(),
            bundle,
            state,
            id,
        })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.state).args(args);
        command
    }

    /// `run` of /bin/true: create, start, wait, delete.
    pub fn run(&self) -> Subject<'_> {
        let bundle = self.bundle.dir().to_string_lossy().into_owned();
        let run = move || once(&mut self.command(&["run", "--bundle", &bundle, &self.id]));
        Subject {
            name: format!("{} run", self.name),
            run: Box::new(run),
        }
    }

    /// `exec` of /bin/true into a container that sleeps; [`Runtime::stop`] ends it.
    pub fn exec(&self) -> Result<Subject<'_>, String> {
        let config = Config::new().set("/linux/cgroupsPath", format!("/{}", self.id));
        let config = config.args(&["sleep", "3600"]);
        self.bundle
            .configure(&config)
            .map_err(|error| error.to_string())?;
        let bundle = self.bundle.dir().to_string_lossy().into_owned();
        timed(&mut self.command(&["create", "--bundle", &bundle, &self.id]))?;
        timed(&mut self.command(&["start", &self.id]))?;
        let run = || once(&mut self.command(&["exec", &self.id, "/bin/true"]));
        Ok(Subject {
            name: format!("{} exec", self.name),
            run: Box::new(run),
        })
    }

    /// Ends the container of [`Runtime::exec`].
    pub fn stop(&self) -> Result<(), String> {
        timed(&mut self.command(&["delete", "--force", &self.id])).map(|_| ())
    }

    /// The rootfs, for the floor.
    pub fn rootfs(&self) -> PathBuf {
        self.bundle.in_rootfs("/")
    }
}

/// The floor program, with or without cgroups of its own.
pub fn floor(program: &Path, rootfs: PathBuf, cgroup: Option<String>) -> Subject<'static> {
    let name = if cgroup.is_some() {
        "floor + cgroups"
    } else {
        "floor"
    };
    let program = program.to_owned();
    let run = move || {
        let mut command = Command::new(&program);
        once(command.arg(&rootfs).args(&cgroup))
    };
    Subject {
        name: name.into(),
        run: Box::new(run),
    }
}
