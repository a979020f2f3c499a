//! The host of the storm: containers that share their networks, and namespaces that are attached by hand.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use serde_json::json;
use testbed::{Bundle, Config};

use super::totals::Totals;
use crate::leftovers::{self, Things};
use crate::world::{self, HOME};

/// How many containers there are; nobody else has these names.
pub(super) const CONTAINERS: usize = 8;
/// How many namespaces are attached by hand.
pub(super) const NAMESPACES: usize = 3;
/// Networks: a large one with all chained plugins, and one whose addresses do not suffice.
pub(super) const NETWORKS: [&str; 2] = ["wide", "narrow"];
/// What the addresses of both begin with.
pub(super) const ADDRESSES: &str = "10.97.";

/// How long what was killed may take to be gone, and the kernel to take it apart.
const PATIENCE: Duration = Duration::from_secs(30);

const WIDE: &str = r#"{ "cniVersion": "1.1.0", "name": "wide", "plugins": [
  { "type": "bridge", "bridge": "wide0", "isGateway": true, "ipMasq": true, "ipMasqBackend": "nftables",
    "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.97.0.0/24" }], [{ "subnet": "fd97::/120" }]] } },
  { "type": "portmap", "backend": "nftables", "capabilities": { "portMappings": true } },
  { "type": "firewall", "backend": "nftables" },
  { "type": "tuning", "mtu": 1400 } ] }"#;
const NARROW: &str = r#"{ "cniVersion": "1.1.0", "name": "narrow", "plugins": [
  { "type": "bridge", "bridge": "narrow0", "isGateway": true,
    "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.97.1.0/29" }]] } } ] }"#;

pub(super) struct Host {
    /// Whether every operation is told.
    pub(super) verbose: bool,
    cgroup: String,
    /// Each in a network namespace of its own.
    holders: Vec<Child>,
}

impl Drop for Host {
    fn drop(&mut self) {
        for holder in &mut self.holders {
            let _ = holder.kill();
        }
    }
}

impl Host {
    pub(super) fn make(programs: &Path, cgroup: &str, verbose: bool) -> Result<Self, String> {
        let rootfs = world::furnish(programs, cgroup)?;
        let write = |name: &str, text: &str| {
            fs::write(format!("/run/net.d/{name}.conflist"), text)
                .map_err(|error| format!("{name}: {error}"))
        };
        write("wide", WIDE)?;
        write("narrow", NARROW)?;
        fs::create_dir(format!("{HOME}/said")).map_err(|error| format!("said: {error}"))?;
        for number in 0..CONTAINERS {
            let bundle = format!("{HOME}/bundle/{}", id(number)).into();
            let config = config(number, cgroup);
            Bundle::create(bundle, &rootfs, &config).map_err(|error| error.to_string())?;
        }
        let mut host = Self {
            verbose,
            cgroup: cgroup.to_owned(),
            holders: Vec::new(),
        };
        let up = Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status();
        up.map_err(|error| format!("ip: {error}"))?;
        for _ in 0..NAMESPACES {
            host.holders.push(world::hold()?);
        }
        Ok(host)
    }

    /// A verb for a network and a namespace, where each network has an interface of its own.
    pub(super) fn by_hand(&self, verb: &str, network: usize, namespace: usize) -> Command {
        let pid = self.holders.get(namespace).map_or(0, Child::id);
        let (namespace, interface) = (format!("/proc/{pid}/ns/net"), format!("eth{network}"));
        davit_cni(&[verb, NETWORKS[network], &namespace, "--ifname", &interface])
    }

    /// Everything once, one after the other, and all of it away again.
    pub(super) fn exercise(&self) -> Result<(), String> {
        for number in [0, CONTAINERS - 1] {
            let bundle = format!("{HOME}/bundle/{}", id(number));
            succeed(davit(&[
                "run",
                "--detach",
                "--bundle",
                &bundle,
                &id(number),
            ]))?;
            succeed(davit(&["exec", &id(number), "/bin/true"]))?;
            succeed(davit(&["delete", "--force", &id(number)]))?;
        }
        for number in 0..NAMESPACES {
            let network = number % NETWORKS.len();
            succeed(self.by_hand("add", network, number))?;
            succeed(self.by_hand("del", network, number))?;
        }
        succeed(davit_cni(&GC))
    }

    /// What an operator does afterwards.
    pub(super) fn calm(&self, totals: &Totals) {
        let wrong = |done: Result<(), String>| {
            if let Err(error) = done {
                totals.wrong(format!("afterwards: {error}"));
            }
        };
        wrong(self.delete_all());
        for number in 0..NAMESPACES {
            for network in 0..NETWORKS.len() {
                wrong(succeed(self.by_hand("del", network, number)));
            }
        }
        wrong(succeed(davit_cni(&GC)));
    }

