//! CHECK: is the host still as ADD left it? Looks, and changes nothing.

use cni::{CheckRequest, Error, Interface};
use firewall::masquerade::Masquerade;
use firewall::spoofing::Guard;
use interface::check::{View, same_mac, wrong};
use interface::host::{check_forwarding, check_router_advertisements};
use interface::{in_firewall, ipam, on_host, owner};
use ipnet::IpNet;
use netlink::{Link, Socket};

use crate::config::{BridgeConfig, Gateway};
use crate::vlan_gateway::VlanGateway;

/// Compares configuration and previous result with the host.
pub(crate) fn check(request: &CheckRequest) -> Result<(), Error> {
    let config = BridgeConfig::parse(&request.invocation)?;
    let mut bridged = Bridged::open(request, &config)?;
    ipam::check(request)?;
    bridged.check_links()?;
    bridged.check_port()?;
    if !config.leave_container_link_down {
        bridged.inside.check_addresses()?;
        bridged.inside.check_routes()?;
    }
    bridged.check_gateway()?;
    bridged.check_rules()
}

/// An attachment as it is now.
struct Bridged<'a> {
    request: &'a CheckRequest,
    config: &'a BridgeConfig,
    host: Socket,
    bridge: Link,
    port: Link,
    inside: View,
}

impl<'a> Bridged<'a> {
    fn open(request: &'a CheckRequest, config: &'a BridgeConfig) -> Result<Self, Error> {
        let inside = View::open(request)?;
        let mut host = on_host(Socket::route(), || "open a route socket".into())?;
        let name = &config.bridge;
        let bridge = on_host(host.link(name), || format!("look up {name:?}"))?;
        let bridge = bridge.ok_or_else(|| wrong(format!("link {name:?} is missing")))?;
        let ifname = &inside.link.name;
        let peer = inside
            .link
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
            host,
            bridge,
            port,
            inside,
        })
    }

    fn check_links(&self) -> Result<(), Error> {
        for (link, kind) in [
            (&self.bridge, "bridge"),
            (&self.port, "veth"),
            (&self.inside.link, "veth"),
        ] {
            if link.kind.as_deref() != Some(kind) {
                return Err(wrong(format!("{:?} is no {kind}", link.name)));
            }
        }
        self.inside.check_interface()?;
        same_mac(self.on_host(&self.port)?, &self.port)?;
        let bridge = self.on_host(&self.bridge)?;
        // Without an address of its own a bridge takes the Ethernet address of its lowest port.
        if self.config.gateway != Gateway::None {
            same_mac(bridge, &self.bridge)?;
        }
        self.check_inside_state()
    }

    fn check_inside_state(&self) -> Result<(), Error> {
        let link = &self.inside.link;
        if !self.config.leave_container_link_down && !link.is_up {
            return Err(wrong(format!("{:?} is down", link.name)));
        }
        match self.config.mtu {
            Some(mtu) if mtu != link.mtu => {
                let msg = format!("{:?} has MTU {}, not {mtu}", link.name, link.mtu);
                Err(wrong(msg))
            }
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

    fn check_gateway(&mut self) -> Result<(), Error> {
        if self.config.gateway == Gateway::None {
            return Ok(());
        }
        let (link, name) = match VlanGateway::of(self.config) {
            Some(gateway) => (gateway.check(&mut self.host)?, gateway.name().to_owned()),
            None => {
                check_router_advertisements(&self.bridge.name)?;
                (self.bridge.index, self.bridge.name.clone())
            }
        };
        let what = || format!("list the addresses of {name:?}");
        let present = on_host(self.host.addresses(link), what)?;
        for ip in &self.inside.previous.ips {
            let gateway = ip
                .gateway
                .and_then(|gw| IpNet::new(gw, ip.address.prefix_len()).ok());
            if gateway.is_some_and(|net| !present.iter().any(|a| a.net == net)) {
                return Err(wrong(format!("{name:?} lacks its gateway address")));
            }
            check_forwarding(ip.address.addr().is_ipv6())?;
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
                addresses: &self.inside.addresses(),
            };
            let missing = masquerade.first_missing(back_end);
            let missing = in_firewall(missing, || "look for ipMasq rules".into())?;
            refuse_missing("ipMasq", missing)?;
        }
        if let Some(mac) = self.inside.link.mac.filter(|_| self.config.mac_spoof_check) {
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

    /// What prevResult says of a link of the host.
    fn on_host(&self, link: &Link) -> Result<&Interface, Error> {
        let mut interfaces = self.inside.previous.interfaces.iter();
        interfaces
            .find(|each| each.name == link.name && each.sandbox.is_empty())
            .ok_or_else(|| wrong(format!("prevResult lacks {:?}", link.name)))
    }
}

fn refuse_missing(of: &str, missing: Option<firewall::Rule>) -> Result<(), Error> {
    let msg = |rule| wrong(format!("a rule of {of} is missing")).details(format!("{rule:?}"));
    missing.map_or(Ok(()), |rule| Err(msg(rule)))
}
