//! CNI `host-device`: moves a device of the host into a container, and back.
//!
//! One message moves it, renames it and writes its name of the host into its alias, where the
//! reference plugins look for it too. Everything else that has to come back (address, MTU, state)
//! is in a claim, a file of the host that is written before the move: so DEL and GC need neither
//! a namespace, nor a previous result, nor the configuration of ADD.

mod add; // the numbered story of ADD
mod check; // prevResult and claim against the container's link
mod claims; // which attachment has taken which device
mod config; // the configuration, refused or understood
mod del; // the device comes home, addresses are released
mod device; // the host's device that a configuration names
mod home; // bringing a device back, wherever it is
mod manual; // what --help and the man page say

use cni::{AddRequest, CheckRequest, Code, DelRequest, Error, GcRequest, StatusRequest};
use cni_plugin::{Claim, Plugin};
use interface::{ipam, master};

use crate::config::HostDeviceConfig;

/// The plugin.
pub struct HostDevice;

/// What a fuzz run asks of it: all that is read of a configuration before the host is looked at.
#[cfg(fuzzing)]
pub fn understand(request: &cni::AddRequest) -> Result<(), cni::Error> {
    config::HostDeviceConfig::parse(&request.invocation).map(drop)
}

impl Plugin for HostDevice {
    const NAME: &'static str = "host-device";
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
        // A device that the runtime chooses comes with ADD.
        if let Some(config) = HostDeviceConfig::parse_if_any(&request.invocation)? {
            device::find(&mut master::host()?, &config.wanted).map_err(|error| Error {
                code: Code::NOT_AVAILABLE,
                ..error
            })?;
        }
        ipam::status(request)
    }
}
