//! The private host of one worker: everything that an operation can touch, made once.
//!
//! Its mounts, links, rules and processes are in namespaces of its own, in which the worker is pid 1
//! and so gets every orphan. Cgroups have no such thing for us (hybrid hosts): they are below a
//! directory of the worker's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testbed::{Bundle, Rootfs};

use crate::tracer::{Command, Plan, Run, Tracer};

/// Where the worker's own file system is: programs, bundle, streams.
pub(crate) const HOME: &str = "/mnt";
/// The container.
pub(crate) const ID: &str = "box";
/// How long [`hold`] waits for its process beside many others.
const HELD_WITHIN: Duration = Duration::from_secs(30);
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Directories where programs of ours, or what they start, keep files; empty at first.
pub(crate) const DIRECTORIES: [&str; 4] = ["/run", "/var/lib", "/tmp", "/dev/shm"];

pub(crate) struct World {
    pub(crate) tracer: Tracer,
    /// What the worker's cgroups begin with.
    pub(crate) cgroup: String,
    /// A process in a network namespace of its own, which plugins get.
    pub(crate) holder: Pid,
}

impl World {
    /// Called in fresh namespaces, as their pid 1.
    pub(crate) fn make(programs: &Path, cgroup: &str, deadline: Duration) -> Result<Self, String> {
        let home = Path::new(HOME);
        let rootfs = furnish(programs, cgroup)?;
        let config = crate::protection::demanding(&format!("/{cgroup}/{ID}"));
        let bundle = home.join("bundle");
        Bundle::create(bundle.clone(), &rootfs, &config).map_err(|error| error.to_string())?;
        fs::write(
            home.join("process.json"),
            crate::protection::second_process(&config),
        )
        .map_err(said("process.json"))?;
        shell(
            "ip link set lo up; ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up",
        )?;
        let tracer = Tracer::new(home, deadline).map_err(|error| error.to_string())?;
        Ok(Self {
            tracer,
            cgroup: cgroup.to_owned(),
            holder: Pid::from_raw(hold()?.id().cast_signed()),
        })
    }

    /// Ends one of [`hold`], or any child.
    pub(crate) fn let_go(&mut self, holder: Pid) {
        let _ = kill(holder, Signal::SIGKILL);
        for _ in 0..1000 {
            self.tracer.reap(Duration::from_millis(1));
            if kill(holder, None).is_err() {
                return;
            }
        }
    }

    /// Runs a command with nobody looking; a failure is an error with all that was said.
    pub(crate) fn well(&mut self, command: &Command) -> Result<Run, String> {
        let run = self.tracer.run(command, Plan::Untraced, &[])?;
        match run.success() {
            true => Ok(run),
            false => Err(format!(
                "{}: {:?}: {}{}",
                command.argv.join(" "),
                run.end,
                run.stderr,
                run.stdout
            )),
        }
    }

    /// Pid of the container's first process, as davit wrote it down.
    pub(crate) fn init(&self) -> Option<Pid> {
        let record = fs::read(format!("/run/davit/{ID}/state.json")).ok()?;
        let record: serde_json::Value = serde_json::from_slice(&record).ok()?;
        let pid = record["init_process_pid"].as_i64()?;
        (pid > 0).then(|| Pid::from_raw(pid as i32))
    }
}

/// Called in fresh namespaces: mounts what programs of ours write to, and copies them to [`HOME`].
pub(crate) fn furnish(programs: &Path, cgroup: &str) -> Result<Rootfs, String> {
    mount(&["-t", "tmpfs", "-o", "mode=755", "tmpfs", HOME])?;
    let home = Path::new(HOME);
    for entry in list(&programs.join("bin"))? {
        copy(&entry.path(), &home.join(entry.file_name()))?;
    }
    let plugins = home.join("cni");
    make_directory(&plugins)?;
    let first = plugins.join("davit-cni-plugins");
    copy(&programs.join("cni/davit-cni-plugins"), &first)?;
    for entry in list(&programs.join("cni"))? {
        let _ = fs::hard_link(&first, plugins.join(entry.file_name()));
    }
    let rootfs = Rootfs::prepare(home).map_err(|error| error.to_string())?;
    for directory in DIRECTORIES {
        mount(&["-t", "tmpfs", "-o", "mode=755", "tmpfs", directory])?;
    }
    for directory in [
        "/run/netns",
        "/run/lock",
        "/var/lib/cni",
        "/run/davit",
        "/run/net.d",
    ] {
        make_directory(Path::new(directory))?;
    }
    for hierarchy in hierarchies() {
        make_directory(&hierarchy.join(cgroup))?;
    }
    Ok(rootfs)
}

