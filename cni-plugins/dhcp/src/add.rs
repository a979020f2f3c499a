//! ADD: the daemon gets the leases, and keeps them from then on.

use std::time::Duration;

use cni::{AddRequest, Attempt, Code, Error};
use cni_plugin::Claim;
use sys::NetNs;

use crate::config::Config;
use crate::protocol::{Operation, Reply, Wish};
use crate::{config, connection, del, result};

/// For the daemon to say that it gave up, before we do.
const GRACE: Duration = Duration::from_secs(5);

pub(crate) fn add(request: &AddRequest, claim: &mut Claim) -> Result<cni::Result, Error> {
    let config = Config::parse(&request.invocation)?;
    NetNs::open(&request.netns).attempt(Code::NETNS, || {
        format!("failed to open netns {:?}", request.netns)
    })?;
    let key = config::key(&request.invocation, &request.attachment);
    let ticket = ticket()?;
    let wish = Wish {
        key: key.clone(),
        netns: request.netns.clone(),
        ipv4: config.ipv4,
        ipv6: config.ipv6,
        provide: config.provide,
        request: config.request,
        priority: config.priority,
    };
    let operation = Operation::Add {
        wish,
        ticket: ticket.clone(),
        patience: config.timeout.as_millis() as u64, // at most some minutes
    };
    let reply = connection::ask(&config.socket, operation, config.timeout + GRACE);
    match reply {
        Ok(Reply::Leased { leases, repeated }) => {
            if !repeated {
                claim.made();
            }
            Ok(result::result(&leases, config.priority))
        }
        Ok(_) => Err(Error::new(
            Code::INTERNAL,
            "DHCP daemon answered something else",
        )),
        Err(error) => {
            // Its reply may be on the way to nobody. Of this ADD alone: an earlier one may have
            // given its lease to a living container.
            let _ = del::release(&config.socket, &key, Some(&ticket));
            Err(error)
        }
    }
}

/// Nobody else's.
fn ticket() -> Result<String, Error> {
    let what = || "read /proc/sys/kernel/random/uuid".to_owned();
    let uuid = std::fs::read_to_string("/proc/sys/kernel/random/uuid").attempt(Code::IO, what)?;
    Ok(uuid.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_tickets_are_the_same() {
        assert_ne!(ticket().unwrap(), ticket().unwrap());
    }
}
