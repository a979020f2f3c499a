//! ADD, as numbered steps.
//!
//! 1 refuse what can be refused without touching anything, 2 claim the interface name by making
//! the veth pair, 3 bridge, 4 port, 5 IPAM, 6 the container's side, 7 the bridge's addresses and
//! forwarding, 8 masquerading, 9 wait until frames flow, 10 the result. From the claim on, an
//! error makes `cni_plugin` run DEL.

use std::time::{Duration, Instant};

use cni::{AddRequest, Attempt, Code, Error};
use cni_plugin::Claim;
use firewall::masquerade::Masquerade;
use firewall::spoofing::Guard;
use interface::host::{
    allow_ipv6, enable_forwarding, refuse_router_advertisements, refuse_without_ipv6,
};
use interface::link::{interface, interface_inside};
use interface::pair::{self, Pair};
use interface::setup::{Detection, Setup};
use interface::{Owner, Sandbox, in_firewall, ipam, on_host, owner, vanished};
use ipnet::IpNet;
use netlink::link::{BridgeOptions, PortFlag, RTNLGRP_LINK, Setting};
use netlink::{Events, Link, Socket};
use sys::{Errno, NetNs};

use crate::config::{BridgeConfig, Gateway};
use crate::ports::set_vlans;
use crate::topology::{CONTAINER, Topology};
use crate::vlan_gateway::VlanGateway;

/// A port forwards as soon as its carrier is seen, unless somebody switched STP on.
const PORT_PATIENCE: Duration = Duration::from_secs(3);

/// Attaches the container.
pub(crate) fn add(request: &AddRequest, claim: &mut Claim) -> Result<cni::Result, Error> {
    let config = BridgeConfig::parse(&request.invocation)?;
    let mut job = Job::prepare(request, &config)?;
    job.claim()?;
    claim.made();
    job.make_bridge()?;
    job.make_port()?;
    let topology = job.ask_ipam()?;
    job.configure_container(topology.as_ref())?;
    if let Some(topology) = &topology {
        job.make_gateway(topology, claim)?;
        job.masquerade(topology)?;
    }
    job.wait_for_port()?;
    job.result(topology)
}

/// An ADD under way.
struct Job<'a> {
    request: &'a AddRequest,
    config: &'a BridgeConfig,
    owner: Owner,
    sandbox: Sandbox,
    host_netns: NetNs,
    host: Socket,
    /// The bridge as it was before the claim.
    present: Option<Link>,
    bridge: u32,
    /// Whether it was made by this ADD.
    has_made_bridge: bool,
    port: Link,
    inside: Link,
    vlan_gateway: Option<u32>,
}

impl<'a> Job<'a> {
    fn prepare(request: &'a AddRequest, config: &'a BridgeConfig) -> Result<Self, Error> {
        ipam::refuse_unusable(request)?;
        let sandbox = Sandbox::open(&request.netns)?;
        let host_netns = NetNs::current().attempt(Code::PLUGIN, || "open own netns".into())?;
        let mut host = on_host(Socket::route(), || "open a route socket".into())?;
        let present = on_host(host.link(&config.bridge), || {
            format!("look up {:?}", config.bridge)
        })?;
        refuse_unsuitable(present.as_ref(), config)?;
        Ok(Self {
            owner: owner(&request.invocation.config.name, &request.attachment),
            request,
            config,
            sandbox,
            host_netns,
            host,
            present,
            bridge: 0,
            has_made_bridge: false,
            port: Link::default(),
            inside: Link::default(),
            vlan_gateway: None,
        })
    }

    /// The kernel refuses a second link of one name: that is the claim.
    fn claim(&mut self) -> Result<(), Error> {
        let pair = Pair {
            owner: &self.owner,
            ifname: self.request.attachment.ifname.as_str(),
            host_netns: &self.host_netns,
            mac: self.config.mac,
            mtu: self.config.mtu,
        };
        self.port.name = pair.create(&mut self.sandbox)?;
        Ok(())
    }

    fn make_bridge(&mut self) -> Result<(), Error> {
        let name = &self.config.bridge;
        let what = || format!("make bridge {name:?}");
        let options = BridgeOptions {
            mtu: self.config.mtu,
            vlan_filtering: self.config.vlans.is_some(),
        };
        let mut made = false;
        let link = match self.present.take() {
            Some(link) => link,
            None => {
                made = match self.host.create_bridge(name, options) {
                    Err(error) if error.errno() == Some(Errno::EEXIST) => false, // by another ADD
                    made => on_host(made, what).map(|()| true)?,
                };
                let link = on_host(self.host.link(name), what)?;
                refuse_unsuitable(link.as_ref(), self.config)?;
                link.ok_or_else(|| vanished(what()))?
            }
        };
        self.bridge = link.index;
        self.has_made_bridge = made;
        let mut settings = Vec::new();
        // Given an address once, a bridge stops taking that of its lowest port.
        settings.extend(link.mac.filter(|_| made).map(Setting::Mac));
        settings.extend((!link.is_up).then_some(Setting::Up));
        let promiscuous = self.config.promiscuous && !link.is_promiscuous;
        settings.extend(promiscuous.then_some(Setting::Promiscuous));
        if !settings.is_empty() {
            on_host(self.host.change_link(link.index, &settings), what)?;
        }
        refuse_router_advertisements(name)
    }

