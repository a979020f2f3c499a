//! CNI `portmap`: forwards ports of the host to a container.
//!
//! A chained plugin: the addresses come from the previous result, which is passed on unchanged.
//! What exists afterwards are rules, and each names its owner (network, container id, interface),
//! so DEL needs no port mapping and GC no list of containers.

mod add; // refuse conflicts, install, forget stale UDP flows
mod check; // is every rule still there?
mod config; // the configuration, refused or understood
mod del; // remove what the owner has, by whichever back end
mod gc; // remove what no valid attachment owns
mod host; // what the host has now: published ports, listening sockets
mod iptables; // the rules as chains of the nat table
mod manual; // what --help and the man page say
mod nftables; // the rules as tables of our own
mod rules; // PURE: mappings to rules, for both back ends

use cni::{AddRequest, CheckRequest, DelRequest, Error, GcRequest, StatusRequest};
use cni_plugin::{Claim, Plugin};

/// The plugin.
pub struct Portmap;

/// What a fuzz run asks of it: all that is read of a configuration before the host is looked at.
#[cfg(fuzzing)]
pub fn understand(request: &cni::AddRequest) -> Result<(), cni::Error> {
    config::PortmapConfig::parse(&request.invocation.config)?;
    let Some(previous) = request.invocation.config.prev_result()? else {
        return Ok(());
    };
    drop(config::targets(
        &previous,
        request.attachment.ifname.as_str(),
    ));
    Ok(())
}

impl Plugin for Portmap {
    const NAME: &'static str = "portmap";
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
        Ok(())
    }
}

/// A listening socket, from sock_diag(7) or from procfs: for fuzz targets.
#[cfg(fuzzing)]
pub fn understand_socket(bytes: &[u8]) {
    host::understand(bytes);
}
