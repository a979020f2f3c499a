//! `<bridge>.<vlan>`: the host's own foot in a VLAN, a veth whose other end is a port of the
//! bridge. The first container of the VLAN makes it, and the last takes it away.
//!
//! A lock per gateway keeps the last from taking it away under the hands of the next first. A
//! link of that name without our mark is somebody else's way into the VLAN, and stays.

use std::time::Duration;

use cni::{Attempt, Code, Error};
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
            let own = NetNs::current().attempt(Code::PLUGIN, || "open own netns".into())?;
            let veth = Veth {
                name,
                mac: None,
                mtu: self.config.mtu,
                peer: &owner.link(u32::from(self.vlan) + pair::NAMES),
                peer_netns: &own,
            };
            match host.create_veth(&veth) {
                // By somebody who knows of no lock.
                Err(error) if error.errno() == Some(Errno::EEXIST) => {}
                made => on_host(made, what)?,
            }
            let made = on_host(host.link(name), what)?.ok_or_else(|| vanished(what()))?;
            let mark = [Setting::Alias(ALIAS.into())];
            on_host(host.change_link(made.index, &mark), what)?;
        }
        let link = on_host(host.link(name), what)?.ok_or_else(|| vanished(what()))?;
        // Whoever made it may have been killed before the rest was done.
        if link.kind.as_deref() == Some("veth") {
            let port = other_end(host, &link)?.ok_or_else(|| vanished(what()))?;
            self.attach(host, bridge, &port)?;
        }
        on_host(host.change_link(link.index, &[Setting::Up]), what)?;
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
        if self.own(&mut host)?.is_none() {
            return Ok(());
        }
        let _lock = self.lock()?;
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
