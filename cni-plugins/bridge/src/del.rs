//! DEL: steps that do not depend on each other, with one exception.
//!
//! Every step is tried, whatever became of the others, so nothing of ours stays because something
//! else was in the way; the first error is told. Only addresses are released after the link: who
//! got one that is still configured would share it. Each step is content when there is nothing to
//! do: no namespace, a path that is none any more, no interface, no previous result, DEL twice.

use cni::{DelRequest, Error, Invocation};
use firewall::{masquerade, spoofing};
use interface::removal::{first_error, is_released_first};
use interface::{in_firewall, ipam, owner, pair};

use crate::config::BridgeConfig;
use crate::vlan_gateway::VlanGateway;

/// Detaches the container.
pub(crate) fn del(request: &DelRequest) -> Result<(), Error> {
    let owner = owner(&request.invocation.config.name, &request.attachment);
    let is_released_first = is_released_first(request);
    let early = if is_released_first {
        ipam::release(request)
    } else {
        Ok(())
    };
    // The kernel frees the pair while we do the rest, which it takes longer for than we do.
    let (pair, [late, guard, masquerade]) = pair::delete_then(request, &owner, |is_gone| {
        let late = if is_gone && !is_released_first {
            ipam::release(request)
        } else {
            Ok(())
        };
        // Not before the link: nobody may send with another's Ethernet address in between.
        let guard = in_firewall(spoofing::remove(&owner), || {
            "remove macspoofchk rules".into()
        });
        let masquerade = masquerade::remove(&owner);
        let masquerade = in_firewall(masquerade, || "remove ipMasq rules".into());
        [late, guard, masquerade]
    });
    let gateway = remove_unused_gateway(&request.invocation);
    first_error([early, pair, late, guard, masquerade, gateway])
}

/// The gateway of a VLAN goes with its last container. A configuration that is none any more does
/// not say whether there is one.
pub(crate) fn remove_unused_gateway(invocation: &Invocation) -> Result<(), Error> {
    let config = BridgeConfig::parse(invocation).ok();
    let gateway = config.as_ref().and_then(VlanGateway::of);
    gateway.map_or(Ok(()), |gateway| gateway.remove_unused())
}
