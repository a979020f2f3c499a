//! [`Place`]: where an attachment is: its namespace, its link, and the way of the host to the same
//! wire. Everything that the daemon does to a link is here.

use std::net::{Ipv4Addr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

use cni::{Attempt, Code, Error};
use netlink::Socket as Netlink;
use netlink::link::{Link, Setting};
use serde::{Deserialize, Serialize};
use sys::{Errno, NetNs};

use crate::exchange::Datagram;
use crate::lease::Lease;
use crate::{LINK, result, v4, v6};

/// What identifies a place, so that a path or a number that was used again is not taken for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Device and inode of the namespace.
    pub(crate) netns: (u64, u64),
    pub(crate) index: u32,
    pub(crate) mac: [u8; 6],
    /// A link of the host on the same wire: the bridge of a veth, the parent of a macvlan. A lease
    /// can be released through it when the container's link is gone.
    pub(crate) via: Option<Via>,
    /// Whether the link was down before.
    pub(crate) was_down: bool,
}

/// A link of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Via {
    pub(crate) index: u32,
    pub(crate) name: String,
}

/// Which kind of datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// A socket on one link.
#[derive(Debug)]
pub(crate) enum Socket {
    V4 { socket: PacketSocket, index: u32 },
    V6 { socket: UdpSocket, index: u32 },
}

/// A packet socket, which another thread closes: the kernel waits for all processors then
/// (`synchronize_net`), 20 ms and more, and the loop has others to serve.
#[derive(Debug)]
pub(crate) struct PacketSocket(Option<OwnedFd>);

impl PacketSocket {
    /// On the link `index` of the calling thread's namespace.
    fn open(index: u32) -> sys::Result<Self> {
        sys::packet::open(index).map(|socket| Self(Some(socket)))
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // It is taken by drop() alone.
        self.0.as_ref().expect("open until it is dropped").as_fd()
    }
}

impl Drop for PacketSocket {
    fn drop(&mut self) {
        static CLOSER: OnceLock<Sender<OwnedFd>> = OnceLock::new();
        let closer = CLOSER.get_or_init(|| {
            let (sender, receiver) = channel::<OwnedFd>();
            let close = move || receiver.into_iter().for_each(drop);
            // Where it cannot be made the receiver goes at once, and nothing can be sent.
            let _ = std::thread::Builder::new().spawn(close);
            sender
        });
        // Without the other thread it is closed here.
        let _ = self.0.take().map(|socket| closer.send(socket));
    }
}

/// A place that was just seen to be there.
pub(crate) struct Found {
    pub(crate) netns: NetNs,
    pub(crate) link: Link,
}

impl Place {
    /// The link `ifname` of the namespace at `path`, set up.
    pub(crate) fn enter(path: &Path, ifname: &str) -> Result<Self, Error> {
        let netns =
            NetNs::open(path).attempt(Code::NETNS, || format!("failed to open netns {path:?}"))?;
        let what = || format!("look at interface {ifname:?} in {path:?}");
        let mut inside = on_link(Netlink::route_in(&netns), what)?;
        let link = on_link(inside.link(ifname), what)?;
        let link = link.ok_or_else(|| {
            Error::new(LINK, format!("no interface {ifname:?} in {path:?}"))
                .details("IPAM of an interface that the main plugin makes later cannot be by DHCP")
        })?;
        let mac = link.mac.ok_or_else(|| {
            Error::new(
                LINK,
                format!("interface {ifname:?} has no Ethernet address"),
            )
        })?;
        let was_down = !link.is_up;
        if was_down {
            on_link(inside.change_link(link.index, &[Setting::Up]), || {
                format!("set up interface {ifname:?}")
            })?;
        }
        Ok(Self {
            netns: netns.identity().attempt(Code::NETNS, what)?,
            index: link.index,
            mac: mac.0,
            via: way_of_host(&mut inside, &link),
            was_down,
        })
    }

