//! IP addresses of a link, and waiting until IPv6 has made sure that they are nobody else's.

use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;
use netlink_packet_core::{Emitable, NLM_F_CREATE, NLM_F_EXCL, Parseable};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage,
};
use sys::Errno;

use crate::error::{Error, Result};
use crate::socket::{Events, Message, Socket};

const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
/// The multicast group of IPv6 address changes, for [`Events`].
pub const RTNLGRP_IPV6_IFADDR: u32 = 9;

/// An address of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The link.
    pub index: u32,
    /// The address with its prefix length.
    pub net: IpNet,
    /// How far duplicate address detection (RFC 4862) has come.
    pub detection: Detection,
}

/// What is special about an address to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trait {
    /// It can be used at once: nobody else can have it.
    NotDetected,
    /// The kernel makes no route to its network, nobody of which is on the link.
    WithoutRoute,
}

/// Duplicate address detection of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detection {
    /// Over, or never needed.
    Done,
    /// Under way: the address cannot be used yet.
    Tentative,
    /// Somebody else has the address.
    Failed,
}

/// How a wait for duplicate address detection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// All addresses can be used.
    Usable,
    /// Somebody else has this one.
    Duplicate(IpNet),
    /// Not before the deadline.
    TooLate,
}

impl Socket {
    /// Adds an address to a link; `EEXIST` when it is there.
    pub fn add_address(&mut self, index: u32, net: IpNet) -> Result<()> {
        self.add_address_with(index, net, &[])
    }

    /// Adds an address with these traits.
    pub fn add_address_with(&mut self, index: u32, net: IpNet, traits: &[Trait]) -> Result<()> {
        let mut message = address_message(index, net);
        let flags = traits.iter().filter_map(|each| match each {
            // IPv4 has no such thing to switch off.
            Trait::NotDetected => net.addr().is_ipv6().then_some(AddressFlags::Nodad),
            Trait::WithoutRoute => Some(AddressFlags::Noprefixroute),
        });
        let flags = flags.fold(AddressFlags::empty(), |all, flag| all | flag);
        if !flags.is_empty() {
            message.attributes.push(AddressAttribute::Flags(flags));
        }
        let message = emit(RTM_NEWADDR, &message);
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.request(
            Message { flags, ..message },
            &format!("add address {net} to link {index}"),
        )
    }

    /// Takes an address from a link; false when it was gone already.
    pub fn remove_address(&mut self, index: u32, net: IpNet) -> Result<bool> {
        let what = format!("remove address {net} from link {index}");
        match self.request(message_of(RTM_DELADDR, index, net), &what) {
            Ok(()) => Ok(true),
            Err(error) if error.errno() == Some(Errno::EADDRNOTAVAIL) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The addresses of every link.
    pub fn all_addresses(&mut self) -> Result<Vec<Address>> {
        let what = "list addresses";
        let bodies = self.dump(emit(RTM_GETADDR, &AddressMessage::default()), what)?;
        let all = bodies.iter().map(|body| parse(body, what).transpose());
        all.flatten().collect()
    }

    /// The addresses of a link, in the kernel's order.
    pub fn addresses(&mut self, index: u32) -> Result<Vec<Address>> {
        let what = "list addresses";
        let mut message = AddressMessage::default();
        message.header.index = index; // a strict kernel filters, an older one ignores it
        let bodies = self.dump(emit(RTM_GETADDR, &message), what)?;
        let all = bodies
            .iter()
            .map(|body| parse(body, what))
            .collect::<Result<Vec<_>>>()?;
        Ok(all
            .into_iter()
            .flatten()
            .filter(|address| address.index == index)
            .collect())
    }

    /// Waits until no IPv6 address of the link is tentative, event by event.
    ///
    /// `events` must listen to [`RTNLGRP_IPV6_IFADDR`] in this socket's namespace.
    pub fn settle_addresses(
        &mut self,
        index: u32,
        events: &mut Events,
        deadline: Instant,
    ) -> Result<Settled> {
        loop {
            let addresses = self.addresses(index)?;
            if let Some(bad) = addresses.iter().find(|a| a.detection == Detection::Failed) {
                return Ok(Settled::Duplicate(bad.net));
            }
            if addresses
                .iter()
                .all(|address| address.detection == Detection::Done)
            {
                return Ok(Settled::Usable);
            }
            if !events.wait(deadline)? {
                return Ok(Settled::TooLate);
            }
        }
    }
}

fn emit(kind: u16, message: &AddressMessage) -> Message {
    let mut body = vec![0; message.buffer_len()];
    message.emit(&mut body);
    Message {
        kind,
        flags: 0,
        body,
    }
}

fn message_of(kind: u16, index: u32, net: IpNet) -> Message {
    emit(kind, &address_message(index, net))
}

fn address_message(index: u32, net: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = net.prefix_len();
    message.header.family = match net {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    };
    message.attributes.push(AddressAttribute::Local(net.addr()));
    message
        .attributes
        .push(AddressAttribute::Address(net.addr()));
    if let IpNet::V4(v4) = net
        && v4.prefix_len() < 31
    {
        // RFC 919's; a /31 (RFC 3021) and a /32 have none.
        message
            .attributes
            .push(AddressAttribute::Broadcast(v4.broadcast()));
    }
    message
}

pub(crate) fn parse(body: &[u8], what: &str) -> Result<Option<Address>> {
    let message = AddressMessage::parse(body).map_err(|error| Error::malformed(what, error))?;
    // On a point-to-point link `Address` is the peer's; `Local` is ours wherever it is given.
    let (mut own, mut other) = (None::<IpAddr>, None::<IpAddr>);
    let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
    for attribute in message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => own = Some(ip),
            AddressAttribute::Address(ip) => other = Some(ip),
            AddressAttribute::Flags(all) => flags = all,
            _ => {}
        }
    }
    let net = own
        .or(other)
        .and_then(|ip| IpNet::new(ip, message.header.prefix_len).ok());
    let has = |flag: AddressHeaderFlags| flags.bits() & u32::from(flag.bits()) != 0;
    let detection = if has(AddressHeaderFlags::Dadfailed) {
        Detection::Failed
    } else if has(AddressHeaderFlags::Tentative) && !has(AddressHeaderFlags::Optimistic) {
        Detection::Tentative
    } else {
        Detection::Done
    };
    Ok(net.map(|net| Address {
        index: message.header.index,
        net,
        detection,
    }))
}
