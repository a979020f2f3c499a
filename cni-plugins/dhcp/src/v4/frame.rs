//! IPv4 and UDP around a DHCPv4 message (RFC 791, RFC 768), because a client without an address
//! has no UDP socket to use. Pure.

use std::net::Ipv4Addr;

pub(crate) const SERVER_PORT: u16 = 67;
pub(crate) const CLIENT_PORT: u16 = 68;
const IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const UDP: u8 = 17;

/// A packet from a client at `from` to a server at `to`.
pub(crate) fn wrap(from: Ipv4Addr, to: Ipv4Addr, message: &[u8]) -> Vec<u8> {
    let length = UDP_HEADER + message.len();
    let mut packet = vec![0x45, 0x10]; // version and header length, low delay
    packet.extend(((IP_HEADER + length) as u16).to_be_bytes()); // a message is far below 64 KiB
    packet.extend([0, 0, 0x40, 0, 64, UDP, 0, 0]); // not to be fragmented, 64 hops
    packet.extend(from.octets());
    packet.extend(to.octets());
    let checksum = fold(sum(&packet));
    packet[10..12].copy_from_slice(&(!checksum).to_be_bytes());
    packet.extend(CLIENT_PORT.to_be_bytes());
    packet.extend(SERVER_PORT.to_be_bytes());
    packet.extend((length as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(message);
    let checksum = match !transport_sum(&packet[..IP_HEADER], &packet[IP_HEADER..]) {
        0 => 0xffff, // 0 would say that there is none
        checksum => checksum,
    };
    packet[IP_HEADER + 6..IP_HEADER + 8].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// The message to a client inside a packet; `None` for anything else, and for one that was
/// damaged on the way. `has_checksum` is false for a packet that never left this machine, whose
/// transport checksum nobody has computed.
pub(crate) fn unwrap(packet: &[u8], has_checksum: bool) -> Option<&[u8]> {
    let (&first, &protocol) = (packet.first()?, packet.get(9)?);
    let header = usize::from(first & 0xf) * 4;
    let half = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let whole = packet.get(..half(2)?.into())?;
    let (ip, udp) = whole.split_at_checked(header)?;
    let is_fragment = half(6)? & 0x3fff != 0;
    if first >> 4 != 4 || header < IP_HEADER || protocol != UDP || is_fragment {
        return None;
    }
    if fold(sum(ip)) != 0xffff {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([*udp.get(4)?, *udp.get(5)?]));
    let udp = udp.get(..length)?;
    let message = udp.get(UDP_HEADER..)?;
    if udp[2..4] != CLIENT_PORT.to_be_bytes() {
        return None;
    }
    let given = udp[6..8] != [0, 0];
    if has_checksum && given && transport_sum(ip, udp) != 0xffff {
        return None;
    }
    Some(message)
}

/// Of the UDP part with its pseudo header, which borrows both addresses from the IP header.
fn transport_sum(ip: &[u8], udp: &[u8]) -> u16 {
    let pseudo = u32::from(UDP) + udp.len() as u32;
    fold(sum(&ip[12..20]) + sum(udp) + pseudo)
}

fn sum(bytes: &[u8]) -> u32 {
    let (pairs, last) = bytes.as_chunks::<2>();
    let words = pairs
        .iter()
        .map(|pair| u32::from(u16::from_be_bytes(*pair)));
    words.sum::<u32>() + last.first().map_or(0, |byte| u32::from(*byte) << 8)
}

fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a server would send it: ports the other way round, checksum computed anew.
    fn reply(message: &[u8]) -> Vec<u8> {
        let mut packet = wrap([10, 0, 0, 1].into(), [10, 0, 0, 9].into(), message);
        packet[20..24].copy_from_slice(&[0, 67, 0, 68]);
        packet // a sum does not care for the order of its words
    }

    #[test]
    fn a_message_is_found_again_and_damage_is_noticed() {
        for message in [&b"hello"[..], b"hell", b""] {
            let packet = reply(message);
            assert_eq!(unwrap(&packet, true), Some(message));
            for at in 0..packet.len() {
                let mut damaged = packet.clone();
                damaged[at] ^= 0x04;
                assert_ne!(unwrap(&damaged, true), Some(message), "byte {at}");
            }
        }
    }

    #[test]
    fn a_checksum_that_nobody_computed_is_not_looked_at() {
        let mut packet = reply(b"hello");
        packet[26..28].copy_from_slice(&[0x12, 0x34]);
        assert_eq!(unwrap(&packet, true), None);
        assert_eq!(unwrap(&packet, false), Some(&b"hello"[..]));
        packet[26..28].copy_from_slice(&[0, 0]);
        assert_eq!(unwrap(&packet, true), Some(&b"hello"[..]));
    }

    #[test]
    fn what_is_cut_short_or_lies_about_its_length_is_refused() {
        let packet = reply(b"hello");
        for length in 0..packet.len() {
            assert_eq!(unwrap(&packet[..length], false), None, "{length} bytes");
        }
        for (at, value) in [
            (0, 0x4f),
            (0, 0x41),
            (0, 0x65),
            (6, 0x20),
            (9, 6),
            (24, 0xff),
        ] {
            let mut wrong = packet.clone();
            wrong[at] = value;
            assert_eq!(unwrap(&wrong, false), None, "byte {at} = {value:#x}");
        }
        // Behind the packet may be Ethernet's padding.
        let padded = [&packet[..], &[0; 9]].concat();
        assert_eq!(unwrap(&padded, true), Some(&b"hello"[..]));
    }
}
