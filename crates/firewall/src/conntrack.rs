//! Forgetting flows that connection tracking remembers (ctnetlink, without conntrack(8)).
//!
//! NAT is decided by a flow's first packet. A client that keeps sending UDP from one port would
//! keep going where the first packet went: past a mapping that is new, or to a container that is
//! gone. TCP flows end with their container; UDP has no end, so ours are forgotten.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netlink::attribute::{Writer, find};
use netlink::{Message, Socket};
use sys::Errno;

use crate::error::Result;

const GET: u16 = 1 << 8 | 1; // NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET
const DELETE: u16 = 1 << 8 | 2;
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const TUPLE_IP: u16 = 1;
const V4_SRC: u16 = 1;
const V4_DST: u16 = 2;
const V6_SRC: u16 = 3;
const V6_DST: u16 = 4;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;
const TUPLE_PROTO: u16 = 2;
const PROTO_NUMBER: u16 = 1;
const PROTO_DST_PORT: u16 = 3;
const UDP: u8 = 17;

/// A UDP flow as connection tracking remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The port that its first packet was sent to.
    pub port: u16,
    /// The address that its first packet was sent to.
    pub destination: IpAddr,
    /// The address that answers come from: where it was led to.
    pub answers_from: IpAddr,
}

/// Forgets the UDP flows to these ports that are `wanted`, in the calling thread's namespace. Many
/// a flow to such a port has nothing to do with the host's mapping of it.
///
/// A kernel without connection tracking has nothing to forget.
pub fn forget_udp(ports: &BTreeSet<u16>, wanted: impl Fn(&Flow) -> bool) -> Result<()> {
    if ports.is_empty() {
        return Ok(());
    }
    let mut socket = Socket::netfilter()?;
    for family in [2, 10] {
        for port in ports {
            forget(&mut socket, family, *port, &wanted)?;
        }
    }
    Ok(())
}

fn forget(
    socket: &mut Socket,
    family: u8,
    port: u16,
    wanted: &impl Fn(&Flow) -> bool,
) -> Result<()> {
    let what = format!("conntrack: list UDP flows to port {port}");
    let message = Message {
        kind: GET,
        flags: 0,
        body: filter(family, port),
    };
    let flows = match socket.dump(message, &what) {
        Err(error) if error.errno() == Some(Errno::EOPNOTSUPP) => return Ok(()),
        // EINVAL: no ctnetlink in this kernel, which nfnetlink says of any unknown subsystem.
        Err(error) if error.errno() == Some(Errno::EINVAL) => return Ok(()),
        flows => flows?,
    };
    let is_wanted = |flow: &[u8]| flow_of(flow).is_some_and(|f| f.port == port && wanted(&f));
    for flow in flows.iter().filter(|flow| is_wanted(flow)) {
        let Some(body) = same_flow(flow) else {
            continue;
        };
        let what = format!("conntrack: forget a UDP flow to port {port}");
        match socket.request(
            Message {
                kind: DELETE,
                flags: 0,
                body,
            },
            &what,
        ) {
            Err(error) if error.errno() != Some(Errno::ENOENT) => return Err(error.into()),
            _ => {} // gone, by us or by its own time-out
        }
    }
    Ok(())
}

/// Asks the kernel to filter (Linux 5.8); an older one sends all flows and we filter.
fn filter(family: u8, port: u16) -> Vec<u8> {
    const BY_PROTOCOL_AND_PORT: u32 = 1 << 3 | 1 << 5;
    let protocol = Writer::default()
        .put(PROTO_NUMBER, &[UDP])
        .put(PROTO_DST_PORT, &port.to_be_bytes());
    let flags = Writer::default()
        .put(1, &BY_PROTOCOL_AND_PORT.to_ne_bytes())
        .put(2, &0u32.to_ne_bytes());
    Writer::new(&[family, 0, 0, 0])
        .put_nested(
            TUPLE_ORIG,
            Writer::default().put_nested(TUPLE_PROTO, protocol),
        )
        .put_nested(FILTER, flags)
        .into_bytes()
}

/// What a flow of UDP says of itself.
fn flow_of(flow: &[u8]) -> Option<Flow> {
    let rest = flow.get(4..)?;
    let (sent, answered) = (find(rest, TUPLE_ORIG)?, find(rest, TUPLE_REPLY)?);
    let protocol = find(sent, TUPLE_PROTO)?;
    if find(protocol, PROTO_NUMBER)? != [UDP] {
        return None;
    }
    let port = find(protocol, PROTO_DST_PORT)?.try_into().ok()?;
    Some(Flow {
        port: u16::from_be_bytes(port),
        destination: address(find(sent, TUPLE_IP)?, [V4_DST, V6_DST])?,
        answers_from: address(find(answered, TUPLE_IP)?, [V4_SRC, V6_SRC])?,
    })
}

/// The address of one of these kinds: IPv4, IPv6.
fn address(tuple: &[u8], [v4, v6]: [u16; 2]) -> Option<IpAddr> {
    match (find(tuple, v4), find(tuple, v6)) {
        (Some(v4), _) => Some(IpAddr::from(<[u8; 4]>::try_from(v4).ok()?)),
        (None, v6) => Some(IpAddr::from(<[u8; 16]>::try_from(v6?).ok()?)),
    }
}

/// A request's body that names exactly this flow.
fn same_flow(flow: &[u8]) -> Option<Vec<u8>> {
    const NESTED: u16 = 1 << 15;
    let (header, rest) = (flow.get(..4)?, flow.get(4..)?);
    let mut body = Writer::new(header).put(TUPLE_ORIG | NESTED, find(rest, TUPLE_ORIG)?);
    // The id keeps a flow that has taken its place meanwhile.
    for kind in [ID, ZONE] {
        if let Some(value) = find(rest, kind) {
            body = body.put(kind, value);
        }
    }
    Some(body.into_bytes())
}

/// Everything that is read of a flow.
#[cfg(fuzzing)]
pub(crate) fn understand(flow: &[u8]) {
    let _ = flow_of(flow);
    let _ = same_flow(flow);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(v6: bool, [source, destination]: [&str; 2], port: u16) -> Writer {
        let bytes = |text: &str| match text.parse().unwrap() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let kinds = if v6 {
            [V6_SRC, V6_DST]
        } else {
            [V4_SRC, V4_DST]
        };
        let ip = Writer::default()
            .put(kinds[0], &bytes(source))
            .put(kinds[1], &bytes(destination));
        let protocol = Writer::default()
            .put(PROTO_NUMBER, &[UDP])
            .put(PROTO_DST_PORT, &port.to_be_bytes());
        Writer::default()
            .put_nested(TUPLE_IP, ip)
            .put_nested(TUPLE_PROTO, protocol)
    }

    #[test]
    fn a_flow_says_where_it_was_sent_and_who_answers() {
        for (v6, client, host, container) in [
            (false, "192.0.2.2", "192.0.2.1", "10.5.0.2"),
            (true, "fd99::2", "fd99::1", "fd05::2"),
        ] {
            let body = Writer::new(&[2, 0, 0, 0])
                .put_nested(TUPLE_ORIG, tuple(v6, [client, host], 53))
                .put_nested(TUPLE_REPLY, tuple(v6, [container, client], 40_000));
            let flow = Flow {
                port: 53,
                destination: host.parse().unwrap(),
                answers_from: container.parse().unwrap(),
            };
            assert_eq!(flow_of(&body.into_bytes()), Some(flow));
        }
        assert_eq!(flow_of(&[2, 0, 0, 0]), None);
    }
}
