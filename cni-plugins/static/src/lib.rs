//! CNI `static`: assigns the addresses that the configuration or the runtime names.
//!
//! It chooses nothing. With `ipam.unique` it remembers who has which address ([`record`]) and
//! refuses one that somebody else of the same network has; without, it keeps nothing at all.
//!
//! Codes beside the specification's: [`MISSING`], [`TAKEN`].

mod add; // the result, and the records
mod check; // prevResult still has the addresses
mod config; // the plugin's keys, parsed
mod manual; // what --help and the man page say
mod record; // who has which address
mod release; // DEL and GC
mod status; // could an ADD be served?

use cni::{AddRequest, CheckRequest, Code, DelRequest, Error, GcRequest, StatusRequest};
use cni_plugin::{Claim, Plugin};

/// CHECK: an address or its gateway is not what was assigned.
pub const MISSING: Code = Code(100);
/// ADD: somebody else of this network has the address.
pub const TAKEN: Code = Code(102);

/// The plugin.
#[derive(Debug)]
pub struct Static;

/// What a fuzz run asks of it: all that is read of a configuration before the host is looked at.
#[cfg(fuzzing)]
pub fn understand(request: &cni::AddRequest) -> Result<(), cni::Error> {
    config::Store::parse(&request.invocation)?;
    config::Addresses::parse(&request.invocation).map(drop)
}

impl Plugin for Static {
    const NAME: &'static str = "static";
    const MANUAL: cni_plugin::Manual = manual::MANUAL;

    fn add(request: &AddRequest, claim: &mut Claim) -> Result<cni::Result, Error> {
        add::add(request, claim)
    }

    fn del(request: &DelRequest) -> Result<(), Error> {
        release::del(request)
    }

    fn check(request: &CheckRequest) -> Result<(), Error> {
        check::check(request)
    }

    fn gc(request: &GcRequest) -> Result<(), Error> {
        release::gc(request)
    }

    fn status(request: &StatusRequest) -> Result<(), Error> {
        status::status(request)
    }
}
