//! GC: releases what belongs to no valid attachment.

use std::collections::HashSet;
use std::net::IpAddr;

use cni::{Error, GcRequest, ValidAttachments};

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
    let read = reservations.entries()?;
    let valid_ones = read.iter().filter(|(owner, ..)| is_valid(owner, valid));
    let keep: HashSet<IpAddr> = valid_ones.map(|(_, address, _)| *address).collect();
    // Also what a crash left without an owner.
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
