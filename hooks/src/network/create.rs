//! `network create`: chooses what was left open, refuses what cannot work, writes one file.
//!
//! What is written is what nerdctl generates (bridge, portmap, firewall, tuning), so that a network
//! works with either program, and what it is can be read by anybody. Its versions are those that
//! every plugin of it speaks, as asked now: callers that know no list of them, containerd 1.6's for
//! one, find 1.0.0, and the others may ask for STATUS and GC. All refusals come before the
//! file, which appears in one step; nothing else on the machine is touched before the first
//! container.

use std::net::IpAddr;

use anyhow::{Context, bail, ensure};
use cni::{NetworkName, Version};
use ipnet::IpNet;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::directory::{self, All, MARK};
use super::subnet::{self, By, Taken};
use crate::args::Place;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Its name.
    pub name: NetworkName,
    /// Of each family one at most.
    pub subnets: Vec<IpNet>,
    /// Likewise.
    pub gateways: Vec<IpAddr>,
    /// Likewise.
    pub ip_ranges: Vec<IpNet>,
    /// IPv6 as well.
    pub ipv6: bool,
    /// Without a way out.
    pub internal: bool,
    /// Containers do not reach each other.
    pub isolated: bool,
    /// Of all interfaces.
    pub mtu: Option<u32>,
    /// What connects containers.
    pub driver: Driver,
    /// The interface of the host that it is made on.
    pub parent: Option<String>,
}

/// The plugin that makes the interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// Containers behind a bridge of their own, and the host routes.
    Bridge,
    /// Containers in the network of the parent, each with a hardware address of its own.
    Macvlan,
    /// The same with the parent's hardware address.
    Ipvlan,
}

/// One subnet, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Range {
    subnet: IpNet,
    gateway: IpAddr,
    part: Option<(IpAddr, IpAddr)>,
}

/// Makes the network; its name and its subnets, for standard output.
pub(super) fn run(place: &Place, options: &Options) -> anyhow::Result<String> {
    let name = &options.name;
    let made = make(place, options).with_context(|| format!("create network {:?}", name.as_str()));
    let subnets: Vec<String> = made?.iter().map(|range| range.subnet.to_string()).collect();
    Ok(format!("{name} {}\n", subnets.join(" ")))
}

fn make(place: &Place, options: &Options) -> anyhow::Result<Vec<Range>> {
    options.check()?;
    options.find_plugins(place)?;
    let versions = options.versions(place)?;
    let (dir, _lock) = directory::locked(&place.net_dir)?;
    let all = All::read(&place.net_dir)?;
    if let Some(other) = all.find(&options.name) {
        bail!("it is there already, in {}", other.file.display());
    }
    let mut taken = all.taken();
    taken.extend(subnet::of_host()?);
    options.check_links(&taken)?;
    let ranges = options.ranges(&taken, random)?;
    let text = format!("{:#}\n", options.conflist(&ranges, &versions));
    let file = options.file();
    // Under the lock nobody else of ours makes it; whoever else did was told above or is a file
    // that could not be read, and that is not ours to replace.
    let left = dir.stat(&file).map(drop).map_err(|error| error.errno());
    ensure!(
        left == Err(sys::Errno::ENOENT),
        "{} is in the way, and says nothing that can be read: remove it",
        place.net_dir.join(&file).display()
    );
    dir.replace(&file, text.as_bytes(), 0o644)?;
    // Of a removal that was killed before its last step; its bridge goes by the same name.
    let _ = dir.remove(directory::aside(file.as_ref()));
    Ok(ranges)
}

/// What every caller can read that is in use, and what the keys below are written for.
const OLDEST: Version = Version::V1_0_0;

fn path(place: &Place) -> String {
    let dirs = place.cni_path.iter().map(|dir| dir.to_string_lossy());
    dirs.collect::<Vec<_>>().join(":")
}

