//! DEL: whatever limits the interface, and the ifb by its names, which needs no namespace.

use cni::{DelRequest, Error};
use interface::removal::first_error;
use interface::sandbox::{Found, Sandbox};
use interface::{Owner, on_host, owner};
use netlink::Socket;

use crate::place::{Place, delete_ifbs};

/// Takes the limits away.
pub(crate) fn del(request: &DelRequest) -> Result<(), Error> {
    let owner = owner(&request.invocation.config.name, &request.attachment);
    first_error([clear(request, &owner), delete_on_host(&owner)])
}

fn clear(request: &DelRequest, owner: &Owner) -> Result<(), Error> {
    let Found::Here(sandbox) = Sandbox::find(request.netns.as_deref())? else {
        return Ok(());
    };
    match Place::find(*sandbox, request.attachment.ifname.as_str())? {
        Some(mut place) => place.clear(owner),
        None => Ok(()),
    }
}

fn delete_on_host(owner: &Owner) -> Result<(), Error> {
    let mut host = on_host(Socket::route(), || "open a route socket".into())?;
    delete_ifbs(&mut host, owner)
}
