//! CNI `tap`: makes a persistent tap device in the container, for a virtual machine or a packet
//! processor that attaches to it.
//!
//! The device is made by ioctl(2) under its final name and becomes persistent only when its owner
//! is written on it, so a plugin that is killed leaves none. Nothing is on the host.

mod config; // the configuration, refused or understood
mod device; // making the device, under another SELinux context if need be
mod manual; // what --help and the man page say

use cni::{AddRequest, CheckRequest, DelRequest, Error, GcRequest, StatusRequest};
use cni_plugin::{Claim, Plugin};
use interface::check::{View, wrong};
use interface::link::interface_inside;
use interface::setup::{Detection, Setup};
use interface::{Assigned, Sandbox, ipam, on_host, removal};
use netlink::Link;
use netlink::link::Setting;

use crate::config::TapConfig;

/// The kernel's name of the kind.
const KIND: &str = "tun";

/// The plugin.
pub struct Tap;

/// What a fuzz run asks of it: all that is read of a configuration before the host is looked at.
#[cfg(fuzzing)]
pub fn understand(request: &cni::AddRequest) -> Result<(), cni::Error> {
    config::TapConfig::parse(&request.invocation).map(drop)
}

impl Plugin for Tap {
    const NAME: &'static str = "tap";
    const ANSWERS_ITS_OWN: bool = true;
    const MANUAL: cni_plugin::Manual = manual::MANUAL;

    fn add(request: &AddRequest, claim: &mut Claim) -> Result<cni::Result, Error> {
        let config = TapConfig::parse(&request.invocation)?;
        ipam::refuse_unusable(request)?;
        let mut sandbox = Sandbox::open(&request.netns)?;
        let master = find_bridge(&mut sandbox, config.bridge.as_deref())?;
        let link = device::create(request, &config, &mut sandbox, claim)?;
        let mut settings = Vec::new();
        settings.extend(config.mac.map(Setting::Mac));
        settings.extend(config.mtu.map(Setting::Mtu));
        settings.extend(master.map(|bridge| Setting::Master(bridge.index)));
        if !settings.is_empty() {
            on_host(sandbox.route.change_link(link.index, &settings), || {
                format!("configure {:?}: {settings:?}", link.name)
            })?;
        }
        let assigned = ipam::ask(request, 0)?;
        set_up(&mut sandbox, &link, assigned.as_ref())?;
        let interfaces = vec![interface_inside(&mut sandbox, link.index)?];
        let dns = match &assigned {
            Some(assigned) => assigned.dns_or(&config.dns),
            None => config.dns,
        };
        let assigned = assigned.unwrap_or_default();
        Ok(cni::Result {
            interfaces,
            ips: assigned.ips,
            routes: assigned.routes,
            dns,
        })
    }

    fn del(request: &DelRequest) -> Result<(), Error> {
        removal::del(request, KIND)
    }

    fn check(request: &CheckRequest) -> Result<(), Error> {
        let config = TapConfig::parse(&request.invocation)?;
        let mut view = View::open(request)?;
        ipam::check(request)?;
        view.check(KIND)?;
        let bridge = match &config.bridge {
            Some(name) => Some(
                view.sandbox
                    .link(name)?
                    .ok_or_else(|| wrong(format!("bridge {name:?} is missing")))?,
            ),
            None => None,
        };
        check_device(&config, &view.link, bridge.as_ref())
    }

    fn gc(request: &GcRequest) -> Result<(), Error> {
        ipam::gc(request)
    }

    fn status(request: &StatusRequest) -> Result<(), Error> {
        TapConfig::parse(&request.invocation)?;
        device::refuse_without_tun()?;
        ipam::status(request)
    }

    fn errand(arguments: &[String]) -> Option<Result<(), Error>> {
        device::errand(arguments)
    }
}

/// The bridge in the container's namespace of which the device becomes a port.
fn find_bridge(sandbox: &mut Sandbox, name: Option<&str>) -> Result<Option<Link>, Error> {
    let Some(name) = name else {
        return Ok(None);
    };
    match sandbox.link(name)? {
        Some(link) if link.kind.as_deref() == Some("bridge") => Ok(Some(link)),
        Some(_) => Err(Error::config(format!("bridge: {name:?} is no bridge"))),
        None => {
            let msg = format!("bridge: there is no {name:?} in the container");
            Err(Error::config(msg).details(&sandbox.path))
        }
    }
}

/// Duplicates are looked for when somebody attaches to the device, which is when the addresses
/// can be used: there is nothing to wait for now.
fn set_up(sandbox: &mut Sandbox, link: &Link, assigned: Option<&Assigned>) -> Result<(), Error> {
    let setup = Setup {
        detection: Detection::Kernel,
        announce: true,
    };
    let addresses = assigned.map(Assigned::addresses).unwrap_or_default();
    setup.prepare(sandbox, link, &addresses)?;
    setup.add_addresses(sandbox, link, &addresses, &[])?;
    on_host(
        sandbox.route.change_link(link.index, &[Setting::Up]),
        || format!("set {:?} up", link.name),
    )?;
    assigned.map_or(Ok(()), |assigned| {
        interface::setup::add_routes(sandbox, link, assigned)
    })
}

fn check_device(config: &TapConfig, link: &Link, bridge: Option<&Link>) -> Result<(), Error> {
    let tun = link.tun.unwrap_or_default();
    let differs = |wanted: Option<u32>, present| wanted.is_some() && wanted != present;
    let faults = [
        (!tun.is_tap, "is no tap device"),
        (!tun.persistent, "is not persistent"),
        (
            differs(config.options.owner, tun.owner),
            "has another owner",
        ),
        (
            differs(config.options.group, tun.group),
            "has another group",
        ),
        (
            tun.multi_queue != config.options.multi_queue,
            "differs in multiQueue",
        ),
        (
            config.mac.is_some() && config.mac != link.mac,
            "has another Ethernet address than mac",
        ),
        (
            config.mtu.is_some_and(|mtu| mtu != link.mtu),
            "has another MTU than mtu",
        ),
        (
            bridge.is_some_and(|bridge| link.master != Some(bridge.index)),
            "is not a port of its bridge",
        ),
    ];
    let fault = faults.into_iter().find(|(is, _)| *is);
    fault.map_or(Ok(()), |(_, fault)| {
        Err(wrong(format!("{:?} {fault}", link.name)))
    })
}
