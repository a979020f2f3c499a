//! The container's side of a network, for every plugin that gives a container an interface.
//!
//! A plugin makes its own kind of link. What happens around it is the same for all and is here:
//! the namespace is opened ([`Sandbox`]), the IPAM plugin is asked ([`Assigned`]), the link gets
//! its addresses and routes ([`setup`]), CHECK compares ([`check`]), DEL frees ([`removal`]).
//!
//! Promise: a link of ours carries its [`Owner`] as its alias, so that DEL takes no link that is
//! somebody else's. Not here: what only one plugin needs, and printing.

pub mod assigned; // PURE: an IPAM result as addresses and routes of one link
pub mod check; // prevResult against the container's link
pub mod grace; // what GC leaves alone until it has seen it twice
pub mod host; // settings of the host
pub mod ipam; // the delegate, if there is one
pub mod keys; // PURE: keys that several plugins have
pub mod link; // making a link inside, owned from its first moment
pub mod master; // the host's link that another is made on
pub mod pair; // a veth pair, found again without the container
pub mod removal; // DEL: the link, the addresses, in an order that harms nobody
pub mod sandbox; // the container's network namespace
pub mod setup; // addresses, duplicate detection, routes

pub use assigned::Assigned;
pub use grace::Grace;
pub use owner::Owner;
pub use sandbox::Sandbox;

use cni::{Attachment, Attempt, Code, Error, NetworkName};
use sys::Errno;

/// The owner of everything that an attachment makes.
pub fn owner(network: &NetworkName, attachment: &Attachment) -> Owner {
    Owner::new(
        network.as_str(),
        attachment.container_id.as_str(),
        attachment.ifname.as_str(),
    )
}

/// The kernel refused something: code 100, or 11 when it may work later: no answer in time, no
/// memory, no room for another thread.
pub fn on_host<T>(
    result: Result<T, netlink::Error>,
    what: impl FnOnce() -> String,
) -> Result<T, Error> {
    let is_late = |error: &netlink::Error| match error {
        netlink::Error::Timeout { .. } => true,
        other => matches!(other.errno(), Some(Errno::EAGAIN | Errno::ENOMEM)),
    };
    let late = result.as_ref().is_err_and(is_late);
    result.attempt(if late { Code::TRY_AGAIN } else { Code::PLUGIN }, what)
}

/// As [`on_host`], for rules.
pub fn in_firewall<T>(
    result: firewall::Result<T>,
    what: impl FnOnce() -> String,
) -> Result<T, Error> {
    let late = matches!(&result, Err(error) if error.is_transient());
    result.attempt(if late { Code::TRY_AGAIN } else { Code::PLUGIN }, what)
}

/// Something that was there a moment ago is not any more: another may have taken it away.
pub fn vanished(what: String) -> Error {
    Error::new(Code::TRY_AGAIN, what).details("it vanished")
}