/// A process in a new network namespace.
pub(crate) fn hold() -> Result<Child, String> {
    let mut unshare = std::process::Command::new("/usr/bin/unshare");
    let holder = unshare.args(["-n", "/bin/sleep", "infinity"]).spawn();
    let holder = holder.map_err(said("unshare"))?;
    let comm = format!("/proc/{}/comm", holder.id());
    let end = Instant::now() + HELD_WITHIN;
    // unshare is that process, and becomes sleep when its namespace is there.
    while !fs::read_to_string(&comm).is_ok_and(|name| name.trim() == "sleep") {
        if Instant::now() > end {
            return Err("unshare -n sleep has not come up".into());
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    Ok(holder)
}

/// The cgroups of a worker that has ended, and of whom it left behind.
pub(crate) fn forget_cgroups(name: &str) {
    for hierarchy in hierarchies() {
        let top = hierarchy.join(name);
        let _ = fs::remove_dir(top.join(ID));
        let _ = fs::remove_dir(top);
    }
}

/// davit with the worker's own root.
pub(crate) fn davit(arguments: &[&str]) -> Command {
    let program = format!("{HOME}/davit");
    let mut argv = vec![program, "--root".into(), "/run/davit".into()];
    argv.extend(arguments.iter().map(|text| (*text).to_owned()));
    let environment = vec![("PATH".into(), PATH.into())];
    Command {
        argv,
        environment,
        stdin: String::new(),
    }
}

/// davit-cni, with what an operator would have in his environment.
pub(crate) fn davit_cni(arguments: &[&str], stdin: &str) -> Command {
    let mut argv = vec![format!("{HOME}/davit-cni")];
    argv.extend(arguments.iter().map(|text| (*text).to_owned()));
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let environment = vec![
        variable("PATH", PATH),
        variable("CNI_PATH", &format!("{HOME}/cni")),
        variable("NETCONFPATH", "/run/net.d"),
    ];
    Command {
        argv,
        environment,
        stdin: stdin.to_owned(),
    }
}

/// A plugin by itself, for `container` in the network namespace of `holder`.
pub(crate) fn plugin(name: &str, verb: &str, holder: Pid, config: &str) -> Command {
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let environment = vec![
        variable("PATH", PATH),
        variable("CNI_PATH", &format!("{HOME}/cni")),
        variable("CNI_COMMAND", verb),
        variable("CNI_CONTAINERID", ID),
        variable("CNI_NETNS", &format!("/proc/{holder}/ns/net")),
        variable("CNI_IFNAME", "eth0"),
    ];
    let argv = vec![format!("{HOME}/cni/{name}")];
    Command {
        argv,
        environment,
        stdin: config.to_owned(),
    }
}

/// The hierarchies of cgroups, wherever they are mounted below the usual place.
pub(crate) fn hierarchies() -> Vec<PathBuf> {
    let top = Path::new("/sys/fs/cgroup");
    let is_hierarchy = |path: &Path| fs::metadata(path.join("cgroup.procs")).is_ok();
    if is_hierarchy(top) {
        return vec![top.to_owned()];
    }
    let entries = fs::read_dir(top).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .filter(|path| is_hierarchy(path))
        .collect();
    found.sort();
    found
}

fn mount(arguments: &[&str]) -> Result<(), String> {
    let status = std::process::Command::new("mount")
        .args(arguments)
        .status()
        .map_err(said("mount"))?;
    status
        .success()
        .then_some(())
        .ok_or_else(|| format!("mount {arguments:?}: {status}"))
}

fn shell(script: &str) -> Result<(), String> {
    let status = std::process::Command::new("sh")
        .args(["-ec", script])
        .status()
        .map_err(said("sh"))?;
    status
        .success()
        .then_some(())
        .ok_or_else(|| format!("{script}: {status}"))
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    fs::copy(from, to).map_err(|error| format!("{}: {error}", from.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).map_err(said("chmod"))
}

fn list(directory: &Path) -> Result<Vec<fs::DirEntry>, String> {
    let entries = fs::read_dir(directory);
    let entries = entries.map_err(|error| format!("{}: {error}", directory.display()))?;
    Ok(entries.flatten().collect())
}

fn make_directory(path: &Path) -> Result<(), String> {
    fs::create_dir_all(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn said(what: &str) -> impl Fn(std::io::Error) -> String {
    move |error| format!("{what}: {error}")
}
