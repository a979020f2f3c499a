//! GC: releases what belongs to no valid attachment.

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
    let mut stale: Vec<IpAddr> = Vec::new();
    for address in reservations.addresses()? {
        if !is_valid(reservations.owner(address)?.as_ref(), valid) {
            stale.push(address);
        }
    }
    release_all(&mut reservations, stale)
}

/// A file without an interface belongs to every interface of its container.
fn is_valid(owner: Option<&Owner>, valid: &ValidAttachments) -> bool {
    match owner {
        Some(Owner {
            container_id,
            ifname: Some(ifname),
        }) => valid.contains(container_id, ifname),
        Some(Owner {
            container_id,
            ifname: None,
        }) => valid.contains_container(container_id),
        None => false,
    }
}
