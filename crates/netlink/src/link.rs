//! Links: veth pairs, bridges, what can be changed about them, and bridge ports.
//!
//! Kernel words, with one exception for the reader's sake: a link's *controller* is called its
//! master here as in ip-link(8).

use std::fmt;
use std::os::fd::{AsFd, AsRawFd};
use std::str::FromStr;
use std::time::Duration;

use netlink_packet_core::{Emitable, NLM_F_CREATE, NLM_F_EXCL, Parseable};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{
    AfSpecBridge, BridgeVlanInfo, BridgeVlanInfoFlags, InfoBridge, InfoBridgePort, InfoData,
    InfoKind, InfoPortData, InfoPortKind, InfoVeth, InfoVrf, LinkAttribute, LinkExtentMask,
    LinkFlags, LinkInfo, LinkMessage,
};
use sys::apart::Apart;
use sys::{Errno, NetNs};

use crate::attribute::{self, Writer, find};
use crate::error::{Error, Result};
use crate::socket::{Message, Socket};

pub(crate) const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
/// The multicast group of link changes, for [`crate::Events`].
pub const RTNLGRP_LINK: u32 = 1;

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A text that is no Ethernet address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an Ethernet address like 02:00:5e:10:00:01")]
pub struct BadMac(String);

impl FromStr for Mac {
    type Err = BadMac;

    /// Six two-digit hexadecimal bytes with `:` or `-` between them.
    fn from_str(text: &str) -> std::result::Result<Self, BadMac> {
        let bad = || BadMac(text.to_owned());
        let mut parts = text.split([':', '-']);
        let mut bytes = [0; 6];
        for byte in &mut bytes {
            let part = parts
                .next()
                .filter(|part| part.len() == 2)
                .ok_or_else(bad)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() {
            Err(bad())
        } else {
            Ok(Self(bytes))
        }
    }
}

/// A link as the kernel reports it. Each field is what `ip -d link` calls by that name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the names are ip-link(8)'s
pub struct Link {
    pub index: u32,
    pub name: String,
    pub kind: Option<String>,
    pub mac: Option<Mac>,
    /// What the hardware says of itself (Linux 5.6); nobody can change it.
    pub permanent_mac: Option<Mac>,
    pub mtu: u32,
    pub master: Option<u32>,
    /// The other end's index, of a veth, or that of the link on which this one was made (in its
    /// namespace).
    pub peer: Option<u32>,
    /// The namespace of the other end, in the numbers of [`Socket::namespace_number`]; none when
    /// it is the link's own.
    pub peer_netns: Option<i32>,
    pub alias: Option<String>,
    pub is_up: bool,
    /// Operational: the carrier is there, frames flow (RFC 2863 `up`, or `unknown` for drivers
    /// that do not tell).
    pub is_operational: bool,
    pub is_promiscuous: bool,
    /// Promiscuous because an administrator said so, and not for somebody who listens.
    pub is_set_promiscuous: bool,
    pub is_all_multicast: bool,
    pub tx_queue_length: u32,
    /// As a VRF: the table that its members' packets are routed by.
    pub vrf_table: Option<u32>,
    /// As a bridge port.
    pub hairpin: bool,
    /// As a bridge port.
    pub isolated: bool,
    /// As a bridge.
    pub vlan_filtering: bool,
    /// As a link that was made on another.
    pub made_as: Option<crate::stacked::Kind>,
    /// As a tun or tap device.
    pub tun: Option<crate::tun::Tun>,
}

/// One thing to change about a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Administratively up.
    Up,
    /// Administratively down.
    Down,
    /// Promiscuous, as long as nobody else asks for it too.
    Promiscuous,
    /// Promiscuous no longer, unless somebody else asks for it.
    NotPromiscuous,
    /// Whether it takes frames for every multicast group.
    AllMulticast(bool),
    /// How many packets wait to be sent, at most.
    TxQueueLength(u32),
    /// Its name.
    Name(String),
    /// Becomes a port of the link with this index.
    Master(u32),
    /// Is nobody's port any longer.
    NoMaster,
    /// Its Ethernet address.
    Mac(Mac),
    /// Its MTU.
    Mtu(u32),
    /// A text for people, up to 255 bytes; also how we recognise what is ours.
    Alias(String),
}

