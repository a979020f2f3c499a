//! Each plugin without the others, ADD and DEL: what a single process of it takes.
//!
//! A plugin that works on another's result gets one from our bridge, which is not timed.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::measure::Subject;
use crate::plugins::Container;
use crate::setting::{command, is_file, timed};

/// The host's end of a cable, for plugins that need a device below theirs.
const MASTER: &str = "bench-m0";
/// A device to be given away.
const DEVICE: &str = "bench-d0";

/// A plugin and what it is asked for.
#[derive(Debug)]
pub struct Alone {
    /// Its name, and the executable's.
    pub kind: &'static str,
    configuration: Value,
    /// What only ours takes.
    ours: Option<(&'static str, &'static str)>,
    /// Works on another's result.
    chained: bool,
    /// A kind of link that a kernel may lack, as ip(8) wants it.
    link: Option<&'static [&'static str]>,
}

impl Alone {
    fn new(kind: &'static str, configuration: Value) -> Self {
        let (ours, chained, link) = (None, false, None);
        Self {
            kind,
            configuration,
            ours,
            chained,
            link,
        }
    }

    fn chained(mut self) -> Self {
        self.chained = true;
        self
    }

    /// For ours the back end without a process.
    fn ours(mut self, key: &'static str, value: &'static str) -> Self {
        self.ours = Some((key, value));
        self
    }

    fn link(mut self, link: &'static [&'static str]) -> Self {
        self.link = Some(link);
        self
    }

    /// Everybody who needs no daemon.
    pub fn all(data: &Path) -> Vec<Self> {
        let pool = |number: u8| {
            json!({
                "type": "host-local", "subnet": format!("10.{number}.0.0/16"), "dataDir": data
            })
        };
        let port = json!({ "portMappings": [
            { "hostPort": 8080, "containerPort": 80, "protocol": "tcp" }
        ] });
        let rates = json!({
            "ingressRate": 8_000_000, "ingressBurst": 8_000_000,
            "egressRate": 8_000_000, "egressBurst": 8_000_000
        });
        let with = |kind, key: &str, value| Self::new(kind, json!({ key: value }));
        let address = json!({ "type": "static", "addresses": [{ "address": "10.66.0.2/24" }] });
        vec![
            Self::new("loopback", json!({})),
            Self::new("bridge", json!({ "bridge": "bench-b0" })),
            Self::new("ptp", json!({ "ipam": pool(61) })),
            Self::new("macvlan", json!({ "master": MASTER, "mode": "bridge" })).link(&["macvlan"]),
            Self::new("ipvlan", json!({ "master": MASTER, "ipam": pool(62) })).link(&["ipvlan"]),
            Self::new(
                "vlan",
                json!({ "master": MASTER, "vlanId": 5, "ipam": pool(63) }),
            )
            .link(&["vlan", "id", "5"]),
            Self::new("host-device", json!({ "device": DEVICE })),
            with("host-local", "ipam", pool(64)),
            with("static", "ipam", address),
            with("portmap", "runtimeConfig", port)
                .chained()
                .ours("backend", "nftables"),
            Self::new("firewall", json!({}))
                .chained()
                .ours("backend", "nftables"),
            with(
                "tuning",
                "sysctl",
                json!({ "net.ipv4.conf.IFNAME.arp_filter": "1" }),
            )
            .chained(),
            Self::new("bandwidth", rates).chained().link(&["ifb"]),
            Self::new("sbr", json!({})).chained(),
        ]
    }

    /// Whether this kernel has what it needs.
    pub fn can_run(&self) -> bool {
        let Some(link) = self.link else { return true };
        let quietly = |args: &[&str]| {
            let mut ip = command("ip");
            timed(ip.args(args).stderr(std::process::Stdio::null())).is_ok()
        };
        let add = ["link", "add", "link", MASTER, "name", "bench-p0", "type"];
        let add: Vec<&str> = add.iter().chain(link).copied().collect();
        quietly(&add) && quietly(&["link", "del", "bench-p0"])
    }

    /// Measures it in the suite of `path`, if it has one; `bridge` is the directory of the bridge
    /// that makes results for others.
    pub fn subject<'a>(&'a self, suite: &str, path: &Path, bridge: &Path) -> Option<Subject<'a>> {
        if !is_file(&path.join(self.kind)) {
            return None;
        }
        let mut configuration = self.configuration.clone();
        configuration["cniVersion"] = "1.0.0".into();
        configuration["name"] = format!("alone-{suite}").into();
        configuration["type"] = self.kind.into();
        if let (Some((key, value)), "davit") = (self.ours, suite) {
            configuration[key] = value.into();
        }
        let id = format!("alone-{suite}");
        let interface = if self.kind == "loopback" {
            "lo"
        } else {
            "eth0"
        };
        let life = Life {
            container: Container::new(&id, path).with_interface(interface),
            first: self.chained.then(|| Container::new(&id, bridge)),
            configuration,
            reservations: bridge_reservations(suite),
        };
        Some(Subject::timed(suite, move || life.live()))
    }
}

fn bridge_reservations(suite: &str) -> PathBuf {
    PathBuf::from("/run").join(format!("bench-alone-{suite}"))
}

/// The cable and the device; they end with the private host.
pub fn make_devices() -> Result<(), String> {
    for (name, peer) in [(MASTER, "bench-m1"), (DEVICE, "bench-d1")] {
        let add = ["link", "add", name, "type", "veth", "peer", "name", peer];
        timed(command("ip").args(add))?;
        timed(command("ip").args(["link", "set", name, "up"]))?;
        timed(command("ip").args(["link", "set", peer, "up"]))?;
    }
    Ok(())
}

struct Life {
    container: Container,
    /// Who makes the result to work on.
    first: Option<Container>,
    configuration: Value,
    reservations: PathBuf,
}

impl Life {
    fn bridge(&self) -> Value {
        json!({
            "cniVersion": "1.0.0", "name": "alone", "type": "bridge", "bridge": "bench-b1",
            "isGateway": true,
            "ipam": {
                "type": "host-local", "subnet": "10.65.0.0/16", "dataDir": self.reservations,
                "routes": [{ "dst": "0.0.0.0/0" }]
            }
        })
    }

    fn live(&self) -> Result<Vec<std::time::Duration>, String> {
        self.container.make_netns()?;
        // A namespace that stays would spoil the next round.
        let lived = self.with_netns();
        self.container.remove_netns()?;
        lived
    }

    fn with_netns(&self) -> Result<Vec<std::time::Duration>, String> {
        let mut configuration = self.configuration.clone();
        let mut bridge = self.bridge();
        if let Some(first) = &self.first {
            let (result, _) = first.call("ADD", &bridge)?;
            configuration["prevResult"] = result.clone();
            bridge["prevResult"] = result;
        }
        let (result, add) = self.container.call("ADD", &configuration)?;
        if self.first.is_none() && !result.is_null() {
            configuration["prevResult"] = result;
        }
        let (_, del) = self.container.call("DEL", &configuration)?;
        if let Some(first) = &self.first {
            first.call("DEL", &bridge)?;
        }
        Ok(vec![add, del])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_plugin_is_there_once_and_says_what_a_kernel_may_lack() {
        let all = Alone::all(Path::new("/nowhere"));
        let mut kinds: Vec<&str> = all.iter().map(|one| one.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds.len(), all.len());
        assert!(all.iter().any(|one| one.link.is_some()));
        let nobody = all[0].subject("davit", Path::new("/nowhere"), Path::new("/nowhere"));
        assert!(nobody.is_none());
    }
}
