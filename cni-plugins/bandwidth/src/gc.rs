//! GC: the ifbs of this network that no valid attachment owns, known by their aliases.
//!
//! Buckets on veth pairs and what is inside a container vanish with these.

use cni::{Error, GcRequest};
use interface::Grace;
use interface::removal::first_error;
use interface::{Owner, on_host};
use netlink::{Link, Socket};
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
    let grace = Grace::of(request)?;
    let what = || "delete stale ifbs".to_owned();
    let mut host = on_host(Socket::route(), what)?;
    let is_stale = |link: &Link| {
        let stamp = link.alias.as_deref().and_then(Stamp::parse);
        link.kind.as_deref() == Some("ifb")
            && stamp.is_some_and(|s| s.is_of_network(network) && grace.frees(&tokens, &s.token))
    };
    let links = on_host(host.links(), what)?;
    let stale = links.into_iter().filter(is_stale);
    first_error(stale.map(|link| {
        let what = || format!("delete stale ifb {:?}", link.name);
        on_host(release(&mut host, link.index), what)
    }))
}

/// A redirection to an ifb that is gone would drop all that arrives, so the ifb stays as long as
/// one does.
fn release(host: &mut Socket, ifb: u32) -> netlink::Result<()> {
    let mut first = Ok(());
    for link in host.links_with_ingress()? {
        if host.redirections(link)?.contains(&ifb) {
            first = first.and(host.remove_redirection(link).map(drop));
        }
    }
    first?;
    host.delete_link(ifb).map(drop)
}
