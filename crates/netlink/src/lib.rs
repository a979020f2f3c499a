//! Links, addresses, routes, rules and traffic control over rtnetlink, synchronously.
//!
//! [`Socket`] carries requests to the kernel; the files beside it give it the nouns. Nothing here
//! decides what a container's network looks like, and nothing waits without a deadline. Why there
//! is no async runtime below this: docs/decisions/0003-netlink-without-tokio.md.

pub mod address; // IP addresses of a link, and waiting for duplicate address detection
pub mod attribute; // type-length-value, for families without a crate of their own
pub mod device; // a link on its way to another namespace
mod error;
pub mod kept_route; // routes to be given to the kernel again
pub mod link; // bridges, veth pairs, bridge ports and their VLANs
pub mod qdisc; // token buckets, and redirection of what arrives
pub mod route; // routes with everything that CNI 1.1.0 can say about them
pub mod rule; // policy routing
mod socket;
pub mod stacked; // macvlan, ipvlan, vlan, dummy
pub mod sysctl; // /proc/sys/net of the calling thread's namespace
pub mod tun; // what tun and tap devices are

pub use error::{Error, Result};
pub use kept_route::KeptRoute;
pub use link::{Link, Mac};
pub use qdisc::Bucket;
pub use rule::Rule;
pub use socket::{Events, Message, Socket};

/// A datagram of the kernel, or of who pretends to be it, as every function reads it that reads one: for
/// fuzz targets. The bodies of its messages are for others to read.
#[cfg(fuzzing)]
pub fn understand(datagram: &[u8]) -> Vec<&[u8]> {
    let bodies = socket::bodies(datagram);
    for body in &bodies {
        let _ = link::parse(body, "fuzz");
        link::understand(body);
        let _ = address::parse(body, "fuzz");
        let _ = route::parse(body, "fuzz");
        let _ = rule::parse(body);
        kept_route::understand(body);
        device::understand(body);
        qdisc::understand(body);
    }
    bodies
}