    fn make_port(&mut self) -> Result<(), Error> {
        let name = self.port.name.clone();
        let what = || format!("attach {name:?} to bridge {:?}", self.config.bridge);
        let gone = || vanished(what());
        self.port = pair::host_end(&mut self.host, &name)?;
        let ifname = self.request.attachment.ifname.as_str();
        self.inside = self.sandbox.link(ifname)?.ok_or_else(gone)?;
        let host = &mut self.host;
        refuse_router_advertisements(&name)?;
        let settings = [
            Setting::Master(self.bridge),
            Setting::Alias(self.owner.comment()),
        ];
        on_host(host.change_link(self.port.index, &settings), what)?;
        let flags = [
            (self.config.hairpin, PortFlag::Hairpin),
            (self.config.isolated, PortFlag::Isolated),
        ];
        let flags: Vec<_> = flags
            .iter()
            .filter(|(on, _)| *on)
            .map(|(_, flag)| *flag)
            .collect();
        if !flags.is_empty() {
            on_host(host.set_port_flags(self.port.index, &flags), what)?;
        }
        if let Some(vlans) = &self.config.vlans {
            on_host(set_vlans(host, self.port.index, vlans), what)?;
        }
        // Up only now: no frame passes before the port is what it shall be.
        on_host(host.change_link(self.port.index, &[Setting::Up]), what)?;
        self.guard_mac()
    }

    fn guard_mac(&self) -> Result<(), Error> {
        let Some(mac) = self.inside.mac.filter(|_| self.config.mac_spoof_check) else {
            return Ok(());
        };
        let guard = Guard {
            owner: &self.owner,
            link: &self.port.name,
            mac,
        };
        in_firewall(guard.install(), || {
            format!("install macspoofchk for {:?}", self.port.name)
        })
    }

    fn ask_ipam(&self) -> Result<Option<Topology>, Error> {
        let assigned = ipam::ask(self.request, CONTAINER)?;
        Ok(assigned.map(|assigned| Topology::new(self.config, assigned)))
    }

    fn configure_container(&mut self, topology: Option<&Topology>) -> Result<(), Error> {
        if self.config.leave_container_link_down {
            return Ok(());
        }
        let detection = match self.config.detect_duplicates {
            true => Detection::On,
            false => Detection::Off,
        };
        // Neighbours learn a re-used address's new Ethernet address at once.
        let setup = Setup {
            detection,
            announce: true,
        };
        let assigned = topology.map(|topology| &topology.assigned);
        setup.apply(&mut self.sandbox, &self.inside, assigned)
    }

    fn make_gateway(&mut self, topology: &Topology, claim: &mut Claim) -> Result<(), Error> {
        if self.config.gateway == Gateway::None {
            return Ok(());
        }
        let gateway = VlanGateway::of(self.config);
        let _lock = gateway.as_ref().map(VlanGateway::lock).transpose()?;
        let link = match &gateway {
            Some(gateway) => gateway.ensure(&mut self.host, self.bridge, &self.owner)?,
            None => self.bridge,
        };
        if topology.gateways.iter().any(|net| net.addr().is_ipv6()) {
            self.make_way_for_ipv6(gateway.as_ref(), &topology.gateways)?;
        }
        self.vlan_gateway = gateway.map(|_| link);
        for gateway in &topology.gateways {
            self.ensure_address(link, *gateway, &topology.gateways)?;
        }
        enable_forwarding(topology.assigned.families(), claim)
    }

    /// Only what is ours may be changed.
    fn make_way_for_ipv6(
        &mut self,
        gateway: Option<&VlanGateway<'_>>,
        addresses: &[IpNet],
    ) -> Result<(), Error> {
        let (name, is_own) = match gateway {
            Some(gateway) => (gateway.name(), gateway.is_own(&mut self.host)?),
            None => (&*self.config.bridge, self.has_made_bridge),
        };
        match is_own {
            true => allow_ipv6(name, addresses),
            false => refuse_without_ipv6(name, addresses),
        }
    }

