//! davit-cni as a hook: one container with a network, and a hundred at once.
//!
//! A container is a process that sleeps in a network namespace of its own, and ends before poststop;
//! its hooks get the state that a runtime would send. What `create-runtime` does is timed with all that it starts: plugins,
//! hosts files of the neighbours, the cache.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::at_once::at_once;
use crate::measure::Subject;
use crate::plugins::{Life, by_the_clock, on_all_processors, processor_time};
use crate::setting::command;

/// davit-cni, a network for it, and where it keeps what it knows.
#[derive(Clone, Debug)]
pub struct Hook {
    program: PathBuf,
    plugins: PathBuf,
    place: PathBuf,
}

/// A process that sleeps in its own network namespace, while there is one.
#[derive(Debug)]
struct Container {
    process: Mutex<Option<Child>>,
    annotations: Value,
    id: String,
}

impl Hook {
    /// Network number `number` of the benchmark below `data`, which keeps bridges and subnets
    /// apart: nftables, masquerade, a published port.
    pub fn new(ours: &Path, number: usize, data: &Path) -> Result<Self, String> {
        let place = data.join(format!("hook{number}"));
        let list = json!({ "cniVersion": "1.0.0", "name": "net", "plugins": [
            { "type": "bridge", "bridge": format!("hook{number}"), "isDefaultGateway": true,
              "ipMasq": true, "ipMasqBackend": "nftables", "hairpinMode": true, "ipam": {
                  "type": "host-local", "dataDir": place.join("reservations"),
                  "subnet": format!("10.{}.0.0/16", 110 + number)
              } },
            { "type": "portmap", "backend": "nftables", "capabilities": { "portMappings": true } }
        ] });
        let configurations = place.join("net.d");
        let failed = |error: std::io::Error| format!("{}: {error}", place.display());
        std::fs::create_dir_all(&configurations).map_err(failed)?;
        std::fs::write(configurations.join("10-net.conflist"), list.to_string()).map_err(failed)?;
        Ok(Self {
            program: ours.join("bin/davit-cni"),
            plugins: ours.join("cni"),
            place,
        })
    }

    /// A container whose files davit-cni keeps.
    fn container(number: usize) -> Container {
        Container {
            process: Mutex::default(),
            annotations: json!({
                "org.davit.networks": "net", "org.davit.name": format!("name{number}"),
                "org.davit.ports": format!("{}:80", 20_000 + number),
            }),
            id: format!("hook-{number}"),
        }
    }

    /// Runs one hook, which must succeed, and answers how long it took.
    fn run(&self, event: &str, container: &Container) -> Result<Duration, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", self.program.display());
        let (status, pid) = match event {
            "poststop" => ("stopped", 0),
            _ => ("creating", container.pid()),
        };
        let state = json!({
            "ociVersion": "1.2.0", "id": container.id, "status": status, "pid": pid,
            "bundle": self.place.to_string_lossy(), "annotations": container.annotations,
        });
        let mut command = command(&self.program);
        command
            .arg(event)
            .env("NETCONFPATH", self.place.join("net.d"))
            .env("CNI_PATH", &self.plugins)
            .env("DAVIT_CNI_CACHE_DIR", self.place.join("cache"))
            .env("DAVIT_CNI_STATE_DIR", self.place.join("state"))
            .stdin(Stdio::piped())
            .stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn().map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin
                .write_all(state.to_string().as_bytes())
                .map_err(failed)?;
        }
        let ended = child.wait_with_output().map_err(failed)?;
        let took = started.elapsed();
        match ended.status.success() {
            true => Ok(took),
            false => Err(String::from_utf8_lossy(&ended.stderr).into_owned()),
        }
    }
}

/// One container of a hook.
#[derive(Debug)]
pub struct Single {
    hook: Hook,
    container: Container,
}

impl Single {
    /// With a namespace that stays.
    pub fn new(hook: Hook) -> Self {
        let container = Hook::container(0);
        Self { hook, container }
    }

    /// Both hooks: the time on the clock and on the processors of each.
    fn life(&self) -> Result<Life, String> {
        self.container.start()?;
        let before = processor_time()?;
        let create = self.hook.run("create-runtime", &self.container)?;
        let created = processor_time()? - before;
        self.container.stop();
        let before = processor_time()?;
        let poststop = self.hook.run("poststop", &self.container)?;
        Ok([(create, created), (poststop, processor_time()? - before)])
    }

    /// Measures createRuntime and poststop.
    pub fn lives(&self) -> Subject<'_> {
        by_the_clock("one", || self.life())
    }

    /// What nobody can be faster than who does this for `count` containers on these processors.
    pub fn floor(&self, count: usize) -> Subject<'_> {
        on_all_processors(count, || self.life())
    }
}

/// Containers that come and go all at once.
#[derive(Debug)]
pub struct Crowd {
    hook: Hook,
    members: Vec<Container>,
}

impl Crowd {
    /// `count` containers.
    pub fn new(hook: Hook, count: usize) -> Self {
        let members = (1..=count).map(Hook::container).collect();
        Self { hook, members }
    }

    /// Measures all createRuntimes at once, then all poststops.
    pub fn all(&self) -> Subject<'_> {
        Subject::timed(format!("{} at once", self.members.len()), || {
            let event = |event| {
                at_once(&self.members, |_, member| self.hook.run(event, member))
                    .map(|(_, took)| took)
            };
            self.members.iter().try_for_each(Container::start)?;
            let create = event("create-runtime")?;
            self.members.iter().for_each(Container::stop);
            Ok(vec![create, event("poststop")?])
        })
    }
}

/// Waits until the process is in its namespace.
fn asleep() -> Result<Child, String> {
    let failed = |error: std::io::Error| format!("unshare: {error}");
    // It ends with us, however we end.
    let process = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare", "-n", "sleep", "100000"])
        .spawn();
    let process = process.map_err(failed)?;
    let of = |pid: &str| {
        Ok::<_, std::io::Error>(std::fs::metadata(format!("/proc/{pid}/ns/net"))?.ino())
    };
    let own = of("self").map_err(failed)?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while of(&process.id().to_string()).map_err(failed)? == own {
        if Instant::now() > deadline {
            return Err("unshare: no namespace in ten seconds".into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(process)
}

impl Container {
    fn start(&self) -> Result<(), String> {
        *self.process() = Some(asleep()?);
        Ok(())
    }

    fn stop(&self) {
        if let Some(mut process) = self.process().take() {
            // Gone already is what is wanted.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    fn pid(&self) -> u32 {
        self.process().as_ref().map_or(0, Child::id)
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.stop();
    }
}