fn random() -> anyhow::Result<[u8; 5]> {
    use std::io::Read;
    let mut bytes = [0; 5];
    let file = std::fs::File::open("/dev/urandom");
    file.and_then(|mut file| file.read_exact(&mut bytes))
        .context("read(\"/dev/urandom\")")?;
    Ok(bytes)
}

/// Of the bridge of the network `name`, also after its file is gone.
pub(super) fn bridge(name: &NetworkName) -> String {
    let digest = Sha256::digest(name.as_str().as_bytes());
    let hex = digest.iter().take(6).map(|byte| format!("{byte:02x}"));
    format!("br-{}", hex.collect::<String>())
}

impl Driver {
    fn plugin(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
        }
    }
}

impl Options {
    fn file(&self) -> String {
        format!("davit-{}.conflist", self.name)
    }

    /// What the options alone can tell.
    fn check(&self) -> anyhow::Result<()> {
        let reserved = ["none", "host"].contains(&self.name.as_str());
        ensure!(
            !reserved,
            "this name means no network to nerdctl and others"
        );
        let bytes = directory::aside(self.file().as_ref()).len();
        // A temporary name is longer than the file's.
        ensure!(bytes <= 220, "the name is too long for a file");
        one_each("--subnet", self.subnets.iter().map(IpNet::addr))?;
        one_each("--gateway", self.gateways.iter().copied())?;
        one_each("--ip-range", self.ip_ranges.iter().map(IpNet::addr))?;
        self.subnets.iter().try_for_each(check_subnet)?;
        self.check_driver()
    }

    fn check_driver(&self) -> anyhow::Result<()> {
        let plugin = self.driver.plugin();
        let own_link = self.driver != Driver::Bridge;
        ensure!(
            own_link == self.parent.is_some(),
            match own_link {
                true => format!("--driver {plugin} needs --parent: whose network it joins"),
                false => "--parent is for macvlan and ipvlan".to_owned(),
            }
        );
        ensure!(!own_link || !self.isolated, "--isolated is for bridges");
        ensure!(
            !own_link || !self.subnets.is_empty(),
            "--driver {plugin} needs --subnet: that of the network its parent is in"
        );
        ensure!(
            !own_link || !self.ipv6,
            "--ipv6 is for bridges; give --subnet"
        );
        let v6 = self.ipv6 || self.subnets.iter().any(|net| net.addr().is_ipv6());
        let small = self.mtu.is_some_and(|mtu| mtu < 1280);
        ensure!(!(v6 && small), "--mtu: IPv6 needs 1280");
        Ok(())
    }

    /// Every plugin of the list is where it will be looked for.
    fn find_plugins(&self, place: &Place) -> anyhow::Result<()> {
        let plugins = place.caller().plugins;
        let wanted = self.plugins().into_iter();
        let missing: Vec<_> = wanted.filter(|name| plugins.find(name).is_err()).collect();
        ensure!(
            missing.is_empty(),
            "no plugin {} in {} (--cni-path or CNI_PATH says where)",
            missing.join(", "),
            path(place)
        );
        Ok(())
    }

    /// What the list may be spoken in: its plugins' common versions from the oldest that it is
    /// written for.
    fn versions(&self, place: &Place) -> anyhow::Result<Vec<Version>> {
        let mut versions = place.caller().plugins.common_versions(&self.plugins())?;
        versions.retain(|version| *version >= OLDEST);
        ensure!(
            versions.contains(&OLDEST),
            "the plugins in {} ({}) do not all speak CNI {OLDEST} (--cni-path or CNI_PATH says where \
             newer ones are)",
            path(place),
            self.plugins().join(", ")
        );
        Ok(versions)
    }

