//! CHECK: is the host still as ADD left it? Looks, and changes nothing.

use cni::{Attempt, CheckRequest, Code, Error, Interface};
use cni_plugin::delegate;
use firewall::masquerade::Masquerade;
use firewall::spoofing::Guard;
use ipnet::IpNet;
use netlink::{Link, Socket, sysctl};
use sys::NetNs;

use crate::add::FORWARDING;
use crate::config::{BridgeConfig, Gateway};
use crate::topology::{CONTAINER, kernel_route};
use crate::{in_firewall, on_host, owner};

/// Compares configuration and previous result with the host.
pub(crate) fn check(request: &CheckRequest) -> Result<(), Error> {
    let config = BridgeConfig::parse(&request.invocation)?;
    let previous = request.invocation.config.prev_result()?;
    let previous = previous.ok_or_else(|| Error::config("Required prevResult missing"))?;
    if let Some(ipam) = &config.ipam {
        delegate::check(ipam, request)?;
    }
    let mut view = View::open(request, &config, previous)?;
    view.check_links()?;
    view.check_port()?;
    if !config.leave_container_link_down {
        view.check_addresses()?;
        view.check_routes()?;
    }
    view.check_gateway()?;
    view.check_rules()
}

struct View<'a> {
    request: &'a CheckRequest,
    config: &'a BridgeConfig,
    previous: cni::Result,
    host: Socket,
    container: Socket,
    bridge: Link,
    port: Link,
    inside: Link,
}

/// What is wrong with the host, as an error.
fn wrong(msg: impl Into<String>) -> Error {
    Error::new(Code::PLUGIN, msg)
}

impl<'a> View<'a> {
    fn open(
        request: &'a CheckRequest,
        config: &'a BridgeConfig,
        previous: cni::Result,
    ) -> Result<Self, Error> {
        let path = &request.netns;
        let netns =
            NetNs::open(path).attempt(Code::NETNS, || format!("failed to open netns {path:?}"))?;
        let mut host = on_host(Socket::route(), || "open a route socket".into())?;
        let mut container = on_host(Socket::route_in(&netns), || format!("enter {path:?}"))?;
        let ifname = request.attachment.ifname.as_str();
        let bridge = find(&mut host, &config.bridge)?;
        let inside = find(&mut container, ifname)?;
        let peer = inside
            .peer
            .ok_or_else(|| wrong(format!("{ifname:?} has no other end")))?;
        let port = on_host(host.link_by_index(peer), || {
            format!("look up the peer of {ifname:?}")
        })?;
        let port =
            port.ok_or_else(|| wrong(format!("the peer of {ifname:?} is not on the host")))?;
        Ok(Self {
            request,
            config,
            previous,
            host,
            container,
            bridge,
            port,
            inside,
        })
    }

    fn check_links(&self) -> Result<(), Error> {
        let ifname = self.request.attachment.ifname.as_str();
        let inside = self.interface(|i| i.name == ifname && !i.sandbox.is_empty())?;
        if inside.sandbox != self.request.netns {
            let msg = "Sandbox in prevResult doesn't match configured netns";
            return Err(
                wrong(msg).details(format!("{} and {}", inside.sandbox, self.request.netns))
            );
        }
        for (link, kind) in [
            (&self.bridge, "bridge"),
            (&self.port, "veth"),
            (&self.inside, "veth"),
        ] {
            if link.kind.as_deref() != Some(kind) {
                return Err(wrong(format!("{:?} is no {kind}", link.name)));
            }
        }
        same_mac(inside, &self.inside)?;
        same_mac(
            self.interface(|i| i.name == self.port.name && i.sandbox.is_empty())?,
            &self.port,
        )?;
        let bridge = self.interface(|i| i.name == self.bridge.name && i.sandbox.is_empty())?;
        // Without an address of its own a bridge takes the Ethernet address of its lowest port.
        if self.config.gateway != Gateway::None {
            same_mac(bridge, &self.bridge)?;
        }
        self.check_inside_state()
    }

    fn check_inside_state(&self) -> Result<(), Error> {
        let name = &self.inside.name;
        if !self.config.leave_container_link_down && !self.inside.is_up {
            return Err(wrong(format!("{name:?} is down")));
        }
        match self.config.mtu {
            Some(mtu) if mtu != self.inside.mtu => Err(wrong(format!(
                "{name:?} has MTU {}, not {mtu}",
                self.inside.mtu
            ))),
            _ => Ok(()),
        }
    }

    fn check_port(&mut self) -> Result<(), Error> {
        let (port, config) = (&self.port, self.config);
        let name = &port.name;
        let faults = [
            (
                port.master != Some(self.bridge.index),
                "is not a port of the bridge",
            ),
            (!port.is_up, "is down"),
            (port.hairpin != config.hairpin, "differs in hairpinMode"),
            (config.isolated && !port.isolated, "is not isolated"),
            (
                config.promiscuous && !self.bridge.is_promiscuous,
                "is of a bridge not in promiscMode",
            ),
        ];
        if let Some((_, fault)) = faults.into_iter().find(|(is, _)| *is) {
            return Err(wrong(format!("host veth {name:?} {fault}")));
        }
        let Some(vlans) = &config.vlans else {
            return Ok(());
        };
        let present = on_host(self.host.vlans(port.index), || {
            format!("list VLANs of {name:?}")
        })?;
        let wanted = vlans.trunk.iter().copied().chain(vlans.native);
        let missing = wanted
            .into_iter()
            .find(|id| !present.iter().any(|vlan| vlan.id == *id));
        missing.map_or(Ok(()), |id| {
            Err(wrong(format!("host veth {name:?} lacks VLAN {id}")))
        })
    }

