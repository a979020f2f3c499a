//! The DHCPv4 message (RFC 2131 section 2) and its options (RFC 2132), bytes to values and back.
//!
//! Pure. Whatever arrives is decoded or refused, and nothing that it says makes us panic, loop or
//! read beyond its end.

use std::net::Ipv4Addr;

/// Option codes, by the names of RFC 2132 and its followers.
#[allow(missing_docs)] // the names say it
pub(crate) mod option {
    pub(crate) const SUBNET_MASK: u8 = 1;
    pub(crate) const ROUTERS: u8 = 3;
    pub(crate) const DNS: u8 = 6;
    pub(crate) const HOST_NAME: u8 = 12;
    pub(crate) const DOMAIN: u8 = 15;
    pub(crate) const MTU: u8 = 26;
    pub(crate) const STATIC_ROUTES: u8 = 33;
    pub(crate) const TIME_SERVERS: u8 = 42;
    pub(crate) const REQUESTED_ADDRESS: u8 = 50;
    pub(crate) const LEASE_TIME: u8 = 51;
    pub(crate) const OVERLOAD: u8 = 52;
    pub(crate) const MESSAGE_TYPE: u8 = 53;
    pub(crate) const SERVER_ID: u8 = 54;
    pub(crate) const REQUEST_LIST: u8 = 55;
    pub(crate) const MAX_SIZE: u8 = 57;
    pub(crate) const RENEWAL_TIME: u8 = 58;
    pub(crate) const REBINDING_TIME: u8 = 59;
    pub(crate) const VENDOR_CLASS: u8 = 60;
    pub(crate) const CLIENT_ID: u8 = 61;
    pub(crate) const USER_CLASS: u8 = 77;
    pub(crate) const DOMAIN_SEARCH: u8 = 119;
    pub(crate) const CLASSLESS_ROUTES: u8 = 121;
}

/// What a message is about (option 53).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are RFC 2131's
pub(crate) enum Kind {
    Discover = 1,
    Offer = 2,
    Request = 3,
    Decline = 4,
    Ack = 5,
    Nak = 6,
    Release = 7,
}

impl Kind {
    fn of(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Discover,
            2 => Self::Offer,
            3 => Self::Request,
            4 => Self::Decline,
            5 => Self::Ack,
            6 => Self::Nak,
            7 => Self::Release,
            _ => return None,
        })
    }
}

/// A message; what BOOTP put beside it (`sname`, `file`, hops) means nothing here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) is_reply: bool,
    pub(crate) xid: u32,
    pub(crate) secs: u16,
    /// Whether the server shall answer by broadcast.
    pub(crate) broadcast: bool,
    /// The client's address, if it has one that it may use.
    pub(crate) ciaddr: Ipv4Addr,
    /// The address that the server gives.
    pub(crate) yiaddr: Ipv4Addr,
    pub(crate) chaddr: [u8; 6],
    pub(crate) options: Options,
}

/// Options in order; a code stands there once, its pieces joined (RFC 3396).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options(Vec<(u8, Vec<u8>)>);

const MAGIC: [u8; 4] = [99, 130, 83, 99];
const FIXED: usize = 236;
const SNAME: std::ops::Range<usize> = 44..108;
const FILE: std::ops::Range<usize> = 108..236;
const BROADCAST: u16 = 0x8000;
const PAD: u8 = 0;
const END: u8 = 255;
/// Some servers and relays drop what is shorter than a BOOTP message (RFC 1542 section 2.1).
const SHORTEST: usize = 300;

impl Options {
    pub(crate) fn get(&self, code: u8) -> Option<&[u8]> {
        let entry = self.0.iter().find(|(known, _)| *known == code);
        entry.map(|(_, value)| value.as_slice())
    }

    /// Sets an option, in its old place if it was there.
    pub(crate) fn set(&mut self, code: u8, value: impl Into<Vec<u8>>) {
        match self.0.iter_mut().find(|(known, _)| *known == code) {
            Some(entry) => entry.1 = value.into(),
            None => self.0.push((code, value.into())),
        }
    }

    /// An option that is one address.
    pub(crate) fn address(&self, code: u8) -> Option<Ipv4Addr> {
        let bytes: [u8; 4] = self.get(code)?.try_into().ok()?;
        Some(bytes.into())
    }

    /// An option that is a number of 32 bits.
    pub(crate) fn number(&self, code: u8) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(code)?.try_into().ok()?))
    }

    /// An option that is a list of addresses; a piece of one at the end is ignored.
    pub(crate) fn addresses(&self, code: u8) -> Vec<Ipv4Addr> {
        let (whole, _) = self.get(code).unwrap_or_default().as_chunks::<4>();
        whole.iter().map(|bytes| (*bytes).into()).collect()
    }

    /// Appends what an option field holds; `None` if an option is cut short.
    fn read(&mut self, field: &[u8]) -> Option<()> {
        let mut rest = field;
        while let Some((&code, after)) = rest.split_first() {
            match code {
                PAD => rest = after,
                END => break,
                _ => {
                    let (&length, after) = after.split_first()?;
                    let (value, after) = after.split_at_checked(length.into())?;
                    match self.0.iter_mut().find(|(known, _)| *known == code) {
                        Some(entry) => entry.1.extend(value),
                        None => self.0.push((code, value.to_vec())),
                    }
                    rest = after;
                }
            }
        }
        Some(())
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        for (code, value) in &self.0 {
            let mut put = |piece: &[u8]| {
                bytes.extend([*code, piece.len() as u8]); // a piece has at most 255 bytes
                bytes.extend(piece);
            };
            match value.as_slice() {
                [] => put(&[]),
                value => value.chunks(255).for_each(put),
            }
        }
        bytes.push(END);
    }
}

