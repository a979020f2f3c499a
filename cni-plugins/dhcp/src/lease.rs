//! [`Lease`]: an address that a server lends for a time, and what it said beside it. Pure.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A moment: the time since this boot ([`sys::clock::since_boot`]), so that leases go on through a
/// restart of the daemon, and through sleep and changes of the calendar.
pub(crate) type Moment = Duration;

/// A lease of either family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lease {
    pub(crate) address: IpNet,
    pub(crate) server: Server,
    /// When the request for it was sent.
    pub(crate) since: Moment,
    /// `None`: for ever.
    pub(crate) term: Option<Term>,
    pub(crate) terms: Terms,
}

/// Who lent it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Server {
    /// DHCPv4: its address. DHCPv6: its DUID.
    pub(crate) id: Vec<u8>,
    /// Ethernet address of the server, or of the relay on the way to it; DHCPv4 only.
    pub(crate) mac: [u8; 6],
}

/// The moments at which something is to be done about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Term {
    /// T1: the server that lent it is asked to extend it.
    pub(crate) renew: Moment,
    /// T2: any server is asked.
    pub(crate) rebind: Moment,
    /// The address may not be used any more.
    pub(crate) expire: Moment,
}

/// What the server says about the network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Terms {
    pub(crate) gateway: Option<IpAddr>,
    /// Destination and next hop; none means that it is on the link.
    pub(crate) routes: Vec<(IpNet, Option<IpAddr>)>,
    pub(crate) mtu: Option<u16>,
    pub(crate) nameservers: Vec<IpAddr>,
    pub(crate) domain: String,
    pub(crate) search: Vec<String>,
    /// A result has no word for them; they are here for who reads the file.
    pub(crate) time_servers: Vec<IpAddr>,
}

impl Term {
    /// `seconds` from `since`; T1 and T2 as the server gave them if they make sense, else a half
    /// and seven eighths of it (RFC 2131 section 4.4.5).
    pub(crate) fn new(
        since: Moment,
        seconds: u32,
        renew: Option<u32>,
        rebind: Option<u32>,
    ) -> Self {
        let rebind = rebind.filter(|rebind| *rebind > 0 && *rebind < seconds);
        let rebind = rebind.unwrap_or(seconds - seconds / 8);
        let renew = renew.filter(|renew| *renew > 0 && *renew <= rebind);
        let renew = renew.unwrap_or((seconds / 2).min(rebind));
        let at = |seconds: u32| since + Duration::from_secs(seconds.into());
        Self {
            renew: at(renew),
            rebind: at(rebind),
            expire: at(seconds),
        }
    }
}

impl Lease {
    pub(crate) fn has_expired(&self, now: Moment) -> bool {
        self.term.is_some_and(|term| term.expire <= now)
    }

    /// Whether an interface that was set up for `other` is right for this one too.
    pub(crate) fn configures_as(&self, other: &Self) -> bool {
        self.address == other.address
            && self.terms.routes == other.terms.routes
            && self.terms.mtu == other.terms.mtu
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_without_sense_are_replaced() {
        let since = Duration::from_secs(1000);
        let seconds = |renew, rebind| {
            let term = Term::new(since, 80, renew, rebind);
            [term.renew, term.rebind, term.expire].map(|at| (at - since).as_secs())
        };
        assert_eq!(seconds(None, None), [40, 70, 80]);
        assert_eq!(seconds(Some(5), Some(10)), [5, 10, 80]);
        assert_eq!(seconds(Some(20), Some(10)), [10, 10, 80]);
        assert_eq!(seconds(Some(0), Some(0)), [40, 70, 80]);
        assert_eq!(seconds(Some(90), Some(100)), [40, 70, 80]);
        let none = Term::new(since, 0, None, None);
        assert_eq!(none.expire, since);
    }
}