    /// The addresses that the previous result gives our interface.
    fn addresses(&self) -> Vec<IpNet> {
        let ifname = self.request.attachment.ifname.as_str();
        let is_ours = |index: usize| {
            let interface = self.previous.interfaces.get(index);
            interface.is_some_and(|i| i.name == ifname && !i.sandbox.is_empty())
        };
        let ips = self.previous.ips.iter();
        ips.filter(|ip| is_ours(ip.interface.unwrap_or(CONTAINER)))
            .map(|ip| ip.address)
            .collect()
    }

    fn check_addresses(&mut self) -> Result<(), Error> {
        let what = || "list addresses".to_owned();
        let present = on_host(self.container.addresses(self.inside.index), what)?;
        for wanted in self.addresses() {
            if !present.iter().any(|address| address.net == wanted) {
                return Err(wrong(format!(
                    "{:?} lacks the address {wanted}",
                    self.inside.name
                )));
            }
        }
        Ok(())
    }

    fn check_routes(&mut self) -> Result<(), Error> {
        let present = on_host(self.container.routes(), || "list routes".into())?;
        for route in &self.previous.routes {
            let wanted = kernel_route(route, &self.previous.ips, self.inside.index);
            let is_it = |found: &netlink::route::Route| {
                let same = |want: Option<u32>, have| want.is_none() || want == have;
                found.destination == wanted.destination
                    && found.gateway == wanted.gateway
                    && found.link == wanted.link
                    && found.table.unwrap_or(254) == wanted.table.unwrap_or(254)
                    && same(wanted.priority, found.priority)
                    && same(wanted.mtu, found.mtu)
                    && same(wanted.advmss, found.advmss)
            };
            if !present.iter().any(is_it) {
                return Err(wrong(format!(
                    "route to {} is missing or differs",
                    route.dst
                )));
            }
        }
        Ok(())
    }

    fn check_gateway(&mut self) -> Result<(), Error> {
        if self.config.gateway == Gateway::None {
            return Ok(());
        }
        let has_vlan = self
            .config
            .vlans
            .as_ref()
            .is_some_and(|vlans| vlans.native.is_some());
        let what = || "list the bridge's addresses".to_owned();
        let present = on_host(self.host.addresses(self.bridge.index), what)?;
        for ip in &self.previous.ips {
            let gateway = ip
                .gateway
                .and_then(|gw| IpNet::new(gw, ip.address.prefix_len()).ok());
            if gateway.is_some_and(|net| !has_vlan && !present.iter().any(|a| a.net == net)) {
                return Err(wrong(format!(
                    "{:?} lacks its gateway address",
                    self.config.bridge
                )));
            }
            let setting = FORWARDING[usize::from(ip.address.addr().is_ipv6())];
            let value =
                sysctl::read(setting).attempt(Code::PLUGIN, || format!("read {setting}"))?;
            if value != "1" {
                return Err(wrong(format!("forwarding is off: {setting} is {value}")));
            }
        }
        Ok(())
    }

    fn check_rules(&self) -> Result<(), Error> {
        let owner = owner(
            &self.request.invocation.config.name,
            &self.request.attachment,
        );
        if let Some(back_end) = self.config.masquerade {
            let masquerade = Masquerade {
                owner: &owner,
                addresses: &self.addresses(),
            };
            let missing = masquerade.first_missing(back_end);
            let missing = in_firewall(missing, || "look for ipMasq rules".into())?;
            refuse_missing("ipMasq", missing)?;
        }
        if let Some(mac) = self.inside.mac.filter(|_| self.config.mac_spoof_check) {
            let guard = Guard {
                owner: &owner,
                link: &self.port.name,
                mac,
            };
            let missing = guard.first_missing();
            refuse_missing(
                "macspoofchk",
                in_firewall(missing, || "look for macspoofchk".into())?,
            )?;
        }
        Ok(())
    }

    fn interface(&self, wanted: impl Fn(&Interface) -> bool) -> Result<&Interface, Error> {
        let mut interfaces = self.previous.interfaces.iter();
        let missing = || wrong("prevResult lacks the bridge, the host's veth or the container's");
        interfaces
            .find(|interface| wanted(interface))
            .ok_or_else(missing)
    }
}

fn find(socket: &mut Socket, name: &str) -> Result<Link, Error> {
    let link = on_host(socket.link(name), || format!("look up {name:?}"))?;
    link.ok_or_else(|| wrong(format!("link {name:?} is missing")))
}

fn same_mac(interface: &Interface, link: &Link) -> Result<(), Error> {
    let present = link.mac.map(|mac| mac.to_string()).unwrap_or_default();
    if interface.mac.is_empty() || interface.mac.eq_ignore_ascii_case(&present) {
        return Ok(());
    }
    let msg = format!(
        "{:?} has Ethernet address {present}, not {}",
        link.name, interface.mac
    );
    Err(wrong(msg))
}

fn refuse_missing(of: &str, missing: Option<firewall::Rule>) -> Result<(), Error> {
    let msg = |rule| wrong(format!("a rule of {of} is missing")).details(format!("{rule:?}"));
    missing.map_or(Ok(()), |rule| Err(msg(rule)))
}
