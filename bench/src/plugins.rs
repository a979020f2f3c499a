//! Chains of plugins, pools of addresses and crowds: what `make bench-cni` runs.
//!
//! A process is timed from before its start until it has ended and its standard output is at its
//! end, so a plugin that leaves somebody behind with its pipes gains nothing by that.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde_json::{Value, json};

use crate::at_once::at_once;
use crate::measure::Subject;
use crate::setting::{Setting, command, timed};

/// Where Debian has the reference plugins.
pub const REFERENCE: &str = "/usr/lib/cni";

/// Whom a request is about, and whose plugins serve it.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    id: String,
    netns: String,
    path: PathBuf,
    interface: &'static str,
}

impl Container {
    pub(crate) fn new(id: &str, path: &Path) -> Self {
        Self {
            id: id.into(),
            netns: format!("/run/netns/{id}"),
            path: path.into(),
            interface: "eth0",
        }
    }

    /// The same with another name inside.
    pub(crate) fn with_interface(self, interface: &'static str) -> Self {
        Self { interface, ..self }
    }

    /// Runs the plugin that `conf` names; its result and the wall time. It must succeed.
    pub(crate) fn call(&self, verb: &str, conf: &Value) -> Result<(Value, Duration), String> {
        let plugin = self.path.join(conf["type"].as_str().unwrap_or_default());
        let failed = |error: std::io::Error| format!("{}: {error}", plugin.display());
        let text = conf.to_string();
        let mut command = command(&plugin);
        command
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", &self.id)
            .env("CNI_NETNS", &self.netns)
            .env("CNI_IFNAME", self.interface)
            .env("CNI_PATH", &self.path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn().map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(text.as_bytes()).map_err(failed)?;
        }
        let mut printed = Vec::new();
        if let Some(mut stdout) = child.stdout.take() {
            stdout.read_to_end(&mut printed).map_err(failed)?;
        }
        let status = child.wait().map_err(failed)?;
        let took = started.elapsed();
        if !status.success() {
            let printed = String::from_utf8_lossy(&printed);
            return Err(format!("{} {verb}: {status}: {printed}", plugin.display()));
        }
        Ok((
            serde_json::from_slice(&printed).unwrap_or(Value::Null),
            took,
        ))
    }

    pub(crate) fn make_netns(&self) -> Result<(), String> {
        timed(command("ip").args(["netns", "add", &self.id])).map(drop)
    }

    pub(crate) fn remove_netns(&self) -> Result<(), String> {
        timed(command("ip").args(["netns", "del", &self.id])).map(drop)
    }
}

/// bridge with host-local, then portmap: a directory of plugins and the packet filter back end.
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

    fn portmap(&self, previous: &Value, port: usize) -> Value {
        let mut conf = json!({
            "cniVersion": "1.0.0", "name": self.bridge, "type": "portmap", "prevResult": previous,
            "runtimeConfig": { "portMappings": [
                { "hostPort": port, "containerPort": 80, "protocol": "tcp" }
            ] }
        });
        if let Some(backend) = self.backend {
            conf["backend"] = backend.into();
        }
        conf
    }

    /// ADD by every plugin: the first one's result, and the plugins' time.
    fn add(&self, container: &Container, port: usize) -> Result<(Value, Duration), String> {
        let (result, bridge) = container.call("ADD", &self.bridge())?;
        let (_, portmap) = container.call("ADD", &self.portmap(&result, port))?;
        Ok((result, bridge + portmap))
    }

    /// DEL by every plugin, the last one first.
    fn del(&self, container: &Container, result: &Value, port: usize) -> Result<Duration, String> {
        let (_, portmap) = container.call("DEL", &self.portmap(result, port))?;
        let mut bridge = self.bridge();
        bridge["prevResult"] = result.clone();
        let (_, bridge) = container.call("DEL", &bridge)?;
        Ok(portmap + bridge)
    }

    /// ADD and DEL in a fresh namespace: the time on the clock and on the processors of each.
    fn life(&self) -> Result<Life, String> {
        let container = Container::new(&self.bridge, &self.path);
        container.make_netns()?;
        let before = processor_time()?;
        let (result, add) = self.add(&container, 8080)?;
        let between = processor_time()?;
        let del = self.del(&container, &result, 8080)?;
        let after = processor_time()?;
        container.remove_netns()?;
        Ok([(add, between - before), (del, after - between)])
    }

    /// Measures ADD and DEL of one container.
    pub fn lives(&self) -> Subject<'_> {
        by_the_clock(&self.name, || self.life())
    }

    /// What nobody can be faster than who does this for `count` containers on these processors,
    /// each of them busy all the time.
    pub fn floor(&self, count: usize) -> Subject<'_> {
        on_all_processors(count, || self.life())
    }
}