    /// All that run for a container.
    fn plugins(&self) -> Vec<&'static str> {
        self.chain().into_iter().chain(["host-local"]).collect()
    }

    fn chain(&self) -> Vec<&'static str> {
        match (self.driver, self.internal) {
            (Driver::Bridge, false) => vec!["bridge", "portmap", "firewall", "tuning"],
            (Driver::Bridge, true) => vec!["bridge", "firewall", "tuning"],
            (own, _) => vec![own.plugin(), "tuning"],
        }
    }

    /// What the host's links and the other networks have to say.
    fn check_links(&self, taken: &[Taken]) -> anyhow::Result<()> {
        let mut socket = netlink::Socket::route()?;
        if let Some(parent) = &self.parent {
            let there = socket.link(parent)?.is_some();
            ensure!(there, "--parent: the host has no interface {parent:?}");
        } else if let Some(link) = socket.link(&bridge(&self.name))? {
            let kind = link.kind.as_deref().unwrap_or("hardware");
            ensure!(
                kind == "bridge",
                "interface {} is there, and {kind}",
                link.name
            );
        }
        let found = self.subnets.iter().find_map(|net| {
            let other = subnet::overlap(net, &self.in_the_way(taken))?.to_string();
            Some((net, other))
        });
        match found {
            Some((net, other)) => bail!("--subnet {net} overlaps {other}"),
            None => Ok(()),
        }
    }

    /// The network that a parent is in is the very one that its containers are to be in.
    fn in_the_way(&self, taken: &[Taken]) -> Vec<Taken> {
        let parents = |taken: &&Taken| match (&taken.by, &self.parent) {
            (By::Link(link), Some(parent)) => link == parent,
            _ => false,
        };
        let others = taken.iter().filter(|taken| !parents(taken));
        let bridge = By::Link(bridge(&self.name));
        // A bridge that an earlier network of this name has left is this network's again.
        others.filter(|taken| taken.by != bridge).cloned().collect()
    }

    fn ranges(
        &self,
        taken: &[Taken],
        random: impl FnMut() -> anyhow::Result<[u8; 5]>,
    ) -> anyhow::Result<Vec<Range>> {
        let taken = self.in_the_way(taken);
        let mut subnets = self.subnets.clone();
        if subnets.is_empty() {
            let free = subnet::free_v4(&taken);
            subnets.push(free.context("no free private IPv4 subnet; give one with --subnet")?);
        }
        if self.ipv6 && !subnets.iter().any(|net| net.addr().is_ipv6()) {
            subnets.push(subnet::free_v6(&taken, random)?);
        }
        let ranges = subnets.into_iter().map(|subnet| self.range(subnet));
        let ranges = ranges.collect::<anyhow::Result<Vec<_>>>()?;
        let used = |ip: IpAddr| {
            ranges
                .iter()
                .any(|range| range.subnet.addr().is_ipv4() == ip.is_ipv4())
        };
        let lone = self.gateways.iter().copied().find(|ip| !used(*ip));
        let lone = lone.or(self.ip_ranges.iter().map(IpNet::addr).find(|ip| !used(*ip)));
        match lone {
            Some(ip) => bail!("{ip} is of a family in which the network has no subnet"),
            None => Ok(ranges),
        }
    }

    fn range(&self, subnet: IpNet) -> anyhow::Result<Range> {
        let same = |ip: IpAddr| ip.is_ipv4() == subnet.addr().is_ipv4();
        let gateway = self.gateways.iter().copied().find(|ip| same(*ip));
        let gateway = gateway.unwrap_or_else(|| next(subnet.network(), 1));
        ensure!(
            subnet.contains(&gateway) && is_host(gateway, subnet),
            "--gateway {gateway} is no address for a host of {subnet}"
        );
        let part = self.ip_ranges.iter().find(|part| same(part.addr()));
        if let Some(part) = part {
            let inside = subnet.contains(part);
            ensure!(inside, "--ip-range {part} is not inside {subnet}");
        }
        let part = part
            .map(|part| part_of(*part, subnet, gateway))
            .transpose()?;
        Ok(Range {
            subnet,
            gateway,
            part,
        })
    }

    fn conflist(&self, ranges: &[Range], versions: &[Version]) -> Value {
        let plugins: Vec<Value> = self
            .chain()
            .into_iter()
            .map(|plugin| self.plugin(plugin, ranges))
            .collect();
        json!({
            "cniVersion": OLDEST.to_string(),
            "cniVersions": versions.iter().map(Version::to_string).collect::<Vec<_>>(),
            "name": self.name.as_str(),
            MARK: env!("CARGO_PKG_VERSION"),
            "plugins": plugins,
        })
    }

    fn plugin(&self, plugin: &str, ranges: &[Range]) -> Value {
        match plugin {
            "portmap" => json!({"type": plugin, "capabilities": {"portMappings": true}}),
            "firewall" => json!({
                "type": plugin,
                "ingressPolicy": if self.isolated { "isolated" } else { "same-bridge" },
            }),
            "tuning" => json!({"type": plugin}),
            _ => self.interface(plugin, ranges),
        }
    }

    fn interface(&self, plugin: &str, ranges: &[Range]) -> Value {
        let mut own = match &self.parent {
            None => json!({
                "type": plugin,
                "bridge": bridge(&self.name),
                "isGateway": true,
                "ipMasq": !self.internal,
                "hairpinMode": true,
            }),
            Some(parent) => json!({
                "type": plugin,
                "master": parent,
                "mode": if self.driver == Driver::Ipvlan { "l2" } else { "bridge" },
            }),
        };
        if let Some(mtu) = self.mtu {
            own["mtu"] = mtu.into();
        }
        own["capabilities"] = json!({"ips": true, "mac": true});
        own["ipam"] = self.ipam(ranges);
        own
    }

    fn ipam(&self, ranges: &[Range]) -> Value {
        let sets: Vec<_> = ranges
            .iter()
            .map(|range| json!([range.to_json()]))
            .collect();
        let mut ipam = json!({"type": "host-local", "ranges": sets});
        if !self.internal {
            let everything = |range: &Range| match range.subnet {
                IpNet::V4(_) => json!({"dst": "0.0.0.0/0"}),
                IpNet::V6(_) => json!({"dst": "::/0"}),
            };
            ipam["routes"] = ranges.iter().map(everything).collect();
        }
        ipam
    }
}

