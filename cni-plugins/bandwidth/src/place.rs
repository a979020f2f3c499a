//! [`Place`]: the link that is shaped, and in which namespace it is.

use cni::{Attempt, Code, Error};
use interface::check::wrong;
use interface::{Owner, Sandbox, on_host};
use netlink::{Bucket, Link, Socket};
use owner::legacy_chain;
use sys::NetNs;

use crate::config::{Limit, Limits};

/// The longest name of a link, without its NUL.
const LINK_NAME: usize = 15;
const PREFIX: &str = "bwp";

/// Where a container's traffic is shaped.
pub(crate) struct Place {
    pub(crate) socket: Socket,
    pub(crate) link: Link,
    side: Side,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Side {
    /// The host's end of a veth pair: it sends what the container receives.
    Host,
    /// The interface itself, in the namespace at this path.
    Container(String),
}

impl Place {
    /// The place for the interface `ifname`; none if there is no such interface.
    pub(crate) fn find(mut sandbox: Sandbox, ifname: &str) -> Result<Option<Self>, Error> {
        let Some(inside) = sandbox.link(ifname)? else {
            return Ok(None);
        };
        let what = || format!("find the other end of {ifname:?}");
        let own = NetNs::current().attempt(Code::PLUGIN, what)?;
        let own = on_host(sandbox.route.namespace_number(&own), what)?;
        let is_ours = own.is_some() && inside.peer_netns == own;
        if let Some(index) = inside.peer.filter(|_| is_ours)
            && inside.kind.as_deref() == Some("veth")
        {
            let mut socket = on_host(Socket::route(), what)?;
            let link = on_host(socket.link_by_index(index), what)?;
            let link = link.ok_or_else(|| interface::vanished(what()))?;
            return Ok(Some(Self {
                socket,
                link,
                side: Side::Host,
            }));
        }
        Ok(Some(Self {
            socket: sandbox.route,
            link: inside,
            side: Side::Container(sandbox.path),
        }))
    }

    /// As [`Self::find`], for those who need the interface.
    pub(crate) fn expect(netns: &str, ifname: &str) -> Result<Self, Error> {
        let place = Self::find(Sandbox::open(netns)?, ifname)?;
        place.ok_or_else(|| wrong(format!("interface {ifname:?} is missing in {netns:?}")))
    }

    /// The buckets for what the link sends, and for what arrives at it.
    pub(crate) fn buckets(&self, limits: &Limits) -> [Option<Bucket>; 2] {
        let bucket = |limit: Limit| limit.bucket(self.link.mtu);
        let [sent, arriving] = match self.side {
            Side::Host => [limits.ingress, limits.egress],
            Side::Container(_) => [limits.egress, limits.ingress],
        };
        [sent.map(bucket), arriving.map(bucket)]
    }

    /// The `sandbox` of a link beside ours, in the words of a result.
    pub(crate) fn sandbox(&self) -> String {
        match &self.side {
            Side::Host => String::new(),
            Side::Container(path) => path.clone(),
        }
    }

    /// Takes away all that limits this link.
    pub(crate) fn clear(&mut self, owner: &Owner) -> Result<(), Error> {
        let what = || format!("remove the limits of {:?}", self.link.name);
        let index = self.link.index;
        on_host(self.socket.remove_bucket(index), what)?;
        let targets = on_host(self.socket.redirections(index), what)?;
        for target in targets {
            // One whose ifb is gone says 0, and drops all that arrives.
            let ifb = match target {
                0 => None,
                target => on_host(self.socket.link_by_index(target), what)?,
            };
            if ifb.is_none_or(|ifb| names(owner).contains(&ifb.name)) {
                on_host(self.socket.remove_redirection(index), what)?;
            }
        }
        delete_ifbs(&mut self.socket, owner)
    }
}

/// The owner's ifb: its own name, with the interface in the hash, and the one that the reference
/// gives, which all interfaces of a container on a network share.
pub(crate) fn names(owner: &Owner) -> [String; 2] {
    [owner.chain(PREFIX), legacy_chain(PREFIX, owner)].map(|mut name| {
        name.truncate(LINK_NAME);
        name
    })
}

/// Deletes the owner's ifbs in the socket's namespace, but none that serves another's link.
pub(crate) fn delete_ifbs(socket: &mut Socket, owner: &Owner) -> Result<(), Error> {
    let [own, legacy] = names(owner);
    for name in [&own, &legacy] {
        let what = || format!("delete ifb {name:?}");
        let link = on_host(socket.link(name), what)?;
        let Some(link) = link.filter(|link| may_delete(link, owner)) else {
            continue;
        };
        if *name == own || on_host(is_unused(socket, link.index), what)? {
            on_host(socket.delete_link(link.index), what)?;
        }
    }
    Ok(())
}

/// Whether an ifb of the owner's name is the owner's: it says so, or nothing, as the reference's
/// and those of an ADD that was killed.
pub(crate) fn may_delete(link: &Link, owner: &Owner) -> bool {
    let alias = link.alias.as_deref().unwrap_or_default();
    link.kind.as_deref() == Some("ifb") && (alias.is_empty() || alias == owner.comment())
}

fn is_unused(socket: &mut Socket, ifb: u32) -> netlink::Result<bool> {
    for link in socket.links_with_ingress()? {
        if socket.redirections(link)?.contains(&ifb) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_s_name_is_the_published_one_and_ours_knows_the_interface() {
        let owner = Owner::new("test", "1234", "eth0");
        let [own, legacy] = names(&owner);
        assert_eq!(legacy, "bwp2bbe0c48b91a");
        assert_eq!(own.len(), 15);
        let [other, same] = names(&Owner::new("test", "1234", "eth1"));
        assert!(other != own && same == legacy);
    }
}