    /// The same place again; `None` if it is gone. An error says nothing about it: the host has no
    /// descriptor or no memory left, and the container may well use its lease.
    pub(crate) fn find(&self, path: &Path) -> Result<Option<Found>, netlink::Error> {
        let Some(netns) = NetNs::find(path)? else {
            return Ok(None);
        };
        if netns.identity()? != self.netns {
            return Ok(None);
        }
        let link = Netlink::route_in(&netns)?.link_by_index(self.index)?;
        Ok(link.map(|link| Found { netns, link }))
    }

    /// Sends a release on the host's side of the wire: through the link that is there, or as the
    /// host routes it. What goes wrong is told; the lease then ends by its time.
    pub(crate) fn send_from_host(&self, family: Family, datagram: &Datagram) -> Result<(), String> {
        if let Some(via) = self.via.as_ref().filter(|via| via.is_there()) {
            return via
                .send(family, datagram)
                .map_err(|error| error.to_string());
        }
        match family {
            Family::V4 => route_from_host(datagram).map_err(|error| error.to_string()),
            Family::V6 => Err("no link of the host leads there".into()),
        }
    }
}

impl Via {
    fn is_there(&self) -> bool {
        let link = Netlink::route().and_then(|mut host| host.link_by_index(self.index));
        link.is_ok_and(|link| link.is_some_and(|link| link.name == self.name))
    }

    fn send(&self, family: Family, datagram: &Datagram) -> sys::Result<()> {
        let socket = match family {
            Family::V4 => Socket::V4 {
                socket: PacketSocket::open(self.index)?,
                index: self.index,
            },
            Family::V6 => Socket::V6 {
                socket: sys::socket::udp6_of_link(&self.name, v6::exchange::CLIENT_PORT)?.into(),
                index: self.index,
            },
        };
        socket.send(datagram)
    }
}

/// The host's link on the wire of a container's link, if it can be told.
fn way_of_host(inside: &mut Netlink, link: &Link) -> Option<Via> {
    let ours = inside.namespace_number(&NetNs::current().ok()?).ok()??;
    if link.peer_netns != Some(ours) {
        return None;
    }
    let mut host = Netlink::route().ok()?;
    let mut outside = host.link_by_index(link.peer?).ok()??;
    if link.kind.as_deref() == Some("veth") {
        // The other end goes with this one; what it is plugged into stays.
        outside = host.link_by_index(outside.master?).ok()??;
    }
    Some(Via {
        index: outside.index,
        name: outside.name,
    })
}

fn route_from_host(datagram: &Datagram) -> std::io::Result<()> {
    let packet = &datagram.bytes;
    let server = packet.get(16..20).and_then(|octets| octets.try_into().ok());
    let server = Ipv4Addr::from(server.unwrap_or([0; 4]));
    let socket = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
    let message = packet.get(28..).unwrap_or_default(); // our own headers have no options
    let to = SocketAddrV4::new(server, v4::frame::SERVER_PORT);
    socket.send_to(message, to).map(drop)
}

impl Found {
    /// A socket of this family on the link.
    pub(crate) fn socket(&self, family: Family) -> sys::Result<Socket> {
        let index = self.link.index;
        match family {
            Family::V4 => {
                let socket = self.netns.run(|| PacketSocket::open(index))?;
                Ok(Socket::V4 { socket, index })
            }
            Family::V6 => {
                let name = &self.link.name;
                let socket = self.netns.run(|| {
                    // Without IPv6 on it there is no address to ask from.
                    let _ = netlink::sysctl::ensure(&format!("ipv6/conf/{name}/disable_ipv6"), "0");
                    sys::socket::udp6_of_link(name, v6::exchange::CLIENT_PORT)
                })?;
                Ok(Socket::V6 {
                    socket: socket.into(),
                    index,
                })
            }
        }
    }

    /// Sets the link up or down.
    pub(crate) fn set(&self, setting: Setting) -> Result<(), netlink::Error> {
        Netlink::route_in(&self.netns)?.change_link(self.link.index, &[setting])
    }

    /// Takes the address of a lease from the link; its routes go with it or lead nowhere, so they
    /// are taken as well.
    pub(crate) fn unconfigure(&self, lease: &Lease) -> Result<(), netlink::Error> {
        let mut inside = Netlink::route_in(&self.netns)?;
        remove_routes(&mut inside, lease, self.link.index)?;
        inside
            .remove_address(self.link.index, lease.address)
            .map(drop)
    }

