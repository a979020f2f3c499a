//! DEL: steps that do not depend on each other, with one exception.
//!
//! Every step is tried, whatever became of the others, so nothing of ours stays because something
//! else was in the way; the first error is told. Only addresses are released after the link: who
//! got one that is still configured would share it. Each step is content when there is nothing to
//! do: no namespace, a path that is none any more, no interface, no previous result, DEL twice.

use cni::{DelRequest, Error};
use firewall::{masquerade, spoofing};
use interface::removal::{first_error, is_released_first};
use interface::{in_firewall, ipam, owner, pair};

/// Detaches the container.
pub(crate) fn del(request: &DelRequest) -> Result<(), Error> {
    let owner = owner(&request.invocation.config.name, &request.attachment);
    let is_released_first = is_released_first(request)?;
    let early = if is_released_first {
        ipam::release(request)
    } else {
        Ok(())
    };
    let ends = pair::delete(request, &owner);
    let late = if !is_released_first && pair::is_gone(&ends) {
        ipam::release(request)
    } else {
        Ok(())
    };
    let [inside, outside] = ends.map(|end| end.map(drop));
    first_error([
        early,
        inside,
        outside,
        late,
        in_firewall(spoofing::remove(&owner), || {
            "remove macspoofchk rules".into()
        }),
        in_firewall(masquerade::remove(&owner), || "remove ipMasq rules".into()),
    ])
}
