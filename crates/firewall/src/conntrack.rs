//! Forgetting flows that connection tracking remembers (ctnetlink, without conntrack(8)).
//!
//! NAT is decided by a flow's first packet. A client that keeps sending UDP from one port would
//! keep going where the first packet went: past a mapping that is new, or to a container that is
//! gone. TCP flows end with their container; UDP has no end, so ours are forgotten.

use netlink::attribute::{Writer, find};
use netlink::{Message, Socket};
use sys::Errno;

use crate::error::Result;

const GET: u16 = 1 << 8 | 1; // NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET
const DELETE: u16 = 1 << 8 | 2;
const TUPLE_ORIG: u16 = 1;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;
const TUPLE_PROTO: u16 = 2;
const PROTO_NUMBER: u16 = 1;
const PROTO_DST_PORT: u16 = 3;
const UDP: u8 = 17;

/// Forgets all UDP flows that were sent to one of these ports, in the calling thread's namespace.
///
/// A kernel without connection tracking has nothing to forget.
pub fn forget_udp(ports: &[u16]) -> Result<()> {
    if ports.is_empty() {
        return Ok(());
    }
    let mut socket = Socket::netfilter()?;
    for family in [2, 10] {
        for port in ports {
            forget(&mut socket, family, *port)?;
        }
    }
    Ok(())
}

fn forget(socket: &mut Socket, family: u8, port: u16) -> Result<()> {
    let what = format!("conntrack: list UDP flows to port {port}");
    let message = Message {
        kind: GET,
        flags: 0,
        body: wanted(family, port),
    };
    let flows = match socket.dump(message, &what) {
        Err(error) if error.errno() == Some(Errno::EOPNOTSUPP) => return Ok(()),
        // EINVAL: no ctnetlink in this kernel, which nfnetlink says of any unknown subsystem.
        Err(error) if error.errno() == Some(Errno::EINVAL) => return Ok(()),
        flows => flows?,
    };
    for flow in flows.iter().filter(|flow| is_udp_to(flow, port)) {
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
fn wanted(family: u8, port: u16) -> Vec<u8> {
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

fn is_udp_to(flow: &[u8], port: u16) -> bool {
    let protocol = || find(find(flow.get(4..)?, TUPLE_ORIG)?, TUPLE_PROTO);
    protocol().is_some_and(|protocol| {
        find(protocol, PROTO_NUMBER) == Some(&[UDP])
            && find(protocol, PROTO_DST_PORT) == Some(&port.to_be_bytes())
    })
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
    let _ = is_udp_to(flow, 53);
    let _ = same_flow(flow);
}