/// The time on the clock and on the processors of coming and of going.
pub(crate) type Life = [(Duration, Duration); 2];

/// Measures both by the clock.
pub(crate) fn by_the_clock<'a>(
    name: &str,
    mut life: impl FnMut() -> Result<Life, String> + 'a,
) -> Subject<'a> {
    Subject::timed(name, move || Ok(life()?.map(|(clock, _)| clock).to_vec()))
}

/// How long `count` times both take when every processor is busy with it all the time.
pub(crate) fn on_all_processors<'a>(
    count: usize,
    mut life: impl FnMut() -> Result<Life, String> + 'a,
) -> Subject<'a> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let floor = move |(_, busy): (Duration, Duration)| busy * count as u32 / processors as u32;
    Subject::timed(format!("{count} x processor time of one"), move || {
        Ok(life()?.map(floor).to_vec())
    })
}

/// What the children that have ended, and theirs, have used of the processors.
pub(crate) fn processor_time() -> Result<Duration, String> {
    let usage =
        getrusage(UsageWho::RUSAGE_CHILDREN).map_err(|errno| format!("getrusage: {errno}"))?;
    let time = usage.user_time() + usage.system_time();
    Ok(Duration::from_micros(
        time.num_microseconds().unsigned_abs(),
    ))
}

/// Makes the plugins of a chain that does nothing (`bench/nothing.c`); their directory.
pub fn nothing(setting: &Setting) -> Result<PathBuf, String> {
    let directory = setting.place.join("nothing");
    let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
    std::fs::create_dir_all(&directory).map_err(failed)?;
    let program = std::path::absolute(setting.tool("nothing")).map_err(failed)?;
    for name in ["bridge", "host-local", "portmap"] {
        std::os::unix::fs::symlink(&program, directory.join(name)).map_err(failed)?;
    }
    Ok(directory)
}

/// Containers that come and go all at once on one chain.
#[derive(Debug)]
pub struct Crowd {
    chain: Chain,
    members: Vec<Container>,
}

impl Crowd {
    /// `count` containers, each with a namespace that stays.
    pub fn new(chain: Chain, count: usize) -> Result<Self, String> {
        let member = |number| Container::new(&format!("{}-{number}", chain.bridge), &chain.path);
        let members: Vec<_> = (0..count).map(member).collect();
        members.iter().try_for_each(Container::make_netns)?;
        Ok(Self { chain, members })
    }

    /// Measures all ADDs at once, then all DELs, from the first's start to the last's end.
    pub fn all(&self, name: &str) -> Subject<'_> {
        Subject::timed(name, || {
            let (results, add) = at_once(&self.members, |number, member| {
                self.chain.add(member, 20_000 + number)
            })?;
            let (_, del) = at_once(&self.members, |number, member| {
                let (result, _) = results.get(number).ok_or("no result")?;
                self.chain.del(member, result, 20_000 + number)
            })?;
            Ok(vec![add, del])
        })
    }
}

/// A pool of host-local with reservations of others.
#[derive(Debug)]
pub struct Pool {
    name: String,
    container: Container,
    conf: Value,
}

impl Pool {
    /// A pool in a directory of its own below `data`, in the files that both suites share.
    pub fn new(
        name: &str,
        path: &Path,
        suite: &str,
        reserved: usize,
        data: &Path,
    ) -> Result<Self, String> {
        let network = format!("{suite}{reserved}");
        let directory = data.join("pools").join(&network);
        let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
        std::fs::create_dir_all(&directory).map_err(failed)?;
        let mut last = "10.77.0.1".to_owned();
        for number in 2..reserved + 2 {
            last = format!("10.77.{}.{}", number / 256, number % 256);
            let owner = format!("other{number}\r\neth0");
            std::fs::write(directory.join(&last), owner).map_err(failed)?;
        }
        std::fs::write(directory.join("last_reserved_ip.0"), last).map_err(failed)?;
        let conf = json!({
            "cniVersion": "1.0.0", "name": network, "type": "host-local",
            "ipam": {
                "type": "host-local", "subnet": "10.77.0.0/16", "dataDir": data.join("pools")
            }
        });
        Ok(Self {
            name: name.into(),
            container: Container::new("bench-pool", path),
            conf,
        })
    }

    /// Measures ADD and DEL.
    pub fn lives(&self) -> Subject<'_> {
        Subject::timed(self.name.clone(), || {
            let (_, add) = self.container.call("ADD", &self.conf)?;
            let (_, del) = self.container.call("DEL", &self.conf)?;
            Ok(vec![add, del])
        })
    }
}
