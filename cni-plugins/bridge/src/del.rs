//! DEL: steps that do not depend on each other, with one exception.
//!
//! Every step is tried, whatever became of the others, so nothing of ours stays because something
//! else was in the way; the first error is told. Only addresses are released after the link: who
//! got one that is still configured would share it. Each step is content when there is nothing to
//! do: no namespace, a path that is none any more, no interface, no previous result, DEL twice.

use cni::{DelRequest, Error};
use firewall::{masquerade, spoofing};
use interface::removal::{Seen, delete_link, first_error, is_ours, is_released_first};
use interface::{Owner, ipam, on_host, owner};
use netlink::Socket;

use crate::add::LINK_NAMES;
use crate::in_firewall;

/// Detaches the container.
pub(crate) fn del(request: &DelRequest) -> Result<(), Error> {
    let owner = owner(&request.invocation.config.name, &request.attachment);
    let is_released_first = is_released_first(request)?;
    let early = if is_released_first {
        ipam::release(request)
    } else {
        Ok(())
    };
    // Deleting one end of the pair deletes the other.
    let ends = [
        delete_link(request, |link| is_ours(link, "veth", &owner)),
        delete_port(&owner),
    ];
    let is_gone = ends.iter().flatten().any(|seen| *seen == Seen::Gone);
    let late = if !is_released_first && (is_gone || ends.iter().all(Result::is_ok)) {
        ipam::release(request)
    } else {
        Ok(())
    };
    let [link, port] = ends.map(|end| end.map(drop));
    let steps = [
        early,
        link,
        port,
        late,
        in_firewall(spoofing::remove(&owner), || {
            "remove macspoofchk rules".into()
        }),
        in_firewall(masquerade::remove(&owner), || "remove ipMasq rules".into()),
    ];
    first_error(steps)
}

/// Deletes the host's end by its name and alias, which needs no namespace.
fn delete_port(owner: &Owner) -> Result<Seen, Error> {
    let what = || "delete the host's end of the veth pair".to_owned();
    let mut host = on_host(Socket::route(), what)?;
    let mut seen = Seen::Nothing;
    for attempt in 0..LINK_NAMES {
        let link = on_host(host.link(&owner.link(attempt)), what)?;
        if let Some(link) = link.filter(|link| link.alias.as_ref() == Some(&owner.comment())) {
            on_host(host.delete_link(link.index), what)?;
            seen = Seen::Gone;
        }
    }
    Ok(seen)
}
