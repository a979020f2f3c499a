//! A container's link gets its addresses and routes, and is ready when ADD answers.
//!
//! The order matters: settings before the first address, addresses before the link is up, routes
//! after duplicate address detection, for the kernel takes none over a tentative source.

use std::time::{Duration, Instant};

use cni::{Attempt, Code, Error};
use ipnet::IpNet;
use netlink::address::{RTNLGRP_IPV6_IFADDR, Settled, Trait};
use netlink::link::Setting;
use netlink::{Events, Link, sysctl};
use sys::Errno;

use crate::assigned::Assigned;
use crate::on_host;
use crate::sandbox::Sandbox;

/// RFC 4862 asks for one probe and one second; a loaded host may be slow with both.
const DETECTION_PATIENCE: Duration = Duration::from_secs(5);
/// Detection does not begin without a carrier, and a cable may be missing for ever.
const CARRIER_PATIENCE: Duration = Duration::from_secs(1);

/// Duplicate address detection (RFC 4862) of IPv6 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detection {
    /// Off: nobody else can have the addresses.
    Off,
    /// On, whatever the namespace's default is, and awaited.
    On,
    /// As the namespace has it, and awaited.
    Kernel,
}

/// How a link is set up.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Of its IPv6 addresses.
    pub detection: Detection,
    /// Neighbours hear of the addresses at once: somebody else had them before.
    pub announce: bool,
}

impl Setup {
    /// Everything: settings, addresses, up, detection, routes.
    pub fn apply(
        self,
        sandbox: &mut Sandbox,
        link: &Link,
        assigned: Option<&Assigned>,
    ) -> Result<(), Error> {
        let addresses = assigned.map(Assigned::addresses).unwrap_or_default();
        self.prepare(sandbox, link, &addresses)?;
        self.add_addresses(sandbox, link, &addresses, &[])?;
        self.start(sandbox, link, &addresses)?;
        assigned.map_or(Ok(()), |assigned| add_routes(sandbox, link, assigned))
    }

    /// The settings that must be there before the first address.
    pub fn prepare(self, sandbox: &Sandbox, link: &Link, addresses: &[IpNet]) -> Result<(), Error> {
        let has_v6 = addresses.iter().any(|net| net.addr().is_ipv6());
        let name = &link.name;
        let done = sandbox.netns.run(|| self.write_settings(name, has_v6));
        done.attempt(Code::PLUGIN, || format!("configure {name:?}"))
    }

    fn write_settings(self, link: &str, has_v6: bool) -> sys::Result<()> {
        let v6 = |name: &str| format!("ipv6/conf/{link}/{name}");
        if self.announce {
            sysctl::ensure(&format!("ipv4/conf/{link}/arp_notify"), "1")?;
        }
        let mut settings = match self.detection {
            Detection::Off => vec![(v6("accept_dad"), "0")],
            Detection::On => vec![(v6("enhanced_dad"), "1"), (v6("accept_dad"), "1")],
            Detection::Kernel => Vec::new(),
        };
        if self.announce {
            settings.push((v6("ndisc_notify"), "1"));
        }
        if has_v6 {
            settings.push(("ipv6/conf/lo/disable_ipv6".into(), "0"));
            settings.push((v6("disable_ipv6"), "0"));
            settings.push((v6("keep_addr_on_down"), "1"));
        }
        for (name, value) in settings {
            match sysctl::ensure(&name, value) {
                // A kernel without IPv6 has none of these; with an IPv6 address that is an error.
                Err(error) if error.errno() == Errno::ENOENT && !has_v6 => {}
                done => done?,
            }
        }
        Ok(())
    }

    /// Adds the addresses in their order, with these traits beside that of the detection.
    pub fn add_addresses(
        self,
        sandbox: &mut Sandbox,
        link: &Link,
        addresses: &[IpNet],
        traits: &[Trait],
    ) -> Result<(), Error> {
        let mut traits = traits.to_vec();
        // The setting alone would leave them tentative until the kernel gets round to it.
        traits.extend((self.detection == Detection::Off).then_some(Trait::NotDetected));
        for address in addresses {
            let route = &mut sandbox.route;
            on_host(
                route.add_address_with(link.index, *address, &traits),
                || format!("give {:?} the address {address}", link.name),
            )?;
        }
        Ok(())
    }

    /// Sets the link up, and waits until its addresses can be used.
    pub fn start(
        self,
        sandbox: &mut Sandbox,
        link: &Link,
        addresses: &[IpNet],
    ) -> Result<(), Error> {
        on_host(
            sandbox.route.change_link(link.index, &[Setting::Up]),
            || format!("set {:?} up", link.name),
        )?;
        let has_v6 = addresses.iter().any(|net| net.addr().is_ipv6());
        if has_v6 && self.detection != Detection::Off {
            wait_for_detection(sandbox, link)?;
        }
        Ok(())
    }
}

/// Adds the routes in their order, each beside those that other interfaces have to the same
/// destination: every network of a container brings a default route.
pub fn add_routes(sandbox: &mut Sandbox, link: &Link, assigned: &Assigned) -> Result<(), Error> {
    for route in assigned.kernel_routes(link.index) {
        on_host(sandbox.route.add_route_beside(&route), || {
            format!("configure {:?} in {:?}", link.name, sandbox.path)
        })?;
    }
    Ok(())
}

fn wait_for_detection(sandbox: &mut Sandbox, link: &Link) -> Result<(), Error> {
    let what = || format!("wait for duplicate address detection on {:?}", link.name);
    let events = Events::route_in(&sandbox.netns, RTNLGRP_IPV6_IFADDR);
    let mut events = on_host(events, what)?;
    let began = Instant::now();
    for (patience, is_last) in [(CARRIER_PATIENCE, false), (DETECTION_PATIENCE, true)] {
        let deadline = began + patience;
        let route = &mut sandbox.route;
        match on_host(
            route.settle_addresses(link.index, &mut events, deadline),
            what,
        )? {
            Settled::Usable => return Ok(()),
            Settled::Duplicate(net) => {
                let msg = format!("{net} is in use by somebody else");
                return Err(Error::new(Code::PLUGIN, msg));
            }
            Settled::TooLate if is_last => {
                return Err(Error::new(Code::TRY_AGAIN, what()).details("not over in time"));
            }
            Settled::TooLate => {
                let now = on_host(route.link_by_index(link.index), what)?;
                if now.is_none_or(|link| !link.is_operational) {
                    return Ok(()); // it will begin, and end, when there is a carrier
                }
            }
        }
    }
    Ok(())
}
