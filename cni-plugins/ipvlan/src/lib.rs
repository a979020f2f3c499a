//! CNI `ipvlan`: gives a container addresses on a link of the host, with the link's own Ethernet
//! address.
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
use netlink::stacked::NewLink;
use netlink::{Link, Socket};

use crate::config::IpvlanConfig;

/// The plugin.
pub struct Ipvlan;

/// What a fuzz run asks of it: all that is read of a configuration before the host is looked at.
#[cfg(fuzzing)]
pub fn understand(request: &cni::AddRequest) -> Result<(), cni::Error> {
    let config = config::IpvlanConfig::parse(&request.invocation)?;
    config.with_chained_master(&request.invocation).map(drop)
}

impl Plugin for Ipvlan {
    const NAME: &'static str = "ipvlan";
    const MANUAL: cni_plugin::Manual = manual::MANUAL;

    fn add(request: &AddRequest, claim: &mut Claim) -> Result<cni::Result, Error> {
        let config = IpvlanConfig::parse(&request.invocation)?;
        let config = config.with_chained_master(&request.invocation)?;
        let given = config.given_addresses(&request.invocation)?;
        if given.is_none() {
            ipam::refuse_unusable(request)?;
        }
        let mut sandbox = Sandbox::open(&request.netns)?;
        let mut host = master::host()?;
        let master = find_master(&mut host, &mut sandbox, &config)?;
        master::refuse_larger_mtu(config.mtu, &master)?;
        let new = NewLink {
            name: request.attachment.ifname.as_str(),
            kind: config.kind,
            parent: Some(master.index),
            netns: None,
            mac: None,
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
        link::attach(request, claim, &mut sandbox, parents, new, setup, given)
    }

    fn del(request: &DelRequest) -> Result<(), Error> {
        removal::del(request, "ipvlan")
    }

    fn check(request: &CheckRequest) -> Result<(), Error> {
        let config = IpvlanConfig::parse(&request.invocation)?;
        ipam::check(request)?;
        let mut view = View::open(request)?;
        view.check("ipvlan")?;
        if view.link.made_as != Some(config.kind) {
            let (name, has) = (&view.link.name, view.link.made_as);
            return Err(wrong(format!("{name:?} is {has:?}, not {:?}", config.kind)));
        }
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
        let config = IpvlanConfig::parse(&request.invocation)?;
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
    config: &IpvlanConfig,
) -> Result<Link, Error> {
    let socket = if config.link_in_container {
        &mut sandbox.route
    } else {
        host
    };
    master::find(socket, config.master.as_deref())
}
