//! CNI `host-local`: hands out addresses from ranges kept on this host.
//!
//! One address from each range set, kept as files that the reference's plugin reads and writes
//! too ([`reservations`]). An ADD that is repeated for the same container and interface answers
//! with the same addresses: runtimes do that after a crash, and the container may still use them.
//!
//! Codes beside the specification's: [`NOT_RESERVED`], [`POOL_FULL`], [`TAKEN`].

mod add; // choose and reserve
mod check; // prevResult's addresses are still reserved
mod choose; // pure: in which order addresses are tried
mod config; // the plugin's keys, parsed into a pool
mod del; // release
mod gc; // release what no valid attachment owns
mod index; // finds an attachment without reading every file
mod manual; // what --help and the man page say
mod ranges; // pure: ranges, range sets and what is wrong with them
pub mod reservations; // the files, their format and their lock
mod resolv_conf; // resolv.conf(5) -> dns
mod status; // could an ADD be served?

use cni::{AddRequest, CheckRequest, Code, DelRequest, Error, GcRequest, StatusRequest};
use cni_plugin::{Claim, Plugin};

/// CHECK: an address of this attachment is not reserved for it.
pub const NOT_RESERVED: Code = Code(100);
/// ADD: every address of a range set is reserved.
pub const POOL_FULL: Code = Code(101);
/// ADD: the requested address is reserved for somebody else.
pub const TAKEN: Code = Code(102);

/// The plugin.
#[derive(Debug)]
pub struct HostLocal;

/// What a fuzz run asks of it: all that is read of a configuration before the host is looked at.
#[cfg(fuzzing)]
pub fn understand(request: &cni::AddRequest) -> Result<(), cni::Error> {
    config::Pool::parse(&request.invocation).map(drop)
}

impl Plugin for HostLocal {
    const NAME: &'static str = "host-local";
    const MANUAL: cni_plugin::Manual = manual::MANUAL;

    fn add(request: &AddRequest, claim: &mut Claim) -> Result<cni::Result, Error> {
        add::add(request, claim)
    }

    fn undo(request: &AddRequest, claim: &Claim) -> Result<(), Error> {
        add::undo(request, claim)
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
        status::status(request)
    }
}