impl Range {
    fn to_json(&self) -> Value {
        let mut json = json!({
            "subnet": self.subnet.to_string(),
            "gateway": self.gateway.to_string(),
        });
        if let Some((first, last)) = self.part {
            json["rangeStart"] = first.to_string().into();
            json["rangeEnd"] = last.to_string().into();
        }
        json
    }
}

/// Two of one family would each give every container an address.
fn one_each(flag: &str, addresses: impl Iterator<Item = IpAddr>) -> anyhow::Result<()> {
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = addresses.partition(IpAddr::is_ipv4);
    ensure!(
        v4.len() <= 1 && v6.len() <= 1,
        "{flag}: one of each family, IPv4 and IPv6, is all that a network takes"
    );
    Ok(())
}

fn check_subnet(net: &IpNet) -> anyhow::Result<()> {
    let whole = net.trunc();
    ensure!(*net == whole, "--subnet {net} is an address in {whole}");
    let room = net.max_prefix_len() - net.prefix_len();
    ensure!(room >= 2, "--subnet {net} has no room for containers");
    ensure!(net.prefix_len() >= 2, "--subnet {net} is everything");
    match subnet::nobodys(net) {
        Some((special, what)) => {
            bail!("--subnet {net} overlaps {special} ({what}), of which no container can have one")
        }
        None => Ok(()),
    }
}

/// Neither the subnet's own address nor, of IPv4, that of everybody in it.
fn is_host(ip: IpAddr, subnet: IpNet) -> bool {
    ip != subnet.network() && (ip.is_ipv6() || ip != subnet.broadcast())
}

