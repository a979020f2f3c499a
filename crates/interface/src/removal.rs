//! DEL: steps that do not depend on each other, with one exception.
//!
//! Every step is tried, whatever became of the others, so nothing of ours stays because something
//! else was in the way; the first error is told. Only addresses are released after the link: who
//! got one that is still configured would share it.

use cni::{DelRequest, Error};
use netlink::Link;

use crate::sandbox::{Found, Sandbox};
use crate::{Owner, ipam, on_host, owner};

/// What is known about the container's link after trying to delete it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It does not exist, any more or ever.
    Gone,
    /// Nothing was found, which need not mean that nothing is there.
    Nothing,
}

/// DEL of a plugin that makes one link inside the container, of kind `kind`, and nothing else.
pub fn del(request: &DelRequest, kind: &str) -> Result<(), Error> {
    let owner = owner(&request.invocation.config.name, &request.attachment);
    let released_first = is_released_first(request)?;
    let early = if released_first {
        ipam::release(request)
    } else {
        Ok(())
    };
    let link = delete_link(request, |link| is_ours(link, kind, &owner)).map(drop);
    let late = if link.is_ok() && !released_first {
        ipam::release(request)
    } else {
        Ok(())
    };
    first_error([link, early, late])
}

/// The server of a DHCP lease must hear from the interface that it is over; and it does not give
/// an address to somebody else at once.
pub fn is_released_first(request: &DelRequest) -> Result<bool, Error> {
    Ok(request.invocation.config.ipam_type()?.as_deref() == Some("dhcp"))
}

/// Whether a link was made by us, or by a plugin that writes no owner on its links: the
/// reference, or one of ours that was killed before it could. Others' links are never deleted.
pub fn is_ours(link: &Link, kind: &str, owner: &Owner) -> bool {
    let is_kind = link.kind.as_deref() == Some(kind);
    let unmarked = link.alias.as_deref().unwrap_or_default().is_empty();
    is_kind && (unmarked || link.alias.as_ref() == Some(&owner.comment()))
}

/// Deletes the interface inside the namespace if it is there and ours.
pub fn delete_link(request: &DelRequest, is_ours: impl Fn(&Link) -> bool) -> Result<Seen, Error> {
    let mut sandbox = match Sandbox::find(request.netns.as_deref())? {
        Found::Unnamed => return Ok(Seen::Nothing),
        Found::Gone => return Ok(Seen::Gone),
        Found::Here(sandbox) => sandbox,
    };
    let ifname = request.attachment.ifname.as_str();
    if let Some(link) = sandbox.link(ifname)?.filter(is_ours) {
        on_host(sandbox.route.delete_link(link.index), || {
            format!("delete {ifname:?} in {:?}", sandbox.path)
        })?;
    }
    Ok(Seen::Gone)
}

/// The first error, with the others' texts among its details.
pub fn first_error(steps: impl IntoIterator<Item = Result<(), Error>>) -> Result<(), Error> {
    let mut errors = steps.into_iter().filter_map(Result::err);
    let Some(mut first) = errors.next() else {
        return Ok(());
    };
    for other in errors {
        first.details = format!("{}; also: {other}", first.details);
    }
    Err(first)
}
