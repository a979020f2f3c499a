//! Moving links of the host into the container's network namespace, and back if the create fails.
//!
//! As config-linux.md, "Network devices", has it they stay there when the container is deleted:
//! with the namespace go those that the kernel made, and hardware returns to the host by itself.

use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result, bail};
use netlink::Socket;
use netlink::device::{Device, LostAddress};
use netlink::route::Route;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use sys::Errno;

use crate::plan::{Kind, NetDevice};

/// The links that have moved.
pub(super) struct Moved {
    host_namespace: OwnedFd,
    host: Socket,
    inside: Socket,
    links: Vec<Link>,
}

/// One link that has moved, and what it was like.
struct Link {
    host_name: String,
    was_up: bool,
    addresses: Vec<LostAddress>,
    routes: Vec<Route>,
    /// Its number in the container.
    index: u32,
}

fn open_namespace(path: &str) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    open(Path::new(path), flags, Mode::empty()).with_context(|| format!("open({path:?})"))
}

impl Moved {
    /// Moves `devices` into the network namespace at `path`; on an error all are back.
    pub(super) fn move_all(devices: &[NetDevice], path: &str) -> Result<Self> {
        let host_namespace = open_namespace("/proc/self/ns/net")?;
        let namespace = open_namespace(path)?;
        let mut moved = Self {
            inside: socket_in(&namespace, &host_namespace)?,
            host: Socket::route()?,
            host_namespace,
            links: Vec::with_capacity(devices.len()),
        };
        for device in devices {
            let outcome = moved.move_one(device, &namespace);
            let outcome = outcome.with_context(|| {
                format!(
                    "network device {:?} (config.json /linux/netDevices)",
                    device.host_name
                )
            });
            if let Err(error) = outcome {
                moved.give_back();
                return Err(error);
            }
        }
        Ok(moved)
    }

    fn move_one(&mut self, device: &NetDevice, namespace: &OwnedFd) -> Result<()> {
        let Some(found) = self.host.device(&device.host_name)? else {
            bail!("there is no such device on the host")
        };
        let before = self.inside.devices()?;
        if before.iter().any(|there| there.name == device.name) {
            bail!(
                "{:?} already exists in the container's network namespace",
                device.name
            );
        }
        let addresses = self.host.addresses_to_keep(found.index)?;
        let mut routes = self.host.routes()?;
        routes.retain(|route| route.link == Some(found.index));
        let outcome = self.host.move_device(found.index, namespace, &device.name);
        // Even if it was refused: a name that was taken meanwhile is noticed after the move.
        let arrived = self.inside.devices()?;
        let is_new = |there: &&Device| before.iter().all(|known| known.index != there.index);
        if let Some(there) = arrived.iter().find(is_new) {
            self.links.push(Link {
                host_name: device.host_name.clone(),
                was_up: found.is_up,
                addresses,
                routes,
                index: there.index,
            });
        }
        outcome?;
        let Some(link) = self.links.last() else {
            bail!("it did not arrive")
        };
        for address in &link.addresses {
            self.inside.give_address(link.index, address)?;
        }
        self.inside.set_device_up(link.index)?;
        Ok(())
    }

    /// Takes them back to the host, as they were. What cannot go back is warned of.
    pub(super) fn give_back(mut self) {
        for link in std::mem::take(&mut self.links).iter().rev() {
            if let Err(error) = self.give_one_back(link) {
                let name = &link.host_name;
                crate::log::warn(&format!(
                    "return network device {name:?} to the host: {error:#}"
                ));
            }
        }
    }

    /// Sets the routes again that went with the device; those that the kernel makes of addresses
    /// are there already.
    fn give_routes_back(&mut self, link: &Link, index: u32) {
        // A gateway must be reachable first.
        let (through, direct): (Vec<_>, Vec<_>) = link
            .routes
            .iter()
            .partition(|route| route.gateway.is_some());
        for route in direct.into_iter().chain(through) {
            let route = Route {
                link: Some(index),
                ..route.clone()
            };
            match self.host.add_route(&route) {
                Err(error) if error.errno() != Some(Errno::EEXIST) => {
                    let name = &link.host_name;
                    crate::log::warn(&format!(
                        "network device {name:?} is back on the host without its route to {}, \
                         which is to be set again: {error}",
                        route.destination
                    ));
                }
                _ => {}
            }
        }
    }

    fn give_one_back(&mut self, link: &Link) -> Result<()> {
        self.inside
            .move_device(link.index, &self.host_namespace, &link.host_name)?;
        let Some(back) = self.host.device(&link.host_name)? else {
            bail!("it did not arrive")
        };
        for address in &link.addresses {
            self.host.give_address(back.index, address)?;
        }
        if link.was_up {
            self.host.set_device_up(back.index)?;
        }
        self.give_routes_back(link, back.index);
        Ok(())
    }
}

/// A socket of `namespace`, for ever; this process is back at `home` afterwards.
fn socket_in(namespace: &OwnedFd, home: &OwnedFd) -> Result<Socket> {
    let flag = Kind::Network.clone_flag();
    sys::process::setns_raw(namespace, flag).context("join the network namespace")?;
    let socket = Socket::route();
    if let Err(error) = sys::process::setns_raw(home, flag) {
        // Hooks and the undo would work on the container's network.
        crate::log::warn(&format!("return to the host's network namespace: {error}"));
        sys::process::exit_now(1);
    }
    Ok(socket?)
}
