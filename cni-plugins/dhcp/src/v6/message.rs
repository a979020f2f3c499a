//! The DHCPv6 message (RFC 8415 sections 8 and 21), bytes to values and back. Pure; refuses what
//! is cut short and never reads beyond its end.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};

use crate::domain;
use crate::lease::{Lease, Moment, Server, Term, Terms};

/// Option codes of RFC 8415 section 21 and RFC 3646.
pub(crate) mod option {
    pub(crate) const CLIENT_ID: u16 = 1;
    pub(crate) const SERVER_ID: u16 = 2;
    pub(crate) const IA_NA: u16 = 3;
    pub(crate) const IA_ADDRESS: u16 = 5;
    pub(crate) const REQUEST_LIST: u16 = 6;
    pub(crate) const ELAPSED: u16 = 8;
    pub(crate) const STATUS: u16 = 13;
    pub(crate) const DNS: u16 = 23;
    pub(crate) const DOMAIN_SEARCH: u16 = 24;
    pub(crate) const TIME_SERVERS: u16 = 31;
    pub(crate) const SOL_MAX_RT: u16 = 82;
}

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are RFC 8415's
pub(crate) enum Kind {
    Solicit = 1,
    Advertise = 2,
    Request = 3,
    Renew = 5,
    Rebind = 6,
    Reply = 7,
    Release = 8,
}

const FOR_EVER: u32 = u32::MAX;
const SUCCESS: u16 = 0;

/// A message; relays' messages are not for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    /// 24 bits.
    pub(crate) xid: u32,
    pub(crate) options: Vec<(u16, Vec<u8>)>,
}

/// The address of an IA_NA and its times, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Association {
    pub(crate) address: Ipv6Addr,
    pub(crate) t1: u32,
    pub(crate) t2: u32,
    pub(crate) valid: u32,
}

impl Message {
    pub(crate) fn new(kind: Kind, xid: u32) -> Self {
        Self {
            kind,
            xid: xid & 0xff_ffff,
            options: Vec::new(),
        }
    }

    pub(crate) fn put(&mut self, code: u16, value: impl Into<Vec<u8>>) {
        self.options.push((code, value.into()));
    }

    pub(crate) fn get(&self, code: u16) -> Option<&[u8]> {
        find(&self.options, code)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.xid.to_be_bytes().to_vec();
        bytes[0] = self.kind as u8;
        for (code, value) in &self.options {
            put(&mut bytes, *code, value);
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<4>()?;
        let kind = match head[0] {
            2 => Kind::Advertise,
            7 => Kind::Reply,
            _ => return None,
        };
        Some(Self {
            kind,
            xid: u32::from_be_bytes(*head) & 0xff_ffff,
            options: options(rest)?,
        })
    }

    /// Whether the server says that it did as asked.
    pub(crate) fn is_success(&self) -> bool {
        is_success(&self.options)
    }

    /// The address given to the association `iaid`, if one may be used.
    pub(crate) fn association(&self, iaid: u32) -> Option<Association> {
        let all = self
            .options
            .iter()
            .filter(|(code, _)| *code == option::IA_NA);
        all.filter_map(|(_, value)| association(value, iaid)).next()
    }
}

/// An IA_NA that asks for, or names, an address.
pub(crate) fn identity_association(iaid: u32, address: Option<Ipv6Addr>) -> Vec<u8> {
    let mut value = iaid.to_be_bytes().to_vec();
    value.extend([0; 8]); // the times are the server's to choose
    if let Some(address) = address {
        let mut inner = address.octets().to_vec();
        inner.extend([0; 8]);
        put(&mut value, option::IA_ADDRESS, &inner);
    }
    value
}

/// The lease of a reply that was asked for at `since`.
pub(crate) fn lease(reply: &Message, association: Association, since: Moment) -> Option<Lease> {
    let address = association.address;
    let some = |seconds: u32| (seconds != 0).then_some(seconds);
    let term = Term::new(
        since,
        association.valid,
        some(association.t1),
        some(association.t2),
    );
    let addresses = |code| {
        let (whole, _) = reply.get(code).unwrap_or_default().as_chunks::<16>();
        whole
            .iter()
            .map(|octets| IpAddr::V6((*octets).into()))
            .collect()
    };
    let search = reply.get(option::DOMAIN_SEARCH).and_then(domain::names);
    Some(Lease {
        // Which addresses are on the link is for router advertisements to say (RFC 5942).
        address: IpNet::V6(Ipv6Net::from(address)),
        server: Server {
            id: reply.get(option::SERVER_ID)?.to_vec(),
            mac: [0; 6],
        },
        since,
        term: (association.valid != FOR_EVER).then_some(term),
        terms: Terms {
            nameservers: addresses(option::DNS),
            search: search.unwrap_or_default(),
            time_servers: addresses(option::TIME_SERVERS),
            ..Terms::default()
        },
    })
}

fn association(value: &[u8], wanted: u32) -> Option<Association> {
    let (iaid, rest) = value.split_first_chunk::<4>()?;
    let (t1, rest) = rest.split_first_chunk::<4>()?;
    let (t2, rest) = rest.split_first_chunk::<4>()?;
    let inner = options(rest)?;
    if u32::from_be_bytes(*iaid) != wanted || !is_success(&inner) {
        return None;
    }
    let value = find(&inner, option::IA_ADDRESS)?;
    let (address, rest) = value.split_first_chunk::<16>()?;
    let (_preferred, rest) = rest.split_first_chunk::<4>()?;
    let (valid, rest) = rest.split_first_chunk::<4>()?;
    let (address, valid) = (Ipv6Addr::from(*address), u32::from_be_bytes(*valid));
    // A lifetime of 0 takes the address away (section 18.2.10.1).
    let is_usable = valid > 0 && !address.is_unspecified() && !address.is_multicast();
    (is_usable && is_success(&options(rest)?)).then_some(Association {
        address,
        t1: u32::from_be_bytes(*t1),
        t2: u32::from_be_bytes(*t2),
        valid,
    })
}

fn options(bytes: &[u8]) -> Option<Vec<(u16, Vec<u8>)>> {
    let (mut options, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let (code, after) = rest.split_first_chunk::<2>()?;
        let (length, after) = after.split_first_chunk::<2>()?;
        let (value, after) = after.split_at_checked(u16::from_be_bytes(*length).into())?;
        options.push((u16::from_be_bytes(*code), value.to_vec()));
        rest = after;
    }
    Some(options)
}

fn find(options: &[(u16, Vec<u8>)], code: u16) -> Option<&[u8]> {
    let entry = options.iter().find(|(known, _)| *known == code);
    entry.map(|(_, value)| value.as_slice())
}

/// No status is success (section 21.13).
fn is_success(options: &[(u16, Vec<u8>)]) -> bool {
    match find(options, option::STATUS) {
        None => true,
        Some([high, low, ..]) => u16::from_be_bytes([*high, *low]) == SUCCESS,
        Some(_) => false,
    }
}

fn put(bytes: &mut Vec<u8>, code: u16, value: &[u8]) {
    bytes.extend(code.to_be_bytes());
    bytes.extend((value.len() as u16).to_be_bytes()); // ours are all short
    bytes.extend(value);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ADDRESS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9);

