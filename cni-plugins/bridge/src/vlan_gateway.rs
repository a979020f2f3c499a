//! `<bridge>.<vlan>`: the host's own foot in a VLAN, a veth whose other end is a port of the
//! bridge. The first container of the VLAN makes it, and the last takes it away.
//!
//! A lock per gateway keeps the last from taking it away under the hands of the next first. A
//! link of that name without our mark is somebody else's way into the VLAN, and stays.

use std::time::Duration;

use cni::{Attempt, Code, Error};
use interface::check::wrong;
use interface::host::{check_router_advertisements, refuse_router_advertisements};
use interface::{Owner, on_host, pair, vanished};
use netlink::link::{PortVlan, Setting, Veth};
use netlink::{Link, Socket};
use sys::dir::{Lock, LockKind};
use sys::{Dir, Errno, NetNs};

use crate::config::{BridgeConfig, Gateway, Vlans};
use crate::ports::set_vlans;

/// A hundred containers at once take turns.
const PATIENCE: Duration = Duration::from_secs(20);
/// How a gateway of ours is marked.
const ALIAS: &str = "davit-cni: gateway of a VLAN";

/// The gateway that a configuration asks for.
pub(crate) struct VlanGateway<'a> {
    config: &'a BridgeConfig,
    vlan: u16,
    name: String,
}

impl<'a> VlanGateway<'a> {
    /// The gateway, if the network has one.
    pub(crate) fn of(config: &'a BridgeConfig) -> Option<Self> {
        let vlan = config.vlans.as_ref().and_then(|vlans| vlans.native)?;
        (config.gateway != Gateway::None).then(|| Self {
            config,
            vlan,
            name: format!("{}.{vlan}", config.bridge),
        })
    }

    /// What the link is called.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Held from before the gateway is made until it has its addresses, and around its removal.
    pub(crate) fn lock(&self) -> Result<Lock, Error> {
        let file = format!("{}.lock", self.name);
        let lock = Dir::open_or_create("/run/davit-cni", 0o755)
            .and_then(|dir| dir.lock(&file, LockKind::Exclusive, PATIENCE));
        let late = matches!(&lock, Err(error) if error.errno() == Errno::EAGAIN);
        let code = if late { Code::TRY_AGAIN } else { Code::IO };
        lock.attempt(code, || format!("lock /run/davit-cni/{file}"))
    }

    /// Makes sure that it is there, up and in its VLAN; its index.
    pub(crate) fn ensure(
        &self,
        host: &mut Socket,
        bridge: u32,
        owner: &Owner,
    ) -> Result<u32, Error> {
        let name = &self.name;
        let what = || format!("make the VLAN gateway {name:?}");
        if on_host(host.link(name), what)?.is_none() {
            self.make(host, owner)?;
        }
        let link = on_host(host.link(name), what)?.ok_or_else(|| vanished(what()))?;
        // Whatever it was made by, and before it can hear one: an address comes later.
        refuse_router_advertisements(name)?;
        // Whoever made it may have been killed before the rest was done.
        if link.kind.as_deref() == Some("veth") {
            let port = other_end(host, &link)?.ok_or_else(|| vanished(what()))?;
            refuse_router_advertisements(&port.name)?;
            self.attach(host, bridge, &port)?;
        }
        on_host(host.change_link(link.index, &[Setting::Up]), what)?;
        Ok(link.index)
    }

    /// Makes it under a name that nobody else looks at, marks it and only then gives it its own:
    /// the kernel takes no alias with the request that makes a link, and one without our mark would
    /// be somebody else's for ever if we were killed in between.
    fn make(&self, host: &mut Socket, owner: &Owner) -> Result<(), Error> {
        let what = || format!("make the VLAN gateway {:?}", self.name);
        self.remove_half_made(host)?;
        let half = self.half_made();
        let own = NetNs::current().attempt(Code::PLUGIN, || "open own netns".into())?;
        let veth = Veth {
            name: &half,
            mac: None,
            mtu: self.config.mtu,
            peer: &owner.link(u32::from(self.vlan) + pair::NAMES),
            peer_netns: &own,
        };
        on_host(host.create_veth(&veth), what)?;
        let made = on_host(host.link(&half), what)?.ok_or_else(|| vanished(what()))?;
        let mark = [Setting::Alias(ALIAS.into())];
        on_host(host.change_link(made.index, &mark), what)?;
        match host.change_link(made.index, &[Setting::Name(self.name.clone())]) {
            // Made by somebody who knows of no lock.
            Err(error) if error.errno() == Some(Errno::EEXIST) => {
                on_host(host.delete_link(made.index), what).map(drop)
            }
            named => on_host(named, what),
        }
    }

