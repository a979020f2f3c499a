//! STATUS: does this kernel have VRFs? It is tried, in a namespace that ends with it.

use cni::{Attempt, Code, Error};
use netlink::Socket;
use sys::NetNs;

/// Code 50 if ADD would fail.
pub(crate) fn status() -> Result<(), Error> {
    let what = || "this host has no VRFs (CONFIG_NET_VRF)".to_owned();
    let netns = NetNs::new().attempt(Code::NOT_AVAILABLE, what)?;
    let made = Socket::route_in(&netns).and_then(|mut socket| socket.create_vrf("vrf0", 1));
    made.attempt(Code::NOT_AVAILABLE, what)
}