    /// Makes the link as a lease says, `old` being what it was made for before.
    pub(crate) fn configure(
        &self,
        old: Option<&Lease>,
        new: &Lease,
        priority: u32,
    ) -> Result<(), netlink::Error> {
        let index = self.link.index;
        let mut inside = Netlink::route_in(&self.netns)?;
        tolerate_present(inside.add_address(index, new.address))?;
        if let Some(old) = old {
            remove_routes(&mut inside, old, index)?;
            if old.address != new.address {
                inside.remove_address(index, old.address)?;
                // A second address of a subnet goes with the first one, unless the kernel is told
                // to promote it.
                tolerate_present(inside.add_address(index, new.address))?;
            }
        }
        // Those on the link first: others may need them to reach their gateway.
        let (near, far): (Vec<_>, Vec<_>) = kernel_routes(new, priority, index)
            .into_iter()
            .partition(|route| route.gateway.is_none());
        for route in near.iter().chain(&far) {
            tolerate_present(inside.add_route_beside(route))?;
        }
        Ok(())
    }
}

impl Socket {
    pub(crate) fn send(&self, datagram: &Datagram) -> sys::Result<()> {
        match self {
            Self::V4 { socket, index } => {
                sys::packet::send(socket, *index, datagram.mac, &datagram.bytes)
            }
            Self::V6 { socket, index } => {
                let to =
                    SocketAddrV6::new(v6::exchange::SERVERS, v6::exchange::SERVER_PORT, 0, *index);
                let sent = socket.send_to(&datagram.bytes, to).map(drop);
                sys::SyscallResult::call(sent, || format!("sendto({to})"))
            }
        }
    }

    /// The next datagram, if one is there.
    pub(crate) fn receive(&self) -> sys::Result<Option<sys::packet::Packet>> {
        match self {
            Self::V4 { socket, .. } => sys::packet::receive(socket),
            Self::V6 { socket, .. } => {
                let mut bytes = vec![0; 0xffff];
                match socket.recv_from(&mut bytes) {
                    Ok((length, _)) => {
                        bytes.truncate(length);
                        Ok(Some(sys::packet::Packet {
                            bytes,
                            from: [0; 6],
                            has_checksum: true,
                        }))
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
                    Err(error) => sys::SyscallResult::call(Err(error), || "recvfrom(UDP)".into()),
                }
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::V4 { socket, .. } => socket.as_fd(),
            Self::V6 { socket, .. } => socket.as_fd(),
        }
    }
}

/// Whoever made them may have given them a table or a metric of his own.
fn remove_routes(inside: &mut Netlink, lease: &Lease, index: u32) -> Result<(), netlink::Error> {
    for kept in inside.kept_routes()? {
        let route = &kept.route;
        let is_same = |(destination, gateway): &(ipnet::IpNet, Option<std::net::IpAddr>)| {
            route.destination == *destination && route.gateway == *gateway
        };
        if route.link == Some(index) && lease.terms.routes.iter().any(is_same) {
            inside.delete_route(&kept)?;
        }
    }
    Ok(())
}

fn kernel_routes(lease: &Lease, priority: u32, link: u32) -> Vec<netlink::route::Route> {
    let some = |number: u32| (number != 0).then_some(number);
    let kernel = |route: cni::Route| netlink::route::Route {
        scope: route.scope,
        priority: some(route.priority),
        mtu: some(route.mtu),
        ..netlink::route::Route::new(route.dst, route.gw, link)
    };
    result::routes(lease, priority)
        .into_iter()
        .map(kernel)
        .collect()
}

fn tolerate_present(result: Result<(), netlink::Error>) -> Result<(), netlink::Error> {
    match result {
        Err(error) if error.errno() == Some(Errno::EEXIST) => Ok(()),
        other => other,
    }
}

fn on_link<T>(
    result: Result<T, netlink::Error>,
    what: impl FnOnce() -> String,
) -> Result<T, Error> {
    let late = matches!(result, Err(netlink::Error::Timeout { .. }));
    result.attempt(if late { Code::TRY_AGAIN } else { LINK }, what)
}
