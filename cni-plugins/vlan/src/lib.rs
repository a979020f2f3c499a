//! CNI `vlan`: gives a container a VLAN of a link of the host.
//!
//! The link is made in the container's namespace under its name; the kernel refuses a second of
//! that name, which is the claim. Nothing stays on the host. A shared VLAN has a second link
//! beside it in the container, the macvlan that it is made on.

mod config; // the configuration, refused or understood
mod manual; // what --help and the man page say
mod shared; // the macvlan below a shared VLAN

use cni::{AddRequest, CheckRequest, DelRequest, Error, GcRequest, StatusRequest};
use cni_plugin::{Claim, Plugin};
use interface::check::{View, wrong};
use interface::link::Parents;
use interface::setup::{Detection, Setup};
use interface::{Sandbox, host, ipam, link, master, owner, removal};
use netlink::stacked::NewLink;
use netlink::{Link, Socket};

use crate::config::VlanConfig;

/// The plugin.
pub struct Vlan;

/// What a fuzz run asks of it: all that is read of a configuration before the host is looked at.
#[cfg(fuzzing)]
pub fn understand(request: &cni::AddRequest) -> Result<(), cni::Error> {
    config::VlanConfig::parse(&request.invocation).map(drop)
}

impl Plugin for Vlan {
    const NAME: &'static str = "vlan";
    const ANSWERS_ITS_OWN: bool = true;
    const MANUAL: cni_plugin::Manual = manual::MANUAL;

    fn add(request: &AddRequest, claim: &mut Claim) -> Result<cni::Result, Error> {
        let config = VlanConfig::parse(&request.invocation)?;
        ipam::refuse_unusable(request)?;
        let mut sandbox = Sandbox::open(&request.netns)?;
        let mut host = master::host()?;
        let master = find_master(&mut host, &mut sandbox, &config)?;
        master::refuse_larger_mtu(config.mtu, &master)?;
        let name = request.attachment.ifname.as_str();
        let mut new = NewLink {
            name,
            kind: config.kind,
            parent: Some(master.index),
            netns: None,
            mac: None,
            mtu: config.mtu,
        };
        let mut parents = if config.link_in_container {
            Parents::Inside
        } else {
            Parents::Host(&mut host)
        };
        if config.shared {
            link::refuse_taken(&mut sandbox, name)?;
            let owner = owner(&request.invocation.config.name, &request.attachment);
            new.parent = Some(shared::create(
                &mut sandbox,
                parents,
                &master,
                &owner,
                claim,
            )?);
            parents = Parents::Inside;
        }
        let setup = Setup {
            detection: Detection::Kernel,
            announce: true,
        };
        link::attach(request, claim, &mut sandbox, parents, new, setup, None)
    }

    fn del(request: &DelRequest) -> Result<(), Error> {
        let base = shared::delete(request);
        removal::first_error([removal::del(request, "vlan"), base])
    }

    fn check(request: &CheckRequest) -> Result<(), Error> {
        let config = VlanConfig::parse(&request.invocation)?;
        ipam::check(request)?;
        let mut view = View::open(request)?;
        view.check("vlan")?;
        if view.link.made_as != Some(config.kind) {
            let (name, has) = (&view.link.name, view.link.made_as);
            return Err(wrong(format!("{name:?} is {has:?}, not {:?}", config.kind)));
        }
        match config.mtu {
            Some(mtu) if mtu != view.link.mtu => {
                let msg = format!("{:?} has MTU {}, not {mtu}", view.link.name, view.link.mtu);
                return Err(wrong(msg));
            }
            _ => {}
        }
        let master = find_master(&mut master::host()?, &mut view.sandbox, &config)?;
        if config.shared {
            let owner = owner(&request.invocation.config.name, &request.attachment);
            return shared::check(&mut view, &master, &owner);
        }
        view.check_parent(&master)
    }

    fn gc(request: &GcRequest) -> Result<(), Error> {
        ipam::gc(request) // links go with their namespaces
    }

    fn status(request: &StatusRequest) -> Result<(), Error> {
        let config = VlanConfig::parse(&request.invocation)?;
        host::refuse_unable(Some(config.kind))?;
        if !config.link_in_container {
            master::refuse_unavailable(&mut master::host()?, Some(&config.master))?;
        }
        ipam::status(request)
    }
}

fn find_master(
    host: &mut Socket,
    sandbox: &mut Sandbox,
    config: &VlanConfig,
) -> Result<Link, Error> {
    let socket = if config.link_in_container {
        &mut sandbox.route
    } else {
        host
    };
    master::find(socket, Some(&config.master))
}
