//! What the host has now that a new mapping could collide with.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cni::{Code, Error};
use firewall::{Owner, Protocol, Stamp};
use netlink::attribute::find;
use netlink::{Message, Socket};

use crate::config::Mapping;

/// A port of the host that another container has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    /// See [`Owner::token`]; none in the reference's comments.
    pub(crate) token: Option<String>,
    pub(crate) container: String,
    pub(crate) protocol: Protocol,
    pub(crate) address: Option<IpAddr>,
    pub(crate) is_ipv6: bool,
    pub(crate) port: u16,
}

impl Published {
    /// Whether a packet could be meant for both, the mapping being one to `target`.
    pub(crate) fn collides(&self, mapping: &Mapping, target: IpAddr) -> bool {
        self.protocol == mapping.protocol
            && self.is_ipv6 == target.is_ipv6()
            && self.port == mapping.host_port
            && overlap(self.address, mapping.only_address())
    }

    /// Whether it belongs to this container, as far as the rule's comment tells: a token is
    /// always whole, a container's id may be cut.
    pub(crate) fn is_of(&self, owner: &Owner) -> bool {
        if self.token.as_ref() == Some(&owner.token()) {
            return true;
        }
        let stamp = Stamp {
            token: String::new(),
            container: self.container.clone(),
        };
        stamp.is_of_container(&owner.container)
    }
}

/// Error: another container has the port. The first code of this plugin's own.
pub(crate) fn taken(mapping: &Mapping, by: &Published) -> Error {
    let msg = format!(
        "host port {} is taken by container {:?}",
        Shown(mapping),
        by.container
    );
    Error::new(Code::PLUGIN, msg)
}

/// Refuses a mapping to `target` that would hide a socket of the host from its clients.
pub(crate) fn refuse_listening(mappings: &[Mapping], target: IpAddr) -> Result<(), Error> {
    for (protocol, state) in STRANGERS {
        if !mappings.iter().any(|mapping| mapping.protocol == protocol) {
            continue;
        }
        // A kernel without sock_diag(7) has the slower file in /proc; one without the protocol
        // has neither, and no such sockets.
        let sockets = diagnosed(protocol, state).unwrap_or_else(|_| listed(protocol, state));
        for socket in sockets {
            let same = |mapping: &&Mapping| {
                mapping.protocol == protocol
                    && mapping.host_port == socket.port
                    && socket.takes(target, mapping.only_address())
            };
            if let Some(mapping) = mappings.iter().find(same) {
                return Err(shadowed(mapping, &socket));
            }
        }
    }
    Ok(())
}

/// The state (of net/tcp_states.h) of a socket that waits for strangers.
const STRANGERS: [(Protocol, u8); 2] = [(Protocol::Tcp, 10), (Protocol::Udp, 7)];

/// By sock_diag(7), which walks listening sockets only: /proc walks the table of all connections,
/// and that takes milliseconds even when there are none.
fn diagnosed(protocol: Protocol, state: u8) -> Result<Vec<Listening>, netlink::Error> {
    const BY_FAMILY: u16 = 20; // SOCK_DIAG_BY_FAMILY
    const REQUEST: usize = 56; // struct inet_diag_req_v2
    let mut socket = Socket::diagnosis()?;
    let mut sockets = Vec::new();
    for family in [AF_INET, AF_INET6] {
        let mut body = vec![family, protocol.number(), 0, 0];
        body.extend((1u32 << state).to_ne_bytes());
        body.resize(REQUEST, 0);
        let message = Message {
            kind: BY_FAMILY,
            flags: 0,
            body,
        };
        let entries = socket.dump(message, "list listening sockets")?;
        sockets.extend(entries.iter().filter_map(|entry| diagnosis(entry)));
    }
    Ok(sockets)
}

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// Whether a socket of IPv6 refuses IPv4: an attribute of one byte.
const INET_DIAG_SKV6ONLY: u16 = 11;
/// `struct inet_diag_msg`, behind which attributes begin.
const DIAGNOSIS: usize = 72;

