//! CNI `firewall`: lets a container's traffic pass the host's packet filter, or not.
//!
//! A chained plugin: the addresses come from the previous result, which is passed on unchanged.
//! What an attachment gets is recorded before it is made, so that DEL and GC need neither a
//! previous result nor a list of containers.

mod add; // refuse, record, make the rules
mod check; // is everything still there?
mod config; // the configuration, refused or understood
mod del; // remove what the owner has, in every back end
mod firewalld; // sources of a zone, over D-Bus
mod gc; // remove what no valid attachment owns
mod iptables; // the rules in the filter table, by the host's own programs
mod manual; // what --help and the man page say
mod nftables; // the rules in a table of our own, and where iptables has its
mod record; // what attachments have, and which bridges they use
mod rules; // PURE: the rules, for both rule back ends
mod status; // would ADD fail?

use cni::{
    AddRequest, Attempt, CheckRequest, Code, DelRequest, Error, GcRequest, StatusRequest, Version,
};
use cni_plugin::{Claim, Plugin};

/// The plugin.
pub struct Firewall;

/// What a fuzz run asks of it: all that is read of a configuration before the host is looked at.
#[cfg(fuzzing)]
pub fn understand(request: &cni::AddRequest) -> Result<(), cni::Error> {
    config::FirewallConfig::parse(&request.invocation.config)?;
    let Some(previous) = request.invocation.config.prev_result()? else {
        return Ok(());
    };
    drop(config::addresses(
        &previous,
        request.attachment.ifname.as_str(),
    ));
    config::bridge(&previous, record::Policy::Isolated).map(drop)
}

impl Plugin for Firewall {
    const NAME: &'static str = "firewall";
    const VERSIONS: &'static [Version] = &[Version::V0_4_0, Version::V1_0_0, Version::V1_1_0];
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
        status::status(request)
    }
}

/// firewalld refused something: code 100, or 11 when it may work later.
fn in_firewalld<T>(result: dbus::Result<T>, what: impl FnOnce() -> String) -> Result<T, Error> {
    let late = matches!(&result, Err(error) if error.is_transient());
    result.attempt(if late { Code::TRY_AGAIN } else { Code::PLUGIN }, what)
}
