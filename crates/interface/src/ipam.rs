//! The IPAM plugin of a network, if it has one: the delegate calls that do nothing without.

use cni::{AddRequest, CheckRequest, DelRequest, Error, GcRequest, StatusRequest};
use cni_plugin::delegate;

use crate::assigned::Assigned;

/// Refuses a configuration whose IPAM plugin is not there, and one without addresses whose
/// result the configuration's version has no words for: both before anything is made.
pub fn refuse_unusable(request: &AddRequest) -> Result<(), Error> {
    let invocation = &request.invocation;
    match invocation.config.ipam_type()? {
        Some(ipam) => delegate::find(&ipam, &invocation.path).map(drop),
        None => cni::Result::default().expressible_in(invocation.config.cni_version),
    }
}

/// ADD; `None` without an IPAM plugin. `interface` is the index of the container's in the result.
pub fn ask(request: &AddRequest, interface: usize) -> Result<Option<Assigned>, Error> {
    let Some(ipam) = request.invocation.config.ipam_type()? else {
        return Ok(None);
    };
    Assigned::new(delegate::add(&ipam, request)?, interface).map(Some)
}

/// DEL.
pub fn release(request: &DelRequest) -> Result<(), Error> {
    match request.invocation.config.ipam_type()? {
        Some(ipam) => delegate::del(&ipam, request),
        None => Ok(()),
    }
}

/// CHECK.
pub fn check(request: &CheckRequest) -> Result<(), Error> {
    match request.invocation.config.ipam_type()? {
        Some(ipam) => delegate::check(&ipam, request),
        None => Ok(()),
    }
}

/// GC, with the same list; without one the delegate would free nothing.
pub fn gc(request: &GcRequest) -> Result<(), Error> {
    match request.invocation.config.ipam_type()? {
        Some(ipam) if request.valid.is_some() => delegate::gc(&ipam, request),
        _ => Ok(()),
    }
}

/// STATUS.
pub fn status(request: &StatusRequest) -> Result<(), Error> {
    match request.invocation.config.ipam_type()? {
        Some(ipam) => delegate::status(&ipam, request),
        None => Ok(()),
    }
}
