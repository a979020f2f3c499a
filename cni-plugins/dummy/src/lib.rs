//! CNI `dummy`: gives a container an interface that leads nowhere.
//!
//! Its addresses are there for programs that need one, whatever network there is. Nothing stays
//! on the host.

mod manual; // what --help and the man page say

use cni::{AddRequest, CheckRequest, DelRequest, Error, GcRequest, Invocation, StatusRequest};
use cni_plugin::{Claim, Plugin};
use interface::check::View;
use interface::link::Parents;
use interface::setup::{Detection, Setup};
use interface::{Sandbox, host, ipam, link, removal};
use netlink::stacked::{Kind, NewLink};

/// The plugin.
pub struct Dummy;

/// What a fuzz run asks of it: all that is read of a configuration before the host is looked at.
#[cfg(fuzzing)]
pub fn understand(request: &cni::AddRequest) -> Result<(), cni::Error> {
    refuse_without_ipam(&request.invocation)?;
    request.invocation.config.prev_result().map(drop)
}

impl Plugin for Dummy {
    const NAME: &'static str = "dummy";
    const ANSWERS_ITS_OWN: bool = true;
    const MANUAL: cni_plugin::Manual = manual::MANUAL;

    fn add(request: &AddRequest, claim: &mut Claim) -> Result<cni::Result, Error> {
        refuse_without_ipam(&request.invocation)?;
        ipam::refuse_unusable(request)?;
        let mut sandbox = Sandbox::open(&request.netns)?;
        let new = NewLink {
            name: request.attachment.ifname.as_str(),
            kind: Kind::Dummy,
            parent: None,
            netns: None,
            mac: None,
            mtu: None,
        };
        // Nobody else is on this link.
        let setup = Setup {
            detection: Detection::Off,
            announce: false,
        };
        let inside = Parents::Inside;
        link::attach(request, claim, &mut sandbox, inside, new, setup, None)
    }

    fn del(request: &DelRequest) -> Result<(), Error> {
        removal::del(request, "dummy")
    }

    fn check(request: &CheckRequest) -> Result<(), Error> {
        refuse_without_ipam(&request.invocation)?;
        ipam::check(request)?;
        View::open(request)?.check("dummy")
    }

    fn gc(request: &GcRequest) -> Result<(), Error> {
        ipam::gc(request) // links go with their namespaces
    }

    fn status(request: &StatusRequest) -> Result<(), Error> {
        refuse_without_ipam(&request.invocation)?;
        host::refuse_unable(Some(Kind::Dummy))?;
        ipam::status(request)
    }
}

/// A dummy without an address would do nothing at all.
fn refuse_without_ipam(invocation: &Invocation) -> Result<(), Error> {
    match invocation.config.ipam_type()? {
        Some(_) => Ok(()),
        None => {
            let msg = "dummy interface requires an IPAM configuration";
            Err(Error::config(msg).details("ipam.type"))
        }
    }
}
