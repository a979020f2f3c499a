//! GC: releases what belongs to no valid attachment.

use std::collections::HashSet;
use std::net::IpAddr;

use cni::{Error, GcRequest, ValidAttachments};
use interface::Grace;

use crate::config;
use crate::del::release_all;
use crate::reservations::{Owner, Reservations};

/// No list means that the caller does not know, and then everything stays.
pub(crate) fn gc(request: &GcRequest) -> Result<(), Error> {
    let Some(valid) = &request.valid else {
        return Ok(());
    };
    let store = config::store(&request.invocation)?;
    let Some(mut reservations) = Reservations::lock_existing(&store)? else {
        return Ok(());
    };
    let grace = Grace::of(request)?;
    // Where the interface is not known, the container is judged.
    let is_over = |owner: &Owner| {
        grace.is_over_for(
            &owner.container_id,
            owner.ifname.as_deref().unwrap_or_default(),
        )
    };
    let stays = |owner: &Owner| is_valid(owner, valid) || !is_over(owner);
    let read = reservations.entries()?;
    let staying = read.iter().filter(|(owner, ..)| stays(owner));
    let keep: HashSet<IpAddr> = staying.map(|(_, address, _)| *address).collect();
    // Also what a crash left without an owner: the lock is ours, so nobody is writing it.
    let mut stale = reservations.addresses()?;
    stale.retain(|address| !keep.contains(address));
    release_all(&mut reservations, stale)
}

/// A file without an interface belongs to every interface of its container.
fn is_valid(owner: &Owner, valid: &ValidAttachments) -> bool {
    match &owner.ifname {
        Some(ifname) => valid.contains(&owner.container_id, ifname),
        None => valid.contains_container(&owner.container_id),
    }
}
