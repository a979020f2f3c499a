//! GC: rules of this network that no valid attachment owns, known by their comments.

use cni::{Error, GcRequest};
use firewall::{Owner, Stamp};

use crate::del::remove;
use crate::iptables::{is_own, stamp_of};

/// Frees what is stale; without a list nothing is known to be.
pub(crate) fn gc(request: &GcRequest) -> Result<(), Error> {
    let network = &request.invocation.config.name;
    let Some(valid) = &request.valid else {
        return Ok(());
    };
    let token = |(container, ifname): (&str, &str)| {
        let owner = Owner {
            network: network.to_string(),
            container: container.into(),
            ifname: ifname.into(),
        };
        owner.token()
    };
    let tokens: Vec<_> = valid.iter().map(token).collect();
    let is_stale = |stamp: Option<Stamp>| {
        stamp.is_some_and(|s| s.is_of_network(network.as_str()) && !tokens.contains(&s.token))
    };
    remove(
        |comment| is_stale(Stamp::parse(comment)),
        is_own,
        |saved, chain| is_stale(stamp_of(saved, chain)),
    )
}
