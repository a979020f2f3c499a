//! CNI `bridge`: connects a container to a Linux bridge on the host.
//!
//! ADD reads `config`, claims the interface name by making the veth pair, asks the IPAM plugin,
//! lets `topology` decide (without looking at the host) and makes the host so. What it makes
//! names its owner: the host's end of the pair by its alias, rules by their comments. So DEL and
//! GC need neither a namespace nor a previous result.

mod add; // the numbered story of ADD
mod check; // prevResult and configuration against the host
mod config; // the configuration, refused or understood
mod del; // independent steps, each tolerating that there is nothing to do
mod gc; // what no valid attachment owns
mod manual; // what --help and the man page say
mod ports; // the VLANs of a port
mod topology; // PURE: configuration and IPAM result to addresses, routes, gateways
mod vlan_gateway; // the host's own foot in a VLAN

use cni::{AddRequest, CheckRequest, DelRequest, Error, GcRequest, StatusRequest};
use cni_plugin::{Claim, Plugin};
use interface::{host, ipam};

use crate::config::BridgeConfig;

/// The plugin.
pub struct Bridge;

/// What a fuzz run asks of it: all that is read of a configuration before the host is looked at.
#[cfg(fuzzing)]
pub fn understand(request: &cni::AddRequest) -> Result<(), cni::Error> {
    let config = config::BridgeConfig::parse(&request.invocation)?;
    let previous = request.invocation.config.prev_result()?;
    let assigned = interface::Assigned::new(previous.unwrap_or_default(), topology::CONTAINER)?;
    drop(topology::Topology::new(&config, assigned));
    Ok(())
}

impl Plugin for Bridge {
    const NAME: &'static str = "bridge";
    const ANSWERS_ITS_OWN: bool = true;
    const MANUAL: cni_plugin::Manual = manual::MANUAL;

    fn add(request: &AddRequest, claim: &mut Claim) -> Result<cni::Result, Error> {
        add::add(request, claim)
    }

    fn del(request: &DelRequest) -> Result<(), Error> {
        del::del(request)
    }

    fn check(request: &CheckRequest) -> Result<(), Error> {
        check::check(request)
    }

    fn gc(request: &GcRequest) -> Result<(), Error> {
        gc::gc(request)
    }

    fn status(request: &StatusRequest) -> Result<(), Error> {
        BridgeConfig::parse(&request.invocation)?;
        host::refuse_unable(None)?;
        ipam::status(request)
    }
}