    /// A bridge may have many gateways of ours, but none that we do not know, unless forced.
    fn ensure_address(&mut self, link: u32, wanted: IpNet, all: &[IpNet]) -> Result<(), Error> {
        let name = &self.config.bridge;
        let what = || format!("give {name:?} the address {wanted}");
        let present = on_host(self.host.addresses(link), what)?;
        if present.iter().any(|address| address.net == wanted) {
            return Ok(());
        }
        for other in present.iter().map(|address| address.net) {
            let clashes = match (other, wanted) {
                (IpNet::V4(_), IpNet::V4(_)) => !all.contains(&other),
                (IpNet::V6(other), IpNet::V6(wanted)) => {
                    other.contains(&wanted.addr()) || wanted.contains(&other.addr())
                }
                _ => false,
            };
            if clashes && !self.config.force_address {
                let msg = format!("{name:?} already has an IP address different from {wanted}");
                return Err(Error::config(msg).details(other));
            }
            if clashes {
                on_host(self.host.remove_address(link, other), what)?;
            }
        }
        match self.host.add_address(link, wanted) {
            Err(error) if error.errno() == Some(Errno::EEXIST) => {} // by another ADD
            added => on_host(added, what)?,
        }
        self.pin_mac(link)
    }

    /// Neighbours keep the gateway's Ethernet address; it must not follow the ports.
    fn pin_mac(&mut self, link: u32) -> Result<(), Error> {
        let what = || format!("pin the Ethernet address of {:?}", self.config.bridge);
        let present = on_host(self.host.link_by_index(link), what)?;
        match present.and_then(|link| link.mac) {
            Some(mac) => on_host(self.host.change_link(link, &[Setting::Mac(mac)]), what),
            None => Ok(()),
        }
    }

    fn masquerade(&self, topology: &Topology) -> Result<(), Error> {
        let Some(back_end) = self.config.masquerade else {
            return Ok(());
        };
        let masquerade = Masquerade {
            owner: &self.owner,
            addresses: &topology.assigned.addresses(),
        };
        in_firewall(masquerade.install(back_end), || {
            "install ipMasq rules".into()
        })
    }

    /// Until the port forwards, the first packets of the container would be lost.
    fn wait_for_port(&mut self) -> Result<(), Error> {
        if self.config.leave_container_link_down {
            return Ok(());
        }
        let what = || format!("wait for bridge port {:?}", self.port.name);
        let deadline = Instant::now() + PORT_PATIENCE;
        let mut events = None;
        loop {
            let port = on_host(self.host.link_by_index(self.port.index), what)?;
            match port {
                Some(port) if port.is_operational => {
                    self.port = port;
                    return Ok(());
                }
                None => return Err(vanished(what())),
                Some(_) => {}
            }
            let Some(listening) = &mut events else {
                // Listen first, then look again: nothing can happen unseen in between.
                events = Some(on_host(Events::route(RTNLGRP_LINK), what)?);
                continue;
            };
            if !on_host(listening.wait(deadline), what)? {
                let msg = format!(
                    "bridge port in error state: {:?} has no carrier",
                    self.port.name
                );
                return Err(Error::new(Code::PLUGIN, msg));
            }
        }
    }

    fn result(mut self, topology: Option<Topology>) -> Result<cni::Result, Error> {
        let mut interfaces = Vec::new();
        let what = || "read back the links".to_owned();
        interfaces.extend(on_host(self.host.link_by_index(self.bridge), what)?.map(interface));
        interfaces.push(interface(std::mem::take(&mut self.port)));
        interfaces.push(interface_inside(&mut self.sandbox, self.inside.index)?);
        if let Some(index) = self.vlan_gateway {
            interfaces.extend(on_host(self.host.link_by_index(index), what)?.map(interface));
        }
        let dns = match &topology {
            Some(topology) => topology.assigned.dns_or(&self.config.dns),
            None => self.config.dns.clone(),
        };
        let assigned = topology.map(|topology| topology.assigned);
        let assigned = assigned.unwrap_or_default();
        Ok(cni::Result {
            interfaces,
            ips: assigned.ips,
            routes: assigned.routes,
            dns,
        })
    }
}

fn refuse_unsuitable(link: Option<&Link>, config: &BridgeConfig) -> Result<(), Error> {
    match link {
        Some(link) if link.kind.as_deref() != Some("bridge") => {
            let msg = format!("{:?} already exists but is not a bridge", config.bridge);
            Err(Error::config(msg).details(link.kind.clone().unwrap_or_default()))
        }
        // Such a bridge takes VLANs of its ports without a word and lets all frames through. It
        // is not ours to change: filtering would cut off the ports it has.
        Some(link) if config.vlans.is_some() && !link.vlan_filtering => {
            let msg = format!(
                "vlan, vlanTrunk: {:?} already exists and does not filter VLANs",
                config.bridge
            );
            Err(Error::config(msg).details("vlan_filtering 0"))
        }
        _ => Ok(()),
    }
}
