//! CNI `dhcp`: leases addresses from the DHCP server of a network, and keeps them.
//!
//! The plugin asks a daemon (`dhcp daemon`), which talks to the servers, extends the leases and
//! gives them back. It is one loop over sockets; leases survive it in files ([`leases`]).
//!
//! Codes beside the specification's: [`NO_LEASE`], [`CHANGED`], [`REFUSED`], [`LINK`], [`FOREIGN`].

mod add; // ask the daemon for leases
mod check; // the daemon still keeps what prevResult says
mod config; // the plugin's keys
mod connection; // the plugin's end of the socket
pub mod daemon; // `dhcp daemon`
mod del; // give leases back, or note it for the next daemon
mod domain; // PURE: domain names of both families
mod exchange; // PURE: what both families' conversations have in common
#[cfg(fuzzing)]
pub mod fuzzing; // a door for a fuzz target
mod gc; // give back what no valid attachment owns
mod lease; // PURE: an address for a time, and what came with it
mod leases; // the files
mod manual; // what --help and the man page say
mod place; // namespace, link, and the host's way to its wire
mod protocol; // what plugin and daemon say to each other
mod result; // PURE: leases -> result
mod v4; // PURE: DHCPv4
mod v6; // PURE: DHCPv6

use std::process::ExitCode;

use cni::{AddRequest, CheckRequest, Code, DelRequest, Error, GcRequest, StatusRequest};
use cni_plugin::{Claim, Plugin};

/// CHECK: the daemon keeps no lease for this attachment (any more).
pub const NO_LEASE: Code = Code(100);
/// CHECK: the lease is for another address than prevResult says.
pub const CHANGED: Code = Code(101);
/// ADD: what the server gave cannot be used.
pub const REFUSED: Code = Code(102);
/// The container's interface is missing, or is of no use for DHCP.
pub const LINK: Code = Code(103);
/// Somebody else listens on the daemon's socket: another program, age or user.
pub const FOREIGN: Code = Code(104);

/// The `main` of both: `dhcp daemon ...`, and the plugin for everything else.
pub fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).peekable();
    // By hand, `davit-cni-plugins dhcp daemon`.
    let _ = words.next_if(|word| word == Dhcp::NAME);
    if words.next().as_deref() != Some("daemon") {
        return cni_plugin::plugin_main::<Dhcp>();
    }
    daemon::run(words, &mut std::io::stderr())
}

/// The plugin.
#[derive(Debug)]
pub struct Dhcp;

/// What a fuzz run asks of it: all that is read of a configuration before the host is looked at.
#[cfg(fuzzing)]
pub fn understand(request: &cni::AddRequest) -> Result<(), cni::Error> {
    config::Config::parse(&request.invocation).map(drop)
}

impl Plugin for Dhcp {
    const NAME: &'static str = "dhcp";
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
        let socket = config::socket(&request.invocation)?;
        let asked = connection::ask(&socket, protocol::Operation::Status, connection::SHORT);
        asked.map(drop).map_err(|error| Error {
            code: Code::NOT_AVAILABLE,
            ..error
        })
    }
}
