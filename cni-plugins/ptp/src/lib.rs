//! CNI `ptp`: connects a container to the host by a link of its own.
//!
//! A veth pair without a bridge: the host's end has the gateway's address and a route to the
//! container's, and the container reaches everything, its own subnet too, through the gateway.
//! The host's end names its owner by its alias, rules by their comments.

mod add; // the numbered story of ADD
mod check; // prevResult and configuration against the host
mod config; // the configuration, refused or understood
mod del; // independent steps, and GC
mod manual; // what --help and the man page say
mod plan; // PURE: the IPAM result as addresses and routes of both ends

use cni::{AddRequest, CheckRequest, DelRequest, Error, GcRequest, StatusRequest};
use cni_plugin::{Claim, Plugin};
use interface::{host, ipam};

use crate::config::PtpConfig;

/// The plugin.
pub struct Ptp;

/// What a fuzz run asks of it: all that is read of a configuration before the host is looked at.
#[cfg(fuzzing)]
pub fn understand(request: &cni::AddRequest) -> Result<(), cni::Error> {
    config::PtpConfig::parse(&request.invocation)?;
    let previous = request.invocation.config.prev_result()?;
    let plan = plan::Plan::new(interface::Assigned::new(previous.unwrap_or_default(), 1)?)?;
    drop((plan.inner_routes(1), plan.outer_routes(2)));
    Ok(())
}

impl Plugin for Ptp {
    const NAME: &'static str = "ptp";
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
        del::gc(request)
    }

    fn status(request: &StatusRequest) -> Result<(), Error> {
        PtpConfig::parse(&request.invocation)?;
        host::refuse_unable(None)?;
        ipam::status(request)
    }
}
