//! Runtimes, their containers, and the floor.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use testbed::Config;

use crate::bundles::Rootfs;
use crate::measure::{self, Subject};
use crate::setting::{Setting, command, installed, is_file, timed};

/// A runtime and where it keeps its state.
#[derive(Debug)]
pub struct Runtime {
    /// How tables call it.
    pub name: String,
    program: PathBuf,
    state: PathBuf,
}

impl Runtime {
    /// davit, and its peers that are installed.
    pub fn all(setting: &Setting) -> Vec<Self> {
        let ours = setting.ours.join("bin/davit");
        let ours = is_file(&ours).then_some(ours);
        let peers = ["crun", "runc", "youki"].map(installed);
        let all = std::iter::once(ours).chain(peers).flatten();
        all.map(|program| Self::new(program, setting)).collect()
    }

    fn new(program: PathBuf, setting: &Setting) -> Self {
        let name = program.file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        let state = setting.place.join(format!("{name}.state"));
        Self {
            name,
            program,
            state,
        }
    }

    /// The executable.
    pub fn program(&self) -> &Path {
        &self.program
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = command(&self.program);
        command.arg("--root").arg(&self.state).args(args);
        command
    }
}

/// One container: its ID is also its cgroup's name, and its bundle shares the rootfs of all.
#[derive(Debug)]
pub struct Container<'a> {
    runtime: &'a Runtime,
    id: String,
    bundle: PathBuf,
}

impl<'a> Container<'a> {
    /// Writes the bundle; `label` tells the containers of a runtime apart.
    pub fn new(
        setting: &Setting,
        rootfs: &Rootfs,
        runtime: &'a Runtime,
        label: &str,
        config: Config,
    ) -> Result<Self, String> {
        let id = format!("{}-{}-{label}", setting.prefix, runtime.name);
        let bundle = setting.place.join("bundles").join(&id);
        rootfs.bundle(&bundle, config.set("/linux/cgroupsPath", format!("/{id}")))?;
        Ok(Self {
            runtime,
            id,
            bundle,
        })
    }

    /// How tables call its runtime.
    pub fn name(&self) -> &str {
        &self.runtime.name
    }

    /// Its cgroup, as hierarchies name it.
    pub fn cgroup(&self) -> &str {
        &self.id
    }

    /// The command line of `run`, for who does not only time it.
    pub fn run_command(&self) -> Command {
        let bundle = self.bundle.to_string_lossy();
        self.runtime
            .command(&["run", "--bundle", &bundle, &self.id])
    }

    /// The command line of another operation on it.
    pub fn command(&self, operation: &str, more: &[&str]) -> Command {
        let mut command = self.runtime.command(&[operation, &self.id]);
        command.args(more);
        command
    }

    /// The command line of `create`.
    pub fn create_command(&self) -> Command {
        let (bundle, pid_file) = (self.bundle.to_string_lossy(), self.pid_file());
        let pid_file = pid_file.to_string_lossy();
        let args = [
            "create",
            "--bundle",
            &bundle,
            "--pid-file",
            &pid_file,
            &self.id,
        ];
        self.runtime.command(&args)
    }

    /// create, start, wait, delete.
    pub fn run(&self) -> Result<Duration, String> {
        timed(&mut self.run_command())
    }

    /// Its process waits afterwards. A pid file, as engines want one: davit then leaves no witness
    /// of the exit status beside it.
    pub fn create(&self) -> Result<Duration, String> {
        timed(&mut self.create_command())
    }

    /// Its program runs afterwards.
    pub fn start(&self) -> Result<Duration, String> {
        self.told("start", &[])
    }

    /// Prints its state.
    pub fn state(&self) -> Result<Duration, String> {
        self.told("state", &[])
    }

    /// SIGKILL to its process.
    pub fn kill(&self) -> Result<Duration, String> {
        self.told("kill", &["KILL"])
    }

    /// Takes away what is left of it.
    pub fn delete(&self) -> Result<Duration, String> {
        self.told("delete", &[])
    }

    /// Runs one more process in it.
    pub fn exec(&self) -> Result<Duration, String> {
        self.told("exec", &["/bin/true"])
    }

