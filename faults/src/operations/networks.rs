//! Plugins by themselves, as a caller of CNI executes them, and davit-cni around a list of them.

use std::fs;
use std::path::Path;

use nix::unistd::Pid;
use serde_json::{Value, json};

use super::{Operation, Steps};
use crate::tracer::{Command, Run};
use crate::world::{ID, World, davit_cni, hold, plugin};

/// One verb of one plugin.
struct Plugin {
    verb: &'static str,
    config: Value,
    /// Who makes the interface that it works on, before it.
    below: Option<Value>,
    /// What the last ADD answered.
    result: Value,
}

/// Each plugin that needs nothing of the machine but its kernel, and how it is asked.
fn suite() -> Vec<(&'static str, Value)> {
    let local = json!({ "type": "host-local", "ranges": [[{ "subnet": "10.99.0.0/28" }], [{ "subnet": "fd99::/120" }]] });
    let up = json!({ "type": "static", "addresses": [{ "address": "10.98.0.2/24" }] });
    let chained = json!({ "cniVersion": "1.1.0",
        "interfaces": [{ "name": "eth0", "sandbox": "" }],
        "ips": [{ "address": "10.99.0.2/28", "interface": 0 }] });
    let ports =
        json!({ "portMappings": [{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" }] });
    vec![
        (
            "bridge",
            json!({ "type": "bridge", "bridge": "faults0", "isGateway": true, "ipMasq": true,
            "ipMasqBackend": "nftables", "macspoofchk": true, "ipam": local }),
        ),
        ("host-local", json!({ "type": "host-local", "ipam": local })),
        ("static", json!({ "type": "static", "ipam": up })),
        (
            "portmap",
            json!({ "type": "portmap", "backend": "nftables", "snat": true,
            "runtimeConfig": ports, "prevResult": chained }),
        ),
        (
            "portmap-iptables",
            json!({ "type": "portmap", "backend": "iptables", "snat": true,
            "runtimeConfig": ports, "prevResult": chained }),
        ),
        (
            "firewall",
            json!({ "type": "firewall", "backend": "nftables", "prevResult": chained }),
        ),
        ("loopback", json!({ "type": "loopback" })),
        (
            "ptp",
            json!({ "type": "ptp", "ipMasq": true, "ipMasqBackend": "nftables", "ipam": local }),
        ),
        (
            "macvlan",
            json!({ "type": "macvlan", "master": "up0", "ipam": up }),
        ),
        (
            "ipvlan",
            json!({ "type": "ipvlan", "master": "up0", "ipam": up }),
        ),
        (
            "vlan",
            json!({ "type": "vlan", "master": "up0", "vlanId": 7, "ipam": up }),
        ),
        ("dummy", json!({ "type": "dummy", "ipam": up })),
        ("tap", json!({ "type": "tap", "ipam": up })),
        (
            "host-device",
            json!({ "type": "host-device", "device": "up1", "ipam": up }),
        ),
    ]
}

/// Those that work on an interface which has to be there.
fn chained() -> Vec<(&'static str, Value)> {
    let limits = json!({ "ingressRate": 8000, "ingressBurst": 8000, "egressRate": 8000, "egressBurst": 8000 });
    vec![
        (
            "tuning",
            json!({ "type": "tuning", "mtu": 1400, "mac": "c2:b0:57:49:47:f1", "promisc": true,
            "sysctl": { "net.ipv4.conf.IFNAME.arp_filter": "1" } }),
        ),
        (
            "bandwidth",
            json!({ "type": "bandwidth", "runtimeConfig": { "bandwidth": limits } }),
        ),
        ("sbr", json!({ "type": "sbr" })),
        (
            "vrf",
            json!({ "type": "vrf", "vrfname": "blue", "table": 42 }),
        ),
    ]
}

fn named(mut config: Value) -> Value {
    config["cniVersion"] = json!("1.1.0");
    config["name"] = json!("net");
    config
}

pub(super) fn plugins() -> Vec<Operation> {
    let ipam = json!({ "type": "host-local", "ranges": [[{ "subnet": "10.99.0.0/28" }]] });
    let bridge =
        json!({ "type": "bridge", "bridge": "faults0", "isDefaultGateway": true, "ipam": ipam });
    let alone = suite()
        .into_iter()
        .map(|(name, config)| (name, config, None));
    let chained = chained()
        .into_iter()
        .map(|(name, config)| (name, config, Some(named(bridge.clone()))));
    let mut all = Vec::new();
    for (name, config, below) in alone.chain(chained) {
        let config = named(config);
        for verb in ["ADD", "DEL", "CHECK", "GC"] {
            let steps = Plugin {
                verb,
                config: config.clone(),
                below: below.clone(),
                result: Value::Null,
            };
            all.push(Operation {
                name: format!("{name}-{verb}"),
                network: true,
                is_plugin: true,
                // What is below the others is still there.
                removes: verb == "DEL" && below.is_none(),
                changes_limits: false,
                steps: Box::new(steps),
            });
        }
    }
    all
}

impl Plugin {
    fn ask(&self, verb: &str, world: &World) -> Command {
        let mut config = self.config.clone();
        if verb == "CHECK" && !self.result.is_null() {
            config["prevResult"] = self.result.clone();
        }
        if config["prevResult"]["interfaces"][0]["sandbox"] == "" {
            let netns = format!("/proc/{}/ns/net", world.holder);
            config["prevResult"]["interfaces"][0]["sandbox"] = json!(netns);
        }
        if verb == "GC" {
            config["cni.dev/valid-attachments"] = json!([]);
        }
        asked(verb, world, &config)
    }

    fn note(&mut self, run: &Run) {
        self.result = serde_json::from_str(&run.stdout).unwrap_or(Value::Null);
    }
}

fn asked(verb: &str, world: &World, config: &Value) -> Command {
    let executable = config["type"].as_str().unwrap_or_default();
    plugin(executable, verb, world.holder, &config.to_string())
}

/// Rules for routing in the holder's namespace, which outlive every interface and are in no file.
fn routing_rules(world: &World) -> Result<Vec<String>, String> {
    let namespace = format!("--net=/proc/{}/ns/net", world.holder);
    let mut rules = Vec::new();
    for family in ["-4", "-6"] {
        let mut ip = std::process::Command::new("/usr/bin/nsenter");
        let output = ip.args([&namespace, "ip", family, "rule"]).output();
        let output = output.map_err(|error| format!("ip rule: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        rules.extend(text.lines().map(|line| format!("{family} {line}")));
    }
    Ok(rules)
}

/// Those of a new namespace: three for IPv4, two for IPv6, all by the kernel's own tables.
fn is_the_kernels(rule: &str) -> bool {
    [
        "from all lookup local",
        "from all lookup main",
        "from all lookup default",
    ]
    .iter()
    .any(|end| rule.trim_end().ends_with(end))
}

impl Steps for Plugin {
    fn prepare(&mut self, world: &mut World) -> Result<Vec<Pid>, String> {
        self.result = Value::Null;
        if let Some(below) = &self.below {
            let run = world.well(&asked("ADD", world, below))?;
            self.config["prevResult"] = serde_json::from_str(&run.stdout)
                .map_err(|error| format!("the result of bridge: {error}"))?;
        }
        if self.verb != "ADD" {
            let run = world.well(&self.ask("ADD", world))?;
            self.note(&run);
        }
        Ok(Vec::new())
    }

    fn command(&self, world: &World) -> Command {
        self.ask(self.verb, world)
    }

    fn holds(&mut self, world: &mut World, run: &Run) -> Result<(), String> {
        if self.verb == "ADD" && run.success() {
            self.note(run);
            return world.well(&self.ask("CHECK", world)).map(drop);
        }
        Ok(())
    }

    fn clean(&mut self, world: &mut World) -> Result<(), String> {
        world.well(&self.ask("DEL", world))?;
        let Some(below) = &self.below else {
            return Ok(());
        };
        let mut rules = routing_rules(world)?;
        rules.retain(|rule| !is_the_kernels(rule));
        world.well(&asked("DEL", world, below))?;
        match rules.is_empty() {
            true => Ok(()),
            false => Err(format!("rules for routing are left: {}", rules.join("; "))),
        }
    }
}

/// davit-cni, by hand or as a hook.
struct Caller {
    name: &'static str,
    /// The container's process, of the hooks.
    guest: Option<Pid>,
}

const NETNS: &str = "/run/netns/box";
const LIST: &str = r#"{ "cniVersion": "1.1.0", "name": "net", "plugins": [
  { "type": "bridge", "bridge": "faults0", "isGateway": true, "ipMasq": true, "ipMasqBackend": "nftables",
    "macspoofchk": true, "ipam": { "type": "host-local", "ranges": [
      [{ "subnet": "10.99.0.0/28" }], [{ "subnet": "fd99::/120" }] ] } },
  { "type": "portmap", "backend": "nftables", "capabilities": { "portMappings": true } },
  { "type": "firewall", "backend": "nftables" },
  { "type": "tuning", "mtu": 1400 } ] }"#;

pub(super) fn callers() -> Vec<Operation> {
    let names = ["add", "del", "gc", "create-runtime", "poststop"];
    let operation = |name| Operation {
        name: format!("davit-cni-{name}"),
        network: true,
        is_plugin: false,
        removes: false,
        changes_limits: false,
        steps: Box::new(Caller { name, guest: None }),
    };
    names.into_iter().map(operation).collect()
}

impl Caller {
    fn is_hook(&self) -> bool {
        matches!(self.name, "create-runtime" | "poststop")
    }

    fn ask(&self, verb: &str) -> Command {
        match verb {
            "gc" => davit_cni(&["gc"], ""),
            "create-runtime" | "poststop" => davit_cni(&[verb], &self.state()),
            _ => davit_cni(&[verb, "net", NETNS], ""),
        }
    }

    fn state(&self) -> String {
        let pid = self.guest.map_or(0, Pid::as_raw);
        json!({ "ociVersion": "1.0.2", "id": ID, "status": "creating", "pid": pid, "bundle": "/mnt/bundle",
            "annotations": { "org.davit.networks": "net:alias=www", "org.davit.hosts": "db:10.0.0.1",
                "org.davit.ports": "8080:80" } })
        .to_string()
    }

    /// The container is dead.
    fn forget_guest(&mut self, world: &mut World) -> Result<(), String> {
        if let Some(guest) = self.guest.take() {
            world.let_go(guest);
        }
        if Path::new(NETNS).symlink_metadata().is_ok() {
            let status = std::process::Command::new("umount")
                .arg("--lazy")
                .arg(NETNS)
                .status();
            status.map_err(|error| format!("umount: {error}"))?;
            fs::remove_file(NETNS).map_err(|error| format!("{NETNS}: {error}"))?;
        }
        Ok(())
    }
}

impl Steps for Caller {
    fn prepare(&mut self, world: &mut World) -> Result<Vec<Pid>, String> {
        fs::write("/run/net.d/10-net.conflist", LIST)
            .map_err(|error| format!("conflist: {error}"))?;
        if self.is_hook() {
            self.guest = Some(Pid::from_raw(hold()?.id().cast_signed()));
        } else {
            fs::write(NETNS, "").map_err(|error| format!("{NETNS}: {error}"))?;
            let mut unshare = std::process::Command::new("/usr/bin/unshare");
            let status = unshare
                .arg(format!("--net={NETNS}"))
                .arg("/bin/true")
                .status();
            if !status.is_ok_and(|status| status.success()) {
                return Err("unshare --net".into());
            }
        }
        match self.name {
            "del" => drop(world.well(&self.ask("add"))?),
            "gc" => {
                world.well(&self.ask("add"))?;
                self.forget_guest(world)?;
            }
            "poststop" => drop(world.well(&self.ask("create-runtime"))?),
            _ => {}
        }
        Ok(Vec::new())
    }

    fn command(&self, _: &World) -> Command {
        self.ask(self.name)
    }

    fn holds(&mut self, _: &mut World, _: &Run) -> Result<(), String> {
        Ok(())
    }

    fn clean(&mut self, world: &mut World) -> Result<(), String> {
        self.forget_guest(world)?;
        world.well(&self.ask("gc")).map(drop)
    }
}