/// A flag of a bridge port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortFlag {
    /// Frames may leave by the port they came from.
    Hairpin,
    /// Does not talk to other isolated ports (Linux 4.18).
    Isolated,
}

/// A veth pair: one end in the namespace of the socket that creates it, the other in `peer_netns`.
pub struct Veth<'a> {
    /// The near end.
    pub name: &'a str,
    /// The near end's address; the kernel invents one otherwise.
    pub mac: Option<Mac>,
    /// Of both ends.
    pub mtu: Option<u32>,
    /// The far end.
    pub peer: &'a str,
    /// Where the far end goes.
    pub peer_netns: &'a NetNs,
}

/// A bridge to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BridgeOptions {
    /// The kernel's default otherwise.
    pub mtu: Option<u32>,
    /// Frames are sorted by 802.1q tag. `EOPNOTSUPP` from a kernel built without it.
    pub vlan_filtering: bool,
}

/// A VLAN of a bridge port (or of the bridge itself).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortVlan {
    /// The VLAN's number, 1..=4094.
    pub id: u16,
    /// Untagged frames from the port belong to this VLAN, and its frames leave untagged.
    pub native: bool,
}

/// Whether a VLAN change is about a port, or about the bridge as a host sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VlanOf {
    /// A port, by its index.
    Port(u32),
    /// The bridge itself.
    Bridge(u32),
}

