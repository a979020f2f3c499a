//! CNI `sbr`: routes a container's packets by their source address.
//!
//! A chained plugin, for containers with several interfaces: what was sent to an address of one is
//! answered through that one. Each address gets a table of its own with the interface's routes,
//! and a rule that leads there.
//!
//! Rules have no comment, and one whose interface is gone stays where it is. So rules and moved
//! routes are written down (`record`) before they are made, and rules of ours have a protocol
//! number of their own.

mod add; // choose, write down, move
mod check; // are rule, table and main table as ADD left them?
mod config; // the configuration, refused or understood
mod del; // rules away, routes back
mod gc; // records that no valid attachment owns
mod manual; // what --help and the man page say
mod plan; // PURE: which rules, which routes from where to where
mod record; // what ADD made, on disk
mod status; // would ADD be refused whatever it asked for?

use cni::{AddRequest, CheckRequest, DelRequest, Error, GcRequest, StatusRequest};
use cni_plugin::{Claim, Plugin};

/// The plugin.
pub struct Sbr;

/// What a fuzz run asks of it: all that is read of a configuration before the host is looked at.
#[cfg(fuzzing)]
pub fn understand(request: &cni::AddRequest) -> Result<(), cni::Error> {
    let config = config::SbrConfig::parse(&request.invocation.config)?;
    let Some(previous) = request.invocation.config.prev_result()? else {
        return Ok(());
    };
    let sources = plan::sources(&previous, request.attachment.ifname.as_str(), &config);
    plan::Plan::new(&config, &sources, 1, &[], &[]).map(drop)
}

impl Plugin for Sbr {
    const NAME: &'static str = "sbr";
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
