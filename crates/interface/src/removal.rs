//! DEL: steps that do not depend on each other, with one exception.
//!
//! Every step is tried, whatever became of the others, so nothing of ours stays because something
//! else was in the way; the first error is told. Only addresses are released after the link: who
//! got one that is still configured would share it.

use cni::{DelRequest, Error};
use netlink::{Link, Socket};
use owner::Stamp;

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
    let released_first = is_released_first(request);
    let early = if released_first {
        ipam::release(request)
    } else {
        Ok(())
    };
    let is_ours = |link: &Link| is_ours(link, kind, &owner);
    let (link, late) = delete_link_then(request, is_ours, |seen| {
        if seen.is_some() && !released_first {
            ipam::release(request)
        } else {
            Ok(())
        }
    });
    first_error([link.map(drop), early, late])
}

/// The server of a DHCP lease must hear from the interface that it is over; and it does not give
/// an address to somebody else at once. What is wrong with `ipam` is [`ipam::release`]'s to tell:
/// it must not keep other steps from being tried.
pub fn is_released_first(request: &DelRequest) -> bool {
    let ipam = request.invocation.config.ipam_type();
    ipam.is_ok_and(|ipam| ipam.as_deref() == Some("dhcp"))
}

/// Whether a link under the interface's name is this owner's: of the kind that we make, and not
/// marked as another attachment's. No mark is the reference's, or was left by one of ours that was
/// killed; a mark that is none was made inside the container, whose links are its own to spoil.
pub fn is_ours(link: &Link, kind: &str, owner: &Owner) -> bool {
    let stamp = link.alias.as_deref().and_then(Stamp::parse);
    let is_kind = link.kind.as_deref() == Some(kind);
    is_kind && stamp.is_none_or(|stamp| stamp.token == owner.token())
}

/// Deletes the interface inside the namespace if it is there and ours, and runs `then` as soon as
/// that is known: `None` if it may still be there.
pub fn delete_link_then<T>(
    request: &DelRequest,
    is_ours: impl Fn(&Link) -> bool,
    then: impl FnOnce(Option<Seen>) -> T,
) -> (Result<Seen, Error>, T) {
    let mut sandbox = match Sandbox::find(request.netns.as_deref()) {
        Ok(Found::Unnamed) => return (Ok(Seen::Nothing), then(Some(Seen::Nothing))),
        Ok(Found::Gone) => return (Ok(Seen::Gone), then(Some(Seen::Gone))),
        Ok(Found::Here(sandbox)) => sandbox,
        Err(error) => return (Err(error), then(None)),
    };
    let ifname = request.attachment.ifname.as_str();
    let what = || format!("delete {ifname:?} in {:?}", request.netns);
    let marked = owner(&request.invocation.config.name, &request.attachment).comment();
    let found = sandbox.link(ifname).and_then(|link| {
        // The container may have given its link another name; then our mark tells.
        let link = match link.filter(is_ours) {
            Some(link) => Some(link),
            None => on_host(sandbox.route.links(), what)?
                .into_iter()
                .find(|link| link.alias.as_ref() == Some(&marked)),
        };
        let Some(link) = link else { return Ok(None) };
        let other = on_host(Socket::route_in(&sandbox.netns), what)?;
        Ok(Some((link.index, other)))
    });
    match found {
        Ok(None) => (Ok(Seen::Gone), then(Some(Seen::Gone))),
        Ok(Some((index, other))) => {
            let (deleted, answer) = sandbox
                .route
                .delete_link_then(other, index, |is_gone| then(is_gone.then_some(Seen::Gone)));
            (on_host(deleted, what).map(|_| Seen::Gone), answer)
        }
        Err(error) => (Err(error), then(None)),
    }
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
