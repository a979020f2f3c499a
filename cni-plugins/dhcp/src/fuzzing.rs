//! A door for the fuzz target `dhcp`: what a server, or who pretends to be one, sends. In no other build.

use std::net::Ipv4Addr;
use std::time::Duration;

use cni::Version;

use crate::exchange::{Arrival, Exchange, Patience, Step};
use crate::lease::{Lease, Moment};
use crate::{result, v4, v6};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Every transaction's: a packet of the network is given it, so that it is not merely thrown away.
const XID: u32 = 7;

/// A conversation of one family, by the first byte. Then come packets, each behind two bytes: how long it
/// is, and how many seconds later it comes.
pub fn converse(input: &[u8]) {
    let Some((&family, mut rest)) = input.split_first() else {
        return;
    };
    let is_v4 = family & 1 == 0;
    let mut exchange = client(is_v4);
    let mut now = Moment::from_secs(1000);
    exchange.discover(now, &mut || XID);
    while let [length, seconds, after @ ..] = rest {
        let (packet, others) = after.split_at(after.len().min(usize::from(*length) * 2));
        rest = others;
        now += Duration::from_secs(u64::from(*seconds).pow(2));
        sent(&exchange.advance(now, &mut || XID), is_v4);
        let packet = if is_v4 {
            packet_v4(packet)
        } else {
            packet_v6(packet)
        };
        let arrival = Arrival {
            bytes: &packet,
            mac: MAC,
            has_checksum: family & 2 != 0,
        };
        sent(&exchange.receive(now, arrival, &mut || XID), is_v4);
        exchange.lease().into_iter().for_each(leased);
    }
    exchange.release(&mut || XID);
}

fn client(is_v4: bool) -> Box<dyn Exchange> {
    let patience = Patience {
        answer: Duration::from_secs(5),
        longest_pause: Duration::from_secs(60),
    };
    if !is_v4 {
        return Box::new(v6::exchange::Client::new(b"\0\x04duid".to_vec(), patience));
    }
    let identity = v4::exchange::Identity {
        mac: MAC,
        client_id: b"client".to_vec(),
        provide: vec![(12, b"host".to_vec())],
        request: vec![1, 3, 6, 15, 26, 42, 51, 54, 58, 59, 119, 121],
        broadcast: true,
    };
    Box::new(v4::exchange::Client::new(identity, patience))
}

/// The message in a frame of a server's; and what is no message, as a frame.
fn packet_v4(message: &[u8]) -> Vec<u8> {
    if message.first().is_none_or(|first| *first > 2) {
        return message.to_vec();
    }
    let mut message = message.to_vec();
    if let Some(transaction) = message.get_mut(4..8) {
        transaction.copy_from_slice(&XID.to_be_bytes());
    }
    if let Some(hardware) = message.get_mut(28..34) {
        hardware.copy_from_slice(&MAC);
    }
    if let Some(decoded) = v4::message::Message::decode(&message) {
        let again = v4::message::Message::decode(&decoded.encode());
        assert_eq!(again.map(|again| again.encode()), Some(decoded.encode()));
    }
    let mut packet = v4::frame::wrap(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::BROADCAST, &message);
    packet[20..24].copy_from_slice(&[0, 67, 0, 68]);
    packet
}

fn packet_v6(message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    if let Some(transaction) = message.get_mut(1..4) {
        transaction.copy_from_slice(&XID.to_be_bytes()[1..]);
    }
    message
}

/// Whatever came, what goes out is whole.
fn sent(steps: &[Step], is_v4: bool) {
    for step in steps {
        if let (Step::Send(datagram), true) = (step, is_v4) {
            assert!(datagram.bytes.len() > 20 + 8 + 240, "{datagram:?}");
        }
    }
}

/// A lease can be told in every version that has words for it, and kept.
fn leased(lease: &Lease) {
    if let Some(term) = lease.term {
        let ordered = term.renew <= term.rebind && term.rebind <= term.expire;
        assert!(ordered && lease.since < term.expire, "{lease:?}");
    }
    let result = result::result(std::slice::from_ref(lease), 0);
    for version in Version::ALL {
        assert!(result.to_json(*version).is_ok(), "{version}: {lease:?}");
    }
    let kept = serde_json::to_vec(lease).map(|bytes| serde_json::from_slice::<Lease>(&bytes).ok());
    assert_eq!(kept.ok().flatten().as_ref(), Some(lease));
}
