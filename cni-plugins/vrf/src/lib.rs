//! CNI `vrf`: puts a container's interface into a VRF of the container's namespace.
//!
//! A chained plugin. Interfaces that name the same VRF share it: the first one makes it and the
//! last one takes it away. The kernel takes an interface down and up on its way into a VRF, which
//! costs it its IPv6 addresses and all routes that were not its own; they move with it (`member`).

mod add; // find or make the VRF, move the interface in
mod check; // is the interface in it, with all that it had?
mod config; // the configuration, refused or understood
mod del; // move the interface out, and the last one out closes the door
mod manual; // what --help and the man page say
mod member; // an interface on its way into or out of a VRF, with addresses and routes
mod status; // does this kernel have VRFs?

use cni::{AddRequest, CheckRequest, DelRequest, Error, GcRequest, StatusRequest, Version};
use cni_plugin::{Claim, Plugin};

/// The plugin.
pub struct Vrf;

/// What a fuzz run asks of it: all that is read of a configuration before the host is looked at.
#[cfg(fuzzing)]
pub fn understand(request: &cni::AddRequest) -> Result<(), cni::Error> {
    config::VrfConfig::parse(
        &request.invocation.config,
        request.attachment.ifname.as_str(),
    )
    .map(drop)
}

impl Plugin for Vrf {
    const NAME: &'static str = "vrf";
    /// Those of the reference.
    const VERSIONS: &'static [Version] = &[
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

    /// A VRF is in the container's namespace and goes with it.
    fn gc(_: &GcRequest) -> Result<(), Error> {
        Ok(())
    }

    fn status(_: &StatusRequest) -> Result<(), Error> {
        status::status()
    }
}