    /// What it is called until it is marked: the same for whoever makes it.
    fn half_made(&self) -> String {
        Owner::new("", "", &*self.name).link_named("vlangw", 0)
    }

    /// Under the lock, so that whoever made it was killed.
    fn remove_half_made(&self, host: &mut Socket) -> Result<(), Error> {
        let half = self.half_made();
        let what = || format!("remove {half:?}, which a killed ADD has left");
        match self.find_half_made(host)? {
            Some(link) => on_host(host.delete_link(link.index), what).map(drop),
            None => Ok(()),
        }
    }

    fn find_half_made(&self, host: &mut Socket) -> Result<Option<Link>, Error> {
        let half = self.half_made();
        let link = on_host(host.link(&half), || format!("look up {half:?}"))?;
        Ok(link.filter(|link| {
            let mark = link.alias.as_deref().unwrap_or_default();
            link.kind.as_deref() == Some("veth") && (mark.is_empty() || mark == ALIAS)
        }))
    }

    /// For CHECK: it is there and up; its index.
    pub(crate) fn check(&self, host: &mut Socket) -> Result<u32, Error> {
        let name = &self.name;
        let link = on_host(host.link(name), || format!("look up {name:?}"))?;
        let link = link.ok_or_else(|| wrong(format!("the VLAN gateway {name:?} is missing")))?;
        if !link.is_up {
            return Err(wrong(format!("the VLAN gateway {name:?} is down")));
        }
        check_router_advertisements(name)?;
        Ok(link.index)
    }

    fn attach(&self, host: &mut Socket, bridge: u32, port: &Link) -> Result<(), Error> {
        let (name, vlan) = (&port.name, self.vlan);
        let what = || {
            let bridge = &self.config.bridge;
            format!("attach {name:?} to VLAN {vlan} of bridge {bridge:?}")
        };
        match port.master {
            Some(master) if master == bridge => {}
            Some(_) => {
                let msg = format!("{name:?} belongs to another bridge");
                return Err(Error::config(msg).details(&self.config.bridge));
            }
            None => on_host(
                host.change_link(port.index, &[Setting::Master(bridge)]),
                what,
            )?,
        }
        let native = PortVlan {
            id: vlan,
            native: true,
        };
        if !on_host(host.vlans(port.index), what)?.contains(&native) {
            let vlans = Vlans {
                native: Some(vlan),
                trunk: Default::default(),
                keep_default: false,
            };
            on_host(set_vlans(host, port.index, &vlans), what)?;
        }
        on_host(host.change_link(port.index, &[Setting::Up]), what)
    }

    /// Takes it away if it is ours and no container's port is in its VLAN any more.
    pub(crate) fn remove_unused(&self) -> Result<(), Error> {
        let what = || format!("remove the VLAN gateway {:?}", self.name);
        let mut host = on_host(Socket::route(), what)?;
        if self.own(&mut host)?.is_none() && self.find_half_made(&mut host)?.is_none() {
            return Ok(());
        }
        let _lock = self.lock()?;
        self.remove_half_made(&mut host)?;
        let Some(gateway) = self.own(&mut host)? else {
            return Ok(());
        };
        let port = other_end(&mut host, &gateway)?;
        let is_used = match port.as_ref().map(|port| (port.index, port.master)) {
            Some((own, Some(bridge))) => self.has_users(&mut host, bridge, own)?,
            _ => false,
        };
        if is_used {
            return Ok(());
        }
        on_host(host.delete_link(gateway.index), what).map(drop)
    }

    /// Whether the link of that name was made by us.
    pub(crate) fn is_own(&self, host: &mut Socket) -> Result<bool, Error> {
        Ok(self.own(host)?.is_some())
    }

    fn own(&self, host: &mut Socket) -> Result<Option<Link>, Error> {
        let what = || format!("look up {:?}", self.name);
        let link = on_host(host.link(&self.name), what)?;
        Ok(link.filter(|link| link.alias.as_deref() == Some(ALIAS)))
    }

