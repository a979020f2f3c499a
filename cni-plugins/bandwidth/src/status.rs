//! STATUS: does this kernel have what ADD needs? It is tried, in a namespace that ends with it.

use cni::{Attempt, Code, Error};
use netlink::link::Setting;
use netlink::{Bucket, Socket};
use sys::NetNs;

/// Code 50 if ADD would fail.
pub(crate) fn status() -> Result<(), Error> {
    let what = || "this host cannot limit a container's traffic".to_owned();
    let netns = NetNs::new().attempt(Code::NOT_AVAILABLE, what)?;
    try_in(&netns).attempt(Code::NOT_AVAILABLE, what)
}

fn try_in(netns: &NetNs) -> netlink::Result<()> {
    let bucket = Bucket {
        rate: 1000,
        burst: 2000,
        limit: 2000,
    };
    let mut socket = Socket::route_in(netns)?;
    socket.create_ifb("ifb7", 1500)?;
    let Some(ifb) = socket.link("ifb7")? else {
        return Ok(());
    };
    socket.set_bucket(ifb.index, bucket)?;
    socket.change_link(ifb.index, &[Setting::Up])?;
    // Its own arrivals do, to see whether filters and redirection are there.
    socket.redirect_arriving(ifb.index, ifb.index)
}