    /// Waits until its process has ended.
    pub fn ended(&self) -> Result<(), String> {
        let path = self.pid_file();
        let pid = std::fs::read_to_string(&path).map_err(|error| format!("{path:?}: {error}"))?;
        let stat = format!("/proc/{}/stat", pid.trim());
        let deadline = Instant::now() + Duration::from_secs(10);
        // Nobody may have waited for it yet.
        let lives = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
        while lives() {
            if Instant::now() > deadline {
                return Err(format!("{}: its process does not end", self.id));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Whatever it is, it is gone then.
    pub fn remove(&self) {
        // bench/run.sh ends and removes everything at once, sooner than five hundred deletes.
        if !measure::ends() {
            let args = ["delete", "--force", &self.id];
            // Where there is nothing left some complain, and that is right.
            let quiet = std::process::Stdio::null();
            let _ = self.runtime.command(&args).stderr(quiet).status();
        }
    }

    fn told(&self, operation: &str, more: &[&str]) -> Result<Duration, String> {
        timed(&mut self.command(operation, more))
    }

    fn pid_file(&self) -> PathBuf {
        self.bundle.join("pid")
    }
}

/// A container that sleeps until this is dropped.
#[derive(Debug)]
pub struct Sleeping<'a, 'b>(&'b Container<'a>);

impl<'a, 'b> Sleeping<'a, 'b> {
    /// Creates and starts it.
    pub fn new(container: &'b Container<'a>) -> Result<Self, String> {
        let sleeping = Self(container);
        container.create()?;
        container.start()?;
        Ok(sleeping)
    }

    /// What sleeps.
    pub fn container(&self) -> &'b Container<'a> {
        self.0
    }
}

impl Drop for Sleeping<'_, '_> {
    fn drop(&mut self) {
        self.0.remove();
    }
}

/// The name of the floor with cgroups in all tables.
pub const FLOOR_AND_CGROUPS: &str = "floor + cgroups";
/// The name of the floor alone.
pub const FLOOR: &str = "floor";

/// The name of the floor under davit's filter.
pub const FLOOR_AND_FILTER: &str = "floor + filter";

/// The name of the floor that does all that the default bundle asks for and keeps records, without a
/// word of configuration to read.
pub const FLOOR_AND_BUNDLE: &str = "floor + bundle";

/// The floor under the filter that davit has kept (decision 0016): what the kernel takes to check and to
/// compile it. An error if there is not exactly one.
pub fn floor_with_filter<'a>(
    setting: &'a Setting,
    rootfs: &'a Rootfs,
    davit: &Runtime,
) -> Result<Subject<'a>, String> {
    let kept = davit.state.join("~seccomp");
    let failed = |error: std::io::Error| format!("{}: {error}", kept.display());
    let files = std::fs::read_dir(&kept).map_err(failed)?;
    let files: Vec<_> = files.collect::<Result<_, _>>().map_err(failed)?;
    let [file] = files.as_slice() else {
        return Err(format!(
            "{}: {} filters, and not one",
            kept.display(),
            files.len()
        ));
    };
    let text = std::fs::read(file.path()).map_err(failed)?;
    let program = program_of(&text).ok_or("a kept filter has another form")?;
    let path = setting.place.join("filter");
    std::fs::write(&path, program).map_err(failed)?;
    Ok(Subject::timed(FLOOR_AND_FILTER, move || {
        let mut floor = floor_command(setting, rootfs, None);
        timed(floor.arg("-").arg(&path)).map(|took| vec![took])
    }))
}

/// The instructions, eight bytes each, at the end of a kept filter, whose header says how many.
fn program_of(kept: &[u8]) -> Option<&[u8]> {
    const COUNT: usize = "davit filter 2\n".len() + 4;
    let count = kept.get(COUNT..COUNT + 4)?.try_into().ok()?;
    let length = usize::try_from(u32::from_le_bytes(count)).ok()? * 8;
    kept.get(kept.len().checked_sub(length)?..)
}

/// The command line of the floor program.
pub fn floor_command(setting: &Setting, rootfs: &Rootfs, cgroup: Option<&str>) -> Command {
    let mut command = command(setting.tool("floor"));
    command.arg(rootfs.root());
    if let Some(label) = cgroup {
        command.arg(format!("{}-{label}", setting.prefix));
    }
    command
}

/// The same of [`FLOOR_AND_BUNDLE`].
pub fn floor_and_bundle_command(setting: &Setting, rootfs: &Rootfs, label: &str) -> Command {
    let mut command = floor_command(setting, rootfs, Some(label));
    let records = setting.place.join(format!("floor-{label}"));
    command.arg("+").arg(records);
    command
}

/// All floors.
pub fn floors<'a>(setting: &'a Setting, rootfs: &'a Rootfs) -> [Subject<'a>; 3] {
    let of = |name, command: fn(&Setting, &Rootfs) -> Command| {
        Subject::timed(name, move || {
            timed(&mut command(setting, rootfs)).map(|took| vec![took])
        })
    };
    [
        of(FLOOR, |setting, rootfs| {
            floor_command(setting, rootfs, None)
        }),
        of(FLOOR_AND_CGROUPS, |setting, rootfs| {
            floor_command(setting, rootfs, Some("floor"))
        }),
        of(FLOOR_AND_BUNDLE, |setting, rootfs| {
            floor_and_bundle_command(setting, rootfs, "floor")
        }),
    ]
}
