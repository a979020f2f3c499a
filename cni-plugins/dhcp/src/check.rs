//! CHECK: the daemon keeps a lease, in a place that is still there, for the addresses of
//! prevResult. It never acquires one.

use cni::{CheckRequest, Code, Error};

use crate::protocol::{Operation, Reply};
use crate::{CHANGED, config, connection};

pub(crate) fn check(request: &CheckRequest) -> Result<(), Error> {
    let socket = config::socket(&request.invocation)?;
    let key = config::key(&request.invocation, &request.attachment);
    let reply = connection::ask(&socket, Operation::Check { key }, connection::SHORT)?;
    let Reply::Leased { leases, .. } = reply else {
        return Err(Error::new(
            Code::INTERNAL,
            "DHCP daemon answered something else",
        ));
    };
    let Some(previous) = request.invocation.config.prev_result()? else {
        return Ok(());
    };
    for lease in leases {
        // The main plugin may give the address another prefix length.
        let is_told = previous
            .ips
            .iter()
            .any(|ip| ip.address.addr() == lease.address.addr());
        if !is_told {
            let msg = format!(
                "{}: prevResult does not have the leased address {}",
                request.attachment, lease.address
            );
            return Err(
                Error::new(CHANGED, msg).details("the server gave another address since ADD")
            );
        }
    }
    Ok(())
}
