//! DEL: steps that do not depend on each other, with one exception.
//!
//! Every step is tried, whatever became of the others, so nothing of ours stays because something
//! else was in the way; the first error is told. Only addresses are released after the link: who
//! got one that is still configured would share it. Each step is content when there is nothing to
//! do: no namespace, a path that is none any more, no interface, no previous result, DEL twice.

use cni::{Attempt, Code, DelRequest, Error};
use cni_plugin::delegate;
use firewall::{Owner, masquerade, spoofing};
use netlink::Socket;
use sys::{Errno, NetNs};

use crate::add::LINK_NAMES;
use crate::{in_firewall, on_host, owner};

/// Detaches the container.
pub(crate) fn del(request: &DelRequest) -> Result<(), Error> {
    let owner = owner(&request.invocation.config.name, &request.attachment);
    // Deleting one end of the pair deletes the other.
    let ends = [delete_link(request), delete_port(&owner)];
    let is_gone = ends.iter().flatten().any(|seen| *seen == Seen::Gone);
    let released = if is_gone || ends.iter().all(Result::is_ok) {
        release_addresses(request)
    } else {
        Ok(())
    };
    let [link, port] = ends.map(|end| end.map(drop));
    let steps = [
        link,
        port,
        released,
        in_firewall(spoofing::remove(&owner), || {
            "remove macspoofchk rules".into()
        }),
        in_firewall(masquerade::remove(&owner), || "remove ipMasq rules".into()),
    ];
    first_error(steps)
}

/// The first error, with the others' texts among its details.
pub(crate) fn first_error(steps: impl IntoIterator<Item = Result<(), Error>>) -> Result<(), Error> {
    let mut errors = steps.into_iter().filter_map(Result::err);
    let Some(mut first) = errors.next() else {
        return Ok(());
    };
    for other in errors {
        first.details = format!("{}; also: {other}", first.details);
    }
    Err(first)
}

/// What one end of the veth pair says about the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// It does not exist, any more or ever.
    Gone,
    /// Nothing was found, which need not mean that nothing is there.
    Nothing,
}

/// Deletes the interface inside the namespace, if both are still there.
fn delete_link(request: &DelRequest) -> Result<Seen, Error> {
    let Some(path) = &request.netns else {
        return Ok(Seen::Nothing);
    };
    let netns = match NetNs::open(path) {
        // Gone, or a file that was a namespace's mount: then the link is gone with it.
        Err(error) if matches!(error.errno(), Errno::ENOENT | Errno::EINVAL) => {
            return Ok(Seen::Gone);
        }
        opened => opened.attempt(Code::NETNS, || format!("open netns {path:?}"))?,
    };
    let ifname = request.attachment.ifname.as_str();
    let what = || format!("delete {ifname:?} in {path:?}");
    let mut inside = on_host(Socket::route_in(&netns), what)?;
    match on_host(inside.link(ifname), what)? {
        // We make nothing but veth; anything else of this name is somebody else's.
        Some(link) if link.kind.as_deref() == Some("veth") => {
            on_host(inside.delete_link(link.index), what)?;
        }
        _ => {}
    }
    Ok(Seen::Gone)
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

fn release_addresses(request: &DelRequest) -> Result<(), Error> {
    match request.invocation.config.ipam_type()? {
        Some(ipam) => delegate::del(&ipam, request),
        None => Ok(()),
    }
}