impl Socket {
    /// The link of this name, if there is one.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.into()));
        message
            .attributes
            .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        self.look_up(&message, &format!("look up link {name:?}"))
    }

    /// The link with this index, if there is one.
    pub fn link_by_index(&mut self, index: u32) -> Result<Option<Link>> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message
            .attributes
            .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        self.look_up(&message, &format!("look up link {index}"))
    }

    fn look_up(&mut self, message: &LinkMessage, what: &str) -> Result<Option<Link>> {
        let answer = self.lookup(of(RTM_GETLINK, 0, message), what)?;
        answer.map(|body| parse(&body, what)).transpose()
    }

    /// All links.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        let mut message = LinkMessage::default();
        message
            .attributes
            .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let what = "list links";
        let bodies = self.dump(of(RTM_GETLINK, 0, &message), what)?;
        bodies.iter().map(|body| parse(body, what)).collect()
    }

    /// Creates a veth pair. `EEXIST` when either name is taken in its namespace.
    pub fn create_veth(&mut self, veth: &Veth<'_>) -> Result<()> {
        let mut peer = LinkMessage::default();
        peer.attributes
            .push(LinkAttribute::IfName(veth.peer.into()));
        peer.attributes
            .push(LinkAttribute::NetNsFd(veth.peer_netns.as_fd().as_raw_fd()));
        peer.attributes.extend(veth.mtu.map(LinkAttribute::Mtu));
        let mut message = LinkMessage::default();
        message
            .attributes
            .push(LinkAttribute::IfName(veth.name.into()));
        message.attributes.extend(veth.mtu.map(LinkAttribute::Mtu));
        message
            .attributes
            .extend(veth.mac.map(|mac| LinkAttribute::Address(mac.0.into())));
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        let what = format!("create veth {:?} with peer {:?}", veth.name, veth.peer);
        self.request(of(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &message), &what)
    }

    /// Creates a bridge. `EEXIST` when the name is taken.
    pub fn create_bridge(&mut self, name: &str, options: BridgeOptions) -> Result<()> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.into()));
        message
            .attributes
            .extend(options.mtu.map(LinkAttribute::Mtu));
        let mut kind = vec![LinkInfo::Kind(InfoKind::Bridge)];
        if options.vlan_filtering {
            let filtering = vec![InfoBridge::VlanFiltering(true)];
            kind.push(LinkInfo::Data(InfoData::Bridge(filtering)));
        }
        message.attributes.push(LinkAttribute::LinkInfo(kind));
        let what = format!("create bridge {name:?}");
        self.request(of(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &message), &what)
    }

    /// Creates an ifb, which shapes what is redirected to it. `EEXIST` when the name is taken.
    pub fn create_ifb(&mut self, name: &str, mtu: u32) -> Result<()> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.into()));
        message.attributes.push(LinkAttribute::Mtu(mtu));
        let kind = vec![LinkInfo::Kind(InfoKind::Ifb)];
        message.attributes.push(LinkAttribute::LinkInfo(kind));
        let what = format!("create ifb {name:?}");
        self.request(of(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &message), &what)
    }

    /// Creates a VRF, whose members' packets are routed by `table`. `EEXIST` when the name is
    /// taken.
    pub fn create_vrf(&mut self, name: &str, table: u32) -> Result<()> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.into()));
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Vrf),
            LinkInfo::Data(InfoData::Vrf(vec![InfoVrf::TableId(table)])),
        ]));
        let what = format!("create VRF {name:?} with table {table}");
        self.request(of(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &message), &what)
    }

    /// Changes the link with this index, all settings in one message.
    pub fn change_link(&mut self, index: u32, settings: &[Setting]) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        settings
            .iter()
            .for_each(|setting| add(setting, &mut message));
        let what = format!("change link {index}: {settings:?}");
        self.request(of(RTM_NEWLINK, 0, &message), &what)
    }

    /// The number by which this socket's namespace knows another. It has one as soon as a link
    /// of which one end is there was looked at.
    pub fn namespace_number(&mut self, netns: &NetNs) -> Result<Option<i32>> {
        const RTM_GETNSID: u16 = 90;
        const NETNSA_NSID: u16 = 1;
        const NETNSA_FD: u16 = 3;
        const RTGENMSG: usize = 4; // one byte, padded
        let fd = netns.as_fd().as_raw_fd().to_ne_bytes();
        let message = Message {
            kind: RTM_GETNSID,
            flags: 0,
            body: Writer::new(&[0; RTGENMSG]).put(NETNSA_FD, &fd).into_bytes(),
        };
        let body = self.lookup(message, "look up the number of a namespace")?;
        let value = body.as_deref().and_then(|body| body.get(RTGENMSG..));
        let value = value.and_then(|attributes| find(attributes, NETNSA_NSID));
        let number = value.and_then(|value| Some(i32::from_ne_bytes(value.try_into().ok()?)));
        Ok(number.filter(|number| *number >= 0))
    }

    /// Moves the link with this index into another namespace, and changes it there: all in one
    /// message, so that nobody sees it half-way. It arrives down and without addresses. On an
    /// error it may have arrived all the same: when its name is taken, for instance, under its
    /// old one. `ENODEV` when it is not in this socket's namespace any more.
    pub fn move_link(&mut self, index: u32, netns: &NetNs, settings: &[Setting]) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let fd = netns.as_fd().as_raw_fd();
        message.attributes.push(LinkAttribute::NetNsFd(fd));
        settings
            .iter()
            .for_each(|setting| add(setting, &mut message));
        let what = format!("move link {index} into another network namespace: {settings:?}");
        self.request(of(RTM_NEWLINK, 0, &message), &what)
    }

    /// Sets flags of a bridge port; flags not named keep their value.
    pub fn set_port_flags(&mut self, index: u32, flags: &[PortFlag]) -> Result<()> {
        let port = flags.iter().map(|flag| match flag {
            PortFlag::Hairpin => InfoBridgePort::HairpinMode(true),
            PortFlag::Isolated => InfoBridgePort::Isolated(true),
        });
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(port.collect())),
        ]));
        let what = format!("change bridge port {index}: {flags:?}");
        self.request(of(RTM_NEWLINK, 0, &message), &what)
    }

    /// Adds VLANs to a bridge port or bridge.
    pub fn add_vlans(&mut self, of_link: VlanOf, vlans: &[PortVlan]) -> Result<()> {
        self.change_vlans(RTM_SETLINK, of_link, vlans)
    }

    /// Takes VLANs from a bridge port or bridge; one that is not there is no error.
    pub fn remove_vlans(&mut self, of_link: VlanOf, vlans: &[PortVlan]) -> Result<()> {
        self.change_vlans(RTM_DELLINK, of_link, vlans)
    }

    fn change_vlans(&mut self, kind: u16, of_link: VlanOf, vlans: &[PortVlan]) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.interface_family = AddressFamily::Bridge;
        let (index, base) = match of_link {
            VlanOf::Port(index) => (index, BridgeVlanInfoFlags::empty()),
            VlanOf::Bridge(index) => (index, BridgeVlanInfoFlags::Controller),
        };
        message.header.index = index;
        let native = BridgeVlanInfoFlags::Pvid | BridgeVlanInfoFlags::Untagged;
        let entries = vlans.iter().map(|vlan| {
            let flags = if vlan.native { base | native } else { base };
            AfSpecBridge::VlanInfo(BridgeVlanInfo {
                flags,
                vid: vlan.id,
            })
        });
        message
            .attributes
            .push(LinkAttribute::AfSpecBridge(entries.collect()));
        let what = format!("change VLANs of {of_link:?}: {vlans:?}");
        self.request(of(kind, 0, &message), &what)
    }

    /// The VLANs of a bridge port (or of a bridge).
    pub fn vlans(&mut self, index: u32) -> Result<Vec<PortVlan>> {
        let all = self.vlans_of_ports()?;
        let own = all.into_iter().filter(|(port, _)| *port == index);
        Ok(own.flat_map(|(_, vlans)| vlans).collect())
    }

    /// The VLANs of every bridge port and bridge, by its index.
    pub fn vlans_of_ports(&mut self) -> Result<Vec<(u32, Vec<PortVlan>)>> {
        let mut message = LinkMessage::default();
        message.header.interface_family = AddressFamily::Bridge;
        message
            .attributes
            .push(LinkAttribute::ExtMask(vec![LinkExtentMask::Brvlan]));
        let what = "list VLANs of bridge ports";
        let mut all = Vec::new();
        for body in self.dump(of(RTM_GETLINK, 0, &message), what)? {
            let link =
                LinkMessage::parse(&body[..]).map_err(|error| Error::malformed(what, error))?;
            let vlans = link.attributes.iter().flat_map(port_vlans).collect();
            all.push((link.header.index, vlans));
        }
        Ok(all)
    }

    /// Deletes a link as [`Socket::delete_link`] does, and runs `then` as soon as nobody can see
    /// the link any more: true. False means that it stays, or may.
    ///
    /// The kernel takes a link away at once and then frees its memory, for which it waits (one
    /// `rcu_barrier`, 13 to 40 ms). That is left to a child, which uses `other`, a second socket
    /// in the same namespace; decisions 0034 and 0041. Without room for a child, `then` runs
    /// after.
    pub fn delete_link_then<T>(
        &mut self,
        mut other: Self,
        index: u32,
        then: impl FnOnce(bool) -> T,
    ) -> (Result<bool>, T) {
        let deletion = Apart::start(other.descriptor(), || match other.delete_link(index) {
            Ok(_) => 0,
            Err(error) => error.errno().unwrap_or(Errno::EIO) as i32,
        });
        let Ok(deletion) = deletion else {
            let deleted = self.delete_link(index);
            let answer = then(deleted.is_ok());
            return (deleted, answer);
        };
        let mut pause = Duration::from_micros(100);
        let is_gone = loop {
            // In this order: nothing can happen unseen in between.
            let is_over = deletion.is_over();
            match self.link_by_index(index) {
                Ok(None) => break true,
                Ok(Some(_)) if !is_over => {}
                _ => break false,
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        };
        let answer = then(is_gone);
        if is_gone {
            deletion.leave();
            return (Ok(true), answer);
        }
        let deleted = match deletion.join() {
            Ok(0) => Ok(true),
            Ok(errno) => Err(Error::Refused {
                request: delete_request(index),
                errno: Errno::from_raw(errno),
                reason: None,
            }),
            Err(error) => Err(error.into()),
        };
        (deleted, answer)
    }

    /// Deletes a link, and with a veth its other end; false when it was gone already.
    pub fn delete_link(&mut self, index: u32) -> Result<bool> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        match self.request(of(RTM_DELLINK, 0, &message), &delete_request(index)) {
            Ok(()) => Ok(true),
            Err(error) if error.errno() == Some(Errno::ENODEV) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn delete_request(index: u32) -> String {
    format!("delete link {index}")
}

pub(crate) fn of(kind: u16, flags: u16, message: &impl Emitable) -> Message {
    let mut body = vec![0; message.buffer_len()];
    message.emit(&mut body);
    Message { kind, flags, body }
}

fn add(setting: &Setting, message: &mut LinkMessage) {
    let header = &mut message.header;
    let mut flag = |flag: LinkFlags, on: bool| {
        header.change_mask |= flag;
        header.flags.set(flag, on);
    };
    let attribute = match setting {
        Setting::Up => return flag(LinkFlags::Up, true),
        Setting::Down => return flag(LinkFlags::Up, false),
        Setting::Promiscuous => return flag(LinkFlags::Promisc, true),
        Setting::NotPromiscuous => return flag(LinkFlags::Promisc, false),
        Setting::AllMulticast(on) => return flag(LinkFlags::Allmulti, *on),
        Setting::Name(name) => LinkAttribute::IfName(name.clone()),
        Setting::Master(index) => LinkAttribute::Controller(*index),
        Setting::NoMaster => LinkAttribute::Controller(0),
        Setting::TxQueueLength(packets) => LinkAttribute::TxQueueLen(*packets),
        Setting::Mac(mac) => LinkAttribute::Address(mac.0.into()),
        Setting::Mtu(mtu) => LinkAttribute::Mtu(*mtu),
        Setting::Alias(alias) => LinkAttribute::IfAlias(alias.clone()),
    };
    message.attributes.push(attribute);
}

fn port_vlans(attribute: &LinkAttribute) -> Vec<PortVlan> {
    let LinkAttribute::AfSpecBridge(entries) = attribute else {
        return Vec::new();
    };
    let vlan = |entry: &AfSpecBridge| match entry {
        AfSpecBridge::VlanInfo(info) => Some(PortVlan {
            id: info.vid,
            native: info.flags.contains(BridgeVlanInfoFlags::Pvid),
        }),
        _ => None,
    };
    entries.iter().filter_map(vlan).collect()
}

/// Parses the body of an `RTM_NEWLINK`, of an answer or an event.
///
/// By hand, because every ADD reads links six times and netlink-packet-route takes 0.4 ms to make
/// values of all that a bridge says, cold, as it always is in a plugin (decision 0035).
pub fn parse(body: &[u8], what: &str) -> Result<Link> {
    const HEADER: usize = 16; // struct ifinfomsg: the index at 4, the flags at 8
    const UP: u32 = 1;
    const PROMISC: u32 = 0x100;
    const ALLMULTI: u32 = 0x200;
    let cut_short = || Error::malformed(what, "a link without its header");
    let attributes = body.get(HEADER..).ok_or_else(cut_short)?;
    let flags = number(&body[8..12]).unwrap_or_default();
    let mut link = Link {
        index: number(&body[4..8]).unwrap_or_default(),
        is_up: flags & UP != 0,
        is_promiscuous: flags & PROMISC != 0,
        is_set_promiscuous: flags & PROMISC != 0,
        is_all_multicast: flags & ALLMULTI != 0,
        ..Link::default()
    };
    for (kind, value) in attribute::attributes(attributes) {
        read_attribute((kind, value), &mut link);
    }
    if let Some(info) = attribute::find(attributes, LINKINFO) {
        read_kind(info, &mut link);
        let plain = matches!(link.kind.as_deref(), None | Some("bridge" | "veth"));
        if !plain && attribute::find(info, INFO_DATA).is_some() {
            read_special(body, &mut link, what)?;
        }
    }
    Ok(link)
}

// IFLA_LINKINFO and what is in it.
const LINKINFO: u16 = 18;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const INFO_SLAVE_KIND: u16 = 4;
const INFO_SLAVE_DATA: u16 = 5;

fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

/// `IFLA_*` of linux/if_link.h.
fn read_attribute((kind, value): (u16, &[u8]), link: &mut Link) {
    match kind {
        1 => link.mac = value.try_into().ok().map(Mac),
        3 => link.name = attribute::text(value),
        4 => link.mtu = number(value).unwrap_or_default(),
        5 => link.peer = number(value),
        10 => link.master = number(value),
        13 => link.tx_queue_length = number(value).unwrap_or_default(),
        // IF_OPER_UNKNOWN and IF_OPER_UP
        16 => link.is_operational = matches!(value, [0 | 6]),
        20 => link.alias = Some(attribute::text(value)),
        30 => link.is_promiscuous |= number(value).is_some_and(|count| count > 0),
        37 => link.peer_netns = number(value).map(u32::cast_signed),
        54 => link.permanent_mac = value.try_into().ok().map(Mac),
        _ => {}
    }
}

/// What kind of link it is, and what a bridge and its ports say of themselves.
fn read_kind(info: &[u8], link: &mut Link) {
    const VLAN_FILTERING: u16 = 7; // IFLA_BR_VLAN_FILTERING
    const HAIRPIN: u16 = 4; // IFLA_BRPORT_MODE
    const ISOLATED: u16 = 33; // IFLA_BRPORT_ISOLATED
    let is_on = |within: Option<&[u8]>, kind| {
        let value = within.and_then(|within| attribute::find(within, kind));
        value
            .and_then(|value| value.first())
            .is_some_and(|byte| *byte != 0)
    };
    link.kind = attribute::find(info, INFO_KIND).map(attribute::text);
    if link.kind.as_deref() == Some("bridge") {
        link.vlan_filtering = is_on(attribute::find(info, INFO_DATA), VLAN_FILTERING);
    }
    let port_of = attribute::find(info, INFO_SLAVE_KIND).map(attribute::text);
    if port_of.as_deref() == Some("bridge") {
        let port = attribute::find(info, INFO_SLAVE_DATA);
        link.hairpin = is_on(port, HAIRPIN);
        link.isolated = is_on(port, ISOLATED);
    }
}

/// What links of other kinds were made as.
fn read_special(body: &[u8], link: &mut Link, what: &str) -> Result<()> {
    let message = LinkMessage::parse(body).map_err(|error| Error::malformed(what, error))?;
    for attribute in message.attributes {
        let LinkAttribute::LinkInfo(entries) = attribute else {
            continue;
        };
        for entry in entries {
            match entry {
                LinkInfo::Data(InfoData::Vrf(options)) => {
                    link.vrf_table = options.iter().find_map(|option| match option {
                        InfoVrf::TableId(table) => Some(*table),
                        _ => None,
                    });
                }
                LinkInfo::Data(InfoData::Tun(entries)) => {
                    link.tun = Some(crate::tun::Tun::read(&entries));
                }
                LinkInfo::Data(data) => link.made_as = crate::stacked::Kind::read(&data),
                _ => {}
            }
        }
    }
    Ok(())
}

/// What is read of an entry in a list of bridge ports.
#[cfg(fuzzing)]
pub(crate) fn understand(body: &[u8]) {
    if let Ok(link) = LinkMessage::parse(body) {
        link.attributes
            .iter()
            .for_each(|each| drop(port_vlans(each)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ethernet_address_is_read_and_written() {
        assert_eq!(
            "02-00-5E-10-00-ff".parse::<Mac>().unwrap().to_string(),
            "02:00:5e:10:00:ff"
        );
        for bad in [
            "",
            "02:00:5e:10:00",
            "02:00:5e:10:00:01:02",
            "2:0:5e:10:0:1",
            "zz:00:5e:10:00:01",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad:?}");
        }
    }
}