/// A `struct inet_diag_msg`: family, then the port at 4, the address at 8, the inode at 68.
fn diagnosis(entry: &[u8]) -> Option<Listening> {
    let word = |at: usize| entry.get(at..at + 4)?.try_into().ok();
    let address = match *entry.first()? {
        AF_INET => IpAddr::from(<[u8; 4]>::try_from(entry.get(8..12)?).ok()?),
        _ => Ipv6Addr::from(<[u8; 16]>::try_from(entry.get(8..24)?).ok()?).to_canonical(),
    };
    let v6_only = find(entry.get(DIAGNOSIS..)?, INET_DIAG_SKV6ONLY);
    Some(Listening {
        address,
        is_v6_only: v6_only.is_some_and(|value| value.first() == Some(&1)),
        port: u16::from_be_bytes(entry.get(4..6)?.try_into().ok()?),
        inode: u32::from_ne_bytes(word(68)?).to_string(),
    })
}

/// By /proc/net/tcp and its like (proc(5)).
fn listed(protocol: Protocol, state: u8) -> Vec<Listening> {
    let state = format!("{state:02X}");
    let mut sockets = Vec::new();
    for name in [protocol.to_string(), format!("{protocol}6")] {
        let text = std::fs::read_to_string(format!("/proc/thread-self/net/{name}"));
        let lines = text.unwrap_or_default();
        sockets.extend(lines.lines().filter_map(|line| listening(line, &state)));
    }
    sockets
}

#[derive(Debug, PartialEq, Eq)]
struct Listening {
    address: IpAddr,
    /// What /proc does not tell is taken for no: then `::` may take IPv4 too.
    is_v6_only: bool,
    port: u16,
    inode: String,
}

impl Listening {
    /// Whether it gets packets of `target`'s family for an address of the host, or for any.
    fn takes(&self, target: IpAddr, only: Option<IpAddr>) -> bool {
        let same_family = self.address.is_ipv4() == target.is_ipv4();
        let both = self.address == Ipv6Addr::UNSPECIFIED && !self.is_v6_only;
        (same_family || both) && overlap(Some(self.address), only)
    }
}

fn shadowed(mapping: &Mapping, socket: &Listening) -> Error {
    let at = std::net::SocketAddr::new(socket.address, socket.port);
    let msg = format!(
        "host port {} is in use: a socket listens on {at}",
        Shown(mapping)
    );
    let details = match process_of(&socket.inode) {
        Some(process) => format!("the socket belongs to {process}"),
        None => format!("the socket's inode is {}", socket.inode),
    };
    Error::new(Code::PLUGIN, msg).details(details)
}

/// The process that has the socket, for people. Best effort: it may be in another pid namespace.
fn process_of(inode: &str) -> Option<String> {
    let link = format!("socket:[{inode}]");
    std::fs::read_dir("/proc")
        .ok()?
        .flatten()
        .find_map(|process| {
            let pid = process
                .file_name()
                .into_string()
                .ok()?
                .parse::<u32>()
                .ok()?;
            let mut fds = std::fs::read_dir(process.path().join("fd")).ok()?.flatten();
            fds.find(|fd| {
                std::fs::read_link(fd.path()).is_ok_and(|to| to.as_os_str() == link.as_str())
            })?;
            let name = std::fs::read_to_string(process.path().join("comm")).ok()?;
            Some(format!("process {pid} ({})", name.trim_end()))
        })
}

/// A line of /proc/net/tcp and its like: `0: 0100007F:1F90 00000000:0000 0A ... inode`.
fn listening(line: &str, state: &str) -> Option<Listening> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    if *fields.get(3)? != state {
        return None;
    }
    let (address, port) = fields.get(1)?.split_once(':')?;
    Some(Listening {
        address: address_of(address)?,
        is_v6_only: false,
        port: u16::from_str_radix(port, 16).ok()?,
        inode: (*fields.get(9)?).to_owned(),
    })
}

