//! GC: the ifbs of this network that no valid attachment owns, known by their aliases.
//!
//! Buckets on veth pairs and what is inside a container vanish with these.

use cni::{Error, GcRequest};
use interface::{Owner, on_host};
use netlink::Socket;
use owner::Stamp;

/// Frees what is stale; without a list nothing is known to be.
pub(crate) fn gc(request: &GcRequest) -> Result<(), Error> {
    let network = request.invocation.config.name.as_str();
    let Some(valid) = &request.valid else {
        return Ok(());
    };
    let tokens: Vec<_> = valid
        .iter()
        .map(|(container, ifname)| Owner::new(network, container, ifname).token())
        .collect();
    let what = || "delete stale ifbs".to_owned();
    let mut host = on_host(Socket::route(), what)?;
    for link in on_host(host.links(), what)? {
        let stamp = link.alias.as_deref().and_then(Stamp::parse);
        let is_stale =
            |stamp: Stamp| stamp.is_of_network(network) && !tokens.contains(&stamp.token);
        if link.kind.as_deref() == Some("ifb") && stamp.is_some_and(is_stale) {
            on_host(release(&mut host, link.index), what)?;
        }
    }
    Ok(())
}

/// A redirection to an ifb that is gone would drop all that arrives.
fn release(host: &mut Socket, ifb: u32) -> netlink::Result<()> {
    for link in host.links_with_ingress()? {
        if host.redirections(link)?.contains(&ifb) {
            host.remove_redirection(link)?;
        }
    }
    host.delete_link(ifb).map(drop)
}
