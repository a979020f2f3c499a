//! A veth pair between the container and the host, whose host end can be found again without the
//! container: its name follows from the owner, and its alias names the owner.

use cni::{Code, DelRequest, Error, NetworkName, ValidAttachments};
use netlink::link::Veth;
use netlink::{Link, Mac, Socket};
use owner::Stamp;
use sys::{Errno, NetNs};

use crate::removal::{Seen, delete_link_then, first_error, is_ours};
use crate::sandbox::Sandbox;
use crate::{Owner, on_host};

/// How many names for the host's end are tried before giving up: any link may have one already.
pub const NAMES: u32 = 10;

/// A pair to be.
pub struct Pair<'a> {
    /// Whose it is.
    pub owner: &'a Owner,
    /// Name of the container's end.
    pub ifname: &'a str,
    /// Where the host's end goes.
    pub host_netns: &'a NetNs,
    /// Of the container's end.
    pub mac: Option<Mac>,
    /// Of both ends.
    pub mtu: Option<u32>,
}

impl Pair<'_> {
    /// Makes the pair and answers the name of the host's end.
    ///
    /// The kernel refuses a second link of the container's name: this is the claim.
    pub fn create(&self, sandbox: &mut Sandbox) -> Result<String, Error> {
        let ifname = self.ifname;
        let what = format!("create {ifname:?} in {:?}", sandbox.path);
        for attempt in 0..NAMES {
            let peer = self.owner.link(attempt);
            let veth = Veth {
                name: ifname,
                mac: self.mac,
                mtu: self.mtu,
                peer: &peer,
                peer_netns: self.host_netns,
            };
            match sandbox.route.create_veth(&veth) {
                Err(error) if error.errno() == Some(Errno::EEXIST) => {
                    if sandbox.link(ifname)?.is_some() {
                        let msg = format!("container veth name ({ifname:?}) already exists");
                        return Err(Error::new(Code::PLUGIN, msg).details(&sandbox.path));
                    }
                }
                made => return on_host(made, || what).map(|()| peer),
            }
        }
        Err(Error::new(Code::TRY_AGAIN, what).details("all names for the host's end are taken"))
    }
}

/// Deletes the pair, by the end on the host and by the one in the container. Either deletes both,
/// and only one of them may be in reach. `then` runs as soon as it is known whether the pair is
/// gone: while it may exist, its addresses must not be given to somebody else.
pub fn delete_then<T>(
    request: &DelRequest,
    owner: &Owner,
    then: impl FnOnce(bool) -> T,
) -> (Result<(), Error>, T) {
    let is_ours = |link: &Link| is_ours(link, "veth", owner);
    let (outside, (inside, answer)) = delete_host_end_then(owner, |outside| {
        delete_link_then(request, is_ours, |inside| {
            let ends = [outside, inside];
            then(ends.contains(&Some(Seen::Gone)) || !ends.contains(&None))
        })
    });
    let ends = [inside, outside].map(|end| end.map(drop));
    (first_error(ends), answer)
}

/// Deletes the host's end by its name and alias, which needs no namespace.
fn delete_host_end_then<T>(
    owner: &Owner,
    then: impl FnOnce(Option<Seen>) -> T,
) -> (Result<Seen, Error>, T) {
    let what = || "delete the host's end of the veth pair".to_owned();
    let found = on_host(find_host_end(owner), what);
    match found {
        Ok(None) => (Ok(Seen::Nothing), then(Some(Seen::Nothing))),
        Ok(Some((mut host, other, index))) => {
            let (deleted, answer) =
                host.delete_link_then(other, index, |is_gone| then(is_gone.then_some(Seen::Gone)));
            (on_host(deleted, what).map(|_| Seen::Gone), answer)
        }
        Err(error) => (Err(error), then(None)),
    }
}

/// The host's end and two sockets to delete it with.
fn find_host_end(owner: &Owner) -> Result<Option<(Socket, Socket, u32)>, netlink::Error> {
    let mut host = Socket::route()?;
    for attempt in 0..NAMES {
        let link = host.link(&owner.link(attempt))?;
        if let Some(link) = link.filter(|link| is_host_end(link, owner)) {
            return Ok(Some((host, Socket::route()?, link.index)));
        }
    }
    Ok(None)
}

/// Whether the link under one of the owner's names is its own: by its mark, or fresh from an ADD
/// that was killed before it could mark it or give it to a bridge.
fn is_host_end(link: &Link, owner: &Owner) -> bool {
    match link.alias.as_deref().unwrap_or_default() {
        "" => link.kind.as_deref() == Some("veth") && link.master.is_none() && !link.is_up,
        alias => alias == owner.comment(),
    }
}

/// For GC: the tokens of the owners that are alive.
pub fn tokens(network: &NetworkName, valid: &ValidAttachments) -> Vec<String> {
    let token =
        |(container, ifname): (&str, &str)| Owner::new(network.as_str(), container, ifname).token();
    valid.iter().map(token).collect()
}

/// For GC: deletes the pairs of a network whose owner's token is not valid. One that stays does
/// not keep the others.
pub fn sweep(network: &NetworkName, is_valid: impl Fn(&str) -> bool) -> Result<(), Error> {
    let what = || "delete stale veth pairs".to_owned();
    let mut host = on_host(Socket::route(), what)?;
    let mut steps = Vec::new();
    for link in on_host(host.links(), what)? {
        let stamp = link.alias.as_deref().and_then(Stamp::parse);
        let is_veth = link.kind.as_deref() == Some("veth");
        let is_stale = |s: Stamp| s.is_of_network(network.as_str()) && !is_valid(&s.token);
        if is_veth && stamp.is_some_and(is_stale) {
            let what = || format!("delete stale veth pair {:?}", link.name);
            steps.push(on_host(host.delete_link(link.index), what).map(drop));
        }
    }
    first_error(steps)
}

/// The host's end, with its owner's name on it.
pub fn host_end(host: &mut Socket, name: &str) -> Result<Link, Error> {
    let what = || format!("look up {name:?}");
    on_host(host.link(name), what)?.ok_or_else(|| crate::vanished(what()))
}