    /// Children of those that were killed go on, and come to an end; those of a container with it.
    fn delete_all(&self) -> Result<(), String> {
        let known = self.known();
        let end = Instant::now() + PATIENCE;
        loop {
            for number in 0..CONTAINERS {
                succeed(davit(&["delete", "--force", &id(number)]))?;
            }
            let still: Vec<String> = leftovers::processes()
                .into_iter()
                .filter(|pid| !known.contains(pid))
                .map(described)
                .filter(|line| line.starts_with(HOME))
                .collect();
            if still.is_empty() {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(format!("still runs: {}", still.join("; ")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(super) fn at_rest(&self) -> Things {
        let mut last = self.things();
        loop {
            std::thread::sleep(Duration::from_millis(100));
            let now = self.things();
            if now == last {
                return now;
            }
            last = now;
        }
    }

    /// What is there now and was not, or was and is not.
    pub(super) fn since(&self, before: &Things) -> Vec<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let different = leftovers::difference(before, &self.things());
            if different.is_empty() || Instant::now() > end {
                return different;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn known(&self) -> Vec<Pid> {
        let holders = self.holders.iter().map(Child::id);
        let all = holders.chain([1, std::process::id()]);
        all.map(|pid| Pid::from_raw(pid.cast_signed())).collect()
    }

    fn things(&self) -> Things {
        let mut things = leftovers::of_host(&self.cgroup, &self.known());
        leftovers::of_namespace("self", &mut things);
        for holder in &self.holders {
            leftovers::of_namespace(&holder.id().to_string(), &mut things);
        }
        let [nft, rest @ ..] = leftovers::RULESET;
        let rules = Command::new(nft).args(rest).output();
        let text = rules.map_or_else(
            |error| error.to_string(),
            |output| String::from_utf8_lossy(&output.stdout).into_owned(),
        );
        leftovers::rules(&text, &mut things);
        things
    }
}

/// What frees everything that is dead, however young.
pub(super) const GC: [&str; 5] = ["gc", "--runtime-root", "/run/davit", "--grace", "0"];

/// Its command line, and what it does.
fn described(pid: Pid) -> String {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let status = read("status");
    let told = |key: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let line = read("cmdline").replace('\0', " ");
    format!(
        "{} ({pid}, child of {}, {}, {})",
        line.trim_end(),
        told("PPid:"),
        told("State:"),
        read("wchan")
    )
}

/// The number that a container's record has for its first process, whoever has it now.
pub(super) fn init(number: usize) -> Option<Pid> {
    let record = fs::read(format!("/run/davit/{}/state.json", id(number))).ok()?;
    let record: serde_json::Value = serde_json::from_slice(&record).ok()?;
    let pid = i32::try_from(record["init_process_pid"].as_i64()?).ok()?;
    (pid > 1).then(|| Pid::from_raw(pid))
}

pub(super) fn id(number: usize) -> String {
    format!("c{number}")
}

/// Most are on the wide network, some on the narrow one, the last on both; two want the same port.
fn config(number: usize, cgroup: &str) -> Config {
    let networks = match number {
        5.. if number == CONTAINERS - 1 => "wide,narrow",
        5.. => "narrow",
        _ => "wide",
    };
    let hook = |verb: &str| {
        let program = format!("{HOME}/davit-cni");
        json!({ "path": program, "args": ["davit-cni", verb], "env": environment_words() })
    };
    let mut config = Config::new()
        .args(&["/bin/busybox", "sleep", "1001"])
        .set("/linux/cgroupsPath", format!("/{cgroup}/{}", id(number)))
        .set("/linux/resources/pids", json!({ "limit": 50 }))
        .set("/annotations", json!({ "org.davit.networks": networks }))
        .hook_with("createRuntime", hook("create-runtime"))
        .hook_with("poststop", hook("poststop"));
    if number < 3 {
        let port = format!("{}:80", 8080 + number / 2);
        config = config.set("/annotations/org.davit.ports", port);
    }
    config
}

fn environment() -> Vec<(String, String)> {
    world::davit_cni(&[], "").environment
}

fn environment_words() -> Vec<String> {
    let words = environment().into_iter();
    words
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

pub(super) fn davit(arguments: &[&str]) -> Command {
    command(world::davit(arguments))
}

pub(super) fn davit_cni(arguments: &[&str]) -> Command {
    command(world::davit_cni(arguments, ""))
}

fn command(said: crate::tracer::Command) -> Command {
    let mut command = Command::new(&said.argv[0]);
    command
        .args(&said.argv[1..])
        .env_clear()
        .envs(said.environment);
    command.stdin(Stdio::null());
    command
}

/// In the foreground, with nobody interfering.
fn succeed(mut command: Command) -> Result<(), String> {
    // A file: whoever a pipe's reader waits for may live on.
    let path = format!("{HOME}/said/once");
    let said = fs::File::create(&path).map_err(|error| format!("{path}: {error}"))?;
    let errors = said
        .try_clone()
        .map_err(|error| format!("{path}: {error}"))?;
    let status = command.stdout(said).stderr(errors).status();
    let status = status.map_err(|error| format!("{command:?}: {error}"))?;
    let text = fs::read_to_string(&path).unwrap_or_default();
    let failed = || Err(format!("{command:?}: {status}: {}", text.trim()));
    status.success().then_some(()).map_or_else(failed, Ok)
}
