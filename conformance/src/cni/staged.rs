//! [`Plugin`]: every plugin of the suite, with the least configuration that it takes and what its
//! ADD must find. Rows about the protocol walk through all of them.

use serde_json::{Value, json};

use crate::attachment::{Attachment, host_local};
use crate::case::Case;
use crate::row::{Failure, Side, Verdict, ensure, lacking};

/// Versions of the specification, in order.
pub(crate) const VERSIONS: [&str; 7] = [
    "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0",
];

/// One plugin of the suite.
#[derive(Debug)]
pub(crate) struct Plugin {
    pub(crate) name: &'static str,
    kind: Kind,
    /// The first version it is made for.
    oldest: &'static str,
    /// The configuration that the kernel needs for its kind of link, where some kernels lack it.
    kernel: Option<&'static str>,
}

/// What a plugin is in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Makes or moves an interface and asks an IPAM plugin for its address.
    Interface,
    /// lo, which is there already.
    Loopback,
    /// Gives addresses.
    Ipam,
    /// Works on the result of the one before.
    Chained,
}

const fn plugin(name: &'static str, kind: Kind, oldest: &'static str) -> Plugin {
    let kernel = None;
    Plugin {
        name,
        kind,
        oldest,
        kernel,
    }
}

const fn needing(mut plugin: Plugin, kernel: &'static str) -> Plugin {
    plugin.kernel = Some(kernel);
    plugin
}

/// The suite.
pub(crate) const SUITE: &[Plugin] = &[
    plugin("bridge", Kind::Interface, "0.1.0"),
    plugin("ptp", Kind::Interface, "0.1.0"),
    plugin("macvlan", Kind::Interface, "0.1.0"),
    needing(plugin("ipvlan", Kind::Interface, "0.1.0"), "CONFIG_IPVLAN"),
    needing(
        plugin("vlan", Kind::Interface, "0.1.0"),
        "CONFIG_VLAN_8021Q",
    ),
    plugin("host-device", Kind::Interface, "0.1.0"),
    needing(plugin("dummy", Kind::Interface, "0.1.0"), "CONFIG_DUMMY"),
    plugin("tap", Kind::Interface, "0.1.0"),
    plugin("loopback", Kind::Loopback, "0.1.0"),
    plugin("host-local", Kind::Ipam, "0.1.0"),
    plugin("static", Kind::Ipam, "0.1.0"),
    plugin("dhcp", Kind::Ipam, "0.1.0"),
    plugin("portmap", Kind::Chained, "0.1.0"),
    plugin("tuning", Kind::Chained, "0.1.0"),
    plugin("firewall", Kind::Chained, "0.4.0"),
    plugin("bandwidth", Kind::Chained, "0.3.0"),
    plugin("sbr", Kind::Chained, "0.1.0"),
    needing(plugin("vrf", Kind::Chained, "0.3.1"), "CONFIG_NET_VRF"),
];