impl Message {
    /// A message of a client.
    pub(crate) fn new(kind: Kind, xid: u32, chaddr: [u8; 6]) -> Self {
        let mut options = Options::default();
        options.set(option::MESSAGE_TYPE, [kind as u8]);
        Self {
            is_reply: false,
            xid,
            secs: 0,
            broadcast: false,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            chaddr,
            options,
        }
    }

    pub(crate) fn kind(&self) -> Option<Kind> {
        match self.options.get(option::MESSAGE_TYPE)? {
            [number] => Kind::of(*number),
            _ => None,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; FIXED];
        bytes[0] = if self.is_reply { 2 } else { 1 };
        bytes[1..3].copy_from_slice(&[1, 6]); // Ethernet, and the length of its addresses
        bytes[4..8].copy_from_slice(&self.xid.to_be_bytes());
        bytes[8..10].copy_from_slice(&self.secs.to_be_bytes());
        let flags = if self.broadcast { BROADCAST } else { 0 };
        bytes[10..12].copy_from_slice(&flags.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.ciaddr.octets());
        bytes[16..20].copy_from_slice(&self.yiaddr.octets());
        bytes[28..34].copy_from_slice(&self.chaddr);
        bytes.extend(MAGIC);
        self.options.write(&mut bytes);
        bytes.resize(bytes.len().max(SHORTEST), PAD);
        bytes
    }

    /// `None` for what is no DHCP message for an Ethernet client.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (fixed, rest) = bytes.split_at_checked(FIXED)?;
        let field = rest.strip_prefix(&MAGIC)?;
        let is_reply = match fixed[0] {
            1 => false,
            2 => true,
            _ => return None,
        };
        if fixed[1..3] != [1, 6] {
            return None;
        }
        let word = |at: usize| [fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]];
        let half = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
        let mut options = Options::default();
        options.read(field)?;
        let overload = options.get(option::OVERLOAD).and_then(<[u8]>::first);
        let overload = overload.copied().unwrap_or_default();
        // In this order (RFC 3396 section 5).
        if overload & 1 != 0 {
            options.read(&fixed[FILE])?;
        }
        if overload & 2 != 0 {
            options.read(&fixed[SNAME])?;
        }
        let mut chaddr = [0; 6];
        chaddr.copy_from_slice(&fixed[28..34]);
        Some(Self {
            is_reply,
            xid: u32::from_be_bytes(word(4)),
            secs: half(8),
            broadcast: half(10) & BROADCAST != 0,
            ciaddr: word(12).into(),
            yiaddr: word(16).into(),
            chaddr,
            options,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        let mut message = Message::new(Kind::Discover, 0x0102_0304, [2, 0, 0, 0, 0, 7]);
        message.secs = 9;
        message.broadcast = true;
        message.ciaddr = [10, 0, 0, 9].into();
        message.options.set(option::REQUEST_LIST, [1, 3]);
        message
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let bytes = message().encode();
        assert_eq!(bytes.len(), SHORTEST);
        assert_eq!(Message::decode(&bytes).unwrap(), message());
    }

    #[test]
    fn a_long_option_is_split_and_joined_again() {
        let mut long = message();
        let value: Vec<u8> = (0..600_u16).map(|number| number as u8).collect();
        long.options.set(option::CLASSLESS_ROUTES, value.clone());
        let decoded = Message::decode(&long.encode()).unwrap();
        assert_eq!(
            decoded.options.get(option::CLASSLESS_ROUTES),
            Some(&value[..])
        );
    }

    #[test]
    fn options_in_the_fields_of_bootp_are_found() {
        let mut bytes = message().encode();
        bytes.truncate(FIXED + 4);
        bytes.extend([option::OVERLOAD, 1, 3, 6, 4, 10, 0, 0, 1, END]);
        bytes[108..115].copy_from_slice(&[6, 4, 10, 0, 0, 2, END]);
        bytes[44..51].copy_from_slice(&[1, 4, 255, 0, 0, 0, END]);
        let decoded = Message::decode(&bytes).unwrap();
        let servers = decoded.options.addresses(option::DNS);
        assert_eq!(
            servers,
            [[10, 0, 0, 1].into(), Ipv4Addr::from([10, 0, 0, 2])]
        );
        assert_eq!(
            decoded.options.address(option::SUBNET_MASK),
            Some([255, 0, 0, 0].into())
        );
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        let whole = message().encode();
        for length in 0..FIXED + 4 {
            assert_eq!(Message::decode(&whole[..length]), None, "{length} bytes");
        }
        for tail in [&[6][..], &[6, 4], &[6, 4, 1, 2, 3], &[0, 0, 255 - 1]] {
            let bytes = [&whole[..FIXED + 4], tail].concat();
            assert_eq!(Message::decode(&bytes), None, "{tail:?}");
        }
        // Without an end, but whole.
        let bytes = [&whole[..FIXED + 4], &[53, 1, 2]].concat();
        assert_eq!(Message::decode(&bytes).unwrap().kind(), Some(Kind::Offer));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        // A small generator, so that a failure can be repeated.
        let mut state = 0x9e37_79b9_u32;
        let mut byte = move || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        };
        for round in 0..4000 {
            let mut bytes = message().encode();
            bytes.resize(FIXED + 4 + round % 97, 0);
            let from = if round % 2 == 0 { FIXED + 4 } else { 0 };
            bytes[from..].iter_mut().for_each(|each| *each = byte());
            if from > 0 {
                bytes[44..236].iter_mut().for_each(|each| *each = byte());
            }
            if let Some(message) = Message::decode(&bytes) {
                let _ = message.kind();
                let _ = crate::v4::terms::lease(&message, std::time::Duration::ZERO, [0; 6]);
                let _ = message.encode();
            }
        }
    }
}
