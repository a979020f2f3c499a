//! CNI `bandwidth`: limits how fast a container sends and receives.
//!
//! A chained plugin. A link shapes only what it sends, so one direction is a token bucket on the
//! link itself and the other a token bucket on an ifb, to which all that arrives is redirected.
//! Behind a veth pair both are on the host, out of the container's reach. Any other interface is
//! shaped where it is, inside the container.
//!
//! The ifb carries its owner as its alias and the bucket has a handle of its own, so that DEL and
//! GC need neither a previous result nor the limits.

mod add; // shape, and report the ifb
mod check; // is every bucket there, at its rate?
mod config; // the limits, refused or understood
mod del; // whatever is ours, on either side
mod gc; // ifbs that no valid attachment owns
mod manual; // what --help and the man page say
mod place; // which link is shaped, in which namespace
mod status; // can this kernel do it?

use cni::{AddRequest, CheckRequest, DelRequest, Error, GcRequest, StatusRequest, Version};
use cni_plugin::{Claim, Plugin};

/// The plugin.
pub struct Bandwidth;

/// What a fuzz run asks of it: all that is read of a configuration before the host is looked at.
#[cfg(fuzzing)]
pub fn understand(request: &cni::AddRequest) -> Result<(), cni::Error> {
    config::Limits::parse(&request.invocation.config).map(drop)
}

impl Plugin for Bandwidth {
    const NAME: &'static str = "bandwidth";
    /// The result has interfaces, which came with 0.3.0.
    const VERSIONS: &'static [Version] = &[
        Version::V0_3_0,
        Version::V0_3_1,
        Version::V0_4_0,
        Version::V1_0_0,
        Version::V1_1_0,
    ];
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

    fn status(_: &StatusRequest) -> Result<(), Error> {
        status::status()
    }
}