    fn given(address: Ipv6Addr, valid: u32, status: Option<u16>) -> Vec<u8> {
        let mut inner = address.octets().to_vec();
        inner.extend([0; 4]);
        inner.extend(valid.to_be_bytes());
        if let Some(status) = status {
            put(&mut inner, option::STATUS, &status.to_be_bytes());
        }
        let mut value = [
            7_u32.to_be_bytes(),
            5_u32.to_be_bytes(),
            9_u32.to_be_bytes(),
        ]
        .concat();
        put(&mut value, option::IA_ADDRESS, &inner);
        value
    }

    fn reply(association: Vec<u8>) -> Message {
        let mut reply = Message::new(Kind::Reply, 0x01ab_cdef);
        reply.put(option::SERVER_ID, [0, 3, 0, 1]);
        reply.put(option::IA_NA, association);
        reply.put(option::DNS, ADDRESS.octets());
        reply.put(option::DOMAIN_SEARCH, *b"\x01a\x01b\x00");
        reply
    }

    #[test]
    fn a_reply_is_read_back_as_a_lease() {
        let reply = reply(given(ADDRESS, 100, None));
        let decoded = Message::decode(&reply.encode()).unwrap();
        assert_eq!(decoded, reply);
        assert_eq!(decoded.xid, 0xab_cdef);
        let association = decoded.association(7).unwrap();
        let lease = lease(&decoded, association, Duration::ZERO).unwrap();
        assert_eq!(lease.address.to_string(), "fd00::9/128");
        assert_eq!(lease.terms.search, ["a.b"]);
        assert_eq!(lease.terms.nameservers, [IpAddr::V6(ADDRESS)]);
        let term = lease.term.unwrap();
        let seconds = [term.renew, term.rebind, term.expire].map(|at| at.as_secs());
        assert_eq!(seconds, [5, 9, 100]);
    }

    #[test]
    fn an_address_that_is_refused_or_taken_away_is_none() {
        for (association, iaid) in [
            (given(ADDRESS, 100, None), 8),
            (given(ADDRESS, 0, None), 7),
            (given(ADDRESS, 100, Some(2)), 7),
            (given(Ipv6Addr::UNSPECIFIED, 100, None), 7),
            (identity_association(7, None), 7),
            (vec![0; 5], 7),
        ] {
            let decoded = Message::decode(&reply(association).encode()).unwrap();
            assert_eq!(decoded.association(iaid), None);
        }
        assert!(reply(given(ADDRESS, 100, Some(0))).association(7).is_some());
    }

    #[test]
    fn what_is_cut_short_is_refused_and_nothing_panics() {
        let whole = reply(given(ADDRESS, 100, None)).encode();
        for length in 0..whole.len() {
            if let Some(message) = Message::decode(&whole[..length]) {
                assert!(message.options.len() < 4, "{length} bytes");
                let _ = message.association(7);
            }
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut wrong = whole.clone();
                wrong[at] = value;
                let message = Message::decode(&wrong);
                let found = message.as_ref().and_then(|message| message.association(7));
                if let (Some(message), Some(found)) = (message, found) {
                    let _ = lease(&message, found, Duration::ZERO);
                }
            }
        }
        assert_eq!(Message::decode(&[1, 0, 0, 1]), None, "a client's");
        assert_eq!(Message::decode(&[12, 0, 0, 1]), None, "a relay's");
    }
}