/// The kernel prints 32-bit words of the address as numbers of its own byte order.
fn address_of(hex: &str) -> Option<IpAddr> {
    let mut bytes = Vec::new();
    for start in (0..hex.len()).step_by(8) {
        let word = u32::from_str_radix(hex.get(start..start + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes)
            .ok()
            .map(|b| IpAddr::V4(Ipv4Addr::from(b))),
        _ => <[u8; 16]>::try_from(bytes)
            .ok()
            .map(|b| Ipv6Addr::from(b).to_canonical()),
    }
}

/// Whether two addresses can be one packet's destination; none, or an unspecified one, is any.
fn overlap(one: Option<IpAddr>, other: Option<IpAddr>) -> bool {
    let is_any = |ip: Option<IpAddr>| ip.is_none_or(|ip| ip.is_unspecified());
    is_any(one) || is_any(other) || one == other
}

/// A mapping's host side, for people.
struct Shown<'a>(&'a Mapping);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(ip) = self.0.only_address() {
            write!(f, "{ip} ")?;
        }
        write!(f, "{}/{}", self.0.host_port, self.0.protocol)
    }
}

/// A socket as either source tells of it.
#[cfg(fuzzing)]
pub(crate) fn understand(bytes: &[u8]) {
    let _ = diagnosis(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        text.lines().for_each(|line| drop(listening(line, "0A")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sources_tell_the_same() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let ours = |sockets: Vec<Listening>| sockets.into_iter().find(|s| s.port == port);
        let found = ours(diagnosed(Protocol::Tcp, 10).unwrap()).unwrap();
        assert_eq!(found.address, "127.0.0.1".parse::<IpAddr>().unwrap());
        assert_eq!(Some(found), ours(listed(Protocol::Tcp, 10)));
    }

    #[test]
    fn a_socket_takes_what_its_family_can() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let (v4, v6) = (ip("10.1.0.2"), ip("fd00::2"));
        for (address, is_v6_only, takes) in [
            ("::1", false, [false, true]),
            ("::", false, [true, true]),
            ("::", true, [false, true]),
            ("0.0.0.0", false, [true, false]),
            ("127.0.0.1", false, [true, false]),
        ] {
            let socket = Listening {
                address: ip(address),
                is_v6_only,
                port: 80,
                inode: String::new(),
            };
            let found = [v4, v6].map(|target| socket.takes(target, None));
            assert_eq!(found, takes, "{address} {is_v6_only}");
        }
    }

    #[test]
    fn a_socket_says_whether_it_is_of_ipv6_alone() {
        let any = std::net::TcpListener::bind("[::]:0").unwrap();
        let one = std::net::TcpListener::bind("[::1]:0").unwrap();
        let sockets = diagnosed(Protocol::Tcp, 10).unwrap();
        // The kernel says so of every socket with an address that only IPv6 has.
        for (listener, is_v6_only) in [(any, false), (one, true)] {
            let local = listener.local_addr().unwrap();
            let found = sockets.iter().find(|s| s.port == local.port()).unwrap();
            assert_eq!((found.address, found.is_v6_only), (local.ip(), is_v6_only));
        }
    }

    #[test]
    fn a_published_port_is_known_by_its_token_when_the_id_is_cut() {
        let owner = Owner::new("n".repeat(50), "a".repeat(200), "eth0");
        let comment = owner.comment();
        let stamp = Stamp::parse(&comment).unwrap();
        assert!(stamp.container.len() < 200, "{comment}");
        let published = |token| Published {
            token,
            container: "another".into(),
            protocol: Protocol::Tcp,
            address: None,
            is_ipv6: false,
            port: 80,
        };
        assert!(published(Some(stamp.token.clone())).is_of(&owner));
        assert!(!published(None).is_of(&owner));
    }

    #[test]
    fn a_listening_socket_is_read_from_proc() {
        let tcp = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0";
        let socket = listening(tcp, "0A").unwrap();
        assert_eq!(
            (socket.address, socket.port),
            ("127.0.0.1".parse().unwrap(), 8080)
        );
        assert_eq!(socket.inode, "4711");
        assert!(listening(tcp, "07").is_none());
        let v6 = "   1: 00000000000000000000000001000000:0035 0:0 07 0 0 0 0 0 4712 2";
        assert_eq!(
            listening(v6, "07").unwrap().address,
            "::1".parse::<IpAddr>().unwrap()
        );
        assert!(listening("  sl  local_address rem_address   st", "0A").is_none());
    }
}
