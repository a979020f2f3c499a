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

/// No server is asked sooner than this, whatever T1 it gave.
const SOONEST: Duration = Duration::from_secs(3);
/// The same where it gave none.
const SOONEST_BY_DEFAULT: Duration = Duration::from_secs(10);

impl Term {
    /// `seconds` from `since`; T1 and T2 as the server gave them if they make sense, else a half
    /// and seven eighths of it (RFC 2131 section 4.4.5). Of a very short lease three quarters
    /// pass: who is given a second again and again shall not do nothing but ask.
    pub(crate) fn new(
        since: Moment,
        seconds: u32,
        renew: Option<u32>,
        rebind: Option<u32>,
    ) -> Self {
        let of = |seconds: u32| Duration::from_secs(seconds.into());
        let whole = of(seconds);
        let latest = whole * 3 / 4;
        let rebind = rebind.filter(|rebind| *rebind > 0 && *rebind < seconds);
        let rebind = rebind.map_or(whole * 7 / 8, of).max(SOONEST.min(latest));
        let renew = renew
            .map(of)
            .filter(|renew| !renew.is_zero() && *renew <= rebind);
        let renew = match renew {
            Some(renew) => renew.max(SOONEST.min(latest)),
            None => (whole / 2).max(SOONEST_BY_DEFAULT.min(latest)),
        };
        Self {
            renew: since + renew.min(rebind),
            rebind: since + rebind,
            expire: since + whole,
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
        assert_eq!(seconds(Some(1), Some(2)), [3, 3, 80]);
        for (whole, renew) in [(1, 750), (8, 6000), (16, 10_000), (40, 20_000)] {
            let term = Term::new(since, whole, None, None);
            assert_eq!((term.renew - since).as_millis(), renew, "of {whole} s");
            assert!(term.renew < term.rebind && term.rebind < term.expire);
        }
        let none = Term::new(since, 0, None, None);
        assert_eq!(none.expire, since);
    }
}
