//! CNI `macvlan`: gives a container its own Ethernet address on a link of the host.
//!
//! The link is made in the container's namespace under its name; the kernel refuses a second of
//! that name, which is the claim. It is all there is: nothing stays on the host.

mod config; // the configuration, refused or understood
mod manual; // what --help and the man page say

use cni::{AddRequest, CheckRequest, DelRequest, Error, GcRequest, StatusRequest};
use cni_plugin::{Claim, Plugin};
use interface::check::{View, wrong};
use interface::link::Parents;
use interface::setup::{Detection, Setup};
use interface::{Sandbox, host, ipam, link, master, removal};
use netlink::stacked::{Kind, NewLink};
use netlink::{Link, Socket};

use crate::config::MacvlanConfig;

/// The plugin.
pub struct Macvlan;

/// What a fuzz run asks of it: all that is read of a configuration before the host is looked at.
#[cfg(fuzzing)]
pub fn understand(request: &cni::AddRequest) -> Result<(), cni::Error> {
    config::MacvlanConfig::parse(&request.invocation).map(drop)
}

impl Plugin for Macvlan {
    const NAME: &'static str = "macvlan";
    const ANSWERS_ITS_OWN: bool = true;
    const MANUAL: cni_plugin::Manual = manual::MANUAL;

    fn add(request: &AddRequest, claim: &mut Claim) -> Result<cni::Result, Error> {
        let config = MacvlanConfig::parse(&request.invocation)?;
        ipam::refuse_unusable(request)?;
        let mut sandbox = Sandbox::open(&request.netns)?;
        let mut host = master::host()?;
        let master = find_master(&mut host, &mut sandbox, &config)?;
        master::refuse_larger_mtu(config.mtu, &master)?;
        let new = NewLink {
            name: request.attachment.ifname.as_str(),
            kind: config.kind,
            parent: Some(master.index),
            netns: None,
            mac: config.mac,
            mtu: config.mtu,
        };
        let parents = if config.link_in_container {
            Parents::Inside
        } else {
            Parents::Host(&mut host)
        };
        // Others on the master's network may remember the addresses' last owner.
        let setup = Setup {
            detection: Detection::Kernel,
            announce: true,
        };
        link::attach(request, claim, &mut sandbox, parents, new, setup, None)
    }

    fn del(request: &DelRequest) -> Result<(), Error> {
        removal::del(request, "macvlan")
    }

    fn check(request: &CheckRequest) -> Result<(), Error> {
        let config = MacvlanConfig::parse(&request.invocation)?;
        ipam::check(request)?;
        let mut view = View::open(request)?;
        view.check("macvlan")?;
        check_kind(&view.link, &config)?;
        if config.master.is_none() {
            return Ok(()); // the default route may have changed since
        }
        let master = find_master(&mut master::host()?, &mut view.sandbox, &config)?;
        view.check_parent(&master)
    }

    fn gc(request: &GcRequest) -> Result<(), Error> {
        ipam::gc(request) // links go with their namespaces
    }

    fn status(request: &StatusRequest) -> Result<(), Error> {
        let config = MacvlanConfig::parse(&request.invocation)?;
        host::refuse_unable(Some(config.kind))?;
        if !config.link_in_container {
            master::refuse_unavailable(&mut master::host()?, config.master.as_deref())?;
        }
        ipam::status(request)
    }
}

fn find_master(
    host: &mut Socket,
    sandbox: &mut Sandbox,
    config: &MacvlanConfig,
) -> Result<Link, Error> {
    let socket = if config.link_in_container {
        &mut sandbox.route
    } else {
        host
    };
    master::find(socket, config.master.as_deref())
}

/// Mode and queue as configured; what is not configured may be anything.
fn check_kind(link: &Link, config: &MacvlanConfig) -> Result<(), Error> {
    let (
        Some(Kind::Macvlan {
            mode: has,
            broadcast_queue: queue,
        }),
        Kind::Macvlan {
            mode: wants,
            broadcast_queue,
        },
    ) = (link.made_as, config.kind)
    else {
        return Err(wrong(format!("{:?} does not tell its mode", link.name)));
    };
    if has != wants {
        let msg = format!("{:?} has mode {has:?}, not {wants:?}", link.name);
        return Err(wrong(msg));
    }
    if broadcast_queue.is_some() && queue != broadcast_queue {
        return Err(wrong(format!("{:?} differs in bcqueuelen", link.name)));
    }
    match config.mtu {
        Some(mtu) if mtu != link.mtu => {
            let msg = format!("{:?} has MTU {}, not {mtu}", link.name, link.mtu);
            Err(wrong(msg))
        }
        _ => Ok(()),
    }
}
