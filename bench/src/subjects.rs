//! What is run: runtimes on one bundle, the floor, and chains of plugins.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::{Bundle, Config, Invocation, Rootfs};

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
        let run = move || timed(&mut self.command(&["run", "--bundle", &bundle, &self.id]));
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
        let run = || timed(&mut self.command(&["exec", &self.id, "/bin/true"]));
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
        timed(command.arg(&rootfs).args(&cgroup))
    };
    Subject {
        name: name.into(),
        run: Box::new(run),
    }
}

/// A directory of plugins and the packet filter back end that its chain uses.
#[derive(Clone, Debug)]
pub struct Chain {
    name: String,
    path: PathBuf,
    backend: Option<&'static str>,
    bridge: String,
    subnet: String,
    data: PathBuf,
}

impl Chain {
    /// Chain number `number` of the benchmark; the number keeps bridges and subnets apart.
    pub fn new(
        name: &str,
        path: &Path,
        backend: Option<&'static str>,
        number: usize,
        data: &Path,
    ) -> Self {
        Self {
            name: name.into(),
            path: path.into(),
            backend,
            bridge: format!("bench{number}"),
            subnet: format!("10.{}.0.0/16", 90 + number),
            data: data.join(format!("networks{number}")),
        }
    }

    fn bridge(&self) -> Value {
        let mut conf = json!({
            "cniVersion": "1.0.0", "name": self.bridge, "type": "bridge", "bridge": self.bridge,
            "isDefaultGateway": true, "ipMasq": true, "hairpinMode": true,
            "ipam": { "type": "host-local", "subnet": self.subnet, "dataDir": self.data }
        });
        if let Some(backend) = self.backend {
            conf["ipMasqBackend"] = backend.into();
        }
        conf
    }

    fn portmap(&self, previous: &Value) -> Value {
        let mut conf = json!({
            "cniVersion": "1.0.0", "name": self.bridge, "type": "portmap", "prevResult": previous,
            "runtimeConfig": { "portMappings": [
                { "hostPort": 8080, "containerPort": 80, "protocol": "tcp" }
            ] }
        });
        if let Some(backend) = self.backend {
            conf["backend"] = backend.into();
        }
        conf
    }

    fn call(&self, verb: &str, conf: &Value) -> Result<(Value, Duration), String> {
        let plugin = self.path.join(conf["type"].as_str().unwrap_or_default());
        let call = Invocation::new([plugin.to_string_lossy()])
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", self.bridge.as_str())
            .env("CNI_NETNS", format!("/run/netns/{}", self.bridge))
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", self.path.to_string_lossy())
            .stdin(conf.to_string());
        let outcome = call.run().map_err(|error| error.to_string())?;
        if !outcome.success() {
            return Err(outcome.to_string());
        }
        Ok((
            serde_json::from_slice(&outcome.stdout).unwrap_or(Value::Null),
            outcome.took,
        ))
    }

    /// ADD of bridge (with host-local) and portmap, then DEL in reverse, in a fresh namespace.
    fn life(&self) -> Result<(Duration, Duration), String> {
        timed(Command::new("ip").args(["netns", "add", &self.bridge]))?;
        let (result, bridge_add) = self.call("ADD", &self.bridge())?;
        let portmap = self.portmap(&result);
        let (_, portmap_add) = self.call("ADD", &portmap)?;
        let (_, portmap_del) = self.call("DEL", &portmap)?;
        let mut bridge = self.bridge();
        bridge["prevResult"] = result;
        let (_, bridge_del) = self.call("DEL", &bridge)?;
        timed(Command::new("ip").args(["netns", "del", &self.bridge]))?;
        Ok((bridge_add + portmap_add, portmap_del + bridge_del))
    }

    /// The ADD half of a life.
    pub fn add(&self) -> Subject<'_> {
        let run = || self.life().map(|(add, _)| add);
        Subject {
            name: format!("{} ADD", self.name),
            run: Box::new(run),
        }
    }

    /// The DEL half of a life.
    pub fn del(&self) -> Subject<'_> {
        let run = || self.life().map(|(_, del)| del);
        Subject {
            name: format!("{} DEL", self.name),
            run: Box::new(run),
        }
    }
}