/// The plugins of the suite that the directory under test has. Rows of their own features tell
/// that one is missing; a directory with none of them has nothing to be judged by.
pub(crate) fn present(case: &Case<'_>) -> Verdict<Vec<&'static Plugin>> {
    let path = case.target(Side::Cni)?;
    let there = |plugin: &&Plugin| path.join(plugin.name).is_file();
    let present: Vec<_> = SUITE.iter().filter(there).collect();
    ensure!(!present.is_empty(), "no plugin in {path:?}");
    Ok(present)
}

/// Those whose ADD this kernel can serve. dhcp is not among them: its ADD wants a server.
pub(crate) fn serviceable(case: &Case<'_>) -> Verdict<Vec<&'static Plugin>> {
    let mut all = Vec::new();
    for plugin in present(case)? {
        if plugin.name != "dhcp" && plugin.lacking(case)?.is_none() {
            all.push(plugin);
        }
    }
    Ok(all)
}

/// The plugin of that name.
pub(crate) fn named(name: &str) -> Verdict<&'static Plugin> {
    let found = SUITE.iter().find(|plugin| plugin.name == name);
    found.ok_or_else(|| Failure(format!("{name} is no plugin of the suite")))
}

impl Plugin {
    /// What the kernel would have to be built with for this plugin, if it is not.
    pub(crate) fn lacking(&self, case: &Case<'_>) -> Verdict<Option<&'static str>> {
        let Some(kernel) = self.kernel else {
            return Ok(None);
        };
        let probe = match self.name {
            "dummy" => "ip link add probe0 type dummy",
            "vrf" => "ip link add probe0 type vrf table 4242",
            "vlan" => "ip link add link probe1 name probe0 type vlan id 42",
            _ => "ip link add link probe1 name probe0 type ipvlan",
        };
        let made = case.holds(&format!(
            "ip link add probe1 type veth peer name probe2
             if {probe} 2>/dev/null; then made=0; ip link del probe0; else made=1; fi
             ip link del probe1; exit $made"
        ))?;
        Ok((!made).then_some(kernel))
    }

    /// Ends the row with a skip if the kernel cannot serve this plugin.
    pub(crate) fn required(&self, case: &Case<'_>) -> Verdict {
        match self.lacking(case)? {
            None => Ok(()),
            Some(kernel) => Err(lacking(kernel)),
        }
    }

    pub(crate) fn is_chained(&self) -> bool {
        self.kind == Kind::Chained
    }

    /// Whether it asks an IPAM plugin.
    pub(crate) fn delegates(&self) -> bool {
        self.kind == Kind::Interface
    }

    /// The versions that it has to know. A chain has existed since 0.3.0 only.
    pub(crate) fn versions(&self) -> impl Iterator<Item = &'static str> + use<> {
        let oldest = self.oldest;
        VERSIONS
            .into_iter()
            .filter(move |version| *version >= oldest)
    }

    /// The versions in which its result can be compared: chained plugins were none before 0.3.0.
    pub(crate) fn compared(&self) -> impl Iterator<Item = &'static str> + use<> {
        let chained = self.is_chained();
        let later = move |version: &&str| !chained || *version >= "0.3.0";
        self.versions().filter(later)
    }

    /// A namespace with what an ADD of this plugin must find there and on the host.
    pub(crate) fn stage(&self, case: &Case<'_>, id: &str) -> Verdict<Attachment> {
        let mut at = case.sandbox(id)?;
        match self.name {
            "loopback" => at.ifname = "lo".into(),
            "macvlan" | "ipvlan" | "vlan" => {
                case.sh("ip link show m0 2>/dev/null >&2 || {
                         ip link add m0 type veth peer name m1; ip link set m0 up; ip link set m1 up
                     }")?;
            }
            "host-device" => {
                case.sh(&format!("ip link add d-{id} type veth peer name e-{id}"))?;
            }
            _ if self.is_chained() => {
                case.sh(&format!(
                    "ip link add h-{id} type veth peer name eth0 netns {id}; ip link set h-{id} up"
                ))?;
                case.inside(
                    &at,
                    "ip addr add 10.77.0.9/24 dev eth0; ip link set eth0 up
                     ip route add default via 10.77.0.1",
                )?;
            }
            _ => {}
        }
        Ok(at)
    }

    /// The least that this plugin takes in `version` at a place that [`Plugin::stage`] made, with
    /// prevResult if it is chained.
    pub(crate) fn conf(&self, case: &Case<'_>, at: &Attachment, version: &str) -> Value {
        let mut conf = json!({ "cniVersion": version, "name": "net", "type": self.name });
        let mut own = match self.name {
            "bridge" => json!({ "bridge": "br0", "isGateway": true }),
            "macvlan" => json!({ "master": "m0" }),
            // A link has no two kinds of them.
            "ipvlan" => json!({ "master": "m1" }),
            "vlan" => json!({ "master": "m0", "vlanId": 7 }),
            "host-device" => json!({ "device": format!("d-{}", at.id) }),
            "static" => {
                json!({ "ipam": { "type": "static", "addresses": [{ "address": "10.77.0.9/24" }] } })
            }
            "dhcp" => json!({ "ipam": {
                "type": "dhcp", "daemonSocketPath": case.path("no-daemon.sock")
            } }),
            "host-local" => json!({ "ipam": host_local(case, "10.77.0.0/24") }),
            "portmap" => json!({ "runtimeConfig": { "portMappings": [
                { "hostPort": 8080, "containerPort": 80, "protocol": "tcp" }
            ] } }),
            "tuning" => json!({ "sysctl": { "net.ipv4.conf.IFNAME.arp_filter": "1" } }),
            "bandwidth" => json!({ "ingressRate": 8_000_000, "ingressBurst": 800_000 }),
            "vrf" => json!({ "vrfname": "blue" }),
            _ => json!({}),
        };
        if self.delegates() {
            own["ipam"] = host_local(case, "10.77.0.0/24");
        }
        if self.is_chained() {
            own["prevResult"] = previous(at, version);
        }
        let more = own.as_object().cloned().unwrap_or_default();
        more.into_iter().for_each(|(key, value)| conf[key] = value);
        conf
    }

    /// The address of the result of the `number`th ADD of a row, counted from 0.
    pub(crate) fn address(&self, number: usize) -> String {
        match (self.name, self.kind) {
            ("loopback", _) => "127.0.0.1/8".into(),
            ("static", _) | (_, Kind::Chained) => "10.77.0.9/24".into(),
            _ => format!("10.77.0.{}/24", number + 2),
        }
    }
}

/// What the plugin before a chained one answered, for the interface that a stage has.
pub(crate) fn previous(at: &Attachment, version: &str) -> Value {
    let ip = json!({ "address": "10.77.0.9/24", "gateway": "10.77.0.1", "interface": 1 });
    if version < "0.3.0" {
        return json!({
            "cniVersion": version, "ip4": { "ip": "10.77.0.9/24", "gateway": "10.77.0.1" }
        });
    }
    let mut result = json!({
        "cniVersion": version,
        "interfaces": [
            { "name": format!("h-{}", at.id) },
            { "name": at.ifname, "sandbox": at.netns }
        ],
        "ips": [ip]
    });
    if version < "1.0.0" {
        result["ips"][0]["version"] = "4".into();
    }
    result
}
