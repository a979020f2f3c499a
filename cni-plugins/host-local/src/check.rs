//! CHECK: the addresses of prevResult are still reserved for this attachment.

use cni::{CheckRequest, Error};

use crate::reservations::Reservations;
use crate::{NOT_RESERVED, config};

/// Of prevResult, only addresses inside our ranges are ours to answer for: another IPAM plugin
/// of the list may have added some. Without prevResult any reservation will do.
pub(crate) fn check(request: &CheckRequest) -> Result<(), Error> {
    let pool = config::Pool::parse(&request.invocation)?;
    let prev_result = request.invocation.config.prev_result()?.unwrap_or_default();
    let store = config::store(&request.invocation)?;
    let id = &request.attachment.container_id;
    let missing = || {
        let msg = format!("host-local: Failed to find address added by container {id}");
        Error::new(NOT_RESERVED, msg)
    };
    let mut reservations = Reservations::lock_existing(&store)?.ok_or_else(missing)?;
    let reserved = reservations.of(&request.attachment)?;
    if reserved.is_empty() {
        return Err(missing());
    }
    let promised = prev_result.ips.iter().map(|ip| ip.address.addr());
    let mut ours = promised.filter(|address| pool.sets.iter().any(|set| set.contains(*address)));
    match ours.find(|address| !reserved.contains(address)) {
        Some(address) => Err(missing().details(format!("{address} is not reserved for it"))),
        None => Ok(()),
    }
}
