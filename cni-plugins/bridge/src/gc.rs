//! GC: what the host has of this network and no valid attachment owns.
//!
//! Ports are known by their alias, rules by their comments, addresses by the IPAM plugin. The
//! bridge itself is shared with whoever else uses it, and stays.

use cni::{Error, GcRequest};
use firewall::{masquerade, spoofing};
use interface::Grace;
use interface::removal::first_error;
use interface::{in_firewall, ipam, pair};

use crate::del::remove_unused_gateway;

/// Frees what is stale; without a list nothing is known to be.
pub(crate) fn gc(request: &GcRequest) -> Result<(), Error> {
    let network = &request.invocation.config.name;
    let Some(valid) = &request.valid else {
        return Ok(());
    };
    let tokens = pair::tokens(network, valid);
    let grace = Grace::of(request)?;
    let stays = |token: &str| !grace.frees(&tokens, token);
    // As with DEL: no address is released while a link may still have it.
    let ports = pair::sweep(network, stays);
    let released = if ports.is_ok() {
        ipam::gc(request)
    } else {
        Ok(())
    };
    first_error([
        ports,
        released,
        in_firewall(spoofing::sweep(network.as_str(), stays), || {
            "sweep macspoofchk".into()
        }),
        in_firewall(masquerade::sweep(&grace.living(valid)), || {
            "sweep ipMasq".into()
        }),
        remove_unused_gateway(&request.invocation),
    ])
}