    fn has_users(&self, host: &mut Socket, bridge: u32, own: u32) -> Result<bool, Error> {
        let what = || format!("list the ports in VLAN {}", self.vlan);
        let is_port = |link: &Link| link.master == Some(bridge) && link.index != own;
        let links = on_host(host.links(), what)?;
        let ports: Vec<u32> = links
            .iter()
            .filter(|link| is_port(link))
            .map(|link| link.index)
            .collect();
        let vlans = on_host(host.vlans_of_ports(), what)?;
        Ok(vlans.iter().any(|(index, vlans)| {
            ports.contains(index) && vlans.iter().any(|vlan| vlan.id == self.vlan)
        }))
    }
}

fn other_end(host: &mut Socket, link: &Link) -> Result<Option<Link>, Error> {
    let what = || format!("look up the other end of {:?}", link.name);
    let port = link.peer.map(|peer| host.link_by_index(peer));
    let port = on_host(port.transpose(), what)?.flatten();
    Ok(port.filter(|port| port.peer == Some(link.index)))
}

#[cfg(test)]
mod tests {
    use cni::Dns;
    use netlink::link::BridgeOptions;
    use netlink::sysctl;

    use super::*;

    fn config() -> BridgeConfig {
        BridgeConfig {
            bridge: "br0".into(),
            gateway: Gateway::Address,
            force_address: false,
            masquerade: None,
            mtu: None,
            hairpin: false,
            promiscuous: false,
            isolated: false,
            vlans: Some(Vlans {
                native: Some(100),
                trunk: Default::default(),
                keep_default: false,
            }),
            mac_spoof_check: false,
            detect_duplicates: false,
            leave_container_link_down: false,
            mac: None,
            dns: Dns::default(),
        }
    }

    /// In a namespace with a bridge that need not know VLANs, which most of a gateway does not need.
    fn on_a_host(body: impl FnOnce(&VlanGateway<'_>, &mut Socket, u32) + Send) {
        let Ok(netns) = NetNs::new() else {
            println!("SKIP: only root makes namespaces");
            return;
        };
        let ran = netns.run(|| -> Result<(), netlink::Error> {
            let mut host = Socket::route()?;
            let options = BridgeOptions {
                mtu: None,
                vlan_filtering: false,
            };
            host.create_bridge("br0", options)?;
            let bridge = host.link("br0")?.unwrap().index;
            body(&VlanGateway::of(&config()).unwrap(), &mut host, bridge);
            Ok(())
        });
        ran.unwrap();
    }

    fn owner() -> Owner {
        Owner::new("net", "c1", "eth0")
    }

    #[test]
    fn a_gateway_takes_no_router_advertisements_whoever_made_it() {
        for is_there in [false, true] {
            on_a_host(|gateway, host, bridge| {
                if is_there {
                    gateway.make(host, &owner()).unwrap();
                    sysctl::ensure("ipv6/conf/br0.100/accept_ra", "1").unwrap();
                    assert!(check_router_advertisements("br0.100").is_err());
                }
                // Without CONFIG_BRIDGE_VLAN_FILTERING its port gets no VLAN, in the next step.
                let _ = gateway.ensure(host, bridge, &owner());
                let link = host.link("br0.100").unwrap().unwrap();
                let port = other_end(host, &link).unwrap().unwrap();
                for name in ["br0.100", &port.name] {
                    check_router_advertisements(name).unwrap();
                }
            });
        }
    }

    #[test]
    fn what_a_killed_add_has_left_is_found_again() {
        on_a_host(|gateway, host, _| {
            let half = gateway.half_made();
            let own = NetNs::current().unwrap();
            let veth = Veth {
                name: &half,
                mac: None,
                mtu: None,
                peer: "half",
                peer_netns: &own,
            };
            host.create_veth(&veth).unwrap();
            gateway.make(host, &owner()).unwrap();
            assert!(gateway.is_own(host).unwrap(), "never without its mark");
            assert!(host.link("half").unwrap().is_none());
            host.create_veth(&veth).unwrap();
            gateway.remove_unused().unwrap();
            for name in ["half", "br0.100"] {
                assert!(host.link(name).unwrap().is_none(), "{name}");
            }
        });
    }
}