/// The first and the last address of a range in which there is one for a container.
fn part_of(part: IpNet, subnet: IpNet, gateway: IpAddr) -> anyhow::Result<(IpAddr, IpAddr)> {
    let (first, last) = first_and_last(part.trunc(), subnet);
    let only_gateway = first == last && first == gateway;
    ensure!(
        first <= last && !only_gateway,
        "--ip-range {part} holds no address for a container: {subnet} has {gateway} for its gateway, \
         and its first and, in IPv4, its last are nobody's"
    );
    Ok((first, last))
}

fn first_and_last(part: IpNet, subnet: IpNet) -> (IpAddr, IpAddr) {
    let (first, last) = (part.network(), part.broadcast());
    let first = if is_host(first, subnet) {
        first
    } else {
        next(first, 1)
    };
    let last = if is_host(last, subnet) {
        last
    } else {
        next(last, -1)
    };
    (first, last)
}

fn next(ip: IpAddr, by: i8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => IpAddr::V4(u32::from(ip).wrapping_add_signed(by.into()).into()),
        IpAddr::V6(ip) => IpAddr::V6(u128::from(ip).wrapping_add_signed(by.into()).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Result<Options, String> {
        let argv = std::iter::once("network").chain(line.split_whitespace());
        let matches = super::super::command().try_get_matches_from(argv);
        match super::super::parse(&matches.map_err(|error| error.to_string())?) {
            super::super::Operation::Create(options) => Ok(*options),
            other => Err(format!("{other:?}")),
        }
    }

    fn planned(line: &str, taken: &[Taken]) -> Result<Value, String> {
        let options = options(line)?;
        let told = |error: anyhow::Error| error.to_string();
        options.check().map_err(told)?;
        let ranges = options
            .ranges(taken, || Ok([1, 2, 3, 4, 5]))
            .map_err(told)?;
        Ok(options.conflist(&ranges, &[Version::V1_0_0, Version::V1_1_0]))
    }

    #[test]
    fn what_is_written_is_what_nerdctl_generates() {
        let expected = json!({
            "cniVersion": "1.0.0", "cniVersions": ["1.0.0", "1.1.0"],
            "name": "web", "org.davit.network": env!("CARGO_PKG_VERSION"),
            "plugins": [
                {"type": "bridge", "bridge": "br-0f8bf1bd0fa8", "isGateway": true, "ipMasq": true,
                 "hairpinMode": true, "capabilities": {"ips": true, "mac": true},
                 "ipam": {"type": "host-local",
                    "ranges": [[{"subnet": "10.4.0.0/24", "gateway": "10.4.0.1"}],
                               [{"subnet": "fd01:203:405::/64", "gateway": "fd01:203:405::1"}]],
                    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}},
                {"type": "portmap", "capabilities": {"portMappings": true}},
                {"type": "firewall", "ingressPolicy": "same-bridge"},
                {"type": "tuning"},
            ],
        });
        let mut written = planned("create web --ipv6", &[]).unwrap();
        let bridge = written["plugins"][0]["bridge"].take();
        assert_eq!(bridge.as_str().unwrap().len(), 15, "{bridge}");
        written["plugins"][0]["bridge"] = "br-0f8bf1bd0fa8".into();
        assert_eq!(written, expected);
    }

    #[test]
    fn an_internal_network_has_no_way_out() {
        let written = planned("create web --internal --isolated --mtu 1400", &[]).unwrap();
        let bridge = &written["plugins"][0];
        assert_eq!(
            (&bridge["ipMasq"], &bridge["mtu"]),
            (&json!(false), &json!(1400))
        );
        assert!(bridge["ipam"].get("routes").is_none(), "{written:#}");
        let rest: Vec<_> = written["plugins"].as_array().unwrap()[1..].to_vec();
        let firewall = json!({"type": "firewall", "ingressPolicy": "isolated"});
        assert_eq!(rest, [firewall, json!({"type": "tuning"})]);
    }

    #[test]
    fn a_macvlan_network_joins_its_parents() {
        let line = "create lan -d macvlan --parent eth9 --subnet 10.9.0.0/24 --gateway 10.9.0.254 \
                    --ip-range 10.9.0.0/28";
        let taken = [Taken {
            net: "10.9.0.0/24".parse().unwrap(),
            by: By::Link("eth9".into()),
        }];
        let written = planned(line, &taken).unwrap();
        let own = json!({"type": "macvlan", "master": "eth9", "mode": "bridge",
            "capabilities": {"ips": true, "mac": true},
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.9.0.0/24",
                "gateway": "10.9.0.254", "rangeStart": "10.9.0.1", "rangeEnd": "10.9.0.15"}]],
                "routes": [{"dst": "0.0.0.0/0"}]}});
        assert_eq!(written["plugins"], json!([own, {"type": "tuning"}]));
        let options = options(line).unwrap();
        assert!(options.in_the_way(&taken).is_empty());
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_flag() {
        for (line, part) in [
            (
                "--subnet 10.5.0.1/24",
                "--subnet 10.5.0.1/24 is an address in 10.5.0.0/24",
            ),
            ("--subnet 10.5.0.0/31", "no room"),
            ("--subnet 0.0.0.0/0", "is everything"),
            (
                "--subnet 10.5.0.0/24 --subnet 10.6.0.0/24",
                "--subnet: one of each family",
            ),
            (
                "--subnet 10.5.0.0/24 --gateway 10.6.0.1",
                "--gateway 10.6.0.1 is no address",
            ),
            (
                "--subnet 10.5.0.0/24 --gateway 10.5.0.255",
                "--gateway 10.5.0.255 is no address",
            ),
            (
                "--subnet 10.5.0.0/24 --ip-range 10.5.0.0/23",
                "--ip-range 10.5.0.0/23 is not inside",
            ),
            (
                "--subnet 10.5.0.0/24 --ip-range 10.5.0.0/31",
                "--ip-range 10.5.0.0/31 holds no address",
            ),
            (
                "--subnet 10.5.0.0/24 --ip-range 10.5.0.255/32",
                "--ip-range 10.5.0.255/32 holds no address",
            ),
            (
                "--subnet 10.5.0.0/24 --ip-range 10.5.0.0/32",
                "--ip-range 10.5.0.0/32 holds no address",
            ),
            ("--subnet 127.5.0.0/24", "overlaps 127.0.0.0/8 (loopback)"),
            ("--subnet 0.1.0.0/16", "overlaps 0.0.0.0/8 ("),
            ("--subnet 169.254.7.0/24", "(link-local)"),
            ("--subnet 224.0.0.0/3", "(multicast)"),
            ("--subnet 255.255.255.0/28", "(broadcast)"),
            ("--subnet ::ffff:10.5.0.0/120", "(IPv4 in IPv6)"),
            ("--subnet ::/64", "(loopback"),
            ("--subnet fe80::/64", "(link-local)"),
            ("--subnet ff05::/64", "(multicast)"),
            ("--gateway fd00::1", "fd00::1 is of a family"),
            ("--parent eth0", "--parent is for macvlan and ipvlan"),
            ("-d macvlan", "--driver macvlan needs --parent"),
            ("-d ipvlan --parent eth0", "--driver ipvlan needs --subnet"),
            (
                "-d ipvlan --parent eth0 --subnet 10.5.0.0/24 --isolated",
                "--isolated is for bridges",
            ),
            ("--ipv6 --mtu 1000", "--mtu: IPv6 needs 1280"),
            ("--mtu 9", "'--mtu <N>'"),
            ("--subnet x", "'--subnet <CIDR>'"),
            ("-d overlay", "[possible values: bridge, macvlan, ipvlan]"),
        ] {
            let error = planned(&format!("create web {line}"), &[]).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
        for name in ["../x", "none", "a=b", "a:b"] {
            assert!(planned(&format!("create {name}"), &[]).is_err(), "{name}");
        }
        let long = "n".repeat(230);
        let error = planned(&format!("create {long}"), &[]).unwrap_err();
        assert!(error.contains("too long"), "{error}");
    }
}
